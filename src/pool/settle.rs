//! What becomes of a call when its connection has something to say: an answer, another try, or an error
//! that says whether it may have run.
//!
//! A call is sent again only where it is certain that it had no effect: it was never written; it ran
//! behind a barrier that showed the fence (a write was refused there, a read is thrown away); the server
//! refused it for its role; or the caller declared that it changes nothing. `BEGIN` has no effect by
//! itself.

use super::slot::Duty;
use super::{Call, ConnectionId, Pool, PoolEvent, QueryFlags, Response};
use crate::base::{Error, ErrorClass, Instant, Key, Outcome};
use crate::cluster::{Observation, fits};
use crate::connection::{Answer, Event, Role, Token};

/// Descriptions can change while calls wait; this often a call finds out before its error is told.
const MOST_REDESCRIPTIONS: u8 = 2;
/// `read_only_sql_transaction`: the server refused a write for its role.
const READ_ONLY_REFUSAL: &str = "25006";
/// `statement_completion_unknown` of the SQL standard.
const COMPLETION_UNKNOWN: &str = "40003";

/// A request's ReadyForQuery, as far as settling needs it.
struct Settled {
    token: Token,
    answer: Answer,
    role_before: Option<Role>,
    role_after: Option<Role>,
}

/// What to do with a settled call.
enum Verdict {
    Deliver(Result<Response, Error>),
    SendAgain,
    /// On the same connection, which is the caller's.
    Resume,
}

impl Pool {
    /// Takes all that a connection has to say.
    pub(super) fn drain(&mut self, now: Instant, id: ConnectionId) {
        let mut again = Vec::new();
        while let Some(event) = self.slots.get_mut(id).and_then(|s| s.connection.poll_event()) {
            match event {
                Event::Ready { role } => self.joined(now, id, role),
                Event::Answered { role } => self.answered(now, id, role),
                Event::Settled { token, answer, role_before, role_after, took, status: _ } => {
                    self.learn_habit(token, &answer, took);
                    let settled = Settled { token, answer, role_before, role_after };
                    if let Some(key) = self.settle(now, id, settled) {
                        again.push(key);
                    }
                }
                Event::Lost { token, outcome, why } => {
                    again.extend(self.lost(id, token, outcome, &why));
                }
                Event::Notice(fields) => {
                    if let Some(host) = self.host_name(id) {
                        let event = PoolEvent::Notice { host, fields };
                        self.outputs.push_back(super::Output::Event(event));
                    }
                }
                Event::Notification { .. } => {}
                Event::Closed { error } => self.closed(now, id, error),
            }
        }
        self.wait_again(again.into_iter());
        self.mark_writing(id);
        self.retire_if_useless(id);
    }

    /// Settles what was in flight on a connection that the pool itself gives up.
    pub(super) fn settle_lost(&mut self, id: ConnectionId) {
        let mut again = Vec::new();
        while let Some(event) = self.slots.get_mut(id).and_then(|s| s.connection.poll_event()) {
            if let Event::Lost { token, outcome, why } = event {
                again.extend(self.lost(id, token, outcome, &why));
            }
        }
        self.wait_again(again.into_iter());
    }

    fn learn_habit(&mut self, token: Token, answer: &Answer, took: std::time::Duration) {
        if let Answer::Completed { results, .. } = answer
            && let Some(call) = self.calls.get(Key::from_bits(token.0))
            && let Some(statement) = self.statements.get_mut(call.statement)
        {
            let selects = results.first().is_some_and(|result| result.command.name() == "SELECT");
            statement.habit.learn(took, selects);
        }
    }

    /// Returns the call where it must be sent again.
    fn settle(&mut self, now: Instant, id: ConnectionId, settled: Settled) -> Option<Key<Call>> {
        let key: Key<Call> = Key::from_bits(settled.token.0);
        let role_after = settled.role_after;
        let verdict = self.judge(id, key, settled);
        if let Some(role) = role_after {
            self.observe_session(now, id, role);
        }
        match verdict {
            Verdict::Resume => {
                self.resume_leased(now, id, Some(key));
                None
            }
            Verdict::SendAgain => {
                self.take_back_lease(id, key);
                Some(key)
            }
            Verdict::Deliver(result) => {
                self.deliver(id, key, result);
                if self.slots.get(id).is_some_and(|slot| slot.describing == Some(key)) {
                    self.resume_leased(now, id, None);
                }
                None
            }
        }
    }

    fn judge(&mut self, id: ConnectionId, key: Key<Call>, settled: Settled) -> Verdict {
        let mode = self.config.mode;
        let unfit = |role: Option<Role>| role.is_some_and(|role| !fits(mode, role));
        let host = self.host_name(id);
        let Some(call) = self.calls.get_mut(key) else {
            return Verdict::Deliver(Err(Error::internal("an answer to no call")));
        };
        // Inside a transaction the user's own code must decide what to run again.
        let free = call.lease.is_none();
        if free && unfit(settled.role_before) {
            return Verdict::SendAgain;
        }
        let with_host = |error: Error| match host {
            Some(host) => error.with_host(host),
            None => error,
        };
        match settled.answer {
            Answer::Described if free => Verdict::SendAgain,
            Answer::Described => Verdict::Resume,
            Answer::Completed { unreplicated: true, .. } => {
                let message = "committed on the primary alone: the wait for its synchronous standbys \
                               was cancelled, so that a failover may lose it";
                let error = Error::new(ErrorClass::Transaction, "HYPERION_NOT_REPLICATED", message);
                Verdict::Deliver(Err(with_host(error).with_outcome(Outcome::Unknown)))
            }
            Answer::Completed { results, unreplicated: false } => {
                Verdict::Deliver(Ok(Response { results, lease: None }))
            }
            Answer::Refused { error, plan_is_stale } => {
                let no_effect = error.outcome() == Some(Outcome::NotCommitted);
                if free && no_effect {
                    if error.code() == READ_ONLY_REFUSAL && unfit(settled.role_after) {
                        return Verdict::SendAgain;
                    }
                    if plan_is_stale && call.redescribed < MOST_REDESCRIPTIONS {
                        call.redescribed += 1;
                        return Verdict::SendAgain;
                    }
                }
                Verdict::Deliver(Err(with_host(error)))
            }
        }
    }

