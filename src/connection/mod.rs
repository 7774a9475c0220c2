//! Floor 2: one connection to one server, as a state machine without a socket.
//!
//! Owns: the handshake, the pipeline of requests, the statements prepared on this connection, and
//! what is known of a request when the connection breaks. Imports `base`, `protocol`, `types` and
//! `config`. Never does I/O, never reads a clock, never decides what is sent again: it says what
//! happened.
//!
//! ```text
//! Opening ──Connected──▶ Handshake ──ReadyForQuery──▶ Asking ──role──▶ Session ──▶ Closed
//! ```
//!
//! `Asking` is there for servers before 14 alone, which do not report their role; any error leads
//! to `Closed`, whose events say of each request whether it may have run.

mod begin;
mod command;
mod doors;
mod effect;
mod ended;
mod exchange;
mod flight;
mod habit;
mod halfway;
mod handshake;
mod intake;
mod lead;
mod lexer;
mod lineage;
mod naming;
mod outbox;
mod pipeline;
mod plain_names;
mod plain_read;
mod prelude;
mod prepared;
mod questions;
mod realm;
mod role;
mod rows;
mod script;
mod session;
mod settings;
mod staleness;
mod startup;
mod statement;
mod step;
mod steps;
mod text_results;
mod traces;
mod user_types;
mod views;
mod wire;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

pub use begin::{Begin, Isolation};
pub use command::CommandTag;
pub use doors::{Answer, Event, Input, Remedy, Request, Sent, Settled, Shared, Telling, Token};
pub use effect::Effect;
pub use exchange::StatementResult;
pub use habit::Habit;
pub use handshake::{BackendKey, Peer};
use handshake::{Handshake, Next};
use intake::Intake;
pub use lineage::{Lineage, Place};
pub use realm::Realm;
pub use role::Role;
use role::{Parameters, check_encoding};
pub use rows::{RowCursor, Rows};
pub use script::{Unfit, left_open};
use session::Session;
pub use session::{QUERY_WAIT_TIMEOUT, was_never_handed_on};
pub use statement::{Description, Form, Statement, StatementId, Statements};
pub use traces::Traces;
pub use user_types::{RefusedInTransaction, TypesOutcome, TypesRefused};

use crate::base::{Error, ErrorClass, Instant};
use crate::protocol::backend::BackendMessage;
use crate::protocol::frontend;

#[derive(Debug)]
enum State {
    Opening { deadline: Instant },
    Handshake { deadline: Instant, handshake: Handshake },
    Asking { deadline: Instant, session: Session },
    Session(Session),
    Closed,
}

/// What a request takes beside its text and its values: the messages around them, and a prelude.
const ROUND_REQUEST: usize = 1024;

