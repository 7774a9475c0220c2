//! Floor 4: the pool over all hosts.
//!
//! Owns: the connections and what each is there for, the one waiting line, pipelining, what is sent
//! again, transactions' connections. Imports the floors below. Never does I/O, never reads a clock.
//!
//! A call waits in line, is placed on a connection, and is settled by its ReadyForQuery, by a lost
//! connection, or by its deadline, whichever is first; nothing else ends it.

mod abandoned;
mod answers;
#[cfg(feature = "sim")]
mod audit;
mod balance;
mod cancel;
mod connections;
mod crowd;
mod demand;
mod discovery;
mod dispatch;
mod doors;
mod end;
mod failures;
mod hosts;
mod leases;
mod leasing;
mod life;
mod loss;
mod outcome;
mod overtaking;
mod placement;
mod realm;
mod requests;
mod rollback;
mod sending;
mod settle;
mod stale;
mod typing;
mod unanswered;
mod unfit;
mod untyped;
mod upkeep;
mod values;
mod verdict;
mod worth;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use connections::Connections;
pub use connections::{ConnectionId, Slot};
use discovery::{Context, Demand, Discovery};
pub use doors::{
    Ages, Awaited, Barrier, HostStatus, Output, PoolEvent, Query, QueryFlags, Response, Status,
};
pub use end::EndOptions;
use leases::Leases;
use life::Life;
use overtaking::Overtaking;
use placement::BARRIER_AND_ONE;
pub(crate) use requests::Call;
use requests::Requests;
use upkeep::Ready;

use crate::base::{Error, Instant};
use crate::config::Config;
use crate::connection::{Input, Shared, Statement, StatementId, Statements};
use crate::protocol::scram::KeyCache;
use crate::types::{Catalog, Verbatim};

/// A pool. Drive it by its commands, `handle_input` and `handle_timeout`, call `flush` at the end
/// of the turn, then drain `poll_output`.
#[derive(Debug)]
pub struct Pool {
    config: Arc<Config>,
    connections: Connections,
    requests: Requests,
    overtaking: Overtaking,
    leases: Leases,
    /// Those who wait until the pool is warm, first come first.
    ready: VecDeque<Ready>,
    statements: Statements,
    keys: KeyCache,
    life: Life,
    discovery: Discovery,
    /// Of types that users made, and where they are that.
    catalog: Catalog,
    home: realm::Home,
    untyped: Vec<untyped::Untyped>,
    /// Reads whose connections were lost while they waited for types.
    unread: Vec<untyped::Read>,
    /// A host has refused, or was lost, since the last flush.
    may_be_hopeless: bool,
    /// Scratch, empty between uses.
    candidates: Vec<balance::Candidate>,
    outputs: VecDeque<Output>,
}

impl Pool {
    /// `seed` is for jitter, and for the choice among hosts.
    pub fn new(config: Arc<Config>, seed: u64, now: Instant) -> Self {
        Self {
            connections: Connections::default(),
            requests: Requests::default(),
            overtaking: Overtaking::new(now),
            leases: Leases::default(),
            ready: VecDeque::new(),
            statements: Statements::default(),
            keys: KeyCache::default(),
            life: Life::Open,
            discovery: Discovery::new(&config, seed, now),
            catalog: Catalog::default(),
            home: realm::Home::default(),
            untyped: Vec::new(),
            unread: Vec::new(),
            may_be_hopeless: false,
            candidates: Vec::new(),
            outputs: VecDeque::new(),
            config,
        }
    }

    pub fn statement(&mut self, sql: &str) -> StatementId {
        self.statements.insert(sql)
    }

    /// A statement some of whose types come as their text.
    pub fn statement_verbatim(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        self.statements.insert_verbatim(sql, verbatim)
    }

    /// The statement's number won't be used again by the caller.
    pub fn forget(&mut self, statement: StatementId) {
        self.statements.forget(statement);
    }

    /// The types of a statement's parameters, where a server has told them.
    pub fn parameter_types(&self, statement: StatementId) -> Option<&[u32]> {
        self.statements.parameter_types(statement)
    }

