//! The binary form of a numeric, in both directions. It is read as the text that the server itself
//! would write (`get_str_from_var` in the server's `numeric.c`), with all digits and the scale. It
//! is written from such a text.

use bytes::{BufMut, BytesMut};

/// Each digit of the binary form stands for four decimal digits.
const BASE: u16 = 10_000;
const PLACES: usize = 4;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// `NUMERIC_DSCALE_MASK`: the most digits after the decimal point.
const MOST_SCALE: u16 = 0x3FFF;

/// The most digits of a text that is sent in binary. Longer texts are left to the server.
const MOST_DIGITS: usize = 1000;

/// Appends the text. A value of a few bytes can have up to 131,072 digits before the decimal point
/// and 16,383 after it.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (head, rest) = value.split_first_chunk::<8>()?;
    let [count, weight, sign, scale] = words(head);
    let (digits, left_over) = rest.as_chunks::<2>();
    if !left_over.is_empty() || digits.len() != usize::from(count) || scale > MOST_SCALE {
        return None;
    }
    match sign {
        POSITIVE => {}
        NEGATIVE => out.push(b'-'),
        NAN => return special(digits, b"NaN", out),
        INFINITY => return special(digits, b"Infinity", out),
        NEGATIVE_INFINITY => return special(digits, b"-Infinity", out),
        _ => return None,
    }
    // How many of the digits are before the decimal point.
    let whole = isize::from(weight.cast_signed()) + 1;
    write_whole(digits, whole, out)?;
    write_fraction(digits, whole, usize::from(scale), out)
}

fn words(head: &[u8; 8]) -> [u16; 4] {
    let [a, b, c, d, e, f, g, h] = *head;
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes)
}

fn special(digits: &[[u8; 2]], name: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(name);
    digits.is_empty().then_some(())
}

fn write_whole(digits: &[[u8; 2]], whole: isize, out: &mut Vec<u8>) -> Option<()> {
    let Ok(whole @ 1..) = usize::try_from(whole) else {
        out.push(b'0');
        return Some(());
    };
    let first = places(digit(digits, 0)?);
    let leading = first.iter().take(PLACES - 1).take_while(|&&place| place == b'0').count();
    out.extend_from_slice(first.get(leading..)?);
    for place in 1..whole {
        out.extend_from_slice(&places(digit(digits, place)?));
    }
    Some(())
}

fn write_fraction(digits: &[[u8; 2]], whole: isize, scale: usize, out: &mut Vec<u8>) -> Option<()> {
    if scale == 0 {
        return Some(());
    }
    out.push(b'.');
    let end = out.len() + scale;
    let mut place = whole;
    while out.len() < end {
        // All digits before the first and after the last one are zero.
        let four = usize::try_from(place).map_or(Some(0), |place| digit(digits, place))?;
        out.extend_from_slice(&places(four));
        place += 1;
    }
    out.truncate(end);
    Some(())
}

fn digit(digits: &[[u8; 2]], place: usize) -> Option<u16> {
    let digit = digits.get(place).map_or(0, |digit| u16::from_be_bytes(*digit));
    (digit < BASE).then_some(digit)
}

const fn places(digit: u16) -> [u8; PLACES] {
    [
        b'0' + (digit / 1000) as u8,
        b'0' + (digit / 100 % 10) as u8,
        b'0' + (digit / 10 % 10) as u8,
        b'0' + (digit % 10) as u8,
    ]
}

