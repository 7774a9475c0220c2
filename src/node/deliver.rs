//! From the reactor's news to records, cells and one text, a segment at a time.
//!
//! Knows nothing of JavaScript: it writes into memory that it is lent. The records are the contract with
//! `js/records.cjs`; a record's own words follow its tag:
//!
//! ```text
//! RESULT 1  request, shape slot | -1, rows, command number | -1, count low, count high (-1: none),
//!           flags, lease | 0, UTF-16 units of the command's text
//! ERROR  2  request | -1, UTF-16 units of the JSON; -1 stands for every request without an answer
//! SHAPE  3  slot, UTF-16 units of the JSON
//! EVENT  4  UTF-16 units of the JSON
//! LOOKUP 5  token, UTF-16 units of the name
//! ```
//!
//! All text of a segment is one string, in the order of the records; a RESULT's begins with its command,
//! where that has no number, and goes on with its rows. A result that does not fit is continued in the next
//! segment by another RESULT. A command without a number comes in a RESULT of its own behind the rows, so
//! that a row of any length finds a segment whose text is empty. A request without any result (`end`) is
//! completed by a RESULT that is no result: its flags have the second bit alone.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::error_json::error_to_json;
use super::shape_slots::ShapeSlots;
use crate::base::batch::Full;
use crate::base::{Error, ErrorClass, RowBatch};
use crate::connection::{RowCursor, StatementResult};
use crate::pool::Response;
use crate::reactor::News;
use crate::types::{Shape, write_row};

/// Bytes of text in a segment: what one kept cell can hold alive, and what V8 allocates at once.
pub(super) const TEXT_LIMIT: usize = 32 * 1024;

/// The longest string that V8 makes on every platform (2^28 - 16). Only a single row can be longer than
/// [`TEXT_LIMIT`].
const LONGEST_TEXT: usize = (1 << 28) - 16;

const RESULT: i32 = 1;
const ERROR: i32 = 2;
const SHAPE: i32 = 3;
const EVENT: i32 = 4;
const LOOKUP: i32 = 5;

/// In a RESULT's flags.
const RESULT_COMPLETE: i32 = 1;
const REQUEST_COMPLETE: i32 = 2;

/// The number in place of a slot, a command, a count, or a request.
const NONE: i32 = -1;

/// In front of the records: how many words are used, and whether there is more.
const HEADER_WORDS: usize = 2;
const RESULT_WORDS: usize = 10;
const SHAPE_WORDS: usize = 3;
/// The longest of the records that are text.
const TEXT_WORDS: usize = 3;
/// A result may need its shape in front, and its command behind.
const WHOLE_RESULT_WORDS: usize = SHAPE_WORDS + 2 * RESULT_WORDS;

/// The memory of one segment.
#[derive(Debug)]
pub(super) struct Room<'a> {
    pub(super) records: &'a mut [i32],
    pub(super) cells: &'a mut [u64],
    pub(super) nulls: &'a mut [u8],
    pub(super) text: &'a mut Vec<u8>,
}

/// What a segment holds so far.
struct Sheet<'a> {
    records: &'a mut [i32],
    used: usize,
    columns_limit: usize,
    batch: RowBatch<'a>,
}

impl<'a> Sheet<'a> {
    fn new(room: Room<'a>) -> Self {
        let Room { records, cells, nulls, text } = room;
        let columns_limit = cells.len().min(nulls.len());
        let batch = RowBatch::new(cells, nulls, text, TEXT_LIMIT);
        Self { records, used: HEADER_WORDS, columns_limit, batch }
    }

    fn has_room(&self, words: usize) -> bool {
        self.records.len() - self.used >= words
    }

    /// `has_room` was asked before.
    fn put(&mut self, words: &[i32]) {
        if let Some(place) = self.records.get_mut(self.used..self.used + words.len()) {
            place.copy_from_slice(words);
            self.used += words.len();
        } else {
            debug_assert!(false, "a record was put without room for it");
        }
    }

    fn text_fits(&self, text: &str) -> bool {
        self.batch.reserve(0, text.len()).is_ok()
    }

    fn append_text(&mut self, text: &str) -> i32 {
        // A string has less than 2^30 units.
        i32::try_from(self.batch.append_text(text)).unwrap_or(i32::MAX)
    }

    fn finish(self, more: bool) -> bool {
        let used = i32::try_from(self.used).unwrap_or(i32::MAX);
        if let Some([words, has_more, ..]) = self.records.get_mut(..) {
            *words = used;
            *has_more = i32::from(more);
        }
        self.batch.is_ascii()
    }
}

