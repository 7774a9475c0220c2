//! Writes the reactor's events as records, cells and one text, one segment at a time.
//!
//! This file does not call JavaScript. It writes into memory that it borrows (`writer`).
//!
//! A result that does not fit is continued by another RESULT record in the next segment. A command
//! without a number comes in a RESULT of its own after the rows, so that a row of any length can
//! have a segment whose text is empty. A request without any result (`end`) is completed by an
//! empty RESULT. If a row is too long for one turn, its long values come first, in pieces over as
//! many segments as they take, and then the row.
//! many segments as they take, and then the row.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::error_json::error_to_json;
use super::event_json::event_to_json;
use super::requests::PendingRequests;
use super::segment_writer::{ResultRecord, SegmentMut, SegmentWriter};
use super::shape_slots::ShapeSlots;
use crate::base::{Body, Error, ErrorClass, Outcome};
use crate::connection::{RowCursor, StatementResult};
use crate::pool::{Response, Trace};
use crate::reactor::{Lookup, ReactorEvent};
use crate::transfer::Full;
use crate::transfer::contract::absences::NONE;
use crate::transfer::contract::result_flags::{self, REQUEST_COMPLETE, RESULT_COMPLETE};
use crate::types::{LONG_ROW, LongRow, Shape, write_row};

/// The longest string that V8 makes on every platform (2^28 - 16), in UTF-16 units. Only a single
/// row can be longer than [`super::segment_writer::TEXT_LIMIT`].
const LONGEST_TEXT: usize = (1 << 28) - 16;

/// A request's answer, with what is not delivered yet.
#[derive(Debug)]
struct Answer {
    request: u32,
    lease: Option<NonZeroU32>,
    results: VecDeque<StatementResult>,
    /// The position in the first of the results.
    cursor: RowCursor,
    /// The state of the row at the cursor, if that is a long one.
    long: Option<LongRow>,
}

impl Answer {
    /// A RESULT record for this answer, with nothing in it yet.
    fn record(&self, slot: i32) -> ResultRecord {
        ResultRecord {
            request: self.request,
            lease: self.lease,
            slot,
            rows: 0,
            command: 0,
            command_units: 0,
            count: None,
            flags: 0,
            joined_units: 0,
        }
    }
}

/// The next thing to write.
#[derive(Debug)]
enum Item {
    Answer(Answer),
    Error {
        request: u32,
        json: String,
    },
    Types {
        request: u32,
        oids: String,
    },
    Trace {
        request: u32,
        trace: Trace,
    },
    Event {
        json: String,
    },
    Lookup(Lookup),
    Ssl {
        question: u32,
    },
    Password {
        question: u32,
        host: Arc<str>,
    },
    /// An error for every waiting request.
    Poisoned {
        json: String,
    },
}

impl From<ReactorEvent> for Item {
    fn from(event: ReactorEvent) -> Self {
        match event {
            ReactorEvent::Completed { request, result: Ok(Response { results, lease }) } => {
                let (results, cursor) = (results.into(), RowCursor::default());
                Self::Answer(Answer { request, lease, results, cursor, long: None })
            }
            ReactorEvent::Completed { request, result: Err(error) } => {
                Self::Error { request, json: error_to_json(&error) }
            }
            ReactorEvent::Traced { request, trace } => Self::Trace { request, trace },
            ReactorEvent::Types { request, oids } => {
                Self::Types { request, oids: list_oids(&oids) }
            }
            ReactorEvent::Event(event) => Self::Event { json: event_to_json(&event) },
            ReactorEvent::Lookup(lookup) => Self::Lookup(lookup),
            ReactorEvent::Ssl { question } => Self::Ssl { question },
            ReactorEvent::Password { question, host } => Self::Password { question, host },
            ReactorEvent::Poisoned(error) => Self::Poisoned { json: error_to_json(&error) },
        }
    }
}

