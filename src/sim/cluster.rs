//! A pool over simulated hosts, in virtual time: bytes arrive one step after they were sent, and
//! deadlines fire when nothing else is left to do.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::driver::{Answer, Driver};
use super::messages::{dismissal, error, shut_down, too_many_clients};
use super::names::Names;
use super::server::Server;
use crate::base::Instant;
use crate::config::Config;
use crate::connection::{Role, StatementId};
use crate::pool::{ConnectionId, EndOptions, Pool, PoolEvent, Query, QueryFlags, Trace};
use crate::types::Params;

/// The time of one turn of the loop. The pool hears in a later turn what follows from this one.
pub const TURN: Duration = Duration::from_micros(1);

/// How a host treats connection attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Open,
    Refusing,
    /// An attempt is never answered.
    BlackHole,
    /// The host accepts and then stays silent.
    Silent,
    /// The host has no room for another session.
    Full,
    /// The host no longer lets the pool's role log in.
    Denying,
}

#[derive(Debug)]
pub struct Host {
    pub server: Server,
    pub reach: Reach,
    /// How much time passes while an answer of the host is on the way. Nothing else happens
    /// meanwhile.
    pub round_trip: Duration,
    /// The host's kernel accepts connections and bytes, but no process reads them.
    frozen: bool,
}

#[derive(Debug)]
pub struct World {
    pub now: Instant,
    pub pool: Pool,
    pub hosts: Vec<Host>,
    pub answers: BTreeMap<u32, Answer>,
    pub events: Vec<PoolEvent>,
    pub traces: BTreeMap<u32, Trace>,
    /// Requests whose callers have got the types of their parameters.
    pub typed: Vec<u32>,
    /// The host of every attempt to connect, in order.
    pub attempts: Vec<usize>,
    /// How many bytes the pool has sent.
    pub written: usize,
    /// How often the pool was given input.
    pub turns: u32,
    /// The connections for which the pool has sent a CancelRequest. The test decides what their
    /// servers do.
    pub cancels: Vec<ConnectionId>,
    /// How many processor cores the servers share with the pool.
    pub cores: Option<usize>,
    /// How many bytes the hosts have sent so far.
    pub said: usize,
    links: BTreeMap<u64, (ConnectionId, usize)>,
    names: Names,
    /// For each session on its way, the hosts of its look-up that it has not tried.
    others: BTreeMap<u64, Vec<usize>>,
    /// The host whose answer about its history is delayed, with everything that comes with that
    /// answer.
    pub delays_history: Option<usize>,
    delayed: Vec<(ConnectionId, Arrival)>,
    /// Sessions whose bytes no process reads for now, and those bytes.
    stalled: BTreeMap<u64, Vec<u8>>,
    arrivals: Vec<(ConnectionId, Arrival)>,
    requests: u32,
}

#[derive(Debug)]
enum Arrival {
    Connected,
    Bytes(Vec<u8>),
    Closed(&'static str),
    Refused,
}

impl World {
    /// One host for each role. Their names must be in `config.hosts` in the same order.
    pub fn new(config: Config, roles: &[Role]) -> Self {
        let host = |role: &Role| Host {
            server: Server::new(*role),
            reach: Reach::Open,
            round_trip: Duration::ZERO,
            frozen: false,
        };
        Self {
            now: Instant::ORIGIN,
            pool: Pool::new(Arc::new(config), 1, Instant::ORIGIN),
            hosts: roles.iter().map(host).collect(),
            answers: BTreeMap::new(),
            events: Vec::new(),
            traces: BTreeMap::new(),
            typed: Vec::new(),
            attempts: Vec::new(),
            written: 0,
            turns: 0,
            cancels: Vec::new(),
            cores: None,
            said: 0,
            links: BTreeMap::new(),
            names: Names::default(),
            others: BTreeMap::new(),
            delays_history: None,
            delayed: Vec::new(),
            stalled: BTreeMap::new(),
            arrivals: Vec::new(),
            requests: 0,
        }
    }

    /// Asks the pool, and lets the world turn until nothing is left to do at this moment. Returns
    /// the number of the request.
    pub fn query(&mut self, sql: &str, lease: Option<NonZeroU32>, flags: QueryFlags) -> u32 {
        let request = self.ask(sql, lease, flags, Params::new());
        self.settle();
        request
    }

