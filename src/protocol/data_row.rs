//! DataRow bodies (PostgreSQL manual, 55.7): a count, and for each field its length and its bytes.

use std::ops::Range;

use crate::base::{Body, Error};

const NULL: i32 = -1;

/// Checks a body's structure once, when the body arrives: it has as many fields as its description
/// has columns, each length is -1 or lies within the body, and no bytes are left over. After that,
/// [`fields`] can read all of the body.
pub fn check_data_row(body: &[u8], columns: usize) -> Result<(), Error> {
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(|| broken("has no count"))?;
    if usize::from(u16::from_be_bytes(*count)) != columns {
        let count = u16::from_be_bytes(*count);
        return Err(broken(&format!("has {count} fields, but its description {columns}")));
    }
    for _ in 0..columns {
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| broken("ends before its fields"))?;
        rest = match i32::from_be_bytes(*length) {
            NULL => after,
            length => usize::try_from(length)
                .ok()
                .and_then(|length| after.get(length..))
                .ok_or_else(|| broken(&format!("has a field of length {length}")))?,
        };
    }
    if rest.is_empty() { Ok(()) } else { Err(broken("has bytes behind its fields")) }
}

/// The same for a body that may lie in several parts.
pub fn check_long_row(body: Body<'_>, columns: usize) -> Result<(), Error> {
    let Body::Parts(_) = body else { return check_data_row(body.slice(&(0..body.len())), columns) };
    let count = body.array(0).map(u16::from_be_bytes).ok_or_else(|| broken("has no count"))?;
    if usize::from(count) != columns {
        return Err(broken(&format!("has {count} fields, but its description {columns}")));
    }
    let mut places = Places::default();
    for _ in 0..columns {
        places.next(body).ok_or_else(|| broken("has a field that does not lie in it"))?;
    }
    if places.at == body.len() { Ok(()) } else { Err(broken("has bytes behind its fields")) }
}

/// The ranges of a body's fields, one after the other. A copy marks a position to return to.
#[derive(Clone, Debug)]
pub struct Places {
    at: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self { at: size_of::<u16>() }
    }
}

impl Places {
    /// The next field, with `None` for NULL. The outer `None` means that the body ends or is
    /// malformed.
    pub fn next(&mut self, body: Body<'_>) -> Option<Option<Range<usize>>> {
        let length = body.array(self.at).map(i32::from_be_bytes)?;
        let start = self.at.checked_add(size_of::<i32>())?;
        if length == NULL {
            self.at = start;
            return Some(None);
        }
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        if end > body.len() {
            return None;
        }
        self.at = end;
        Some(Some(start..end))
    }
}

fn broken(why: &str) -> Error {
    Error::protocol(format!("a DataRow {why}"))
}

/// The fields of a body, with `None` for NULL. In an unchecked body, the iteration stops where the
/// body is malformed.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

pub fn fields(body: &[u8]) -> Fields<'_> {
    Fields { rest: body.get(2..).unwrap_or_default() }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length == NULL {
            self.rest = rest;
            return Some(None);
        }
        let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(Some(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::body::Parts;

    #[test]
    fn structure_is_checked_to_the_last_byte() {
        let good: &[u8] = b"\0\x03\0\0\0\x01x\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(check_data_row(good, 3), Ok(()));
        let read: Vec<_> = fields(good).collect();
        assert_eq!(read, [Some(&b"x"[..]), None, Some(&b""[..])]);
        let check =
            |body: &[u8], columns| assert!(check_data_row(body, columns).is_err(), "{body:?}");
        check(good, 2);
        check(good, 4);
        check(&[good, b"!"].concat(), 3);
        for cut in 0..good.len() {
            check(&good[..cut], 3);
        }
        check(b"\0\x01\xff\xff\xff\xfe", 1);
        check(b"\0\x01\x7f\xff\xff\xffx", 1);
        check(b"\0\x01\x80\0\0\0", 1);
    }

    #[test]
    fn a_body_in_parts_is_checked_as_one_in_one_piece() {
        let size = 3_000_000_usize;
        let long = [&u32::try_from(size).unwrap().to_be_bytes()[..], &vec![b'x'; size]].concat();
        let good = [b"\0\x03", &long[..], b"\xff\xff\xff\xff\0\0\0\x01y"].concat();
        let check = |body: &[u8], columns| {
            let mut parts = Parts::default();
            parts.extend(body, 0).unwrap();
            assert!(matches!(Body::of(&parts), Body::Parts(_)));
            let checked = check_long_row(Body::of(&parts), columns);
            assert_eq!(checked.is_ok(), check_data_row(body, columns).is_ok());
            let mut places = Places::default();
            let found = std::iter::from_fn(|| places.next(Body::of(&parts)));
            (checked.is_ok(), found.collect::<Vec<_>>())
        };
        let behind = good.len() - 1;
        let places = vec![Some(6..size + 6), None, Some(behind..behind + 1)];
        assert_eq!(check(&good, 3), (true, places.clone()));
        assert!(!check(&good, 2).0);
        assert_eq!(check(&[&good, &b"!"[..]].concat(), 3), (false, places));
        for cut in [1, 2, 5, 9, 100] {
            assert!(!check(&good[..good.len() - cut], 3).0);
        }
    }
}
