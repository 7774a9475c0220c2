//! One request and its answer: which message may come next, and what has come so far.
//!
//! ```text
//! Describing: Parse ▶ ParameterDescription ▶ Describe ▶ Bind ▶ Execute ▶ Complete
//! Typing:     Parse ▶ ParameterDescription ▶ Describe ▶ Complete
//! Preparing:  (Close ▶) Parse ▶ Bind ▶ Describe ▶ Execute ▶ Complete
//! Prepared:   Bind ▶ Execute ▶ Complete
//! Script:     Execute ▶ Execute ▶ ... (the simple protocol says nothing of Parse and Bind)
//! Execute ▶ Copy ▶ Execute: a COPY to standard output.
//! ErrorResponse leads from each of them to Refused; ReadyForQuery ends Complete, Refused, and a script.
//! A prelude's answers come before all of it.
//! ```
//!
//! An answer is held here until ReadyForQuery: before it, a write is not committed (a deferred constraint
//! can fail it behind CommandComplete), and a fence is not known.

use std::sync::Arc;

use super::command::CommandTag;
use super::prelude::Prelude;
use super::rows::{ROW_OVERHEAD, Rows};
use super::statement::{Description, StatementId};
use crate::base::{Error, ErrorClass, Outcome, ServerFields};
use crate::protocol::backend::{BackendMessage, Field};
use crate::protocol::data_row::check_data_row;
use crate::types::{Shape, Verbatim};

/// What one statement answered.
#[derive(Debug)]
pub struct StatementResult {
    /// `None` where the statement returns no rows.
    pub shape: Option<Arc<Shape>>,
    pub rows: Rows,
    pub command: CommandTag,
}

/// How the request was sent, which decides what the server answers.
#[derive(Debug)]
pub(super) enum Flight {
    /// The pool does not know the statement: its description comes along with the answer.
    Describing {
        parameter_types: Vec<u32>,
    },
    /// A parameter can't be written before its type is known: the description alone is asked for.
    Typing {
        parameter_types: Vec<u32>,
    },
    /// This connection does not have the statement: it is prepared on the way, under a name that is kept or
    /// without one, and another one may be closed to make room for it.
    Preparing {
        named: bool,
        closes: bool,
    },
    Prepared,
    Script,
    /// The prelude of a script, which can't travel with one: a script begins a message of its own.
    Prelude,
}

/// The next message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Close,
    Parse,
    ParameterDescription,
    Describe,
    Bind,
    Execute,
    /// A COPY to standard output, up to its CopyDone.
    Copy,
    Complete,
    Refused,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) statement: StatementId,
    pub(super) flight: Flight,
    prelude: Prelude,
    step: Step,
    verbatim: Verbatim,
    /// How the rows that come are to be read.
    shape: Option<Arc<Shape>>,
    rows: Rows,
    /// What the rows of all its statements take, up to the limit.
    held: usize,
    /// There were more: those that came are forgotten, and those that come are let go by.
    too_large: bool,
    results: Vec<StatementResult>,
    refusal: Option<Box<ServerFields>>,
    /// The step at which the server refused.
    refused_at: Step,
    /// The server said that a commit was not waited for by its synchronous standbys.
    unreplicated: bool,
}

/// What a message taught the connection beside the answer itself.
pub(super) enum Learned {
    Nothing,
    /// A statement prepared here by an earlier request is bound, whose answer told how its rows look.
    Bound,
    /// The pool knows the statement from now on.
    Description(Arc<Description>),
    /// The rows of the statement prepared here look like this.
    Shape(Option<Arc<Shape>>),
}

impl Exchange {
    pub(super) fn new(
        statement: StatementId,
        flight: Flight,
        shape: Option<Arc<Shape>>,
        prelude: Prelude,
    ) -> Self {
        let step = match flight {
            Flight::Preparing { closes: true, .. } => Step::Close,
            Flight::Describing { .. }
            | Flight::Typing { .. }
            | Flight::Preparing { closes: false, .. } => Step::Parse,
            Flight::Prepared => Step::Bind,
            Flight::Script => Step::Execute,
            Flight::Prelude => Step::Complete,
        };
        Self {
            statement,
            flight,
            prelude,
            step,
            verbatim: Verbatim::default(),
            shape,
            rows: Rows::default(),
            held: 0,
            too_large: false,
            results: Vec::new(),
            refusal: None,
            refused_at: step,
            unreplicated: false,
        }
    }

    /// How much of its rows has come.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// As the statement wants it.
    pub(super) fn with_verbatim(self, verbatim: Verbatim) -> Self {
        Self { verbatim, ..self }
    }

