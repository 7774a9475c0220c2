//! The reactor: one pool, its sockets, and one turn of the loop.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::alarm::Alarm;
use super::clock::Clock;
use super::closed_window::Windows;
use super::io::{Io, News, SystemCalls};
use super::libuv::{Loop, Wake};
use super::links::Links;
use super::system_error::Unreached;
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::config::{self, Config};
use crate::connection::StatementId;
use crate::pool::{EndOptions, HostStatus, Pool, Query, QueryFlags, Status};
use crate::types::{Params, Verbatim};

/// Drive it by its commands and [`Self::turn`], call [`Self::flush`] after the last command, then
/// drain [`Self::next_news`].
pub struct Reactor {
    clock: Clock,
    io: Io,
    /// Deadlines were due while sockets still held unread bytes: they have waited once.
    grace_given: bool,
    /// What is left of the turn is done when its news has been heard ([`Self::rest`]).
    unfinished: bool,
    /// The first deadline, as of the last turn's end.
    due_at: Option<Instant>,
    alarm: Alarm,
    referenced: bool,
    /// Floor 6 took news that it has not handed on yet, a part of a large result for example.
    undelivered: bool,
    poisoned: bool,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("pool", &self.io.pool).finish_non_exhaustive()
    }
}

impl Reactor {
    pub fn new(config: Config) -> io::Result<Self> {
        let clock = Clock::new();
        let links = Links::new(&config)?;
        let seed = getrandom::u64().map_err(io::Error::other)?;
        let windows = Windows::new(config.tcp_user_timeout);
        let pool = Pool::new(Arc::new(config), seed, clock.now());
        Ok(Self {
            clock,
            io: Io::new(pool, links, windows),
            grace_given: false,
            unfinished: false,
            due_at: None,
            alarm: Alarm::default(),
            referenced: false,
            undelivered: false,
            poisoned: false,
        })
    }

    /// Lets a loop wake it. The handles are closed when the reactor is dropped.
    pub fn attach(&mut self, uv_loop: Loop, wake: &Wake, calls: SystemCalls) -> io::Result<()> {
        self.io.attach(uv_loop, wake, calls)?;
        self.alarm.attach(uv_loop, wake)?;
        // A pool that is to be warm begins at once.
        self.alarm.set(self.clock.now(), None, self.io.pool.wants_connections());
        Ok(())
    }

    pub fn statement(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        self.io.pool.statement_verbatim(sql, verbatim)
    }

    pub fn forget(&mut self, statement: StatementId) {
        self.io.pool.forget(statement);
    }

    /// Of a statement's parameters, where a server has told them.
    pub fn parameter_types(&self, statement: StatementId) -> Option<&[u32]> {
        self.io.pool.parameter_types(statement)
    }

    /// The values of a request whose types were told.
    pub fn supply(&mut self, request: u32, params: Params) {
        self.io.pool.supply(self.clock.now(), request, params);
    }

    pub fn query(&mut self, query: Query) {
        self.io.pool.query(self.clock.now(), query);
    }

    pub fn acquire(&mut self, request: u32, flags: QueryFlags) {
        self.io.pool.acquire(self.clock.now(), request, flags);
    }

    /// Bounds a request from now on; `None` lifts the bound that the pool's options set.
    pub fn limit(&mut self, request: u32, after: Option<Duration>) {
        self.io.pool.limit(self.clock.now(), request, after);
    }

    /// The request's caller does not want the answer any more. One that has come already is an
    /// answer all the same, also where it still lies in the kernel's buffer.
    pub fn cancel(&mut self, request: u32) {
        let now = self.catch_up(true);
        self.io.pool.cancel(now, request);
        self.flush();
    }

    /// The same for all that runs on a lease or waits there.
    pub fn cancel_lease(&mut self, lease: NonZeroU32) {
        let now = self.catch_up(true);
        self.io.pool.cancel_lease(now, lease);
        self.flush();
    }

    /// Takes what has come meanwhile, down to the last byte where a deadline is due or `wholly`
    /// says so.
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

    /// The name of the host that a lease's connection is to.
    pub fn lease_host(&self, lease: NonZeroU32) -> Option<&str> {
        self.io.pool.lease_host(lease).map(|host| &*host.name)
    }

    /// Whether a lease still has a connection, or a claim to another one.
    pub fn lease_is_alive(&self, lease: NonZeroU32) -> bool {
        self.io.pool.lease_is_alive(lease)
    }

    /// Whether a lease's user has begun a transaction there by a statement.
    pub fn lease_is_in_own_transaction(&self, lease: NonZeroU32) -> bool {
        self.io.pool.lease_is_in_own_transaction(lease)
    }

    /// Answers when the pool is warm.
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

    pub fn cluster(&self) -> Vec<HostStatus> {
        self.io.pool.cluster(self.clock.now())
    }

