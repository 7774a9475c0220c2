//! The result of a request, once the server is ready for the next one.

use std::sync::Arc;

use super::command::CommandTag;
use super::rows::{Rows, TooLarge};
use super::step::Sending;
use crate::base::{Error, ServerFields};
use crate::connection::statement::Description;
use crate::connection::statement::script::Copied;
use crate::connection::statement::staleness::Staleness;
use crate::types::Shape;

/// The answer to one statement.
#[derive(Debug)]
pub struct StatementResult {
    /// `None` if the statement returns no rows.
    pub shape: Option<Arc<Shape>>,
    pub rows: Rows,
    pub command: CommandTag,
}

pub(in crate::connection) enum Ended {
    Completed {
        results: Vec<StatementResult>,
        unreplicated: bool,
    },
    /// The question that had to come first is answered. The statement itself has not run.
    Described {
        description: Option<Arc<Description>>,
    },
    /// A read has a column in a format that this client can't read, because the column has another
    /// type by now.
    Unreadable {
        /// The column came as text whose form depends on the session's settings.
        is_text: bool,
    },
    /// A value does not fit its parameter, whose type was described in the same transaction.
    EncodeError {
        error: Error,
    },
    /// A server was kept from describing the types in the results of a script's next statement,
    /// which has not run. The transaction goes on.
    Untold {
        /// Statements in front of it have completed.
        had_results: bool,
    },
    /// The answer took more memory than it may.
    TooLarge {
        why: TooLarge,
        has_run: bool,
    },
    /// The text contained a COPY to or from this client, which is not supported.
    Copied {
        copied: Copied,
        /// The server refused the text, and has undone the statements before the COPY.
        is_undone: bool,
    },
    Refused {
        fields: Box<ServerFields>,
        staleness: Staleness,
        /// The check before the statement failed: the session's settings give values another text
        /// than this client reads. The statement has not run.
        check_failed: bool,
        /// The role has no right to read types, for which the client asked between the statements.
        types_refused: bool,
        /// The pool's own question for types was refused, and no statement of the caller's.
        question_refused: bool,
        /// The server had accepted the Parse message before it refused.
        parsed: bool,
        /// Statements before the refused one have completed.
        had_results: bool,
        /// One of these statements has committed. The others are undone with the refused one.
        committed: bool,
        /// One of these statements has begun a transaction, so a commit was made outside it.
        began: bool,
        /// How the statement was sent, if the server had begun to run it.
        begun: Option<Sending>,
    },
}