/// A request's answer, as far as it has not been delivered.
#[derive(Debug)]
struct Answer {
    request: i32,
    lease: Option<NonZeroU32>,
    results: VecDeque<StatementResult>,
    /// Into the first of the results.
    cursor: RowCursor,
}

/// What is to be written next.
#[derive(Debug)]
enum Item {
    Answer(Answer),
    Text { tag: i32, number: Option<i32>, text: String },
}

impl From<News> for Item {
    fn from(news: News) -> Self {
        match news {
            News::Completed { request, result } => {
                let request = request.cast_signed();
                match result {
                    Ok(Response { results, lease }) => Self::Answer(Answer {
                        request,
                        lease,
                        results: results.into(),
                        cursor: RowCursor::default(),
                    }),
                    Err(error) => Self::error(request, &error),
                }
            }
            News::Event(event) => Self::Text { tag: EVENT, number: None, text: event.to_json() },
            News::Lookup(lookup) => {
                let number = Some(lookup.token.cast_signed());
                Self::Text { tag: LOOKUP, number, text: lookup.name }
            }
            News::Poisoned(error) => Self::error(NONE, &error),
        }
    }
}

impl Item {
    fn error(request: i32, error: &Error) -> Self {
        Self::Text { tag: ERROR, number: Some(request), text: error_to_json(error) }
    }
}

/// What became of an item.
enum Written {
    Wholly,
    /// The segment is full: this is to be written into the next one.
    Rest(Item),
}

/// What became of one result.
enum Fitted {
    Wholly,
    InPart,
}

/// Remembers what did not fit, and which shapes JavaScript knows.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    rest: Option<Item>,
    shapes: ShapeSlots,
}

impl Delivery {
    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Writes until there is no more news or no more room, and returns whether all text is ASCII. Where
    /// `may_go_on` is false, JavaScript is told that there is no more, and will be called again.
    pub(super) fn fill(
        &mut self,
        room: Room<'_>,
        may_go_on: bool,
        mut next: impl FnMut() -> Option<News>,
    ) -> bool {
        let mut sheet = Sheet::new(room);
        while let Some(item) = self.rest.take().or_else(|| next().map(Item::from)) {
            if let Written::Rest(rest) = self.write(&mut sheet, item) {
                self.rest = Some(rest);
                break;
            }
        }
        sheet.finish(may_go_on && self.rest.is_some())
    }

    fn write(&mut self, sheet: &mut Sheet<'_>, item: Item) -> Written {
        match item {
            Item::Answer(answer) => self.write_answer(sheet, answer),
            Item::Text { tag, number, text } => {
                if !sheet.has_room(TEXT_WORDS) || !sheet.text_fits(&text) {
                    return Written::Rest(Item::Text { tag, number, text });
                }
                let units = sheet.append_text(&text);
                match number {
                    Some(number) => sheet.put(&[tag, number, units]),
                    None => sheet.put(&[tag, units]),
                }
                Written::Wholly
            }
        }
    }

    fn write_answer(&mut self, sheet: &mut Sheet<'_>, mut answer: Answer) -> Written {
        if answer.results.is_empty() {
            if !sheet.has_room(RESULT_WORDS) {
                return Written::Rest(Item::Answer(answer));
            }
            let head = Head { answer: &answer, slot: NONE, flags: REQUEST_COMPLETE };
            head.put(sheet, 0, 0, None, 0);
            return Written::Wholly;
        }
        while let Some(mut result) = answer.results.pop_front() {
            match self.write_result(sheet, &mut answer, &result) {
                Ok(Fitted::Wholly) => answer.cursor = RowCursor::default(),
                Ok(Fitted::InPart) => {
                    result.rows.free_before(answer.cursor);
                    answer.results.push_front(result);
                    return Written::Rest(Item::Answer(answer));
                }
                // The rows that JavaScript has got already are dropped there.
                Err(error) => return self.write(sheet, Item::error(answer.request, &error)),
            }
        }
        Written::Wholly
    }

