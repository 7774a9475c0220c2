//! A read that is in flight in two places: the call, and its copy (`src/pool/calls/overtaking.rs`).

use super::Requests;
use super::call::{Call, Phase, Twin};
use super::given_up::Reason;
use crate::base::{Instant, Key, Mutation};
use crate::connection::{Answer, StatementId};
use crate::pool::QueryFlags;
use crate::types::Params;

impl Requests {
    /// Makes a copy that takes over the place in which a call is in flight. The copy holds the
    /// statement too.
    pub(in crate::pool) fn leave_copy(
        &mut self,
        now: Instant,
        key: Key<Call>,
    ) -> Option<(Key<Call>, StatementId)> {
        let call = self.get(key)?;
        let (statement, older) = (call.statement?, call.twin);
        let copy = Call {
            statement: Some(statement),
            phase: call.phase,
            twin: Some(Twin::CopyOf(key)),
            ..Call::new(call.request, QueryFlags::default(), call.deadline)
        };
        let copy = self.insert(copy);
        if let Some(trace) = self.get_mut(key).and_then(|call| call.trace.as_mut()) {
            trace.left_copy();
        }
        if older.is_some() {
            self.forsake(now, copy);
        } else if let Some(call) = self.get_mut(key) {
            call.twin = Some(Twin::Copy(copy));
        }
        Some((copy, statement))
    }

    /// A call was answered. If a copy was refused, the reason may lie in the copy's place.
    pub(in crate::pool) fn settle_twin(&mut self, now: Instant, key: Key<Call>, answer: &Answer) {
        match answer {
            Answer::Completed { .. } => self.win(now, key),
            _ if self.get(key).is_some_and(Call::is_copy) => self.drop_out(now, key),
            Answer::Described { .. } | Answer::Refused { .. } => self.win(now, key),
        }
    }

    /// This call is the first of the two to be answered, or the one whose result the caller gets.
    pub(in crate::pool) fn win(&mut self, now: Instant, key: Key<Call>) {
        match self.get(key).and_then(|call| call.twin) {
            Some(Twin::Copy(copy)) => {
                self.forsake(now, copy);
                if let Some(call) = self.get_mut(key) {
                    call.twin = None;
                }
            }
            Some(Twin::CopyOf(owner)) => self.take_over(now, key, owner),
            None => {}
        }
    }

    /// A call will not be answered where it is. From now on its other place is the only one.
    pub(in crate::pool) fn drop_out(&mut self, now: Instant, key: Key<Call>) {
        match self.get(key).and_then(|call| call.twin) {
            Some(Twin::Copy(copy)) => self.take_over(now, copy, key),
            Some(Twin::CopyOf(owner)) => {
                self.forsake(now, key);
                if let Some(owner) = self.get_mut(owner) {
                    owner.twin = None;
                }
            }
            None => {}
        }
    }

    /// The copy becomes the caller's call, and the original is no longer needed.
    fn take_over(&mut self, now: Instant, copy: Key<Call>, owner: Key<Call>) {
        let Some(call) = self.get_mut(owner) else { return };
        let params = std::mem::replace(&mut call.params, Params::new());
        let flags = std::mem::take(&mut call.flags);
        let (request, deadline) = (call.request, call.deadline);
        let authored = call.authored.take();
        let mut trace = call.trace.take().filter(|_| !Mutation::LoseTrace.is_on());
        if let Some(trace) = &mut trace {
            trace.answered_by_copy();
        }
        let (redescribed, tries_until) = (call.redescribed, call.tries_until);
        let (losses, lost_at) = (call.losses, call.lost_at);
        let owned = call.phase;
        self.forsake(now, owner);
        if let Some(call) = self.get_mut(copy) {
            let phase = match (call.phase, owned) {
                // Until then, the call's deadline still counts.
                (Phase::Sent { to, .. }, Phase::Sent { at, .. }) => Phase::Sent { to, at },
                (phase, _) => phase,
            };
            let statement = call.statement;
            *call = Call {
                statement,
                params,
                redescribed,
                tries_until,
                losses,
                lost_at,
                phase,
                authored,
                trace,
                ..Call::new(request, flags, deadline)
            };
        }
        self.watches.follow(request, copy);
    }

    /// No caller waits any longer for the answer of a call in flight.
    fn forsake(&mut self, now: Instant, key: Key<Call>) {
        let Some(call) = self.get_mut(key) else { return };
        call.twin = None;
        let (is_given_up, sent_to) = (call.is_given_up(), call.sent_to());
        if !is_given_up {
            self.give_up(now, key, Reason::Overtaken, true);
        }
        self.forsaken.extend(sent_to);
    }

    #[cfg(feature = "sim")]
    pub(in crate::pool) fn audit_twins(&self) -> Result<(), String> {
        for (key, call) in self.iter() {
            let twin = |key: Key<Call>| self.get(key).and_then(|call| call.twin);
            let fits = match call.twin {
                None => true,
                Some(Twin::Copy(copy)) => {
                    call.sent_to().is_some() && twin(copy) == Some(Twin::CopyOf(key))
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
