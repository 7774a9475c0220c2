//! How a request was sent, and how far its answer is.

use std::sync::Arc;

use super::step::{Sending, Step};
use super::steps::Steps;
use crate::base::ServerFields;
use crate::connection::statement::Description;
use crate::connection::statement::prepared::DescriptionCell;
use crate::connection::statement::staleness::Relies;
use crate::types::{Shape, Verbatim};

/// How the request was sent, which decides what the server answers.
#[derive(Debug)]
pub(in crate::connection) enum Flight {
    /// The server parses the statement, unless it is prepared already, and describes it before it
    /// runs.
    Parsing(Parsing),
    /// Only the description is asked for, since a parameter can't be encoded before its type is
    /// known.
    Describing { parameter_types: Vec<u32>, description: Option<Arc<Description>> },
    /// The statement is prepared on this connection.
    Prepared {
        name: Arc<str>,
        description: DescriptionCell,
        /// The formats of the results, if it was sent before this connection's description had
        /// come.
        asked: Option<Asked>,
        relies: Relies,
    },
    Script {
        /// Values come as text that this client reads. If not, the script returns none except of
        /// text, as far as its own text shows.
        reads_text: bool,
    },
    /// A script that is sent one statement after the other.
    Steps(Box<Steps>),
    /// Only the prelude of a script. A script is a message of its own, so the prelude can't be sent
    /// in the same flight.
    Prelude,
}

/// The terms on which a request was sent.
#[derive(Debug)]
pub(in crate::connection) struct Terms {
    /// The types that the caller wants as text.
    pub(in crate::connection) verbatim: Verbatim,
    /// How many bytes of memory the answer may take.
    pub(in crate::connection) limit: usize,
    /// It is a read, and its caller has not seen anything yet of the same transaction.
    pub(in crate::connection) may_run_twice: bool,
    /// The session's text comes as this client reads it.
    pub(in crate::connection) reads_text: bool,
}

impl Flight {
    /// How the server had the statement that it refused at this step.
    pub(in crate::connection) fn sending(&self, step: Step, refused: &ServerFields) -> Sending {
        match self {
            Self::Script { .. } => Sending::Simple,
            Self::Steps(steps) => Sending::Steps { has_left: steps.has_left(step, refused) },
            _ => Sending::Extended,
        }
    }

    /// The shape in whose formats results were asked for, before this connection's server had
    /// described them.
    pub(in crate::connection) fn asked_like(&self) -> Option<&Shape> {
        let asked = match self {
            Self::Parsing(parsing) => Some(&parsing.asked),
            Self::Prepared { asked, .. } => asked.as_ref(),
            _ => None,
        };
        asked.and_then(Asked::shape)
    }

    /// Whether any byte of it was sent.
    pub(in crate::connection) fn was_sent(&self) -> bool {
        !matches!(self, Self::Steps(steps) if steps.is_waiting())
    }

    /// Whether it runs nothing of the statement.
    pub(in crate::connection) fn is_preparation(&self) -> bool {
        matches!(self, Self::Describing { .. } | Self::Prelude)
    }
}

/// The first message of a flight that describes its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Begins {
    /// Close, of another statement, to make room for this one.
    Close,
    Parse,
    /// Describe: a pooler has the statement under this name already.
    Description,
}

#[derive(Debug)]
pub(in crate::connection) struct Parsing {
    /// The name under which the statement is kept.
    pub(in crate::connection) name: Option<Arc<str>>,
    pub(in crate::connection) begins: Begins,
    pub(in crate::connection) description: DescriptionCell,
    pub(in crate::connection) asked: Asked,
    pub(in crate::connection) relies: Relies,
    pub(in crate::connection) parameter_types: Vec<u32>,
}

/// The formats in which results were asked for, before the server had described them.
#[derive(Clone, Debug)]
pub(in crate::connection) enum Asked {
    Text,
    /// The formats of this shape.
    Like(Arc<Shape>),
}

impl Asked {
    pub(in crate::connection) fn shape(&self) -> Option<&Shape> {
        match self {
            Self::Text => None,
            Self::Like(shape) => Some(shape),
        }
    }

    /// The shape of rows in these formats, for a statement with this description.
    pub(in crate::connection) fn shape_of(
        &self,
        description: &Description,
        verbatim: &Verbatim,
    ) -> Option<Arc<Shape>> {
        match self {
            Self::Text => description.text.clone(),
            Self::Like(shape) => description.in_formats_of(shape, verbatim),
        }
    }
}

/// Whether values of the type look the same as text under all settings: `text`, `name`, `varchar`,
/// `json`, `xml`.
pub(in crate::connection) const fn is_of_text(type_oid: u32) -> bool {
    matches!(type_oid, 25 | 19 | 1043 | 114 | 142)
}