    /// Takes another list of hosts, in the forms of the option `hosts`.
    pub fn set_hosts(&mut self, hosts: &serde_json::Value) -> Result<(), Error> {
        let hosts = config::hosts_from_json(hosts, self.io.pool.default_port())?;
        self.io.pool.set_hosts(self.clock.now(), hosts)?;
        self.flush();
        Ok(())
    }

    /// The answer to a [`Lookup`](super::Lookup).
    pub fn resolved(&mut self, token: u32, answer: Result<Vec<IpAddr>, Unreached>) {
        self.io.links.resolved(self.clock.now(), token, answer);
        self.flush();
    }

    /// There is nothing left to do: after [`Self::end`], or after a defect, when all news has been
    /// taken.
    pub fn has_ended(&self) -> bool {
        self.io.news.is_empty() && (self.poisoned || self.io.pool.has_ended())
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    pub fn has_news(&self) -> bool {
        !self.io.news.is_empty()
    }

    pub fn next_news(&mut self) -> Option<News> {
        self.io.news.pop_front()
    }

    /// Asks to be woken in the loop's next turn, for the sake of what could not be handed on in
    /// this one.
    pub fn wake_soon(&mut self) {
        let now = self.clock.now();
        if self.unfinished {
            self.finish(now);
        }
        self.set_alarm(now, true);
        self.undelivered = true;
        self.set_referenced();
    }

    /// What is queued now is sent by [`Self::rest`], where that is called before the loop goes on;
    /// should a loop run inside of the one that waits for that, by its first turn.
    pub fn flush_by_rest(&mut self) {
        if !self.poisoned {
            self.unfinished = true;
            self.alarm.start_soon();
        }
    }

    /// All news has been handed on: from now on the pool alone says whether the process must live.
    pub fn rest(&mut self) {
        self.undelivered = false;
        if self.unfinished {
            self.finish(self.clock.now());
        } else {
            self.set_referenced();
        }
    }

    /// Sends what was queued since the last turn: called once for all commands of a turn of the
    /// loop.
    pub fn flush(&mut self) {
        if !self.poisoned {
            self.finish(self.clock.now());
        }
    }

    /// Does what has become possible since the last turn, within bounds, and never waits. What
    /// callers ask for when they hear the news most often belongs to the same flight: the turn ends
    /// behind that, in [`Self::rest`], unless there is something to do at once.
    pub fn turn(&mut self) {
        if self.poisoned {
            // The idle handle that brought the last news here has done its work.
            return self.alarm.set(self.clock.now(), None, false);
        }
        let now = self.catch_up(false);
        self.handle_deadlines(now);
        self.io.carry(now);
        self.unfinished = self.has_news() && !self.io.has_work() && self.io.pool.is_at_ease();
        if !self.unfinished {
            self.finish(now);
        }
    }

    /// Gives everything up after a panic. The pool is never asked again: nobody knows what it
    /// holds.
    pub fn poison(&mut self) {
        self.poisoned = true;
        self.unfinished = false;
        self.io.close_all();
        let message =
            "a defect in hyperiondb-client ended this pool; what was in flight may have run";
        let error = Error::internal(message).with_outcome(Outcome::Unknown);
        self.io.news.push_back(News::Poisoned(error));
        self.alarm.set(self.clock.now(), None, true);
        self.set_referenced();
    }

    /// Deadlines come after the sockets were read: the answer that lay in the kernel's buffer while
    /// the loop was blocked wins over a deadline that passed meanwhile. Where a turn's budget was
    /// not enough to read all, deadlines wait for the next turn, once.
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

    /// The turn's end: the waiting line is served, what is to be sent is sent, the alarm is set.
    fn finish(&mut self, now: Instant) {
        self.unfinished = false;
        self.io.carry(now);
        self.io.pool.flush(now);
        // An attempt that the kernel refuses at once: what follows from that has its own turn, and
        // no deadline.
        let has_heard = self.io.carry(now);
        self.io.write(now);
        let soon = has_heard || self.io.has_work();
        self.set_alarm(now, soon);
        self.set_referenced();
    }

    fn set_alarm(&mut self, now: Instant, soon: bool) {
        self.due_at = self.deadline();
        self.alarm.set(now, self.due_at, soon);
    }

    fn deadline(&mut self) -> Option<Instant> {
        if self.poisoned {
            return None;
        }
        self.io.deadline()
    }

    /// The process must not end by itself while somebody waits for something.
    fn set_referenced(&mut self) {
        let wanted = self.undelivered
            || !self.io.news.is_empty()
            || (!self.poisoned && self.io.pool.keeps_loop_alive());
        if wanted != self.referenced {
            self.referenced = wanted;
            self.io.links.set_referenced(wanted);
            self.alarm.set_referenced(wanted);
        }
    }
}

/// The error of calls on a pool that a defect has ended.
pub fn poisoned() -> Error {
    Error::new(ErrorClass::Internal, "HYPERION_INTERNAL", "a defect has ended this pool")
}

// They need Unix sockets, whose connects end at once.
#[cfg(test)]
#[cfg(unix)]
mod tests;