    fn shape_of(&self, fields: Vec<Field>) -> Arc<Shape> {
        Arc::new(Shape::with_verbatim(fields, &self.verbatim))
    }

    /// A DataRow, by far the most frequent message. No more than `limit` bytes of them are held.
    pub(super) fn row(&mut self, body: &[u8], limit: usize) -> Result<(), Error> {
        match (&self.shape, self.step) {
            (Some(shape), Step::Execute) => {
                check_data_row(body, shape.columns().len())?;
                self.held = self.held.saturating_add(body.len() + ROW_OVERHEAD);
                if self.held <= limit {
                    self.rows.push(body);
                } else if !self.too_large {
                    self.too_large = true;
                    self.rows = Rows::default();
                    self.results.clear();
                }
                Ok(())
            }
            _ => Err(self.unexpected("DataRow")),
        }
    }

    pub(super) fn message(&mut self, message: BackendMessage<'_>) -> Result<Learned, Error> {
        use BackendMessage as M;
        match (self.step, &mut self.flight, message) {
            (Step::Refused, _, message) => return Err(self.unexpected(message.name())),
            (_, _, M::ErrorResponse(fields)) => {
                self.refused_at = self.step;
                self.refusal = Some(fields);
                self.step = Step::Refused;
                self.rows = Rows::default();
            }
            (_, _, message) if self.prelude.is_pending() => {
                if !self.prelude.accept(&message) {
                    return Err(self.unexpected(message.name()));
                }
            }
            (Step::Close, _, M::CloseComplete) => self.step = Step::Parse,
            (Step::Parse, Flight::Describing { .. } | Flight::Typing { .. }, M::ParseComplete) => {
                self.step = Step::ParameterDescription;
            }
            (Step::Parse, _, M::ParseComplete) => self.step = Step::Bind,
            (
                Step::ParameterDescription,
                Flight::Describing { parameter_types } | Flight::Typing { parameter_types },
                M::ParameterDescription(types),
            ) => {
                *parameter_types = types;
                self.step = Step::Describe;
            }
            (Step::Describe, _, M::RowDescription(fields)) => {
                return Ok(self.describe(Some(fields)));
            }
            (Step::Describe, _, M::NoData) => return Ok(self.describe(None)),
            (Step::Bind, Flight::Preparing { .. }, M::BindComplete) => self.step = Step::Describe,
            (Step::Bind, Flight::Prepared, M::BindComplete) => {
                self.step = Step::Execute;
                return Ok(Learned::Bound);
            }
            (Step::Bind, _, M::BindComplete) => self.step = Step::Execute,
            (Step::Execute, Flight::Script, M::RowDescription(fields)) if self.shape.is_none() => {
                self.shape = Some(self.shape_of(fields));
            }
            (Step::Execute, _, M::CommandComplete(tag)) => self.complete(CommandTag::parse(tag)),
            (Step::Execute, _, M::EmptyQueryResponse) => self.complete(CommandTag::EMPTY),
            // Rows for a COPY to standard output are let go by; there is nowhere to put them.
            (Step::Execute, _, M::CopyOutResponse) => self.step = Step::Copy,
            (Step::Copy, _, M::CopyData(_)) => {}
            (Step::Copy, _, M::CopyDone) => self.step = Step::Execute,
            (_, _, message) => return Err(self.unexpected(message.name())),
        }
        Ok(Learned::Nothing)
    }

    pub(super) fn notice(&mut self, fields: &ServerFields) {
        // The routine's name is not translated, the message is.
        self.unreplicated |=
            fields.code == "01000" && fields.routine.as_deref() == Some("SyncRepWaitForLSN");
    }

    pub(super) fn set_shape(&mut self, shape: Option<Arc<Shape>>) {
        self.shape = shape;
    }

    fn describe(&mut self, fields: Option<Vec<Field>>) -> Learned {
        match &mut self.flight {
            Flight::Describing { parameter_types } => {
                let types = std::mem::take(parameter_types);
                // This answer comes as text; the description keeps the formats for the times to come.
                self.shape = fields.clone().map(|fields| self.shape_of(fields));
                self.step = Step::Bind;
                Learned::Description(Arc::new(Description::new(types, fields, &self.verbatim)))
            }
            Flight::Typing { parameter_types } => {
                let types = std::mem::take(parameter_types);
                self.step = Step::Complete;
                Learned::Description(Arc::new(Description::new(types, fields, &self.verbatim)))
            }
            Flight::Preparing { .. } | Flight::Prepared | Flight::Script | Flight::Prelude => {
                let came = fields.map(|fields| self.shape_of(fields));
                // The known shape stands for all equal ones, so that rows are built by the same code.
                if self.shape != came {
                    self.shape = came;
                }
                self.step = Step::Execute;
                Learned::Shape(self.shape.clone())
            }
        }
    }

