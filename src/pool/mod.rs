//! Floor 4: the pool over all hosts.
//!
//! [`Pool`] coordinates its components, and owns nothing else:
//!
//! - `Connections`: the connections, what each is there for, and what its socket is to do.
//! - `Discovery`: which hosts serve, and which connections are opened and closed for that.
//! - `Calls`: what callers ask, from a call's arrival to its answer, with the leases, the
//!   statements and the known types.
//! - `Metrics`: what was done so far, in numbers.
//! - `Life`: whether the pool is open, is being ended, or is no more.
//!
//! Each of them calls those above it in this list alone. `verdict`, `worth`, `loss` and `stale`
//! decide from facts, without a pool, and `placement` chooses the connection of a call. Imports the
//! floors below. Never does I/O, never reads a clock.
//!
//! A call waits in line, is placed on a connection, and is settled by its ReadyForQuery, by a lost
//! connection, or by its deadline, whichever is first; nothing else ends it.

mod api;
mod calls;
mod connections;
mod discovery;
mod leases;
mod life;
mod loss;
mod metrics;
mod placement;
mod requests;
mod stale;
mod type_lookup;
mod verdict;
mod worth;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

pub use api::{
    Ages, Awaited, Barrier, CloseReason, HostStatus, Output, PoolEvent, Query, QueryFlags,
    Response, Status,
};
use calls::Calls;
use connections::Connections;
pub use connections::{ConnectionId, Slot};
use discovery::Discovery;
use leases::{Lease, nothing};
pub use life::EndOptions;
use life::{End, Life};
use metrics::Metrics;
pub use metrics::{BOUNDS_US, Closed, Counters, Durations, HostSnapshot, Snapshot};
pub(crate) use requests::Call;
pub use requests::Trace;
use requests::closed_pool;

use crate::base::{Error, Instant};
use crate::config::{Config, Host, Secret};
use crate::connection::{Input, StatementId};
use crate::types::{Params, Verbatim};

/// A pool. Drive it by its commands, [`handle_input`](Self::handle_input) and
/// [`handle_timeout`](Self::handle_timeout), call [`flush`](Self::flush) at the end of the turn,
/// then drain [`poll_output`](Self::poll_output), and come back at
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Pool {
    config: Arc<Config>,
    connections: Connections,
    discovery: Discovery,
    calls: Calls,
    life: Life,
    metrics: Metrics,
}

/// Creating a pool, and the requests of callers.
impl Pool {
    /// `seed` is for jitter, and for the choice among hosts.
    pub fn new(config: Arc<Config>, seed: u64, now: Instant) -> Self {
        Self {
            connections: Connections::default(),
            discovery: Discovery::new(&config, seed, now),
            calls: Calls::new(now),
            life: Life::Open,
            metrics: Metrics::default(),
            config,
        }
    }

    pub fn statement(&mut self, sql: &str) -> StatementId {
        self.calls.statements.insert(sql)
    }

    /// A statement with some types whose values come as text.
    pub fn statement_verbatim(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        self.calls.statements.insert_verbatim(sql, verbatim)
    }

    /// The caller won't use the statement's number again.
    pub fn forget(&mut self, statement: StatementId) {
        self.calls.statements.forget(statement);
    }

    /// The types of a statement's parameters, if a server has described them.
    pub fn parameter_types(&self, statement: StatementId) -> Option<&[u32]> {
        self.calls.statements.parameter_types(statement)
    }

    pub fn query(&mut self, now: Instant, query: Query) {
        self.call(now, |calls, cx| calls.query(now, query, cx));
    }

    /// The values of a request, for the parameter types that its caller was given.
    pub fn supply(&mut self, now: Instant, request: u32, params: Params) {
        self.call(now, |calls, cx| calls.supply(now, request, params, cx));
    }

    /// Takes a connection for one caller. `TRANSACTION` says that it is for a single transaction.
    /// The answer names the lease.
    pub fn acquire(&mut self, now: Instant, request: u32, flags: QueryFlags) {
        self.call(now, |calls, cx| calls.acquire(now, request, flags, cx));
    }

    /// Releases a lease. Its connection serves again if its session is in a clean state. `destroy`
    /// closes it in any case, and fails the calls that run on it.
    pub fn release(&mut self, now: Instant, lease: NonZeroU32, destroy: bool) {
        self.call(now, |calls, cx| match destroy {
            true => calls.destroy_lease(lease, cx),
            false => calls.end_lease(now, lease, cx),
        });
    }

    /// Limits a request that was made with [`QueryFlags::CANCELLABLE`], from now to its answer.
    /// `None` removes the limit that the pool's options have set.
    pub fn limit(&mut self, now: Instant, request: u32, after: Option<Duration>) {
        self.calls.requests.watches.limit(now, request, after);
    }

