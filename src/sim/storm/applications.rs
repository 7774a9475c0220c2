//! The applications, and their calls.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Storm;
use super::ask::{Ask, What};
use super::ledger::Ledger;
use super::visits::{Visit, VisitStage};
use crate::connection::StatementId;
use crate::pool::{EndOptions, Query, QueryFlags};
use crate::sim::driver::Driver;
use crate::types::Params;

const MOST_UNANSWERED: usize = 24;

#[derive(Debug)]
pub(super) struct Applications {
    pub(super) asks: BTreeMap<u32, Ask>,
    pub(super) visits: Vec<Visit>,
    pub(super) ledger: Ledger,
    requests: u32,
    keys: usize,
    pub(super) ended: bool,
    /// A call that was made after the last fault was answered.
    pub(super) is_served: bool,
    /// Statements that are used again and again.
    statements: Option<Statements>,
    /// Values that are supplied once their types are known.
    values: BTreeMap<u32, Params>,
    /// Requests whose callers have got the types.
    pub(super) values_due: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Statements {
    pub(super) read: StatementId,
    slow_read: StatementId,
    insert: StatementId,
    write: StatementId,
    role: StatementId,
    clean: StatementId,
    begin: StatementId,
    open: StatementId,
    call: StatementId,
    lock: StatementId,
    mood: StatementId,
    write_mood: StatementId,
}

impl Applications {
    pub(super) fn new() -> Self {
        Self {
            asks: BTreeMap::new(),
            visits: Vec::new(),
            ledger: Ledger::default(),
            requests: 0,
            keys: 0,
            ended: false,
            is_served: false,
            statements: None,
            values: BTreeMap::new(),
            values_due: Vec::new(),
        }
    }

    /// How many statements the applications have not forgotten.
    pub(super) fn remembered(&self) -> usize {
        if self.statements.is_some() { 12 } else { 0 }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.asks.len()
    }

    pub(super) fn is_unanswered(&self, request: u32) -> bool {
        self.asks.contains_key(&request)
    }

    pub(super) fn describe_unanswered(&self) -> String {
        let each =
            self.asks.iter().map(|(n, ask)| format!("#{n} {:?} since {:?}", ask.what, ask.since));
        each.collect::<Vec<_>>().join("; ")
    }

    fn is_over(&self) -> bool {
        let is_served = self.ended || self.is_served;
        is_served
            && self.asks.is_empty()
            && self.visits.iter().all(|visit| visit.stage == VisitStage::Over)
    }

    pub(super) fn next_key(&mut self) -> String {
        self.keys += 1;
        format!("k{}", self.keys)
    }
}

impl Storm {
    pub(super) fn applications_are_done(&self) -> bool {
        self.apps.is_over()
    }

    /// One application does something.
    pub(super) fn act(&mut self) {
        let busy = self.apps.unanswered() >= MOST_UNANSWERED;
        match self.dice.below(100) {
            0..20 if !busy => self.write_one(),
            20..38 if !busy => self.read(),
            38..42 if !busy => {
                let Statements { role, clean, .. } = self.statements();
                let (what, statement) =
                    if self.dice.percent(50) { (What::Clean, clean) } else { (What::Role, role) };
                self.ask(what, statement, None, QueryFlags::default(), false);
            }
            42..52 if !busy => self.arrive(),
            52..86 => {
                let open: Vec<_> = self.open_visits();
                if let Some(visit) = self.dice.pick(&open) {
                    self.go_on(visit, false);
                }
            }
            86..92 => self.give_one_up(),
            92..94 => self.misuse(),
            94..95 => {
                let request = self.next_request(What::Ready, false);
                self.note(|| format!("#{request} ready"));
                self.pool.ready(self.now, request);
            }
            _ => self.write_elsewhere(),
        }
    }

    /// Continues what was begun, and begins nothing new.
    pub(super) fn finish_acting(&mut self) {
        for visit in self.open_visits() {
            self.go_on(visit, true);
        }
    }

