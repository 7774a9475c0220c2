//! Reads the fields of an ErrorResponse or NoticeResponse (PostgreSQL manual, 55.8) while their
//! bytes arrive.
//!
//! A server may send reports of up to a gigabyte (`RAISE`). The parser keeps only the beginning of
//! each field, so that it never holds such a report as a whole.

use crate::base::{Error, ServerFields};

/// How many bytes of one field are kept.
pub(super) const LONGEST_FIELD: usize = 8 * 1024;

/// What the next byte means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The letter of a field, or the end of the report.
    Letter,
    TextOf(u8),
    /// The report has ended. A further byte is an error.
    Nothing,
}

#[derive(Debug)]
pub struct ReportReader {
    next: Next,
    /// The beginning of the text that is being read.
    text: Vec<u8>,
    translated_severity: String,
    fields: Box<ServerFields>,
}

impl Default for ReportReader {
    fn default() -> Self {
        let fields = Box::new(ServerFields::default());
        Self { next: Next::Letter, text: Vec::new(), translated_severity: String::new(), fields }
    }
}

impl ReportReader {
    /// Reads the next bytes of the body.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.next {
                Next::Letter => {
                    self.next = if *first == 0 { Next::Nothing } else { Next::TextOf(*first) };
                    bytes = rest;
                }
                Next::TextOf(letter) => {
                    let end = bytes.iter().position(|byte| *byte == 0);
                    let (text, behind) = bytes.split_at(end.unwrap_or(bytes.len()));
                    let room = LONGEST_FIELD.saturating_sub(self.text.len());
                    self.text.extend_from_slice(text.get(..room).unwrap_or(text));
                    bytes = behind.get(1..).unwrap_or_default();
                    if end.is_some() {
                        self.end_field(letter);
                        self.next = Next::Letter;
                    }
                }
                Next::Nothing => return Err(broken("bytes behind its end")),
            }
        }
        Ok(())
    }

    /// Ends the report, after the whole body was read.
    pub fn finish(self) -> Result<Box<ServerFields>, Error> {
        if self.next != Next::Nothing {
            return Err(broken("a field without an end"));
        }
        let mut fields = self.fields;
        if fields.severity.is_empty() {
            // Servers before 9.6 and poolers send only the translated severity.
            fields.severity = self.translated_severity;
        }
        if !is_sqlstate(&fields.code) {
            fields.code = "XX000".to_owned();
        }
        Ok(fields)
    }

    fn end_field(&mut self, letter: u8) {
        let text = cut(&self.text);
        self.text.clear();
        let fields = &mut self.fields;
        // The letters are those of the manual, 55.8.
        match letter {
            b'S' => self.translated_severity = text,
            b'V' => fields.severity = text,
            b'C' => fields.code = text,
            b'M' => fields.message = text,
            b'D' => fields.detail = Some(text),
            b'H' => fields.hint = Some(text),
            b'P' => fields.position = text.parse().ok(),
            b'p' => fields.internal_position = text.parse().ok(),
            b'q' => fields.internal_query = Some(text),
            b'W' => fields.where_ = Some(text),
            b's' => fields.schema = Some(text),
            b't' => fields.table = Some(text),
            b'c' => fields.column = Some(text),
            b'd' => fields.data_type = Some(text),
            b'n' => fields.constraint = Some(text),
            b'F' => fields.file = Some(text),
            b'L' => fields.line = text.parse().ok(),
            b'R' => fields.routine = Some(text),
            // The manual asks frontends to ignore unknown fields.
            _ => {}
        }
    }
}

fn broken(has: &str) -> Error {
    Error::protocol(format!("an error or notice has {has}"))
}

/// Whether a code has the form of an SQLSTATE (PostgreSQL manual, appendix A). Programs decide by
/// the code, so any other text is not passed on.
fn is_sqlstate(code: &str) -> bool {
    code.len() == 5 && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

/// The bytes as text. Replacing invalid bytes may make the text longer, so the text is cut again.
fn cut(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut end = text.len().min(LONGEST_FIELD);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_same_in_whatever_parts_it_comes() {
        let message = "x".repeat(100_000);
        let body = format!("SFEHLER\0VERROR\0C23505\0M{message}\0P7\0Fa.c\0Rroutine\0\0");
        let mut whole = ReportReader::default();
        whole.read(body.as_bytes()).unwrap();
        let whole = whole.finish().unwrap();
        assert_eq!(whole.message, message[..LONGEST_FIELD]);
        assert_eq!((whole.position, whole.routine.as_deref()), (Some(7), Some("routine")));
        for size in [1, 7, 8192, 30_000] {
            let mut parts = ReportReader::default();
            for part in body.as_bytes().chunks(size) {
                parts.read(part).unwrap();
                assert!(parts.text.capacity() <= 2 * LONGEST_FIELD);
            }
            assert_eq!(parts.finish().unwrap(), whole, "{size}");
        }
    }
}
