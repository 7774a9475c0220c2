//! Checks whether the answers to the applications can be true.

use std::collections::BTreeSet;

use super::Storm;
use super::ask::{Ask, What};
use super::ledger::describe;
use super::network::Link;
use super::visits::{Visit, VisitStage};
use crate::base::{Body, Error, ErrorClass, Outcome};
use crate::cluster::fits;
use crate::connection::{Role, RowCursor, was_never_handed_on};
use crate::pool::{HostStatus, Response, Trace};
use crate::protocol::data_row::fields;
use crate::sim::server::Reports;
use crate::types::Shape;

impl Storm {
    /// An application gets the answer to a request.
    pub(super) fn answered(&mut self, request: u32, result: Result<Response, Error>) {
        self.note(|| match &result {
            Ok(response) => {
                let command = response.results.first().map_or("", |r| r.command.name());
                format!("#{request} is answered: {command}")
            }
            Err(error) => format!("#{request} fails: {}", describe(error)),
        });
        let Some(ask) = self.apps.asks.remove(&request) else {
            return self.fail(format!("#{request} was answered twice"));
        };
        let judged = match &result {
            Ok(response) => check_types(response).and_then(|()| check_trace(&ask, response)),
            Err(error) => self.judge_error(request, &ask, error),
        };
        if let Err(error) = &result
            && error.code() == "28000"
            && let Some(visit) = ask.what.visit().and_then(|n| self.apps.visits.get_mut(n))
        {
            visit.is_barred = true;
        }
        if let Err(why) = judged.and_then(|()| self.record(request, &ask, result)) {
            self.fail(format!("#{request} {:?}: {why}", ask.what));
        }
    }

    /// The trace of a call comes once, in front of its answer, where its caller wants one.
    pub(super) fn traced(&mut self, request: u32, trace: Trace) {
        match self.apps.asks.get_mut(&request) {
            Some(ask) if ask.is_traced && ask.trace.is_none() => ask.trace = Some(trace),
            _ => self.fail(format!("#{request} has a trace that nobody wants")),
        }
    }

    /// A call is in the queue for at most `acquireTimeoutMs` in all, however often it was sent
    /// again. While it is on a connection it is not in the queue.
    pub(super) fn check_line(&mut self) -> Result<(), String> {
        let now = self.now;
        let in_line: BTreeSet<_> = self.pool.in_line().collect();
        for (request, ask) in &mut self.apps.asks {
            if let Some(since) = ask.in_line_since.take() {
                ask.waited += now.since(since);
            }
            if !in_line.contains(request) {
                continue;
            }
            ask.in_line_since = Some(now);
            if ask.waited >= self.config.acquire_timeout {
                return Err(format!("#{request} is in line for {:?}", ask.waited));
            }
        }
        Ok(())
    }

    /// A call with a time limit is answered by then, or once the server had `cancelGraceMs` for the
    /// cancel.
    pub(super) fn check_limits(&mut self) -> Result<(), String> {
        let now = self.now;
        for (request, ask) in &mut self.apps.asks {
            // A ROLLBACK waits for earlier calls, which may have no limit, unless it is hurried.
            let is_rollback = matches!(ask.what, What::Rollback(_) | What::PartEnd(_, _, false));
            let waits = is_rollback && !ask.is_hurried;
            if waits || ask.limit.is_none_or(|limit| limit > now) {
                continue;
            }
            let since = *ask.overdue_since.get_or_insert(now);
            if since + self.config.cancel_grace < now {
                return Err(format!("#{request} is overdue for {:?}", now.since(since)));
            }
        }
        Ok(())
    }

    /// No server is asked for its role in a transaction that its user has begun by a statement.
    pub(super) fn check_questions(&self) -> Result<(), String> {
        match self.nodes.all.iter().position(|node| node.server.asked_in_transaction) {
            Some(node) => Err(format!("h{node} was asked for its role in a transaction")),
            None => Ok(()),
        }
    }

    /// No caller's statement runs without the settings that were named at the login.
    pub(super) fn check_settings(&self) -> Result<(), String> {
        match self.nodes.all.iter().position(|node| node.server.ran_unset) {
            Some(node) => Err(format!("h{node} ran a statement without the login's settings")),
            None => Ok(()),
        }
    }

    /// Behind a pooler no statement goes by types of an earlier time.
    pub(super) fn check_statements(&self) -> Result<(), String> {
        match self.nodes.all.iter().find_map(|node| node.server.pooler.fault) {
            Some(fault) => Err(format!("behind a pooler {fault}")),
            None => Ok(()),
        }
    }