    fn open_visits(&self) -> Vec<usize> {
        let open = |visit: &Visit| visit.stage == VisitStage::Open;
        self.apps.visits.iter().enumerate().filter(|(_, v)| open(v)).map(|(n, _)| n).collect()
    }

    pub(super) fn statements(&mut self) -> Statements {
        *self.apps.statements.get_or_insert_with(|| Statements {
            read: self.pool.statement("SELECT keys"),
            slow_read: self.pool.statement("SELECT keys slow"),
            insert: self.pool.statement("INSERT $1"),
            write: self.pool.statement("SELECT write($1)"),
            role: self.pool.statement("SELECT role"),
            clean: self.pool.statement("SELECT changed"),
            begin: self.pool.statement("BEGIN"),
            open: self.pool.statement("SELECT open"),
            call: self.pool.statement("CALL"),
            lock: self.pool.statement("SELECT pg_advisory_lock"),
            mood: self.pool.statement("SELECT mood"),
            write_mood: self.pool.statement("SELECT write($1) mood"),
        })
    }

    pub(super) fn next_request(&mut self, what: What, cancellable: bool) -> u32 {
        self.apps.requests += 1;
        let known = self.apps.ledger.known();
        let ask = Ask {
            what,
            since: self.now,
            known,
            cancellable,
            bounded: false,
            declared: false,
            waited: Duration::ZERO,
            in_line_since: None,
            losses: self.losses,
            is_hurried: false,
            limit: None,
            overdue_since: None,
            is_traced: false,
            trace: None,
        };
        self.apps.asks.insert(self.apps.requests, ask);
        for node in &mut self.nodes.all {
            node.server.clock = self.apps.requests;
        }
        self.apps.requests
    }

    pub(super) fn ask(
        &mut self,
        what: What,
        statement: StatementId,
        lease: Option<NonZeroU32>,
        flags: QueryFlags,
        with_key: bool,
    ) -> u32 {
        let cancellable = self.dice.percent(30);
        let flags = if cancellable { flags.with(QueryFlags::CANCELLABLE) } else { flags };
        let unprepared = self.dice.percent(5);
        let flags = if unprepared { flags.with(QueryFlags::UNPREPARED) } else { flags };
        let mut params = Params::new();
        if let (true, What::Write(key) | What::Insert(_, key) | What::PartInsert(_, _, key)) =
            (with_key, &what)
        {
            // A few bytes always fit into memory.
            let _fits = params.push_bytes(key.as_bytes());
        }
        let request = self.next_request(what.clone(), cancellable);
        let mut flags = flags;
        if cancellable && self.dice.percent(20) {
            flags = flags.with(QueryFlags::VALUES_TO_COME);
            self.apps.values.insert(request, std::mem::take(&mut params));
        }
        if request.is_multiple_of(2) {
            flags = flags.with(QueryFlags::TRACED);
        }
        if let Some(ask) = self.apps.asks.get_mut(&request) {
            ask.is_traced = flags.has(QueryFlags::TRACED);
            ask.declared = flags.has(QueryFlags::READ_ONLY);
            ask.is_hurried = flags.has(QueryFlags::HURRIED);
            ask.limit = match ask.is_hurried {
                true => Some(self.now),
                false => self.config.query_timeout.map(|after| self.now + after),
            };
        }
        self.note(|| format!("#{request} {what:?} lease {lease:?}"));
        self.pool.query(self.now, Query { request, lease, statement, params, flags });
        if flags.has(QueryFlags::HURRIED) {
            return request;
        }
        if cancellable && self.dice.percent(10) {
            self.give_up(request);
        } else if cancellable && self.dice.percent(30) {
            let after = self.dice.time(Duration::from_millis(1), Duration::from_secs(4));
            self.note(|| format!("#{request} is bounded by {after:?}"));
            self.pool.limit(self.now, request, Some(after));
            if let Some(ask) = self.apps.asks.get_mut(&request) {
                ask.bounded = true;
                ask.limit = Some(self.now + after);
            }
        }
        request
    }

