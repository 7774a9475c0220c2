//! Decides about a call whose connection is lost, from facts alone, and changes nothing.
//!
//! The call is sent again only if the server never began to run it, or if its caller has declared
//! it to be read-only.

use crate::base::{Mutation, Outcome};
use crate::connection::Begin;

/// Even a read-only statement may be what crashes the server. So a call that may have run is sent
/// again at most this often, not counting connections that were already open at the previous loss.
pub(super) const MOST_LOSSES: u8 = 2;

#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Whether the call may have run, as far as its connection knows.
    pub(super) outcome: Outcome,
    /// The caller has seen no earlier answer on the connection.
    pub(super) is_free: bool,
    /// The caller has declared the call to be read-only.
    pub(super) declared: bool,
    /// The transaction that the pool has begun and to which the call belongs, or which begins with
    /// the call.
    pub(super) begin: Option<Begin>,
    /// A request in flight may have committed that transaction.
    pub(super) may_have_committed: bool,
    /// How often the call was lost while it may have been running, including this time.
    pub(super) losses: u8,
    /// The call waited in a pooler's own queue, and has no time left to wait in the pool's.
    pub(super) is_late: bool,
    /// The server sent invalid messages, or ended the session at a time limit, and would do so
    /// again.
    pub(super) would_recur: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    SendAgain,
    Fail(Outcome),
}

pub(super) fn on_lost(loss: &Loss) -> Fate {
    let is_read_only = loss.begin.is_some_and(|begin| begin.read_only);
    let declared = loss.declared && !Mutation::ForgetDeclaration.is_on();
    let had_no_effect = loss.outcome != Outcome::Unknown || Mutation::RepeatUnknown.is_on();
    let is_bounded = loss.losses <= MOST_LOSSES || Mutation::RepeatForever.is_on();
    let is_harmless = (declared || is_read_only) && is_bounded && !loss.would_recur;
    if loss.is_free && !loss.is_late && (had_no_effect || is_harmless) {
        return Fate::SendAgain;
    }
    Fate::Fail(match loss.begin {
        Some(_) => in_transaction(loss.outcome, loss.may_have_committed),
        // A call that changes nothing can't have had an effect.
        None if loss.outcome == Outcome::Unknown && loss.declared => Outcome::NotCommitted,
        None => loss.outcome,
    })
}

/// A broken connection ends its transaction without effect, unless the commit itself was in flight.
pub(super) fn in_transaction(outcome: Outcome, may_have_committed: bool) -> Outcome {
    match outcome == Outcome::Unknown && may_have_committed {
        true => Outcome::Unknown,
        false => Outcome::NotCommitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_loss_leads_to_is_a_matter_of_facts() {
        let at_work = Loss {
            outcome: Outcome::Unknown,
            is_free: true,
            declared: false,
            begin: None,
            may_have_committed: false,
            losses: 1,
            is_late: false,
            would_recur: false,
        };
        let unsent = Loss { outcome: Outcome::NotSent, losses: 0, ..at_work };
        let declared = Loss { declared: true, ..at_work };
        let begun = Loss { begin: Some(Begin::default()), ..at_work };
        let read_only = Begin { read_only: true, ..Begin::default() };
        let reads = Loss { begin: Some(read_only), ..at_work };
        let seen = |loss: Loss| Loss { is_free: false, ..loss };
        let fails = Fate::Fail;
        for (loss, fate) in [
            (at_work, fails(Outcome::Unknown)),
            (unsent, Fate::SendAgain),
            (seen(unsent), fails(Outcome::NotSent)),
            (Loss { is_late: true, ..unsent }, fails(Outcome::NotSent)),
            // Calls that change nothing.
            (declared, Fate::SendAgain),
            (Loss { losses: MOST_LOSSES + 1, ..declared }, fails(Outcome::NotCommitted)),
            (Loss { would_recur: true, ..declared }, fails(Outcome::NotCommitted)),
            (seen(declared), fails(Outcome::NotCommitted)),
            // Transactions.
            (begun, fails(Outcome::NotCommitted)),
            (Loss { may_have_committed: true, ..begun }, fails(Outcome::Unknown)),
            (Loss { outcome: Outcome::NotSent, ..begun }, Fate::SendAgain),
            (reads, Fate::SendAgain),
            (seen(reads), fails(Outcome::NotCommitted)),
        ] {
            assert_eq!(on_lost(&loss), fate, "{loss:?}");
        }
    }
}
