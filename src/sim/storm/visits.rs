//! Visits: an application has a connection to itself for a while, for a transaction or for session
//! work.

use std::num::NonZeroU32;

use super::Storm;
use super::ask::What;
use crate::base::Error;
use crate::pool::{QueryFlags, Response};
use crate::sim::driver::Driver;

const MOST_VISITS: usize = 5;

/// A connection that an application has to itself for a while.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) lease: Option<NonZeroU32>,
    pub(super) stage: VisitStage,
    for_transaction: bool,
    /// It makes further calls without waiting for answers.
    hasty: bool,
    /// It has changed its session.
    pub(super) has_set: bool,
    /// The pool said that no host accepts its logins. It says so to further calls of the visit too,
    /// even if the hosts accept them by then.
    pub(super) is_barred: bool,
    steps: usize,
    unanswered: usize,
    /// Keys that were inserted in its transaction, as far as the application knows.
    pub(super) keys: Vec<String>,
    flags: QueryFlags,
    /// The transactions of a session that runs one after the other, and may begin the next before
    /// the end of the last is answered.
    parts: Option<Vec<Part>>,
}

/// One transaction of many on the same connection.
#[derive(Debug, Default)]
struct Part {
    /// A call was made in it.
    is_begun: bool,
    /// Keys that were inserted in it, as far as the application knows.
    keys: Vec<String>,
    /// A call for its end was made.
    is_ending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VisitStage {
    Arriving,
    Open,
    Leaving,
    Over,
}

impl Visit {
    pub(super) fn is_transaction(&self) -> bool {
        self.for_transaction
    }

    /// Whether all of its calls belong to transactions.
    pub(super) fn is_in_transactions(&self) -> bool {
        self.for_transaction || self.parts.is_some()
    }

    pub(super) fn is_there(&self) -> bool {
        matches!(self.stage, VisitStage::Open | VisitStage::Leaving)
    }
}

impl Storm {
    pub(super) fn arrive(&mut self) {
        let there = self.apps.visits.iter().filter(|visit| visit.stage != VisitStage::Over).count();
        if there >= MOST_VISITS {
            return;
        }
        let for_transaction = self.dice.percent(75);
        let flags = if for_transaction { QueryFlags::TRANSACTION } else { QueryFlags::default() };
        let has_parts = !for_transaction && self.dice.percent(50);
        let hasty = self.dice.percent(if has_parts { 80 } else { 40 });
        let steps = 1 + self.dice.below(if has_parts { 10 } else { 4 });
        self.apps.visits.push(Visit {
            lease: None,
            stage: VisitStage::Arriving,
            for_transaction,
            hasty,
            has_set: false,
            is_barred: false,
            steps,
            unanswered: 0,
            keys: Vec::new(),
            flags,
            parts: has_parts.then(|| vec![Part::default()]),
        });
        let number = self.apps.visits.len() - 1;
        let cancellable = self.dice.percent(30);
        let flags = if cancellable { flags.with(QueryFlags::CANCELLABLE) } else { flags };
        let request = self.next_request(What::Acquire(number), cancellable);
        self.note(|| format!("#{request} a connection for visit {number}, {flags:?}"));
        self.pool.acquire(self.now, request, flags);
    }

