//! The batch in which rows cross into JavaScript: fixed-width cells and one text.
//!
//! A cell takes eight bytes, row by row, column by column. JavaScript looks at the same bytes as an
//! Int32Array, a Float64Array and a BigInt64Array, and reads each column through the view that its
//! [`Lane`] names. Text cells hold where their text ends in the batch's one string; it begins where
//! the text cell before it ended. The byte beside a cell tells NULL, and a value that has crossed
//! in pieces.
//!
//! One column of JSON is kept beside the text of its rows while they are written, as
//! `[document,document,...]`, and stands behind it in the end: JavaScript parses all of it at once.

use super::contract::Lane;
use super::contract::cells::{CUT, NULL, VALUE};

impl Lane {
    /// Whether the cells of the lane take text.
    pub const fn takes_text(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Bytes | Self::Array | Self::Joined)
    }
}

/// There is no room left: hand the batch over and write the row into the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A place in a batch to go back to when a row does not fit or can't be read.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    cells: usize,
    text: usize,
    units: u32,
    joined: usize,
    joined_units: u32,
    ascii: bool,
}

/// Borrows the memory that it fills, which belongs to the floor that hands it over.
#[derive(Debug)]
pub struct RowBatch<'a> {
    cells: &'a mut [u64],
    nulls: &'a mut [u8],
    text: &'a mut Vec<u8>,
    text_limit: usize,
    used: usize,
    units: u32,
    /// The documents of [`Lane::Joined`], and their separators.
    joined: Vec<u8>,
    joined_units: u32,
    ascii: bool,
}

impl<'a> RowBatch<'a> {
    /// `text` is cleared. `text_limit`, in bytes, bounds what one kept cell can hold alive: a batch
    /// takes no further row once its text has reached the limit, but a first row always fits,
    /// however long.
    pub fn new(
        cells: &'a mut [u64],
        nulls: &'a mut [u8],
        text: &'a mut Vec<u8>,
        text_limit: usize,
    ) -> Self {
        text.clear();
        let joined = Vec::new();
        Self {
            cells,
            nulls,
            text,
            text_limit,
            used: 0,
            units: 0,
            joined,
            joined_units: 0,
            ascii: true,
        }
    }

    /// Makes sure that a row of `columns` cells with `text` bytes of text fits.
    pub fn reserve(&self, columns: usize, text: usize) -> Result<(), Full> {
        let room = self.cells.len().min(self.nulls.len()).saturating_sub(self.used);
        let held = self.text_len();
        let too_long = held > 0 && held.saturating_add(text) > self.text_limit;
        if columns > room || too_long { Err(Full) } else { Ok(()) }
    }

    /// Makes sure that there is memory for a long text, which is put next. False where that can't
    /// be had.
    pub fn make_room(&mut self, bytes: usize, joined: bool) -> bool {
        if joined && self.joined.try_reserve(bytes.saturating_add(self.text_limit)).is_err() {
            return false;
        }
        // What is joined goes behind the text in the end.
        let joined = if joined { self.joined.len() } else { 0 };
        self.text.try_reserve(bytes.saturating_add(joined)).is_ok()
    }

    pub fn mark(&self) -> Mark {
        let (joined, joined_units) = (self.joined.len(), self.joined_units);
        let (text, units) = (self.text.len(), self.units);
        Mark { cells: self.used, text, units, joined, joined_units, ascii: self.ascii }
    }

    pub fn rewind(&mut self, mark: Mark) {
        self.used = mark.cells;
        self.text.truncate(mark.text);
        self.units = mark.units;
        self.joined.truncate(mark.joined);
        self.joined_units = mark.joined_units;
        self.ascii = mark.ascii;
    }

    /// In a text column too: the cell takes no text, so its end is where the one before it ended.
    pub fn put_null(&mut self) {
        self.put(u64::from(self.units), NULL);
    }

    pub fn put_i32(&mut self, value: i32) {
        self.put(u64::from(value.cast_unsigned()), VALUE);
    }

    pub fn put_u32(&mut self, value: u32) {
        self.put(u64::from(value), VALUE);
    }

    pub fn put_bool(&mut self, value: bool) {
        self.put(u64::from(value), VALUE);
    }

