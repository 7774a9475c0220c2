//! What becomes of a call when its connection has something to say: an answer, another try, or an
//! error that says whether it may have run.
//!
//! A call whose connection is lost is sent again only where it was never written, or where the
//! caller has declared that it changes nothing. What an answer leads to, `verdict` says.

use std::time::Duration;

use super::dispatch::GUARDED;
use super::{Calls, Context};
use crate::base::{Error, ErrorClass, ErrorKind, Instant, Key, Outcome};
use crate::cluster::HostId;
use crate::connection::{
    Answer, DescriptionState, Effect, RequestToken, Role, Settled, Statement, left_open,
    was_never_handed_on,
};
use crate::pool::loss::{Fate, Loss, on_lost};
use crate::pool::placement::{may_share, may_stay};
use crate::pool::requests::{MOST_CONFLICTS, MOST_REDESCRIPTIONS, Phase};
use crate::pool::verdict::{Facts, On, Verdict, rule};
use crate::pool::{Call, CloseReason, ConnectionId, QueryFlags, Response};
use crate::protocol::backend::TransactionStatus;

impl Calls {
    /// Returns the call where it must be sent again.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        id: ConnectionId,
        settled: Settled,
        cx: &mut Context<'_>,
    ) -> Option<Key<Call>> {
        let key: Key<Call> = Key::from_bits(settled.token.0);
        let (role_after, status) = (settled.role_after, settled.status);
        let lease = self.requests.get(key).and_then(|call| call.lease);
        self.requests.settle_twin(now, key, &settled.answer);
        if self.ran_in_open_transaction(id, key, cx) {
            return Some(key);
        }
        self.recheck_role_if_refused(now, id, key, &settled.answer, cx);
        let verdict = self.judge(now, id, key, settled, cx);
        let verdict = self.take_description(now, id, key, verdict, cx);
        self.measure(now, id, key, &verdict, cx);
        let left_open = self.is_left_open(lease, status);
        // A session that is over, or whose user may have changed its settings, does not tell the
        // role of its host.
        if let Some(role) = role_after
            && cx.connections.get(id).is_some_and(|slot| slot.connection.is_clean())
        {
            self.discover(cx, |discovery, cx| discovery.observe_session(now, id, role, cx));
        }
        match (verdict, lease) {
            (Verdict::SendAgain, None) if left_open => {
                self.drop_left_open(id, cx);
                return Some(key);
            }
            (Verdict::Deliver(result), None) if left_open => {
                self.close_left_open(id, key, result, cx);
            }
            (Verdict::SendAgain, None) => return Some(key),
            (Verdict::SendAgain, Some(lease)) => {
                self.unseat_lease(id, key, lease, cx);
                if !cx.connections.get(id).is_some_and(crate::pool::Slot::is_at_rest) {
                    let why = CloseReason::Dropped;
                    cx.connections.close(id, why, None);
                }
                return Some(key);
            }
            (Verdict::Resume(lease), _) => self.resume_with(now, key, lease, status, cx),
            (Verdict::Described(_), lease) => {
                let waits = self.requests.pause(now, key)
                    || self.ask_parameter_types(now, id, key, cx)
                    || self.ask_for_values(now, key);
                match lease {
                    Some(lease) => self.resume_with(now, key, lease, status, cx),
                    None if waits => cx.connections.clean(now, id),
                    None if self.run_as_described(now, key, id, cx) => {}
                    None => return Some(key),
                }
            }
            (Verdict::Deliver(result), None) => {
                self.deliver(now, id, key, result, cx);
                cx.connections.clean(now, id);
            }
            (Verdict::Deliver(result), Some(lease)) => {
                let result = result.map_err(|error| self.mark_transaction(key, status, error));
                self.settle_leased(now, key, lease, status, cx);
                self.deliver(now, id, key, result, cx);
                self.resume_lease(now, lease, cx);
            }
        }
        None
    }

    /// How long a call took that is answered, and how long it waited before.
    fn measure(
        &self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        verdict: &Verdict,
        cx: &mut Context<'_>,
    ) {
        match verdict {
            Verdict::Deliver(_) => {}
            Verdict::SendAgain => return cx.metrics.resent(),
            Verdict::Resume(_) | Verdict::Described(_) => return,
        }
        let Some(call) = self.requests.get(key) else { return };
        let (Some(slot), Phase::Sent { at, .. }) = (cx.connections.get(id), call.phase) else {
            return;
        };
        cx.metrics.answered(slot.host, &slot.target.name, now.since(at));
        if call.lease.is_none() {
            let waited = call.waited(at, cx.config.acquire_timeout);
            cx.metrics.acquired(slot.host, &slot.target.name, waited);
        }
    }

    /// A call was refused, which may be for another role than its server reports.
    pub(super) fn recheck_role_if_refused(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) {
        let Answer::Refused { error, .. } = answer else { return };
        let begin = self.requests.get(key).and_then(|call| call.flags.begin());
        let Some(slot) = cx.connections.get(id) else { return };
        let is_new = slot.connection.role() == Some(Role::ReadWrite);
        if error.kind() == ErrorKind::ReadOnlyTransaction
            && is_new
            && !begin.is_some_and(|it| it.read_only)
        {
            let host = slot.host;
            self.discover(cx, |discovery, cx| {
                discovery.recheck_role(now, host, Duration::ZERO, cx)
            });
        }
    }

    /// Says with an error what has become of its transaction, as far as the server tells: whether
    /// it takes no more statements, or is open.
    fn mark_transaction(&self, key: Key<Call>, status: TransactionStatus, error: Error) -> Error {
        let call = self.requests.get(key);
        let flags = call.map(|call| call.flags).unwrap_or_default();
        let begun = flags.begin().is_some() && !flags.has(QueryFlags::END);
        let may_leave = call.is_none_or(|call| call.may_leave_transaction(&self.statements));
        let has_run = error.outcome() == Some(Outcome::Unknown);
        match status {
            TransactionStatus::Failed => error.with_failed_transaction(),
            // Its BEGIN was refused, or it has ended itself.
            TransactionStatus::Idle if begun => error.with_failed_transaction(),
            TransactionStatus::InTransaction if has_run && !may_leave => {
                error.with_open_transaction()
            }
            TransactionStatus::Idle | TransactionStatus::InTransaction => error,
        }
    }

    /// Its statement was described on this connection, and holds there, whatever it is elsewhere.
    /// Returns whether it has been sent: it is where it has the connection for itself, or may share
    /// it with what is under way there.
    fn run_as_described(
        &mut self,
        now: Instant,
        key: Key<Call>,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) -> bool {
        let view = self.view(cx);
        let quick = view.requests.get(key).is_some_and(|call| may_share(call, &view));
        if !may_stay(now, id, quick, &view) || !self.is_wanted_again(now, key, cx) {
            return false;
        }
        let Some(call) = self.requests.get_mut(key) else { return false };
        call.come_back(now);
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.quick = quick && (slot.quick || slot.connection.is_idle());
            slot.kept_at_work = false;
        }
        self.send(now, key, id, GUARDED, None, cx);
        true
    }

    fn judge(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        settled: Settled,
        cx: &mut Context<'_>,
    ) -> Verdict {
        if let Some(verdict) = self.judge_cancelled(id, key, &settled.answer, settled.status, cx) {
            return verdict;
        }
        let Some(facts) = self.facts(now, id, key, &settled, cx) else {
            return Verdict::Deliver(Err(Error::internal("an answer to no call")));
        };
        let ruling = rule(&facts, settled.answer);
        if let Some(call) = self.requests.get_mut(key) {
            if ruling.counts {
                call.try_again(now, cx.config.acquire_timeout);
            }
            call.conflicts = call.conflicts.saturating_add(u8::from(ruling.conflicts));
            if let Some(description) = ruling.description {
                call.description = description;
            }
            if let Some(statement) = call.statement.filter(|_| ruling.invalidates) {
                self.statements.invalidate(statement, now);
            }
            if let Some(lease) = call.lease.filter(|_| ruling.leaves_unended)
                && let Some(lease) = self.leases.get_mut(lease)
            {
                lease.leave_unended();
            }
        }
        match ruling.verdict {
            Verdict::Deliver(Err(error)) => {
                Verdict::Deliver(Err(cx.connections.at_host(id, error)))
            }
            verdict => verdict,
        }
    }

    fn facts(
        &self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        settled: &Settled,
        cx: &Context<'_>,
    ) -> Option<Facts> {
        let call = self.requests.get(key)?;
        let slot = cx.connections.get(id);
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
        let topology = cx.discovery.cluster.topology();
        let is_replaced = |host: HostId| topology.host(host).is_some() && !topology.serves(host);
        Some(Facts {
            mode: cx.config.mode,
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
            may_conflict: call.conflicts < MOST_CONFLICTS,
            can_be_held: call.may_be_held(&self.statements) && now < call.tries_until,
            is_last: settled.last && slot.is_some_and(|slot| slot.connection.is_vacant()),
        })
    }

    /// Returns the call where it may be sent again.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        id: ConnectionId,
        token: RequestToken,
        outcome: Outcome,
        why: &Error,
        cx: &mut Context<'_>,
    ) -> Option<Key<Call>> {
        let key: Key<Call> = Key::from_bits(token.0);
        let opened_at = cx.connections.get(id).map(|slot| slot.opened_at);
        self.requests.drop_out(now, key);
        let outcome = match self.ran_in_open_transaction(id, key, cx) {
            true => Outcome::NotCommitted,
            false => outcome,
        };
        let call = self.requests.get_mut(key)?;
        call.description = DescriptionState::Shared;
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
            may_have_committed: begin.is_some() && self.may_have_committed(id, call, cx),
            losses: call.losses,
            is_late: was_in_line && call.deadline <= now,
            would_recur: why.class() == ErrorClass::Protocol
                || why.kind() == ErrorKind::TransactionTimeout,
        };
        let outcome = match on_lost(&loss) {
            Fate::SendAgain => {
                cx.metrics.resent();
                if let Some(lease) = lease {
                    self.unseat_lease(id, key, lease, cx);
                }
                return Some(key);
            }
            Fate::Fail(outcome) => outcome,
        };
        let error = self.lost_error(id, outcome, begin.is_some(), why, cx);
        if let Some(lease) = lease {
            // A call that comes later was certainly not sent.
            let gone = self.lost_error(id, Outcome::NotSent, begin.is_some(), why, cx);
            self.lose_lease(lease, gone);
            if call_releases {
                self.leases.remove(lease);
            }
        }
        self.finish_call(key, Err(error));
        None
    }

    /// An autocommit call was answered, and its session is in a transaction.
    fn close_left_open(
        &mut self,
        id: ConnectionId,
        key: Key<Call>,
        result: Result<Response, Error>,
        cx: &mut Context<'_>,
    ) {
        let statement = self.requests.get(key).and_then(|call| call.statement_in(&self.statements));
        // What it had committed before is not known here.
        let may_have_committed = statement.is_none_or(Statement::may_commit);
        let outcome = if may_have_committed { Outcome::Unknown } else { Outcome::NotCommitted };
        let result = result.and_then(|_| {
            let error = left_open("the statement left a transaction open, which was rolled back");
            let error = error.with_outcome(outcome);
            Err(match cx.connections.host_name(id) {
                Some(host) => error.with_host(host),
                None => error,
            })
        });
        self.finish_call(key, result);
        self.drop_left_open(id, cx);
    }

    fn drop_left_open(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.left_open = true;
        }
        let message =
            "the connection was closed, because a statement had left a transaction open on it";
        let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        cx.connections.drop_slot(id, why);
    }
}
