//! What becomes of a call when its connection has something to say: an answer, another try, or an
//! error that says whether it may have run.
//!
//! A call whose connection is lost is sent again only where it was never written, or where the
//! caller has declared that it changes nothing. What an answer leads to, `verdict` says.

use std::time::Duration;

use super::abandoned::TRANSACTION_TIMEOUT;
use super::connections::{Closed, Duty};
use super::discovery::Failed;
use super::dispatch::GUARDED;
use super::loss::{Fate, Loss, on_lost};
use super::placement::may_be_shared;
use super::requests::Phase;
use super::verdict::{Facts, On, READ_ONLY_REFUSAL, Verdict, rule};
use super::{Call, ConnectionId, Pool, PoolEvent, QueryFlags, Response, Slot};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome};
use crate::cluster::{HostId, Observation};
use crate::connection::{
    Answer, Effect, Event, Input, Role, Settled, Shared, Statement, Telling, Token, left_open,
    was_never_handed_on,
};
use crate::protocol::backend::TransactionStatus;

/// Descriptions and roles can change while calls wait. The pool tells a call's error once the call
/// has met such changes this often.
pub(super) const MOST_REDESCRIPTIONS: u8 = 2;
/// A session that ends so soon was hardly one.
const SHORT_LIFE: Duration = Duration::from_millis(500);

impl Pool {
    /// Takes all that a connection has to say.
    pub(super) fn drain(&mut self, now: Instant, id: ConnectionId) {
        let mut again = Vec::new();
        while let Some(event) = self.connections.get_mut(id).and_then(|s| s.connection.poll_event())
        {
            match event {
                Event::Ready { role } => {
                    self.discover(|discovery, cx| discovery.joined(now, id, role, cx))
                }
                Event::Contradicted => {
                    self.discover(|discovery, cx| discovery.distrust_reports(id, cx))
                }
                Event::Answered { role } => {
                    self.discover(|discovery, cx| discovery.answered(now, id, role, cx))
                }
                Event::Typed { outcome, realm } => {
                    self.told_realm(id, realm);
                    self.typed(now, id, outcome);
                }
                Event::Placed { place, role } => {
                    self.discover(|discovery, cx| discovery.placed(now, id, place, role, cx))
                }
                Event::Closed { error, why, idle } => self.closed(now, id, error, &why, idle),
                of_call => again.extend(self.hear(now, id, of_call)),
            }
            self.follow_up(now);
        }
        self.wait_again(now, again.into_iter());
        self.ask_types(now, id);
        self.connections.mark_writing(id);
        // What its calls wait for may be an answer that is no news to anybody else.
        if let Some(Duty::Leased { lease }) = self.connections.get(id).map(|slot| slot.duty)
            && !Mutation::StrandCalls.is_on()
        {
            self.resume_lease(now, lease);
        }
        if self.requests.is_any_given_up()
            || self.connections.get(id).is_some_and(|slot| slot.cancelling.is_some())
        {
            self.tend(now, id);
        }
        self.connections.retire_if_useless(id, self.discovery.cluster.topology());
        self.connections.clean(now, id);
        self.follow_up(now);
    }

    /// Does what the last step of the pool has left to be done: closes the connections that were
    /// dropped, settles what was in flight there, and lets go what waits in a failed transaction.
    pub(super) fn follow_up(&mut self, now: Instant) {
        self.release_untold(now);
        loop {
            while let Some(closed) = self.connections.next_closed() {
                self.leave(closed);
            }
            let Some((id, error)) = self.connections.next_dropped() else { return };
            self.close_dropped(now, id, &error);
            self.release_untold(now);
        }
    }

    /// A connection was closed: what hung on it goes on without it.
    fn leave(&mut self, closed: Closed) {
        if let Some(lease) = closed.lease {
            let message = "the connection was closed by the pool";
            let code = "HYPERION_CONNECTION_LOST";
            self.vacate(lease, Error::new(ErrorClass::Connection, code, message));
        }
        if closed.has_moved_names {
            self.statements.names_moved();
        }
        if let Some(then) = closed.role_told_at {
            self.discovery.cluster.said_until(closed.host, then);
        }
        self.release_untyped_of(closed.id);
    }

