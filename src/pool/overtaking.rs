//! Reads that stand behind a call which does not answer, and are sent a second time.
//!
//! What was written can't be taken back. A read has no effect, so that it may run twice where no
//! function of a user's can hide behind the name of one of the system's. Once the server has been
//! at the call in front of it for too long, it is sent on another connection as well. A table may
//! be held by another transaction, or a view may hide what waits for a lock.
//!
//! ```text
//! behind a silent call ──▶ not written: taken back, and sent elsewhere
//!                      ──▶ written: a copy takes its place there, and it is sent elsewhere itself
//!                             ├──it is answered──▶ the copy is given up
//!                             ├──the copy is answered──▶ the two change places, and what is the copy now is given up
//!                             ├──the copy is refused, or lost──▶ the call is on its own
//!                             └──its connection is lost──▶ the two change places
//! ```
//!
//! Each of the two is a call in one place. The copy has the caller's request only once it is the
//! first to be answered. One that was given up is like any whose caller has been told (`cancel`):
//! its answer is thrown away, and it is cancelled where its turn comes and the server takes long
//! for it.
//!
//! A call that gets stuck behind another one again goes on from there in the same way. The copy
//! keeps the first place, which is the one that nothing can come in front of.

use super::dispatch::GUARDED;
use super::given_up::{GivenUp, Reason};
use super::{Call, ConnectionId, Pool, QueryFlags};
use crate::base::{Instant, Key, Mutation};
use crate::connection::{Answer, Token};
use crate::types::Params;

/// The other place in which a call is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twin {
    /// It has a copy in an older place.
    Copy(Key<Call>),
    /// It is the copy of another one.
    CopyOf(Key<Call>),
}

/// What there is to do about reads that are stuck.
#[derive(Debug)]
pub(super) struct Overtaking {
    /// When was looked for them last.
    looked_at: Instant,
    /// How many found no connection then.
    stranded: usize,
    /// Where a call in flight was given up since.
    forsaken: Vec<ConnectionId>,
}

impl Overtaking {
    pub(super) fn new(now: Instant) -> Self {
        Self { looked_at: now, stranded: 0, forsaken: Vec::new() }
    }

    /// How many reads are stuck behind others and would go elsewhere.
    pub(super) fn stranded(&self) -> usize {
        self.stranded
    }
}

impl Pool {
    /// Sends the reads elsewhere that are stuck.
    pub(super) fn overtake(&mut self, now: Instant) {
        self.overtaking.looked_at = now;
        self.overtaking.stranded = 0;
        if Mutation::StandBehind.is_on() || !self.cluster.topology().is_served() {
            return;
        }
        for id in self.connections.stuck(now) {
            let stuck = self.stuck(id);
            if let Some(slot) = self.connections.get_mut(id) {
                slot.kept_at_work &= stuck.is_empty();
            }
            for key in stuck {
                let Some(call) = self.calls.get(key) else { continue };
                let share = self.may_share(call);
                match self.place(now, share, false) {
                    Some(to) => self.send_elsewhere(now, key, id, to, share),
                    None => self.overtaking.stranded += 1,
                }
            }
        }
    }

    /// The reads behind the first request of a connection.
    fn stuck(&self, id: ConnectionId) -> Vec<Key<Call>> {
        let behind =
            self.connections.get(id).into_iter().flat_map(|slot| slot.connection.requests());
        let moves = |key: &Key<Call>| {
            self.calls.get(*key).is_some_and(|call| {
                call.lease.is_none()
                    && call.given_up.is_none()
                    && !matches!(call.twin, Some(Twin::CopyOf(_)))
                    && self.statement_of(call).is_some_and(|statement| statement.is_plain_read)
            })
        };
        behind.skip(1).map(|token| Key::from_bits(token.0)).filter(moves).collect()
    }

    pub(super) fn may_run_twice(&self, call: &Call) -> bool {
        self.statement_of(call).is_some_and(|statement| statement.may_run_twice)
    }

    fn send_elsewhere(
        &mut self,
        now: Instant,
        key: Key<Call>,
        from: ConnectionId,
        to: ConnectionId,
        share: bool,
    ) {
        let token = Token(key.to_bits());
        let may_run_twice = self.calls.get(key).is_some_and(|call| self.may_run_twice(call));
        let Some(slot) = self.connections.get_mut(from) else { return };
        if slot.connection.withdraw(token) {
            slot.writing &= !slot.connection.outgoing().is_empty();
        } else if !may_run_twice {
            return;
        } else if let Some(copy) = self.leave_copy(now, key)
            && let Some(slot) = self.connections.get_mut(from)
        {
            slot.connection.rename(token, Token(copy.to_bits()));
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.come_back(now);
        }
        if let Some(slot) = self.connections.get_mut(to) {
            slot.quick = share && (slot.quick || slot.connection.is_idle());
        }
        self.send(now, key, to, GUARDED, None);
    }

