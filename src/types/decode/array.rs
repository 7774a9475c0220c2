//! Arrays, from both forms in which the server sends them, as JSON. The JSON is nested as deep as
//! the array has dimensions, with `null` for NULL. JavaScript has no lower bounds, so they are
//! discarded.
//!
//! JSON expresses some elements exactly: booleans, numbers of up to 53 bits, and text. All others
//! become strings, which `js/` converts. Nothing here recurses, and no count that the server claims
//! decides how much memory is allocated.

use std::borrow::Cow;

use crate::base::memory::LARGE;
use crate::protocol::Format;

use super::scalar::{self, Scalar};

/// The server's `MAXDIM`.
const MOST_DIMENSIONS: usize = 6;
/// The length that marks a NULL in an array's binary form.
const NULL: i32 = -1;
/// The longest JSON of one array. Without a limit, a few bytes could claim many numerics of 131,072
/// digits each.
const LONGEST: usize = 1 << 28;

/// 131,072 digits before the decimal point, and 16,383 after it.
const LONGEST_NUMERIC: usize = 150_000;

/// How the elements of an array column are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elements {
    pub(super) scalar: Scalar,
    pub(super) type_oid: u32,
    /// The element type that the binary form names. If that is a domain, `type_oid` is its base
    /// type.
    pub(super) member: u32,
    pub(super) format: Format,
    /// The delimiter in the text form: `typdelim`.
    pub(super) delimiter: u8,
}

impl Elements {
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self.format {
            Format::Binary => self.write_binary(value, out),
            Format::Text => self.write_text(value, out),
        }
    }

    /// Reads the server's `array_send`: the number of dimensions, whether there are NULLs, the
    /// element type, the length and lower bound of each dimension, and the elements, each after its
    /// length.
    fn write_binary(self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut rest = value;
        let dimensions = usize::try_from(take_i32(&mut rest)?).ok()?;
        let has_nulls = take_i32(&mut rest)?;
        let type_oid = take_i32(&mut rest)?.cast_unsigned();
        if dimensions > MOST_DIMENSIONS || !matches!(has_nulls, 0 | 1) || type_oid != self.member {
            return None;
        }
        if dimensions == 0 {
            out.extend_from_slice(b"[]");
            return rest.is_empty().then_some(());
        }
        let mut lengths = [0; MOST_DIMENSIONS];
        for length in lengths.iter_mut().take(dimensions) {
            *length = usize::try_from(take_i32(&mut rest)?).ok().filter(|&length| length > 0)?;
            take_i32(&mut rest)?;
        }
        // How many elements one step in each dimension has. The first span covers all elements.
        let mut spans = [0; MOST_DIMENSIONS];
        let mut count = 1_usize;
        for (span, length) in spans.iter_mut().zip(lengths).take(dimensions).rev() {
            count = count.checked_mul(length)?;
            *span = count;
        }
        // Each element takes at least the four bytes of its length.
        if count > rest.len() / 4 {
            return None;
        }
        let spans = spans.get(..dimensions)?;
        for n in 0..count {
            if n > 0 {
                out.push(b',');
            }
            let opened = spans.iter().filter(|&&span| n.is_multiple_of(span)).count();
            out.extend(std::iter::repeat_n(b'[', opened));
            match take_i32(&mut rest)? {
                NULL => out.extend_from_slice(b"null"),
                length => {
                    let (element, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                    rest = behind;
                    self.write_element(element, out)?;
                }
            }
            let closed = spans.iter().filter(|&&span| (n + 1).is_multiple_of(span)).count();
            out.extend(std::iter::repeat_n(b']', closed));
        }
        rest.is_empty().then_some(())
    }

    /// Reads the server's `array_out` (PostgreSQL manual, 8.15.6):
    /// `[2:3]={{1,NULL},{"a,b","c\"d"}}`.
    fn write_text(self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut rest = without_bounds(value)?;
        if rest == b"{}" {
            out.extend_from_slice(b"[]");
            return Some(());
        }
        let mut depth = 0;
        // All elements are at the same depth as the first one.
        let mut bottom = None;
        loop {
            // An element or an opening brace must follow.
            while let Some((b'{', behind)) = rest.split_first() {
                rest = behind;
                depth += 1;
                out.push(b'[');
            }
            if depth == 0 || depth > MOST_DIMENSIONS || *bottom.get_or_insert(depth) != depth {
                return None;
            }
            rest = self.take_text_element(rest, out)?;
            // A delimiter or closing braces must follow.
            while let Some((b'}', behind)) = rest.split_first() {
                rest = behind;
                depth = usize::checked_sub(depth, 1)?;
                out.push(b']');
            }
            match rest.split_first() {
                None => return (depth == 0).then_some(()),
                Some((&byte, behind)) if byte == self.delimiter && depth > 0 => rest = behind,
                Some(_) => return None,
            }
            out.push(b',');
        }
    }

    /// Returns the text after the element.
    fn take_text_element<'a>(self, rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let (element, behind) = take_quoted(quoted)?;
            self.write_element(&element, out)?;
            return Some(behind);
        }
        let is_end =
            |&byte: &u8| byte == self.delimiter || matches!(byte, b'{' | b'}' | b'"' | b'\\');
        let (element, behind) = rest.split_at_checked(rest.iter().position(is_end)?)?;
        match element {
            b"" => return None,
            b"NULL" => out.extend_from_slice(b"null"),
            element => self.write_element(element, out)?,
        }
        Some(behind)
    }

    fn write_element(self, element: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if out.len().max(element.len()) >= LARGE {
            // JSON may escape one byte as six, and a few bytes can claim a numeric with all its
            // digits.
            out.try_reserve(element.len().checked_mul(6)?.checked_add(LONGEST_NUMERIC)?).ok()?;
        }
        scalar::write_json(element, self.scalar, out)?;
        (out.len() <= LONGEST).then_some(())
    }
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(i32::from_be_bytes(*bytes))
}