    fn close_dropped(&mut self, now: Instant, id: ConnectionId, error: &Error) {
        if let Some(slot) = self.connections.get_mut(id) {
            let mut shared = Shared {
                config: &self.config,
                statements: &mut self.statements,
                keys: &mut self.keys,
            };
            let why = error.message().to_owned();
            slot.connection.handle_input(now, Input::Closed { why }, &mut shared);
            self.settle_lost(now, id);
            if let Some(Duty::Leased { lease }) = self.connections.get(id).map(|slot| slot.duty) {
                let error = self.lost_error(id, Outcome::NotSent, false, error);
                self.vacate(lease, error);
            }
            self.connections.close(id, Vec::new());
        }
    }

    /// Settles the calls in flight on a connection that the pool itself gives up, and the answers
    /// that their callers have not been told yet. What the connection says of its host is outdated.
    fn settle_lost(&mut self, now: Instant, id: ConnectionId) {
        let mut again = Vec::new();
        while let Some(event) = self.connections.get_mut(id).and_then(|s| s.connection.poll_event())
        {
            again.extend(self.hear(now, id, event));
        }
        self.wait_again(now, again.into_iter());
    }

    /// Takes what a connection says of a call. Returns the call where it must be sent again.
    fn hear(&mut self, now: Instant, id: ConnectionId, event: Event) -> Option<Key<Call>> {
        match event {
            Event::Settled(settled) => {
                self.learn_habit(&settled);
                self.settle(now, id, settled)
            }
            Event::Lost { token, outcome, in_transaction, why } => {
                let outcome = match in_transaction {
                    true => self.outcome_in_own_transaction(id, token, outcome),
                    false => outcome,
                };
                self.lost(now, id, token, outcome, &why)
            }
            Event::Notice(fields) => {
                if let Some(host) = self.connections.host_name(id) {
                    let event = PoolEvent::Notice { host, fields };
                    self.outputs.push_back(super::Output::Event(event));
                }
                None
            }
            Event::Ready { .. }
            | Event::Answered { .. }
            | Event::Contradicted
            | Event::Typed { .. }
            | Event::Placed { .. }
            | Event::Notification { .. }
            | Event::Closed { .. } => None,
        }
    }

    fn learn_habit(&mut self, settled: &Settled) {
        if let Answer::Completed { results, .. } = &settled.answer
            && let Some(call) = self.requests.get(Key::from_bits(settled.token.0))
            && let Some(id) = call.statement
            && let Some(statement) = self.statements.get_mut(id)
        {
            let selects = results.first().is_some_and(|result| result.command.name() == "SELECT");
            let size = results.iter().map(|result| result.rows.size()).sum();
            statement.habit.learn(settled.took, selects, size);
            if let Some(gap) = settled.parted {
                statement.habit.learn_parting(gap);
            }
        }
    }

