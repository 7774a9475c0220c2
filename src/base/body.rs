//! The bytes of one row, in one or several parts.

use std::ops::Range;

/// The most bytes of the first part. A row of at most this size is in one part.
const FIRST_PART: usize = 1024 * 1024;
/// The most bytes of a later part. Each is as large as all parts before it, up to this.
const LARGEST_PART: usize = 4 * 1024 * 1024;

/// There is not enough memory for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

#[derive(Debug)]
struct Part {
    /// The index of its first byte among all bytes.
    start: usize,
    bytes: Vec<u8>,
}

/// Bytes that arrived one after another. Bytes after the first part are never moved again. A part
/// that was read can be freed before the others.
#[derive(Debug, Default)]
pub struct Parts {
    parts: Vec<Part>,
    length: usize,
}

impl Parts {
    /// Appends bytes. `left` more bytes are to follow.
    pub fn extend(&mut self, mut bytes: &[u8], left: usize) -> Result<(), NoMemory> {
        let all = bytes.len().saturating_add(left);
        if self.parts.is_empty() {
            self.parts.try_reserve_exact(1).map_err(|_| NoMemory)?;
            self.parts.push(Part { start: 0, bytes: Vec::new() });
        }
        if self.length < FIRST_PART
            && let [first] = self.parts.as_mut_slice()
        {
            let (now, later) = bytes.split_at(bytes.len().min(FIRST_PART - self.length));
            if first.bytes.capacity() - first.bytes.len() < now.len() {
                // The first part doubles, and never exceeds its final size.
                let most = all.min(FIRST_PART - self.length);
                let more = first.bytes.len().clamp(now.len(), most.max(now.len()));
                first.bytes.try_reserve_exact(more).map_err(|_| NoMemory)?;
            }
            first.bytes.extend_from_slice(now);
            self.length += now.len();
            bytes = later;
        }
        while !bytes.is_empty() {
            let room =
                self.parts.last().map_or(0, |Part { bytes, .. }| bytes.capacity() - bytes.len());
            if room == 0 {
                let size = self.length.min(LARGEST_PART).min(bytes.len().saturating_add(left));
                let mut part = Part { start: self.length, bytes: Vec::new() };
                part.bytes.try_reserve_exact(size).map_err(|_| NoMemory)?;
                self.parts.try_reserve(1).map_err(|_| NoMemory)?;
                self.parts.push(part);
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(room));
            if let Some(last) = self.parts.last_mut() {
                last.bytes.extend_from_slice(now);
            }
            self.length += now.len();
            bytes = later;
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Frees all parts that lie completely in `range`. Nothing may read these bytes again.
    pub fn free_within(&mut self, range: &Range<usize>) {
        let first = self.parts.partition_point(|part| part.start < range.start);
        for Part { start, bytes } in self.parts.iter_mut().skip(first) {
            if *start + bytes.len() > range.end {
                return;
            }
            *bytes = Vec::new();
        }
    }

    fn slice(&self, at: usize) -> &[u8] {
        let behind = self.parts.partition_point(|part| part.start <= at);
        let part = behind.checked_sub(1).and_then(|place| self.parts.get(place));
        part.and_then(|part| part.bytes.get(at - part.start..)).unwrap_or_default()
    }

    /// The bytes, if they lie in one part.
    fn whole(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(&[]),
            [part] => Some(&part.bytes),
            _ => None,
        }
    }
}

/// The body of a DataRow.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    Whole(&'a [u8]),
    Parts(&'a Parts),
}

impl<'a> Body<'a> {
    /// The body whose bytes are in `parts`.
    pub fn of(parts: &'a Parts) -> Self {
        parts.whole().map_or(Self::Parts(parts), Self::Whole)
    }

    pub fn len(self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Parts(parts) => parts.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The longest slice that begins at the start of `range`, lies in one part and stays within
    /// `range`. The slice is empty if the body has no byte there.
    pub fn slice(self, range: &Range<usize>) -> &'a [u8] {
        let from = match self {
            Self::Whole(bytes) => bytes.get(range.start..).unwrap_or_default(),
            Self::Parts(parts) => parts.slice(range.start),
        };
        from.get(..range.len()).unwrap_or(from)
    }

    /// `N` bytes from `at` on, which may lie in several parts. `None` if the body ends before that.
    pub fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let mut array = [0; N];
        let mut filled = 0;
        while let Some(place) = array.get_mut(filled..).filter(|place| !place.is_empty()) {
            let start = at.checked_add(filled)?;
            let found = self.slice(&(start..start.checked_add(place.len())?));
            if found.is_empty() {
                return None;
            }
            place.get_mut(..found.len())?.copy_from_slice(found);
            filled += found.len();
        }
        Some(array)
    }

    /// Appends the bytes of `range` to `out`, as far as the body has them.
    pub fn copy(self, mut range: Range<usize>, out: &mut Vec<u8>) -> Result<(), NoMemory> {
        out.try_reserve(range.len()).map_err(|_| NoMemory)?;
        while !range.is_empty() {
            let slice = self.slice(&range);
            if slice.is_empty() {
                break;
            }
            out.extend_from_slice(slice);
            range.start += slice.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    fn parts(all: &[u8], step: usize) -> Parts {
        let mut parts = Parts::default();
        let mut left = all.len();
        for bytes in all.chunks(step) {
            left -= bytes.len();
            parts.extend(bytes, left).unwrap();
        }
        parts
    }

    #[test]
    fn bytes_come_back_as_they_came_and_take_no_more_memory() {
        for length in [0, 1, FIRST_PART - 1, FIRST_PART, FIRST_PART + 1, 11_000_000] {
            let all = bytes(length);
            for step in [7777, 600_000, 3_000_000] {
                let parts = parts(&all, step);
                let body = Body::of(&parts);
                assert_eq!(body.len(), length);
                assert_eq!(matches!(body, Body::Whole(_)), length <= FIRST_PART);
                let mut copy = Vec::new();
                body.copy(0..length + 5, &mut copy).unwrap();
                assert!(copy == all, "{length} by {step}");
                let capacity: usize = parts.parts.iter().map(|part| part.bytes.capacity()).sum();
                assert_eq!(capacity, length, "{length} by {step}");
                assert!(parts.parts.iter().all(|part| part.bytes.len() <= LARGEST_PART));
            }
        }
    }

    #[test]
    fn what_lies_across_a_seam_is_read_and_what_is_done_with_given_back() {
        let all = bytes(12_000_000);
        let mut parts = parts(&all, 100_000);
        for at in [0, FIRST_PART - 3, FIRST_PART - 1, FIRST_PART, all.len() - 4] {
            assert_eq!(Body::of(&parts).array::<4>(at).unwrap(), all[at..at + 4]);
        }
        assert_eq!(Body::of(&parts).array::<4>(all.len() - 3), None);
        assert_eq!(Body::of(&parts).array::<1>(usize::MAX), None);
        parts.free_within(&(10..7_000_000));
        let body = Body::of(&parts);
        // The range ends inside a later part and begins inside the first one, so both stay.
        assert_eq!(body.slice(&(9..12)), &all[9..12]);
        assert_eq!(body.slice(&(FIRST_PART..FIRST_PART + 1)), b"");
        assert_eq!(body.slice(&(6_999_999..7_000_001)), &all[6_999_999..7_000_001]);
        assert_eq!(body.len(), all.len());
    }
}
