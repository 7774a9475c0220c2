//! The reactor: one pool, its sockets, and one turn of the loop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::closed_window::Windows;
use super::io::{Io, ReactorEvent, SystemCalls};
use super::libuv::{Loop, Wake};
use super::passwords::Passwords;
use super::sockets::Sockets;
use super::system_error::{Unreached, not_started};
use super::timer::Timer;
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::config::{self, Config, Secret, Tls};
use crate::connection::StatementId;
use crate::pool::{EndOptions, HostStatus, Pool, Query, QueryFlags, Snapshot, Status};
use crate::tls::Facts;
use crate::types::{Params, Verbatim};

/// The owner gives it commands, and calls [`Self::turn`] for each wake and [`Self::flush`] after
/// the last command. Then the owner takes all events of [`Self::next_event`].
pub struct Reactor {
    clock: Clock,
    io: Io,
    /// Deadlines were due while sockets still held unread bytes, and have been postponed by one
    /// turn.
    grace_given: bool,
    /// The turn is finished once its events are delivered ([`Self::finish_turn`]).
    unfinished: bool,
    /// The first deadline, as it was at the end of the last turn.
    due_at: Option<Instant>,
    timer: Timer,
    referenced: bool,
    /// `node` has taken an event that it has not delivered completely, such as a part of a large
    /// result.
    undelivered: bool,
    poisoned: bool,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("pool", &self.io.pool).finish_non_exhaustive()
    }
}

impl Reactor {
    pub fn new(config: Config) -> Result<Self, Error> {
        let clock = Clock::new();
        let sockets = Sockets::new(&config, clock)?;
        let seed = getrandom::u64().map_err(|error| not_started(&io::Error::other(error)))?;
        let passwords = Passwords::new(config.asks_password);
        let windows = Windows::new(config.tcp_user_timeout);
        let pool = Pool::new(Arc::new(config), seed, clock.now());
        Ok(Self {
            clock,
            io: Io::new(pool, sockets, passwords, windows),
            grace_given: false,
            unfinished: false,
            due_at: None,
            timer: Timer::default(),
            referenced: false,
            undelivered: false,
            poisoned: false,
        })
    }

    /// Lets a loop wake the reactor. The handles are closed when the reactor is dropped.
    pub fn attach(&mut self, uv_loop: Loop, wake: &Wake, calls: SystemCalls) -> io::Result<()> {
        self.io.attach(uv_loop, wake, calls)?;
        self.timer.attach(uv_loop, wake)?;
        // A pool that wants connections from the start opens them at once.
        self.timer.set(self.clock.now(), None, self.io.pool.wants_connections());
        Ok(())
    }

    pub fn statement(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        self.io.pool.statement_verbatim(sql, verbatim)
    }

    pub fn forget(&mut self, statement: StatementId) {
        self.io.pool.forget(statement);
    }

    /// The oids of a statement's parameter types, if a server has described them.
    pub fn parameter_types(&self, statement: StatementId) -> Option<&[u32]> {
        self.io.pool.parameter_types(statement)
    }

    /// Takes the values of a request, now that its types are known.
    pub fn supply(&mut self, request: u32, params: Params) {
        self.io.pool.supply(self.clock.now(), request, params);
    }

    pub fn query(&mut self, query: Query) {
        self.io.pool.query(self.clock.now(), query);
    }

    pub fn acquire(&mut self, request: u32, flags: QueryFlags) {
        self.io.pool.acquire(self.clock.now(), request, flags);
    }

    /// Sets a request's time limit. `None` removes the limit that the pool's options have set.
    pub fn limit(&mut self, request: u32, after: Option<Duration>) {
        self.io.pool.limit(self.clock.now(), request, after);
    }

    /// Cancels a request whose caller no longer wants the answer. An answer that has already
    /// arrived still counts, even if it is unread in the kernel's buffer.
    pub fn cancel(&mut self, request: u32) {
        let now = self.catch_up(true);
        self.io.pool.cancel(now, request);
        self.flush();
    }

    /// Cancels all requests that run or wait on a lease.
    pub fn cancel_lease(&mut self, lease: NonZeroU32) {
        let now = self.catch_up(true);
        self.io.pool.cancel_lease(now, lease);
        self.flush();
    }