    /// The caller of a request that was made with [`QueryFlags::CANCELLABLE`] no longer wants its
    /// answer.
    pub fn cancel(&mut self, now: Instant, request: u32) {
        self.call(now, |calls, cx| calls.cancel_request(now, request, cx));
    }

    /// The caller of a lease gives up all calls that run on it or wait for it.
    pub fn cancel_lease(&mut self, now: Instant, lease: NonZeroU32) {
        self.call(now, |calls, cx| calls.cancel_all_of(now, lease, cx));
    }

    /// Answers the request once a host serves and `minIdle` connections are open, or when
    /// `acquireTimeoutMs` have passed.
    pub fn ready(&mut self, now: Instant, request: u32) {
        match self.life.is_open() {
            true => self.call(now, |calls, cx| calls.ready(now, request, cx)),
            false => self.calls.complete(request, Err(closed_pool())),
        }
    }

    /// Accepts no new work from now on. `request` is answered when everything is done and closed.
    pub fn end(&mut self, now: Instant, request: u32, options: EndOptions) {
        match self.life.end(now, request, options.timeout) {
            End::Begins => {
                self.calls.refuse_ready(&closed_pool());
                if options.refuse_waiting {
                    self.calls.give_up_waiting(&closed_pool());
                }
            }
            End::IsUnderWay => {}
            End::IsOver => self.calls.complete(request, Ok(nothing())),
        }
    }

    /// Takes another list of hosts. Connections to hosts that are no longer in the list are closed:
    /// idle connections now, the others when their callers are done.
    pub fn set_hosts(&mut self, now: Instant, hosts: Vec<Host>) -> Result<(), Error> {
        if !self.life.is_open() {
            return Err(closed_pool());
        }
        self.call(now, |calls, cx| {
            let is_any_gone = calls.discover(cx, |it, cx| it.set_hosts(now, hosts, cx));
            // Another list may be another cluster, in which the same oids are other types.
            if is_any_gone {
                calls.forget_types();
            }
        });
        Ok(())
    }

    /// Lets `Calls` do something, and follows up on the consequences.
    fn call<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Calls, &mut calls::Context<'_>) -> T,
    ) -> T {
        let (calls, mut cx) = self.calls();
        let done = act(calls, &mut cx);
        calls.follow_up(now, &mut cx);
        done
    }

    fn calls(&mut self) -> (&mut Calls, calls::Context<'_>) {
        let Self { config, connections, discovery, calls, life, metrics } = self;
        (calls, calls::Context { connections, discovery, config, life, metrics })
    }
}

/// What drives the pool: sockets, time, and the end of the turn.
impl Pool {
    /// The connection has reached this address. `Input::Connected` follows. Its look-up also gave
    /// the `others`, which have not failed so far.
    pub fn reached(&mut self, id: ConnectionId, address: SocketAddr, others: Vec<SocketAddr>) {
        let (calls, mut cx) = self.calls();
        calls.discover(&mut cx, |it, cx| it.reached(id, address, others, cx));
    }

    /// The host of a connection, by its name for errors.
    pub fn host_of(&self, id: ConnectionId) -> Option<Arc<str>> {
        self.connections.host_name(id)
    }

