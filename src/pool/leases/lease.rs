//! A connection that one caller has to itself, for a transaction or for session work.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::errors::{nothing, open_already, over};
use crate::base::{Error, Instant, Key, Mutation, Outcome};
use crate::connection::Begin;
use crate::pool::{Call, ConnectionId, QueryFlags, Response};
use crate::protocol::backend::TransactionStatus;

#[derive(Debug)]
pub(in crate::pool) struct Lease {
    place: LeasePlace,
    progress: Progress,
    /// The last COMMIT or ROLLBACK that was sent.
    ending: Option<Key<Call>>,
    /// The lease is for a single transaction, not for session work.
    for_transaction: bool,
    /// The caller has seen an answer, so another connection can't replace this one.
    seen: bool,
    /// The call for which all others wait: the first call, or a call whose statement is being
    /// described.
    head: Option<Key<Call>>,
    held: VecDeque<Key<Call>>,
    /// Since when nothing of the transaction runs, if nothing runs.
    idle_since: Instant,
    /// The server has answered, but the caller has no answer yet, because the pool is asking for
    /// its types.
    awaits_types: bool,
    /// The lease may have changed since it was last examined.
    pub(super) is_changed: bool,
}

#[derive(Debug)]
pub(super) enum LeasePlace {
    On(ConnectionId),
    /// The connection is gone, and the caller has not noticed: the next call looks for another
    /// connection.
    Unplaced,
    /// The connection is gone, with everything that the caller has seen on it. This lasts until the
    /// lease is released.
    Gone(Error),
}

/// How far a transaction that the pool has begun is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    /// `may_stand`: a statement in it may have committed the work before it.
    Open {
        may_stand: bool,
    },
    /// The end of the transaction was refused, or was given up before it was sent, and the server
    /// is still in the transaction. Only a ROLLBACK is sent, since other calls may belong to the
    /// next transaction.
    Unended,
    /// The server is no longer in a transaction, although the caller has not used the methods that
    /// end it. `may_stand`: the work of the transaction may be committed.
    Over {
        may_stand: bool,
    },
}

/// What to do with a call whose turn has come.
#[derive(Debug)]
pub(in crate::pool) enum Plan {
    /// Send it, with the BEGIN of its transaction before it, if there is one.
    Send(Option<Begin>),
    /// Do not send it: the server knows nothing of its transaction.
    End(Result<Response, Error>),
}

impl Lease {
    pub(super) const fn new(now: Instant, id: ConnectionId, for_transaction: bool) -> Self {
        Self {
            place: LeasePlace::On(id),
            progress: Progress::None,
            ending: None,
            for_transaction,
            seen: false,
            head: None,
            held: VecDeque::new(),
            idle_since: now,
            awaits_types: false,
            is_changed: false,
        }
    }

    pub(super) fn change(&mut self, number: NonZeroU32, changed: &mut Vec<NonZeroU32>) {
        if !self.is_changed {
            self.is_changed = true;
            changed.push(number);
        }
    }

    pub(super) fn put_on(&mut self, place: LeasePlace) {
        self.place = place;
    }

    pub(in crate::pool) const fn has_seen(&self) -> bool {
        self.seen
    }

    pub(in crate::pool) const fn is_seated(&self) -> bool {
        matches!(self.place, LeasePlace::On(_))
    }

    pub(in crate::pool) const fn is_unplaced(&self) -> bool {
        matches!(self.place, LeasePlace::Unplaced)
    }

    /// Whether the caller is still entitled to a connection.
    pub(in crate::pool) const fn is_alive(&self) -> bool {
        !matches!(self.place, LeasePlace::Gone(_))
    }

    /// Why the connection is gone, with everything that was seen on it.
    pub(in crate::pool) const fn gone(&self) -> Option<&Error> {
        match &self.place {
            LeasePlace::Gone(error) => Some(error),
            LeasePlace::On(_) | LeasePlace::Unplaced => None,
        }
    }

