//! Calls that are given up before they are answered: by their caller, by their deadline, or by the
//! end of the pool.
//!
//! A call that was not written is taken back. A call that was written can't be taken back, so the
//! pool asks the server to cancel it, by a CancelRequest on a connection of its own. A
//! CancelRequest hits whatever statement the session runs when it arrives. So the pool sends it
//! only when the call is certainly the one at work. The session gets no other work before the
//! call's ReadyForQuery has come and the server has closed the cancel connection: by then the
//! signal was delivered.
//!
//! ```text
//! waiting, held, not written ──▶ taken back: not sent
//! a COMMIT       ──▶ never cancelled: its connection is closed, and the outcome is unknown
//! a ROLLBACK     ──▶ not cancelled either: closing its connection does the same (`rollback`)
//! behind others  ──▶ its caller is told at once; cancelled only if its turn comes and it is slow
//! at work        ──▶ CancelRequest ──▶ 57014: not committed
//!                                  ──▶ any other answer: it was faster, and is delivered, unless it
//!                                      is a write on a session that may hide that the signal has
//!                                      ended its wait for synchronous standbys: unknown
//!                                  ──▶ none within cancelGraceMs: closed, outcome unknown
//! ```
//!
//! A call that shares the session may be hit where the cancelled one ends just before the signal
//! arrives. Such a call is one of the statements that can't commit half-way (`sharing`). So its
//! 57014 proves that it had no effect, and the pool sends it again without its caller noticing. A
//! connection that one caller has to itself has no such calls: a call that can be cancelled is sent
//! alone there.

use std::num::NonZeroU32;
use std::time::Duration;

use super::outcome::COMPLETION_UNKNOWN;
use super::{Calls, Context};
use crate::base::{Error, ErrorClass, ErrorKind, Instant, Key, Mutation, Outcome};
use crate::connection::{Answer, RequestToken};
use crate::pool::connections::{CancelState, Cancelling, Duty};
use crate::pool::requests::{GivenUp, Reason, given_up_error, no_connection};
use crate::pool::verdict::Verdict;
use crate::pool::{Call, ConnectionId, QueryFlags, Response};
use crate::protocol::backend::TransactionStatus;

/// If other calls wait after it, a call is cancelled only once the server has run it for this long.
/// All calls that share a session were quick lately, and most of them are done before a
/// CancelRequest arrives.
const QUICK_ENOUGH: Duration = Duration::from_millis(20);
/// A CancelRequest that arrives before the server began to run the call hits nothing. The pool
/// repeats it after this time, and then each time after twice as long.
const REPEAT: Duration = Duration::from_millis(25);

impl Calls {
    pub(in crate::pool) fn cancel_request(
        &mut self,
        now: Instant,
        request: u32,
        cx: &mut Context<'_>,
    ) {
        match self.requests.watches.call(request) {
            Some(call) => self.give_up(now, call, Reason::Aborted, cx),
            // The call was answered. Its caller no longer waits for the names of types.
            None => self.hand_out_untyped(now, Reason::Aborted, |_, of| of == request, cx),
        }
    }

    /// Gives up the transaction of a lease: the running call first, so that it is cancelled even if
    /// the end of a waiting call closes the connection. Calls that the caller of the connection has
    /// made before or after the transaction continue.
    pub(in crate::pool) fn cancel_all_of(
        &mut self,
        now: Instant,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        let Some(lease) = self.leases.get(number) else { return };
        let slot = lease.connection().and_then(|id| cx.connections.get(id));
        let running = slot.into_iter().flat_map(|slot| slot.connection.requests());
        let running = running.map(|token| Key::from_bits(token.0));
        let calls: Vec<_> = running.chain(lease.waiting()).collect();
        let has_begun = !lease.is_between() || Mutation::GiveUpBeside.is_on();
        for key in calls {
            let begin = self.requests.get(key).and_then(|call| call.flags.begin());
            if begin.is_none() && !Mutation::GiveUpBeside.is_on() {
                continue;
            }
            self.give_up(now, key, Reason::WithTransaction, cx);
        }
        // The ROLLBACK is sent only when all calls before it are answered.
        if has_begun {
            self.hand_out_untyped(now, Reason::WithTransaction, |of, _| of == Some(number), cx);
        }
    }