    /// Handles the bytes that have come since the last turn. If a deadline is due, or with
    /// `wholly`, this includes bytes below a low-water mark.
    fn catch_up(&mut self, wholly: bool) -> Instant {
        let now = self.clock.now();
        let is_due = self.due_at.is_some_and(|at| at <= now);
        self.io.catch_up(now, wholly, is_due);
        now
    }

    pub fn release(&mut self, lease: NonZeroU32, destroy: bool) {
        self.io.pool.release(self.clock.now(), lease, destroy);
        self.flush();
    }

    /// The name of the host of a lease's connection.
    pub fn lease_host(&self, lease: NonZeroU32) -> Option<&str> {
        self.io.pool.lease_host(lease).map(|host| &*host.name)
    }

    /// Whether a lease still has a connection, or is entitled to another one.
    pub fn lease_is_alive(&self, lease: NonZeroU32) -> bool {
        self.io.pool.lease_is_alive(lease)
    }

    /// Whether a statement of the lease's user has begun a transaction.
    pub fn lease_is_in_own_transaction(&self, lease: NonZeroU32) -> bool {
        self.io.pool.lease_is_in_own_transaction(lease)
    }

    /// Completes the request when the pool has its wanted connections.
    pub fn ready(&mut self, request: u32) {
        self.io.pool.ready(self.clock.now(), request);
    }

    pub fn end(&mut self, request: u32, options: EndOptions) {
        self.io.pool.end(self.clock.now(), request, options);
        self.flush();
    }

    pub fn status(&mut self) -> Status {
        self.io.pool.status()
    }

    /// What the pool has done so far.
    pub fn metrics(&self) -> Snapshot {
        self.io.pool.metrics()
    }

    pub fn cluster(&self) -> Vec<HostStatus> {
        self.io.pool.cluster(self.clock.now())
    }

    /// How a host's last session with TLS was encrypted, and how far the host was verified.
    pub fn encryption(&self, host: &str) -> Option<(&Facts, &'static str)> {
        self.io.sockets.encryption(host)
    }

    /// Takes another list of hosts, in the form of the option `hosts`.
    pub fn set_hosts(&mut self, hosts: &serde_json::Value) -> Result<(), Error> {
        let hosts = config::hosts_from_json(hosts, self.io.pool.default_port())?;
        self.io.pool.set_hosts(self.clock.now(), hosts)?;
        self.flush();
        Ok(())
    }

    /// Takes the answer to a [`Lookup`](super::Lookup).
    pub fn resolved(&mut self, token: u32, answer: Result<Vec<SocketAddr>, Unreached>) {
        self.io.sockets.resolved(self.clock.now(), token, answer);
        self.flush();
    }

    /// Takes the answer to a [`ReactorEvent::Ssl`], or the reason why there is none.
    pub fn answer_ssl(&mut self, question: u32, answer: Result<Tls, String>) {
        self.io.sockets.answer(question, answer);
        self.flush();
    }

    /// Takes the answer to a [`ReactorEvent::Password`], or why there is none.
    pub fn answer_password(&mut self, question: u32, answer: Result<Secret, String>) {
        self.io.answer_password(self.clock.now(), question, answer);
        self.flush();
    }

