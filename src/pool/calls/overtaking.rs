//! Reads that stand behind a call which does not answer, and are sent a second time.
//!
//! What was written can't be taken back. A read has no effect, so that it may run twice where no
//! function of a user's can hide behind the name of one of the system's. Once the server has been
//! at the call in front of it for too long, it is sent on another connection as well. A table may
//! be held by another transaction, or a view may hide what waits for a lock.
//!
//! ```text
//! behind a silent call
//!     ──▶ not written: taken back, and sent elsewhere
//!     ──▶ written: a copy takes its place there, and the call itself is sent elsewhere
//!            ├──the call is answered──▶ the copy is given up
//!            ├──the copy is answered──▶ the two change places, and the new copy is given up
//!            ├──the copy is refused, or lost──▶ the call is on its own
//!            └──its connection is lost──▶ the two change places
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
use super::{Calls, Context};
use crate::base::{Instant, Key, Mutation};
use crate::connection::RequestToken;
use crate::pool::placement::{may_share, place, stuck_behind};
use crate::pool::{Call, ConnectionId};

/// What there is to do about reads that are stuck.
#[derive(Debug)]
pub(super) struct Overtaking {
    /// When the pool last looked for them.
    last_check: Instant,
    /// How many found no connection then.
    stranded: usize,
}

impl Overtaking {
    pub(super) fn new(now: Instant) -> Self {
        Self { last_check: now, stranded: 0 }
    }

    /// How many reads are stuck behind others and would go elsewhere.
    pub(super) fn stranded(&self) -> usize {
        self.stranded
    }
}

impl Calls {
    /// Sends the reads elsewhere that are stuck.
    pub(super) fn overtake(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.overtaking.last_check = now;
        self.overtaking.stranded = 0;
        if Mutation::StandBehind.is_on() || !cx.discovery.cluster.topology().is_served() {
            return;
        }
        for id in cx.connections.stuck(now) {
            let stuck = stuck_behind(id, &self.view(cx));
            if let Some(slot) = cx.connections.get_mut(id) {
                slot.kept_at_work &= stuck.is_empty();
            }
            for key in stuck {
                let mut view = self.view(cx);
                let Some(call) = view.requests.get(key) else { continue };
                let share = may_share(call, &view);
                match place(now, share, false, &mut view) {
                    Some(to) => self.send_elsewhere(now, key, id, to, share, cx),
                    None => self.overtaking.stranded += 1,
                }
            }
        }
    }

    fn send_elsewhere(
        &mut self,
        now: Instant,
        key: Key<Call>,
        from: ConnectionId,
        to: ConnectionId,
        share: bool,
        cx: &mut Context<'_>,
    ) {
        let token = RequestToken(key.to_bits());
        let may_run_twice =
            self.requests.get(key).is_some_and(|call| call.may_run_twice(&self.statements));
        let Some(slot) = cx.connections.get_mut(from) else { return };
        if slot.connection.withdraw(token) {
            slot.writing &= !slot.connection.outgoing().is_empty();
        } else if !may_run_twice {
            return;
        } else if let Some((copy, statement)) = self.requests.leave_copy(now, key) {
            self.statements.hold_once_more(statement);
            if let Some(slot) = cx.connections.get_mut(from) {
                slot.connection.rename(token, RequestToken(copy.to_bits()));
            }
        }
        if let Some(call) = self.requests.get_mut(key) {
            call.come_back(now);
        }
        if let Some(slot) = cx.connections.get_mut(to) {
            slot.quick = share && (slot.quick || slot.connection.is_idle());
        }
        self.send(now, key, to, GUARDED, None, cx);
    }

    pub(in crate::pool) fn overtaking_timeout(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Instant, &'static str)> {
        if Mutation::StandBehind.is_on() {
            return None;
        }
        // What was due at the last look has been done then, or can't be done before a connection is
        // free.
        cx.connections.stuck_after(self.overtaking.last_check).map(|at| (at, "overdue"))
    }
}