    fn deliver(&mut self, id: ConnectionId, key: Key<Call>, result: Result<Response, Error>) {
        let Some(call) = self.calls.get(key) else { return };
        let flags = call.flags;
        let lease = match self.slots.get(id).map(|slot| slot.duty) {
            Some(Duty::Leased { lease }) => Some(lease),
            _ => None,
        };
        let result = match result {
            Ok(response) if flags.has(QueryFlags::ACQUIRE) => Ok(Response { lease, ..response }),
            other => other,
        };
        let done =
            flags.has(QueryFlags::RELEASE) || (flags.has(QueryFlags::ACQUIRE) && result.is_err());
        if done && let Some(lease) = lease {
            self.end_lease(lease);
        }
        self.finish_call(key, result);
    }

    /// A `BEGIN` that is to be sent again gives up the connection that it took.
    fn take_back_lease(&mut self, id: ConnectionId, key: Key<Call>) {
        if let Some(call) = self.calls.get(key)
            && call.flags.has(QueryFlags::ACQUIRE)
            && let Some(slot) = self.slots.get(id)
            && let Duty::Leased { lease } = slot.duty
        {
            self.end_lease(lease);
        }
    }

    /// Returns the call where it may be sent again.
    fn lost(
        &mut self,
        id: ConnectionId,
        token: Token,
        outcome: Outcome,
        why: &Error,
    ) -> Option<Key<Call>> {
        let key: Key<Call> = Key::from_bits(token.0);
        let call = self.calls.get(key)?;
        // A server that answered with garbage would do so again.
        let broke = why.class() != ErrorClass::Protocol;
        let repeatable = call.lease.is_none()
            && (outcome == Outcome::NotSent
                || (broke && call.flags.has(QueryFlags::READ_ONLY))
                || (broke && call.flags.has(QueryFlags::ACQUIRE)));
        if repeatable {
            return Some(key);
        }
        let outcome =
            if call.lease.is_some() { self.outcome_in_transaction(call, outcome) } else { outcome };
        let error = self.lost_error(id, outcome, why);
        self.finish_call(key, Err(error));
        None
    }

    /// A broken connection ends its transaction without effect, unless what was lost may have been the
    /// commit itself.
    fn outcome_in_transaction(&self, call: &Call, outcome: Outcome) -> Outcome {
        let commits = call.flags.has(QueryFlags::COMMIT)
            || self
                .statements
                .get(call.statement)
                .is_none_or(|statement| statement.ends_transaction || statement.may_be_script);
        if commits && outcome == Outcome::Unknown { outcome } else { Outcome::NotCommitted }
    }

    fn lost_error(&self, id: ConnectionId, outcome: Outcome, why: &Error) -> Error {
        let host = self.host_name(id);
        let reason = why.message();
        let name = host.as_deref().unwrap_or("the server");
        let error = match outcome {
            // Whose fault it was says more than what it did to this call.
            _ if why.class() == ErrorClass::Protocol => why.clone(),
            Outcome::Unknown => {
                let message = format!(
                    "the connection to {name} was lost before it answered, and the statement may or \
                     may not have been applied: {reason}"
                );
                Error::new(ErrorClass::Connection, COMPLETION_UNKNOWN, message)
            }
            Outcome::NotSent | Outcome::NotCommitted => {
                let message = format!(
                    "the connection to {name} was lost, and the transaction with it: {reason}"
                );
                Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message)
            }
        };
        let error = error.with_outcome(outcome);
        match host {
            Some(host) => error.with_host(host),
            None => error,
        }
    }

    fn closed(&mut self, now: Instant, id: ConnectionId, error: Error) {
        let Some(slot) = self.slots.get(id) else { return };
        let (host, joining) = (slot.host, slot.duty == Duty::Joining);
        self.remove_slot(id, Vec::new());
        let observation = if joining {
            Observation::ConnectFailed(error)
        } else {
            Observation::SessionLost(error)
        };
        self.observe(now, host, observation);
        if let Some(error) = self.cluster.hopeless().cloned() {
            self.give_up_waiting(&error);
        }
    }

    /// A connection that has nothing to do on a host that does not serve.
    fn retire_if_useless(&mut self, id: ConnectionId) {
        if self.slots.get(id).is_some_and(super::Slot::is_idle) && !self.may_serve(id) {
            self.retire(id);
        }
    }

    fn host_name(&self, id: ConnectionId) -> Option<std::sync::Arc<str>> {
        let slot = self.slots.get(id)?;
        self.cluster.topology().host(slot.host).map(|host| host.name.clone())
    }
}
