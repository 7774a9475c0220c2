//! Rows as the server sent them, held until ReadyForQuery proves that they may be handed out.
//!
//! A result is not read while it arrives: its DataRow bodies are kept side by side in a few chunks and
//! go into a row batch in one pass at the end. Chunks grow with what has come, never by what a peer
//! claims.

use crate::base::{Error, ErrorClass, Outcome};

/// For the one row of most small results: the allocator is quickest with what is as small.
const FIRST_CHUNK: usize = 64;
/// Chunks double up to this, so that what is given back of a large result is large enough for the allocator to keep: with
/// chunks of 256 KiB glibc gave all of it back to the system, and the next result paid for each page again.
const LARGEST_CHUNK: usize = 4 * 1024 * 1024;
const LENGTH: usize = size_of::<u32>();
/// What a row takes beside its body.
pub(super) const ROW_OVERHEAD: usize = LENGTH;

/// The bodies of DataRow messages, in order.
#[derive(Debug, Default)]
pub struct Rows {
    full: Vec<Vec<u8>>,
    /// The chunk that is being filled: all there is of a small result.
    last: Vec<u8>,
    count: usize,
}

/// How far [`Rows`] have been read. A copy is a place to come back to.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowCursor {
    chunk: usize,
    offset: usize,
}

/// There is no memory left for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl Rows {
    pub fn push(&mut self, body: &[u8]) -> Result<(), NoMemory> {
        let needs = body.len() + LENGTH;
        if self.last.capacity() - self.last.len() < needs {
            let size = (self.last.capacity() * 2).clamp(FIRST_CHUNK, LARGEST_CHUNK).max(needs);
            self.start_chunk(size)?;
        }
        self.push_length(body.len());
        self.last.extend_from_slice(body);
        self.count += 1;
        Ok(())
    }

    /// A body of so many bytes is to come in parts. It has a chunk of its own, which grows with what comes.
    pub fn begin(&mut self, length: usize) -> Result<(), NoMemory> {
        self.start_chunk(LENGTH)?;
        self.push_length(length);
        Ok(())
    }

    /// The next part of the body that has begun, of which `left` bytes are still to come.
    pub fn extend(&mut self, part: &[u8], left: usize) -> Result<(), NoMemory> {
        let room = self.last.capacity() - self.last.len();
        if room < part.len() {
            // It doubles, and never exceeds what the body takes in the end.
            let more = self.last.len().clamp(part.len(), part.len().saturating_add(left));
            self.last.try_reserve_exact(more).map_err(|_| NoMemory)?;
        }
        self.last.extend_from_slice(part);
        Ok(())
    }

    /// The body has come wholly.
    pub fn end(&mut self) -> &[u8] {
        self.count += 1;
        self.last.get(LENGTH..).unwrap_or_default()
    }

    fn start_chunk(&mut self, size: usize) -> Result<(), NoMemory> {
        let mut chunk = Vec::new();
        chunk.try_reserve_exact(size).map_err(|_| NoMemory)?;
        let full = std::mem::replace(&mut self.last, chunk);
        if !full.is_empty() {
            self.full.try_reserve(1).map_err(|_| NoMemory)?;
            self.full.push(full);
        }
        Ok(())
    }

    fn push_length(&mut self, length: usize) {
        // A frame's length field is 32 bits wide, so that its body's length fits.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.last.extend_from_slice(&length.to_ne_bytes());
    }

    /// Bytes, about as many as they took on the wire.
    pub fn size(&self) -> usize {
        self.full.iter().map(Vec::len).sum::<usize>() + self.last.len()
    }

    fn chunk(&self, place: usize) -> Option<&Vec<u8>> {
        if place == self.full.len() { Some(&self.last) } else { self.full.get(place) }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The body under the cursor, which moves past it; `None` behind the last.
    pub fn next_body(&self, cursor: &mut RowCursor) -> Option<&[u8]> {
        let mut chunk = self.chunk(cursor.chunk)?;
        if cursor.offset >= chunk.len() {
            *cursor = RowCursor { chunk: cursor.chunk + 1, offset: 0 };
            chunk = self.chunk(cursor.chunk)?;
        }
        let (length, rest) = chunk.get(cursor.offset..)?.split_first_chunk::<LENGTH>()?;
        let body = rest.get(..u32::from_ne_bytes(*length) as usize)?;
        cursor.offset += LENGTH + body.len();
        Some(body)
    }

    /// Gives back the memory of all chunks that the cursor has passed.
    pub fn free_before(&mut self, cursor: RowCursor) {
        for chunk in self.full.iter_mut().take(cursor.chunk) {
            *chunk = Vec::new();
        }
        if cursor.chunk > self.full.len() {
            self.last = Vec::new();
        }
    }
}

