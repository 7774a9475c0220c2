//! Floor 2: one connection to one server, as a state machine without a socket.
//!
//! Owns: the handshake, the pipeline of requests, the statements prepared on this connection, and
//! what is known of each request when the connection breaks. Imports `base`, `protocol`, `types`
//! and `config`. This floor never does I/O, never reads a clock and never decides what is sent
//! again: it reports what happened.
//!
//! ```text
//! Opening ──Connected──▶ Handshake ──ReadyForQuery──▶ Asking ──role──▶ Session ──▶ Closed
//! ```
//!
//! Only a server before PostgreSQL 14 passes through `Asking`, since it does not report its role.
//! Any error leads to `Closed`, whose events say of each request whether it may have run.

mod api;
mod closing;
mod far_end;
mod intake;
mod introspection;
mod login;
mod questions;
mod request;
mod session;
mod statement;
mod views;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

pub use api::{
    Answer, DescriptionState, Event, Input, Peer, Remedy, Request, RequestToken, Security, Sent,
    Settled, Shared, Written,
};
use intake::Intake;
pub use introspection::lineage::{Lineage, Place};
pub use introspection::realm::Realm;
use introspection::role::Parameters;
pub use introspection::role::Role;
pub use introspection::user_types::{RefusedInTransaction, TypesOutcome, TypesRefused};
pub use login::handshake::BackendKey;
use login::handshake::Handshake;
pub use login::weakness::Weakness;
pub use request::begin::{Begin, Isolation};
pub use request::command::CommandTag;
pub use request::ended::StatementResult;
pub use request::rows::{RowCursor, Rows};
use session::Session;
pub use session::{QUERY_WAIT_TIMEOUT, was_never_handed_on};
pub use statement::effect::Effect;
pub use statement::sanitized::sanitize;
pub use statement::script::{Unfit, left_open};
pub use statement::session_effects::SessionEffects;
pub use statement::stats::Stats;
pub use statement::summary::summarize;
pub use statement::{Description, Form, Statement, StatementId, Statements};

use crate::base::{Error, ErrorClass, Instant};
use crate::config::Secret;

#[derive(Debug)]
enum State {
    Opening { deadline: Instant },
    Handshake { deadline: Instant, handshake: Handshake },
    Asking { deadline: Instant, session: Session },
    Session(Session),
    Closed,
}

/// Bytes that a request takes in addition to its text and its values: the messages around them, and
/// a prelude.
const ROUND_REQUEST: usize = 1024;

/// One connection. Its owner calls `handle_input` and `handle_timeout`, then drains `poll_event`,
/// then writes `outgoing` and reports to `advance` how many bytes the kernel took.
#[derive(Debug)]
pub struct Connection {
    host: Arc<str>,
    state: State,
    /// The password of this host, until the login begins, if it has one of its own.
    password: Option<Secret>,
    /// When the login began.
    connected_at: Instant,
    parameters: Parameters,
    intake: Intake,
    random: [u8; 8],
    /// The role that the host reports was contradicted by the answer to a question, so reports are
    /// no longer believed.
    distrusts_reports: bool,
    /// The session ended while a statement was under way that may change what names mean for other
    /// sessions.
    has_moved_names: bool,
    /// The session ended while a pooler still had requests of it under way.
    has_left_pooler_at_work: bool,
    outbox: BytesMut,
    /// The largest size of `outbox`, in bytes, since its memory was last given back.
    largest_outbox: usize,
    /// How many bytes the kernel has taken since the connection began.
    written: u64,
    events: VecDeque<Event>,
}

impl Connection {
    /// `deadline` bounds the whole way to [`Event::Ready`], not each step of it.
    pub fn new(host: Arc<str>, deadline: Instant) -> Self {
        Self {
            host,
            state: State::Opening { deadline },
            password: None,
            connected_at: Instant::ORIGIN,
            parameters: Parameters::default(),
            intake: Intake::default(),
            random: [0; 8],
            distrusts_reports: false,
            has_moved_names: false,
            has_left_pooler_at_work: false,
            outbox: BytesMut::new(),
            largest_outbox: 0,
            written: 0,
            events: VecDeque::new(),
        }
    }

    /// Gives the password to log in with, in place of that of the options.
    pub fn set_password(&mut self, password: Option<Secret>) {
        self.password = password;
    }

    fn has_logged_in(&self) -> bool {
        matches!(self.state, State::Session(_) | State::Asking { .. })
    }

    pub fn handle_input(&mut self, now: Instant, input: Input<'_>, shared: &mut Shared<'_>) {
        // Bytes that arrive after the end belong to no request.
        if matches!(self.state, State::Closed) {
            return;
        }
        let handled = match input {
            Input::Connected(peer) => {
                self.connected_at = now;
                self.connected(peer, shared)
            }
            Input::Received(bytes) => self.receive(now, bytes, shared),
            Input::Unreached { why, cause } => {
                let error = self.lost(&why);
                let error = cause.into_iter().fold(error, Error::with_cause);
                return self.end(error.clone(), error);
            }
            // In TLS 1.3 the server refuses a client's certificate once the login has begun.
            Input::Insecure { why } if !self.has_logged_in() => {
                let message = format!("can't connect to {} by TLS: {why}", self.host);
                Err(Error::new(ErrorClass::Connection, "HYPERION_TLS", message))
            }
            Input::NoPassword { why } => {
                let message = format!("can't log in at {}: {why}", self.host);
                Err(Error::new(ErrorClass::Connection, "HYPERION_PASSWORD", message))
            }
            Input::Closed { why } | Input::Insecure { why } => {
                let error = self.lost(&why);
                let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", why);
                return self.end(error, why);
            }
        };
        if let Err(error) = handled {
            self.close(error);
        }
    }

