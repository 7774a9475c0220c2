//! Rows as the server sent them, kept until ReadyForQuery proves that they may be delivered.
//!
//! A result is not decoded while it arrives. Its DataRow bodies are kept one after the other in a
//! few chunks, and are written into a row batch in one pass at the end. Chunks grow with the bytes
//! that have come, never by a length that a peer claims.

use std::ops::Range;

use crate::base::body::{NoMemory, Parts};
use crate::base::{Body, Error, ErrorClass, Outcome};

/// Enough for the single row of most small results, in bytes. The allocator is fastest for small
/// sizes.
const FIRST_CHUNK: usize = 64;
/// Chunks double up to this size, in bytes. Chunks of a large result are then large enough that the
/// allocator keeps them when they are freed. glibc returned chunks of 256 KiB to the system, and
/// the next result had to fault in each page again.
const LARGEST_CHUNK: usize = 4 * 1024 * 1024;
const LENGTH: usize = size_of::<u32>();
/// Bytes that a row takes in addition to its body.
pub(in crate::connection) const ROW_OVERHEAD: usize = LENGTH;

/// The bodies of DataRow messages, in order.
#[derive(Debug, Default)]
pub struct Rows {
    full: Vec<Chunk>,
    /// The chunk that is being filled. A small result has no other.
    last: Vec<u8>,
    count: usize,
    /// How many chunks at the beginning have been freed.
    freed: usize,
}

#[derive(Debug)]
enum Chunk {
    /// Bodies one after the other, each after its length.
    Many(Vec<u8>),
    /// One body that came in parts.
    Long(Parts),
}

/// How far [`Rows`] have been read. A copy marks a position to return to.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowCursor {
    chunk: usize,
    offset: usize,
}

impl RowCursor {
    const fn next_chunk(&mut self) {
        *self = Self { chunk: self.chunk + 1, offset: 0 };
    }
}

impl Rows {
    pub fn push(&mut self, body: &[u8]) -> Result<(), NoMemory> {
        let needs = body.len() + LENGTH;
        if self.last.capacity() - self.last.len() < needs {
            let size = (self.last.capacity() * 2).clamp(FIRST_CHUNK, LARGEST_CHUNK).max(needs);
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(size).map_err(|_| NoMemory)?;
            self.end_chunk()?;
            self.last = chunk;
        }
        // A frame's length field has 32 bits, so the length of its body fits.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.last.extend_from_slice(&length.to_ne_bytes());
        self.last.extend_from_slice(body);
        self.count += 1;
        Ok(())
    }

    /// Begins a body that comes in parts.
    pub fn begin(&mut self) -> Result<(), NoMemory> {
        self.end_chunk()?;
        self.full.try_reserve(1).map_err(|_| NoMemory)?;
        self.full.push(Chunk::Long(Parts::default()));
        Ok(())
    }

    /// Takes the next part of the current body. `left` bytes of it are still to come.
    pub fn extend(&mut self, part: &[u8], left: usize) -> Result<(), NoMemory> {
        match self.full.last_mut() {
            Some(Chunk::Long(parts)) => parts.extend(part, left),
            Some(Chunk::Many(_)) | None => Ok(()),
        }
    }

    /// Ends the body that came in parts, and returns it.
    pub fn end(&mut self) -> Body<'_> {
        self.count += 1;
        match self.full.last() {
            Some(Chunk::Long(parts)) => Body::of(parts),
            Some(Chunk::Many(_)) | None => Body::Whole(&[]),
        }
    }

    fn end_chunk(&mut self) -> Result<(), NoMemory> {
        if !self.last.is_empty() {
            self.full.try_reserve(1).map_err(|_| NoMemory)?;
            self.full.push(Chunk::Many(std::mem::take(&mut self.last)));
        }
        Ok(())
    }

    /// About as many bytes as the rows took on the wire.
    pub fn size(&self) -> usize {
        let size = |chunk: &Chunk| match chunk {
            Chunk::Many(bytes) => bytes.len(),
            Chunk::Long(parts) => parts.len(),
        };
        self.full.iter().map(size).sum::<usize>() + self.last.len()
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The body at the cursor, which moves past it. `None` after the last body.
    pub fn next_body(&self, cursor: &mut RowCursor) -> Option<Body<'_>> {
        loop {
            let chunk = match self.full.get(cursor.chunk) {
                Some(Chunk::Many(chunk)) => chunk,
                Some(Chunk::Long(parts)) => {
                    cursor.next_chunk();
                    return Some(Body::of(parts));
                }
                None if cursor.chunk == self.full.len() => &self.last,
                None => return None,
            };
            if cursor.offset < chunk.len() {
                let (length, rest) = chunk.get(cursor.offset..)?.split_first_chunk::<LENGTH>()?;
                let body = rest.get(..u32::from_ne_bytes(*length) as usize)?;
                cursor.offset += LENGTH + body.len();
                return Some(Body::Whole(body));
            }
            cursor.next_chunk();
        }
    }

    /// Frees all chunks that the cursor has passed.
    pub fn free_before(&mut self, cursor: RowCursor) {
        let passed = cursor.chunk.saturating_sub(self.freed);
        for chunk in self.full.iter_mut().skip(self.freed).take(passed) {
            *chunk = Chunk::Many(Vec::new());
        }
        self.freed = cursor.chunk.max(self.freed);
        if cursor.chunk > self.full.len() {
            self.last = Vec::new();
        }
    }

    /// Frees as much as possible of a range of the body at the cursor. Nothing may read that range
    /// again.
    pub fn free_within(&mut self, mut cursor: RowCursor, range: &Range<usize>) {
        while let Some(chunk) = self.full.get_mut(cursor.chunk) {
            match chunk {
                Chunk::Long(parts) => return parts.free_within(range),
                Chunk::Many(chunk) if cursor.offset < chunk.len() => return,
                Chunk::Many(_) => cursor.next_chunk(),
            }
        }
    }
}