/// Why an answer could not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLarge {
    ForLimit,
    ForMemory,
}

pub(super) fn too_large(why: TooLarge, has_run: bool, max_result_bytes: usize) -> Error {
    let (code, why) = match why {
        TooLarge::ForLimit => {
            let why = format!(
                "the result has more than {max_result_bytes} bytes, which is maxResultBytes"
            );
            ("HYPERION_RESULT_TOO_LARGE", why)
        }
        TooLarge::ForMemory => {
            ("HYPERION_OUT_OF_MEMORY", "there is no memory left for the result".to_owned())
        }
    };
    let (did, outcome) = match has_run {
        true => ("what the statement did besides it has been done", Outcome::Unknown),
        false => ("the statement has not run", Outcome::NotCommitted),
    };
    let message = format!("{why}: it was not kept, and {did}");
    Error::new(ErrorClass::Protocol, code, message).with_outcome(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_in_order_across_chunks() {
        let bodies: Vec<Vec<u8>> = (0..2000).map(|n: usize| vec![n as u8; n % 700]).collect();
        let mut rows = Rows::default();
        bodies.iter().for_each(|body| rows.push(body).unwrap());
        assert_eq!(rows.count(), bodies.len());
        let mut cursor = RowCursor::default();
        for body in &bodies {
            let kept = cursor;
            assert_eq!(rows.next_body(&mut cursor), Some(body.as_slice()));
            assert_eq!(rows.next_body(&mut kept.clone()), Some(body.as_slice()));
            rows.free_before(kept);
        }
        assert_eq!(rows.next_body(&mut cursor), None);
    }

    #[test]
    fn a_body_larger_than_any_chunk_fits() {
        let mut rows = Rows::default();
        let body = vec![7; LARGEST_CHUNK + 1];
        rows.push(&body).unwrap();
        rows.push(b"").unwrap();
        let mut cursor = RowCursor::default();
        assert_eq!(rows.next_body(&mut cursor).map(<[u8]>::len), Some(body.len()));
        assert_eq!(rows.next_body(&mut cursor), Some(&[][..]));
        assert_eq!(rows.next_body(&mut cursor), None);
    }
    #[test]
    fn a_body_that_comes_in_parts_stands_between_its_neighbours() {
        let body: Vec<u8> = (0..100_000_usize).map(|n| n as u8).collect();
        let mut rows = Rows::default();
        rows.push(b"before").unwrap();
        rows.begin(body.len()).unwrap();
        let mut left = body.len();
        for part in body.chunks(7777) {
            left -= part.len();
            rows.extend(part, left).unwrap();
        }
        assert_eq!(rows.end(), body);
        assert_eq!(rows.last.capacity(), body.len() + LENGTH);
        rows.push(b"behind").unwrap();
        assert_eq!(rows.count(), 3);
        let mut cursor = RowCursor::default();
        for expected in [b"before", &body[..], b"behind"] {
            assert_eq!(rows.next_body(&mut cursor), Some(expected));
        }
        assert_eq!(rows.next_body(&mut cursor), None);
    }
}