/// The oids in the form that JavaScript reads, separated by commas.
pub(super) fn list_oids(oids: &[u32]) -> String {
    let oids: Vec<_> = oids.iter().map(u32::to_string).collect();
    oids.join(",")
}

fn host_of(trace: &Trace) -> &str {
    trace.host.as_deref().unwrap_or_default()
}

/// How far an item was written.
enum Written {
    Wholly,
    /// The segment is full. The rest must be written into the next segment.
    Rest(Item),
}

/// How far a result or a row was written.
enum Fitted {
    Wholly,
    InPart,
}

/// Why no more rows are written.
enum Stop {
    /// There are no more rows.
    End,
    Full,
    /// The next row is a long one.
    Long,
}

/// Keeps what did not fit, which requests wait, and which shapes JavaScript knows.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    rest: Option<Item>,
    shapes: ShapeSlots,
    waiting: PendingRequests,
    /// Requests that are answered in the segment being filled. They wait until it is delivered.
    answered: Vec<u32>,
}

impl Delivery {
    /// Records that JavaScript waits for this request from now on.
    pub(super) fn expect(&mut self, request: u32) {
        self.waiting.insert(request);
    }

    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Writes until there are no more events, or no more room. Returns whether the text is all
    /// ASCII or raw bytes. If `may_go_on` returns false at the end, JavaScript learns that nothing
    /// more comes for now. The client will call JavaScript again.
    pub(super) fn fill(
        &mut self,
        room: SegmentMut<'_>,
        mut next: impl FnMut() -> Option<ReactorEvent>,
        may_go_on: impl FnOnce() -> bool,
    ) -> bool {
        let mut writer = SegmentWriter::new(room);
        while let Some(item) = self.rest.take().or_else(|| next().map(Item::from)) {
            if let Written::Rest(rest) = self.write(&mut writer, item) {
                self.rest = Some(rest);
                break;
            }
        }
        writer.finish(self.rest.is_some() && may_go_on())
    }

    /// Notes that JavaScript is about to read the segment that was filled last.
    pub(super) fn hand_over(&mut self) {
        for request in self.answered.drain(..) {
            self.waiting.remove(request);
        }
    }

    /// Discards a segment that JavaScript will not read, and everything that would have followed
    /// it.
    pub(super) fn give_up(&mut self) {
        self.rest = None;
        self.answered.clear();
    }

    fn write(&mut self, writer: &mut SegmentWriter<'_>, item: Item) -> Written {
        let fits = match &item {
            Item::Answer(_) | Item::Poisoned { .. } => true,
            Item::Error { json, .. } | Item::Event { json } => writer.has_room_for_text(json),
            Item::Types { oids, .. } => writer.has_room_for_text(oids),
            Item::Trace { trace, .. } => writer.has_room_for_text(host_of(trace)),
            Item::Lookup(lookup) => writer.has_room_for_text(&lookup.name),
            Item::Ssl { .. } => writer.has_room_for_text(""),
            Item::Password { host, .. } => writer.has_room_for_text(host),
        };
        if !fits {
            return Written::Rest(item);
        }
        match item {
            Item::Answer(answer) => return self.write_answer(writer, answer),
            Item::Error { request, json } => self.write_error(writer, request, &json),
            Item::Types { request, oids } => writer.put_types(request, &oids),
            Item::Trace { request, trace } => {
                writer.put_trace(request, &trace, host_of(&trace));
            }
            Item::Event { json } => writer.put_event(&json),
            Item::Lookup(Lookup { token, name }) => writer.put_lookup(token, &name),
            Item::Ssl { question } => writer.put_ssl(question),
            Item::Password { question, host } => writer.put_password(question, &host),
            Item::Poisoned { json } => {
                while writer.has_room_for_text(&json) {
                    let Some(request) = self.waiting.pop() else { return Written::Wholly };
                    self.write_error(writer, request, &json);
                }
                return Written::Rest(Item::Poisoned { json });
            }
        }
        Written::Wholly
    }