    pub fn put_f64(&mut self, value: f64) {
        self.put(value.to_bits(), VALUE);
    }

    pub fn put_i64(&mut self, value: i64) {
        self.put(value.cast_unsigned(), VALUE);
    }

    pub fn put_u64(&mut self, value: u64) {
        self.put(value, VALUE);
    }

    /// `None` where it is not UTF-8: then nothing is put.
    pub fn put_text(&mut self, value: &[u8]) -> Option<()> {
        let units = self.check_units(value)?;
        self.text.extend_from_slice(value);
        self.end_text(units);
        Some(())
    }

    /// A text cell of what `write` appends, which must be ASCII. Where it gives up, nothing is put.
    pub fn put_ascii_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        let written = self.append_with(write)?;
        debug_assert!(written.is_ascii());
        let units = units_of_ascii(written);
        self.end_text(units);
        Some(())
    }

    /// A text cell of what `write` appends, which must be UTF-8. Where it gives up, nothing is put.
    pub fn put_text_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        let (units, is_ascii) = measure(self.append_with(write)?);
        self.ascii &= is_ascii;
        self.end_text(units);
        Some(())
    }

    /// What was written; `None` where `write` gave up.
    #[inline]
    fn append_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<&[u8]> {
        let start = self.text.len();
        if write(self.text).is_none() {
            self.text.truncate(start);
            return None;
        }
        self.text.get(start..)
    }

    /// Puts the cell of text that was appended, of so many UTF-16 units.
    #[inline]
    fn end_text(&mut self, units: u32) {
        self.units = self.units.saturating_add(units);
        self.put(u64::from(self.units), VALUE);
    }

    /// A document of the column that is kept beside the text. `None` where it is not UTF-8: then
    /// nothing is put.
    pub fn put_joined(&mut self, document: &[u8]) -> Option<()> {
        let units = self.check_units(document)?;
        self.join(document, units);
        self.put(u64::from(self.joined_units), VALUE);
        Some(())
    }

    pub fn put_joined_null(&mut self) {
        const DOCUMENT: &[u8] = b"null";
        self.join(DOCUMENT, DOCUMENT.len() as u32);
        self.put(u64::from(self.joined_units), NULL);
    }

    fn join(&mut self, document: &[u8], units: u32) {
        if self.joined.is_empty() {
            self.joined.reserve(self.text_limit);
            self.joined.push(b'[');
        } else {
            self.joined.push(b',');
        }
        self.joined.extend_from_slice(document);
        self.joined_units = self.joined_units.saturating_add(1).saturating_add(units);
    }

    /// Puts the documents behind the text of their rows, and returns how many UTF-16 units they
    /// take with their brackets.
    pub fn close_joined(&mut self) -> u32 {
        if self.joined.is_empty() {
            return 0;
        }
        self.joined.push(b']');
        let units = std::mem::take(&mut self.joined_units).saturating_add(1);
        self.units = self.units.saturating_add(units);
        self.text.append(&mut self.joined);
        units
    }

    /// Bytes of text that are held.
    pub fn text_len(&self) -> usize {
        self.text.len() + self.joined.len()
    }

    /// Whether the text has outgrown the limit by what was put since `mark`, and would not have
    /// without.
    pub fn overflows_since(&self, mark: Mark) -> bool {
        mark.text + mark.joined > 0 && self.text_len() > self.text_limit
    }

    /// Text that belongs to no cell (an error, a description): returns its length in UTF-16 units.
    pub fn append_text(&mut self, value: &str) -> u32 {
        let units = self.count_units(value);
        self.units = self.units.saturating_add(units);
        self.text.extend_from_slice(value.as_bytes());
        units
    }

    /// A value that has crossed in pieces, ahead of its row.
    pub fn put_cut(&mut self) {
        self.put(u64::from(self.units), CUT);
    }

    /// Text that belongs to no cell, of what `write` appends. Unless it ends here (`is_end`), it is
    /// taken up to the last whole character. Returns its length in UTF-16 units; where it is not
    /// UTF-8, nothing is appended.
    pub fn append_characters(
        &mut self,
        is_end: bool,
        write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Option<u32> {
        let start = self.text.len();
        let written = self.append_with(write)?;
        if let Err(error) = std::str::from_utf8(written) {
            let is_cut = !is_end && error.error_len().is_none();
            let end = if is_cut { start + error.valid_up_to() } else { start };
            self.text.truncate(end);
            if !is_cut {
                return None;
            }
        }
        let (units, is_ascii) = measure(self.text.get(start..)?);
        self.ascii &= is_ascii;
        self.units = self.units.saturating_add(units);
        Some(units)
    }

    /// Bytes that belong to no cell, each of which is one unit: all other text of the batch is
    /// ASCII, and nothing comes behind them.
    pub fn append_bytes(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<u32> {
        debug_assert!(self.ascii);
        let units = units_of_ascii(self.append_with(write)?);
        self.units = self.units.saturating_add(units);
        Some(units)
    }

    /// In UTF-16; `None` where it is not UTF-8. Most text is ASCII, and looked at once.
    #[inline]
    fn check_units(&mut self, value: &[u8]) -> Option<u32> {
        if value.is_ascii() {
            return Some(units_of_ascii(value));
        }
        std::str::from_utf8(value).ok().map(|value| self.count_units(value))
    }

    fn count_units(&mut self, value: &str) -> u32 {
        let (units, is_ascii) = measure(value.as_bytes());
        self.ascii &= is_ascii;
        units
    }

    fn put(&mut self, bits: u64, mark: u8) {
        // `reserve` was asked first; a caller that forgot loses the cell, never memory safety.
        if let (Some(cell), Some(flag)) =
            (self.cells.get_mut(self.used), self.nulls.get_mut(self.used))
        {
            // The views of the other side have the machine's byte order; the low half is asked for
            // by index 2n, so that this is written little-endian everywhere that Node runs.
            *cell = bits;
            *flag = mark;
        } else {
            debug_assert!(false, "a cell was put without room reserved for it");
        }
        self.used += 1;
    }

    pub fn text(&self) -> &[u8] {
        self.text
    }

    /// Whether all text is ASCII, or bytes as they are, so that bytes and UTF-16 units are the
    /// same.
    pub fn is_ascii(&self) -> bool {
        self.ascii
    }

    pub fn text_units(&self) -> u32 {
        self.units
    }

    pub fn cells_used(&self) -> usize {
        self.used
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0 && self.text_len() == 0
    }
}

/// The UTF-16 units of valid UTF-8, and whether it is ASCII.
fn measure(text: &[u8]) -> (u32, bool) {
    if text.is_ascii() {
        return (units_of_ascii(text), true);
    }
    // One for each character, and one more for those of four bytes.
    let units_of = |byte: u8| u32::from(byte & 0xC0 != 0x80) + u32::from(byte >= 0xF0);
    (text.iter().map(|&byte| units_of(byte)).sum(), false)
}

/// A message is at most 1 GiB, and a value 2^28 bytes and one element more, so that this never
/// saturates.
#[inline]
fn units_of_ascii(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_count_utf16_units_and_nulls_take_none() {
        let (mut cells, mut nulls, mut text) = ([0; 4], [0; 4], Vec::new());
        let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 64);
        assert_eq!(batch.put_text("né😀".as_bytes()), Some(()));
        batch.put_null();
        assert_eq!(batch.put_text(b"\xc3"), None);
        assert_eq!(batch.put_text(b"x"), Some(()));
        assert!(!batch.is_ascii());
        assert_eq!(batch.text_units(), 5);
        assert_eq!((cells, nulls), ([4, 4, 5, 0], [0, 1, 0, 0]));
    }

    #[test]
    fn a_full_batch_says_so_and_a_first_row_always_fits() {
        let (mut cells, mut nulls, mut text) = ([0; 4], [0; 4], Vec::new());
        let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 8);
        assert_eq!(batch.reserve(5, 0), Err(Full));
        assert_eq!(batch.reserve(2, 1000), Ok(()));
        assert_eq!(batch.put_text(b"12345678"), Some(()));
        let mark = batch.mark();
        batch.put_i32(-1);
        assert_eq!(batch.reserve(1, 1), Err(Full));
        batch.rewind(mark);
        assert_eq!(batch.reserve(3, 0), Ok(()));
        assert_eq!(batch.cells_used(), 1);
    }
}