    /// `result` has been taken out of the answer's, so that what is left comes behind it.
    fn write_result(
        &mut self,
        sheet: &mut Sheet<'_>,
        answer: &mut Answer,
        result: &StatementResult,
    ) -> Result<Fitted, Error> {
        if !sheet.has_room(WHOLE_RESULT_WORDS) {
            return Ok(Fitted::InPart);
        }
        let slot = match &result.shape {
            None => NONE,
            Some(shape) => match self.announce(sheet, shape)? {
                Some(slot) => slot,
                None => return Ok(Fitted::InPart),
            },
        };
        let (rows, fitted) = write_rows(sheet, answer, result)?;
        let mut head = Head { answer, slot, flags: 0 };
        if let Fitted::InPart = fitted {
            if rows > 0 {
                head.put(sheet, rows, 0, None, 0);
            }
            return Ok(Fitted::InPart);
        }
        let is_last = answer.results.is_empty();
        let flags = RESULT_COMPLETE | if is_last { REQUEST_COMPLETE } else { 0 };
        let count = result.command.count();
        if let Some(number) = result.command.number() {
            head.flags = flags;
            head.put(sheet, rows, i32::from(number), count, 0);
            return Ok(Fitted::Wholly);
        }
        if rows > 0 {
            head.put(sheet, rows, 0, None, 0);
        }
        if !sheet.text_fits(result.command.name()) {
            return Ok(Fitted::InPart);
        }
        let units = sheet.append_text(result.command.name());
        head.flags = flags;
        head.put(sheet, 0, NONE, count, units);
        Ok(Fitted::Wholly)
    }

    /// The shape's slot, after JavaScript has been told of it; `None` where its text does not fit.
    fn announce(
        &mut self,
        sheet: &mut Sheet<'_>,
        shape: &Arc<Shape>,
    ) -> Result<Option<i32>, Error> {
        if shape.columns().len() > sheet.columns_limit {
            let message = format!("a row of {} columns is too wide", shape.columns().len());
            return Err(Error::new(ErrorClass::Protocol, "HYPERION_RESULT_TOO_LARGE", message));
        }
        let slot = |slot| i32::try_from(slot).unwrap_or(NONE);
        if let Some(known) = self.shapes.find(shape) {
            return Ok(Some(slot(known)));
        }
        let text = shape.to_json();
        if !sheet.text_fits(&text) {
            return Ok(None);
        }
        let slot = slot(self.shapes.take(shape));
        let units = sheet.append_text(&text);
        sheet.put(&[SHAPE, slot, units]);
        Ok(Some(slot))
    }
}

/// Writes the rows from the answer's cursor on, and returns how many fitted.
fn write_rows(
    sheet: &mut Sheet<'_>,
    answer: &mut Answer,
    result: &StatementResult,
) -> Result<(i32, Fitted), Error> {
    let mut count = 0;
    let Some(shape) = &result.shape else { return Ok((count, Fitted::Wholly)) };
    let start = sheet.batch.mark();
    loop {
        let here = answer.cursor;
        let Some(body) = result.rows.next_body(&mut answer.cursor) else {
            return Ok((count, Fitted::Wholly));
        };
        let written = write_row(body, shape, &mut sheet.batch).and_then(|fits| {
            if sheet.batch.text().len() <= LONGEST_TEXT { Ok(fits) } else { Err(too_long()) }
        });
        match written {
            Ok(Ok(())) => count += 1,
            Ok(Err(Full)) => {
                answer.cursor = here;
                return Ok((count, Fitted::InPart));
            }
            Err(error) => {
                sheet.batch.rewind(start);
                return Err(error);
            }
        }
    }
}

fn too_long() -> Error {
    let message = "the text of a row is longer than a string of JavaScript can be";
    Error::new(ErrorClass::Protocol, "HYPERION_RESULT_TOO_LARGE", message)
}

/// What the RESULT records of one result have in common.
struct Head<'a> {
    answer: &'a Answer,
    slot: i32,
    flags: i32,
}

impl Head<'_> {
    fn put(&self, sheet: &mut Sheet<'_>, rows: i32, command: i32, count: Option<u64>, units: i32) {
        let (low, high) = halves(count);
        let lease = self.answer.lease.map_or(0, |lease| lease.get().cast_signed());
        let request = self.answer.request;
        sheet
            .put(&[RESULT, request, self.slot, rows, command, low, high, self.flags, lease, units]);
    }
}

/// A count as two words. One that would look like none is none: no table has 2^64 rows.
fn halves(count: Option<u64>) -> (i32, i32) {
    match count {
        Some(count) if count >> 32 != u64::from(u32::MAX) => {
            ((count as u32).cast_signed(), ((count >> 32) as u32).cast_signed())
        }
        _ => (0, NONE),
    }
}
