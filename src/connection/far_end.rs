//! Whether a session leads to a server or to a pooler, which makes up the keys of its sessions.
//!
//! Most keys of poolers can't be a server's, and a few look like one. So such a session is asked
//! for the number of its process along with its first request: only a server's own session has the
//! number that its key names. Until that is known, the session is taken for a pooler's.

use crate::base::{Error, Mutation, ServerFields};
use crate::connection::login::handshake::BackendKey;
use crate::connection::request::step::unexpected;
use crate::connection::statement::staleness::is_passing;
use crate::protocol::backend::BackendMessage;
use crate::protocol::data_row::{check_data_row, fields};

pub(super) const QUESTION: &str = "SELECT pg_catalog.pg_backend_pid()";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FarEnd {
    Unknown,
    Server,
    Pooler,
}

impl FarEnd {
    /// What the key of a new session shows.
    pub(super) fn of_key(key: Option<&BackendKey>) -> Self {
        match key {
            Some(key) if key.is_of_pooler() => Self::Pooler,
            Some(_) if Mutation::TrustKeys.is_on() => Self::Server,
            Some(_) => Self::Unknown,
            None => Self::Pooler,
        }
    }

    pub(super) fn may_be_pooler(self) -> bool {
        self != Self::Server
    }
}

/// The answers are ParseComplete, BindComplete and CommandComplete.
const ANSWERS: u8 = 3;

/// The question under way, and its answer so far. It is a session's first, so a pooler that takes up
/// a server too early may give it the end of another client's answer. That must not be taken for
/// the answer to the question: everything behind it would be one answer off.
#[derive(Debug, Default)]
pub(super) struct ProcessAsked {
    /// How many of the answers have come.
    answers: u8,
    process_id: Option<i32>,
    refusal: Option<Box<ServerFields>>,
}

impl ProcessAsked {
    pub(super) fn row(&mut self, body: &[u8]) -> Result<(), Error> {
        if self.answers + 1 != ANSWERS || self.process_id.is_some() {
            return Err(unexpected("DataRow"));
        }
        check_data_row(body, 1)?;
        let field = fields(body).next().flatten();
        let number = field.and_then(|field| std::str::from_utf8(field).ok());
        self.process_id = number.and_then(|number| number.parse().ok());
        Ok(())
    }

    pub(super) fn message(&mut self, message: BackendMessage<'_>) -> Result<(), Error> {
        use BackendMessage as M;
        match (self.answers, message) {
            (0, M::ParseComplete) | (1, M::BindComplete) | (2, M::CommandComplete(_))
                if self.refusal.is_none() =>
            {
                self.answers += 1;
                Ok(())
            }
            (_, M::ErrorResponse(fields)) if !self.is_answered() => {
                self.refusal = Some(fields);
                Ok(())
            }
            (_, message) => Err(unexpected(message.name())),
        }
    }

    /// Whether ReadyForQuery is due.
    pub(super) fn is_answered(&self) -> bool {
        self.refusal.is_some() || self.answers == ANSWERS
    }

    /// What the answer shows of the session with this key. After a cancel or a time limit the
    /// question is asked again.
    pub(super) fn finish(&self, key: Option<&BackendKey>) -> FarEnd {
        match &self.refusal {
            Some(why) if is_passing(&why.code) => FarEnd::Unknown,
            Some(_) => FarEnd::Pooler,
            None if self.process_id.is_some()
                && self.process_id == key.map(|key| key.process_id) =>
            {
                FarEnd::Server
            }
            None => FarEnd::Pooler,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(process_id: i32) -> BackendKey {
        BackendKey { process_id, secret: vec![1; 4] }
    }

    #[test]
    fn a_key_alone_shows_a_pooler_and_never_a_server() {
        for process_id in [0, -1, i32::MIN, i32::MAX, (1 << 22) + 1] {
            assert_eq!(FarEnd::of_key(Some(&key(process_id))), FarEnd::Pooler);
        }
        assert_eq!(FarEnd::of_key(None), FarEnd::Pooler);
        for process_id in [1, 4242, 1 << 22] {
            assert_eq!(FarEnd::of_key(Some(&key(process_id))), FarEnd::Unknown);
        }
    }

    #[test]
    fn only_the_number_of_its_own_process_shows_a_server() {
        let process_id = |process_id| ProcessAsked { process_id, ..ProcessAsked::default() };
        assert_eq!(process_id(Some(7)).finish(Some(&key(7))), FarEnd::Server);
        assert_eq!(process_id(Some(8)).finish(Some(&key(7))), FarEnd::Pooler);
        assert_eq!(process_id(None).finish(Some(&key(7))), FarEnd::Pooler);
        assert_eq!(process_id(None).finish(None), FarEnd::Pooler);
    }

    #[test]
    fn a_server_that_was_interrupted_is_asked_again() {
        let refused = |code: &str| {
            let fields = ServerFields { code: code.to_owned(), ..ServerFields::default() };
            let refusal = Some(Box::new(fields));
            ProcessAsked { refusal, ..ProcessAsked::default() }.finish(Some(&key(7)))
        };
        assert_eq!(refused("57014"), FarEnd::Unknown);
        assert_eq!(refused("42883"), FarEnd::Pooler);
        assert_eq!(refused("42501"), FarEnd::Pooler);
    }
}
