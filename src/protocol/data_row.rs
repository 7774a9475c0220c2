//! DataRow bodies (PostgreSQL manual, 55.7): a count, and for each field a length and that many bytes.

use crate::base::Error;

const NULL: i32 = -1;

/// Checks a body's structure once, when it arrives: it has as many fields as its description has columns,
/// each length is -1 or lies within the body, and nothing is left over. After that [`fields`] can be trusted.
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

fn broken(why: &str) -> Error {
    Error::protocol(format!("a DataRow {why}"))
}

/// The fields of a body; NULL is `None`. On a body that was not checked it stops where that is broken.
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

    #[test]
    fn b5_structure_is_checked_to_the_last_byte() {
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
}
