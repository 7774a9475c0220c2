//! Questions that the pool asks about a connection, and small commands that leave the answers under
//! way as they are.

use std::time::Duration;

use bytes::BytesMut;

use crate::base::Instant;
use crate::connection::request::pipeline;
use crate::connection::session::Session;
use crate::connection::{BackendKey, Connection, Event, RequestToken, Role, State, StatementId};
use crate::protocol::backend::TransactionStatus;
use crate::protocol::frontend;

impl Connection {
    /// The first request in flight, without regard to other entries in front of it.
    pub fn first_request(&self) -> Option<RequestToken> {
        self.session()?.first_request()
    }

    /// All requests in flight, in order.
    pub fn requests(&self) -> impl Iterator<Item = RequestToken> {
        self.session().into_iter().flat_map(Session::requests)
    }

    /// The requests that have no answer: those in flight in order, and then the lost ones whose
    /// event is still to be polled, from the last one to the first.
    pub fn unanswered(&self) -> impl Iterator<Item = RequestToken> {
        let lost = self.events.iter().rev().filter_map(|event| match event {
            Event::Lost { token, .. } => Some(*token),
            _ => None,
        });
        self.requests().chain(lost)
    }

    /// When the session sent the question that the server answered last. The role in that answer is
    /// not older than this.
    pub fn asked_at(&self) -> Instant {
        let session = self.session().map_or(Instant::ORIGIN, Session::asked_at);
        session.max(self.connected_at)
    }

    /// Since when nothing has been in flight.
    pub fn idle_since(&self) -> Option<Instant> {
        self.session()?.idle_since()
    }

    /// The request that the server is working on.
    pub fn at_work(&self) -> Option<RequestToken> {
        self.session()?.at_work()
    }

    /// Whether any entry is in flight behind the request.
    pub fn has_followers(&self, token: RequestToken) -> bool {
        self.session().is_some_and(|session| session.has_followers(token))
    }

    /// Takes back a request of which no byte was written. False if that can't be done: bytes of it
    /// were written, or an entry behind it builds on it.
    pub fn withdraw(&mut self, token: RequestToken) -> bool {
        match &mut self.state {
            State::Session(session) => session.withdraw(token, self.written, &mut self.outbox),
            _ => false,
        }
    }

    /// Whether the server refuses to report its place in the cluster, however often it is asked.
    pub fn refuses_place(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.refuses_place())
    }

    /// Whether names may mean something else for other sessions because of statements that are, or
    /// were, under way here.
    pub fn has_moved_names(&self) -> bool {
        self.session().map_or(self.has_moved_names, Session::has_moved_names)
    }

    /// Whether there is an open session. Once it is gone, [`Event::Closed`] is on its way.
    pub fn is_open(&self) -> bool {
        self.session().is_some()
    }

    fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The statement whose rows come next, and how many bytes of them have come.
    pub fn arriving(&self) -> Option<(StatementId, usize)> {
        self.session()?.arriving()
    }

    /// The statement of each entry in flight, in order; `None` for an entry that is not a
    /// request. Barriers are left out.
    pub fn statements_in_flight(&self) -> impl Iterator<Item = Option<StatementId>> {
        self.session().into_iter().flat_map(|s| pipeline::statements(s.pipeline()))
    }

    /// Whether the next answer is that to a bare Sync, and the answer after it that to a request.
    pub fn begins_with_barrier(&self) -> bool {
        self.session().is_some_and(|s| pipeline::begins_with_barrier(s.pipeline()))
    }

    /// Whether the next bytes begin an answer to more than a bare Sync, if any bytes come.
    pub fn is_between_answers(&self) -> bool {
        self.intake.ends_whole
            && self.session().is_some_and(|s| !pipeline::begins_with_lone_sync(s.pipeline()))
    }

    /// Has the answers to the barrier and to the request behind it read together. False if that
    /// can't be done, because no barrier's answer was read by itself yet.
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

    /// When the server last reported its role, if it has reported one.
    pub fn role_reported_at(&self) -> Option<Instant> {
        self.session().filter(|session| session.role().is_some()).map(Session::role_reported_at)
    }

    /// Whether the server reports changes of its role by itself.
    pub fn reports_role(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.reports_role())
    }

    /// How long the server took to answer a question that gave it nothing to do. Each value is
    /// returned once.
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

    /// A CancelRequest for the request that this session is working on, to be sent on a connection
    /// of its own. `None` if the server gave no key. It cancels the statement that the session
    /// runs when it arrives, so the session must get no other work until that connection has ended.
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
