//! Statements that a pool does not send, and what a statement leaves behind that no other caller
//! may have.
//!
//! An autocommit call that leaves a transaction open would leave it to every caller. The writes of
//! other callers in it would be answered, and lost with it. Where the text shows it, the pool
//! refuses the call. Where ReadyForQuery tells it, the pool closes the connection before another
//! caller has it, which rolls the transaction back. The calls that were sent behind it ran in the
//! transaction and have no effect, so the pool sends them again.

use std::num::NonZeroU32;

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Key, Mutation, Outcome};
use crate::connection::{StatementId, Unfit};
use crate::pool::{Call, ConnectionId, QueryFlags};
use crate::protocol::backend::TransactionStatus;

impl Calls {
    /// Why a statement is not sent.
    pub(super) fn refusal(
        &self,
        id: StatementId,
        lease: Option<NonZeroU32>,
        flags: QueryFlags,
    ) -> Option<Error> {
        let statement = self.statements.get(id)?;
        if flags.begin().is_some() && statement.prepares_transaction() {
            return Some(prepared().with_outcome(Outcome::NotSent));
        }
        let unfit = statement.unfit().filter(|_| !Mutation::SendUnfit.is_on());
        unfit.and_then(|unfit: Unfit| unfit.refusal(lease.is_some()))
    }

    /// Whether an answer came out of a transaction that another caller's statement has left open.
    /// The pool closes its connection for that.
    pub(super) fn ran_in_open_transaction(
        &self,
        id: ConnectionId,
        key: Key<Call>,
        cx: &Context<'_>,
    ) -> bool {
        let is_open = cx.connections.get(id).is_some_and(|slot| slot.left_open);
        let call = self.requests.get(key);
        let statement = call.and_then(|call| call.statement_in(&self.statements));
        // No other statements are sent behind anything.
        is_open && statement.is_some_and(|statement| statement.may_share)
    }

    /// Whether a session is in a transaction that belongs to no caller.
    pub(super) fn is_left_open(
        &self,
        lease: Option<NonZeroU32>,
        status: TransactionStatus,
    ) -> bool {
        lease.is_none() && status != TransactionStatus::Idle && !Mutation::LeaveOpen.is_on()
    }
}

fn prepared() -> Error {
    let message = "PREPARE TRANSACTION ends the transaction under another name, so that it was not sent: use \
                   pool.connect() with BEGIN as a statement";
    Error::new(ErrorClass::Transaction, "HYPERION_PREPARE_TRANSACTION", message)
}