/// A connection. Drive it by `handle_input` and `handle_timeout`, then drain `poll_event`, then
/// write `outgoing` and tell by `advance` how much was taken.
#[derive(Debug)]
pub struct Connection {
    host: Arc<str>,
    state: State,
    /// When the login began.
    connected_at: Instant,
    parameters: Parameters,
    intake: Intake,
    random: [u8; 8],
    /// What its host reports of its role was contradicted.
    distrusts_reports: bool,
    /// Its session ended in the middle of what may give names another meaning for others.
    has_moved_names: bool,
    outbox: BytesMut,
    /// The most that was in it since it was last given back.
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
            connected_at: Instant::ORIGIN,
            parameters: Parameters::default(),
            intake: Intake::default(),
            random: [0; 8],
            distrusts_reports: false,
            has_moved_names: false,
            outbox: BytesMut::new(),
            largest_outbox: 0,
            written: 0,
            events: VecDeque::new(),
        }
    }

    pub fn handle_input(&mut self, now: Instant, input: Input<'_>, shared: &mut Shared<'_>) {
        // What comes behind the end is nobody's.
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
            Input::Closed { why } => {
                let error = self.lost(&why);
                let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", why);
                return self.end(error, why);
            }
        };
        if let Err(error) = handled {
            self.close(error);
        }
    }

    /// How many messages have come since this was asked last that are much more work than their
    /// bytes.
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

    /// How many iterations the key of the login still takes. Each [`Self::handle_timeout`] does
    /// some of them; whoever has several connections decides whose turn it is.
    pub fn derivation_left(&self, now: Instant) -> Option<u32> {
        match &self.state {
            State::Handshake { deadline, handshake } if now < *deadline => handshake.work_left(),
            _ => None,
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Self::poll_event`] has more to say: whoever drops the connection now leaves calls
    /// unanswered.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Appends a request to the pipeline. An error (a parameter does not fit) leaves the connection
    /// as it was.
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
                outbox::make_room(&mut self.outbox, bytes.saturating_add(ROUND_REQUEST))?;
                let sent = session.send(now, request, shared, self.written, &mut self.outbox);
                self.largest_outbox = self.largest_outbox.max(self.outbox.len());
                sent
            }
            _ => Err(Error::internal("a request was given to a connection that is not ready")),
        }
    }

    /// Makes the server say what has changed: [`Event::Answered`] follows.
    pub fn probe(&mut self, now: Instant) {
        if let State::Session(session) = &mut self.state
            && let Err(error) = session.probe(now, self.written, &mut self.outbox)
        {
            self.close(error);
        }
    }

    /// Makes the server discard what the session's user left behind, before any further request:
    /// [`Event::Answered`].
    pub fn reset(&mut self, now: Instant) {
        self.send_own(|session, written, out| session.reset(now, written, out));
    }

    /// The session's user may have left something behind that no answer showed.
    pub fn soil(&mut self) {
        if let State::Session(session) = &mut self.state {
            session.soil();
        }
    }

    /// Whether nothing was left behind that the server has not discarded yet.
    pub fn is_clean(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_clean())
    }

    /// Whether a reset is in flight.
    pub fn is_resetting(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_resetting())
    }

    /// Ready, and with nothing in flight but a reset or a question of the pool's own.
    pub fn is_vacant(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_vacant())
    }

    /// Whether a request can be sent here that waits for nothing but a reset or a question of the
    /// pool's own, and for a reset only where that keeps the settings of the login.
    pub fn is_at_hand(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_at_hand())
    }

    /// What is to be written now: no more than may be unanswered at a time behind a pooler.
    pub fn outgoing(&self) -> &[u8] {
        let gate = match &self.state {
            State::Session(session) => session.gate(),
            _ => None,
        };
        let open = gate.and_then(|gate| usize::try_from(gate.saturating_sub(self.written)).ok());
        open.and_then(|open| self.outbox.get(..open)).unwrap_or(&self.outbox)
    }

    /// Whether a pooler stands in between, as far as its key shows.
    pub fn is_pooled(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.is_pooled())
    }

    /// Another session of the same host has shown that a pooler stands in between.
    pub fn take_for_pooled(&mut self) {
        if let State::Session(session) = &mut self.state {
            session.take_for_pooled();
        }
    }

    /// The kernel took `count` bytes of [`Self::outgoing`].
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.outbox.len());
        self.outbox.advance(count);
        outbox::give_back(&mut self.outbox, &mut self.largest_outbox);
        self.written += count as u64;
    }

    /// The Terminate message, for a connection that is idle; otherwise nothing: a server that is at
    /// work learns by the closed socket.
    pub fn farewell(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        if self.is_idle() && self.outbox.is_empty() && frontend::terminate(&mut out).is_ok() {
            return out.to_vec();
        }
        Vec::new()
    }

    /// The host's name, which a list of hosts that has changed since may not hold any more.
    pub fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Ready, and with nothing in flight.
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Session(session) if session.depth() == 0)
    }

    /// How many entries wait for their ReadyForQuery, barriers too.
    pub fn depth(&self) -> usize {
        match &self.state {
            State::Session(session) => session.depth(),
            _ => 0,
        }
    }

    fn connected(&mut self, peer: Peer, shared: &Shared<'_>) -> Result<(), Error> {
        let State::Opening { deadline } = self.state else {
            return Err(Error::internal("a socket was connected twice"));
        };
        self.random = peer.digits();
        let handshake = Handshake::start(peer, shared.config, &mut self.outbox)?;
        self.state = State::Handshake { deadline, handshake };
        Ok(())
    }

    fn handshake_message(
        &mut self,
        now: Instant,
        message: BackendMessage<'_>,
        shared: &mut Shared<'_>,
    ) -> Result<(), Error> {
        let State::Handshake { deadline, handshake } =
            std::mem::replace(&mut self.state, State::Closed)
        else {
            return Err(Error::protocol("the server spoke before it was spoken to"));
        };
        match handshake.handle(message, &mut self.parameters, shared, &mut self.outbox)? {
            Next::Handshake(handshake) => self.state = State::Handshake { deadline, handshake },
            Next::Done { key } => self.logged_in(now, deadline, key, shared)?,
        }
        Ok(())
    }

    fn logged_in(
        &mut self,
        now: Instant,
        deadline: Instant,
        key: Option<BackendKey>,
        shared: &Shared<'_>,
    ) -> Result<(), Error> {
        if let Some(encoding) = self.parameters.value("client_encoding") {
            check_encoding(encoding)?;
        }
        let mut session = Session::new(now, key, self.random, &self.parameters, shared.config);
        if self.distrusts_reports {
            session.forget_reports();
        }
        if let Some(role) = session.role() {
            self.events.push_back(Event::Ready { role });
            self.state = State::Session(session);
        } else {
            session.probe(now, self.written, &mut self.outbox)?;
            self.state = State::Asking { deadline, session };
        }
        Ok(())
    }

    /// A server that had to be asked for its role has answered.
    fn asked(&mut self, now: Instant) -> Result<(), Error> {
        if let State::Asking { session, .. } = &mut self.state
            && session.depth() == 0
        {
            if session.must_ask_again() {
                self.events.clear();
                return session.probe(now, self.written, &mut self.outbox);
            }
            let Some(role) = session.role() else {
                return Err(Error::protocol("the server did not tell its role"));
            };
            let State::Asking { session, .. } = std::mem::replace(&mut self.state, State::Closed)
            else {
                return Ok(());
            };
            self.state = State::Session(session);
            // The probe's own event says the same.
            self.events.clear();
            self.events.push_back(Event::Ready { role });
        }
        Ok(())
    }

    fn lost(&self, why: &str) -> Error {
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

    fn close(&mut self, error: Error) {
        self.end(error.clone(), error);
    }

    fn end(&mut self, error: Error, why: Error) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let idle = matches!(&state, State::Session(session) if session.is_cut_idle(&why));
        match state {
            State::Session(mut session) | State::Asking { mut session, .. } => {
                self.has_moved_names = session.has_moved_names();
                session.abandon(self.written, &why, &mut self.events);
            }
            // A handshake that fails has given its state away.
            State::Opening { .. } | State::Handshake { .. } | State::Closed => {}
        }
        self.intake = Intake::default();
        self.outbox.clear();
        let error = error.with_host(Arc::clone(&self.host));
        self.events.push_back(Event::Closed { error, why, idle });
    }
}

#[cfg(test)]
mod tests;