    /// The password for a login that is about to begin.
    pub fn set_password(&mut self, id: ConnectionId, password: Secret) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.connection.set_password(Some(password));
        }
    }

    pub fn handle_input(&mut self, now: Instant, id: ConnectionId, input: Input<'_>) {
        let (calls, mut cx) = self.calls();
        calls.hear(now, id, input, &mut cx);
    }

    /// The connection of a CancelRequest has ended. `reached` is true if the server closed it.
    pub fn cancel_ended(&mut self, now: Instant, id: ConnectionId, reached: bool) {
        self.call(now, |calls, cx| calls.end_cancel(now, id, reached, cx));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let is_late = self.life.loses_patience(now);
        let (calls, mut cx) = self.calls();
        let cx = &mut cx;
        calls.drive(now, cx);
        calls.discover(cx, |it, cx| it.ask_scouts(now, cx));
        calls.release_overdue(now, cx);
        calls.end_pauses(now, cx);
        calls.reclaim_idle(now, cx);
        calls.discover(cx, |it, cx| it.watch(now, cx));
        calls.discover(cx, |it, cx| it.watch_silence(now, cx));
        cx.connections.drop_unreset(now, cx.config.liveness_check);
        calls.follow_up(now, cx);
        // A connection may have become free while the loop was blocked. It serves a call whose
        // deadline passed in that time.
        calls.dispatch(now, cx);
        calls.expire_waiting(now, cx);
        calls.handle_cancel_timeouts(now, cx);
        calls.follow_up(now, cx);
        calls.expire_ready(now, cx);
        calls.discover(cx, |it, cx| it.handle_lifetime_timeout(now, cx));
        if is_late {
            calls.give_up_all(now, cx);
        }
        calls.follow_up(now, cx);
    }

    /// The end of a turn: sends the queued calls, looks for hosts, and closes connections that are
    /// no longer needed.
    pub fn flush(&mut self, now: Instant) {
        let (calls, mut cx) = self.calls();
        let cx = &mut cx;
        calls.discover(cx, |it, cx| it.decide_rivals(now, cx));
        calls.discover(cx, |it, cx| it.leave_deposed(cx));
        calls.follow_up(now, cx);
        calls.discover(cx, |it, cx| it.trim(cx));
        calls.discover(cx, |it, cx| it.rebalance(cx));
        calls.read_unread(now, cx);
        calls.resettle_untyped(now, cx);
        calls.end_futile_waits(cx);
        calls.dispatch(now, cx);
        calls.tend_forsaken(now, cx);
        calls.discover(cx, |it, cx| it.watch_rewind(now, cx));
        calls.follow_up(now, cx);
        calls.discover(cx, |it, cx| it.search(now, cx));
        calls.settle_ready(cx);
        calls.follow_up(now, cx);
        self.finish_ending(now);
        let (calls, mut cx) = self.calls();
        calls.discover(&mut cx, |it, cx| it.observe_silence(now, cx));
        self.discovery.flushed(now);
    }

    fn finish_ending(&mut self, now: Instant) {
        if self.life.is_overdue() {
            self.call(now, |calls, cx| calls.reclaim_for_end(cx));
        }
        if self.life.is_ending() && self.calls.are_over() {
            self.call(now, |_, cx| {
                let all = cx.connections.all().into_iter();
                all.for_each(|id| cx.connections.retire_for(id, CloseReason::Ended));
            });
            for request in self.life.finish() {
                self.calls.complete(request, Ok(nothing()));
            }
        }
    }

    /// Events come first, then answers to callers, then the work for sockets.
    pub fn poll_output(&mut self) -> Option<Output> {
        let event = self.discovery.poll_event().map(Output::Event);
        let output = event
            .or_else(|| self.calls.poll_output())
            .or_else(|| self.connections.poll_output())?;
        self.metrics.observe(&output);
        Some(output)
    }

    /// When there is something to do next, and what.
    pub fn poll_timeout(&mut self) -> Option<(Instant, &'static str)> {
        if self.life.has_ended() {
            return None;
        }
        let end = self.life.deadline();
        let (calls, mut cx) = self.calls();
        let cx = &mut cx;
        let all = [
            cx.connections.next_timeout(),
            cx.connections.next_cancel(),
            cx.connections.next_unreset(cx.config.liveness_check),
            calls.discover(cx, |it, cx| it.search_timeout(cx)),
            calls.discover(cx, |it, cx| it.liveness_timeout(cx)),
            calls.discover(cx, |it, cx| it.silence_timeout(cx)),
            calls.discover(cx, |it, cx| it.lifetime_timeout(cx)),
            cx.discovery.rewind_timeout(),
            calls.requests.waiting.deadline().map(|at| (at, "acquire timeout")),
            calls.requests.watches.deadline(),
            calls.types_timeout(),
            calls.requests.pause_timeout(),
            calls.reclaim_timeout(cx),
            calls.overtaking_timeout(cx),
            calls.ready_timeout(),
            end,
        ];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub fn outgoing(&self, id: ConnectionId) -> &[u8] {
        self.connections.get(id).map_or(&[], |slot| slot.connection.outgoing())
    }

    /// The kernel took `count` bytes of [`Self::outgoing`].
    pub fn advance(&mut self, id: ConnectionId, count: usize) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.connection.advance(count);
            slot.writing = !slot.connection.outgoing().is_empty();
        }
    }
}

/// Questions of the reactor, whose answers decide when it reads and how long it waits.
impl Pool {
    /// Whether callers only wait for servers to answer, so that a short delay makes no difference.
    pub fn is_at_ease(&self) -> bool {
        self.calls.requests.waiting.is_empty() && self.discovery.cluster.topology().is_served()
    }

    /// Whether connections are wanted, by calls or by the options.
    pub fn wants_connections(&mut self) -> bool {
        let (calls, mut cx) = self.calls();
        calls.discover(&mut cx, |it, cx| it.wants_connections(cx))
    }

    /// Whether a caller waits for something, so that the process must not exit by itself.
    pub fn keeps_loop_alive(&self) -> bool {
        let is_held_open = !self.config.allow_exit_on_idle && !self.connections.is_empty();
        let is_awaited = self.calls.is_any_waiting_until_ready();
        !self.calls.are_over() || is_awaited || self.life.is_ending() || is_held_open
    }