    /// Whether such an error is possible.
    fn judge_error(&self, request: u32, ask: &Ask, error: &Error) -> Result<(), String> {
        let described = || Err(describe(error));
        let waited = self.now.since(ask.since);
        let bounded = ask.bounded || self.config.query_timeout.is_some();
        let last_words = error.cause().map(Error::code);
        let alone = matches!(
            ask.what,
            What::Write(_)
                | What::Read
                | What::Mood
                | What::Role
                | What::Clean
                | What::Open
                | What::Change
        );
        match (error.class(), error.code()) {
            // Its types were dropped, or its connection was lost, before a server described them.
            (_, "HYPERION_UNREADABLE_VALUE") if !matches!(ask.what, What::Mood) => Ok(()),
            (ErrorClass::Internal | ErrorClass::Protocol, _) => described(),
            // The error must name a time limit of the server's own.
            (_, "HYPERION_CONNECTION_LOST") if matches!(last_words, Some("25P03" | "25P04")) => {
                described()
            }
            (ErrorClass::QueryTimeout, "HYPERION_TRANSACTION_TIMEOUT")
                if last_words == Some("25P04") =>
            {
                Ok(())
            }
            (ErrorClass::Abort | ErrorClass::QueryTimeout, _) if !bounded => described(),
            // A declared read fails when it is lost for the third time. The loss is counted after
            // the server's last message.
            (_, "HYPERION_CONNECTION_LOST")
                if ask.declared
                    && !self.apps.ended
                    && self.losses - ask.losses < 2
                    && error.outcome() == Some(Outcome::NotCommitted) =>
            {
                described()
            }
            // If a pooler never passed a request on, it has said so, and the request is sent again.
            (_, "40003")
                if error.cause().and_then(Error::server).is_some_and(was_never_handed_on) =>
            {
                described()
            }
            _ if ask.declared && error.outcome() == Some(Outcome::Unknown) => described(),
            // The pool waits for such a host, or for another one.
            (_, "57014" | "57P03" | "53300") => described(),
            (_, "25006") if self.is_read_write() && (alone || self.began_for_good(ask)) => {
                described()
            }
            // A host that refuses for good does not decide alone if a server that has served is
            // down, or a login is on its way.
            (_, "28000") if !self.is_barred(ask) && self.may_get_in() => described(),
            // Once a server has answered, the pool waits for its restart and for every failover.
            (_, "HYPERION_UNREACHABLE") if self.events.has_heard => described(),
            (_, "HYPERION_POOL_CLOSED") if !self.apps.ended => described(),
            // However often a table is made anew, a read meets one of those.
            (_, "HYPERION_BINARY_RESULT") => described(),
            (
                ErrorClass::PoolTimeout,
                "HYPERION_NO_PRIMARY" | "HYPERION_NO_HOST" | "HYPERION_POOL_TIMEOUT",
            ) if waited < self.config.acquire_timeout
                && (alone || matches!(ask.what, What::Acquire(_))) =>
            {
                Err(format!("after {waited:?}, #{request}: {}", describe(error)))
            }
            _ => Ok(()),
        }
    }

    /// Whether the visit lost its connection before, and got the error that logins are refused.
    fn is_barred(&self, ask: &Ask) -> bool {
        let visit = ask.what.visit().and_then(|number| self.apps.visits.get(number));
        visit.is_some_and(|visit| visit.is_barred)
    }

    /// Whether a host that has served may come back, or the present answer of a host that has
    /// refused is not known yet.
    fn may_get_in(&self) -> bool {
        let hosts = self.pool.cluster(self.now);
        let refuses = |link: &Link| {
            let is_of = |host: &HostStatus| *host.view.host == *format!("h{}:5432", link.node);
            hosts.iter().any(|host| is_of(host) && host.view.state == "refusing")
        };
        let is_asked = |link: &Link| link.is_joining() && refuses(link);
        // A name that leads to several nodes may be asked at another one.
        let is_asked = !self.nodes.were_moved && self.links.values().any(is_asked);
        is_asked || hosts.iter().any(has_gone)
    }

    /// Whether it is asked in a transaction that can't have begun after a fence: a transaction that
    /// began before keeps writing, and one that began across the fence has begun anew.
    fn began_for_good(&self, ask: &Ask) -> bool {
        let visit = ask.what.visit().and_then(|number| self.apps.visits.get(number));
        let reports = self.nodes.leader().map(|node| node.server.reports);
        visit.is_some_and(Visit::is_transaction) && reports == Some(Reports::Changes)
    }

    /// A session that does not fit the mode may answer only calls that were made while it did.
    fn check_role(&self, request: u32, said: &str) -> Result<(), String> {
        let (role, changed_at) = said.split_once(' ').ok_or("no role")?;
        let roles = [Role::ReadWrite, Role::ReadOnly, Role::Standby];
        let role = roles.into_iter().find(|of| of.as_str() == role).ok_or("no role")?;
        let changed_at: u32 = changed_at.parse().map_err(|_| "no time")?;
        match fits(self.config.mode, role) || changed_at >= request {
            true => Ok(()),
            false => Err(format!("answered by a session that is {said}")),
        }
    }

