//! What callers ask: a call from its arrival to its answer.
//!
//! [`Calls`] owns the calls, the leases, the statements and what is known of types. A call waits in
//! line (`dispatch`) until `placement` has a connection for it, is sent there (`sending`, or
//! `leasing` where its caller has the connection to itself), and is settled (`hearing`, `settle`)
//! by its ReadyForQuery, by a lost connection, or by its deadline. Where hosts come into it, Calls
//! asks [`Discovery`]; discovery never asks back.

mod abandoned;
mod answers;
#[cfg(feature = "sim")]
mod audit;
mod awaited;
mod cancel;
mod dispatch;
mod end;
mod hearing;
mod late_values;
mod leasing;
mod outcome;
mod overtaking;
mod ready;
mod refusal;
mod rollback;
mod sending;
mod settle;
mod types;
mod unanswered;
mod waiting_for_types;

use std::collections::VecDeque;

use overtaking::Overtaking;
use ready::Ready;

use super::Output;
use super::connections::Connections;
use super::discovery::{self, Demand, Discovery};
use super::leases::Leases;
use super::life::Life;
use super::metrics::Metrics;
use super::placement::{Candidate, View};
use super::requests::{Requests, closed_pool, full_queue};
use super::type_lookup::TypeLookup;
use crate::base::{Error, Instant};
use crate::config::Config;
use crate::connection::Statements;
use crate::protocol::scram::KeyCache;

#[derive(Debug)]
pub(super) struct Calls {
    pub(super) requests: Requests,
    pub(super) leases: Leases,
    pub(super) statements: Statements,
    types: TypeLookup,
    overtaking: Overtaking,
    /// Those who wait until the pool is warm, first come first.
    ready: VecDeque<Ready>,
    keys: KeyCache,
    /// Scratch, empty between uses.
    candidates: Vec<Candidate>,
    outputs: VecDeque<Output>,
}

/// What calls are sent on, and by which rules.
pub(super) struct Context<'a> {
    pub(super) connections: &'a mut Connections,
    pub(super) discovery: &'a mut Discovery,
    pub(super) config: &'a Config,
    pub(super) life: &'a Life,
    pub(super) metrics: &'a mut Metrics,
}

impl Calls {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests: Requests::default(),
            leases: Leases::default(),
            statements: Statements::default(),
            types: TypeLookup::default(),
            overtaking: Overtaking::new(now),
            ready: VecDeque::new(),
            keys: KeyCache::default(),
            candidates: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What callers are told, and what users are to hear of calls.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether nothing is asked that is to be answered, and no lease is out.
    pub(super) fn are_over(&self) -> bool {
        self.requests.is_empty()
            && !self.types.is_awaited(&self.requests)
            && !self.leases.is_any_alive()
    }

    pub(super) fn is_any_waiting_until_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Why a call is not taken, where it is not.
    pub(super) fn check_room(&self, cx: &Context<'_>) -> Result<(), Error> {
        if !cx.life.is_open() {
            return Err(closed_pool());
        }
        if self.requests.waiting.len() >= cx.config.max_queue {
            return Err(full_queue(cx.config.max_queue));
        }
        Ok(())
    }

    /// What the place of a call is chosen from.
    #[inline]
    fn view<'a>(&'a mut self, cx: &'a mut Context<'_>) -> View<'a> {
        View {
            connections: cx.connections,
            cluster: &mut cx.discovery.cluster,
            config: cx.config,
            requests: &self.requests,
            leases: &self.leases,
            statements: &self.statements,
            candidates: &mut self.candidates,
        }
    }

    /// When what waits for types waits no longer.
    pub(super) fn types_timeout(&self) -> Option<(Instant, &'static str)> {
        self.types.timeout()
    }

    /// Has discovery do something with the connections.
    pub(super) fn discover<T>(
        &self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Discovery, &mut discovery::Context<'_>) -> T,
    ) -> T {
        let demand = Demand {
            is_open: cx.life.is_open(),
            has_ended: cx.life.has_ended(),
            calls: self.requests.len(),
            waiting: self.requests.waiting.len(),
            stranded: self.overtaking.stranded(),
            is_awaited: !self.ready.is_empty(),
            knows_types: self.types.knows_any(),
        };
        let (connections, config) = (&mut *cx.connections, cx.config);
        act(cx.discovery, &mut discovery::Context { connections, config, demand })
    }
}