    pub(in crate::pool) fn end_cancel(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reached: bool,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        let at_work = slot.connection.first_request();
        let Some(cancelling) = &mut slot.cancelling else { return };
        if at_work == Some(cancelling.target) {
            cancelling.state = CancelState::Due { at: now + cancelling.repeat_in };
            cancelling.repeat_in = cancelling.repeat_in.saturating_mul(2);
        } else if reached {
            cancelling.state = CancelState::Over;
        } else {
            // It is not known whether the signal is still to come.
            return self.distrust(id, cx);
        }
        self.tend(now, id, cx);
    }

    pub(super) fn give_up(
        &mut self,
        now: Instant,
        key: Key<Call>,
        reason: Reason,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = self.requests.get(key) else { return };
        if call.given_up.is_some() || call.is_copy() {
            return;
        }
        if call.rolls_back() {
            return self.give_up_rollback(now, key, reason, cx);
        }
        self.requests.win(now, key);
        let Some(call) = self.requests.get(key) else { return };
        let Some(id) = call.sent_to() else { return self.take_back(now, key, reason, cx) };
        let (lease, commits) = (call.lease, self.may_commit(call));
        let token = RequestToken(key.to_bits());
        let Some(slot) = cx.connections.get_mut(id) else { return };
        if slot.connection.withdraw(token) {
            slot.writing &= !slot.connection.outgoing().is_empty() || Mutation::ForgetWrite.is_on();
            let error = self.given_up_error(id, reason, Outcome::NotSent, "it was not sent", cx);
            self.finish_unsent(now, key, error, cx);
            // Calls that were given up may wait for this one.
            return self.tend(now, id, cx);
        }
        if commits {
            let what = "it commits, which is never cancelled, so that its connection was closed";
            let error = self.given_up_error(id, reason, Outcome::Unknown, what, cx);
            self.answer_early(now, key, reason, Err(error.with_code(COMPLETION_UNKNOWN)));
            let message = "the connection was closed, because a COMMIT on it was given up";
            let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
            cx.connections.drop_slot(id, why);
            // A caller that commits no longer needs the connection.
            return lease.into_iter().for_each(|lease| self.end_lease(now, lease, cx));
        }
        let at_work = slot.connection.first_request() == Some(token);
        let is_answered = lease.is_none() && !at_work;
        if is_answered {
            let what = "it had been sent behind others, so that the server may still run it";
            let error = self.given_up_error(id, reason, Outcome::Unknown, what, cx);
            self.answer_early(now, key, reason, Err(error));
        } else {
            self.requests.give_up(now, key, reason, is_answered);
        }
        self.tend(now, id, cx);
    }

    /// Answers a call that stays in flight.
    fn answer_early(
        &mut self,
        now: Instant,
        key: Key<Call>,
        reason: Reason,
        result: Result<Response, Error>,
    ) {
        self.answer(key, result);
        self.requests.give_up(now, key, reason, true);
    }

    /// Takes back a call that is on no connection.
    fn take_back(&mut self, now: Instant, key: Key<Call>, reason: Reason, cx: &mut Context<'_>) {
        let Some(call) = self.requests.get(key) else { return };
        let error = match call.statement {
            Some(_) => given_up_error(reason, call.outcome(), "it still waited for a connection"),
            None => no_connection(reason),
        };
        match call.lease {
            Some(lease) => self.take_back_leased(key, lease),
            None if call.is_aside() => {}
            None => self.requests.waiting.strike(key),
        }
        self.finish_unsent(now, key, error, cx);
    }

    fn finish_unsent(&mut self, now: Instant, key: Key<Call>, error: Error, cx: &mut Context<'_>) {
        let Some(call) = self.requests.get(key) else { return };
        let (lease, releases) = (call.lease, call.flags.has(QueryFlags::RELEASE));
        if let Some(lease) = lease.filter(|_| call.flags.has(QueryFlags::END)) {
            self.leave_unended(lease);
        }
        self.finish_call(key, Err(error));
        match lease {
            // The caller believes that it has released the connection.
            Some(lease) if releases => self.end_lease(now, lease, cx),
            Some(lease) => self.unsend_leased(now, key, lease, cx),
            None => {}
        }
    }

