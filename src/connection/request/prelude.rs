//! Commands before a request in the same flight, in this order: DISCARD ALL, BEGIN, and the check
//! of the text format.
//!
//! There is no Sync between them and the request: if the server refuses one of them, it skips
//! everything up to the Sync. So a statement never runs outside its transaction, or in a session
//! that another user has changed. DISCARD ALL and BEGIN end their own transaction command at once,
//! so they are not a part of the pipeline's implicit transaction (PostgreSQL manual, 55.2.3.1).

use bytes::BytesMut;

use super::begin::Begin;
use crate::base::Error;
use crate::connection::session::settings::CHECK;
use crate::protocol::backend::BackendMessage;
use crate::protocol::{Format, frontend};

pub(in crate::connection) const RESET: &str = "DISCARD ALL";
/// Comes before a script in steps, so that the server sees several commands. It takes no snapshot,
/// so SET TRANSACTION may follow. It returns no row, and standbys accept it.
pub(in crate::connection) const OPENING: &str = "UNLISTEN hyperiondb_client";
/// The answers to each command are ParseComplete, BindComplete and CommandComplete.
const ANSWERS: u8 = 3;

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::connection) struct Prelude {
    reset: bool,
    begin: Option<Begin>,
    check: bool,
    /// The opening of a script that runs in steps.
    opening: bool,
    /// How many of the answers have come.
    answers: u8,
}

impl Prelude {
    pub(in crate::connection) fn new(reset: bool, begin: Option<Begin>, check: bool) -> Self {
        Self { reset, begin, check, opening: false, answers: 0 }
    }

    pub(in crate::connection) fn opening(opening: bool) -> Self {
        Self { opening, ..Self::default() }
    }

    pub(in crate::connection) fn is_empty(&self) -> bool {
        self.commands() == 0
    }

    pub(in crate::connection) fn write(&self, out: &mut BytesMut) -> Result<(), Error> {
        if self.reset {
            run(out, RESET)?;
        }
        if let Some(begin) = self.begin {
            run(out, &begin.sql())?;
        }
        if self.check {
            run(out, CHECK)?;
        }
        if self.opening { run(out, OPENING) } else { Ok(()) }
    }

    fn commands(&self) -> u8 {
        let own = u8::from(self.check) + u8::from(self.opening);
        u8::from(self.reset) + u8::from(self.begin.is_some()) + own
    }

    /// Whether an answer to one of the commands is expected.
    pub(in crate::connection) fn is_pending(&self) -> bool {
        self.answers < self.commands() * ANSWERS
    }

    /// Whether the session is being reset, and the server has not confirmed it yet.
    pub(in crate::connection) fn is_resetting(&self) -> bool {
        self.reset && self.answers < ANSWERS
    }

    /// Whether the next answer is the check's.
    pub(in crate::connection) fn is_checking(&self) -> bool {
        self.check && self.is_pending() && self.answers / ANSWERS + 1 == self.commands()
    }

    pub(in crate::connection) fn has_checked(&self) -> bool {
        self.check && !self.is_pending()
    }

    pub(in crate::connection) fn has_reset(&self) -> bool {
        self.reset && self.answers >= ANSWERS
    }

    /// Takes the next answer. False if the message is not an answer to the prelude.
    pub(in crate::connection) fn accept(&mut self, message: &BackendMessage<'_>) -> bool {
        use BackendMessage as M;
        let due = matches!(
            (self.answers % ANSWERS, message),
            (0, M::ParseComplete) | (1, M::BindComplete) | (2, M::CommandComplete(_))
        );
        self.answers += u8::from(due);
        due
    }

    pub(in crate::connection) const fn awaits(&self) -> &'static str {
        match self.answers % ANSWERS {
            0 => "ParseComplete",
            1 => "BindComplete",
            _ => "CommandComplete",
        }
    }
}

fn run(out: &mut BytesMut, sql: &str) -> Result<(), Error> {
    let none = std::iter::empty::<Format>;
    let no_parameter =
        |_: usize, _: &mut BytesMut| Err(Error::internal("no parameter was counted"));
    frontend::parse(out, "", sql, &[])?;
    frontend::bind(out, "", "", none(), 0, no_parameter, none())?;
    frontend::execute(out, "", 0)
}