    /// Most applications that got types in an earlier turn have their values ready.
    pub(super) fn supply_values(&mut self) {
        for request in std::mem::take(&mut self.apps.values_due) {
            if self.dice.percent(30) {
                self.apps.values_due.push(request);
            } else if let Some(values) = self.apps.values.remove(&request) {
                self.pool.supply(self.now, request, values);
            }
        }
    }

    fn write_one(&mut self) {
        let key = self.apps.next_key();
        let what = What::Write(key.clone());
        self.insert(what, &key, None, QueryFlags::default());
    }

    /// Finds out whether the pool serves.
    pub(super) fn probe(&mut self) {
        let asks = self.apps.asks.values().any(|ask| matches!(ask.what, What::Probe(_)));
        if self.apps.ended || self.apps.is_served || asks {
            return;
        }
        let key = self.has_seat().then(|| self.apps.next_key());
        let sql = key.as_ref().map_or("SELECT".to_owned(), |key| format!("INSERT {key}"));
        let request = self.next_request(What::Probe(key), false);
        self.note(|| format!("#{request} {sql} after the last fault"));
        self.ask_once(&sql, |storm, statement| storm.ask_plainly(request, statement));
    }

    /// A read that takes as long as the storm likes.
    pub(super) fn read_slowly(&mut self) -> u32 {
        let statement = self.statements().slow_read;
        let request = self.next_request(What::Read, false);
        self.note(|| format!("#{request} a long read"));
        self.ask_plainly(request, statement);
        request
    }

    /// Asks without values and in no session, and never gives it up.
    fn ask_plainly(&mut self, request: u32, statement: StatementId) {
        let (lease, params, flags) = (None, Params::new(), QueryFlags::default());
        self.pool.query(self.now, Query { request, lease, statement, params, flags });
    }

    /// An INSERT, in one of the ways that there are.
    pub(super) fn insert(
        &mut self,
        what: What,
        key: &str,
        lease: Option<NonZeroU32>,
        flags: QueryFlags,
    ) -> u32 {
        let by_function = self.dice.percent(25);
        if self.dice.percent(50) {
            let Statements { insert, write, write_mood, .. } = self.statements();
            // An answer that waits for its types may come behind that to a COMMIT behind it.
            let typed = by_function && lease.is_none() && self.dice.percent(40);
            let by_function = if by_function { write } else { insert };
            let statement = if typed { write_mood } else { by_function };
            return self.ask(what, statement, lease, flags, true);
        }
        let slow = if self.dice.percent(25) { " slow" } else { "" };
        let sql = match by_function {
            true => format!("SELECT write({key}){slow}"),
            false => format!("INSERT {key}{slow}"),
        };
        self.ask_once(&sql, |storm, statement| storm.ask(what, statement, lease, flags, false))
    }

    pub(super) fn read(&mut self) {
        let statements = self.statements();
        let slow = self.dice.percent(15);
        let statement = if slow { statements.slow_read } else { statements.read };
        let declared = self.dice.percent(50);
        let flags = if declared { QueryFlags::READ_ONLY } else { QueryFlags::default() };
        let typed = self.dice.percent(15);
        let (what, statement) =
            if typed { (What::Mood, statements.mood) } else { (What::Read, statement) };
        self.ask(what, statement, None, flags, false);
    }

    fn give_one_up(&mut self) {
        if self.dice.percent(25) {
            return self.give_up_visit();
        }
        let asks = self.apps.asks.iter().filter(|(_, ask)| ask.cancellable);
        let asks: Vec<_> = asks.map(|(request, _)| *request).collect();
        if let Some(request) = self.dice.pick(&asks) {
            self.give_up(request);
        }
    }