    pub(in crate::pool) const fn connection(&self) -> Option<ConnectionId> {
        match self.place {
            LeasePlace::On(id) => Some(id),
            LeasePlace::Unplaced | LeasePlace::Gone(_) => None,
        }
    }

    /// Whether the pool has no open transaction on the lease, as far as servers have answered.
    pub(in crate::pool) fn is_between(&self) -> bool {
        self.progress == Progress::None
    }

    /// Whether it is a lease for session work, between transactions.
    pub(in crate::pool) fn is_between_transactions(&self) -> bool {
        !self.for_transaction && self.is_between()
    }

    /// Whether the caller may have left something behind in the session.
    pub(in crate::pool) const fn has_worked(&self) -> bool {
        !self.for_transaction && self.seen
    }

    fn is_in_transaction(&self) -> bool {
        self.for_transaction || matches!(self.progress, Progress::Open { .. } | Progress::Unended)
    }

    /// Since when the transaction is idle, if nothing of it runs.
    pub(in crate::pool) fn idle_since(&self) -> Option<Instant> {
        (self.is_in_transaction() && !self.awaits_types).then_some(self.idle_since)
    }

    /// Notes whether the caller waits for types.
    pub(in crate::pool) fn await_types(&mut self, now: Instant, awaits: bool) {
        if std::mem::replace(&mut self.awaits_types, awaits) && !awaits {
            self.idle_since = now;
        }
    }

    #[cfg(feature = "sim")]
    pub(in crate::pool) fn held(&self) -> impl Iterator<Item = Key<Call>> {
        self.held.iter().copied()
    }

    /// Calls that may not have been sent yet, in their order.
    pub(in crate::pool) fn waiting(&self) -> impl Iterator<Item = Key<Call>> {
        self.head.iter().chain(&self.held).copied()
    }

    pub(in crate::pool) const fn head(&self) -> Option<Key<Call>> {
        self.head
    }

    pub(in crate::pool) const fn has_head(&self) -> bool {
        self.head.is_some()
    }

    pub(in crate::pool) const fn ending(&self) -> Option<Key<Call>> {
        self.ending
    }

    pub(in crate::pool) fn first_held(&self) -> Option<Key<Call>> {
        self.held.front().copied()
    }

    pub(in crate::pool) fn hold(&mut self, key: Key<Call>) {
        self.held.push_back(key);
    }

    pub(in crate::pool) fn hold_in_front(&mut self, key: Key<Call>) {
        self.held.push_front(key);
    }

    pub(in crate::pool) fn next_held(&mut self) -> Option<Key<Call>> {
        self.held.pop_front()
    }

    pub(in crate::pool) fn drop_held(&mut self, key: Key<Call>) {
        self.held.retain(|held| *held != key);
    }

    pub(in crate::pool) fn take_held(&mut self) -> Vec<Key<Call>> {
        std::mem::take(&mut self.held).into()
    }

    /// From now on, all other calls wait for this call.
    pub(in crate::pool) fn put_at_head(&mut self, key: Key<Call>) {
        self.head = Some(key);
    }

    pub(in crate::pool) fn clear_head(&mut self) {
        self.head = None;
    }

    pub(in crate::pool) fn take_head(&mut self) -> Option<Key<Call>> {
        self.head.take()
    }

    /// The other calls no longer wait for this call. Returns whether they did.
    pub(in crate::pool) fn pass_head(&mut self, key: Key<Call>) -> bool {
        let is_head = self.head == Some(key);
        if is_head {
            self.head = None;
        }
        is_head
    }

    /// From now on, only the end of the present transaction is sent.
    pub(in crate::pool) fn leave_unended(&mut self) {
        self.progress = Progress::Unended;
    }

    /// What was sent had no effect.
    pub(super) fn begin_anew(&mut self) {
        if !Mutation::ForgetBegin.is_on() && self.progress != Progress::Unended {
            self.progress = Progress::None;
        }
    }

