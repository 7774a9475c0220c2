//! The pool's own questions to a server, on an open session.

#[cfg(doc)]
use crate::connection::Event;
use std::time::Duration;

use crate::base::Instant;
use crate::connection::{Connection, RefusedInTransaction, State};

impl Connection {
    /// Has the next barrier of an idle session ask the server for its role, even if the server
    /// reports its role. Does nothing if the server was asked less than `within` ago.
    /// [`Event::Contradicted`] may follow.
    pub fn recheck_role(&mut self, now: Instant, within: Duration) {
        if let State::Session(session) = &mut self.state {
            session.recheck_role(now, within);
        }
    }

    /// Asks the server for its role from now on, even if the server reports its role by itself.
    pub fn distrust_reports(&mut self) {
        self.distrusts_reports = true;
        if let State::Session(session) = &mut self.state {
            session.distrust_reports();
        }
    }

    /// Asks for the server's place in its cluster: [`Event::Placed`] follows. Must not be called in
    /// a transaction, which a refusal would end.
    pub fn ask_place(&mut self, now: Instant) {
        self.send_own(|session, written, out| session.ask_place(now, written, out));
    }

    /// Asks what the types with these oids are: [`Event::Typed`] follows. In a transaction, nothing
    /// else may be in flight.
    pub fn ask_types(&mut self, now: Instant, oids: Vec<u32>) {
        self.send_own(|session, written, out| session.ask_types(now, oids, written, out));
    }

    /// Whether a script in steps is under way, so that nothing can be sent behind it.
    pub fn is_stepping(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_stepping())
    }

    /// Asks which database the session is in: [`Event::Typed`] follows. Must not be called in a
    /// transaction.
    pub fn ask_realm(&mut self, now: Instant) {
        self.send_own(|session, written, out| session.ask_realm(now, written, out));
    }

    /// Whether the answer to [`Self::ask_realm`] is still to come.
    pub fn is_asking_realm(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_asking_realm())
    }

    /// Rolls a transaction back to where it was before [`Self::ask_types`] was refused:
    /// [`Event::Typed`] follows.
    pub fn roll_back_types(&mut self, now: Instant, refused: Box<RefusedInTransaction>) {
        self.send_own(|session, written, out| session.roll_back_types(now, refused, written, out));
    }

    /// Whether the answer to [`Self::ask_types`] or [`Self::roll_back_types`] is still to come.
    pub fn is_asking_types(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_asking_types())
    }

    /// Whether the answer to [`Self::ask_place`] is still to come.
    pub fn is_asking_place(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_asking_place())
    }
}
