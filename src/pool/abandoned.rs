//! Transactions that are idle for too long, which nobody may ever finish: the pool takes their connections back, or
//! the server ends them. The server may have a limit for all of a transaction, too.

use std::num::NonZeroU32;

use super::lease::Lease;
use super::{Output, Pool, PoolEvent};
use crate::base::{Error, ErrorClass, Instant, Mutation, Outcome};

pub(super) const ABANDONED: &str = "HYPERION_TRANSACTION_ABANDONED";
/// `idle_in_transaction_session_timeout`: the server's own limit has passed.
const IDLE_IN_TRANSACTION: &str = "25P03";

/// `transaction_timeout` of PostgreSQL 17 and later, which ends the session too, at work or not.
pub(super) const TRANSACTION_TIMEOUT: &str = "25P04";

/// The error of a transaction that the server ended for its time, whoever set that limit; `None` where it was
/// something else that ended the session.
pub(super) fn outlived(why: &Error) -> Option<Error> {
    let (class, code, message) = match why.code() {
        IDLE_IN_TRANSACTION => (
            ErrorClass::Transaction,
            ABANDONED,
            "the transaction was idle for too long, and the server rolled it back: \
             idle_in_transaction_session_timeout",
        ),
        TRANSACTION_TIMEOUT => (
            ErrorClass::QueryTimeout,
            "HYPERION_TRANSACTION_TIMEOUT",
            "the transaction was not done in time, and the server rolled it back: transaction_timeout",
        ),
        _ => return None,
    };
    (!Mutation::HideLimit.is_on()).then(|| Error::new(class, code, message))
}

impl Pool {
    /// Takes back the connections of transactions that somebody forgot to finish.
    pub(super) fn reclaim_idle(&mut self, now: Instant) {
        let Some(after) = self.config.idle_in_transaction else { return };
        let due = |(number, lease): (&NonZeroU32, &Lease)| {
            let at = self.idle_deadline(lease)?;
            (at <= now).then_some(*number)
        };
        let due: Vec<_> = self.leases.iter().filter_map(due).collect();
        for number in due {
            let Some(id) = self.leases.get(&number).and_then(Lease::connection) else { continue };
            let message = format!(
                "the transaction was idle for {} ms and was rolled back: idleInTransactionTimeoutMs",
                after.as_millis()
            );
            let error = Error::new(ErrorClass::Transaction, ABANDONED, message);
            self.lose_lease(number, error.with_outcome(Outcome::NotCommitted));
            self.free_slot(id);
            self.retire(id);
            self.tell_reclaimed(number, false);
        }
    }

    /// Nobody may wait for an error of it.
    pub(super) fn tell_reclaimed(&mut self, lease: NonZeroU32, by_server: bool) {
        self.outputs.push_back(Output::Event(PoolEvent::Reclaimed { lease, by_server }));
    }

    pub(super) fn reclaim_timeout(&self) -> Option<(Instant, &'static str)> {
        let deadlines = self.leases.values().filter_map(|lease| self.idle_deadline(lease));
        deadlines.min().map(|at| (at, "idle in transaction"))
    }

    fn idle_deadline(&self, lease: &Lease) -> Option<Instant> {
        let after = self.config.idle_in_transaction?;
        let id = lease.connection()?;
        let idle = self.connections.get(id).is_some_and(|slot| slot.connection.is_vacant());
        (idle && lease.is_in_transaction()).then_some(lease.idle_since + after)
    }
}
