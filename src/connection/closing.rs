//! How a connection ends, and what ends with it.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Error, ErrorClass};
use crate::connection::intake::Intake;
use crate::connection::session::Session;
use crate::connection::{Connection, Event, State};
use crate::protocol::frontend;

impl Connection {
    pub(super) fn lost(&self, why: &str) -> Error {
        let message = match &self.state {
            State::Opening { .. } => format!("can't connect to {}: {why}", self.host),
            State::Handshake { .. } | State::Asking { .. } => {
                format!("{} closed the connection during login: {why}", self.host)
            }
            State::Session(_) | State::Closed => {
                format!("the connection to {} was lost: {why}", self.host)
            }
        };
        Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message)
    }

    pub(super) fn close(&mut self, error: Error) {
        self.end(error.clone(), error);
    }

    /// The last bytes for the socket: Terminate, if nothing is in flight. A server that is still
    /// working learns of the end from the closed socket, and gets nothing.
    ///
    /// A pooler that is still working gets a Flush in front of the Terminate. PgBouncer before 1.22.1
    /// takes its server for idle once it has passed on any ReadyForQuery, such as the barrier's. If
    /// its client goes then, it gives the server to another client, which gets the answer to this
    /// client's request. With a Flush it takes the server for busy, and closes it.
    pub fn terminate(&self) -> Vec<u8> {
        let is_idle = matches!(&self.state, State::Session(session) if session.depth() == 0)
            && self.outbox.is_empty();
        let leaves_work = self.leaves_pooler_at_work();
        if !is_idle && !leaves_work {
            return Vec::new();
        }
        let mut out = BytesMut::new();
        let flushed = if leaves_work { frontend::flush(&mut out) } else { Ok(()) };
        match flushed.and_then(|()| frontend::terminate(&mut out)) {
            Ok(()) => out.to_vec(),
            Err(_) => Vec::new(),
        }
    }

    fn leaves_pooler_at_work(&self) -> bool {
        match &self.state {
            State::Session(session) | State::Asking { session, .. } => {
                session.leaves_pooler_at_work(self.written, self.outbox.is_empty())
            }
            State::Closed => self.has_left_pooler_at_work,
            State::Opening { .. } | State::Handshake { .. } => false,
        }
    }

    pub(super) fn end(&mut self, error: Error, why: Error) {
        self.has_left_pooler_at_work = self.leaves_pooler_at_work();
        let state = std::mem::replace(&mut self.state, State::Closed);
        let idle = matches!(&state, State::Session(session) if session.is_cut_idle(&why));
        match state {
            State::Session(mut session) | State::Asking { mut session, .. } => {
                self.has_moved_names = session.has_moved_names();
                session.abandon(self.written, &why, &mut self.events);
            }
            // A handshake that fails has already given its state away.
            State::Opening { .. } | State::Handshake { .. } | State::Closed => {}
        }
        self.intake = Intake::default();
        self.outbox.clear();
        let error = error.with_host(Arc::clone(&self.host));
        self.events.push_back(Event::Closed { error, why, idle });
    }

    /// Writes something of the pool's own after the bytes that were written before. An error ends
    /// the session.
    pub(super) fn send_own(
        &mut self,
        write: impl FnOnce(&mut Session, u64, &mut BytesMut) -> Result<(), Error>,
    ) {
        if let State::Session(session) = &mut self.state
            && let Err(error) = write(session, self.written, &mut self.outbox)
        {
            self.close(error);
        }
    }
}