    fn complete(&mut self, command: CommandTag) {
        let rows = std::mem::take(&mut self.rows);
        let shape = match self.flight {
            Flight::Script => self.shape.take(),
            _ => {
                self.step = Step::Complete;
                self.shape.clone()
            }
        };
        if self.results.is_empty() {
            // Seldom are there more, and a Vec makes room for four.
            self.results.reserve_exact(1);
        }
        self.results.push(StatementResult { shape, rows, command });
    }

    /// Whether the session is being reset in front of the request: refused, the request has not run.
    pub(super) fn is_resetting(&self) -> bool {
        self.prelude.is_resetting()
    }

    pub(super) fn has_reset(&self) -> bool {
        self.prelude.has_reset()
    }

    /// ReadyForQuery may come only when nothing else is due.
    pub(super) fn check_finished(&self) -> Result<(), Error> {
        let script = matches!(self.flight, Flight::Script) && self.shape.is_none();
        match self.step {
            Step::Refused => Ok(()),
            _ if self.prelude.is_pending() => Err(self.unexpected("ReadyForQuery")),
            Step::Complete => Ok(()),
            Step::Execute if script => Ok(()),
            _ => Err(self.unexpected("ReadyForQuery")),
        }
    }

    /// ReadyForQuery has come: what the request has come to.
    pub(super) fn finish(self) -> Ended {
        if let Some(fields) = self.refusal {
            let described = matches!(self.flight, Flight::Preparing { .. } | Flight::Prepared);
            return Ended::Refused {
                plan_is_stale: described && is_stale(&fields, self.refused_at),
                parsed: !matches!(self.refused_at, Step::Close | Step::Parse),
                had_results: !self.results.is_empty(),
                fields,
            };
        }
        if matches!(self.flight, Flight::Typing { .. } | Flight::Prelude) {
            return Ended::Described;
        }
        if self.too_large {
            return Ended::TooLarge;
        }
        Ended::Completed { results: self.results, unreplicated: self.unreplicated }
    }

    fn unexpected(&self, message: &str) -> Error {
        let due = match self.step {
            Step::Refused => self.step.awaits(),
            _ if self.prelude.is_pending() => self.prelude.awaits(),
            step => step.awaits(),
        };
        Error::protocol(format!("the server sent {message} when {due} was due"))
    }
}

pub(super) enum Ended {
    Completed {
        results: Vec<StatementResult>,
        unreplicated: bool,
    },
    /// What had to come first has come, and the statement has not run.
    Described,
    /// It ran, and had more rows than may be held.
    TooLarge,
    Refused {
        fields: Box<ServerFields>,
        /// Sending the statement anew, as one that nobody has described, heals it.
        plan_is_stale: bool,
        /// The server had taken the Parse message before it refused.
        parsed: bool,
        /// Statements in front of the refused one have completed.
        had_results: bool,
    },
}

/// Whether the server refused because the statement is no longer what its description says: it is
/// gone (26000), its result has changed (0A000), Bind's formats don't match its columns (08P01), or a type that it names
/// by its oid was dropped, and perhaps made anew (42704, XX000). Where it is wrong itself, it is refused once more.
fn is_stale(fields: &ServerFields, step: Step) -> bool {
    match fields.code.as_str() {
        "26000" | "08P01" => step == Step::Bind,
        "42704" => matches!(step, Step::Parse | Step::Bind),
        // Internal errors are not translated.
        "XX000" => {
            matches!(step, Step::Parse | Step::Bind)
                && fields.message.starts_with("cache lookup failed for type")
        }
        "0A000" => fields.routine.as_deref() == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

impl Step {
    const fn awaits(self) -> &'static str {
        match self {
            Self::Close => "CloseComplete",
            Self::Parse => "ParseComplete",
            Self::ParameterDescription => "ParameterDescription",
            Self::Describe => "RowDescription or NoData",
            Self::Bind => "BindComplete",
            Self::Execute => "a row or CommandComplete",
            Self::Copy => "CopyData or CopyDone",
            Self::Complete | Self::Refused => "ReadyForQuery",
        }
    }
}

pub(super) fn too_large(max_result_bytes: usize) -> Error {
    let message = format!(
        "the result has more than {max_result_bytes} bytes, which is maxResultBytes: it was not kept, and what \
         the statement did besides it has been done",
    );
    Error::new(ErrorClass::Protocol, "HYPERION_RESULT_TOO_LARGE", message)
        .with_outcome(Outcome::Unknown)
}
