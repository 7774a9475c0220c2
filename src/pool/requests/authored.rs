//! Values that the caller's code writes (`serialize`), for the types that the pool hands to it.
//!
//! They belong to these types, and to the session that described them: values that were written for
//! one description are sent by no other one. The caller keeps what it was called with until its
//! call is answered, so that it can be asked for the values once more.

use std::collections::VecDeque;

use crate::connection::Written;
use crate::pool::ConnectionId;
use crate::types::Params;

/// How often a statement is described for values of one call, whose types change each time.
const MOST_ROUNDS: u8 = 16;
/// After so many descriptions the values go to any connection, with their types declared.
const MOST_MOVES: u8 = 4;
/// For how many lists of types the values of one call are kept.
const MOST_DRAFTS: usize = 4;

/// Of a call whose values code of the caller's writes.
#[derive(Debug, Default)]
pub(in crate::pool) struct Authored {
    /// The types that its caller was asked for and has not answered, in the order of its answers.
    asked: VecDeque<Vec<u32>>,
    /// What its values were written for.
    written: Option<Written>,
    /// Values that were written before, for other types. Where sessions have tables of their own,
    /// the next one may fit these again.
    drafts: Vec<(Written, Params)>,
    /// The connection that has described its statement.
    described_by: Option<ConnectionId>,
    rounds: u8,
}

impl Authored {
    /// By what the pool knew when the caller asked.
    pub(in crate::pool) fn early(types: Vec<u32>) -> Self {
        Self { written: Some(Written { types, early: true }), ..Self::default() }
    }

    pub(in crate::pool) fn written(&self) -> Option<&Written> {
        self.written.as_ref()
    }

    /// A connection has described its statement. Returns whether its values may go by that
    /// description.
    pub(in crate::pool) fn described(&mut self, by: ConnectionId, types: &[u32]) -> bool {
        self.described_by = Some(by);
        self.rounds = self.rounds.saturating_add(1);
        self.written.as_ref().is_none_or(|written| written.types == types)
    }

    /// Puts the values aside that were written, and takes those that were written for these types
    /// before. Returns whether there are any.
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

    /// Whether the statement has to be described once more before the call goes to a connection.
    pub(in crate::pool) fn is_described_elsewhere(&self, to: ConnectionId) -> bool {
        self.written.is_some() && self.described_by != Some(to) && self.rounds < MOST_MOVES
    }

    pub(in crate::pool) fn is_exhausted(&self) -> bool {
        self.rounds >= MOST_ROUNDS
    }

    /// The caller is asked for values of these types.
    pub(in crate::pool) fn ask(&mut self, types: Vec<u32>) {
        self.written = None;
        self.asked.push_back(types);
    }

    /// The caller has answered. Returns whether the values are taken: it may have been asked twice,
    /// and the values of its first answer are on their way.
    pub(in crate::pool) fn answer(&mut self) -> bool {
        let types = self.asked.pop_front();
        let is_due = self.written.is_none() && types.is_some();
        if let Some(types) = types.filter(|_| is_due) {
            self.written = Some(Written { types, early: false });
        }
        is_due
    }
}
