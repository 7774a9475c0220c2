//! Incoming data, from bytes to messages.
//!
//! A whole message is read where it lies in the receive buffer. If only a part of a message has
//! come, that part is copied, unless the message is long. A long row goes to its result part by
//! part. Of a long report the beginning of each field is kept. A message that is longer than this
//! client takes is skipped, without being held.

use crate::base::{Error, ErrorClass, Instant};
use crate::connection::{Connection, Shared, State};
use crate::protocol::backend::{self, BackendMessage};
use crate::protocol::frame::{Frame, Limits, Phase, Split, split};
use crate::protocol::report::ReportReader;

const DATA_ROW: u8 = b'D';
const ROW_DESCRIPTION: u8 = b'T';
const COPY_DATA: u8 = b'd';
const ERROR_RESPONSE: u8 = b'E';
const NOTICE_RESPONSE: u8 = b'N';
const READY_FOR_QUERY: u8 = b'Z';
const NOTIFICATION_RESPONSE: u8 = b'A';
const PARAMETER_STATUS: u8 = b'S';
/// How many bytes of a description are as much work as one message.
const COLUMN: usize = 64;

/// Bodies of this size or more, in bytes, are taken in parts.
const LONG: usize = 16 * 1024;
/// A server describes at most 1,664 columns (`MaxTupleAttributeNumber`), whose names have at most
/// 63 bytes.
const LONGEST_DESCRIPTION: usize = 1024 * 1024;

/// The messages that are arriving from the server.
#[derive(Debug, Default)]
pub(super) struct Intake {
    limits: Limits,
    /// The beginning of a message whose rest has not come.
    begun: Vec<u8>,
    long: Option<Long>,
    /// Nothing of the next answer was among the bytes that were received last.
    pub(super) ends_whole: bool,
    /// How many messages, since the last call of `take_laborious`, take much more work than their
    /// bytes suggest.
    laborious: usize,
}

/// A long message, of whose body `left` bytes are still to come.
#[derive(Debug)]
struct Long {
    tag: u8,
    left: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Row,
    Report(ReportReader),
    LetGo,
}

/// How much a message counts in addition to its bytes: it may become an event in JavaScript, or has
/// to be taken apart.
fn labour(tag: u8, length: usize) -> usize {
    match tag {
        ERROR_RESPONSE
        | NOTICE_RESPONSE
        | NOTIFICATION_RESPONSE
        | PARAMETER_STATUS
        | READY_FOR_QUERY => 1,
        ROW_DESCRIPTION => 1 + length / COLUMN,
        _ => 0,
    }
}

impl Intake {
    pub(super) fn take_laborious(&mut self) -> usize {
        std::mem::take(&mut self.laborious)
    }
}

#[cfg(test)]
impl Intake {
    /// How many bytes are allocated for messages that have come only in part.
    pub(super) fn held(&self) -> usize {
        self.begun.capacity()
    }
}

