//! Values that the caller's code writes (`serialize`), for types that the pool gives to it.
//!
//! The values belong to these types, and to the session that described them. Values for one
//! description are not sent by another. The caller keeps the original values until the call is
//! answered, so that it can be asked to write them again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::Instant;
use crate::connection::Written;
use crate::pool::ConnectionId;
use crate::types::Params;

/// A call whose types change each time is not given up before its statement was described this
/// often. From then on the call pauses before each description.
const MOST_ROUNDS: u8 = 16;
/// Each pause is twice as long as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// After this many descriptions, the values are sent on any connection, with their types declared.
const MOST_MOVES: u8 = 4;
/// For how many lists of types the values of one call are kept.
const MOST_DRAFTS: usize = 4;

/// The state of a call whose values the caller's code writes.
#[derive(Debug, Default)]
pub(in crate::pool) struct Authored {
    /// The types for which the caller was asked and has not answered, in the order of its answers.
    asked: VecDeque<Vec<u32>>,
    /// The types and session for which the present values were written.
    written: Option<Written>,
    /// Earlier values, for other types. If sessions have tables of their own, the next session may
    /// have these types again.
    drafts: Vec<(Written, Params)>,
    /// The connection that has described the call's statement.
    described_by: Option<ConnectionId>,
    rounds: u8,
    /// When its types first changed.
    changed_at: Option<Instant>,
    /// The last pause before the statement was described again, and whether it is to come.
    pause: Option<Duration>,
    is_paused: bool,
}

impl Authored {
    /// For values that were written before the call, for the types that the pool knew then.
    pub(in crate::pool) fn early(types: Vec<u32>) -> Self {
        Self { written: Some(Written { types, early: true }), ..Self::default() }
    }

    pub(in crate::pool) fn written(&self) -> Option<&Written> {
        self.written.as_ref()
    }

    /// A connection has described the statement. Returns whether the values may be sent by that
    /// description.
    pub(in crate::pool) fn described(&mut self, by: ConnectionId, types: &[u32]) -> bool {
        self.described_by = Some(by);
        self.rounds = self.rounds.saturating_add(1);
        self.written.as_ref().is_none_or(|written| written.types == types)
    }

    /// Stores the present values, and takes the earlier ones that were written for these types.
    /// Returns whether there are any.
    pub(in crate::pool) fn redraft(&mut self, params: &mut Params, types: &[u32]) -> bool {
        let draft = std::mem::take(params);
        if let Some(written) = self.written.take() {
            if self.drafts.len() >= MOST_DRAFTS {
                self.drafts.remove(0);
            }
            self.drafts.push((written, draft));
        }
        let fits = self.drafts.iter().position(|(written, _)| written.types == types);
        let Some((written, draft)) = fits.map(|at| self.drafts.swap_remove(at)) else {
            return false;
        };
        self.written = Some(written);
        *params = draft;
        true
    }

    /// Whether the statement has to be described again before the call is sent on that connection.
    pub(in crate::pool) fn is_described_elsewhere(&self, to: ConnectionId) -> bool {
        self.written.is_some() && self.described_by != Some(to) && self.rounds < MOST_MOVES
    }

    /// The types have changed once more. Returns whether the call is given up: its statement was
    /// described often enough, and its types have changed for that long. Until then a call whose
    /// statement was described that often pauses before the next time.
    pub(in crate::pool) fn is_exhausted(&mut self, now: Instant, within: Duration) -> bool {
        let since = *self.changed_at.get_or_insert(now);
        if self.rounds < MOST_ROUNDS {
            return false;
        }
        self.pause = Some(self.pause.map_or(FIRST_PAUSE, |last| LONGEST_PAUSE.min(last * 2)));
        self.is_paused = true;
        now >= since + within
    }

    /// How long the call pauses before its statement is described again. `None`: it does not.
    pub(in crate::pool) fn take_pause(&mut self) -> Option<Duration> {
        self.pause.filter(|_| std::mem::take(&mut self.is_paused))
    }

    /// Notes that the caller is asked for values of these types.
    pub(in crate::pool) fn ask(&mut self, types: Vec<u32>) {
        self.written = None;
        self.asked.push_back(types);
    }

    /// The caller has answered. Returns whether the values are used. They are not if the caller was
    /// asked twice, and this is its first answer.
    pub(in crate::pool) fn answer(&mut self) -> bool {
        let types = self.asked.pop_front();
        let is_due = self.written.is_none() && types.is_some();
        if let Some(types) = types.filter(|_| is_due) {
            self.written = Some(Written { types, early: false });
        }
        is_due
    }
}
