//! Rows that are too long to cross at once. Their long values cross before the row, in pieces.
//!
//! A piece takes about as much work as any other segment. A piece of text ends after a whole
//! character, and a piece of hex has an even number of digits. Some values can only be decoded as a
//! whole: arrays, and bytes in the `escape` format. They stay in their row.

use std::ops::Range;

use crate::base::memory::is_there_room_for;
use crate::base::{Body, Error};
use crate::protocol::data_row::Places;
use crate::transfer::{Full, Lane, RowBatch};

use super::bytes;
use super::row::{no_memory, unreadable, write_value, wrong_count};
use super::scalar::Scalar;
use super::shape::{Column, Decoder, Shape};

/// A row with a longer body is a long row.
pub const LONG_ROW: usize = 256 * 1024;
/// How many bytes of text cross at once. V8 does not move strings of this size, but copies shorter
/// ones twice before it stops moving them.
const TEXT_PIECE: usize = 256 * 1024;
/// How many bytes of a bytea cross at once. Their string becomes garbage at once, so it should be
/// short enough for V8's young generation.
const BYTES_PIECE: usize = 64 * 1024;
/// If less room than this is left, none is used. A whole character always fits into it.
const LEAST_ROOM: usize = 1024;
/// Values of up to this size stay in their row,
const SHORT_VALUE: usize = 1024;
/// and so do longer values, as long as all values that stay are no longer than this together.
const MOST_KEPT: usize = 32 * 1024;

/// How a value is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Text,
    Bytes,
    Hex,
}

impl Cut {
    fn of(column: &Column, place: &Range<usize>, body: Body<'_>) -> Option<Self> {
        match column.decoder {
            Decoder::Scalar(Scalar::Text | Scalar::Json) => Some(Self::Text),
            Decoder::Scalar(Scalar::ByteaBinary) => Some(Self::Bytes),
            Decoder::Scalar(Scalar::ByteaText) if body.array(place.start) == Some(bytes::HEX) => {
                Some(Self::Hex)
            }
            _ => None,
        }
    }
}

/// The fields of a row, and which of them cross in pieces.
#[derive(Clone, Debug, Default)]
struct Walk {
    places: Places,
    column: usize,
    /// The total length of the values that stay in the row.
    kept: usize,
}

/// A field. NULL has no range.
struct Field<'a> {
    column: &'a Column,
    place: Option<Range<usize>>,
    cut: Option<Cut>,
}

impl Walk {
    fn next<'a>(&mut self, body: Body<'_>, columns: &'a [Column]) -> Option<Field<'a>> {
        let column = columns.get(self.column)?;
        let place = self.places.next(body)?;
        self.column += 1;
        let length = place.as_ref().map_or(0, Range::len);
        let is_long = length > SHORT_VALUE && self.kept.saturating_add(length) > MOST_KEPT;
        let cut = place.as_ref().filter(|_| is_long).and_then(|at| Cut::of(column, at, body));
        if cut.is_none() {
            self.kept = self.kept.saturating_add(length);
        }
        Some(Field { column, place, cut })
    }
}

/// A value of which some pieces have crossed.
#[derive(Debug)]
struct Value {
    cut: Cut,
    column: usize,
    /// What has not crossed yet.
    rest: Range<usize>,
    start: usize,
    /// The length of the whole value in bytes, as JavaScript will have it or in UTF-8.
    size: usize,
}

/// How much of a long row has crossed.
#[derive(Debug)]
pub struct LongRow {
    walk: Walk,
    value: Option<Value>,
    crossed: Range<usize>,
    cut_text: usize,
}

/// A piece, whose text has been appended to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whether each unit is one byte of a bytea.
    pub is_bytes: bool,
    pub is_last: bool,
    /// The length in UTF-16 units.
    pub units: u32,
    /// The length of the whole value in bytes.
    pub size: usize,
}

impl LongRow {
    pub fn new(body: Body<'_>, shape: &Shape) -> Self {
        let (mut walk, mut cut_text) = (Walk::default(), 0_usize);
        while let Some(field) = walk.next(body, shape.columns()) {
            if let (Some(cut), Some(place)) = (field.cut, field.place) {
                // As long as the bytes are in base64.
                let text = match cut {
                    Cut::Text => place.len(),
                    Cut::Bytes => place.len() / 3 * 4,
                    Cut::Hex => place.len() / 3 * 2,
                };
                cut_text = cut_text.saturating_add(text);
            }
        }
        Self { walk: Walk::default(), value: None, crossed: 0..0, cut_text }
    }

    /// About how many bytes of text cross in pieces. 0 if no value does.
    pub const fn cut_text(&self) -> usize {
        self.cut_text
    }

    /// Whether all pieces have crossed, so that the row itself is next.
    pub fn has_crossed(&self, shape: &Shape) -> bool {
        self.value.is_none() && self.walk.column == shape.columns().len()
    }