impl Connection {
    pub(super) fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        shared: &mut Shared<'_>,
    ) -> Result<(), Error> {
        let mut begun = std::mem::take(&mut self.intake.begun);
        if begun.is_empty() {
            let taken = self.consume(now, bytes, shared)?;
            extend(&mut begun, bytes.get(taken..).unwrap_or_default())?;
        } else {
            extend(&mut begun, bytes)?;
            let taken = self.consume(now, &begun, shared)?;
            if taken == begun.len() {
                // The buffer of a long message is not kept for short ones.
                begun = Vec::new();
            } else {
                begun.drain(..taken);
            }
        }
        self.intake.begun = begun;
        Ok(())
    }

    fn consume(
        &mut self,
        now: Instant,
        bytes: &[u8],
        shared: &mut Shared<'_>,
    ) -> Result<usize, Error> {
        self.intake.ends_whole = false;
        let mut rest = bytes;
        loop {
            if let Some(long) = self.intake.long.take() {
                rest = self.go_on(now, long, rest, shared)?;
                if self.intake.long.is_some() {
                    return Ok(bytes.len());
                }
            }
            let phase = match self.state {
                State::Opening { .. } | State::Handshake { .. } => Phase::Startup,
                State::Asking { .. } | State::Session(_) => Phase::Session,
                State::Closed => return Ok(bytes.len()),
            };
            match split(rest, phase, &self.intake.limits)? {
                Split::Frame(frame) => {
                    rest = rest.get(frame.len..).unwrap_or_default();
                    self.frame(now, &frame, shared)?;
                    if frame.tag == READY_FOR_QUERY {
                        self.intake.ends_whole = rest.is_empty();
                    }
                }
                Split::Begun { tag, body, came } if body >= LONG && phase == Phase::Session => {
                    match self.begin_long(tag, body)? {
                        Some(kind) => {
                            self.intake.long = Some(Long { tag, left: body, kind });
                            rest = came;
                        }
                        None => return Ok(bytes.len() - rest.len()),
                    }
                }
                Split::Begun { .. } | Split::Partial => return Ok(bytes.len() - rest.len()),
            }
        }
    }

    /// How a long message is taken; `None` for a message that is waited for as a whole.
    fn begin_long(&mut self, tag: u8, body: usize) -> Result<Option<Kind>, Error> {
        let (State::Session(session) | State::Asking { session, .. }) = &mut self.state else {
            return Ok(None);
        };
        Ok(match tag {
            DATA_ROW if session.begin_row(body)? => Some(Kind::Row),
            DATA_ROW | COPY_DATA => Some(Kind::LetGo),
            ROW_DESCRIPTION if body > LONGEST_DESCRIPTION => Some(Kind::LetGo),
            ERROR_RESPONSE | NOTICE_RESPONSE => Some(Kind::Report(ReportReader::default())),
            _ => None,
        })
    }

    /// Takes the part of a long message that has come, and returns the bytes after it.
    fn go_on<'a>(
        &mut self,
        now: Instant,
        mut long: Long,
        bytes: &'a [u8],
        shared: &mut Shared<'_>,
    ) -> Result<&'a [u8], Error> {
        let (part, rest) = bytes.split_at(long.left.min(bytes.len()));
        long.left -= part.len();
        let (State::Session(session) | State::Asking { session, .. }) = &mut self.state else {
            return Ok(bytes);
        };
        match &mut long.kind {
            Kind::Row => {
                if !session.row_part(part, long.left) {
                    long.kind = Kind::LetGo;
                }
            }
            Kind::Report(reader) => reader.read(part)?,
            Kind::LetGo => {}
        }
        if long.left > 0 {
            self.intake.long = Some(long);
            return Ok(rest);
        }
        let message = match (long.tag, long.kind) {
            (_, Kind::Row) => {
                session.end_row()?;
                return Ok(rest);
            }
            (ERROR_RESPONSE, Kind::Report(reader)) => {
                BackendMessage::ErrorResponse(reader.finish()?)
            }
            (_, Kind::Report(reader)) => BackendMessage::NoticeResponse(reader.finish()?),
            (ROW_DESCRIPTION, Kind::LetGo) => {
                session.long_description()?;
                return Ok(rest);
            }
            (COPY_DATA, Kind::LetGo) => BackendMessage::CopyData(&[]),
            (_, Kind::LetGo) => return Ok(rest),
        };
        self.session_message(now, message, shared)?;
        Ok(rest)
    }

    fn session_message(
        &mut self,
        now: Instant,
        message: BackendMessage<'_>,
        shared: &mut Shared<'_>,
    ) -> Result<(), Error> {
        if let State::Session(session) | State::Asking { session, .. } = &mut self.state {
            let out = (self.written, &mut self.outbox);
            session.message(now, message, &mut self.parameters, shared, &mut self.events, out)?;
        }
        match self.state {
            State::Asking { .. } => self.asked(now),
            _ => Ok(()),
        }
    }

    fn frame(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        shared: &mut Shared<'_>,
    ) -> Result<(), Error> {
        if frame.tag == DATA_ROW
            && let State::Session(session) | State::Asking { session, .. } = &mut self.state
        {
            return session.row(frame.body);
        }
        self.intake.laborious += labour(frame.tag, frame.len);
        match self.state {
            State::Session(_) | State::Asking { .. } => {
                self.session_message(now, backend::parse(frame)?, shared)
            }
            State::Opening { .. } | State::Handshake { .. } | State::Closed => {
                self.handshake_message(now, backend::parse(frame)?, shared)
            }
        }
    }
}

/// Appends bytes if there is memory for them. If not, this ends the connection, since an allocation
/// that fails would end the process.
fn extend(begun: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    if begun.try_reserve(bytes.len()).is_err() {
        let message = "there is no memory left for what the server sends";
        return Err(Error::new(ErrorClass::Connection, "HYPERION_OUT_OF_MEMORY", message));
    }
    begun.extend_from_slice(bytes);
    Ok(())
}