    /// The description of the statement had come, and then the connection was lost.
    pub(super) fn forget_flight(&mut self) {
        self.progress = Progress::None;
        self.head = None;
    }

    /// `is_own`: the session is in a transaction that the caller's own statement has begun.
    pub(in crate::pool) fn plan(&self, flags: QueryFlags, is_own: bool) -> Plan {
        let rolls_back = flags.rolls_back();
        let refuse = |error: Error| Plan::End(Err(error.with_outcome(Outcome::NotSent)));
        match (flags.begin(), self.progress) {
            (Some(_), Progress::None) if is_own && !rolls_back => refuse(open_already()),
            (Some(_), Progress::None) if flags.has(QueryFlags::END) => Plan::End(Ok(nothing())),
            (Some(_), Progress::Over { may_stand: false }) if rolls_back => {
                Plan::End(Ok(nothing()))
            }
            (Some(_), Progress::Over { may_stand }) => {
                let outcome = match flags.has(QueryFlags::END) {
                    true if may_stand => Outcome::Unknown,
                    true => Outcome::NotCommitted,
                    false => Outcome::NotSent,
                };
                Plan::End(Err(over().with_outcome(outcome)))
            }
            (Some(_), Progress::Unended) if !rolls_back => refuse(over()),
            (begin, Progress::None) => Plan::Send(begin),
            (_, Progress::Open { .. } | Progress::Unended | Progress::Over { .. }) => {
                Plan::Send(None)
            }
        }
    }

    /// A call was sent. `waits`: all other calls wait for it.
    pub(in crate::pool) fn sent(&mut self, key: Key<Call>, flags: QueryFlags, waits: bool) {
        if waits {
            self.head = Some(key);
        }
        if flags.has(QueryFlags::END) {
            self.ending = Some(key);
        }
    }

    /// The pool has answered the end of a transaction that the server does not know.
    pub(in crate::pool) fn ended_unsent(&mut self) {
        if self.progress != Progress::Unended {
            self.progress = Progress::None;
        }
    }

    /// The end of a transaction is answered while the lease has no connection. Returns the answer.
    pub(in crate::pool) fn end_unplaced(&mut self, flags: QueryFlags) -> Result<Response, Error> {
        let was_unended = self.progress == Progress::Unended;
        self.progress = Progress::None;
        match was_unended && !flags.rolls_back() {
            true => Err(over().with_outcome(Outcome::NotSent)),
            false => Ok(nothing()),
        }
    }

    /// The description that a statement needed has come.
    pub(in crate::pool) fn resumed(
        &mut self,
        key: Key<Call>,
        flags: QueryFlags,
        status: TransactionStatus,
    ) {
        self.pass_head(key);
        let has_begun = status != TransactionStatus::Idle && flags.begin().is_some();
        if has_begun && self.progress == Progress::None {
            self.progress = Progress::Open { may_stand: false };
        }
    }

