//! The reactor: one pool, its sockets, and one turn of the loop.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::alarm::Alarm;
use super::clock::Clock;
use super::closed_window::{TcpCalls, Windows};
use super::libuv::Loop;
use super::links::{Links, Lookup, Opened, Ready, Stream, Token};
use super::low_water::{LowWater, SetLowWater, is_low};
use super::socket::PrepareSocket;
use super::system_error::Unreached;
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::config::{self, Config};
use crate::connection::{Input, Peer, StatementId};
use crate::pool::{
    EndOptions, HostStatus, Output, Pool, PoolEvent, Query, QueryFlags, Response, Status,
};
use crate::types::{Params, Verbatim};

/// What libuv calls: it must turn the reactor and hand its news on, and must not panic.
pub type Wake = Rc<dyn Fn()>;

/// Calls to the system for which socket2 has none: each is missing where the system is not known to
/// have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemCalls {
    pub low_water: Option<SetLowWater>,
    pub tcp: Option<TcpCalls>,
    pub prepare: Option<PrepareSocket>,
}

/// What the reactor has to say to floor 6.
#[derive(Debug)]
pub enum News {
    Completed {
        request: u32,
        result: Result<Response, Error>,
    },
    Types {
        request: u32,
        oids: Vec<u32>,
    },
    Event(PoolEvent),
    Lookup(Lookup),
    /// A defect was found in the middle of some work: this reactor does nothing more, and every
    /// request that it still owes an answer has failed.
    Poisoned(Error),
}

/// Drive it by its commands and [`Self::turn`], call [`Self::flush`] after the last command, then
/// drain [`Self::next_news`].
pub struct Reactor {
    pub(super) clock: Clock,
    pub(super) pool: Pool,
    pub(super) links: Links,
    /// Sockets that may hold bytes which were not read: nobody will say again that they are
    /// readable.
    pub(super) unread: VecDeque<Token>,
    /// Sockets whose connections have bytes to write.
    pub(super) unwritten: VecDeque<Token>,
    /// All sockets are read into this one buffer, because the pool keeps what it needs.
    pub(super) buffer: Box<[u8]>,
    pub(super) low_water: LowWater,
    pub(super) windows: Windows,
    ready: Vec<Ready>,
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
    news: VecDeque<News>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// One read takes at most this much, and most servers' answers fit.
const BUFFER: usize = 64 * 1024;

impl Reactor {
    pub fn new(config: Config) -> io::Result<Self> {
        let clock = Clock::new();
        let links = Links::new(&config)?;
        let seed = getrandom::u64().map_err(io::Error::other)?;
        let windows = Windows::new(config.tcp_user_timeout);
        let pool = Pool::new(Arc::new(config), seed, clock.now());
        Ok(Self {
            clock,
            pool,
            links,
            unread: VecDeque::new(),
            unwritten: VecDeque::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            low_water: LowWater::default(),
            windows,
            ready: Vec::new(),
            grace_given: false,
            unfinished: false,
            due_at: None,
            alarm: Alarm::default(),
            referenced: false,
            undelivered: false,
            poisoned: false,
            news: VecDeque::new(),
        })
    }

    /// Lets a loop wake it. The handles are closed when the reactor is dropped.
    pub fn attach(&mut self, uv_loop: Loop, wake: &Wake, calls: SystemCalls) -> io::Result<()> {
        self.low_water.attach(calls.low_water);
        self.windows.tcp = calls.tcp;
        self.links.attach(uv_loop, wake, calls.prepare)?;
        self.alarm.attach(uv_loop, wake)?;
        // A pool that is to be warm begins at once.
        self.alarm.set(self.clock.now(), None, self.pool.wants_connections());
        Ok(())
    }

    pub fn statement(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        self.pool.statement_verbatim(sql, verbatim)
    }

    pub fn forget(&mut self, statement: StatementId) {
        self.pool.forget(statement);
    }

    /// Of a statement's parameters, where a server has told them.
    pub fn parameter_types(&self, statement: StatementId) -> Option<&[u32]> {
        self.pool.parameter_types(statement)
    }

    /// The values of a request whose types were told.
    pub fn supply(&mut self, request: u32, params: Params) {
        self.pool.supply(self.clock.now(), request, params);
    }

    pub fn query(&mut self, query: Query) {
        self.pool.query(self.clock.now(), query);
    }

    pub fn acquire(&mut self, request: u32, flags: QueryFlags) {
        self.pool.acquire(self.clock.now(), request, flags);
    }

    /// Bounds a request from now on; `None` lifts the bound that the pool's options set.
    pub fn limit(&mut self, request: u32, after: Option<Duration>) {
        self.pool.limit(self.clock.now(), request, after);
    }