    pub fn query(&mut self, now: Instant, query: Query) {
        let Query { request, lease, statement, params, flags } = query;
        if lease.is_none()
            && let Err(error) = self.check_room()
        {
            return self.complete(request, Err(error));
        }
        if let Some(error) = self.refusal(statement, lease, flags) {
            return self.complete(request, Err(error));
        }
        if !self.statements.hold(statement) {
            return self.complete(request, Err(Error::internal("the statement is not known")));
        }
        let bound = self.bound_of(flags);
        let flags = if bound.is_some() { flags.with(QueryFlags::CANCELLABLE) } else { flags };
        let call = Call::new(request, flags, now + self.config.acquire_timeout);
        let key = self.requests.insert(Call { lease, statement: Some(statement), params, ..call });
        if flags.has(QueryFlags::CANCELLABLE) {
            self.requests.watches.insert(request, key);
            self.requests.watches.limit(now, request, bound);
        }
        match lease {
            Some(lease) => self.run_leased(now, key, lease),
            None => self.requests.enqueue(key),
        }
        self.follow_up(now);
    }

    /// Gives a lease back. Its connection serves again if it is at rest. `destroy` closes it in any
    /// case, and fails the calls that run on it.
    pub fn release(&mut self, now: Instant, lease: NonZeroU32, destroy: bool) {
        match destroy {
            true => self.destroy_lease(lease),
            false => self.end_lease(now, lease),
        }
        self.follow_up(now);
    }

    /// The caller of a request that was made with [`QueryFlags::CANCELLABLE`] does not want its
    /// answer any more.
    pub fn cancel(&mut self, now: Instant, request: u32) {
        self.cancel_request(now, request);
        self.follow_up(now);
    }

    /// The user of a lease gives up all calls that run there or wait to run.
    pub fn cancel_lease(&mut self, now: Instant, lease: NonZeroU32) {
        self.cancel_all_of(now, lease);
        self.follow_up(now);
    }

    /// The connection of a CancelRequest has ended: `reached` where the server closed it.
    pub fn cancel_ended(&mut self, now: Instant, id: ConnectionId, reached: bool) {
        self.end_cancel(now, id, reached);
        self.follow_up(now);
    }

    /// The connection has reached this address; `Input::Connected` follows. Its look-up gave these
    /// others as well, which have not failed so far.
    pub fn reached(&mut self, id: ConnectionId, address: SocketAddr, others: Vec<SocketAddr>) {
        self.discover(|discovery, cx| discovery.reached(id, address, others, cx));
    }

    /// Whether connections are wanted, by calls or by the options.
    pub fn wants_connections(&mut self) -> bool {
        self.discover(|discovery, cx| discovery.wants_connections(cx))
    }

    pub fn handle_input(&mut self, now: Instant, id: ConnectionId, input: Input<'_>) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.heard_at = now;
            if matches!(input, Input::Received(_)) {
                self.discovery.heard(slot.site());
            }
            let mut shared = Shared {
                config: &self.config,
                statements: &mut self.statements,
                keys: &mut self.keys,
            };
            slot.connection.handle_input(now, input, &mut shared);
            if let Some(round_trip) = slot.connection.take_round_trip() {
                self.discovery.cluster.measured(now, slot.host, round_trip);
            }
            self.drain(now, id);
            self.discover(|discovery, cx| discovery.end_backlog(cx));
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |slot: &Slot| slot.connection.poll_timeout().is_some_and(|(at, _)| at <= now);
        let ids = self.connections.those_apart(due);
        let deriving = self.connections.next_to_derive(now);
        for id in ids {
            if let Some(slot) = self.connections.get_mut(id) {
                if slot.connection.derivation_left(now).is_some() && deriving != Some(id) {
                    continue;
                }
                let mut shared = Shared {
                    config: &self.config,
                    statements: &mut self.statements,
                    keys: &mut self.keys,
                };
                slot.connection.handle_timeout(now, &mut shared);
                self.drain(now, id);
            }
        }
        self.discover(|discovery, cx| discovery.ask_scouts(now, cx));
        self.release_overdue(now);
        self.reclaim_idle(now);
        self.discover(|discovery, cx| discovery.watch(now, cx));
        self.follow_up(now);
        // A connection that became free while the loop was blocked serves a call whose deadline
        // passed in that time.
        self.dispatch(now);
        self.expire_waiting(now);
        self.handle_cancel_timeouts(now);
        self.follow_up(now);
        self.handle_upkeep_timeout(now);
        self.handle_end_timeout(now);
        self.follow_up(now);
    }

    /// The turn's end: serves the waiting line, looks for hosts, closes what is no longer needed.
    pub fn flush(&mut self, now: Instant) {
        self.discover(|discovery, cx| discovery.decide_rivals(now, cx));
        self.discover(|discovery, cx| discovery.leave_deposed(cx));
        self.follow_up(now);
        self.discover(|discovery, cx| discovery.shed(cx));
        self.discover(|discovery, cx| discovery.relieve(cx));
        self.read_unread(now);
        self.end_hopeless_waits();
        self.dispatch(now);
        self.tend_forsaken(now);
        self.discover(|discovery, cx| discovery.watch_rewind(now, cx));
        self.follow_up(now);
        self.discover(|discovery, cx| discovery.search(now, cx));
        self.settle_ready();
        self.follow_up(now);
        self.finish_ending();
        self.follow_up(now);
        self.discovery.flushed(now);
    }