    /// An answer is about to be delivered. `may_commit`: its statement may have committed the
    /// earlier work of the transaction.
    pub(in crate::pool) fn settled(
        &mut self,
        now: Instant,
        key: Key<Call>,
        flags: QueryFlags,
        status: TransactionStatus,
        may_commit: bool,
    ) {
        let idle = status == TransactionStatus::Idle;
        self.seen = true;
        self.idle_since = now;
        self.pass_head(key);
        if flags.has(QueryFlags::END) {
            self.progress = if idle { Progress::None } else { Progress::Unended };
        } else if flags.begin().is_some()
            && !matches!(self.progress, Progress::Over { .. } | Progress::Unended)
        {
            let stood = matches!(self.progress, Progress::Open { may_stand: true });
            let may_stand = stood || may_commit;
            self.progress = match idle {
                true => Progress::Over { may_stand },
                false => Progress::Open { may_stand },
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(progress: Progress) -> Lease {
        let mut lease = Lease::new(Instant::ORIGIN, Key::from_bits(1), true);
        lease.progress = progress;
        lease
    }

    const WORK: QueryFlags = QueryFlags::TRANSACTION;
    const COMMIT: QueryFlags = WORK.with(QueryFlags::END).with(QueryFlags::COMMIT);
    const ROLLBACK: QueryFlags = WORK.with(QueryFlags::END);
    const OPEN: Progress = Progress::Open { may_stand: false };
    const OVER: Progress = Progress::Over { may_stand: false };
    const STANDS: Progress = Progress::Over { may_stand: true };

    #[test]
    fn what_is_sent_goes_by_how_far_the_transaction_is() {
        let over = "HYPERION_TRANSACTION_OVER";
        let plan = |progress, flags, is_own| match lease(progress).plan(flags, is_own) {
            Plan::Send(Some(_)) => "begins".to_owned(),
            Plan::Send(None) => "goes on".to_owned(),
            Plan::End(Ok(_)) => "nothing to end".to_owned(),
            Plan::End(Err(error)) => format!("{} {:?}", error.code(), error.outcome().unwrap()),
        };
        for (progress, flags, expected) in [
            (Progress::None, QueryFlags::default(), "goes on".to_owned()),
            (Progress::None, WORK, "begins".to_owned()),
            (Progress::None, COMMIT, "nothing to end".to_owned()),
            (Progress::None, ROLLBACK, "nothing to end".to_owned()),
            (OPEN, WORK, "goes on".to_owned()),
            (OPEN, COMMIT, "goes on".to_owned()),
            (Progress::Unended, WORK, format!("{over} NotSent")),
            (Progress::Unended, COMMIT, format!("{over} NotSent")),
            (Progress::Unended, ROLLBACK, "goes on".to_owned()),
            (OVER, WORK, format!("{over} NotSent")),
            (OVER, COMMIT, format!("{over} NotCommitted")),
            (OVER, ROLLBACK, "nothing to end".to_owned()),
            (STANDS, WORK, format!("{over} NotSent")),
            (STANDS, COMMIT, format!("{over} Unknown")),
            (STANDS, ROLLBACK, format!("{over} Unknown")),
        ] {
            assert_eq!(plan(progress, flags, false), expected, "{progress:?} {flags:?}");
        }
        assert_eq!(plan(Progress::None, WORK, true), "HYPERION_TRANSACTION_OPEN NotSent");
        assert_eq!(plan(Progress::None, ROLLBACK, true), "nothing to end");
    }

    #[test]
    fn an_answer_tells_how_far_the_transaction_is() {
        let (idle, open) = (TransactionStatus::Idle, TransactionStatus::InTransaction);
        let key = Key::from_bits(7);
        for (progress, flags, status, expected) in [
            (Progress::None, WORK, open, OPEN),
            (Progress::None, WORK, idle, OVER),
            (Progress::None, QueryFlags::default(), open, Progress::None),
            (OPEN, WORK, TransactionStatus::Failed, OPEN),
            (OPEN, COMMIT, idle, Progress::None),
            (OPEN, COMMIT, open, Progress::Unended),
            (Progress::Unended, WORK, open, Progress::Unended),
            (Progress::Unended, ROLLBACK, idle, Progress::None),
            (OVER, ROLLBACK, idle, Progress::None),
        ] {
            let mut lease = lease(progress);
            lease.settled(Instant::ORIGIN, key, flags, status, false);
            assert_eq!(lease.progress, expected, "{progress:?} {flags:?} {status:?}");
        }
        // COMMIT AND CHAIN, and then the end of the transaction that it has begun.
        let mut lease = lease(OPEN);
        lease.settled(Instant::ORIGIN, key, WORK, open, true);
        lease.settled(Instant::ORIGIN, key, WORK, idle, false);
        assert_eq!(lease.progress, STANDS);
    }
}
