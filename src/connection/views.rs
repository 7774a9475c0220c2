//! What can be seen of a connection from outside, and the little that changes nothing on its way.

use std::time::Duration;

use bytes::BytesMut;

use super::session::Session;
use super::{BackendKey, Connection, Event, Role, State, StatementId, Token, pipeline};
use crate::base::Instant;
use crate::protocol::backend::TransactionStatus;
use crate::protocol::frontend;

impl Connection {
    /// The first request in flight, whatever stands in front of it.
    pub fn first_request(&self) -> Option<Token> {
        self.session()?.first_request()
    }

    /// All that is in flight, in order.
    pub fn requests(&self) -> impl Iterator<Item = Token> {
        self.session().into_iter().flat_map(Session::requests)
    }

    /// The requests that have no answer: those in flight, and those that are lost by an event which
    /// is still to be polled, from the last one to the first.
    pub fn unanswered(&self) -> impl Iterator<Item = Token> {
        let lost = self.events.iter().rev().filter_map(|event| match event {
            Event::Lost { token, .. } => Some(*token),
            _ => None,
        });
        self.requests().chain(lost)
    }

    /// When that was asked whose answer came last: what it told of the server's role is no older
    /// than this.
    pub fn asked_at(&self) -> Instant {
        let session = self.session().map_or(Instant::ORIGIN, Session::asked_at);
        session.max(self.connected_at)
    }

    /// Since when nothing is in flight.
    pub fn idle_since(&self) -> Option<Instant> {
        self.session()?.idle_since()
    }

    /// The request that the server is at.
    pub fn at_work(&self) -> Option<Token> {
        self.session()?.at_work()
    }

    /// Whether anything is in flight behind the request.
    pub fn has_followers(&self, token: Token) -> bool {
        self.session().is_some_and(|session| session.has_followers(token))
    }

    /// Takes a request back of which no byte was written. False where that can't be done: it was
    /// written, or something behind it builds on it.
    pub fn withdraw(&mut self, token: Token) -> bool {
        match &mut self.state {
            State::Session(session) => session.withdraw(token, self.written, &mut self.outbox),
            _ => false,
        }
    }

    /// Whether the server does not tell its place in the cluster, however often it is asked.
    pub fn refuses_place(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.refuses_place())
    }

    /// Whether names may have another meaning for others by what was under way here, or is.
    pub fn has_moved_names(&self) -> bool {
        self.session().map_or(self.has_moved_names, Session::has_moved_names)
    }

    /// Whether there is a session. Once there is none any more, [`Event::Closed`] is on its way.
    pub fn is_open(&self) -> bool {
        self.session().is_some()
    }

    fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The statement whose rows are to come next, and how much of them has come.
    pub fn arriving(&self) -> Option<(StatementId, usize)> {
        self.session()?.arriving()
    }

    /// What is asked for by each that is in flight, in order: `None` where that is no request.
    /// Barriers are left out.
    pub fn statements_in_flight(&self) -> impl Iterator<Item = Option<StatementId>> {
        self.session().into_iter().flat_map(|s| pipeline::statements(s.pipeline()))
    }

    /// Whether what comes next is the answer to a bare Sync, and behind it that to a request.
    pub fn begins_with_barrier(&self) -> bool {
        self.session().is_some_and(|s| pipeline::begins_with_barrier(s.pipeline()))
    }

    /// Whether what comes next, if anything does, begins an answer to more than a bare Sync.
    pub fn is_between_answers(&self) -> bool {
        self.intake.ends_whole
            && self.session().is_some_and(|s| !pipeline::begins_with_lone_sync(s.pipeline()))
    }

    /// The two are to be heard together: nobody listens for the barrier's answer alone. False where
    /// that can't be, because none has been heard alone yet.
    pub fn hear_together(&mut self) -> bool {
        match &mut self.state {
            State::Session(session) => session.hear_together(),
            _ => false,
        }
    }

    pub fn head_since(&self) -> Option<Instant> {
        match &self.state {
            State::Session(session) => session.head_since(),
            _ => None,
        }
    }

    pub fn role(&self) -> Option<Role> {
        match &self.state {
            State::Session(session) => session.role(),
            _ => None,
        }
    }

    /// When the server last told its role, where it has one.
    pub fn role_told_at(&self) -> Option<Instant> {
        self.session().filter(|session| session.role().is_some()).map(Session::role_told_at)
    }

    /// Whether the server says by itself when its role changes.
    pub fn reports_role(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.reports_role())
    }

    /// How long the server took to answer a question that gave it nothing to do, once for each.
    pub fn take_round_trip(&mut self) -> Option<Duration> {
        match &mut self.state {
            State::Session(session) => session.take_round_trip(),
            _ => None,
        }
    }

    pub fn transaction_status(&self) -> Option<TransactionStatus> {
        match &self.state {
            State::Session(session) => Some(session.status()),
            _ => None,
        }
    }

    /// A CancelRequest for what this session is at, to be sent on a connection of its own; `None`
    /// where the server gave no key. It hits whatever the session is at when it arrives: until that
    /// connection has ended, the session must get no other work.
    pub fn cancel_request(&self) -> Option<Vec<u8>> {
        let key = self.backend_key()?;
        let mut out = BytesMut::new();
        frontend::cancel_request(&mut out, key.process_id, &key.secret).ok()?;
        Some(out.to_vec())
    }

    pub fn backend_key(&self) -> Option<&BackendKey> {
        match &self.state {
            State::Session(session) => session.key(),
            _ => None,
        }
    }
}