    /// The request's caller does not want the answer any more. One that has come already is an
    /// answer all the same, also where it still lies in the kernel's buffer.
    pub fn cancel(&mut self, request: u32) {
        let now = self.catch_up(true);
        self.pool.cancel(now, request);
        self.flush();
    }

    /// The same for all that runs on a lease or waits there.
    pub fn cancel_lease(&mut self, lease: NonZeroU32) {
        let now = self.catch_up(true);
        self.pool.cancel_lease(now, lease);
        self.flush();
    }

    /// Takes what has come meanwhile, down to the last byte where a deadline is due or `wholly`
    /// says so.
    fn catch_up(&mut self, wholly: bool) -> Instant {
        let now = self.clock.now();
        let counts = wholly || self.due_at.is_some_and(|at| at <= now);
        if self.low_water.is_due(now) || (counts && self.low_water.holds_back()) {
            self.look_below_marks();
        }
        if wholly || !self.read_single_socket(now) {
            self.look(now);
            self.settle(now);
            self.read(now);
        }
        now
    }

    /// Where there is a single socket, most wakes are for an answer that came there: it is read
    /// without asking the selector. Returns whether there was something.
    fn read_single_socket(&mut self, now: Instant) -> bool {
        let Some(token) = self.links.single_socket() else { return false };
        let is_told = |stream: &mut Stream| is_low(stream.low_water) && !stream.blocked;
        if !self.links.stream(token).is_some_and(is_told) {
            return false;
        }
        self.list_unread(token, false);
        self.read(now)
    }

    pub fn release(&mut self, lease: NonZeroU32, destroy: bool) {
        self.pool.release(self.clock.now(), lease, destroy);
        self.flush();
    }

    /// The name of the host that a lease's connection is to.
    pub fn lease_host(&self, lease: NonZeroU32) -> Option<&str> {
        self.pool.lease_host(lease).map(|host| &*host.name)
    }

    /// Whether a lease still has a connection, or a claim to another one.
    pub fn lease_is_alive(&self, lease: NonZeroU32) -> bool {
        self.pool.lease_is_alive(lease)
    }

    /// Whether a lease's user has begun a transaction there by a statement.
    pub fn lease_is_in_own_transaction(&self, lease: NonZeroU32) -> bool {
        self.pool.lease_is_in_own_transaction(lease)
    }

    /// Answers when the pool is warm.
    pub fn ready(&mut self, request: u32) {
        self.pool.ready(self.clock.now(), request);
    }

    pub fn end(&mut self, request: u32, options: EndOptions) {
        self.pool.end(self.clock.now(), request, options);
        self.flush();
    }

    pub fn status(&self) -> Status {
        self.pool.status()
    }

    pub fn cluster(&self) -> Vec<HostStatus> {
        self.pool.cluster(self.clock.now())
    }

    /// Takes another list of hosts, in the forms of the option `hosts`.
    pub fn set_hosts(&mut self, hosts: &serde_json::Value) -> Result<(), Error> {
        let hosts = config::hosts_from_json(hosts, self.pool.default_port())?;
        self.pool.set_hosts(self.clock.now(), hosts)?;
        self.flush();
        Ok(())
    }

    /// The answer to a [`Lookup`].
    pub fn resolved(&mut self, token: u32, answer: Result<Vec<IpAddr>, Unreached>) {
        self.links.resolved(self.clock.now(), token, answer);
        self.flush();
    }

    /// There is nothing left to do: after [`Self::end`], or after a defect, when all news has been
    /// taken.
    pub fn has_ended(&self) -> bool {
        self.news.is_empty() && (self.poisoned || self.pool.has_ended())
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    pub fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
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
        self.settle(now);
        self.unfinished = self.has_news()
            && self.unread.is_empty()
            && self.unwritten.is_empty()
            && self.pool.is_at_ease();
        if !self.unfinished {
            self.finish(now);
        }
    }

    /// Gives everything up after a panic. The pool is never asked again: nobody knows what it
    /// holds.
    pub fn poison(&mut self) {
        self.poisoned = true;
        self.unfinished = false;
        let connections: Vec<_> = self.links.connections();
        connections.into_iter().for_each(|connection| self.links.close(connection, &[]));
        self.links.drop_errands();
        self.unread.clear();
        self.unwritten.clear();
        let message =
            "a defect in hyperiondb-client ended this pool; what was in flight may have run";
        let error = Error::internal(message).with_outcome(Outcome::Unknown);
        self.news.push_back(News::Poisoned(error));
        self.alarm.set(self.clock.now(), None, true);
        self.set_referenced();
    }