    /// A call that takes the place in which another one is in flight.
    fn leave_copy(&mut self, now: Instant, key: Key<Call>) -> Option<Key<Call>> {
        let call = self.calls.get(key)?;
        let (statement, older) = (call.statement?, call.twin);
        let copy = Call {
            statement: Some(statement),
            sent_to: call.sent_to,
            sent_at: call.sent_at,
            twin: Some(Twin::CopyOf(key)),
            ..Call::new(call.request, QueryFlags::default(), call.deadline)
        };
        self.statements.hold_once_more(statement);
        let copy = self.calls.insert(copy);
        if older.is_some() {
            self.forsake(now, copy);
        } else if let Some(call) = self.calls.get_mut(key) {
            call.twin = Some(Twin::Copy(copy));
        }
        Some(copy)
    }

    /// A call was answered. What a copy was refused for may be its place's own fault.
    pub(super) fn settle_twin(&mut self, now: Instant, key: Key<Call>, answer: &Answer) {
        let is_copy = |call: &Call| matches!(call.twin, Some(Twin::CopyOf(_)));
        match answer {
            Answer::Completed { .. } => self.win(now, key),
            _ if self.calls.get(key).is_some_and(is_copy) => self.drop_out(now, key),
            Answer::Described | Answer::Refused { .. } => self.win(now, key),
        }
    }

    /// A call is the first of the two to be answered, or the one that its caller has to do with.
    pub(super) fn win(&mut self, now: Instant, key: Key<Call>) {
        match self.calls.get(key).and_then(|call| call.twin) {
            Some(Twin::Copy(copy)) => {
                self.forsake(now, copy);
                if let Some(call) = self.calls.get_mut(key) {
                    call.twin = None;
                }
            }
            Some(Twin::CopyOf(owner)) => self.take_over(now, key, owner),
            None => {}
        }
    }

    /// A call will not be answered where it is. Its other place is the only one from now on.
    pub(super) fn drop_out(&mut self, now: Instant, key: Key<Call>) {
        match self.calls.get(key).and_then(|call| call.twin) {
            Some(Twin::Copy(copy)) => self.take_over(now, copy, key),
            Some(Twin::CopyOf(owner)) => {
                self.forsake(now, key);
                if let Some(owner) = self.calls.get_mut(owner) {
                    owner.twin = None;
                }
            }
            None => {}
        }
    }

    /// The copy becomes what its caller has asked for, and the other one what is of no use any
    /// more.
    fn take_over(&mut self, now: Instant, copy: Key<Call>, owner: Key<Call>) {
        let Some(call) = self.calls.get_mut(owner) else { return };
        let params = std::mem::replace(&mut call.params, Params::new());
        let flags = std::mem::take(&mut call.flags);
        let (request, deadline) = (call.request, call.deadline);
        let (redescribed, losses, lost_at) = (call.redescribed, call.losses, call.lost_at);
        // Up to then its deadline is reckoned with.
        let sent_at = call.sent_at;
        self.forsake(now, owner);
        if let Some(call) = self.calls.get_mut(copy) {
            let (statement, sent_to) = (call.statement, call.sent_to);
            *call = Call {
                statement,
                params,
                redescribed,
                losses,
                lost_at,
                sent_to,
                sent_at,
                ..Call::new(request, flags, deadline)
            };
        }
        if let Some(watch) = self.watches.calls.get_mut(&request) {
            watch.call = copy;
        }
    }

    /// Nobody waits for the answer of a call in flight any more.
    fn forsake(&mut self, now: Instant, key: Key<Call>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.twin = None;
        if call.given_up.is_none() {
            call.given_up = Some(GivenUp { reason: Reason::Overtaken, at: now, told: true });
            self.given_up += 1;
        }
        self.overtaking.forsaken.extend(call.sent_to);
    }

    /// What was given up is cancelled where its turn comes and it takes long.
    pub(super) fn tend_forsaken(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.overtaking.forsaken) {
            self.tend(now, id);
        }
    }

    pub(super) fn overtaking_timeout(&mut self) -> Option<(Instant, &'static str)> {
        if Mutation::StandBehind.is_on() {
            return None;
        }
        // What was due at the last look has been done then, or can't be done before a connection is
        // free.
        self.connections.stuck_after(self.overtaking.looked_at).map(|at| (at, "overdue"))
    }

    #[cfg(feature = "sim")]
    pub(super) fn audit_twins(&self) -> Result<(), String> {
        for (key, call) in self.calls.iter() {
            let twin = |key: Key<Call>| self.calls.get(key).and_then(|call| call.twin);
            let fits = match call.twin {
                None => true,
                Some(Twin::Copy(copy)) => {
                    call.sent_to.is_some() && twin(copy) == Some(Twin::CopyOf(key))
                }
                Some(Twin::CopyOf(owner)) => twin(owner) == Some(Twin::Copy(key)),
            };
            if !fits || (call.twin.is_some() && call.given_up.is_some()) {
                return Err(format!("request {} has no twin: {:?}", call.request, call.twin));
            }
        }
        Ok(())
    }
}