    fn write_error(&mut self, writer: &mut SegmentWriter<'_>, request: u32, json: &str) {
        writer.put_error(request, json);
        self.answered.push(request);
    }

    fn write_answer(&mut self, writer: &mut SegmentWriter<'_>, mut answer: Answer) -> Written {
        if answer.results.is_empty() {
            if !writer.has_room_for_result() {
                return Written::Rest(Item::Answer(answer));
            }
            let flags = RESULT_COMPLETE | REQUEST_COMPLETE;
            writer.put_result(ResultRecord { flags, ..answer.record(NONE) });
            self.answered.push(answer.request);
            return Written::Wholly;
        }
        while let Some(mut result) = answer.results.pop_front() {
            match self.write_result(writer, &mut answer, &result) {
                Ok(Fitted::Wholly) => answer.cursor = RowCursor::default(),
                Ok(Fitted::InPart) => {
                    result.rows.free_before(answer.cursor);
                    if let Some(long) = &answer.long {
                        result.rows.free_within(answer.cursor, long.crossed());
                    }
                    answer.results.push_front(result);
                    return Written::Rest(Item::Answer(answer));
                }
                // JavaScript drops the rows that it already has. The statement has run.
                Err(error) => {
                    let json = error_to_json(&error.with_outcome(Outcome::Unknown));
                    return self.write(writer, Item::Error { request: answer.request, json });
                }
            }
        }
        self.answered.push(answer.request);
        Written::Wholly
    }

    /// `result` is the first of the answer's results, and has been taken out. The remaining results
    /// follow it.
    fn write_result(
        &mut self,
        writer: &mut SegmentWriter<'_>,
        answer: &mut Answer,
        result: &StatementResult,
    ) -> Result<Fitted, Error> {
        if !writer.has_room_for_result() {
            return Ok(Fitted::InPart);
        }
        let slot = match &result.shape {
            None => NONE,
            Some(shape) => match self.announce(writer, shape)? {
                Some(slot) => slot,
                None => return Ok(Fitted::InPart),
            },
        };
        let part = loop {
            if let Some(long) = answer.long.take() {
                match write_long_row(writer, answer, result, slot, long)? {
                    Fitted::Wholly if writer.has_room_for_result() => {}
                    Fitted::Wholly | Fitted::InPart => return Ok(Fitted::InPart),
                }
            }
            let (rows, stop) = write_rows(writer, answer, result)?;
            let joined_units = writer.close_joined();
            let part = ResultRecord { rows, joined_units, ..answer.record(slot) };
            if let Stop::End = stop {
                break part;
            }
            if rows > 0 {
                writer.put_result(part);
            }
            if let Stop::Full = stop {
                return Ok(Fitted::InPart);
            }
        };
        let is_last = answer.results.is_empty();
        let flags = RESULT_COMPLETE | if is_last { REQUEST_COMPLETE } else { 0 };
        let whole = ResultRecord { flags, count: result.command.count(), ..part };
        if let Some(number) = result.command.number() {
            writer.put_result(ResultRecord { command: i32::from(number), ..whole });
            return Ok(Fitted::Wholly);
        }
        if part.rows > 0 {
            writer.put_result(part);
        }
        if !writer.text_fits(result.command.name()) {
            return Ok(Fitted::InPart);
        }
        let command_units = writer.append_text(result.command.name());
        let rest = ResultRecord { rows: 0, joined_units: 0, ..whole };
        writer.put_result(ResultRecord { command: NONE, command_units, ..rest });
        Ok(Fitted::Wholly)
    }

