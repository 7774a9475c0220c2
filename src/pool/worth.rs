//! What an answer is worth that comes from a host which does not serve any more: it may be old, so
//! that it is not handed out where that does no harm.

use crate::base::{Error, ErrorClass, Mutation, Outcome};
use crate::config::TargetSessionAttrs;
use crate::connection::{Answer, Effect};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It certainly had no effect: it is thrown away, and may be asked again.
    Nothing,
    /// It may be old, and it may have had an effect: it is neither handed out nor asked again.
    Doubtful,
    /// It had an effect, or the host serves again.
    Stands,
}

/// An answer, and what is known of its question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) answer: &'a Answer,
    /// By the text.
    pub(super) effect: Effect,
    /// Its caller has declared that it changes nothing.
    pub(super) declared: bool,
    /// Its transaction is open: whatever it has done is not committed.
    pub(super) is_open: bool,
}

/// `fits_again`: the server has said so behind the answer. The fence was lifted between what showed
/// it and the answer, so that a write was not refused, or the host has become the primary again.
pub(super) fn worth(answered: Answered<'_>, fits_again: bool) -> Worth {
    const READS: [&str; 4] = ["SELECT", "SHOW", "FETCH", "EXPLAIN"];
    let Answered { answer, effect, declared, is_open } = answered;
    match answer {
        Answer::Described => Worth::Nothing,
        Answer::Refused { error, .. } if error.outcome() == Some(Outcome::NotCommitted) => {
            Worth::Nothing
        }
        Answer::Refused { .. } => Worth::Stands,
        Answer::Completed { .. } if fits_again => Worth::Stands,
        Answer::Completed { .. } if declared || effect == Effect::None => Worth::Nothing,
        Answer::Completed { results, .. } => {
            let reads = results.iter().all(|result| READS.contains(&result.command.name()));
            let trusts_tags = Mutation::TrustTags.is_on();
            if !reads || (effect == Effect::Certain && !trusts_tags) {
                Worth::Stands
            } else if is_open || trusts_tags {
                // What is not committed goes with its transaction.
                Worth::Nothing
            } else {
                Worth::Doubtful
            }
        }
    }
}

pub(super) fn unfit_host(mode: TargetSessionAttrs, outcome: Outcome) -> Error {
    let behind = match outcome {
        Outcome::Unknown => {
            ". The statement may have done something there all the same: of one that only reads, say so \
             (`readOnly: true`)"
        }
        Outcome::NotSent | Outcome::NotCommitted => {
            ": release the connection, and take another one"
        }
    };
    let message = format!(
        "the host of this connection is not what mode '{}' asks for any more, and its answer was discarded{behind}",
        mode.as_str()
    );
    Error::new(ErrorClass::Connection, "HYPERION_UNFIT_HOST", message).with_outcome(outcome)
}