    /// The next step of a visit, or its end.
    pub(super) fn go_on(&mut self, number: usize, hurry: bool) {
        let Some(visit) = self.apps.visits.get_mut(number) else { return };
        if visit.unanswered > 0 && !visit.hasty {
            return;
        }
        let (lease, flags) = (visit.lease, visit.flags);
        if visit.parts.is_some() {
            return self.go_on_in_parts(number, hurry);
        }
        if visit.steps > 0 && !hurry {
            visit.steps -= 1;
            visit.unanswered += 1;
            let key = self.apps.next_key();
            match self.dice.below(10) {
                0..2 => {
                    let read = self.statements().read;
                    self.ask(What::Look(number), read, lease, flags, false);
                }
                2 if !flags.has(QueryFlags::TRANSACTION) => {
                    if let Some(visit) = self.apps.visits.get_mut(number) {
                        visit.has_set = true;
                    }
                    self.ask_once("SET x", |storm, statement| {
                        storm.ask(What::Set(number), statement, lease, flags, false)
                    });
                }
                3 if !flags.has(QueryFlags::TRANSACTION) => self.say_transaction(number),
                3 if self.dice.percent(30) => {
                    self.ask_once("ROLLBACK", |storm, statement| {
                        storm.ask(What::Set(number), statement, lease, flags, false)
                    });
                }
                _ => drop(self.insert(What::Insert(number, key.clone()), &key, lease, flags)),
            }
            return;
        }
        visit.stage = VisitStage::Leaving;
        if !visit.for_transaction {
            // Unlike pool.connect's release, this does not wait for the visit's calls first: those
            // that still run are lost.
            let destroy = self.dice.percent(20);
            self.leave(number, destroy);
        } else if self.dice.percent(8) {
            self.leave(number, true);
        } else {
            let commit = self.dice.percent(80);
            let end = flags.with(QueryFlags::END).with(QueryFlags::RELEASE);
            let (sql, what, end) = match commit {
                true => ("COMMIT", What::Commit(number), end.with(QueryFlags::COMMIT)),
                false => ("ROLLBACK", What::Rollback(number), end),
            };
            let is_hurried = !commit && self.dice.percent(30);
            let end = if is_hurried { end.with(QueryFlags::HURRIED) } else { end };
            self.end_visit(sql, what, lease, end);
        }
    }

    /// Ends a transaction. After its time limit has passed, its ROLLBACK has little time.
    fn end_visit(&mut self, sql: &str, what: What, lease: Option<NonZeroU32>, flags: QueryFlags) {
        if flags.has(QueryFlags::HURRIED)
            && let Some(lease) = lease
            && let Some(number) = what.visit()
        {
            self.cancel_visit(number, lease);
        }
        self.ask_once(sql, |storm, statement| storm.ask(what, statement, lease, flags, false));
    }

    /// Makes a transaction by statements, all at once, as the visit's last calls.
    fn say_transaction(&mut self, number: usize) {
        let Some(visit) = self.apps.visits.get_mut(number) else { return };
        (visit.steps, visit.has_set) = (0, true);
        visit.unanswered += 2;
        let (lease, flags) = (visit.lease, visit.flags);
        for sql in ["BEGIN", "SELECT", "ROLLBACK"] {
            self.ask_once(sql, |storm, statement| {
                storm.ask(What::Set(number), statement, lease, flags, false)
            });
        }
    }

    /// The next step of a visit that runs one transaction after the other.
    fn go_on_in_parts(&mut self, number: usize, hurry: bool) {
        let ends = self.dice.percent(40);
        let Some(visit) = self.apps.visits.get_mut(number) else { return };
        let Some(part) = visit.parts.as_mut().and_then(|parts| parts.last_mut()) else { return };
        let is_last = visit.steps == 0 || hurry;
        if is_last && !(part.is_begun && ends) {
            visit.stage = VisitStage::Leaving;
            let destroy = self.dice.percent(20);
            return self.leave(number, destroy);
        }
        visit.steps = visit.steps.saturating_sub(1);
        visit.unanswered += 1;
        let inserts = !part.is_begun || !ends;
        (part.is_begun, part.is_ending) = (true, !inserts);
        let (lease, flags) = (visit.lease, QueryFlags::TRANSACTION);
        let index = visit.parts.as_ref().map_or(0, |parts| parts.len() - 1);
        if inserts {
            let key = self.apps.next_key();
            let what = What::PartInsert(number, index, key.clone());
            self.insert(what, &key, lease, flags);
            return;
        }
        if let Some(parts) = &mut visit.parts {
            parts.push(Part::default());
        }
        let commits = self.dice.percent(60);
        let end = flags.with(QueryFlags::END);
        let (sql, end) =
            if commits { ("COMMIT", end.with(QueryFlags::COMMIT)) } else { ("ROLLBACK", end) };
        self.ask_once(sql, |storm, statement| {
            storm.ask(What::PartEnd(number, index, commits), statement, lease, end, false)
        });
    }

