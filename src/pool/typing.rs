//! Answers with types that users made wait until a server has told what they are: once for each type and pool.
//!
//! The question goes behind its request on the same connection, because the type may have been made in this very
//! transaction; not before a CancelRequest for the request is over, which would hit the question, and end the
//! transaction. The call is over for the pool meanwhile; nothing can be done about it any more. A server that
//! does not tell, or a connection that breaks, leaves such values the text that they came as.

use super::{Call, ConnectionId, Pool, Response};
use crate::base::{Error, Instant, Key};
use crate::types::UserType;

/// An answer that waits for its types.
#[derive(Debug)]
pub(super) struct Untyped {
    connection: ConnectionId,
    request: u32,
    response: Response,
    /// The types, as long as nobody was asked for them.
    to_ask: Vec<u32>,
    /// The values come as text where nothing was told by then.
    deadline: Instant,
}

impl Pool {
    /// A call has been answered on a connection.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        result: Result<Response, Error>,
    ) {
        let mut response = match result {
            Ok(response) => response,
            Err(error) => return self.finish_call(key, Err(error)),
        };
        let unknown = self.name_types(&mut response);
        let call = self.calls.get(key).filter(|call| call.given_up.is_none_or(|g| !g.is_told()));
        match call.map(|call| call.request) {
            Some(request) if !unknown.is_empty() && self.slots.contains(id) => {
                self.watches.remove(request);
                self.forget_call(key);
                let deadline = now + self.config.connect_timeout;
                let (connection, to_ask) = (id, unknown);
                self.untyped.push(Untyped { connection, request, response, to_ask, deadline });
                self.ask_types(now, id);
            }
            _ => self.finish_call(key, Ok(response)),
        }
    }

    /// Asks for the types that answers of a connection wait for.
    pub(super) fn ask_types(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if slot.cancelling.is_some() {
            return;
        }
        for waits in self.untyped.iter_mut().filter(|waits| waits.connection == id) {
            if !waits.to_ask.is_empty() {
                slot.connection.ask_types(now, std::mem::take(&mut waits.to_ask));
            }
        }
        self.mark_writing(id);
    }

    /// Puts what is known of types into the shapes, and returns the oids that nobody has asked for.
    fn name_types(&mut self, response: &mut Response) -> Vec<u32> {
        let mut unknown = Vec::new();
        for result in &mut response.results {
            if let Some(shape) = &mut result.shape {
                match self.catalog.name_types(shape) {
                    Ok(named) => *shape = named,
                    Err(oids) => unknown.extend(oids),
                }
            }
        }
        unknown
    }

    /// A server has told of types, or has refused to.
    pub(super) fn typed(
        &mut self,
        id: ConnectionId,
        asked: &[u32],
        told: Option<Vec<(u32, UserType)>>,
    ) {
        if let Some(told) = told {
            self.catalog.learn(asked, told);
        }
        // Questions are answered in their order.
        if let Some(at) = self.untyped.iter().position(|waits| waits.connection == id) {
            self.release_untyped(at);
        }
    }

    /// No answer will come any more on a connection.
    pub(super) fn release_untyped_of(&mut self, id: ConnectionId) {
        while let Some(at) = self.untyped.iter().position(|waits| waits.connection == id) {
            self.release_untyped(at);
        }
    }

    pub(super) fn release_overdue(&mut self, now: Instant) {
        while let Some(at) = self.untyped.iter().position(|waits| waits.deadline <= now) {
            self.release_untyped(at);
        }
    }

    pub(super) fn types_timeout(&self) -> Option<(Instant, &'static str)> {
        self.untyped.iter().map(|waits| (waits.deadline, "types")).min_by_key(|(at, _)| *at)
    }

    fn release_untyped(&mut self, at: usize) {
        let Untyped { request, mut response, .. } = self.untyped.remove(at);
        self.name_types(&mut response);
        self.complete(request, Ok(response));
    }
}
