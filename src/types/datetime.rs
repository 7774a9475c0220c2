//! Dates and times as ISO 8601, from both forms in which the server sends them: `2024-01-02`,
//! `2024-01-02T03:04:05.123456`, the same with `Z` for timestamptz, `infinity` and `-infinity`.
//!
//! A fraction of a second has only as many digits as it needs. Years from 1 to 9999 have four
//! digits. All other years have ECMAScript's expanded form: a sign and at least six digits, with 1
//! BC as the year 0. The calendar is always Gregorian, as in PostgreSQL and in JavaScript's Date.

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const EPOCH_DAYS: i64 = 10_957;

/// From 4714-11-24 BC to 5874897-12-31: the dates that the server has (`IS_VALID_DATE`).
const DATES: std::ops::RangeInclusive<i32> = -2_451_545..=2_145_031_948;
/// From 4714-11-24 BC to 294277-01-01, exclusive (`IS_VALID_TIMESTAMP`).
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// The offsets from UTC, in seconds, that a time zone can have (`MAX_TZDISP_HOUR`).
const ZONES: std::ops::RangeInclusive<i32> = -57_599..=57_599;

const INFINITY: &[u8] = b"infinity";
const NEGATIVE_INFINITY: &[u8] = b"-infinity";

/// Writes a date. Its binary form is the number of `days` since 2000-01-01.
pub(super) fn write_date(days: i32, out: &mut Vec<u8>) -> Option<()> {
    match days {
        i32::MAX => out.extend_from_slice(INFINITY),
        i32::MIN => out.extend_from_slice(NEGATIVE_INFINITY),
        _ if DATES.contains(&days) => write_civil(i64::from(days), out),
        _ => return None,
    }
    Some(())
}

/// Writes a timestamp. The binary form of both types is the number of `micros` since 2000-01-01.
/// `zoned` is true for timestamptz, whose number is in UTC.
pub(super) fn write_timestamp(micros: i64, zoned: bool, out: &mut Vec<u8>) -> Option<()> {
    match micros {
        i64::MAX => out.extend_from_slice(INFINITY),
        i64::MIN => out.extend_from_slice(NEGATIVE_INFINITY),
        _ if TIMESTAMPS.contains(&micros) => {
            write_civil(micros.div_euclid(MICROS_PER_DAY), out);
            out.push(b'T');
            write_time(micros.rem_euclid(MICROS_PER_DAY), out)?;
            if zoned {
                out.push(b'Z');
            }
        }
        _ => return None,
    }
    Some(())
}

/// Writes a time of `micros` since midnight. 24:00:00 is valid.
pub(super) fn write_time(micros: i64, out: &mut Vec<u8>) -> Option<()> {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return None;
    }
    let seconds = (micros / MICROS_PER_SECOND) as u32;
    let [h, i] = two(seconds / 3600);
    let [m, n] = two(seconds / 60 % 60);
    let [s, t] = two(seconds % 60);
    out.extend_from_slice(&[h, i, b':', m, n, b':', s, t]);
    write_fraction((micros % MICROS_PER_SECOND) as u32, out);
    Some(())
}

/// Writes a timetz. As in its binary form, `zone` is in seconds west of Greenwich.
pub(super) fn write_timetz(micros: i64, zone: i32, out: &mut Vec<u8>) -> Option<()> {
    if !ZONES.contains(&zone) {
        return None;
    }
    write_time(micros, out)?;
    out.push(if zone > 0 { b'-' } else { b'+' });
    let zone = zone.unsigned_abs();
    out.extend_from_slice(&two(zone / 3600));
    // The server too leaves out minutes and seconds that are zero.
    if !zone.is_multiple_of(3600) {
        out.push(b':');
        out.extend_from_slice(&two(zone / 60 % 60));
    }
    if !zone.is_multiple_of(60) {
        out.push(b':');
        out.extend_from_slice(&two(zone % 60));
    }
    Some(())
}