    /// Has discovery do something with the connections.
    fn discover<T>(&mut self, act: impl FnOnce(&mut Discovery, &mut Context<'_>) -> T) -> T {
        let demand = Demand {
            is_open: matches!(self.life, Life::Open),
            has_ended: matches!(self.life, Life::Ended),
            calls: self.requests.len(),
            waiting: self.requests.waiting.len(),
            stranded: self.overtaking.stranded(),
            is_awaited: !self.ready.is_empty(),
            knows_types: !self.catalog.is_empty(),
        };
        let connections = &mut self.connections;
        act(&mut self.discovery, &mut Context { connections, config: &self.config, demand })
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        let event = self.discovery.poll_event().map(Output::Event);
        event.or_else(|| self.outputs.pop_front()).or_else(|| self.connections.poll_output())
    }

    pub fn poll_timeout(&mut self) -> Option<(Instant, &'static str)> {
        if self.has_ended() {
            return None;
        }
        let connections = self.connections.apart();
        let connections = connections.filter_map(|(_, slot)| slot.connection.poll_timeout());
        let connections = connections.min_by_key(|(at, _)| *at);
        let cancelling = self.connections.cancelling();
        let cancelling = cancelling.filter_map(|(_, slot)| slot.cancel_deadline()).min();
        let all = [
            connections,
            self.requests.waiting.deadline().map(|at| (at, "acquire timeout")),
            cancelling.map(|at| (at, "cancel")),
            self.discover(|discovery, cx| discovery.search_timeout(cx)),
            self.types_timeout(),
            self.discover(|discovery, cx| discovery.liveness_timeout(cx)),
            self.discovery.rewind_timeout(),
            self.reclaim_timeout(),
            self.requests.watches.deadline(),
            self.overtaking_timeout(),
            self.upkeep_timeout(),
            self.end_timeout(),
        ];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Whether all that waits is for servers to answer, so that a while makes no difference.
    pub fn is_at_ease(&self) -> bool {
        self.requests.waiting.is_empty() && self.discovery.cluster.topology().is_served()
    }

    /// How many more bytes of rows will come there at least, if the answer is like earlier answers
    /// of the same statement. A guess.
    pub fn expected_rest(&self, id: ConnectionId) -> usize {
        self.arriving(id).map_or(0, |(of, held)| of.habit.expected_size().saturating_sub(held))
    }

    /// Whether what comes there next, if anything does, begins an answer to more than a bare Sync.
    pub fn is_between_answers(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|slot| slot.connection.is_between_answers())
    }

    /// Whether a server has something to answer there.
    pub fn waits_for(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|slot| slot.connection.depth() > 0)
    }

    /// Which answers are worth hearing together on a connection to which all was written. The pool
    /// goes by earlier answers of the same statement. It tells of rows only where those answers
    /// came within such a time.
    pub fn awaited(&mut self, id: ConnectionId, within: Duration) -> Awaited {
        let mut together = self.heard_together(id);
        let Some(connection) = self.connections.get_mut(id).map(|slot| &mut slot.connection) else {
            return Awaited::default();
        };
        let Some((statement, held)) = connection.arriving() else { return Awaited::default() };
        let Some(statement) = self.statements.get_mut(statement) else { return Awaited::default() };
        let habit = &mut statement.habit;
        let is_alone = connection.depth() <= BARRIER_AND_ONE;
        let barrier = connection.begins_with_barrier().then(|| {
            // How long the first answer of a run took decides how the next run is heard: as it
            // comes, or with many others.
            let waits = together > 0 || (is_alone && habit.waits_for_answer());
            match waits && connection.hear_together() {
                true => Barrier::HeardWithRequest,
                false => {
                    together = 0;
                    Barrier::HeardAlone
                }
            }
        });
        let comes = is_alone && habit.is_quick(within);
        let rows = if comes { habit.expected_size().saturating_sub(held) } else { 0 };
        Awaited { rows, together, barrier }
    }

    fn arriving(&self, id: ConnectionId) -> Option<(&Statement, usize)> {
        let (statement, held) = self.connections.get(id)?.connection.arriving()?;
        Some((self.statements.get(statement)?, held))
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