    /// Returns the call where it must be sent again.
    fn settle(&mut self, now: Instant, id: ConnectionId, settled: Settled) -> Option<Key<Call>> {
        let key: Key<Call> = Key::from_bits(settled.token.0);
        let (role_after, status) = (settled.role_after, settled.status);
        let lease = self.requests.get(key).and_then(|call| call.lease);
        self.requests.settle_twin(now, key, &settled.answer);
        if self.ran_in_open_transaction(id, key) {
            return Some(key);
        }
        self.doubt_refusal(now, id, key, &settled.answer);
        let verdict = self.judge(now, id, key, settled);
        let left_open = self.is_left_open(lease, status);
        // A session that is over, or whose user may have changed its settings, does not tell the
        // role of its host.
        if let Some(role) = role_after
            && self.connections.get(id).is_some_and(|slot| slot.connection.is_clean())
        {
            self.discover(|discovery, cx| discovery.observe_session(now, id, role, cx));
        }
        match (verdict, lease) {
            (Verdict::SendAgain, None) if left_open => {
                self.drop_left_open(id);
                return Some(key);
            }
            (Verdict::Deliver(result), None) if left_open => {
                self.close_left_open(id, key, result);
            }
            (Verdict::SendAgain, None) => return Some(key),
            (Verdict::SendAgain, Some(lease)) => {
                self.unseat_lease(id, key, lease);
                if !self.connections.get(id).is_some_and(super::Slot::is_at_rest) {
                    self.connections.close(id, Vec::new());
                }
                return Some(key);
            }
            (Verdict::Resume(lease), _) => self.resume_with(now, key, lease, status),
            (Verdict::Described(told), lease) => {
                if let (Some(call), Some(told)) = (self.requests.get_mut(key), told) {
                    call.telling = Telling::Done(told);
                }
                let waits = self.ask_for_values(now, key) || self.ask_parameter_types(now, id, key);
                match lease {
                    Some(lease) => self.resume_with(now, key, lease, status),
                    None if waits => self.connections.clean(now, id),
                    None if self.run_as_told(now, key, id) => {}
                    None => return Some(key),
                }
            }
            (Verdict::Deliver(result), None) => {
                self.deliver(now, id, key, result);
                self.connections.clean(now, id);
            }
            (Verdict::Deliver(result), Some(lease)) => {
                let result = result.map_err(|error| self.tell_transaction(key, status, error));
                self.settle_leased(now, key, lease, status);
                self.deliver(now, id, key, result);
                self.resume_lease(now, lease);
            }
        }
        None
    }

    /// A call was refused, which may be for another role than its server reports.
    pub(super) fn doubt_refusal(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        answer: &Answer,
    ) {
        let Answer::Refused { error, .. } = answer else { return };
        let begin = self.requests.get(key).and_then(|call| call.flags.begin());
        let Some(slot) = self.connections.get(id) else { return };
        let is_new = slot.connection.role() == Some(Role::ReadWrite);
        if error.code() == READ_ONLY_REFUSAL && is_new && !begin.is_some_and(|it| it.read_only) {
            let host = slot.host;
            self.discover(|discovery, cx| discovery.doubt_reports(now, host, Duration::ZERO, cx));
        }
    }

    /// Says with an error that its transaction takes no more statements, where the server does.
    fn tell_transaction(&self, key: Key<Call>, status: TransactionStatus, error: Error) -> Error {
        let flags = self.requests.get(key).map(|call| call.flags).unwrap_or_default();
        let begun = flags.begin().is_some() && !flags.has(QueryFlags::END);
        match status {
            TransactionStatus::Failed => error.with_failed_transaction(),
            // Its BEGIN was refused, or it has ended itself.
            TransactionStatus::Idle if begun => error.with_failed_transaction(),
            TransactionStatus::Idle | TransactionStatus::InTransaction => error,
        }
    }

    /// Its statement was described on this connection, and holds there, whatever it is elsewhere.
    /// Returns whether it has been sent: it is where it has the connection for itself, or may share
    /// it with what is under way there.
    fn run_as_told(&mut self, now: Instant, key: Key<Call>, id: ConnectionId) -> bool {
        let serves = |host| self.discovery.cluster.topology().rank(host).is_some();
        let quick = self.requests.get(key).is_some_and(|call| self.may_share(call));
        let takes_it = |slot: &Slot| {
            let depth = slot.connection.depth();
            let has_room = depth == 0 || (quick && may_be_shared(now, slot, depth));
            slot.takes_calls() && !slot.connection.has_events() && serves(slot.host) && has_room
        };
        if !self.connections.get(id).is_some_and(takes_it) || !self.is_wanted_again(now, key) {
            return false;
        }
        let Some(call) = self.requests.get_mut(key) else { return false };
        call.come_back(now);
        if let Some(slot) = self.connections.get_mut(id) {
            slot.quick = quick && (slot.quick || slot.connection.is_idle());
            slot.kept_at_work = false;
        }
        self.send(now, key, id, GUARDED, None);
        true
    }