    /// The call that the server runs, why it was given up, and when its caller has waited long
    /// enough. A CancelRequest for the previous call may take some of that time.
    fn cancel_target(
        &self,
        id: ConnectionId,
        cx: &Context<'_>,
    ) -> Option<(RequestToken, Reason, Instant)> {
        let connection = &cx.connections.get(id)?.connection;
        let (target, since) = (connection.first_request()?, connection.head_since()?);
        let given_up = self.requests.get(Key::from_bits(target.0))?.given_up?;
        Some((
            target,
            given_up.reason,
            cx.life.grace_ends(given_up.at.max(since), cx.config.cancel_grace),
        ))
    }

    /// Takes the next step for the calls of a connection that were given up.
    pub(super) fn tend(&mut self, now: Instant, id: ConnectionId, cx: &mut Context<'_>) {
        // A signal that comes late would hit a COMMIT that follows the target.
        let in_front_of_commit = self.has_commit(id, cx);
        let target = self.cancel_target(id, cx);
        let Some(slot) = cx.connections.get_mut(id) else { return };
        let at_work = slot.connection.first_request();
        if let Some(cancelling) = &mut slot.cancelling
            && at_work != Some(cancelling.target)
        {
            match cancelling.state {
                CancelState::Underway if !Mutation::HurryCancel.is_on() => return,
                CancelState::Underway | CancelState::Due { .. } | CancelState::Over => {
                    cancelling.state = CancelState::Over
                }
            }
            // The calls after the target may be hit until all of them are answered.
            if !cancelling.fired || slot.connection.depth() == 0 {
                slot.cancelling = None;
            }
        }
        if let Some((target, reason, give_up_at)) = target
            && slot.cancelling.as_ref().is_none_or(|cancelling| cancelling.target != target)
        {
            let shared = slot.connection.has_followers(target);
            let since = slot.connection.head_since().unwrap_or(now);
            let overtaken = reason == Reason::Overtaken;
            let at = match (in_front_of_commit, shared || overtaken) {
                (true, _) => Instant::NEVER,
                (false, true) => since + QUICK_ENOUGH,
                (false, false) => now,
            };
            slot.cancelling = Some(Cancelling {
                target,
                state: CancelState::Due { at },
                fired: slot.cancelling.as_ref().is_some_and(Cancelling::has_fired),
                repeat_in: REPEAT,
                give_up_at,
            });
        }
        if let Some(cancelling) = &mut slot.cancelling
            && let CancelState::Due { at } = cancelling.state
            && at <= now
            && slot.connection.at_work() == Some(cancelling.target)
            && cx.connections.send_cancel(id)
            && let Some(slot) = cx.connections.get_mut(id)
            && let Some(cancelling) = &mut slot.cancelling
        {
            cancelling.state = CancelState::Underway;
            cancelling.fired = true;
        }
        let Some(slot) = cx.connections.get(id) else { return };
        if slot.cancelling.is_none() {
            self.types.ask(now, id, cx.connections);
            let Some(slot) = cx.connections.get(id) else { return };
            if let Duty::Leased { lease } = slot.duty {
                self.resume_lease(now, lease, cx);
            }
            cx.connections.clean(now, id);
            cx.connections.retire_if_useless(id, cx.discovery.cluster.topology());
        }
    }

    pub(in crate::pool) fn handle_cancel_timeouts(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some((key, after)) = self.requests.watches.take_due(now) {
            self.give_up(now, key, Reason::TimedOut { after }, cx);
        }
        let due = |slot: &crate::pool::Slot| slot.cancel_deadline().is_some_and(|at| at <= now);
        let due = cx.connections.cancelling().filter(|(_, slot)| due(slot));
        let due: Vec<_> = due.map(|(id, _)| id).collect();
        for id in due {
            let Some(slot) = cx.connections.get_mut(id) else { continue };
            let at_work = slot.connection.first_request();
            let Some(cancelling) = &mut slot.cancelling else { continue };
            if now < cancelling.give_up_at {
                self.tend(now, id, cx);
            } else if let Some(target) = at_work.filter(|token| *token == cancelling.target) {
                self.give_up_connection(now, id, target, cx);
            } else if cancelling.state == CancelState::Underway {
                self.distrust(id, cx);
            } else {
                // Only other calls are left, for which the pool waits as usual.
                cancelling.give_up_at = Instant::NEVER;
            }
        }
    }

    /// Stops using a session: a late signal may still hit whatever it would run next.
    fn distrust(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        let Some(slot) = cx.connections.get(id) else { return };
        if slot.duty == Duty::Serving && slot.connection.is_idle() {
            return cx.connections.retire(id);
        }
        let message = "the connection was closed, because a CancelRequest for it got lost";
        let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        cx.connections.drop_slot(id, why);
    }

