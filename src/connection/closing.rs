//! How a connection ends, and what ends with it.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Error, ErrorClass};
use crate::connection::intake::Intake;
use crate::connection::session::Session;
use crate::connection::{Connection, Event, State};

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

    pub(super) fn end(&mut self, error: Error, why: Error) {
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
