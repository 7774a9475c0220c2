//! Writes an interval as the server does under `IntervalStyle = postgres`, whatever the session's
//! style is (`EncodeInterval` in the server's `datetime.c`).

use std::io::Write as _;

use crate::types::datetime::write_fraction;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Reads microseconds, days and months, in this order. Since PostgreSQL 17, all three at their
/// minimum or maximum mean infinity.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (micros, rest) = value.split_first_chunk()?;
    let (days, rest) = rest.split_first_chunk()?;
    let months = i32::from_be_bytes(*<&[u8; 4]>::try_from(rest).ok()?);
    let (micros, days) = (i64::from_be_bytes(*micros), i32::from_be_bytes(*days));
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => out.extend_from_slice(b"infinity"),
        (i64::MIN, i32::MIN, i32::MIN) => out.extend_from_slice(b"-infinity"),
        _ => write_parts(micros, days, months, out)?,
    }
    Some(())
}

fn write_parts(micros: i64, days: i32, months: i32, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let gap = if out.len() > start { " " } else { "" };
        // After a negative part, a part that is not negative has an explicit sign.
        let sign = if after_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        write!(out, "{gap}{sign}{value} {unit}{plural}").ok()?;
        after_negative = value < 0;
    }
    if micros == 0 && out.len() > start {
        return Some(());
    }
    if out.len() > start {
        out.push(b' ');
    }
    if micros < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    let micros = micros.unsigned_abs();
    let seconds = micros / MICROS_PER_SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(out, "{hours:02}:{minutes:02}:{:02}", seconds % 60).ok()?;
    write_fraction((micros % MICROS_PER_SECOND) as u32, out);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(micros: i64, days: i32, months: i32) -> String {
        let mut value = micros.to_be_bytes().to_vec();
        value.extend(days.to_be_bytes());
        value.extend(months.to_be_bytes());
        let mut out = b"in front".to_vec();
        write(&value, &mut out).unwrap();
        String::from_utf8(out).unwrap()["in front".len()..].to_owned()
    }

    #[test]
    fn parts_show_their_signs_as_the_server_shows_them() {
        assert_eq!(text(0, 0, 0), "00:00:00");
        assert_eq!(text(14_706_789_000, 3, 14), "1 year 2 mons 3 days 04:05:06.789");
        assert_eq!(text(0, 1, 1), "1 mon 1 day");
        assert_eq!(text(-14_706_000_000, 3, -14), "-1 years -2 mons +3 days -04:05:06");
        assert_eq!(text(1_000_000, -1, 0), "-1 days +00:00:01");
        assert_eq!(text(-1, 0, 0), "-00:00:00.000001");
        assert_eq!(text(3_600_000_000 * 100, 0, 0), "100:00:00");
        assert_eq!(text(i64::MIN, 0, 0), "-2562047788:00:54.775808");
        assert_eq!(text(i64::MAX, i32::MAX, i32::MAX), "infinity");
        assert_eq!(text(i64::MIN, i32::MIN, i32::MIN), "-infinity");
    }

    #[test]
    fn other_lengths_are_errors() {
        for length in (0..16).chain([17, 32]) {
            assert_eq!(write(&vec![0; length], &mut Vec::new()), None);
        }
    }
}
