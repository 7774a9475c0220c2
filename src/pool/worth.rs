//! The worth of an answer from a host that no longer serves. The answer may be stale, so it is not
//! delivered if withholding it does no harm.

use crate::base::{Error, ErrorClass, Mutation, Outcome};
use crate::config::TargetSessionAttrs;
use crate::connection::{Answer, Effect};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// The request certainly had no effect. The answer is discarded, and the request may be sent
    /// again.
    Nothing,
    /// The answer may be stale, and the request may have had an effect. The answer is not
    /// delivered, and the request is not sent again.
    Uncertain,
    /// The request had an effect, or the host serves again. The answer is delivered.
    Stands,
}

/// An answer, and the facts about its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) answer: &'a Answer,
    /// The statement's effect, by its text.
    pub(super) effect: Effect,
    /// The caller has declared the request to be read-only.
    pub(super) declared: bool,
    /// The transaction is open, so nothing it has done is committed.
    pub(super) is_open: bool,
    /// The request itself has begun that transaction, so everything that the transaction reads may
    /// be stale.
    pub(super) opens: bool,
}

const READS: [&str; 4] = ["SELECT", "SHOW", "FETCH", "EXPLAIN"];
/// Commands that a read-only host accepts.
const NEUTRAL: [&str; 27] = [
    "",
    "BEGIN",
    "CALL",
    "CLOSE CURSOR",
    "CLOSE CURSOR ALL",
    "COMMIT",
    "DEALLOCATE",
    "DEALLOCATE ALL",
    "DECLARE CURSOR",
    "DISCARD ALL",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
    "DO",
    "LISTEN",
    "LOCK TABLE",
    "MOVE",
    "NOTIFY",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "SET CONSTRAINTS",
    "START TRANSACTION",
    "UNLISTEN",
];

/// `fits_again`: the server has reported after the answer that it has the required role. Then
/// either the fence was lifted before the answer, so that a write was not refused, or the host has
/// become the primary again.
pub(super) fn worth(answered: Answered<'_>, fits_again: bool) -> Worth {
    let Answered { answer, effect, declared, is_open, opens } = answered;
    match answer {
        Answer::Described { .. } => Worth::Nothing,
        Answer::Refused { error, .. } if error.outcome() == Some(Outcome::NotCommitted) => {
            Worth::Nothing
        }
        Answer::Refused { .. } => Worth::Stands,
        Answer::Completed { .. } if fits_again => Worth::Stands,
        Answer::Completed { .. } if declared || opens || effect == Effect::None => Worth::Nothing,
        Answer::Completed { results, .. } => {
            let mut tags = results.iter().map(|result| result.command.name());
            let reads = tags.clone().all(|tag| READS.contains(&tag));
            let writes = !tags.all(|tag| READS.contains(&tag) || NEUTRAL.contains(&tag));
            let has_rows = results.iter().any(|result| result.shape.is_some());
            if Mutation::TrustTags.is_on() {
                return if reads { Worth::Nothing } else { Worth::Stands };
            }
            match effect {
                _ if writes => Worth::Stands,
                Effect::Certain => Worth::Stands,
                // The answer has no rows that could be stale.
                _ if !has_rows => Worth::Stands,
                // Uncommitted changes are lost with their transaction.
                _ if is_open && reads => Worth::Nothing,
                _ if is_open => Worth::Stands,
                _ => Worth::Uncertain,
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