/// Writes the fraction of a second, without trailing zeros.
pub(super) fn write_fraction(micros: u32, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    let [a, b] = two(micros / 10_000);
    let [c, d] = two(micros / 100 % 100);
    let [e, f] = two(micros % 100);
    out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// The two digits of a number below 100.
const fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// The most milliseconds between 1970 and a Date in JavaScript (ECMA-262, TimeClip).
const MOST_JS_MILLIS: f64 = 8.64e15;
/// The microseconds from 1970 to 2000.
const EPOCH_MICROS: i64 = EPOCH_DAYS * MICROS_PER_DAY;
const MILLIS_PER_DAY: i64 = MICROS_PER_DAY / 1000;

/// Milliseconds since 1970, as a Date has them. `None` for an invalid Date.
pub(super) fn js_millis(millis: f64) -> Option<i64> {
    (millis.abs() <= MOST_JS_MILLIS).then_some(millis as i64)
}

/// The binary form of both timestamps for this Date.
pub(super) fn micros_of_js_date(millis: i64) -> Option<i64> {
    let micros = millis.checked_mul(1000)?.checked_sub(EPOCH_MICROS)?;
    TIMESTAMPS.contains(&micros).then_some(micros)
}

/// The binary form of the Date's day in UTC.
pub(super) fn days_of_js_date(millis: i64) -> Option<i32> {
    let days = i32::try_from(millis.div_euclid(MILLIS_PER_DAY) - EPOCH_DAYS).ok()?;
    DATES.contains(&days).then_some(days)
}

/// Writes a Date as `toISOString` does, always with milliseconds.
pub(super) fn write_js_date(millis: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(millis.div_euclid(MILLIS_PER_DAY) - EPOCH_DAYS);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    out.extend_from_slice(format!("{year}-{month:02}-{day:02}T").as_bytes());
    write_js_time(millis, out);
    out.push(b'Z');
}

/// Writes a Date in a form that the server reads for every type of dates and times: `0044-03-15
/// 12:00:00.000+00 BC`.
pub(super) fn write_server_date(millis: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(millis.div_euclid(MILLIS_PER_DAY) - EPOCH_DAYS);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    out.extend_from_slice(format!("{year:04}-{month:02}-{day:02} ").as_bytes());
    write_js_time(millis, out);
    out.extend_from_slice(b"+00");
    out.extend_from_slice(era.as_bytes());
}

fn write_js_time(millis: i64, out: &mut Vec<u8>) {
    let of_day = millis.rem_euclid(MILLIS_PER_DAY);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    out.extend_from_slice(format!("{h:02}:{m:02}:{s:02}.{millis:03}").as_bytes());
}

/// Whether a text begins with a year in ECMAScript's expanded form, which no server reads.
pub(super) fn has_expanded_year(text: &[u8]) -> bool {
    let [b'+' | b'-', rest @ ..] = text else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (6..=7).contains(&digits) && rest.get(digits) == Some(&b'-')
}

/// The text of a date or timestamp with an expanded year, in the form that the server reads. `None`
/// for any other text.
pub(super) fn with_server_year(text: &[u8]) -> Option<Vec<u8>> {
    if !has_expanded_year(text) {
        return None;
    }
    let (sign, text) = text.split_first()?;
    let mut rest = Text { bytes: text };
    let size = rest.number(6, 7)?;
    let year = if *sign == b'-' { -size } else { size };
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let rest = std::str::from_utf8(rest.bytes).ok()?.replacen('T', " ", 1);
    let rest = rest.strip_suffix('Z').map_or(rest.clone(), |local| format!("{local}+00"));
    Some(format!("{year:04}{rest}{era}").into_bytes())
}

/// Reads the text form of a date under `DateStyle = ISO`.
pub(super) fn date_from_text(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if let Some(days) = infinity(text, i32::MIN, i32::MAX) {
        return write_date(days, out);
    }
    let mut rest = Text { bytes: text };
    let date = rest.date()?;
    let days = rest.era(date)?;
    rest.end()?;
    write_date(i32::try_from(days).ok()?, out)
}

/// Reads the text form of both timestamps under `DateStyle = ISO`, in any time zone.
pub(super) fn timestamp_from_text(text: &[u8], zoned: bool, out: &mut Vec<u8>) -> Option<()> {
    if let Some(micros) = infinity(text, i64::MIN, i64::MAX) {
        return write_timestamp(micros, zoned, out);
    }
    let mut rest = Text { bytes: text };
    let date = rest.date()?;
    rest.byte(b' ')?;
    let time = rest.time()?;
    let east = if zoned { rest.zone()? } else { 0 };
    let days = rest.era(date)?;
    rest.end()?;
    let midnight = days.checked_mul(MICROS_PER_DAY)?;
    let micros = midnight.checked_add(time)?.checked_sub(east * MICROS_PER_SECOND)?;
    if TIMESTAMPS.contains(&micros) { write_timestamp(micros, zoned, out) } else { None }
}

fn infinity<T>(text: &[u8], least: T, most: T) -> Option<T> {
    match text {
        INFINITY => Some(most),
        NEGATIVE_INFINITY => Some(least),
        _ => None,
    }
}

/// The part of a text that is still to be read.
struct Text<'a> {
    bytes: &'a [u8],
}

