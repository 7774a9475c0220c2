//! Frames: a tag, a length, a body (PostgreSQL manual, 55.2).
//!
//! Only the header is read before the body has arrived. A length that the message type can't have
//! is an error at once, so that this client never waits for a gigabyte that never comes, and never
//! allocates memory for it.

use crate::base::Error;

const HEADER: usize = 5;
/// The length field counts itself.
const LENGTH_ITSELF: u32 = 4;
/// The longest ParameterDescription: its length field, a count of 16 bits, and as many oids.
const PARAMETER_DESCRIPTION: u32 = 4 + 2 + 4 * 65_535;

/// The longest messages, by the value of their length field, in bytes. The small limit is libpq's:
/// only a few types may have 30,000 bytes or more (`VALID_LONG_MESSAGE_TYPE` in fe-protocol3.c).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows, descriptions and data in a session. The limit is the longest message that the server
    /// itself can build (MaxAllocSize).
    pub large: u32,
    /// Errors and notices in a session.
    pub report: u32,
    pub startup_report: u32,
    pub small: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { large: 0x3fff_ffff, report: 0x3fff_ffff, startup_report: 65_536, small: 30_000 }
    }
}

/// Whether the first ReadyForQuery has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Startup,
    Session,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub tag: u8,
    pub body: &'a [u8],
    /// The length of the whole frame in bytes, including its tag.
    pub len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    Frame(Frame<'a>),
    /// A frame whose body has arrived only in part: its type, its body's length, and the part that
    /// has arrived.
    Begun {
        tag: u8,
        body: usize,
        came: &'a [u8],
    },
    /// Fewer bytes than a header has.
    Partial,
}

/// The first frame of `bytes`, as far as it has arrived.
pub fn split<'a>(bytes: &'a [u8], phase: Phase, limits: &Limits) -> Result<Split<'a>, Error> {
    let Some((tag, rest)) = bytes.split_first() else { return Ok(Split::Partial) };
    let limit = limit_of(*tag, phase, limits)?;
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(Split::Partial) };
    let length = u32::from_be_bytes(*length);
    if length < LENGTH_ITSELF || length > limit {
        return Err(Error::protocol(format!(
            "a message of type {:?} has a length field of {length}, but {LENGTH_ITSELF} to {limit} are valid",
            char::from(*tag)
        )));
    }
    let body = length.saturating_sub(LENGTH_ITSELF);
    let body = usize::try_from(body).map_err(|_| Error::protocol("a message is too long"))?;
    match rest.get(..body) {
        Some(body) => {
            let len = body.len().saturating_add(HEADER);
            Ok(Split::Frame(Frame { tag: *tag, body, len }))
        }
        None => Ok(Split::Begun { tag: *tag, body, came: rest }),
    }
}

fn limit_of(tag: u8, phase: Phase, limits: &Limits) -> Result<u32, Error> {
    let limit = match (phase, tag) {
        (Phase::Startup, b'E' | b'N') => limits.startup_report,
        (Phase::Startup, b'R' | b'S' | b'K' | b'Z' | b'v') => limits.small,
        (Phase::Session, b'T' | b'D' | b'd') => limits.large,
        (Phase::Session, b't') => PARAMETER_DESCRIPTION.min(limits.large),
        (Phase::Session, b'E' | b'N') => limits.report,
        (
            Phase::Session,
            b'1' | b'2' | b'3' | b'A' | b'C' | b'G' | b'H' | b'I' | b'K' | b'R' | b'S' | b'W'
            | b'Z' | b'c' | b'n' | b's' | b'v',
        ) => limits.small,
        (_, tag) => {
            return Err(Error::protocol(format!(
                "the server sent a message of type {:?}, which {}",
                char::from(tag),
                match phase {
                    Phase::Startup => "has no place in a login",
                    Phase::Session => "does not exist",
                }
            )));
        }
    };
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tag: u8, length: u32) -> Vec<u8> {
        [&[tag][..], &length.to_be_bytes()].concat()
    }

    #[test]
    fn a_length_that_its_type_cannot_have_is_an_error_at_the_header() {
        let limits = Limits::default();
        for length in [0, 1, 2, 3, u32::MAX, 1 << 31, 30_001] {
            assert!(split(&header(b'Z', length), Phase::Session, &limits).is_err(), "{length}");
        }
        assert!(split(&header(b'D', limits.large + 1), Phase::Session, &limits).is_err());
        assert!(split(&header(b'E', 65_537), Phase::Startup, &limits).is_err());
        assert!(split(&header(b't', PARAMETER_DESCRIPTION + 1), Phase::Session, &limits).is_err());
        assert!(split(&header(b'A', 30_001), Phase::Session, &limits).is_err());
        for (tag, length) in [(b'D', limits.large), (b'Z', 30_000)] {
            let body = usize::try_from(length - 4).unwrap();
            let begun = Split::Begun { tag, body, came: &[] };
            assert_eq!(split(&header(tag, length), Phase::Session, &limits), Ok(begun));
        }
    }

    #[test]
    fn an_unknown_tag_is_an_error_before_its_length() {
        assert!(split(b"?", Phase::Session, &Limits::default()).is_err());
        assert!(split(b"D", Phase::Startup, &Limits::default()).is_err());
    }

    #[test]
    fn a_frame_is_partial_up_to_its_last_byte() {
        let bytes = b"S\0\0\0\x08a\0b\0rest";
        for cut in 0..9 {
            let came = bytes[..cut].get(5..);
            let begun = came.map(|came| Split::Begun { tag: b'S', body: 4, came });
            let expected = Ok(begun.unwrap_or(Split::Partial));
            assert_eq!(split(&bytes[..cut], Phase::Session, &Limits::default()), expected);
        }
        let frame = Frame { tag: b'S', body: b"a\0b\0", len: 9 };
        assert_eq!(split(bytes, Phase::Session, &Limits::default()), Ok(Split::Frame(frame)));
    }
}