    pub(super) fn part_inserted(
        &mut self,
        (number, index): (usize, usize),
        key: &str,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        self.stepped(number);
        let ledger = &mut self.apps.ledger;
        let Some(visit) = self.apps.visits.get_mut(number) else { return Ok(()) };
        let is_over = visit.stage == VisitStage::Over;
        let part = visit.parts.as_mut().and_then(|parts| parts.get_mut(index));
        match (result, part) {
            (Err(error), _) => ledger.failed(key, &error)?,
            (Ok(_), Some(part)) if part.is_ending || !is_over => part.keys.push(key.to_owned()),
            (Ok(_), _) => ledger.refuse(key, "its transaction was never committed"),
        }
        Ok(())
    }

    pub(super) fn part_ended(
        &mut self,
        (number, index): (usize, usize),
        commits: bool,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        self.stepped(number);
        let ledger = &mut self.apps.ledger;
        let Some(visit) = self.apps.visits.get_mut(number) else { return Ok(()) };
        let part = visit.parts.as_mut().and_then(|parts| parts.get_mut(index));
        let keys = part.map(|part| std::mem::take(&mut part.keys)).unwrap_or_default();
        match commits {
            true => ledger.end(keys, result),
            false => {
                keys.iter().for_each(|key| ledger.refuse(key, "its transaction was rolled back"));
                Ok(())
            }
        }
    }

    /// Gives the connection back without another call.
    pub(super) fn leave(&mut self, number: usize, destroy: bool) {
        let Some(visit) = self.apps.visits.get_mut(number) else { return };
        visit.stage = VisitStage::Over;
        let lease = visit.lease;
        if visit.for_transaction {
            for key in std::mem::take(&mut visit.keys) {
                self.apps.ledger.refuse(&key, "its transaction was never committed");
            }
        }
        for part in visit.parts.iter_mut().flatten().filter(|part| !part.is_ending) {
            for key in std::mem::take(&mut part.keys) {
                self.apps.ledger.refuse(&key, "its transaction was never committed");
            }
        }
        self.note(|| format!("visit {number} leaves, destroy {destroy}"));
        if let Some(lease) = lease {
            self.pool.release(self.now, lease, destroy);
        }
    }

    pub(super) fn stepped(&mut self, number: usize) {
        if let Some(visit) = self.apps.visits.get_mut(number) {
            visit.unanswered -= 1;
        }
    }

    pub(super) fn arrived(&mut self, number: usize, result: Result<Response, Error>) {
        let Some(visit) = self.apps.visits.get_mut(number) else { return };
        match result {
            Ok(Response { lease: Some(lease), .. }) => {
                visit.lease = Some(lease);
                visit.stage = VisitStage::Open;
            }
            Ok(_) | Err(_) => visit.stage = VisitStage::Over,
        }
    }

    pub(super) fn inserted(
        &mut self,
        number: usize,
        key: &str,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        self.stepped(number);
        let Some(visit) = self.apps.visits.get_mut(number) else { return Ok(()) };
        let ledger = &mut self.apps.ledger;
        match result {
            Err(error) => ledger.failed(key, &error),
            Ok(_) if !visit.for_transaction => {
                ledger.acknowledge(key);
                Ok(())
            }
            // The connection was destroyed meanwhile.
            Ok(_) if visit.stage == VisitStage::Over => {
                ledger.refuse(key, "its transaction was never committed");
                Ok(())
            }
            Ok(_) => {
                visit.keys.push(key.to_owned());
                Ok(())
            }
        }
    }

    pub(super) fn committed(
        &mut self,
        number: usize,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        let Some(visit) = self.apps.visits.get_mut(number) else { return Ok(()) };
        visit.stage = VisitStage::Over;
        let keys = std::mem::take(&mut visit.keys);
        self.apps.ledger.end(keys, result)
    }
}