    /// Records what an answer shows.
    fn record(
        &mut self,
        request: u32,
        ask: &Ask,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        let must_be_whole = self.is_read_write();
        let ledger = &mut self.apps.ledger;
        match (&ask.what, result) {
            (What::Write(key), Ok(_)) => ledger.acknowledge(key),
            (What::Write(key), Err(error)) => ledger.failed(key, &error)?,
            (What::Probe(written), result) => {
                self.apps.is_served = result.is_ok();
                match (written, result) {
                    (Some(key), Ok(_)) => ledger.acknowledge(key),
                    (Some(key), Err(error)) => ledger.failed(key, &error)?,
                    (None, _) => {}
                }
            }
            (What::Read, Ok(response)) => {
                let seen = value(&response)?;
                if must_be_whole {
                    ledger.check_read(ask.known, &seen)?;
                }
            }
            (What::Role, Ok(response)) => self.check_role(request, &value(&response)?)?,
            (What::Clean, Ok(response))
                if self.config.reset_on_release && value(&response)? != "no" =>
            {
                return Err("a session was handed on as its last user left it".to_owned());
            }
            (What::Begin | What::Open, Ok(_)) => {
                return Err("a transaction was left open for everybody".to_owned());
            }
            (What::Begin, Err(error)) if error.outcome() != Some(Outcome::NotSent) => {
                return Err(format!("BEGIN was sent: {}", describe(&error)));
            }
            (What::Acquire(number), result) => self.arrived(*number, result),
            (What::Insert(number, key), result) => self.inserted(*number, key, result)?,
            (What::Look(number), result) => {
                if let Ok(response) = result {
                    let seen = value(&response)?;
                    // A visit that changes its session is on its own.
                    if must_be_whole
                        && !self.apps.visits.get(*number).is_some_and(|visit| visit.has_set)
                    {
                        self.apps.ledger.check_read(ask.known, &seen)?;
                    }
                }
                self.stepped(*number);
            }
            (What::Set(number), _) => self.stepped(*number),
            (What::Commit(number), result) => self.committed(*number, result)?,
            (What::PartInsert(number, part, key), result) => {
                self.part_inserted((*number, *part), key, result)?;
            }
            (What::PartEnd(number, part, commits), result) => {
                self.part_ended((*number, *part), *commits, result)?;
            }
            (What::Rollback(number), _) => {
                if let Some(visit) = self.apps.visits.get_mut(*number) {
                    visit.stage = VisitStage::Over;
                    for key in std::mem::take(&mut visit.keys) {
                        self.apps.ledger.refuse(&key, "its transaction was rolled back");
                    }
                }
            }
            (
                What::Read
                | What::Mood
                | What::Role
                | What::Clean
                | What::Begin
                | What::Open
                | What::Change
                | What::Ready
                | What::End,
                _,
            ) => {}
        }
        Ok(())
    }
}

/// Whether an answer has its trace, where its caller wants one. Rows come only from what was sent.
fn check_trace(ask: &Ask, response: &Response) -> Result<(), String> {
    let has_rows = response.results.iter().any(|result| result.shape.is_some());
    match &ask.trace {
        None if ask.is_traced => Err("an answer without a trace".to_owned()),
        Some(Trace { waited: None, .. } | Trace { attempts: 0, .. } | Trace { host: None, .. })
            if has_rows =>
        {
            Err(format!("rows of a call with this trace: {:?}", ask.trace))
        }
        _ => Ok(()),
    }
}

/// Whether a server has described the types in an answer. Otherwise its arrays are text by chance.
fn check_types(response: &Response) -> Result<(), String> {
    let mut shapes = response.results.iter().filter_map(|result| result.shape.as_deref());
    match shapes.any(Shape::has_user_types) {
        true => Err("an answer whose types no server has told".to_owned()),
        false => Ok(()),
    }
}

/// Whether a host had sessions, and has none for now.
fn has_gone(host: &HostStatus) -> bool {
    host.view.role.is_some() && host.view.state == "down"
}

/// The one value of a result.
fn value(response: &Response) -> Result<String, String> {
    let result = response.results.first().ok_or("an empty answer")?;
    let body = result.rows.next_body(&mut RowCursor::default()).ok_or("an answer without a row")?;
    let Body::Whole(body) = body else { return Err("a long row".to_owned()) };
    let bytes = fields(body).next().flatten().ok_or("a row without a value")?;
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}
