//! How a request was sent, and how much of its answer has come.

use std::sync::Arc;

use super::step::{Sending, Step};
use super::steps::Steps;
use crate::base::ServerFields;
use crate::connection::statement::Description;
use crate::connection::statement::prepared::DescriptionCell;
use crate::connection::statement::staleness::Relies;
use crate::types::{Shape, Verbatim};

/// How the request was sent. This decides what the server answers.
#[derive(Debug)]
pub(in crate::connection) enum Flight {
    /// The server parses the statement, unless it is already prepared, and describes it before
    /// running it.
    Parsing(Parsing),
    /// Only the description is requested, since a parameter can't be encoded before its type is
    /// known.
    Describing { parameter_types: Vec<u32>, description: Option<Arc<Description>> },
    /// The statement is prepared on this connection.
    Prepared {
        name: Arc<str>,
        description: DescriptionCell,
        /// The formats of the results, if the request was sent before this connection's description
        /// had come.
        asked: Option<Asked>,
        relies: Relies,
    },
    Script {
        /// Values come as text that this client reads. If they do not, the script's own text shows
        /// that it returns only values of type text.
        reads_text: bool,
    },
    /// A script whose statements are sent one after the other.
    Steps(Box<Steps>),
    /// Only the prelude of a script. A script is a single message, so the prelude can't be in the
    /// same flight.
    Prelude,
}

/// The terms on which a request was sent.
#[derive(Debug)]
pub(in crate::connection) struct Terms {
    /// The types that the caller wants as text.
    pub(in crate::connection) verbatim: Verbatim,
    /// How many bytes of memory the answer may take.
    pub(in crate::connection) limit: usize,
    /// The request is a read, and its caller has not seen any result of the same transaction yet.
    pub(in crate::connection) may_run_twice: bool,
    /// The session's text is in the forms that this client reads.
    pub(in crate::connection) reads_text: bool,
}

impl Flight {
    /// How the statement that the server refused at this step was sent.
    pub(in crate::connection) fn sending(&self, step: Step, refused: &ServerFields) -> Sending {
        match self {
            Self::Script { .. } => Sending::Simple,
            Self::Steps(steps) => Sending::Steps { has_left: steps.has_left(step, refused) },
            _ => Sending::Extended,
        }
    }

    /// The shape in whose formats the results were requested, before this connection's server had
    /// described them.
    pub(in crate::connection) fn asked_like(&self) -> Option<&Shape> {
        let asked = match self {
            Self::Parsing(parsing) => Some(&parsing.asked),
            Self::Prepared { asked, .. } => asked.as_ref(),
            _ => None,
        };
        asked.and_then(Asked::shape)
    }

    /// Whether any byte of the flight was sent.
    pub(in crate::connection) fn was_sent(&self) -> bool {
        !matches!(self, Self::Steps(steps) if steps.is_waiting())
    }

    /// Whether the flight does not run the statement.
    pub(in crate::connection) fn is_preparation(&self) -> bool {
        matches!(self, Self::Describing { .. } | Self::Prelude)
    }
}

/// The first message of a flight that describes its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Begins {
    /// Close, for another statement that makes room for this one.
    Close,
    Parse,
    /// Describe, because the pooler already has the statement under this name.
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

/// The formats in which results were requested before the server had described them.
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

/// Whether values of the type have the same text under all settings: `text`, `name`, `varchar`,
/// `json`, `xml`.
pub(in crate::connection) const fn is_of_text(type_oid: u32) -> bool {
    matches!(type_oid, 25 | 19 | 1043 | 114 | 142)
}
