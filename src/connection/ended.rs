//! What a request has come to, once the server is ready for the next one.

use std::sync::Arc;

use super::command::CommandTag;
use super::rows::{Rows, TooLarge};
use super::script::Copied;
use super::staleness::Staleness;
use super::statement::Description;
use super::step::Sending;
use crate::base::ServerFields;
use crate::types::Shape;

/// What one statement answered.
#[derive(Debug)]
pub struct StatementResult {
    /// `None` where the statement returns no rows.
    pub shape: Option<Arc<Shape>>,
    pub rows: Rows,
    pub command: CommandTag,
}

pub(super) enum Ended {
    Completed {
        results: Vec<StatementResult>,
        unreplicated: bool,
    },
    /// What had to come first has come, and the statement has not run.
    Described {
        told: Option<Arc<Description>>,
    },
    /// A read with a column in a form that nothing here reads: it has another type by now.
    Unreadable {
        /// It is a text that the session's settings decide.
        is_text: bool,
    },
    /// It had more rows than may be held.
    TooLarge {
        why: TooLarge,
        has_run: bool,
    },
    /// A COPY stood in it, which can't be done here.
    Copied {
        copied: Copied,
        /// The server has refused it, and undone what stood in front of it.
        is_undone: bool,
    },
    Refused {
        fields: Box<ServerFields>,
        staleness: Staleness,
        /// It would have given values another text than this client reads, and has not run.
        check_failed: bool,
        /// It has no right to be told of types, which were asked for between its statements.
        types_refused: bool,
        /// The server had taken the Parse message before it refused.
        parsed: bool,
        /// Statements in front of the refused one have completed.
        had_results: bool,
        /// One of them has committed: the others are undone with the refused one.
        committed: bool,
        /// One of them has begun a transaction, so that what was committed was committed outside of that.
        began: bool,
        /// The server had begun with the work.
        begun: Option<Sending>,
    },
}