    /// What the server's answer means if the call was given up, or if the signal for another call
    /// hit it.
    pub(super) fn judge_cancelled(
        &self,
        id: ConnectionId,
        key: Key<Call>,
        answer: &Answer,
        status: TransactionStatus,
        cx: &Context<'_>,
    ) -> Option<Verdict> {
        let cancelling = cx.connections.get(id)?.cancelling.as_ref()?;
        if !cancelling.fired {
            return None;
        }
        let call = self.requests.get(key)?;
        match (call.given_up, answer) {
            (Some(GivenUp { reason, .. }), Answer::Refused { error, .. })
                if error.kind() == ErrorKind::QueryCanceled =>
            {
                let outcome = error.outcome().unwrap_or(Outcome::Unknown);
                let what = "the server has cancelled it";
                Some(Verdict::Deliver(Err(self.given_up_error(id, reason, outcome, what, cx))))
            }
            (Some(GivenUp { reason, .. }), Answer::Completed { unreplicated: true, .. }) => {
                let what = "it is committed on the primary alone, which gave up its wait for synchronous standbys, \
                            so that a failover may lose it";
                let error = self.given_up_error(id, reason, Outcome::Unknown, what, cx);
                Some(Verdict::Deliver(Err(error)))
            }
            (given_up, Answer::Completed { unreplicated: false, .. })
                if status == TransactionStatus::Idle
                    && self.may_hide_unreplicated(id, call, cx) =>
            {
                let what = "it is committed, perhaps on the primary alone: its server may have given up the wait for \
                            synchronous standbys, of which the session's client_min_messages keeps it from warning, \
                            so that a failover may lose it";
                let error = match given_up {
                    Some(GivenUp { reason, .. }) => {
                        self.given_up_error(id, reason, Outcome::Unknown, what, cx)
                    }
                    None => {
                        let class = ErrorClass::Transaction;
                        let error = Error::new(class, "HYPERION_NOT_REPLICATED", what);
                        cx.connections.at_host(id, error.with_outcome(Outcome::Unknown))
                    }
                };
                Some(Verdict::Deliver(Err(error)))
            }
            (None, Answer::Refused { error, .. })
                if error.kind() == ErrorKind::QueryCanceled
                    && error.outcome() == Some(Outcome::NotCommitted)
                    && call.lease.is_none() =>
            {
                Some(Verdict::SendAgain)
            }
            _ => None,
        }
    }

    /// Whether a call that a CancelRequest may have hit can have committed on the primary alone,
    /// without a warning from the server. The session may hide that warning if the login, its user
    /// or the text has set client_min_messages. What the server sets for a role or a database is
    /// not known here.
    fn may_hide_unreplicated(&self, id: ConnectionId, call: &Call, cx: &Context<'_>) -> bool {
        const SETTING: &str = "client_min_messages";
        let statement = call.statement_in(&self.statements);
        let reads = call.flags.has(QueryFlags::READ_ONLY)
            || statement.is_some_and(|statement| statement.is_plain_read);
        if reads {
            return false;
        }
        let is_of_login = cx.config.parameters.iter().any(|(name, value)| {
            let hides = ["error", "fatal", "panic"].iter().any(|it| value.eq_ignore_ascii_case(it));
            (name.eq_ignore_ascii_case(SETTING) && hides)
                || (name == "options" && value.contains(SETTING))
        });
        let is_of_text =
            statement.is_none_or(|statement| statement.sql.to_ascii_lowercase().contains(SETTING));
        let is_clean = cx.connections.get(id).is_some_and(|slot| slot.connection.is_clean());
        is_of_login || is_of_text || !is_clean || !cx.config.reset_on_release
    }

    fn given_up_error(
        &self,
        id: ConnectionId,
        reason: Reason,
        outcome: Outcome,
        what: &str,
        cx: &Context<'_>,
    ) -> Error {
        cx.connections.at_host(id, given_up_error(reason, outcome, what))
    }

    /// Cancels calls that were given up, if the server comes to them and takes long.
    pub(in crate::pool) fn tend_forsaken(&mut self, now: Instant, cx: &mut Context<'_>) {
        for id in self.requests.take_forsaken() {
            self.tend(now, id, cx);
        }
    }
}
