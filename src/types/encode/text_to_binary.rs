//! The binary form of values that are given as text, if the text is unambiguous. An array with such
//! values and a NULL is sent in binary: the server may be configured to read no NULL in an array's
//! text (`array_nulls`).

use bytes::{BufMut, BytesMut};

use crate::types::{numeric, oid};

/// Appends the binary form. `None` if only the server can read the text.
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
        oid::NUMERIC => return numeric::put(text, out),
        // The server cuts a longer name, with a notice.
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

/// Rust accepts more forms than the server does, such as `inf`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
