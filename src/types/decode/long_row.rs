//! Rows that are too long to cross at once: their long values cross in pieces, ahead of the row.
//!
//! A piece is as much work as any other segment. Text ends at a whole character, and of bytes that
//! come in hex an even number of digits is read. What becomes of a value only when all of it is
//! there (an array, and bytes in the form `escape`) stays in its row.

use std::ops::Range;

use crate::base::memory::is_there_room_for;
use crate::base::{Body, Error};
use crate::protocol::data_row::Places;
use crate::transfer::{Full, Lane, RowBatch};

use super::bytes;
use super::row::{no_memory, unreadable, write_value, wrong_count};
use super::scalar::Scalar;
use super::shape::{Column, Decoder, Shape};

/// A row whose body is longer is a long one.
pub const LONG_ROW: usize = 256 * 1024;
/// Bytes of text that cross at once. V8 keeps strings of this size where they are, and copies
/// shorter ones twice before it does.
const TEXT_PIECE: usize = 256 * 1024;
/// Bytes that cross at once. Their string is garbage at once, so that it is made where V8 makes
/// short ones.
const BYTES_PIECE: usize = 64 * 1024;
/// Less room than this is none: a whole character fits.
const LEAST_ROOM: usize = 1024;
/// Values up to this size stay in their row,
const SHORT_VALUE: usize = 1024;
/// and others as long as all that stays is no more than this.
const MOST_KEPT: usize = 32 * 1024;

/// How a value is cut.
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

/// The fields of a row, and which of them are cut.
#[derive(Clone, Debug, Default)]
struct Walk {
    places: Places,
    column: usize,
    /// Bytes of the values that stay in the row.
    kept: usize,
}

/// A field; NULL lies nowhere.
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

/// A value that is under way.
#[derive(Debug)]
struct Value {
    cut: Cut,
    column: usize,
    /// What has not crossed.
    rest: Range<usize>,
    start: usize,
    /// The bytes of the whole value, as JavaScript will have it or in UTF-8.
    size: usize,
}

/// What has crossed of a long row.
#[derive(Debug)]
pub struct LongRow {
    walk: Walk,
    value: Option<Value>,
    crossed: Range<usize>,
    cut_text: usize,
}

/// A piece, whose text was appended to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Each unit is a byte of a value of type bytea.
    pub is_bytes: bool,
    pub is_last: bool,
    /// In UTF-16.
    pub units: u32,
    /// The bytes of the whole value.
    pub size: usize,
}

impl LongRow {
    pub fn new(body: Body<'_>, shape: &Shape) -> Self {
        let (mut walk, mut cut_text) = (Walk::default(), 0_usize);
        while let Some(field) = walk.next(body, shape.columns()) {
            if let (Some(cut), Some(place)) = (field.cut, field.place) {
                // As long as bytes are in base64.
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

    /// About how many bytes of text the values have that cross in pieces. 0 where none does.
    pub const fn cut_text(&self) -> usize {
        self.cut_text
    }

    /// Whether the row itself is next.
    pub fn has_crossed(&self, shape: &Shape) -> bool {
        self.value.is_none() && self.walk.column == shape.columns().len()
    }

    /// Bytes of the body that are not read again.
    pub const fn crossed(&self) -> &Range<usize> {
        &self.crossed
    }

    /// Appends the next piece to the batch's text. `None` when all have crossed; where there is no
    /// room, nothing is appended. A piece of bytes is the last that its batch takes.
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
                // V8 ends the process where it has no memory for a string.
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

    /// Writes the row itself, whose cells name those values that have crossed. Where the batch is
    /// full or a value can't be read, the batch is as before.
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