    /// Takes a connection, and returns the number of the request.
    pub fn acquire(&mut self, flags: QueryFlags) -> u32 {
        let request = self.ask_acquire(flags);
        self.settle();
        request
    }

    /// Asks for a connection, and sends nothing to the hosts yet.
    pub fn ask_acquire(&mut self, flags: QueryFlags) -> u32 {
        self.requests += 1;
        self.pool.acquire(self.now, self.requests, flags);
        self.requests
    }

    /// Asks the pool, and sends nothing to the hosts yet.
    pub fn ask(
        &mut self,
        sql: &str,
        lease: Option<NonZeroU32>,
        flags: QueryFlags,
        params: Params,
    ) -> u32 {
        self.requests += 1;
        let request = self.requests;
        self.ask_once(sql, |world, statement| {
            world.pool.query(world.now, Query { request, lease, statement, params, flags });
        });
        request
    }

    /// Supplies the values of a request, as its caller would.
    pub fn supply(&mut self, request: u32, params: Params) {
        self.pool.supply(self.now, request, params);
        self.settle();
    }

    /// Asks for a statement that the pool remembers, including how quick it was.
    pub fn ask_known(&mut self, statement: StatementId) -> u32 {
        self.ask_flagged(statement, QueryFlags::default())
    }

    pub fn ask_flagged(&mut self, statement: StatementId, flags: QueryFlags) -> u32 {
        self.ask_known_on(None, statement, flags)
    }

    pub fn ask_known_on(
        &mut self,
        lease: Option<NonZeroU32>,
        statement: StatementId,
        flags: QueryFlags,
    ) -> u32 {
        self.requests += 1;
        let (request, params) = (self.requests, Params::new());
        self.pool.query(self.now, Query { request, lease, statement, params, flags });
        request
    }

    pub fn ready(&mut self) -> u32 {
        self.requests += 1;
        self.pool.ready(self.now, self.requests);
        self.settle();
        self.requests
    }

    pub fn end(&mut self) -> u32 {
        self.requests += 1;
        self.pool.end(self.now, self.requests, EndOptions::default());
        self.settle();
        self.requests
    }

    /// Sends the requests to the hosts. The pool does not hear their answers yet.
    pub fn send(&mut self) {
        self.flush();
    }

    /// Lets the hosts answer and the pool hear it, until neither has anything left to send. Only
    /// the time of these turns passes.
    pub fn settle(&mut self) {
        loop {
            self.send();
            let arrivals = std::mem::take(&mut self.arrivals);
            if arrivals.is_empty() {
                return;
            }
            self.now = self.now + TURN;
            self.turns += 1;
            for (id, arrival) in arrivals {
                self.deliver(id, arrival);
            }
        }
    }

    fn deliver(&mut self, id: ConnectionId, arrival: Arrival) {
        let host = self.links.get(&id.to_bits()).map(|(_, host)| *host);
        match arrival {
            Arrival::Connected => {
                let others = self.others.remove(&id.to_bits()).unwrap_or_default();
                self.reached(id, host.unwrap_or(usize::MAX), &others, [7; 18]);
            }
            Arrival::Bytes(bytes) => {
                let host = host.and_then(|host| self.hosts.get(host));
                self.now = self.now + host.map_or(Duration::ZERO, |host| host.round_trip);
                self.received(id, &bytes);
            }
            Arrival::Refused => {
                self.links.remove(&id.to_bits());
                self.refused(id);
            }
            Arrival::Closed(why) => {
                self.links.remove(&id.to_bits());
                self.ended(id, why);
            }
        }
    }

