//! Converts long text into one of the two forms in which V8 stores text. V8's own decoder reads
//! each byte twice, and takes several times as long.
//!
//! The text was checked when it was appended. Bytes that are not valid UTF-8 would become some
//! other text, and do no other harm.

/// The first byte of the UTF-8 form of the characters beyond U+00FF.
const BEYOND_LATIN1: u8 = 0xC4;

/// Text in one of the two forms.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// In Latin-1.
    Narrow(&'a [u8]),
    /// In UTF-16.
    Wide(&'a [u16]),
}

/// The memory for texts, reused from one text to the next.
#[derive(Debug, Default)]
pub(super) struct Transcoded {
    narrow: Vec<u8>,
    wide: Vec<u16>,
}

impl Transcoded {
    /// `None` if there is not enough memory for the result.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<Text<'_>> {
        let Self { narrow, wide } = self;
        if text.iter().fold(false, |beyond, byte| beyond | (*byte >= BEYOND_LATIN1)) {
            wide.clear();
            wide.try_reserve(text.len()).ok()?;
            write_utf16(text, wide);
            Some(Text::Wide(wide))
        } else {
            narrow.clear();
            narrow.try_reserve(text.len()).ok()?;
            write_latin1(text, narrow);
            Some(Text::Narrow(narrow))
        }
    }
}

const fn continued(byte: u8) -> u32 {
    (byte & 0x3F) as u32
}

/// Writes text without characters beyond Latin-1.
fn write_latin1(mut text: &[u8], out: &mut Vec<u8>) {
    loop {
        text = match text {
            [] => return,
            [lead @ 0xC0..=0xFF, next, rest @ ..] => {
                out.push(lead << 6 | (next & 0x3F));
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

fn write_utf16(mut text: &[u8], out: &mut Vec<u16>) {
    loop {
        text = match text {
            [] => return,
            [byte @ ..0x80, rest @ ..] => {
                out.push(u16::from(*byte));
                rest
            }
            [a @ 0xE0..0xF0, b, c, rest @ ..] => {
                let high = (u32::from(*a & 0x0F) << 12) | (continued(*b) << 6);
                out.push((high | continued(*c)) as u16);
                rest
            }
            [a @ 0xF0..=0xFF, b, c, d, rest @ ..] => {
                let high = (u32::from(*a & 0x07) << 18) | (continued(*b) << 12);
                let beyond = (high | (continued(*c) << 6) | continued(*d)).wrapping_sub(0x1_0000);
                out.push(0xD800 | ((beyond >> 10) & 0x3FF) as u16);
                out.push(0xDC00 | (beyond & 0x3FF) as u16);
                rest
            }
            [a, b, rest @ ..] => {
                out.push(((u32::from(*a & 0x1F) << 6) | continued(*b)) as u16);
                rest
            }
            [_] => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) {
        let mut transcoded = Transcoded::default();
        transcoded.read("before é√".as_bytes()).unwrap();
        let units: Vec<u16> = text.encode_utf16().collect();
        match transcoded.read(text.as_bytes()).unwrap() {
            Text::Wide(wide) => assert_eq!(wide, units),
            Text::Narrow(narrow) => {
                let narrow = narrow.iter().map(|byte| u16::from(*byte));
                assert!(narrow.eq(units), "{text:?}");
            }
        }
    }

    #[test]
    fn characters_at_the_limits_of_each_length() {
        check("");
        for character in
            "\0\x7f\u{80}\u{ff}\u{100}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}".chars()
        {
            check(&format!("{character}"));
            check(&format!("a{character}\u{ff}{character}"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_as_the_standard_library_has_it(text in ".*", narrow in "[\0-\u{ff}]*") {
            check(&text);
            check(&narrow);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes: Vec<u8>) {
            assert!(Transcoded::default().read(&bytes).is_some());
            write_latin1(&bytes, &mut Vec::new());
        }
    }
}
