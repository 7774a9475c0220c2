//! The items in flight on a session, in the order in which the server handles them: requests, and
//! the session's own questions in between.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::BytesMut;

use super::exchange::{Begins, Exchange, Flight, Parsing};
use super::step::unexpected;
use crate::base::{Error, Instant};
use crate::connection::far_end::ProcessAsked;
use crate::connection::introspection::lineage::Place;
use crate::connection::introspection::role::{Role, is_refusal};
use crate::connection::introspection::user_types::TypesAsked;
use crate::connection::statement::StatementId;
use crate::connection::statement::staleness::QUERY_CANCELED;
use crate::connection::{Connection, RequestToken, State};
use crate::protocol::backend::BackendMessage;

pub(in crate::connection) type Pipeline = VecDeque<Item>;

#[derive(Debug)]
pub(in crate::connection) struct Item {
    pub(in crate::connection) kind: Kind,
    /// The index of its first byte among all bytes that this connection has ever sent.
    pub(in crate::connection) start: u64,
    pub(in crate::connection) queued_at: Instant,
    /// The item must not be written before everything before it is answered.
    pub(in crate::connection) gated: bool,
}

/// How many unanswered bytes there may be on a pooler's session. This many reach the pooler in one
/// TCP segment on any network. PgBouncer before 1.21 gives the server connection to another client
/// after the last ReadyForQuery that it expects, even if it has already passed on a part of the
/// next request.
const ONE_SEGMENT: u64 = 1024;

