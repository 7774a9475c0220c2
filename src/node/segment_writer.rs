//! One segment while it is being written: records of 32-bit words, cells, and one text.
//!
//! `crate::transfer::contract::records` defines the records and their words.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::pool::Trace;
use crate::transfer::RowBatch;
use crate::transfer::contract::absences::NONE;
use crate::transfer::contract::piece_flags::{BYTES, LAST_PIECE};
use crate::transfer::contract::records::{
    ErrorWords, EventWords, LookupWords, PasswordWords, PieceWords, ResultWords, SegmentWords,
    ShapeWords, SslWords, TraceWords, TypesWords,
};
use crate::types::RowPiece;

/// How many bytes of text a segment has. A single cell that JavaScript retains can keep this much
/// alive, and V8 allocates this much at once.
pub(super) const TEXT_LIMIT: usize = 32 * 1024;

/// The longest record that consists of a text only.
const TEXT_WORDS: usize = longest(&[
    ErrorWords::WORDS,
    ShapeWords::WORDS,
    EventWords::WORDS,
    LookupWords::WORDS,
    TypesWords::WORDS,
    TraceWords::WORDS,
]);
/// A result may need its shape before it, and its command after it.
const WHOLE_RESULT_WORDS: usize = ShapeWords::WORDS + 2 * ResultWords::WORDS;

const fn longest(lengths: &[usize]) -> usize {
    match lengths {
        [] => 0,
        [length, others @ ..] => {
            let other = longest(others);
            if *length > other { *length } else { other }
        }
    }
}

/// The memory of one segment.
#[derive(Debug)]
pub(super) struct SegmentMut<'a> {
    pub(super) records: &'a mut [i32],
    pub(super) cells: &'a mut [u64],
    pub(super) nulls: &'a mut [u8],
    pub(super) text: &'a mut Vec<u8>,
}

/// The content of a RESULT record.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResultRecord {
    pub(super) request: u32,
    pub(super) lease: Option<NonZeroU32>,
    pub(super) slot: i32,
    pub(super) rows: i32,
    pub(super) command: i32,
    pub(super) command_units: i32,
    pub(super) count: Option<u64>,
    pub(super) flags: i32,
    pub(super) joined_units: i32,
}

/// The segment that is being written. Before a record is written, the caller asks whether there is
/// room for it.
#[derive(Debug)]
pub(super) struct SegmentWriter<'a> {
    records: &'a mut [i32],
    used: usize,
    columns_limit: usize,
    /// The cells and the text.
    pub(super) batch: RowBatch<'a>,
}

impl<'a> SegmentWriter<'a> {
    pub(super) fn new(room: SegmentMut<'a>) -> Self {
        let SegmentMut { records, cells, nulls, text } = room;
        let columns_limit = cells.len().min(nulls.len());
        let batch = RowBatch::new(cells, nulls, text, TEXT_LIMIT);
        Self { records, used: SegmentWords::WORDS, columns_limit, batch }
    }

    /// The most columns that fit into a segment.
    pub(super) fn columns_limit(&self) -> usize {
        self.columns_limit
    }

    /// Whether there is room for all records of a result, apart from text and rows.
    pub(super) fn has_room_for_result(&self) -> bool {
        self.has_room(WHOLE_RESULT_WORDS)
    }

    /// Whether there is room for a record that consists of this text only.
    pub(super) fn has_room_for_text(&self, text: &str) -> bool {
        self.has_room(TEXT_WORDS) && self.text_fits(text)
    }

    pub(super) fn text_fits(&self, text: &str) -> bool {
        self.batch.reserve(0, text.len()).is_ok()
    }

    /// Whether there is room for a piece. A segment with cells has none: a piece is long, and
    /// no cell may keep it alive.
    pub(super) fn has_room_for_piece(&self) -> bool {
        self.has_room(PieceWords::WORDS) && self.batch.cells_used() == 0
    }

    /// Appends a text, and returns its length in UTF-16 units.
    pub(super) fn append_text(&mut self, text: &str) -> i32 {
        // A string has fewer than 2^30 units.
        i32::try_from(self.batch.append_text(text)).unwrap_or(i32::MAX)
    }

    /// Ends the JSON of the rows that were written last, and returns its length in UTF-16 units.
    pub(super) fn close_joined(&mut self) -> i32 {
        i32::try_from(self.batch.close_joined()).unwrap_or(i32::MAX)
    }