/// The text without `[2:3][-1:0]=`, with which it begins if a lower bound is not 1.
fn without_bounds(value: &[u8]) -> Option<&[u8]> {
    if value.first() != Some(&b'[') {
        return Some(value);
    }
    let end = value.iter().position(|&byte| byte == b'=')?;
    let (bounds, rest) = value.split_at_checked(end)?;
    let are_bounds =
        bounds.iter().all(|byte| matches!(byte, b'[' | b']' | b':' | b'-' | b'0'..=b'9'));
    if are_bounds { rest.get(1..) } else { None }
}

/// Reads a quoted element, after its opening quote. Returns the element and the text after its
/// closing quote.
fn take_quoted(rest: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (element, behind) = rest.split_at_checked(plain)?;
    if let Some(behind) = behind.strip_prefix(b"\"") {
        return Some((Cow::Borrowed(element), behind));
    }
    let mut owned = Vec::new();
    owned.try_reserve(element.len()).ok()?;
    owned.extend_from_slice(element);
    let (mut element, mut rest) = (owned, behind);
    loop {
        element.try_reserve(1).ok()?;
        rest = match rest {
            [b'"', behind @ ..] => return Some((Cow::Owned(element), behind)),
            [b'\\', byte, behind @ ..] | [byte, behind @ ..] => {
                element.push(*byte);
                behind
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::oid;

    const INT4_BINARY: Elements = Elements {
        scalar: Scalar::Int4Binary,
        type_oid: oid::INT4,
        member: oid::INT4,
        format: Format::Binary,
        delimiter: b',',
    };
    const TEXT: Elements = Elements {
        scalar: Scalar::Text,
        type_oid: oid::TEXT,
        member: oid::TEXT,
        format: Format::Text,
        delimiter: b',',
    };

    fn json(elements: Elements, value: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        elements.write(value, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    /// What the text form of an array of texts is decoded to.
    pub(in crate::types) fn json_of_texts(value: &[u8]) -> Option<String> {
        json(TEXT, value)
    }

    fn binary(lengths: &[i32], elements: &[Option<i32>]) -> Vec<u8> {
        let head = [i32::try_from(lengths.len()).unwrap(), 1, 23];
        let mut words = head.to_vec();
        words.extend(lengths.iter().flat_map(|&length| [length, -7]));
        for element in elements {
            words.extend(element.map_or(vec![-1], |element| vec![4, element]));
        }
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn dimensions_become_nested_lists() {
        let check = |lengths: &[i32], elements: &[Option<i32>], expect| {
            assert_eq!(json(INT4_BINARY, &binary(lengths, elements)).as_deref(), Some(expect));
        };
        check(&[], &[], "[]");
        check(&[2], &[Some(1), None], "[1,null]");
        check(&[2, 2], &[Some(1), Some(2), None, Some(-4)], "[[1,2],[null,-4]]");
        check(&[1, 1, 1, 1, 1, 1], &[Some(1)], "[[[[[[1]]]]]]");
        check(&[2, 1, 2], &[Some(1), Some(2), Some(3), Some(4)], "[[[1,2]],[[3,4]]]");
    }

    #[test]
    fn hostile_binary_arrays_are_errors() {
        let good = binary(&[2], &[Some(1), None]);
        let mut cases: Vec<Vec<u8>> = (0..good.len()).map(|cut| good[..cut].to_vec()).collect();
        cases.push([&good[..], b"!"].concat());
        for lengths in [
            &[i32::MAX][..],
            &[65_536, 65_536],
            &[0, i32::MAX],
            &[0],
            &[-1],
            &[i32::MAX; 6],
            &[1; 7],
        ] {
            cases.push(binary(lengths, &[Some(1)]));
        }
        let with = |at: usize, word: i32| {
            let mut case = good.clone();
            case[at..at + 4].copy_from_slice(&word.to_be_bytes());
            case
        };
        cases.extend([-1, 7, i32::MAX].map(|dimensions| with(0, dimensions)));
        cases.extend([-1, 2].map(|flags| with(4, flags)));
        cases.extend([0, 25].map(|type_oid| with(8, type_oid)));
        cases.extend([-2, i32::MIN, i32::MAX, 3].map(|length| with(20, length)));
        for case in cases {
            assert_eq!(json(INT4_BINARY, &case), None, "{case:?}");
        }
    }

    #[test]
    fn the_text_form_with_its_quotes_and_bounds() {
        let check = |value: &str, expect| {
            assert_eq!(json(TEXT, value.as_bytes()).as_deref(), Some(expect), "{value}");
        };
        check("{}", "[]");
        check("[5:4]={}", "[]");
        check("{a,NULL,\"NULL\",\"\"}", r#"["a",null,"NULL",""]"#);
    }

    #[test]
    fn quotes_braces_and_depths() {
        let check = |value: &str, expect: Option<&str>| {
            assert_eq!(json(TEXT, value.as_bytes()).as_deref(), expect, "{value}");
        };
        check(r#"{"a,b","c\"d","e\\f","{}"}"#, Some(r#"["a,b","c\"d","e\\f","{}"]"#));
        check("[2:3][-1:0]={{1,2},{é,4}}", Some(r#"[["1","2"],["é","4"]]"#));
        check("{{a},{b}}", Some(r#"[["a"],["b"]]"#));
        for broken in [
            "",
            "a",
            "{",
            "}",
            "{a",
            "{a}}",
            "{a}b",
            "{,a}",
            "{a,}",
            "{{a},b}",
            "{a,{b}}",
            "{\"a}",
            "{\"a\\",
            "{a\"b\"}",
            "{{}}",
            "[1:2]{a,b}",
            "[x]={a}",
            "{a}{b}",
            "{a},{b}",
        ] {
            check(broken, None);
        }
        check(&"{".repeat(100_000), None);
        check(&format!("{}a{}", "{".repeat(7), "}".repeat(7)), None);
        let boxes = Elements { delimiter: b';', ..TEXT };
        let json = json(boxes, b"{(1,1),(0,0);(2,2),(1,1)}");
        assert_eq!(json.as_deref(), Some(r#"["(1,1),(0,0)","(2,2),(1,1)"]"#));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(value: Vec<u8>, text in "[\\[\\]{},\"\\\\a1:=NUL-]{0,40}") {
            let _ = json(INT4_BINARY, &value);
            if let Some(json) = json(TEXT, text.as_bytes()) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }
    }
}
