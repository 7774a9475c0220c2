//! Room in the buffer of outgoing bytes. The encoders append to it without checking for memory, and
//! an allocation that fails would abort the process. So room for a large request is made before the
//! request is written.

use bytes::{Bytes, BytesMut};

use crate::base::memory::LARGE;
use crate::base::{Error, ErrorClass, Outcome};

pub(in crate::connection) fn make_room(out: &mut BytesMut, bytes: usize) -> Result<(), Error> {
    if bytes < LARGE || out.capacity() - out.len() >= bytes {
        return Ok(());
    }
    // This copies the bytes only if the kernel has already taken some of them.
    let mut plain = Vec::from(std::mem::take(out));
    let made = plain.try_reserve_exact(bytes);
    *out = BytesMut::from(Bytes::from(plain));
    made.map_err(|_| {
        let message = "there is no memory left for what is to be sent";
        Error::new(ErrorClass::Configuration, "HYPERION_OUT_OF_MEMORY", message)
            .with_outcome(Outcome::NotSent)
    })
}

/// Frees the memory of a large request instead of keeping it for small requests.
pub(in crate::connection) fn give_back(out: &mut BytesMut, largest: &mut usize) {
    if out.is_empty() && *largest >= LARGE {
        *out = BytesMut::new();
        *largest = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_behind_what_is_there_and_not_moved_later() {
        let mut out = BytesMut::from(&b"sent already, and the rest"[..]);
        bytes::Buf::advance(&mut out, 14);
        make_room(&mut out, 1_000_000).unwrap();
        assert_eq!(&out[..], b"and the rest");
        let place = out.as_ptr();
        out.extend_from_slice(&vec![7; 1_000_000]);
        assert_eq!(out.as_ptr(), place);
        assert!(out.starts_with(b"and the rest\x07"));
    }

    #[test]
    fn room_that_there_is_not_is_an_error_and_changes_nothing() {
        let mut out = BytesMut::from(&b"before"[..]);
        let error = make_room(&mut out, usize::MAX / 4).unwrap_err();
        assert_eq!(error.code(), "HYPERION_OUT_OF_MEMORY");
        assert_eq!(error.outcome(), Some(Outcome::NotSent));
        assert_eq!(&out[..], b"before");
    }
}