/// Why an answer could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum TooLarge {
    ForLimit,
    ForMemory,
}

pub(in crate::connection) fn too_large(
    why: TooLarge,
    has_run: bool,
    max_result_bytes: usize,
) -> Error {
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

    fn next(rows: &Rows, cursor: &mut RowCursor) -> Option<Vec<u8>> {
        let body = rows.next_body(cursor)?;
        let mut copy = Vec::new();
        body.copy(0..body.len(), &mut copy).unwrap();
        Some(copy)
    }

    #[test]
    fn bodies_come_back_in_order_across_chunks() {
        let bodies: Vec<Vec<u8>> = (0..2000).map(|n: usize| vec![n as u8; n % 700]).collect();
        let mut rows = Rows::default();
        bodies.iter().for_each(|body| rows.push(body).unwrap());
        assert_eq!(rows.count(), bodies.len());
        let mut cursor = RowCursor::default();
        for body in &bodies {
            let kept = cursor;
            assert_eq!(next(&rows, &mut cursor), Some(body.clone()));
            assert_eq!(next(&rows, &mut kept.clone()), Some(body.clone()));
            rows.free_before(kept);
        }
        assert_eq!(next(&rows, &mut cursor), None);
    }

    #[test]
    fn a_body_larger_than_any_chunk_fits() {
        let mut rows = Rows::default();
        let body = vec![7; LARGEST_CHUNK + 1];
        rows.push(&body).unwrap();
        rows.push(b"").unwrap();
        let mut cursor = RowCursor::default();
        assert_eq!(next(&rows, &mut cursor), Some(body));
        assert_eq!(next(&rows, &mut cursor), Some(Vec::new()));
        assert_eq!(next(&rows, &mut cursor), None);
    }

    #[test]
    fn a_body_that_comes_in_parts_stands_between_its_neighbours() {
        for size in [100_000, 3_000_000] {
            let body: Vec<u8> = (0..size).map(|n: usize| n as u8).collect();
            let mut rows = Rows::default();
            rows.push(b"before").unwrap();
            for _ in 0..2 {
                rows.begin().unwrap();
                let mut left = body.len();
                for part in body.chunks(7777) {
                    left -= part.len();
                    rows.extend(part, left).unwrap();
                }
                assert_eq!(rows.end().len(), size);
            }
            rows.push(b"behind").unwrap();
            assert_eq!(rows.count(), 4);
            let mut cursor = RowCursor::default();
            for expected in [b"before", &body[..], &body, b"behind"] {
                let kept = cursor;
                assert!(next(&rows, &mut cursor).is_some_and(|body| body == expected));
                rows.free_before(kept);
            }
            assert_eq!(next(&rows, &mut cursor), None);
        }
    }

    #[test]
    fn a_long_body_is_given_back_as_it_is_read() {
        let mut rows = Rows::default();
        rows.push(b"before").unwrap();
        rows.begin().unwrap();
        rows.extend(&vec![7; 12_000_000], 0).unwrap();
        let mut cursor = RowCursor::default();
        rows.next_body(&mut cursor).unwrap();
        rows.next_body(&mut cursor.clone()).unwrap();
        rows.free_within(cursor, &(100..11_000_000));
        let mut rest = Vec::new();
        let body = rows.next_body(&mut cursor).unwrap();
        body.copy(2_000_000..2_000_001, &mut rest).unwrap();
        assert_eq!((body.len(), rest.len()), (12_000_000, 0));
        body.copy(11_000_000..12_000_000, &mut rest).unwrap();
        assert_eq!(rest.len(), 1_000_000);
    }
}
