//! The binary form of values that are given as text, where the text leaves no doubt. Arrays with a
//! NULL among such values travel in it, because a server may be told to read no NULL in an array's
//! text (`array_nulls`).

use bytes::{BufMut, BytesMut};

use crate::types::oid;

/// Appends the binary form; `None` where only the server reads the text.
pub(super) fn put(text: &[u8], type_oid: u32, out: &mut BytesMut) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    match type_oid {
        oid::BOOL => match text {
            "true" | "t" => out.put_u8(1),
            "false" | "f" => out.put_u8(0),
            _ => return None,
        },
        oid::INT2 => out.put_i16(integer(text)?),
        oid::INT4 => out.put_i32(integer(text)?),
        oid::INT8 => out.put_i64(integer(text)?),
        oid::OID | oid::XID | oid::CID => out.put_u32(integer(text)?),
        oid::XID8 => out.put_u64(integer(text)?),
        oid::FLOAT4 => out.put_f32(float(text)?.parse().ok()?),
        oid::FLOAT8 => out.put_f64(float(text)?.parse().ok()?),
        oid::NUMERIC => return put_numeric(text, out),
        // A longer name is cut by the server, with a notice.
        oid::NAME if text.len() < 64 => out.extend_from_slice(text.as_bytes()),
        oid::CHAR if text.len() == 1 => out.extend_from_slice(text.as_bytes()),
        oid::UUID => return put_uuid(text, out),
        oid::JSONB => {
            out.put_u8(1);
            out.extend_from_slice(text.as_bytes());
        }
        oid::BYTEA => match text.strip_prefix("\\x") {
            Some(hex) => return put_hex(hex, out),
            None if !text.contains('\\') => out.extend_from_slice(text.as_bytes()),
            None => return None,
        },
        _ => return None,
    }
    Some(())
}

fn integer<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Rust reads more than the server does: `inf`, and others.
fn float(text: &str) -> Option<&str> {
    let is_plain =
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    (is_plain || matches!(text, "NaN" | "Infinity" | "-Infinity")).then_some(text)
}

fn put_hex(hex: &str, out: &mut BytesMut) -> Option<()> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    for [high, low] in pairs {
        out.put_u8(digit(*high)? << 4 | digit(*low)?);
    }
    Some(())
}

fn put_uuid(text: &str, out: &mut BytesMut) -> Option<()> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let is_hyphen = |(at, byte): (usize, u8)| HYPHENS.contains(&at) == (byte == b'-');
    if text.len() != 36 || !text.bytes().enumerate().all(is_hyphen) {
        return None;
    }
    put_hex(&text.replace('-', ""), out)
}

/// `numeric_recv` of the server: digits of four decimal places each, and how many stand behind the
/// point.
fn put_numeric(text: &str, out: &mut BytesMut) -> Option<()> {
    const NEGATIVE: u16 = 0x4000;
    const NAN: u16 = 0xC000;
    const PLACES: usize = 4;
    const LONGEST: usize = 1000;
    if text == "NaN" {
        for word in [0, 0, NAN, 0] {
            out.put_u16(word);
        }
        return Some(());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || digits.len() > LONGEST || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let scale = fraction.len();
    // Whole groups on both sides of the point.
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
    let (weight, sign) = if groups.is_empty() { (0, 0) } else { (weight, sign) };
    out.put_u16(u16::try_from(groups.len()).ok()?);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(u16::try_from(scale).ok()?);
    groups.iter().for_each(|group| out.put_u16(*group));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::numeric;

    #[test]
    fn a_numeric_comes_back_as_it_went() {
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
            put(text.as_bytes(), oid::NUMERIC, &mut binary).unwrap();
            numeric::write(&binary, &mut shown).unwrap();
            assert_eq!(String::from_utf8(shown).unwrap(), text);
        }
        for text in ["", "-", ".5", "1e5", " 1", "0x1", "1_0", "Infinity", "é"] {
            assert_eq!(put(text.as_bytes(), oid::NUMERIC, &mut BytesMut::new()), None, "{text}");
        }
    }

    #[test]
    fn other_texts_have_the_form_that_the_server_sends() {
        let table: [(u32, &str, Option<&[u8]>); 14] = [
            (oid::BOOL, "true", Some(&[1])),
            (oid::BOOL, "yes", None),
            (oid::INT4, "-1", Some(&[255; 4])),
            (oid::INT2, "40000", None),
            (oid::OID, "1", Some(&[0, 0, 0, 1])),
            (oid::FLOAT8, "1e0", Some(&[0x3f, 0xf0, 0, 0, 0, 0, 0, 0])),
            (oid::FLOAT8, "inf", None),
            (oid::JSONB, "1", Some(b"\x011")),
            (oid::NAME, "a", Some(b"a")),
            (oid::CHAR, "a", Some(b"a")),
            (oid::BYTEA, "\\x00fF", Some(&[0, 255])),
            (oid::BYTEA, "a\\b", None),
            (oid::UUID, "00000000-0000-0000-0000-00000000000g", None),
            (oid::INTERVAL, "1 day", None),
        ];
        for (type_oid, text, expected) in table {
            let mut out = BytesMut::new();
            let put = put(text.as_bytes(), type_oid, &mut out);
            assert_eq!(put.map(|()| &out[..]), expected, "{type_oid} {text}");
        }
        let mut out = BytesMut::new();
        put(b"00112233-4455-6677-8899-aabbccddeeff", oid::UUID, &mut out).unwrap();
        assert_eq!(out.len(), 16);
    }
}
