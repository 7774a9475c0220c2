//! One connection that one caller has to itself: for a transaction, or for session work.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::errors::{nothing, open_already, over};
use crate::base::{Error, Instant, Key, Mutation, Outcome};
use crate::connection::Begin;
use crate::pool::{Call, ConnectionId, QueryFlags, Response};
use crate::protocol::backend::TransactionStatus;

#[derive(Debug)]
pub(in crate::pool) struct Lease {
    seat: Seat,
    progress: Progress,
    /// The COMMIT or ROLLBACK that was sent last.
    ending: Option<Key<Call>>,
    /// It was taken for one transaction, and not for session work.
    for_transaction: bool,
    /// The caller has seen an answer: what this connection knows is not to be had on another.
    seen: bool,
    /// The call that all others wait behind: the first one, or one whose statement is being
    /// described.
    head: Option<Key<Call>>,
    held: VecDeque<Key<Call>>,
    /// Since when nothing of it runs, where nothing does.
    idle_since: Instant,
    /// Its caller has no answer yet, although the server has: the types in it are being asked for.
    awaits_types: bool,
    /// It may have changed since the last look.
    pub(super) is_changed: bool,
}

#[derive(Debug)]
pub(super) enum Seat {
    On(ConnectionId),
    /// Its connection is gone, and its caller has not noticed: the next call looks for another one.
    Unplaced,
    /// The connection is gone, with all that the caller has seen on it. Stays until the lease is
    /// given back.
    Gone(Error),
}

/// How far the transaction is that was begun here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    /// `may_stand`: a statement in it may have committed what was done before.
    Open {
        may_stand: bool,
    },
    /// Its END was refused, or given up before it was sent, and the server is still in the
    /// transaction. Only a ROLLBACK is sent, since other calls may belong to the next transaction.
    Unended,
    /// The server is in no transaction any more, although its caller has not used the commands that
    /// end one. `may_stand`: what was done in it may be committed.
    Over {
        may_stand: bool,
    },
}

/// What is done with a call whose turn has come.
#[derive(Debug)]
pub(in crate::pool) enum Plan {
    /// It is sent, with what begins its transaction in front.
    Send(Option<Begin>),
    /// It is not sent: the server knows nothing of its transaction.
    End(Result<Response, Error>),
}

impl Lease {
    pub(super) const fn new(now: Instant, id: ConnectionId, for_transaction: bool) -> Self {
        Self {
            seat: Seat::On(id),
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

    pub(super) fn put_on(&mut self, seat: Seat) {
        self.seat = seat;
    }

    pub(in crate::pool) const fn has_seen(&self) -> bool {
        self.seen
    }

    pub(in crate::pool) const fn is_seated(&self) -> bool {
        matches!(self.seat, Seat::On(_))
    }

    pub(in crate::pool) const fn is_unplaced(&self) -> bool {
        matches!(self.seat, Seat::Unplaced)
    }

    /// Whether its caller still has a claim to a connection.
    pub(in crate::pool) const fn is_alive(&self) -> bool {
        !matches!(self.seat, Seat::Gone(_))
    }

    /// Why its connection is gone, with all that was seen on it.
    pub(in crate::pool) const fn gone(&self) -> Option<&Error> {
        match &self.seat {
            Seat::Gone(error) => Some(error),
            Seat::On(_) | Seat::Unplaced => None,
        }
    }

    pub(in crate::pool) const fn connection(&self) -> Option<ConnectionId> {
        match self.seat {
            Seat::On(id) => Some(id),
            Seat::Unplaced | Seat::Gone(_) => None,
        }
    }

    /// Whether the pool has no transaction open on it, as far as servers have answered.
    pub(in crate::pool) fn is_between(&self) -> bool {
        self.progress == Progress::None
    }

    /// Whether it is session work between transactions.
    pub(in crate::pool) fn is_between_transactions(&self) -> bool {
        !self.for_transaction && self.is_between()
    }

    /// Whether its session may keep what its caller has left behind.
    pub(in crate::pool) const fn has_worked(&self) -> bool {
        !self.for_transaction && self.seen
    }

    fn is_in_transaction(&self) -> bool {
        self.for_transaction || matches!(self.progress, Progress::Open { .. } | Progress::Unended)
    }

    /// Since when its transaction is idle, if nothing of it runs.
    pub(in crate::pool) fn idle_since(&self) -> Option<Instant> {
        (self.is_in_transaction() && !self.awaits_types).then_some(self.idle_since)
    }

    /// Whether its caller still waits for types.
    pub(in crate::pool) fn await_types(&mut self, now: Instant, awaits: bool) {
        if std::mem::replace(&mut self.awaits_types, awaits) && !awaits {
            self.idle_since = now;
        }
    }

    #[cfg(feature = "sim")]
    pub(in crate::pool) fn held(&self) -> impl Iterator<Item = Key<Call>> {
        self.held.iter().copied()
    }

    /// Calls that may have been sent to no connection yet, in their order.
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

    /// All others wait behind that call from now on.
    pub(in crate::pool) fn put_at_head(&mut self, key: Key<Call>) {
        self.head = Some(key);
    }

    pub(in crate::pool) fn clear_head(&mut self) {
        self.head = None;
    }

    pub(in crate::pool) fn take_head(&mut self) -> Option<Key<Call>> {
        self.head.take()
    }

    /// No call waits behind that call any more. Returns whether one did.
    pub(in crate::pool) fn pass_head(&mut self, key: Key<Call>) -> bool {
        let is_head = self.head == Some(key);
        if is_head {
            self.head = None;
        }
        is_head
    }

    /// Nothing but its end is sent of the transaction that has begun.
    pub(in crate::pool) fn leave_unended(&mut self) {
        self.progress = Progress::Unended;
    }

    /// What was sent had no effect.
    pub(super) fn begin_anew(&mut self) {
        if !Mutation::ForgetBegin.is_on() && self.progress != Progress::Unended {
            self.progress = Progress::None;
        }
    }

    /// The description of its statement had come, and then the end of its connection.
    pub(super) fn forget_flight(&mut self) {
        self.progress = Progress::None;
        self.head = None;
    }

    /// `is_own`: the session is in a transaction that the pool has not begun.
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

    /// A call was sent. `waits`: all others wait behind it.
    pub(in crate::pool) fn sent(&mut self, key: Key<Call>, flags: QueryFlags, waits: bool) {
        if waits {
            self.head = Some(key);
        }
        if flags.has(QueryFlags::END) {
            self.ending = Some(key);
        }
    }

    /// The end of a transaction of which the server knows nothing was answered without it.
    pub(in crate::pool) fn ended_unsent(&mut self) {
        if self.progress != Progress::Unended {
            self.progress = Progress::None;
        }
    }

    /// The end of a transaction is answered while it is on no connection. Returns what that is.
    pub(in crate::pool) fn end_unplaced(&mut self, flags: QueryFlags) -> Result<Response, Error> {
        let was_unended = self.progress == Progress::Unended;
        self.progress = Progress::None;
        match was_unended && !flags.rolls_back() {
            true => Err(over().with_outcome(Outcome::NotSent)),
            false => Ok(nothing()),
        }
    }

    /// What had to come first for a statement has come.
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

    /// An answer is about to be handed out. `may_commit`: its statement may have committed what
    /// was done in the transaction.
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
        // COMMIT AND CHAIN, and then the end of what it has begun.
        let mut lease = lease(OPEN);
        lease.settled(Instant::ORIGIN, key, WORK, open, true);
        lease.settled(Instant::ORIGIN, key, WORK, idle, false);
        assert_eq!(lease.progress, STANDS);
    }
}
