//! The batch in which rows cross into JavaScript: cells of a fixed width, and one text.
//!
//! Cells take eight bytes each and are ordered by row, then by column. JavaScript looks at the same
//! bytes as an Int32Array, a Float64Array and a BigInt64Array, and reads each column through the
//! view that its [`Lane`] names. A text cell holds the end of its text in the batch's one string.
//! Its text begins where the previous text cell's text ends. The byte that each cell has in
//! addition marks NULL, and a value that has crossed in pieces.
//!
//! The documents of one JSON column are kept apart from the other text while rows are written, as
//! `[document,document,...]`. In the end they follow the other text, so that JavaScript can parse
//! all of them at once.

use super::contract::Lane;
use super::contract::cells::{CUT, NULL, VALUE};

impl Lane {
    /// Whether the cells of the lane have text.
    pub const fn takes_text(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Bytes | Self::Array | Self::Joined)
    }
}

/// The batch is full. Hand it over, and write the row into the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A position in a batch to return to when a row does not fit or can't be read.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    cells: usize,
    text: usize,
    units: u32,
    joined: usize,
    joined_units: u32,
    ascii: bool,
}

/// Borrows the memory that it fills. That memory belongs to the floor that hands over the batch.
#[derive(Debug)]
pub struct RowBatch<'a> {
    cells: &'a mut [u64],
    nulls: &'a mut [u8],
    text: &'a mut Vec<u8>,
    text_limit: usize,
    used: usize,
    units: u32,
    /// The documents of [`Lane::Joined`], with their separators.
    joined: Vec<u8>,
    joined_units: u32,
    ascii: bool,
}

impl<'a> RowBatch<'a> {
    /// Clears `text`. `text_limit`, in bytes, bounds how much memory a single retained cell can
    /// keep alive: once the text has reached the limit, a batch takes no further row. The first row
    /// always fits, however long it is.
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

    /// Makes sure that there is memory for the long text that is put next. False if there is not.
    pub fn make_room(&mut self, bytes: usize, joined: bool) -> bool {
        if joined && self.joined.try_reserve(bytes.saturating_add(self.text_limit)).is_err() {
            return false;
        }
        // The joined documents will follow the text in the end.
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

    /// For text columns too. The cell has no text, so its text ends where the previous one ends.
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

    /// `None` if the value is not valid UTF-8. Then nothing is put.
    pub fn put_text(&mut self, value: &[u8]) -> Option<()> {
        let units = self.check_units(value)?;
        self.text.extend_from_slice(value);
        self.end_text(units);
        Some(())
    }

    /// Puts a text cell with what `write` appends, which must be ASCII. If `write` returns `None`,
    /// nothing is put.
    pub fn put_ascii_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        let written = self.append_with(write)?;
        debug_assert!(written.is_ascii());
        let units = units_of_ascii(written);
        self.end_text(units);
        Some(())
    }

    /// Puts a text cell with what `write` appends, which must be UTF-8. If `write` returns `None`,
    /// nothing is put.
    pub fn put_text_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        let (units, is_ascii) = measure(self.append_with(write)?);
        self.ascii &= is_ascii;
        self.end_text(units);
        Some(())
    }

    /// The bytes that `write` has written, or `None` if it returned `None`.
    #[inline]
    fn append_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<&[u8]> {
        let start = self.text.len();
        if write(self.text).is_none() {
            self.text.truncate(start);
            return None;
        }
        self.text.get(start..)
    }

    /// Puts the cell of a text that was appended, which has `units` UTF-16 units.
    #[inline]
    fn end_text(&mut self, units: u32) {
        self.units = self.units.saturating_add(units);
        self.put(u64::from(self.units), VALUE);
    }

    /// Puts a document of the column that is kept apart. `None` if the document is not valid UTF-8.
    /// Then nothing is put.
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

    /// Moves the documents to the end of the text. Returns how many UTF-16 units they take,
    /// including their brackets.
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

    /// The length of the text in bytes.
    pub fn text_len(&self) -> usize {
        self.text.len() + self.joined.len()
    }

    /// Whether the text is over the limit, and the batch already had text at `mark`. A first row
    /// may exceed the limit.
    pub fn overflows_since(&self, mark: Mark) -> bool {
        mark.text + mark.joined > 0 && self.text_len() > self.text_limit
    }

    /// Appends text that belongs to no cell, such as an error or a description. Returns its length
    /// in UTF-16 units.
    pub fn append_text(&mut self, value: &str) -> u32 {
        let units = self.count_units(value);
        self.units = self.units.saturating_add(units);
        self.text.extend_from_slice(value.as_bytes());
        units
    }

    /// Puts the cell of a value that has crossed before its row, in pieces.
    pub fn put_cut(&mut self) {
        self.put(u64::from(self.units), CUT);
    }

    /// Appends what `write` appends, as text that belongs to no cell. Unless the text ends here
    /// (`is_end`), an incomplete last character is left out. Returns the length in UTF-16 units. If
    /// the text is not valid UTF-8, nothing is appended.
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

    /// Appends bytes that belong to no cell, each as one unit. All other text of the batch must be
    /// ASCII, and nothing may follow the bytes.
    pub fn append_bytes(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<u32> {
        debug_assert!(self.ascii);
        let units = units_of_ascii(self.append_with(write)?);
        self.units = self.units.saturating_add(units);
        Some(units)
    }

    /// The length in UTF-16 units, or `None` if the text is not valid UTF-8. ASCII, the most
    /// frequent case, takes one pass.
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
        // The caller has asked `reserve` before. If it has not, the cell is lost, but memory stays
        // safe.
        if let (Some(cell), Some(flag)) =
            (self.cells.get_mut(self.used), self.nulls.get_mut(self.used))
        {
            // JavaScript's views have the machine's byte order. The low half is at index 2n only if
            // the cell is little-endian, as it is on every platform of Node.
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

    /// Whether the text is all ASCII or raw bytes, so that one byte is one UTF-16 unit.
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

/// How many UTF-16 units valid UTF-8 has, and whether it is ASCII.
fn measure(text: &[u8]) -> (u32, bool) {
    if text.is_ascii() {
        return (units_of_ascii(text), true);
    }
    // One for each character, and another one for each character of four bytes.
    let units_of = |byte: u8| u32::from(byte & 0xC0 != 0x80) + u32::from(byte >= 0xF0);
    (text.iter().map(|&byte| units_of(byte)).sum(), false)
}

/// Never saturates: a message is at most 1 GiB, and a batch takes 2^28 bytes and one more element.
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
