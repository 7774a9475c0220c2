//! What goes in and out of a connection: requests and bytes in, and what is to be told of them out.

use std::sync::Arc;
use std::time::Duration;

use super::begin::Begin;
use super::exchange::StatementResult;
use super::handshake::Peer;
use super::lineage::Place;
use super::realm::Realm;
use super::role::Role;
use super::statement::{Description, StatementId, Statements};
use super::user_types::TypesOutcome;
use crate::base::{Error, Outcome, ServerFields};
use crate::config::Config;
use crate::protocol::backend::TransactionStatus;
use crate::protocol::scram::KeyCache;
use crate::types::Params;

/// The caller's name for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What connections of one pool share.
#[derive(Debug)]
pub struct Shared<'a> {
    pub config: &'a Config,
    pub statements: &'a mut Statements,
    pub keys: &'a mut KeyCache,
}

/// One statement to run.
#[derive(Debug)]
pub struct Request<'a> {
    pub token: Token,
    pub statement: StatementId,
    pub params: &'a Params,
    /// The transaction that begins in the same flight. Where the server refuses that, the request
    /// is not run.
    pub begin: Option<Begin>,
    /// Where it is refused without effect it is sent again: nobody has seen anything yet that it
    /// builds on.
    pub free: bool,
    /// Keep it prepared on this connection, where the options allow that.
    pub prepare: bool,
    /// Make the server say its role in front of the request, where nothing in flight does.
    pub barrier: bool,
    /// Run nothing: ask for the statement's description, whatever is known of it.
    pub describe: bool,
    pub telling: &'a Telling,
    /// What is known of its statement may hold elsewhere alone.
    pub strange: bool,
}

impl Request<'_> {
    /// Whether nothing runs before its statement is described for it.
    pub(super) fn is_question(&self) -> bool {
        self.describe || matches!(self.telling, Telling::Due)
    }

    /// What was told for it.
    pub(super) fn told(&self) -> Option<&Arc<Description>> {
        match self.telling {
            Telling::Done(told) => Some(told),
            Telling::No | Telling::Due => None,
        }
    }
}

/// Whether a statement is described for one very request.
#[derive(Clone, Debug, Default)]
pub enum Telling {
    /// It goes by what is known, where that is enough.
    #[default]
    No,
    /// It is to be, whatever is known: it was refused before for what may rest on that, or its
    /// answer could not be read.
    Due,
    /// It was: this is certain. Of the same text others may have been told something else
    /// meanwhile, where names mean something else.
    Done(Arc<Description>),
}

impl Telling {
    pub fn told_mut(&mut self) -> Option<&mut Arc<Description>> {
        match self {
            Self::Done(told) => Some(told),
            Self::No | Self::Due => None,
        }
    }
}

/// What may come of a refused request that is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    Nothing,
    /// Its statement is prepared or described anew.
    Anew,
    /// What the server says may be due to the types that parameters had before, which are told
    /// first. It may as well be as the server says.
    Told,
}

#[derive(Debug)]
pub enum Input<'a> {
    Connected(Peer),
    Received(&'a [u8]),
    /// No socket could be connected to the host.
    Unreached {
        why: String,
        /// What the system said.
        cause: Option<Error>,
    },
    /// The end of the stream, or an error of the socket.
    Closed {
        why: String,
    },
}

/// What was sent for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Request,
    /// Only what must come first: the question for the statement's description, without which a
    /// parameter can't be written, or the BEGIN in front of a script. [`Answer::Described`]
    /// follows, and the request must be sent again.
    Question,
    /// The first step of a script. Nothing is sent behind it before it is answered.
    Steps,
}

#[derive(Debug)]
pub enum Answer {
    /// What had to come first has come; the statement has not run.
    Described {
        /// Where its description was asked for.
        told: Option<Arc<Description>>,
    },
    Completed {
        results: Vec<StatementResult>,
        /// A commit was not waited for by its synchronous standbys.
        unreplicated: bool,
    },
    Refused {
        error: Error,
        remedy: Remedy,
    },
}

#[derive(Debug)]
pub enum Event {
    /// Logged in, and the role is known.
    Ready {
        role: Role,
    },
    /// The server has told another role than it reports: it is asked from now on. What tells that
    /// role follows.
    Contradicted,
    /// A probe's answer.
    Answered {
        role: Option<Role>,
    },
    /// The answer to the question for the server's place in its cluster.
    Placed {
        place: Place,
        role: Option<Role>,
    },
    /// The answer to the question for types, or to the ROLLBACK behind it, or to the question for
    /// the database, which names none.
    Typed {
        outcome: TypesOutcome,
        /// The database, where it was asked for and the answer stands.
        realm: Option<Realm>,
    },
    /// A request's ReadyForQuery has come.
    Settled(Settled),
    /// The connection broke before the request's ReadyForQuery.
    Lost {
        token: Token,
        outcome: Outcome,
        /// The server was in a transaction when it came to the request, as far as is known.
        in_transaction: bool,
        why: Error,
    },
    Notice(Box<ServerFields>),
    Notification {
        process_id: i32,
        channel: String,
        payload: String,
    },
    /// Nothing more will come; every request has been settled or lost before.
    Closed {
        /// With what it did to the connection.
        error: Error,
        /// The same without that, as the requests that were lost have it.
        why: Error,
        /// Nobody had asked anything, and the server gave no reason: what lies in between ends idle
        /// sessions too.
        idle: bool,
    },
}

/// What a request has come to, and what the server has said of itself meanwhile.
#[derive(Debug)]
pub struct Settled {
    pub token: Token,
    pub answer: Answer,
    /// The role that the server had said when it began with the request.
    pub role_before: Option<Role>,
    pub role_after: Option<Role>,
    pub took: Duration,
    /// How long after its barrier's answer it came, where that was heard by itself.
    pub parted: Option<Duration>,
    /// Before the request, and behind it.
    pub status_before: TransactionStatus,
    pub status: TransactionStatus,
    /// Nothing had been sent behind it by then. One read may answer that too, before this is
    /// looked at.
    pub last: bool,
    /// The session's user may have changed whether it takes writes.
    pub role_is_own: bool,
}