/// Appends the binary form of a decimal number, as the server's `numeric_recv` reads it. `None` if
/// only the server can read the text.
pub(super) fn put(text: &str, out: &mut BytesMut) -> Option<()> {
    if text == "NaN" {
        for word in [0, 0, NAN, 0] {
            out.put_u16(word);
        }
        return Some(());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || digits.len() > MOST_DIGITS || !are_digits(whole) || !are_digits(fraction)
    {
        return None;
    }
    let scale = fraction.len();
    // Whole groups of digits, on both sides of the decimal point.
    let front = whole.len().div_ceil(PLACES) * PLACES;
    let behind = scale.div_ceil(PLACES) * PLACES;
    let padded = format!("{whole:0>front$}{fraction:0<behind$}");
    let groups: Vec<u16> = padded
        .as_bytes()
        .chunks(PLACES)
        .map(|group| group.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0')))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let groups = groups.get(leading..).unwrap_or_default();
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
    let groups = groups.get(..groups.len() - trailing).unwrap_or_default();
    let weight = i16::try_from(front / PLACES).ok()? - 1 - i16::try_from(leading).ok()?;
    let (weight, sign) = if groups.is_empty() { (0, POSITIVE) } else { (weight, sign) };
    out.put_u16(u16::try_from(groups.len()).ok()?);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(u16::try_from(scale).ok()?);
    groups.iter().for_each(|group| out.put_u16(*group));
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        let head = [count, weight.cast_unsigned(), sign, scale];
        head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
    }

    fn text(value: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        write(value, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    /// The server's own binary form of a decimal number (`numeric_in`, then `numeric_send`).
    fn from_decimal(negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
        let padded = |zeros: usize| "0".repeat(zeros);
        let front = padded((4 - whole.len() % 4) % 4) + whole;
        let back = fraction.to_owned() + &padded((4 - fraction.len() % 4) % 4);
        let all = front.clone() + &back;
        let mut digits: Vec<u16> =
            (0..all.len() / 4).map(|n| all[4 * n..4 * n + 4].parse().unwrap()).collect();
        let mut weight = i16::try_from(front.len() / 4).unwrap() - 1;
        while digits.first() == Some(&0) {
            digits.remove(0);
            weight -= 1;
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let is_zero = digits.is_empty();
        let sign = if negative && !is_zero { NEGATIVE } else { POSITIVE };
        let scale = u16::try_from(fraction.len()).unwrap();
        binary(if is_zero { 0 } else { weight }, sign, scale, &digits)
    }

    #[test]
    fn scale_and_sign_are_kept() {
        let check = |weight, sign, scale, digits: &[u16], expect: &str| {
            assert_eq!(text(&binary(weight, sign, scale, digits)).as_deref(), Some(expect));
        };
        check(0, POSITIVE, 0, &[], "0");
        check(0, POSITIVE, 3, &[], "0.000");
        check(0, POSITIVE, 2, &[12, 5000], "12.50");
        check(1, NEGATIVE, 0, &[1, 1], "-10001");
        check(-1, POSITIVE, 1, &[5000], "0.5");
        check(-2, NEGATIVE, 8, &[1], "-0.00000001");
        check(2, POSITIVE, 0, &[1], "100000000");
        check(0, NAN, 0, &[], "NaN");
        check(0, INFINITY, 0, &[], "Infinity");
        check(0, NEGATIVE_INFINITY, 0, &[], "-Infinity");
    }

    #[test]
    fn broken_numerics_are_errors_or_bounded() {
        let mut cases = vec![
            binary(0, 0xBEEF, 0, &[1]),
            binary(0, POSITIVE, 0, &[10_000]),
            binary(-1, POSITIVE, 4, &[10_000]),
            binary(0, POSITIVE, MOST_SCALE + 1, &[1]),
            binary(0, NAN, 0, &[1]),
            b"\x7f\xff\0\0\0\0\0\0".to_vec(),
            b"\xff\xff\0\0\0\0\0\0".to_vec(),
            b"\0\x01\0\0\0\0\0\0\0".to_vec(),
        ];
        cases.extend((0..8).map(|cut| binary(0, POSITIVE, 0, &[])[..cut].to_vec()));
        for case in cases {
            assert_eq!(text(&case), None, "{case:?}");
        }
        let longest = text(&binary(i16::MAX, NEGATIVE, MOST_SCALE, &[9999])).unwrap();
        assert_eq!(longest.len(), 1 + 131_072 + 1 + 16_383);
        assert_eq!(text(&binary(i16::MIN, POSITIVE, 2, &[1])).as_deref(), Some("0.00"));
    }

    #[test]
    fn a_text_comes_back_as_it_went() {
        for text in [
            "0",
            "0.00",
            "1",
            "-1",
            "12345",
            "10000",
            "99990000",
            "0.1",
            "-0.00012",
            "1.50",
            "123456.789",
            "100000000.00000001",
            "NaN",
        ] {
            let (mut binary, mut shown) = (BytesMut::new(), Vec::new());
            put(text, &mut binary).unwrap();
            write(&binary, &mut shown).unwrap();
            assert_eq!(String::from_utf8(shown).unwrap(), text);
        }
        for text in ["", "-", ".5", "1e5", " 1", "0x1", "1_0", "Infinity", "é"] {
            assert_eq!(put(text, &mut BytesMut::new()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_number_comes_back_digit_by_digit(
            negative: bool,
            whole in "0|[1-9][0-9]{0,40}",
            fraction in "[0-9]{0,40}",
        ) {
            let is_zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
            let sign = if negative && !is_zero { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let expect = format!("{sign}{whole}{point}{fraction}");
            prop_assert_eq!(text(&from_decimal(negative, &whole, &fraction)), Some(expect));
        }

        #[test]
        fn any_bytes_are_a_bounded_number_or_an_error(value: Vec<u8>) {
            if let Some(text) = text(&value) {
                prop_assert!(text.len() <= 1 + 131_072 + 1 + 16_383);
                prop_assert!(text.parse::<f64>().is_ok());
            }
        }
    }
}
