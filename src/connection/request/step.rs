//! The message that the server has to send next.

use crate::base::Error;

/// The next message that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Step {
    Close,
    Parse,
    ParameterDescription,
    Describe,
    /// A message of the answer about types, for which the client asks between two statements.
    Types,
    /// A question for types was refused behind its savepoint: the end of the transaction's failure
    /// follows.
    Undoing,
    Bind,
    Execute,
    /// A message of a COPY to standard output, up to its CopyDone.
    Copy,
    Complete,
    Refused,
}

impl Step {
    pub(in crate::connection) const fn awaits(self) -> &'static str {
        match self {
            Self::Close => "CloseComplete",
            Self::Parse => "ParseComplete",
            Self::ParameterDescription => "ParameterDescription",
            Self::Describe => "RowDescription or NoData",
            Self::Types => "an answer about types",
            Self::Bind => "BindComplete",
            Self::Execute => "a row or CommandComplete",
            Self::Copy => "CopyData or CopyDone",
            Self::Complete | Self::Refused | Self::Undoing => "ReadyForQuery",
        }
    }
}

/// The protocol by which a statement was sent to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Sending {
    Simple,
    Extended,
    /// The extended protocol, one statement of the text after the other.
    Steps {
        /// Earlier statements may have committed something that no command tag shows.
        has_left: bool,
    },
}

pub(in crate::connection) fn unexpected(message: &str) -> Error {
    Error::protocol(format!("the server sent {message}, which nothing asked for"))
}