    /// Asks which sockets are ready.
    fn look(&mut self, now: Instant) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        // The selector's own descriptor can't fail but by a defect; then deadlines end what waits.
        let looked = self.links.collect(&mut ready);
        debug_assert!(looked.is_ok(), "{looked:?}");
        for event in &ready {
            if self.links.is_errand(event.token) {
                self.links.handle_errand(event.token);
                continue;
            }
            if self.links.is_runner(event.token) {
                self.links.handle_runner(now, event.token);
                // What it may have said already would not be told again.
                if self.links.is_open(event.token) {
                    self.list_unread(event.token, event.closed);
                }
                continue;
            }
            if event.writable {
                self.links.set_blocked(event.token, false);
                self.unwritten.push_back(event.token);
            }
            if event.readable || event.closed {
                self.list_unread(event.token, event.closed);
            }
        }
        self.ready = ready;
    }

    pub(super) fn list_unread(&mut self, token: Token, ending: bool) {
        if let Some(stream) = self.links.stream(token) {
            stream.ending |= ending;
            if !stream.listed {
                stream.listed = true;
                self.unread.push_back(token);
            }
        }
    }

    /// Carries messages between the pool and its sockets until both are silent. Returns whether the
    /// pool has heard of an attempt that is over, so that there may be more for it to do.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let mut has_heard = false;
        loop {
            while let Some(output) = self.pool.poll_output() {
                self.handle_output(now, output);
            }
            if let Some(errand) = self.links.next_errand() {
                has_heard = true;
                self.pool.cancel_ended(now, errand.connection, errand.reached);
            } else if let Some(opened) = self.links.next_opened() {
                has_heard |= matches!(opened, Opened::Failed { .. });
                self.handle_opened(now, opened);
            } else {
                break;
            }
        }
        while let Some(lookup) = self.links.next_lookup() {
            self.news.push_back(News::Lookup(lookup));
        }
        has_heard
    }

    fn handle_output(&mut self, now: Instant, output: Output) {
        match output {
            Output::Open { connection, host, address } => {
                self.links.open(now, connection, &host, address);
            }
            Output::Write { connection } => self.unwritten.extend(self.links.token(connection)),
            Output::Close { connection, farewell } => self.links.close(connection, &farewell),
            Output::Cancel { connection, packet } => {
                self.links.run_errand(now, connection, packet);
            }
            Output::Completed { request, result } => {
                self.news.push_back(News::Completed { request, result });
            }
            Output::Types { request, oids } => self.news.push_back(News::Types { request, oids }),
            Output::Event(event) => self.news.push_back(News::Event(event)),
        }
    }

    fn handle_opened(&mut self, now: Instant, opened: Opened) {
        let (connection, input) = match opened {
            Opened::Connected { connection, local } => {
                self.share_cores(connection);
                if let Some(address) = self.links.address(connection) {
                    self.pool.reached(connection, address);
                }
                let mut nonce = [0; 18];
                match getrandom::fill(&mut nonce) {
                    Ok(()) => (connection, Input::Connected(Peer { nonce, local })),
                    Err(error) => {
                        self.links.close(connection, &[]);
                        let why = format!("the system gives no random numbers: {error}");
                        (connection, Input::Closed { why })
                    }
                }
            }
            Opened::Failed { connection, unreached: Unreached { why, cause } } => {
                (connection, Input::Unreached { why, cause })
            }
        };
        self.pool.handle_input(now, connection, input);
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
        if !self.unread.is_empty() && !self.grace_given {
            self.grace_given = true;
            return;
        }
        self.grace_given = false;
        self.links.handle_timeout(now);
        self.look_at_windows(now);
        self.pool.handle_timeout(now);
    }

    /// The turn's end: the waiting line is served, what is to be sent is sent, the alarm is set.
    fn finish(&mut self, now: Instant) {
        self.unfinished = false;
        self.settle(now);
        self.pool.flush(now);
        // An attempt that the kernel refuses at once: what follows from that has its own turn, and
        // no deadline.
        let has_heard = self.settle(now);
        self.write(now);
        let soon = has_heard || !self.unread.is_empty() || !self.unwritten.is_empty();
        self.set_alarm(now, soon);
        self.set_referenced();
    }

    fn set_alarm(&mut self, now: Instant, soon: bool) {
        self.due_at = self.deadline();
        self.alarm.set(now, self.due_at, soon);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.poisoned {
            return None;
        }
        let pool = self.pool.poll_timeout().map(|(at, _)| at);
        let sockets = self.low_water.deadline().into_iter().chain(self.windows.deadline());
        pool.into_iter().chain(self.links.deadline()).chain(sockets).min()
    }

    /// The process must not end by itself while somebody waits for something.
    fn set_referenced(&mut self) {
        let wanted = self.undelivered
            || !self.news.is_empty()
            || (!self.poisoned && self.pool.keeps_loop_alive());
        if wanted != self.referenced {
            self.referenced = wanted;
            self.links.set_referenced(wanted);
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