    fn judge(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        settled: Settled,
    ) -> Verdict {
        if let Some(verdict) = self.judge_cancelled(id, key, &settled.answer) {
            return verdict;
        }
        let Some(facts) = self.facts(id, key, &settled) else {
            return Verdict::Deliver(Err(Error::internal("an answer to no call")));
        };
        let ruling = rule(&facts, settled.answer);
        if let Some(call) = self.requests.get_mut(key) {
            call.redescribed += u8::from(ruling.counts);
            if let Some(telling) = ruling.telling {
                call.telling = telling;
            }
            if let Some(statement) = call.statement.filter(|_| ruling.doubts) {
                self.statements.doubt(statement, now);
            }
            if let Some(lease) = call.lease.filter(|_| ruling.leaves_unended)
                && let Some(lease) = self.leases.get_mut(lease)
            {
                lease.leave_unended();
            }
        }
        match ruling.verdict {
            Verdict::Deliver(Err(error)) => {
                Verdict::Deliver(Err(self.connections.at_host(id, error)))
            }
            verdict => verdict,
        }
    }

    fn facts(&self, id: ConnectionId, key: Key<Call>, settled: &Settled) -> Option<Facts> {
        let call = self.requests.get(key)?;
        let slot = self.connections.get(id);
        let statement = call.statement.and_then(|id| self.statements.get(id));
        let on = match call.lease {
            None => On::Pooled,
            Some(lease) => {
                let of = self.leases.get(lease);
                let (seen, between) =
                    of.map_or((true, false), |of| (of.has_seen(), of.is_between()));
                On::Leased { lease, seen, between }
            }
        };
        let topology = self.discovery.cluster.topology();
        let is_replaced = |host: HostId| topology.host(host).is_some() && !topology.serves(host);
        Some(Facts {
            mode: self.config.mode,
            on,
            begin: call.flags.begin(),
            declared: call.flags.has(QueryFlags::READ_ONLY),
            effect: statement.map_or(Effect::Possible, |statement| statement.effect),
            is_plain_read: statement.is_some_and(|statement| statement.is_plain_read),
            may_leave_transaction: statement.is_some_and(Statement::may_leave_transaction),
            role_before: settled.role_before,
            role_after: settled.role_after,
            role_is_own: settled.role_is_own,
            status_before: settled.status_before,
            status: settled.status,
            is_replaced: call.lease.is_some() && slot.is_some_and(|slot| is_replaced(slot.host)),
            has_tries: call.redescribed < MOST_REDESCRIPTIONS,
            is_last: settled.last && slot.is_some_and(|slot| slot.connection.is_vacant()),
        })
    }