    /// How many messages have come, since the last call, that take much more work than their bytes
    /// suggest.
    pub fn take_laborious(&mut self) -> usize {
        self.intake.take_laborious()
    }

    pub fn handle_timeout(&mut self, now: Instant, shared: &mut Shared<'_>) {
        let (deadline, doing) = match &mut self.state {
            State::Opening { deadline } => (*deadline, "connecting"),
            State::Handshake { deadline, handshake } => {
                if now < *deadline && handshake.has_work() {
                    if let Err(error) = handshake.work(shared, &mut self.outbox) {
                        self.close(error);
                    }
                    return;
                }
                (*deadline, "logging in")
            }
            State::Asking { deadline, .. } => (*deadline, "asking for the server's role"),
            State::Session(_) | State::Closed => return,
        };
        if now >= deadline {
            let after = shared.config.connect_timeout.as_millis();
            let message = format!("{}: no answer within {after} ms while {doing}", self.host);
            self.close(Error::new(ErrorClass::Connection, "HYPERION_CONNECT_TIMEOUT", message));
        }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Handshake { handshake, .. } if handshake.has_work() => {
                Some((Instant::ORIGIN, "key derivation"))
            }
            State::Opening { deadline }
            | State::Handshake { deadline, .. }
            | State::Asking { deadline, .. } => Some((*deadline, "connect timeout")),
            State::Session(_) | State::Closed => None,
        }
    }

    /// How many iterations of key derivation the login still takes. Each [`Self::handle_timeout`]
    /// does some of them. The owner of several connections decides which of them works next.
    pub fn derivation_left(&self, now: Instant) -> Option<u32> {
        match &self.state {
            State::Handshake { deadline, handshake } if now < *deadline => handshake.work_left(),
            _ => None,
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Self::poll_event`] has more events. An owner that drops the connection now leaves
    /// calls unanswered.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Appends a request to the pipeline. An error (a parameter that does not fit its type, or no
    /// memory) leaves the connection as it was.
    pub fn send(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        shared: &mut Shared<'_>,
    ) -> Result<Sent, Error> {
        match &mut self.state {
            State::Session(session) => {
                let text = shared.statements.get(request.statement).map_or(0, |it| it.sql.len());
                let bytes = text.saturating_add(request.params.size());
                request::outbox::make_room(&mut self.outbox, bytes.saturating_add(ROUND_REQUEST))?;
                let sent = session.send(now, request, shared, self.written, &mut self.outbox);
                self.largest_outbox = self.largest_outbox.max(self.outbox.len());
                sent
            }
            _ => Err(Error::internal("a request was given to a connection that is not ready")),
        }
    }

    /// Asks the server for a sign of life and for its role: [`Event::Answered`] follows.
    pub fn probe(&mut self, now: Instant) {
        if let State::Session(session) = &mut self.state
            && let Err(error) = session.probe(now, self.written, &mut self.outbox)
        {
            self.close(error);
        }
    }

    /// Makes the server discard what the session's last user left behind, before any further
    /// request: [`Event::Answered`] follows.
    pub fn reset(&mut self, now: Instant) {
        self.send_own(|session, written, out| session.reset(now, written, out));
    }

    /// Marks the session as one in which its user may have left something behind that no answer
    /// showed.
    pub fn mark_dirty(&mut self) {
        if let State::Session(session) = &mut self.state {
            session.mark_dirty();
        }
    }

    /// Whether the session holds nothing that its user left behind and the server has not discarded
    /// yet.
    pub fn is_clean(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_clean())
    }

    /// Whether a reset is in flight.
    pub fn is_resetting(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_resetting())
    }

    /// Whether the connection is ready, with nothing in flight except a reset or a question of the
    /// pool's own.
    pub fn is_vacant(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_vacant())
    }

    /// Whether a request that is sent now waits for nothing except a reset or a question of the
    /// pool's own. A reset counts only if it keeps the settings of the login.
    pub fn is_at_hand(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_at_hand())
    }

    /// The bytes to write now. Behind a pooler these are no more than may be unanswered at a time.
    pub fn outgoing(&self) -> &[u8] {
        let gate = match &self.state {
            State::Session(session) => session.gate(),
            _ => None,
        };
        let open = gate.and_then(|gate| usize::try_from(gate.saturating_sub(self.written)).ok());
        open.and_then(|open| self.outbox.get(..open)).unwrap_or(&self.outbox)
    }

    /// Whether a pooler is known to stand between this client and the server.
    pub fn is_pooled(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_pooled())
    }

    /// The kernel took `count` bytes of [`Self::outgoing`].
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.outbox.len());
        self.outbox.advance(count);
        request::outbox::give_back(&mut self.outbox, &mut self.largest_outbox);
        self.written += count as u64;
    }

    /// The name of the host. The list of hosts may have changed since, and no longer contain it.
    pub fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Whether the connection is ready, with nothing in flight.
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.depth() == 0)
    }

    /// How many entries wait for their ReadyForQuery, including barriers.
    pub fn depth(&self) -> usize {
        match &self.state {
            State::Session(session) => session.depth(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