    fn give_up(&mut self, request: u32) {
        self.note(|| format!("#{request} is given up"));
        if let Some(ask) = self.apps.asks.get_mut(&request) {
            ask.bounded = true;
        }
        self.pool.cancel(self.now, request);
    }

    /// Gives up all unanswered calls of a visit.
    fn give_up_visit(&mut self) {
        let visits = self.apps.visits.iter().enumerate().filter(|(_, visit)| visit.is_there());
        let visits: Vec<_> = visits.filter_map(|(n, visit)| Some((n, visit.lease?))).collect();
        let Some((number, lease)) = self.dice.pick(&visits) else { return };
        self.cancel_visit(number, lease);
    }

    pub(super) fn cancel_visit(&mut self, number: usize, lease: NonZeroU32) {
        self.note(|| format!("visit {number} gives up what it is at"));
        let asks = self.apps.asks.values_mut().filter(|ask| ask.what.visit() == Some(number));
        // Outside of transactions nothing is given up.
        let visit = self.apps.visits.get(number);
        if visit.is_some_and(Visit::is_in_transactions) {
            asks.for_each(|ask| ask.bounded = true);
        }
        self.pool.cancel_lease(self.now, lease);
    }

    /// Does what no application should do.
    fn misuse(&mut self) {
        if self.dice.percent(50) {
            let Statements { begin, open, call, lock, .. } = self.statements();
            let (what, statement) = match self.dice.below(7) {
                0 => (What::Begin, begin),
                1 | 2 => (What::Change, call),
                3 | 4 => (What::Change, lock),
                _ => (What::Open, open),
            };
            self.ask(what, statement, None, QueryFlags::default(), false);
            return;
        }
        let over: Vec<_> = self
            .apps
            .visits
            .iter()
            .filter(|visit| visit.stage == VisitStage::Over)
            .filter_map(|visit| visit.lease)
            .collect();
        let Some(lease) = self.dice.pick(&over) else { return };
        if self.dice.percent(50) {
            self.pool.release(self.now, lease, self.dice.percent(50));
        } else {
            let key = self.apps.next_key();
            let what = What::Write(key.clone());
            self.insert(what, &key, Some(lease), QueryFlags::TRANSACTION);
        }
    }

    /// An application that does not use the pool writes to the primary, and the cluster
    /// acknowledges it.
    pub(super) fn write_elsewhere(&mut self) {
        let leader = self.nodes.leader;
        let writable = self.nodes.leader().is_some_and(|node| {
            node.is_up() && node.server.role == crate::connection::Role::ReadWrite
        });
        let follows = |node: &usize| {
            self.nodes.get(*node).is_some_and(|n| n.is_up() && n.follows == Some(leader))
        };
        let standby = self.nodes.standbys().find(follows);
        let (true, Some(standby)) = (writable, standby) else { return };
        // A client that has heard nothing of the new primary can't know that the old one is old.
        if self.has_usurper() {
            return;
        }
        let key = self.apps.next_key();
        if let Some(node) = self.nodes.get_mut(leader) {
            node.server.keys.push(key.clone());
        }
        self.nodes.replicate(standby);
        self.note(|| format!("{key} is written elsewhere"));
        self.apps.ledger.acknowledge(&key);
    }

    /// The pool ends while all of that goes on.
    pub(super) fn end_pool(&mut self) {
        self.list_all();
        self.apps.ended = true;
        let timeout = self
            .dice
            .percent(60)
            .then(|| self.dice.time(Duration::from_millis(1), Duration::from_secs(5)));
        let options = EndOptions { timeout, refuse_waiting: self.dice.percent(30) };
        let request = self.next_request(What::End, false);
        if let Some(ask) = self.apps.asks.get_mut(&request) {
            ask.limit = timeout.map(|after| self.now + after);
        }
        self.note(|| format!("#{request} the pool is ended, {options:?}"));
        self.pool.end(self.now, request, options);
    }
}