impl Text<'_> {
    fn byte(&mut self, expect: u8) -> Option<()> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        (*first == expect).then_some(())
    }

    fn skip(&mut self, expect: u8) -> bool {
        let is_there = self.bytes.first() == Some(&expect);
        if is_there {
            self.bytes = self.bytes.get(1..).unwrap_or_default();
        }
        is_there
    }

    /// Reads a number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self.bytes.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.bytes.split_at_checked(digits)?;
        self.bytes = rest;
        let value = digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        (digits.len() >= least).then_some(value)
    }

    fn number_in(&mut self, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        self.number(2, 2).filter(|number| range.contains(number))
    }

    fn date(&mut self) -> Option<(i64, i64, i64)> {
        let year = self.number(4, 7)?;
        self.byte(b'-')?;
        let month = self.number_in(1..=12)?;
        self.byte(b'-')?;
        Some((year, month, self.number_in(1..=31)?))
    }

    /// Reads a time, in microseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number_in(0..=24)?;
        self.byte(b':')?;
        let minute = self.number_in(0..=59)?;
        self.byte(b':')?;
        let second = self.number_in(0..=60)?;
        let mut micros = 0;
        if self.skip(b'.') {
            let length = self.bytes.len();
            micros = self.number(1, 6)?;
            for _ in length - self.bytes.len()..6 {
                micros *= 10;
            }
        }
        Some(((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros)
    }

    /// Reads an offset, in seconds east of Greenwich.
    fn zone(&mut self) -> Option<i64> {
        let is_west = !self.skip(b'+');
        if is_west {
            self.byte(b'-')?;
        }
        // A POSIX time zone may have such an offset: `MAX_TZDISP_HOUR` limits what the server
        // reads, not what it shows.
        let mut seconds = self.number(2, 3).filter(|hours| *hours <= 168)? * 3600;
        if self.skip(b':') {
            seconds += self.number_in(0..=59)? * 60;
            if self.skip(b':') {
                seconds += self.number_in(0..=59)?;
            }
        }
        Some(if is_west { -seconds } else { seconds })
    }

    /// The days since 2000-01-01, once the rest of the text has shown whether the year is BC.
    fn era(&mut self, (year, month, day): (i64, i64, i64)) -> Option<i64> {
        let year = match self.bytes {
            b" BC" => {
                self.bytes = &[];
                1 - year
            }
            _ => year,
        };
        Some(days_from_civil(year, month, day))
    }

    fn end(&self) -> Option<()> {
        self.bytes.is_empty().then_some(())
    }
}