    /// At least how many more bytes of rows will come on a connection: an estimate by earlier
    /// answers of the same statement.
    pub fn expected_rest(&self, id: ConnectionId) -> usize {
        self.calls.expected_rest(id, &self.connections)
    }

    /// Whether the next bytes begin an answer to more than a bare Sync.
    pub fn is_between_answers(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|slot| slot.connection.is_between_answers())
    }

    /// Whether the server owes an answer on the connection.
    pub fn waits_for(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|slot| slot.connection.depth() > 0)
    }

    /// Which answers are worth reading together on a connection on which everything was written.
    /// This is an estimate by earlier answers of the same statement. It counts rows only if those
    /// answers came within `within`.
    pub fn awaited(&mut self, id: ConnectionId, within: Duration) -> Awaited {
        let (calls, mut cx) = self.calls();
        calls.awaited(id, within, &mut cx)
    }

    /// How many bytes of the next answers are worth reading together, on a connection that is kept
    /// busy because as many follow soon. 0 if each answer is worth reading by itself. This is an
    /// estimate.
    pub fn heard_together(&self, id: ConnectionId) -> usize {
        self.calls.heard_together(id, &self.connections)
    }

    /// How many messages have come on the connection since the last call of this function that take
    /// much more work than their size suggests.
    pub fn take_laborious(&mut self, id: ConnectionId) -> usize {
        self.connections.get_mut(id).map_or(0, |slot| slot.connection.take_laborious())
    }

    /// The server of the connection shares `cores` cores with this process, and the loop can wait
    /// for several of its answers at once ([`Self::heard_together`]).
    pub fn shares_cores(&mut self, id: ConnectionId, cores: usize) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.shared_cores = Some(cores);
        }
    }

    /// Whether the pool has ended: all connections are closed after [`end`](Self::end).
    pub fn has_ended(&self) -> bool {
        self.life.has_ended()
    }
}

/// Questions of users.
impl Pool {
    pub fn status(&mut self) -> Status {
        let (size, available) = (self.connections.size(), self.connections.available());
        Status {
            max_size: self.config.pool_size,
            size,
            available,
            in_use: size - available,
            waiting: self.calls.requests.waiting.len(),
        }
    }

    /// The counters of [`Self::metrics`], without its percentiles.
    #[cfg(feature = "sim")]
    pub fn counters(&self) -> Counters {
        self.metrics.counters()
    }

    /// The cumulative counts of the pool.
    pub fn metrics(&self) -> Snapshot {
        let views = self.discovery.cluster.topology().views();
        self.metrics.read(views.into_iter().map(|(id, _)| id))
    }

    /// Each host at this moment, in the order of the list.
    pub fn cluster(&self, now: Instant) -> Vec<HostStatus> {
        self.discovery.hosts(now, &self.connections)
    }

    /// The host of a lease's connection, as long as it has one.
    pub fn lease_host(&self, lease: NonZeroU32) -> Option<&Host> {
        let connection = self.calls.leases.get(lease)?.connection()?;
        self.connections.get(connection).map(|slot| &*slot.target)
    }

    /// Whether the lease still has a connection, or is entitled to another one.
    pub fn lease_is_alive(&self, lease: NonZeroU32) -> bool {
        self.calls.leases.get(lease).is_some_and(Lease::is_alive)
    }

    /// Whether the session of a lease is in a transaction that the pool has not begun, and no
    /// request in flight can change that.
    pub fn lease_is_in_own_transaction(&self, lease: NonZeroU32) -> bool {
        self.calls.lease_is_in_own_transaction(lease, &self.connections)
    }

    /// The port of hosts that do not name one.
    pub fn default_port(&self) -> u16 {
        self.config.port
    }
}

/// Checks for the simulation.
#[cfg(feature = "sim")]
impl Pool {
    /// Checks the invariants, and says which of them is broken. Call it at the end of a turn.
    pub fn audit(&mut self, now: Instant) -> Result<(), String> {
        let (calls, mut cx) = self.calls();
        calls.audit(now, &mut cx)
    }

    /// How many sessions are logged in.
    pub fn sessions(&self) -> usize {
        self.connections.iter().filter(|(_, slot)| slot.joined_at.is_some()).count()
    }

    /// Whether the primary has shown its timeline, so that another host can prove a later one.
    pub fn is_primary_proved(&self) -> bool {
        let topology = self.discovery.cluster.topology();
        topology.primary().serving().is_some_and(|host| topology.timeline(host).is_some())
    }

    /// The requests that wait for a connection.
    pub fn in_line(&self) -> impl Iterator<Item = u32> {
        self.calls.in_line()
    }

    /// What is still kept of calls and leases when all of them are over, in addition to
    /// `remembered` statements.
    pub fn audit_rest(&self, remembered: usize) -> Result<(), String> {
        self.calls.audit_rest(remembered)
    }
}
