//! Points in time, of the whole range that the server has, and how it and this client write them.

use proptest::prelude::*;

pub(super) const LAST_YEAR_OF_TIMESTAMPS: i32 = 294_276;
pub(super) const LAST_YEAR_OF_DATES: i32 = 5_874_897;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The text of a date, as the server reads it: `0044-03-15 BC`.
pub(super) fn dates() -> impl Strategy<Value = String> {
    let ends =
        prop::sample::select(vec!["4714-11-24 BC", "5874897-12-31", "infinity", "-infinity"]);
    let drawn = days(LAST_YEAR_OF_DATES).prop_map(|(date, era)| format!("{date}{era}"));
    prop_oneof![1 => ends.prop_map(str::to_owned), 9 => drawn]
}

/// The text of a timestamp, with `zone` behind its time: `0044-03-15 12:00:00.000001+00 BC`.
pub(super) fn timestamps(zone: &'static str) -> impl Strategy<Value = String> {
    let first = format!("4714-11-24 00:00:00{zone} BC");
    let last = format!("294276-12-31 23:59:59.999999{zone}");
    let ends = vec![first, last, "infinity".to_owned(), "-infinity".to_owned()];
    let drawn = (days(LAST_YEAR_OF_TIMESTAMPS), times())
        .prop_map(move |((date, era), time)| format!("{date} {time}{zone}{era}"));
    prop_oneof![1 => prop::sample::select(ends), 9 => drawn]
}

/// A day, and its era behind it. From 4713 BC on all of each year is there.
fn days(last_year: i32) -> impl Strategy<Value = (String, &'static str)> {
    let years = prop_oneof![
        4 => 1900..=2100,
        1 => -1..=1,
        2 => -4712..=10,
        1 => 9990..=10_010,
        3 => -4712..=last_year,
    ];
    let any_day = (years, 1..=12_u32, 1..=31_u32);
    // Where the calendar has its exceptions.
    let centuries = (-47..=last_year / 100).prop_map(|century| century * 100);
    let turn = prop::sample::select(vec![(1, 1), (2, 28), (2, 29), (3, 1), (12, 31)]);
    let exceptions = (centuries, turn).prop_map(|(year, (month, day))| (year, month, day));
    prop_oneof![4 => any_day, 1 => exceptions].prop_map(|(year, month, day)| {
        let day = day.min(length_of_month(year, month));
        let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
        (format!("{year:04}-{month:02}-{day:02}"), era)
    })
}

const fn length_of_month(year: i32, month: u32) -> u32 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn times() -> impl Strategy<Value = String> {
    let micros = prop_oneof![
        1 => Just(0),
        1 => (0..86_400_i64).prop_map(|second| second * MICROS_PER_SECOND),
        3 => 0..MICROS_PER_DAY,
    ];
    micros.prop_map(time)
}

/// `12:34:56.000001`.
pub(super) fn time(micros: i64) -> String {
    let (seconds, micros) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// What the server shows under `DateStyle = ISO`, in UTC where it has a zone, as ISO 8601 has it
/// and ECMAScript's expanded years: `0044-03-15 12:00:00+00 BC` is `-000043-03-15T12:00:00Z`.
pub(super) fn iso(shown: &str) -> String {
    if shown.ends_with("infinity") {
        return shown.to_owned();
    }
    let (shown, is_bc) = match shown.strip_suffix(" BC") {
        Some(before) => (before, true),
        None => (shown, false),
    };
    let (digits, rest) = shown.split_once('-').unwrap();
    let rest = rest.replace(' ', "T").replace("+00", "Z");
    match (digits.parse::<i32>().unwrap(), is_bc) {
        (year @ 1..=9999, false) => format!("{year:04}-{rest}"),
        (year, false) => format!("+{year:06}-{rest}"),
        // The year before 1 is 1 BC, and the year 0.
        (1, true) => format!("+000000-{rest}"),
        (year, true) => format!("-{:06}-{rest}", year - 1),
    }
}
