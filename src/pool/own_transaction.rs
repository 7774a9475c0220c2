//! A transaction that the user of a dedicated connection has begun by a statement, BEGIN for one.
//!
//! Another one must not begin inside of it: its COMMIT or ROLLBACK would end both. What is to begin
//! one waits until all is answered that was asked before, since any of that may be a BEGIN.

use std::num::NonZeroU32;

use super::leases::Lease;
use super::{ConnectionId, Pool};
use crate::base::{Key, Outcome};
use crate::connection::Token;
use crate::protocol::backend::TransactionStatus;

impl Pool {
    /// Whether anything that was asked on the connection of a lease is unanswered.
    pub(super) fn has_unanswered(&self, lease: &Lease) -> bool {
        let slot = lease.connection().and_then(|id| self.connections.get(id));
        slot.is_some_and(|slot| slot.connection.requests().next().is_some())
    }

    /// Whether the session is in a transaction that the pool has not begun.
    pub(super) fn is_in_own_transaction(&self, lease: &Lease) -> bool {
        let slot = lease.connection().and_then(|id| self.connections.get(id));
        let status = slot.and_then(|slot| slot.connection.transaction_status());
        lease.is_between() && status.is_some_and(|status| status != TransactionStatus::Idle)
    }

    /// What a lost statement has come to that its server was at in such a transaction.
    pub(super) fn outcome_in_own_transaction(
        &self,
        id: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Outcome {
        let call = self.requests.get(Key::from_bits(token.0));
        match call.filter(|call| call.flags.begin().is_none() && call.lease.is_some()) {
            Some(call) if outcome == Outcome::Unknown => {
                self.outcome_in_transaction(id, call, outcome)
            }
            _ => outcome,
        }
    }

    /// Whether a call is what the server is at in such a transaction.
    pub(super) fn is_at_work_in_own_transaction(&self, id: ConnectionId, token: Token) -> bool {
        let at_work = self.connections.get(id).and_then(|slot| slot.connection.at_work());
        let call = self.requests.get(Key::from_bits(token.0));
        let lease = call.and_then(|call| self.leases.get(call.lease?));
        at_work == Some(token) && lease.is_some_and(|lease| self.is_in_own_transaction(lease))
    }

    /// The same, where nothing can change that which was asked before.
    pub fn lease_is_in_own_transaction(&self, number: NonZeroU32) -> bool {
        self.leases.get(number).is_some_and(|lease| {
            let is_at_work = self.has_unanswered(lease) || lease.waiting().next().is_some();
            !is_at_work && self.is_in_own_transaction(lease)
        })
    }
}