    /// Lets time pass, and stops at each deadline on the way.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let at = self.next_deadline();
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.pool.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// The whole server dies: its sessions break, and further connections are refused.
    pub fn crash(&mut self, host: usize) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.reach = Reach::Refusing;
            host.server.hang_up_all();
        }
        self.cut(host, "ECONNRESET");
    }

    /// Breaks every connection to the host.
    pub fn cut(&mut self, host: usize, why: &'static str) {
        let broken = self.links.values().filter(|(_, of)| *of == host).map(|(id, _)| *id);
        let broken: Vec<_> = broken.collect();
        self.arrivals.extend(broken.into_iter().map(|id| (id, Arrival::Closed(why))));
    }

    /// Breaks one connection.
    pub fn lose(&mut self, session: ConnectionId) {
        self.arrivals.push((session, Arrival::Closed("ECONNRESET")));
        self.settle();
    }

    /// Stops all processes of a host, without closing anything.
    pub fn freeze(&mut self, host: usize) {
        self.stall(host);
        if let Some(host) = self.hosts.get_mut(host) {
            host.frozen = true;
        }
    }

    /// Keeps the open sessions of a host busy: none of them answers a request that it gets.
    pub fn stall(&mut self, host: usize) {
        let of_host = self.links.iter().filter(|(_, (_, of))| *of == host);
        for (id, _) in of_host {
            self.stalled.entry(*id).or_default();
        }
    }

    /// Keeps one session busy.
    pub fn stall_one(&mut self, session: ConnectionId) {
        self.stalled.entry(session.to_bits()).or_default();
    }

    /// Ends `freeze` and `stall`: the bytes that were written meanwhile are read.
    pub fn thaw(&mut self, host: usize) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.frozen = false;
        }
        for (id, bytes) in std::mem::take(&mut self.stalled) {
            match self.links.get(&id) {
                Some(&(connection, of)) if of == host => self.receive(connection, &bytes),
                Some(_) => drop(self.stalled.insert(id, bytes)),
                None => {}
            }
        }
    }

    /// The same for one session.
    pub fn thaw_one(&mut self, session: ConnectionId) {
        if let Some(bytes) = self.stalled.remove(&session.to_bits()) {
            self.receive(session, &bytes);
        }
    }

    /// Reads only this many of the bytes that were written meanwhile to each session.
    pub fn trickle(&mut self, host: usize, count: usize) {
        for (id, mut bytes) in std::mem::take(&mut self.stalled) {
            if let Some(&(connection, of)) = self.links.get(&id) {
                let held = bytes.split_off(if of == host { count.min(bytes.len()) } else { 0 });
                self.receive(connection, &bytes);
                self.stalled.insert(id, held);
            }
        }
        self.settle();
    }

    /// A pooler in front of the host gives each session a FATAL error, and has passed on none of
    /// the bytes that it holds back.
    pub fn dismiss(&mut self, host: usize, said: (&str, &str)) {
        let mut bytes = Vec::new();
        dismissal(said, &mut bytes);
        for id in self.sessions(host).collect::<Vec<_>>() {
            self.stalled.remove(&id.to_bits());
            self.arrivals.push((id, Arrival::Bytes(bytes.clone())));
            self.arrivals.push((id, Arrival::Closed("end of stream")));
        }
    }

    /// Gives each session of the host a FATAL error and closes it, as a server that shuts down
    /// does.
    pub fn shut_down(&mut self, host: usize) {
        let mut bytes = Vec::new();
        shut_down(&mut bytes);
        let links = self.links.values().filter(|(_, of)| *of == host).map(|(id, _)| *id);
        let links: Vec<_> = links.collect();
        for id in links {
            self.arrivals.push((id, Arrival::Bytes(bytes.clone())));
            self.arrivals.push((id, Arrival::Closed("end of stream")));
        }
        if let Some(host) = self.hosts.get_mut(host) {
            host.reach = Reach::Refusing;
            host.server.hang_up_all();
        }
    }

    /// How many connections the pool has to the host.
    pub fn connections(&self, host: usize) -> usize {
        self.sessions(host).count()
    }

    pub fn sessions(&self, host: usize) -> impl Iterator<Item = ConnectionId> {
        self.links.values().filter(move |(_, of)| *of == host).map(|(id, _)| *id)
    }

    /// From now on the name of a host leads to another server. Open connections stay where they
    /// are.
    pub fn readdress(&mut self, name: usize, host: usize) {
        self.names.lead(name, vec![host]);
    }

    /// From now on the name of a host leads to all of these, in this order.
    pub fn spread(&mut self, name: usize, hosts: &[usize]) {
        self.names.lead(name, hosts.to_vec());
    }

    /// Delivers the answers that were delayed.
    pub fn deliver_delayed(&mut self) {
        self.delays_history = None;
        self.arrivals.append(&mut self.delayed);
        self.settle();
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        const QUESTION: &[u8] = b"pg_control_checkpoint";
        if let Some(&(_, number)) = self.links.get(&id.to_bits())
            && let Some(host) = self.hosts.get_mut(number)
        {
            let answer = host.server.receive(id.to_bits(), bytes);
            self.said += answer.len();
            let is_asked = || bytes.windows(QUESTION.len()).any(|part| part == QUESTION);
            let delays = self.delays_history == Some(number) && is_asked();
            if !answer.is_empty() {
                let arrivals = if delays { &mut self.delayed } else { &mut self.arrivals };
                arrivals.push((id, Arrival::Bytes(answer)));
            }
        }
    }
}

