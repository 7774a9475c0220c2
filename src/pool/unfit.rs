//! Statements that a pool does not send, and what one leaves behind that no other caller may have.
//!
//! A transaction that an autocommit call leaves open would be everybody's: what others write in it is answered, and lost
//! with it. Where the text shows it the call is refused. Where ReadyForQuery tells it, the connection is closed
//! before anybody else has it, which rolls the transaction back. What was sent behind the call ran in the transaction and
//! has no effect, so that it is sent again.

use std::num::NonZeroU32;

use super::{Call, ConnectionId, Pool, QueryFlags, Response};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome};
use crate::connection::{Statement, StatementId, Unfit, left_open};
use crate::protocol::backend::TransactionStatus;

impl Pool {
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

    /// Whether an answer came out of a transaction that another caller's statement has left open: its connection is
    /// being closed for that.
    pub(super) fn ran_in_open_transaction(&self, id: ConnectionId, key: Key<Call>) -> bool {
        let is_open = self.connections.get(id).is_some_and(|slot| slot.left_open);
        let call = self.requests.get(key);
        let statement = call.and_then(|call| call.statement_in(&self.statements));
        // No other statements are sent behind anything.
        is_open && statement.is_some_and(|statement| statement.may_share)
    }

    /// An autocommit call was answered, and its session is in a transaction.
    pub(super) fn close_left_open(
        &mut self,
        now: Instant,
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
        self.drop_left_open(now, id);
    }

    pub(super) fn drop_left_open(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.left_open = true;
        }
        let message =
            "the connection was closed, because a statement had left a transaction open on it";
        let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        self.drop_slot(now, id, &why);
    }

    /// Whether a session is in a transaction that belongs to nobody.
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