    /// Returns the call where it may be sent again.
    fn lost(
        &mut self,
        now: Instant,
        id: ConnectionId,
        token: Token,
        outcome: Outcome,
        why: &Error,
    ) -> Option<Key<Call>> {
        let key: Key<Call> = Key::from_bits(token.0);
        let opened_at = self.connections.get(id).map(|slot| slot.opened_at);
        self.requests.drop_out(now, key);
        let outcome = match self.ran_in_open_transaction(id, key) {
            true => Outcome::NotCommitted,
            false => outcome,
        };
        let call = self.requests.get_mut(key)?;
        call.telling = Telling::No;
        // A host that goes down takes its sessions along, one after the other: that is one loss.
        let is_another = call.losses == 0 || opened_at.is_none_or(|at| at > call.lost_at);
        if outcome == Outcome::Unknown && is_another {
            call.losses = call.losses.saturating_add(1);
            call.lost_at = now;
        }
        // A pooler had the call wait in a queue of its own, which is like any other wait for a
        // connection.
        let was_in_line = why.server().is_some_and(was_never_handed_on);
        if was_in_line {
            call.phase = Phase::Queued;
        }
        let (lease, begin) = (call.lease, call.flags.begin());
        let call_releases = call.flags.has(QueryFlags::RELEASE);
        let of_lease = lease.and_then(|lease| self.leases.get(lease));
        let call = self.requests.get(key)?;
        let loss = Loss {
            outcome,
            is_free: lease.is_none() || of_lease.is_some_and(|lease| !lease.has_seen()),
            declared: call.flags.has(QueryFlags::READ_ONLY),
            begin,
            may_have_committed: begin.is_some() && self.may_have_committed(id, call),
            losses: call.losses,
            is_late: was_in_line && call.deadline <= now,
            would_recur: why.class() == ErrorClass::Protocol || why.code() == TRANSACTION_TIMEOUT,
        };
        let outcome = match on_lost(&loss) {
            Fate::SendAgain => {
                if let Some(lease) = lease {
                    self.unseat_lease(id, key, lease);
                }
                return Some(key);
            }
            Fate::Fail(outcome) => outcome,
        };
        let error = self.lost_error(id, outcome, begin.is_some(), why);
        if let Some(lease) = lease {
            // A call that comes later was certainly not sent.
            let gone = self.lost_error(id, Outcome::NotSent, begin.is_some(), why);
            self.lose_lease(lease, gone);
            if call_releases {
                self.leases.remove(lease);
            }
        }
        self.finish_call(key, Err(error));
        None
    }

    fn closed(&mut self, now: Instant, id: ConnectionId, error: Error, why: &Error, idle: bool) {
        let Some(slot) = self.connections.get_mut(id) else { return };
        let route = std::mem::take(&mut slot.route);
        let (host, joining) = (slot.host, slot.is_joining());
        let (site, duty) = (slot.site(), slot.duty);
        let is_witness = matches!(duty, Duty::Witness { .. });
        let short_lived = now.since(slot.opened_at) < SHORT_LIFE;
        if let Duty::Leased { lease } = slot.duty {
            let error = self.lost_error(id, Outcome::NotSent, false, why);
            self.vacate(lease, error);
        }
        self.connections.close(id, Vec::new());
        let observation = if joining {
            self.discover(|discovery, cx| discovery.judge_unlisted(now, host, &error, cx));
            if is_witness && self.discover(|discovery, cx| discovery.desert(site, &error, cx)) {
                return;
            }
            let failed = Failed { site, duty, route };
            let Some(error) =
                self.discover(|discovery, cx| discovery.failed_at(now, failed, error, cx))
            else {
                return;
            };
            Observation::ConnectFailed(error)
        } else {
            // A host that ends sessions as soon as it has them must not be run over.
            if short_lived {
                self.discovery.cluster.leave_alone(now, host);
            }
            match idle && !Mutation::SuspectIdleCut.is_on() {
                true => Observation::IdleCut(error),
                false => Observation::SessionLost(error),
            }
        };
        self.discover(|discovery, cx| discovery.observe(now, host, observation, cx));
        self.discover(|discovery, cx| discovery.decide_rivals(now, cx));
        self.may_be_hopeless = true;
    }

    /// An autocommit call was answered, and its session is in a transaction.
    fn close_left_open(
        &mut self,
        id: ConnectionId,
        key: Key<Call>,
        result: Result<Response, Error>,
    ) {
        let statement = self.requests.get(key).and_then(|call| call.statement_in(&self.statements));
        // What it had committed before is not known here.
        let may_have_committed = statement.is_none_or(Statement::may_commit);
        let outcome = if may_have_committed { Outcome::Unknown } else { Outcome::NotCommitted };
        let result = result.and_then(|_| {
            let error = left_open("the statement left a transaction open, which was rolled back");
            let error = error.with_outcome(outcome);
            Err(match self.connections.host_name(id) {
                Some(host) => error.with_host(host),
                None => error,
            })
        });
        self.finish_call(key, result);
        self.drop_left_open(id);
    }

    fn drop_left_open(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.left_open = true;
        }
        let message =
            "the connection was closed, because a statement had left a transaction open on it";
        let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        self.connections.drop_slot(id, why);
    }
}