impl Driver for World {
    fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    fn cores(&self) -> Option<usize> {
        self.cores
    }

    fn open(&mut self, id: ConnectionId, hosts: Vec<usize>) {
        // An address that does not answer loses the race.
        let is_there = |n: &usize| {
            let reach = self.hosts.get(*n).map(|host| host.reach);
            !matches!(reach, None | Some(Reach::Refusing | Reach::BlackHole))
        };
        let first = hosts.iter().position(is_there).unwrap_or(0);
        let Some(&number) = hosts.get(first) else { return };
        self.others.insert(id.to_bits(), hosts.into_iter().skip(first + 1).collect());
        self.attempts.push(number);
        let Some(host) = self.hosts.get_mut(number) else { return };
        self.links.insert(id.to_bits(), (id, number));
        match host.reach {
            Reach::Open => {
                host.server.accept(id.to_bits());
                if host.frozen {
                    self.stalled.insert(id.to_bits(), Vec::new());
                }
                self.arrivals.push((id, Arrival::Connected));
            }
            Reach::Silent => self.arrivals.push((id, Arrival::Connected)),
            reach @ (Reach::Full | Reach::Denying) => {
                let mut bytes = Vec::new();
                match reach {
                    Reach::Denying => {
                        let text = "password authentication failed for user \"u\"";
                        error("FATAL", "28P01", text, &mut bytes);
                    }
                    _ => too_many_clients(&mut bytes),
                }
                let said =
                    [Arrival::Connected, Arrival::Bytes(bytes), Arrival::Closed("end of stream")];
                self.arrivals.extend(said.into_iter().map(|arrival| (id, arrival)));
            }
            Reach::BlackHole => {}
            Reach::Refusing => self.arrivals.push((id, Arrival::Refused)),
        }
    }

    fn write(&mut self, id: ConnectionId) {
        let waiting = self.pool.outgoing(id).len();
        let bytes = self.take_outgoing(id, waiting);
        self.written += bytes.len();
        match self.stalled.get_mut(&id.to_bits()) {
            Some(held) => held.extend_from_slice(&bytes),
            None => self.receive(id, &bytes),
        }
    }

    fn close(&mut self, id: ConnectionId, _terminate: &[u8]) {
        if let Some((_, host)) = self.links.remove(&id.to_bits())
            && let Some(host) = self.hosts.get_mut(host)
        {
            host.server.hang_up(id.to_bits());
        }
        self.arrivals.retain(|(of, _)| *of != id);
    }

    fn cancel(&mut self, id: ConnectionId) {
        self.cancels.push(id);
    }

    fn trace(&mut self, request: u32, trace: Trace) {
        assert!(!self.answers.contains_key(&request), "the trace comes first");
        let earlier = self.traces.insert(request, trace);
        assert!(earlier.is_none(), "request {request} was traced twice");
    }

    fn complete(&mut self, request: u32, result: Answer) {
        let earlier = self.answers.insert(request, result);
        assert!(earlier.is_none(), "request {request} was answered twice");
    }

    fn tell_types(&mut self, request: u32) {
        self.typed.push(request);
    }

    fn hear(&mut self, event: PoolEvent) {
        self.events.push(event);
    }
}