/// The days of 400 years. After that the calendar repeats.
const DAYS_PER_CYCLE: i64 = 146_097;
/// The days from 0000-03-01, where the algorithm's years begin, to 1970-01-01.
const SHIFT: i64 = 719_468;

/// Howard Hinnant's `days_from_civil`. Its years begin in March, so that a leap day is the last day
/// of its year.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let of_cycle = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year;
    cycle * DAYS_PER_CYCLE + days - SHIFT - EPOCH_DAYS
}

/// Hinnant's `civil_from_days`: year, month, day.
const fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + EPOCH_DAYS + SHIFT;
    let cycle = days.div_euclid(DAYS_PER_CYCLE);
    let of_cycle = days.rem_euclid(DAYS_PER_CYCLE);
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + cycle * 400;
    if month < 10 {
        (year, (month + 3) as u32, day as u32)
    } else {
        (year + 1, (month - 9) as u32, day as u32)
    }
}

fn write_civil(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    write_year(year, out);
    let [m, n] = two(month);
    let [d, e] = two(day);
    out.extend_from_slice(&[b'-', m, n, b'-', d, e]);
}

fn write_year(year: i64, out: &mut Vec<u8>) {
    let size = year.unsigned_abs() as u32;
    if (1..=9999).contains(&year) {
        let [[a, b], [c, d]] = [two(size / 100), two(size % 100)];
        return out.extend_from_slice(&[a, b, c, d]);
    }
    out.push(if year < 0 { b'-' } else { b'+' });
    if size > 999_999 {
        out.push(b'0' + (size / 1_000_000) as u8);
    }
    for pair in [size / 10_000 % 100, size / 100 % 100, size % 100] {
        out.extend_from_slice(&two(pair));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<String> {
        let mut out = Vec::new();
        write(&mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    fn date(days: i32) -> Option<String> {
        written(|out| write_date(days, out))
    }

    fn timestamptz(micros: i64) -> Option<String> {
        written(|out| write_timestamp(micros, true, out))
    }

    fn read_timestamptz(text: &str) -> Option<String> {
        written(|out| timestamp_from_text(text.as_bytes(), true, out))
    }

    fn read_date(text: &str) -> Option<String> {
        written(|out| date_from_text(text.as_bytes(), out))
    }

    #[test]
    fn years_of_ecmascript_are_written_as_the_server_reads_them() {
        for (text, expected) in [
            ("-000043-03-15", Some("0044-03-15 BC")),
            ("+000000-01-01", Some("0001-01-01 BC")),
            ("+010000-01-01T00:00:00Z", Some("10000-01-01 00:00:00+00")),
            ("-004712-01-01T01:02:03.5", Some("4713-01-01 01:02:03.5 BC")),
            ("+5874897-12-31", Some("5874897-12-31")),
            ("2024-01-02", None),
            ("-1 2:03:04", None),
            ("+1-2", None),
            ("", None),
        ] {
            let written = with_server_year(text.as_bytes());
            assert_eq!(written, expected.map(|text| text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn dates_to_the_ends_of_the_calendar() {
        let check = |days, text: &str, iso: &str| {
            assert_eq!(date(days).as_deref(), Some(iso));
            assert_eq!(read_date(text).as_deref(), Some(iso), "{text}");
        };
        check(0, "2000-01-01", "2000-01-01");
        check(-1, "1999-12-31", "1999-12-31");
        check(59, "2000-02-29", "2000-02-29");
        check(i32::MAX, "infinity", "infinity");
        check(i32::MIN, "-infinity", "-infinity");
        check(*DATES.start(), "4714-11-24 BC", "-004713-11-24");
        check(*DATES.end(), "5874897-12-31", "+5874897-12-31");
        check(-730_119, "0001-01-01", "0001-01-01");
        check(-730_120, "0001-12-31 BC", "+000000-12-31");
        check(2_921_940, "10000-01-01", "+010000-01-01");
        for days in [DATES.start() - 1, DATES.end() + 1, i32::MAX - 1, i32::MIN + 1] {
            assert_eq!(date(days), None);
        }
    }

    #[test]
    fn timestamps_to_the_ends_of_time() {
        let check = |text: &str, iso: &str| {
            assert_eq!(read_timestamptz(text).as_deref(), Some(iso), "{text}");
        };
        check("2024-01-02 03:04:05+00", "2024-01-02T03:04:05Z");
        check("2024-01-02 03:04:05.1+05:30", "2024-01-01T21:34:05.1Z");
        check("2024-01-02 03:04:05.000001-08", "2024-01-02T11:04:05.000001Z");
        check("1800-01-01 00:00:00+00:53:28", "1799-12-31T23:06:32Z");
        check("0044-03-15 12:00:00+00 BC", "-000043-03-15T12:00:00Z");
        check("294276-12-31 23:59:59.999999+00", "+294276-12-31T23:59:59.999999Z");
        check("infinity", "infinity");
        check("-infinity", "-infinity");
        assert_eq!(timestamptz(TIMESTAMPS.start).as_deref(), Some("-004713-11-24T00:00:00Z"));
        for micros in [TIMESTAMPS.start - 1, TIMESTAMPS.end, i64::MAX - 1, i64::MIN + 1] {
            assert_eq!(timestamptz(micros), None);
        }
    }

    #[test]
    fn times_and_zones() {
        let time = |micros| written(|out| write_time(micros, out));
        assert_eq!(time(0).as_deref(), Some("00:00:00"));
        assert_eq!(time(MICROS_PER_DAY).as_deref(), Some("24:00:00"));
        assert_eq!(time(11_045_500_000).as_deref(), Some("03:04:05.5"));
        assert_eq!((time(-1), time(MICROS_PER_DAY + 1)), (None, None));
        let zoned = |zone| written(|out| write_timetz(0, zone, out));
        assert_eq!(zoned(-7200).as_deref(), Some("00:00:00+02"));
        assert_eq!(zoned(16_200).as_deref(), Some("00:00:00-04:30"));
        assert_eq!(zoned(-3208).as_deref(), Some("00:00:00+00:53:28"));
        assert_eq!((zoned(57_600), zoned(i32::MIN)), (None, None));
    }

    #[test]
    fn what_is_no_iso_text_is_an_error() {
        let garbage = [
            "",
            "2024-01-02",
            "02.01.2024 03:04:05 CET",
            "Tue Jan 02 03:04:05 2024 UTC",
            "2024-13-02 03:04:05+00",
            "2024-01-02 25:04:05+00",
            "2024-01-02 03:04:05",
            "2024-01-02 03:04:05+00 AD",
            "2024-01-02 03:04:05.+00",
            "2024-01-02 03:04:05.1234567+00",
            "99999999-01-02 03:04:05+00",
            "9999999-01-02 03:04:05+00",
            "infinity ",
        ];
        for text in garbage {
            assert_eq!(read_timestamptz(text), None, "{text}");
        }
        for text in ["", "2024-01", "01/02/2024", "2024-01-02 ", "2024-01-02 03:04:05"] {
            assert_eq!(read_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_calendar_is_that_of_chrono(days in -2_451_545_i64..95_000_000) {
            use chrono::{Datelike, NaiveDate, TimeDelta};
            let epoch = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
            if let Some(date) = epoch.checked_add_signed(TimeDelta::days(days)) {
                let civil = (i64::from(date.year()), date.month(), date.day());
                prop_assert_eq!(civil_from_days(days), civil);
                let (year, month, day) = civil;
                prop_assert_eq!(days_from_civil(year, month.into(), day.into()), days);
            }
        }

        #[test]
        fn any_text_is_a_timestamp_or_an_error(text in "[-0-9 :.+BC]{0,40}") {
            let _ = (read_timestamptz(&text), read_date(&text));
        }
    }
}
