//! Transactions that are idle for too long, and that their callers may never finish. The pool takes
//! back their connections, or the server ends them. The server may also limit the time of a whole
//! transaction.

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, ErrorKind, Instant, Mutation, Outcome};
use crate::pool::connections::Duty;
use crate::pool::leases::ABANDONED;

/// The error of a transaction that the server ended because of a time limit, wherever that limit
/// was set. `None` if something else ended the session.
pub(super) fn outlived(why: &Error) -> Option<Error> {
    let (class, code, message) = match why.kind() {
        ErrorKind::IdleInTransactionTimeout => (
            ErrorClass::Transaction,
            ABANDONED,
            "the transaction was idle for too long, and the server rolled it back: \
             idle_in_transaction_session_timeout",
        ),
        ErrorKind::TransactionTimeout => (
            ErrorClass::QueryTimeout,
            "HYPERION_TRANSACTION_TIMEOUT",
            "the transaction was not done in time, and the server rolled it back: transaction_timeout",
        ),
        _ => return None,
    };
    (!Mutation::HideLimit.is_on()).then(|| Error::new(class, code, message))
}

impl Calls {
    /// Takes back the connections of transactions that their callers forgot to finish.
    pub(in crate::pool) fn reclaim_idle(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(after) = cx.config.idle_in_transaction else { return };
        self.note_leases(cx);
        let mut due = cx.connections.leases_idle_for(now, after);
        due.sort_unstable();
        for (number, id) in due {
            let message = format!(
                "the transaction was idle for {} ms and was rolled back: idleInTransactionTimeoutMs",
                after.as_millis()
            );
            let error = Error::new(ErrorClass::Transaction, ABANDONED, message);
            self.lose_lease(number, error.with_outcome(Outcome::NotCommitted));
            cx.connections.free_slot(id);
            cx.connections.retire(id);
            self.emit_reclaimed(number, false);
        }
    }

    pub(in crate::pool) fn reclaim_timeout(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Instant, &'static str)> {
        let after = cx.config.idle_in_transaction?;
        self.note_leases(cx);
        cx.connections.lease_idle_since().map(|since| (since + after, "idle in transaction"))
    }

    /// Tells the connections since when the transactions that are open on them are idle.
    pub(super) fn note_leases(&mut self, cx: &mut Context<'_>) {
        while let Some((lease, id, idle_since)) = self.leases.take_changed() {
            if let Some(slot) = cx.connections.get_mut(id)
                && slot.duty == (Duty::Leased { lease })
            {
                slot.lease_idle_since = idle_since;
            }
        }
    }
}