    pub(super) fn put_result(&mut self, record: ResultRecord) {
        let (count_low, count_high) = halves(record.count);
        let ResultRecord { slot, rows, command, command_units, flags, joined_units, .. } = record;
        let words = ResultWords {
            request: record.request.cast_signed(),
            slot,
            rows,
            command,
            count_low,
            count_high,
            flags,
            lease: record.lease.map_or(0, |lease| lease.get().cast_signed()),
            command_units,
            joined_units,
        };
        self.put(&words.words());
    }

    pub(super) fn put_error(&mut self, request: u32, json: &str) {
        let units = self.append_text(json);
        self.put(&ErrorWords { request: request.cast_signed(), units }.words());
    }

    pub(super) fn put_shape(&mut self, slot: i32, json: &str) {
        let units = self.append_text(json);
        self.put(&ShapeWords { slot, units }.words());
    }

    pub(super) fn put_event(&mut self, json: &str) {
        let units = self.append_text(json);
        self.put(&EventWords { units }.words());
    }

    pub(super) fn put_lookup(&mut self, token: u32, name: &str) {
        let units = self.append_text(name);
        self.put(&LookupWords { token: token.cast_signed(), units }.words());
    }

    pub(super) fn put_ssl(&mut self, question: u32) {
        self.put(&SslWords { question: question.cast_signed() }.words());
    }

    pub(super) fn put_password(&mut self, question: u32, host: &str) {
        let units = self.append_text(host);
        self.put(&PasswordWords { question: question.cast_signed(), units }.words());
    }

    pub(super) fn put_types(&mut self, request: u32, oids: &str) {
        let units = self.append_text(oids);
        self.put(&TypesWords { request: request.cast_signed(), units }.words());
    }

    /// A wait of more than half an hour is reported as half an hour.
    pub(super) fn put_trace(&mut self, request: u32, trace: &Trace, host: &str) {
        let units = self.append_text(host);
        let micros = |waited: Duration| i32::try_from(waited.as_micros()).unwrap_or(i32::MAX);
        let waited = trace.waited.map_or(NONE, micros);
        let attempts = i32::try_from(trace.attempts).unwrap_or(i32::MAX);
        let request = request.cast_signed();
        self.put(&TraceWords { request, waited, attempts, units }.words());
    }

    /// Puts the record of a piece whose text was appended.
    pub(super) fn put_piece(&mut self, request: u32, piece: RowPiece) {
        let RowPiece { is_bytes, is_last, units, size } = piece;
        let flags = if is_bytes { BYTES } else { 0 } | if is_last { LAST_PIECE } else { 0 };
        // A message has fewer than 2^30 bytes.
        let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
        let (request, units, size) = (request.cast_signed(), number(units as usize), number(size));
        self.put(&PieceWords { request, units, size, flags }.words());
    }

    /// Writes the header, and returns whether all text is ASCII.
    pub(super) fn finish(self, more: bool) -> bool {
        let used = i32::try_from(self.used).unwrap_or(i32::MAX);
        let header = SegmentWords { used, more: i32::from(more) };
        if let Some(place) = self.records.first_chunk_mut() {
            *place = header.words();
        }
        self.batch.is_ascii()
    }

    fn has_room(&self, words: usize) -> bool {
        self.records.len() - self.used >= words
    }

    fn put(&mut self, words: &[i32]) {
        if let Some(place) = self.records.get_mut(self.used..self.used + words.len()) {
            place.copy_from_slice(words);
            self.used += words.len();
        } else {
            debug_assert!(false, "a record was put without room for it");
        }
    }
}

/// A count as two words. A count that would look like NONE is dropped: no table has 2^63 rows.
fn halves(count: Option<u64>) -> (i32, i32) {
    match count {
        Some(count) if i64::try_from(count).is_ok() => {
            ((count as u32).cast_signed(), ((count >> 32) as u32).cast_signed())
        }
        Some(_) | None => (0, NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_two_words_and_none_is_negative() {
        assert_eq!(halves(Some(0)), (0, 0));
        assert_eq!(halves(Some(u64::from(u32::MAX))), (-1, 0));
        assert_eq!(halves(Some(1 << 53)), (0, 1 << 21));
        assert_eq!(halves(Some(u64::MAX)), (0, NONE));
        assert_eq!(halves(None), (0, NONE));
    }
}
