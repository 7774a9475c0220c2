//! What a statement has come to whose connection is lost, and whether a transaction is open in
//! front of it.
//!
//! The user of a dedicated connection may have begun one by a statement, BEGIN for one. Another one
//! must not begin inside of it: its COMMIT or ROLLBACK would end both. What is to begin one waits
//! until all is answered that was asked before, since any of that may be a BEGIN.

use std::num::NonZeroU32;

use super::abandoned::outlived;
use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Key, Mutation, Outcome};
use crate::connection::{RequestToken, Statement};
use crate::pool::connections::Connections;
use crate::pool::leases::Lease;
use crate::pool::loss::in_transaction;
use crate::pool::{Call, ConnectionId, QueryFlags};
use crate::protocol::backend::TransactionStatus;

/// `statement_completion_unknown` of the SQL standard.
pub(super) const COMPLETION_UNKNOWN: &str = "40003";

impl Calls {
    /// Whether anything that was asked on the connection of a lease is unanswered.
    pub(super) fn has_unanswered(&self, lease: &Lease, connections: &Connections) -> bool {
        let slot = lease.connection().and_then(|id| connections.get(id));
        slot.is_some_and(|slot| slot.connection.requests().next().is_some())
    }

    /// Whether the session is in a transaction that the pool has not begun.
    pub(super) fn is_in_own_transaction(&self, lease: &Lease, connections: &Connections) -> bool {
        let slot = lease.connection().and_then(|id| connections.get(id));
        let status = slot.and_then(|slot| slot.connection.transaction_status());
        lease.is_between() && status.is_some_and(|status| status != TransactionStatus::Idle)
    }

    /// What a lost statement has come to that its server was at in such a transaction.
    pub(super) fn outcome_in_own_transaction(
        &self,
        id: ConnectionId,
        token: RequestToken,
        outcome: Outcome,
        cx: &Context<'_>,
    ) -> Outcome {
        let call = self.requests.get(Key::from_bits(token.0));
        match call.filter(|call| call.flags.begin().is_none() && call.lease.is_some()) {
            Some(call) if outcome == Outcome::Unknown => {
                self.outcome_in_transaction(id, call, outcome, cx)
            }
            _ => outcome,
        }
    }

    /// Whether a call is what the server is at in such a transaction.
    pub(super) fn is_at_work_in_own_transaction(
        &self,
        id: ConnectionId,
        token: RequestToken,
        cx: &Context<'_>,
    ) -> bool {
        let at_work = cx.connections.get(id).and_then(|slot| slot.connection.at_work());
        let call = self.requests.get(Key::from_bits(token.0));
        let lease = call.and_then(|call| self.leases.get(call.lease?));
        at_work == Some(token)
            && lease.is_some_and(|lease| self.is_in_own_transaction(lease, cx.connections))
    }

    /// The same, where nothing can change that which was asked before.
    pub(in crate::pool) fn lease_is_in_own_transaction(
        &self,
        number: NonZeroU32,
        connections: &Connections,
    ) -> bool {
        self.leases.get(number).is_some_and(|lease| {
            let is_at_work =
                self.has_unanswered(lease, connections) || lease.waiting().next().is_some();
            !is_at_work && self.is_in_own_transaction(lease, connections)
        })
    }

    pub(super) fn outcome_in_transaction(
        &self,
        id: ConnectionId,
        call: &Call,
        outcome: Outcome,
        cx: &Context<'_>,
    ) -> Outcome {
        in_transaction(outcome, self.may_have_committed(id, call, cx))
    }

    /// Whether a call, or what stands unanswered on its connection, may have committed its
    /// transaction.
    pub(super) fn may_have_committed(
        &self,
        id: ConnectionId,
        call: &Call,
        cx: &Context<'_>,
    ) -> bool {
        // A transaction has its connection to itself.
        let unanswered = cx.connections.get(id).into_iter().flat_map(|s| s.connection.unanswered());
        let mut behind = unanswered.filter_map(|token| self.requests.get(Key::from_bits(token.0)));
        let commits = |call: &Call| {
            let statement = call.statement.and_then(|id| self.statements.get(id));
            call.flags.has(QueryFlags::COMMIT)
                || statement.is_none_or(Statement::may_leave_transaction)
        };
        let writes = !call.flags.begin().is_some_and(|begin| begin.read_only);
        writes && !Mutation::DenyCommit.is_on() && (commits(call) || behind.any(commits))
    }

    pub(super) fn lost_error(
        &self,
        id: ConnectionId,
        outcome: Outcome,
        in_transaction: bool,
        why: &Error,
        cx: &Context<'_>,
    ) -> Error {
        let host = cx.connections.host_name(id);
        let reason = why.message();
        let name = host.as_deref().unwrap_or("the server");
        let with_it = if in_transaction { ", and the transaction with it" } else { "" };
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
            Outcome::NotSent | Outcome::NotCommitted => outlived(why).unwrap_or_else(|| {
                let message = format!("the connection to {name} was lost{with_it}: {reason}");
                Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message)
            }),
        };
        // The server's last words: an administrator's command, a timeout.
        let error =
            if why.class() == ErrorClass::Database { error.with_cause(why.clone()) } else { error };
        let error = error.with_outcome(outcome);
        match host {
            Some(host) => error.with_host(host),
            None => error,
        }
    }

    /// Whether the work may be a commit. If the wait of a commit for synchronous standbys is
    /// cancelled, a failover can lose the commit.
    pub(super) fn may_commit(&self, call: &Call) -> bool {
        if Mutation::CancelCommit.is_on() {
            return false;
        }
        let statement = call.statement.and_then(|id| self.statements.get(id));
        call.flags.has(QueryFlags::COMMIT) || statement.is_some_and(|s| s.may_commit())
    }

    /// Whether anything in flight on a connection may be a commit.
    pub(super) fn has_commit(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
        let call = |token: RequestToken| self.requests.get(Key::from_bits(token.0));
        let slot = cx.connections.get(id);
        let in_flight = slot.into_iter().flat_map(|slot| slot.connection.requests());
        in_flight.filter_map(call).any(|call| self.may_commit(call))
    }

    /// A connection is about to be closed in the middle of its work: the server would go on with
    /// that otherwise. A COMMIT goes on, and so does what stands in front of one: the signal may
    /// come when its turn has come.
    pub(super) fn cancel_work(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        if let Some(slot) = cx.connections.get(id)
            && slot.connection.first_request().is_some()
            && !self.has_commit(id, cx)
        {
            cx.connections.send_cancel(id);
        }
    }
}
