//! bytea and uuid. Bytes cross into JavaScript as base64 in the batch's text, which so stays ASCII.
//! Node decodes base64 four times faster than hex.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Appends the bytes as base64 without padding.
pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    out.resize(start + base64::encoded_len(bytes.len(), false)?, 0);
    BASE64.encode_slice(bytes, out.get_mut(start..)?).ok()?;
    Some(())
}

/// The prefix of the hex digits.
pub(super) const HEX: [u8; 2] = *b"\\x";

/// Reads the text form of a bytea, for both values of `bytea_output` (PostgreSQL manual, 8.4).
pub(super) fn bytea_from_text(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let bytes = match text.strip_prefix(&HEX) {
        Some(hex) => from_hex(hex)?,
        None => from_escapes(text)?,
    };
    write_base64(&bytes, out)
}

fn from_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(hex.len()).ok()?;
    bytes.extend_from_slice(hex);
    read_hex(&mut bytes, 0)?;
    Some(bytes)
}

/// Marks a byte that is not a hex digit.
const NO_DIGIT: u8 = 0xFF;
/// The values of the hex digits.
#[allow(clippy::indexing_slicing)] // In a constant, an index that is wrong is the compiler's error.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_DIGIT; 256];
    let digits = *b"0123456789abcdefABCDEF";
    let mut n = 0;
    while n < digits.len() {
        nibbles[digits[n] as usize] = if n < 16 { n as u8 } else { n as u8 - 6 };
        n += 1;
    }
    nibbles
};

/// Decodes the hex digits in `out` from `start` on, in place.
pub(super) fn read_hex(out: &mut Vec<u8>, start: usize) -> Option<()> {
    let digits = out.get_mut(start..)?;
    if digits.len() % 2 != 0 {
        return None;
    }
    let nibble = |digit: u8| NIBBLES.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT);
    let mut all = 0;
    for n in 0..digits.len() / 2 {
        let (high, low) = (nibble(*digits.get(2 * n)?), nibble(*digits.get(2 * n + 1)?));
        all |= high | low;
        *digits.get_mut(n)? = high << 4 | low;
    }
    out.truncate(start + (out.len() - start) / 2);
    (all < 16).then_some(())
}

fn from_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(text.len()).ok()?;
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        (rest, _) = match (first, others) {
            (b'\\', [b'\\', others @ ..]) => (others, bytes.push(b'\\')),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', others @ ..]) => {
                (others, bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')))
            }
            (b'\\', _) => return None,
            (byte, others) => (others, bytes.push(*byte)),
        };
    }
    Some(bytes)
}

pub(super) fn write_uuid(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut text = [0; Hyphenated::LENGTH];
    let uuid = Uuid::from_slice(value).ok()?;
    out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        bytea_from_text(text, &mut out)?;
        Some(BASE64.decode(out).unwrap())
    }

    #[test]
    fn both_text_forms_of_bytea() {
        let check = |text: &[u8], bytes: &[u8]| assert_eq!(read(text).as_deref(), Some(bytes));
        check(b"\\x", b"");
        check(b"\\x00fFa0", &[0, 255, 160]);
        check(b"", b"");
        check(b"a\\\\b\\000\\377'", b"a\\b\0\xff'");
        for broken in [&b"\\x0"[..], b"\\xgg", b"\\x 00", b"\\", b"\\4", b"\\400", b"\\08", b"\\n"]
        {
            assert_eq!(read(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_uuid_is_sixteen_bytes() {
        let mut out = Vec::new();
        let value: Vec<u8> = (0..16).map(|n| n * 17).collect();
        write_uuid(&value, &mut out).unwrap();
        assert_eq!(out, b"00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(write_uuid(&value[1..], &mut out), None);
        assert_eq!(write_uuid(&[value, vec![0]].concat(), &mut out), None);
    }

    proptest! {
        #[test]
        fn any_text_is_bytes_or_an_error(text: Vec<u8>, bytes: Vec<u8>) {
            let _ = read(&text);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(read(format!("\\x{hex}").as_bytes()), Some(bytes));
        }
    }
}