#[derive(Debug)]
pub(in crate::connection) enum Kind {
    /// A bare Sync, or the question for the role if the server does not report it.
    Barrier {
        probe: bool,
        asked: bool,
        /// The role in the answer to the question.
        role: Option<Role>,
        /// The question for the process that serves the session, which is sent with a session's
        /// first barrier.
        process: Option<ProcessAsked>,
        /// The loop is not woken for the barrier's answer before the answer to the following
        /// request has come too.
        together: bool,
    },
    Reset {
        step: ResetStep,
    },
    /// The question for the server's place in its cluster, which the server may refuse.
    Place {
        place: Place,
    },
    Types(TypesAsked),
    Request {
        token: RequestToken,
        exchange: Exchange,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum ResetStep {
    Due,
    Done,
    /// Settings of the login that the reset has removed are being set again.
    Restoring,
    Restored,
    /// The server refused the reset. Requests that were sent after it have a DISCARD ALL of their
    /// own.
    Refused,
}

impl Kind {
    /// Takes an answer to one of the session's own questions. `alone`: nothing was sent after it.
    pub(in crate::connection) fn message(
        &mut self,
        message: BackendMessage<'_>,
        alone: bool,
    ) -> Result<(), Error> {
        use BackendMessage as M;
        match (self, message) {
            (
                Self::Place { .. } | Self::Reset { .. } | Self::Barrier { asked: true, .. },
                M::ParseComplete | M::BindComplete,
            ) => Ok(()),
            (Self::Types(asked), message) => asked.message(message),
            (Self::Barrier { process: Some(asked), .. }, message) => asked.message(message),
            (Self::Reset { step: step @ ResetStep::Due }, M::CommandComplete(_)) => {
                *step = ResetStep::Done;
                Ok(())
            }
            (Self::Reset { step: ResetStep::Restoring }, M::RowDescription(_)) => Ok(()),
            (Self::Reset { step: step @ ResetStep::Restoring }, M::CommandComplete(_)) => {
                *step = ResetStep::Restored;
                Ok(())
            }
            (Self::Reset { step: step @ ResetStep::Due }, M::ErrorResponse(_)) if !alone => {
                *step = ResetStep::Refused;
                Ok(())
            }
            (
                Self::Reset { step: ResetStep::Due | ResetStep::Restoring }
                | Self::Barrier { asked: true, .. },
                M::ErrorResponse(fields),
            ) => Err(Error::database(*fields)),
            (Self::Place { place }, M::ErrorResponse(fields)) => {
                place.cancelled = fields.code == QUERY_CANCELED;
                place.refused = is_refusal(&fields.code);
                Ok(())
            }
            (Self::Place { .. }, M::RowDescription(_) | M::CommandComplete(_))
            | (Self::Barrier { asked: true, .. }, M::RowDescription(_) | M::CommandComplete(_)) => {
                Ok(())
            }
            (_, message) => Err(unexpected(message.name())),
        }
    }
}

impl Kind {
    /// ReadyForQuery may come only when no other message is expected.
    pub(in crate::connection) fn check_finished(&self) -> Result<(), Error> {
        let is_answered = match self {
            Self::Request { exchange, .. } => return exchange.check_finished(),
            Self::Reset { step } => !matches!(step, ResetStep::Due | ResetStep::Restoring),
            Self::Barrier { process: Some(asked), .. } => asked.is_answered(),
            Self::Barrier { .. } | Self::Place { .. } | Self::Types(_) => true,
        };
        if is_answered { Ok(()) } else { Err(unexpected("ReadyForQuery")) }
    }
}

impl Item {
    pub(in crate::connection) fn token(&self) -> Option<RequestToken> {
        match self.kind {
            Kind::Request { token, .. } => Some(token),
            Kind::Barrier { .. } | Kind::Reset { .. } | Kind::Place { .. } | Kind::Types(_) => None,
        }
    }

    /// Whether the item was written, or may be written now, at least in part.
    pub(in crate::connection) fn was_sent(&self) -> bool {
        !self.gated && !self.is_waiting_script()
    }

    /// Whether this is a script in steps whose first step was not sent yet: it waits for the
    /// answers to all items before it.
    pub(in crate::connection) fn is_waiting_script(&self) -> bool {
        match &self.kind {
            Kind::Request { exchange, .. } => !exchange.flight.was_sent(),
            _ => false,
        }
    }
}

/// Appends an item that occupies this range of all bytes that the connection sends.
pub(in crate::connection) fn push(
    pipeline: &mut Pipeline,
    is_pooled: bool,
    kind: Kind,
    queued_at: Instant,
    bytes: Range<u64>,
) {
    let oldest = pipeline.front().map(|item| item.start);
    let is_long = oldest.is_some_and(|oldest| bytes.end.saturating_sub(oldest) > ONE_SEGMENT);
    // A bare Sync is never split.
    let is_whole = matches!(kind, Kind::Barrier { asked: false, process: None, .. });
    let gated = is_pooled && is_long && !is_whole;
    pipeline.push_back(Item { kind, start: bytes.start, queued_at, gated });
}

/// Whether nothing is in flight except a reset or a question of the pool's own.
pub(in crate::connection) fn is_vacant(pipeline: &Pipeline) -> bool {
    let is_short =
        |kind: &Kind| matches!(kind, Kind::Reset { .. } | Kind::Place { .. } | Kind::Types(_));
    pipeline.iter().all(|item| is_short(&item.kind))
}

pub(in crate::connection) fn requests(pipeline: &Pipeline) -> impl Iterator<Item = RequestToken> {
    pipeline.iter().filter_map(Item::token)
}

/// Whether the item's answer is only a ReadyForQuery.
fn is_bare_sync(item: Option<&Item>) -> bool {
    let is_bare = |kind: &Kind| matches!(kind, Kind::Barrier { asked: false, process: None, .. });
    item.is_some_and(|item| is_bare(&item.kind))
}

/// Whether the first item is a bare Sync, and the second is a request that was sent.
pub(in crate::connection) fn begins_with_barrier(pipeline: &Pipeline) -> bool {
    let is_request = |item: &Item| item.token().is_some() && item.was_sent();
    is_bare_sync(pipeline.front()) && pipeline.get(1).is_some_and(is_request)
}

/// Whether the next answer is a ReadyForQuery, and no answer to a request follows it.
pub(in crate::connection) fn begins_with_lone_sync(pipeline: &Pipeline) -> bool {
    is_bare_sync(pipeline.front()) && !begins_with_barrier(pipeline)
}

/// The statement of each item in flight, in order. `None` for an item that is not a request.
/// Barriers are left out.
pub(in crate::connection) fn statements(
    pipeline: &Pipeline,
) -> impl Iterator<Item = Option<StatementId>> {
    pipeline.iter().filter_map(|item| match &item.kind {
        Kind::Request { exchange, .. } => Some(Some(exchange.statement)),
        Kind::Barrier { .. } => None,
        Kind::Reset { .. } | Kind::Place { .. } | Kind::Types(_) => Some(None),
    })
}

/// Marks the first item as a barrier whose answer is not read separately. False if the item is not
/// a barrier.
pub(in crate::connection) fn hear_together(pipeline: &mut Pipeline) -> bool {
    let Some(Item { kind: Kind::Barrier { together, .. }, .. }) = pipeline.front_mut() else {
        return false;
    };
    *together = true;
    true
}

pub(in crate::connection) fn place_of(pipeline: &Pipeline, token: RequestToken) -> Option<usize> {
    pipeline.iter().position(|item| item.token() == Some(token))
}

impl Connection {
    /// Gives a request in flight another token.
    pub fn rename(&mut self, token: RequestToken, name: RequestToken) {
        let State::Session(session) = &mut self.state else { return };
        for item in session.pipeline_mut() {
            if let Kind::Request { token: known, .. } = &mut item.kind
                && *known == token
            {
                *known = name;
            }
        }
    }
}

/// Whether no later item uses the prepared statement that the request makes.
pub(in crate::connection) fn is_by_itself(pipeline: &Pipeline, place: usize) -> bool {
    let Some(Item { kind: Kind::Request { exchange, .. }, .. }) = pipeline.get(place) else {
        return false;
    };
    let uses_it = |item: &Item| match &item.kind {
        Kind::Request { exchange: behind, .. } => behind.statement == exchange.statement,
        Kind::Barrier { .. } | Kind::Reset { .. } | Kind::Place { .. } | Kind::Types(_) => false,
    };
    match exchange.flight {
        // The statement that it closes is already forgotten.
        Flight::Parsing(Parsing { begins: Begins::Close, .. }) => false,
        Flight::Parsing(Parsing { begins: Begins::Description, .. }) => true,
        Flight::Parsing(Parsing { name: Some(_), .. }) => {
            !pipeline.iter().skip(place + 1).any(uses_it)
        }
        _ => true,
    }
}

/// Removes a request, and its bytes from the bytes that are still to be written. The items after it
/// move up. `None` if some of its bytes were written, and so can't be taken back.
pub(in crate::connection) fn cut(
    pipeline: &mut Pipeline,
    place: usize,
    written: u64,
    out: &mut BytesMut,
) -> Option<Exchange> {
    let end = pipeline.get(place + 1).map_or(written + out.len() as u64, |next| next.start);
    let start = pipeline.get(place)?.start;
    let from = usize::try_from(start.checked_sub(written)?).ok()?;
    let to = usize::try_from(end.checked_sub(written)?).ok()?;
    let Kind::Request { exchange, .. } = pipeline.remove(place)?.kind else { return None };
    let behind = out.split_off(to);
    out.truncate(from);
    out.extend_from_slice(&behind);
    pipeline.iter_mut().skip(place).for_each(|item| item.start -= end - start);
    Some(exchange)
}