    /// Whether there is nothing left to do. True after [`Self::end`] or a defect, once all events
    /// have been taken.
    pub fn has_ended(&self) -> bool {
        self.io.events.is_empty() && (self.poisoned || self.io.pool.has_ended())
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    pub fn has_events(&self) -> bool {
        !self.io.events.is_empty()
    }

    pub fn next_event(&mut self) -> Option<ReactorEvent> {
        self.io.events.pop_front()
    }

    /// Asks the loop to wake the reactor in its next turn, for events that could not be delivered
    /// in this turn.
    pub fn wake_soon(&mut self) {
        let now = self.clock.now();
        if self.unfinished {
            self.finish(now);
        }
        self.set_alarm(now, true);
        self.undelivered = true;
        self.set_referenced();
    }

    /// Lets [`Self::finish_turn`] send the queued requests. If another loop runs inside the present
    /// one before that, its first turn sends them.
    pub fn flush_by_rest(&mut self) {
        if !self.poisoned {
            self.unfinished = true;
            self.timer.start_soon();
        }
    }

    /// Called when all events have been delivered. From now on only the pool decides whether the
    /// process must stay alive.
    pub fn finish_turn(&mut self) {
        self.undelivered = false;
        if self.unfinished {
            self.finish(self.clock.now());
        } else {
            self.set_referenced();
        }
    }

    /// Sends the requests that were queued since the last turn. Call it once for all commands of a
    /// turn of the loop.
    pub fn flush(&mut self) {
        if !self.poisoned {
            self.finish(self.clock.now());
        }
    }

    /// Does what has become possible since the last turn, within bounds and without waiting.
    /// Requests that callers make when they get these events usually belong to the same flight. So
    /// the turn ends after the delivery, in [`Self::finish_turn`], unless there is something to do
    /// at once.
    pub fn turn(&mut self) {
        if self.poisoned {
            // This wake only served to deliver the last events. The idle handle that caused it can
            // stop.
            return self.timer.set(self.clock.now(), None, false);
        }
        let now = self.catch_up(false);
        self.handle_deadlines(now);
        self.io.carry(now);
        self.unfinished = self.has_events() && !self.io.has_work() && self.io.pool.is_at_ease();
        if !self.unfinished {
            self.finish(now);
        }
    }

    /// Gives everything up after a panic. The pool is never used again, since its state is unknown.
    pub fn poison(&mut self) {
        self.poisoned = true;
        self.unfinished = false;
        self.io.close_all();
        let message =
            "a defect in hyperiondb-client ended this pool; what was in flight may have run";
        let error = Error::internal(message).with_outcome(Outcome::Unknown);
        self.io.events.push_back(ReactorEvent::Poisoned(error));
        self.timer.set(self.clock.now(), None, true);
        self.set_referenced();
    }

    /// Handles deadlines after the sockets were read. If an answer arrived in the kernel's buffer
    /// while the loop was blocked, it wins over a deadline that passed meanwhile. If a turn's
    /// budget was too small to read everything, the deadlines are postponed by one turn, once.
    fn handle_deadlines(&mut self, now: Instant) {
        let may_be_due = self.due_at.is_some_and(|at| at <= now);
        if !may_be_due || self.deadline().is_none_or(|at| at > now) {
            self.grace_given = false;
            return;
        }
        if !self.io.is_read() && !self.grace_given {
            self.grace_given = true;
            return;
        }
        self.grace_given = false;
        self.io.handle_timeout(now);
    }

    /// Ends the turn: sends the queued calls, writes to the sockets, and sets the timer.
    fn finish(&mut self, now: Instant) {
        self.unfinished = false;
        self.io.carry(now);
        self.io.pool.flush(now);
        // The kernel may refuse an attempt to connect at once. Its consequences need another turn,
        // for which there is no deadline.
        let has_heard = self.io.carry(now);
        self.io.write(now);
        let soon = has_heard || self.io.has_work();
        self.set_alarm(now, soon);
        self.set_referenced();
    }

    fn set_alarm(&mut self, now: Instant, soon: bool) {
        self.due_at = self.deadline();
        self.timer.set(now, self.due_at, soon);
    }

    fn deadline(&mut self) -> Option<Instant> {
        if self.poisoned {
            return None;
        }
        self.io.deadline()
    }

    /// Keeps the process alive while a caller waits for something.
    fn set_referenced(&mut self) {
        let wanted = self.undelivered
            || !self.io.events.is_empty()
            || (!self.poisoned && self.io.pool.keeps_loop_alive());
        if wanted != self.referenced {
            self.referenced = wanted;
            self.io.sockets.set_referenced(wanted);
            self.timer.set_referenced(wanted);
        }
    }
}

/// The error of calls on a pool that was ended because of a defect.
pub fn poisoned() -> Error {
    Error::new(ErrorClass::Internal, "HYPERION_INTERNAL", "a defect has ended this pool")
}

// These tests need Unix sockets, because their connects end at once.
#[cfg(test)]
#[cfg(unix)]
mod tests;