    /// The slot of the shape, after the shape was sent to JavaScript. `None` if the text of the
    /// shape does not fit.
    fn announce(
        &mut self,
        writer: &mut SegmentWriter<'_>,
        shape: &Arc<Shape>,
    ) -> Result<Option<i32>, Error> {
        if shape.columns().len() > writer.columns_limit() {
            let message = format!("a row of {} columns is too wide", shape.columns().len());
            return Err(Error::new(ErrorClass::Protocol, "HYPERION_RESULT_TOO_LARGE", message));
        }
        let slot = |slot| i32::try_from(slot).unwrap_or(NONE);
        if let Some(known) = self.shapes.find(shape) {
            return Ok(Some(slot(known)));
        }
        let text = shape.to_json();
        if !writer.text_fits(&text) {
            return Ok(None);
        }
        let slot = slot(self.shapes.take(shape));
        writer.put_shape(slot, &text);
        Ok(Some(slot))
    }
}

/// Writes rows from the answer's cursor on, up to a long row. Returns how many rows fitted, and why
/// it stopped.
fn write_rows(
    writer: &mut SegmentWriter<'_>,
    answer: &mut Answer,
    result: &StatementResult,
) -> Result<(i32, Stop), Error> {
    let mut count = 0;
    let Some(shape) = &result.shape else { return Ok((count, Stop::End)) };
    let start = writer.batch.mark();
    loop {
        let here = answer.cursor;
        let body = match result.rows.next_body(&mut answer.cursor) {
            None => return Ok((count, Stop::End)),
            Some(Body::Whole(body)) if body.len() <= LONG_ROW => body,
            Some(body) => {
                answer.cursor = here;
                answer.long = Some(LongRow::new(body, shape));
                return Ok((count, Stop::Long));
            }
        };
        let written = write_row(body, shape, &mut writer.batch).and_then(|fits| {
            if writer.batch.text_len() < LONGEST_TEXT { Ok(fits) } else { Err(too_long()) }
        });
        match written {
            Ok(Ok(())) => count += 1,
            Ok(Err(Full)) => {
                answer.cursor = here;
                return Ok((count, Stop::Full));
            }
            Err(error) => {
                writer.batch.rewind(start);
                return Err(error);
            }
        }
    }
}

/// Writes the next pieces of the row at the answer's cursor, or the row itself. A segment with
/// pieces gets no row.
fn write_long_row(
    writer: &mut SegmentWriter<'_>,
    answer: &mut Answer,
    result: &StatementResult,
    slot: i32,
    mut long: LongRow,
) -> Result<Fitted, Error> {
    let mut behind = answer.cursor;
    let Some((shape, body)) = result.shape.as_ref().zip(result.rows.next_body(&mut behind)) else {
        return Err(Error::internal("a long row is gone"));
    };
    if long.cut_text() >= LONGEST_TEXT {
        return Err(too_long());
    }
    let mut has_pieces = false;
    while writer.has_room_for_piece() {
        let Some(piece) = long.next_piece(body, shape, &mut writer.batch)? else { break };
        let Ok(piece) = piece else { break };
        writer.put_piece(answer.request, piece);
        has_pieces = true;
        if piece.is_bytes {
            break;
        }
    }
    if has_pieces || !long.has_crossed(shape) {
        answer.long = Some(long);
        return Ok(Fitted::InPart);
    }
    let start = writer.batch.mark();
    if let Err(Full) = long.write_row(body, shape, &mut writer.batch)? {
        answer.long = Some(long);
        return Ok(Fitted::InPart);
    }
    if long.cut_text().saturating_add(writer.batch.text_len()) >= LONGEST_TEXT {
        writer.batch.rewind(start);
        return Err(too_long());
    }
    let joined_units = writer.close_joined();
    let flags = if long.cut_text() > 0 { result_flags::LONG_ROW } else { 0 };
    writer.put_result(ResultRecord { rows: 1, joined_units, flags, ..answer.record(slot) });
    answer.cursor = behind;
    Ok(Fitted::Wholly)
}

fn too_long() -> Error {
    let message = "the text of a row is longer than a string of JavaScript can be";
    Error::new(ErrorClass::Protocol, "HYPERION_RESULT_TOO_LARGE", message)
}

#[cfg(test)]
mod tests;