    /// The bytes of the body that are not read again.
    pub const fn crossed(&self) -> &Range<usize> {
        &self.crossed
    }

    /// Appends the next piece to the batch's text. `None` if all pieces have crossed. If there is
    /// no room, nothing is appended. After a piece of bytes, the batch takes no other piece.
    pub fn next_piece(
        &mut self,
        body: Body<'_>,
        shape: &Shape,
        batch: &mut RowBatch<'_>,
    ) -> Result<Option<Result<Piece, Full>>, Error> {
        let columns = shape.columns();
        let mut value = match self.value.take() {
            Some(value) => value,
            None => match self.next_value(body, columns) {
                // V8 aborts the process if it has no memory for a string.
                Some(value) if !is_there_room_for(value.size) => return Err(no_memory()),
                Some(value) => value,
                None => return Ok(None),
            },
        };
        let is_bytes = value.cut != Cut::Text;
        let most = match value.cut {
            Cut::Text => TEXT_PIECE.saturating_sub(batch.text_len()),
            Cut::Bytes => BYTES_PIECE,
            Cut::Hex => 2 * BYTES_PIECE,
        };
        if most < LEAST_ROOM || (is_bytes && !batch.is_ascii()) {
            self.value = Some(value);
            return Ok(Some(Err(Full)));
        }
        let taken = value.rest.len().min(most);
        let is_end = taken == value.rest.len();
        if !batch.make_room(taken, false) {
            return Err(no_memory());
        }
        let next = value.rest.start..value.rest.start + taken;
        let before = batch.text_len();
        let units = match value.cut {
            Cut::Text => batch.append_characters(is_end, |out| body.copy(next, out).ok()),
            Cut::Bytes => batch.append_bytes(|out| body.copy(next, out).ok()),
            Cut::Hex => batch.append_bytes(|out| {
                let start = out.len();
                body.copy(next, out).ok()?;
                bytes::read_hex(out, start)
            }),
        };
        let units = units.ok_or_else(|| match columns.get(value.column) {
            Some(column) => unreadable(column, value.rest.end - value.start),
            None => wrong_count(columns.len()),
        })?;
        value.rest.start += match value.cut {
            Cut::Text => batch.text_len() - before,
            Cut::Bytes | Cut::Hex => taken,
        };
        self.crossed = value.start..value.rest.start;
        let is_last = value.rest.is_empty();
        let piece = Piece { is_bytes, is_last, units, size: value.size };
        if !is_last {
            self.value = Some(value);
        }
        Ok(Some(Ok(piece)))
    }

    fn next_value(&mut self, body: Body<'_>, columns: &[Column]) -> Option<Value> {
        loop {
            let column = self.walk.column;
            let field = self.walk.next(body, columns)?;
            let (Some(cut), Some(Range { start, end })) = (field.cut, field.place) else {
                continue;
            };
            let (rest, size) = match cut {
                Cut::Text | Cut::Bytes => (start..end, end - start),
                Cut::Hex => (start + bytes::HEX.len()..end, (end - start - bytes::HEX.len()) / 2),
            };
            return Some(Value { cut, column, rest, start, size });
        }
    }

    /// Writes the row itself. Its cells mark the values that have crossed. If the batch is full or
    /// a value can't be read, the batch stays as it was.
    pub fn write_row(
        &self,
        body: Body<'_>,
        shape: &Shape,
        batch: &mut RowBatch<'_>,
    ) -> Result<Result<(), Full>, Error> {
        let columns = shape.columns();
        if let Err(full) = batch.reserve(columns.len(), self.walk.kept) {
            return Ok(Err(full));
        }
        let mark = batch.mark();
        let written = write_cells(body, columns, batch);
        if written.is_err() {
            batch.rewind(mark);
        }
        written.map(Ok)
    }
}

fn write_cells(body: Body<'_>, columns: &[Column], batch: &mut RowBatch<'_>) -> Result<(), Error> {
    let mut walk = Walk::default();
    let mut joined = Vec::new();
    while let Some(Field { column, place, cut }) = walk.next(body, columns) {
        match place {
            _ if cut.is_some() => batch.put_cut(),
            None if column.lane == Lane::Joined => batch.put_joined_null(),
            None => batch.put_null(),
            Some(place) => {
                let slice = body.slice(&place);
                if slice.len() == place.len() {
                    write_value(slice, column, batch)?;
                    continue;
                }
                joined.clear();
                body.copy(place, &mut joined).map_err(|_| no_memory())?;
                write_value(&joined, column, batch)?;
            }
        }
    }
    let is_whole = walk.column == columns.len() && walk.places.next(body).is_none();
    if is_whole { Ok(()) } else { Err(wrong_count(columns.len())) }
}

#[cfg(test)]
mod tests;
