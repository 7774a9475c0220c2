//! How a request was sent, and what its answer is at.

use std::sync::Arc;

use super::prepared::Told;
use super::staleness::Relies;
use super::statement::Description;
use super::step::{Sending, Step};
use super::steps::Steps;
use crate::base::ServerFields;
use crate::types::{Shape, Verbatim};

/// How the request was sent, which decides what the server answers.
#[derive(Debug)]
pub(super) enum Flight {
    /// The server parses the statement, unless it is prepared, and describes it on the way.
    Parsing(Parsing),
    /// A parameter can't be written before its type is known: the description alone is asked for.
    Typing { parameter_types: Vec<u32>, told: Option<Arc<Description>> },
    /// It is prepared on this connection.
    Prepared {
        name: Arc<str>,
        told: Told,
        /// Where it was sent before that was told.
        asked: Option<Asked>,
        relies: Relies,
    },
    Script {
        /// Values come as this client reads them. Else there are none, as far as the text of the
        /// script shows.
        reads_text: bool,
    },
    /// A script, one statement after the other.
    Steps(Box<Steps>),
    /// The prelude of a script, which can't travel with one: a script begins a message of its own.
    Prelude,
}

/// What holds for a request and its answer.
#[derive(Debug)]
pub(super) struct Terms {
    /// As the statement wants it.
    pub(super) verbatim: Verbatim,
    /// How many bytes its answer may take.
    pub(super) limit: usize,
    /// It is a read of which nobody has seen anything yet.
    pub(super) may_run_twice: bool,
    /// The session's text comes as this client reads it.
    pub(super) reads_text: bool,
}

impl Flight {
    /// What the server has refused at this step.
    pub(super) fn sending(&self, step: Step, refused: &ServerFields) -> Sending {
        match self {
            Self::Script { .. } => Sending::Simple,
            Self::Steps(steps) => Sending::Steps { has_left: steps.has_left(step, refused) },
            _ => Sending::Extended,
        }
    }

    /// The shape in whose formats results were asked for, before this connection was told theirs.
    pub(super) fn asked_like(&self) -> Option<&Shape> {
        let asked = match self {
            Self::Parsing(parsing) => Some(&parsing.asked),
            Self::Prepared { asked, .. } => asked.as_ref(),
            _ => None,
        };
        asked.and_then(Asked::shape)
    }

    /// Whether anything of it was sent.
    pub(super) fn was_sent(&self) -> bool {
        !matches!(self, Self::Steps(steps) if steps.is_waiting())
    }

    /// Whether nothing of the statement runs by it.
    pub(super) fn is_preparation(&self) -> bool {
        matches!(self, Self::Typing { .. } | Self::Prelude)
    }
}

/// What a flight that describes its statement begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// Another statement is closed to make room for it.
    Close,
    Parse,
    /// It is prepared: a pooler has it under this name.
    Description,
}

#[derive(Debug)]
pub(super) struct Parsing {
    /// Under which it is kept.
    pub(super) name: Option<Arc<str>>,
    pub(super) begins: Begins,
    pub(super) told: Told,
    pub(super) asked: Asked,
    pub(super) relies: Relies,
    pub(super) parameter_types: Vec<u32>,
}

/// The formats in which results were asked for, before the server had said what they are.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Text,
    /// Those of a shape.
    Like(Arc<Shape>),
}

impl Asked {
    pub(super) fn shape(&self) -> Option<&Shape> {
        match self {
            Self::Text => None,
            Self::Like(shape) => Some(shape),
        }
    }

    /// How the rows of a statement look that come in these formats.
    pub(super) fn shape_of(&self, told: &Description, verbatim: &Verbatim) -> Option<Arc<Shape>> {
        match self {
            Self::Text => told.text.clone(),
            Self::Like(shape) => told.in_formats_of(shape, verbatim),
        }
    }
}

/// Whether no setting decides what a value of the type looks like as text: `text`, `name`,
/// `varchar`, `json`, `xml`.
pub(super) const fn is_of_text(type_oid: u32) -> bool {
    matches!(type_oid, 25 | 19 | 1043 | 114 | 142)
}
