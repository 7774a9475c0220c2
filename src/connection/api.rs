//! The interface of a connection: requests and bytes go in, events and answers come out.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Outcome, ServerFields};
use crate::config::Config;
use crate::connection::introspection::lineage::Place;
use crate::connection::introspection::realm::Realm;
use crate::connection::introspection::role::Role;
use crate::connection::introspection::user_types::TypesOutcome;
use crate::connection::login::weakness::Weakness;
use crate::connection::request::begin::Begin;
use crate::connection::request::ended::StatementResult;
use crate::connection::statement::{Description, StatementId, Statements};
use crate::protocol::backend::TransactionStatus;
use crate::protocol::scram::KeyCache;
use crate::types::Params;

/// The pool's name for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestToken(pub u64);

/// Whether others can read and change what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    Plain,
    /// `end_point`: the hash of the server's certificate, to which a login can be tied. A
    /// certificate whose signature has no hash of its own (Ed25519) has none.
    Encrypted {
        end_point: Option<Vec<u8>>,
        /// A trusted CA has issued the server's certificate.
        is_verified: bool,
    },
}

/// Facts about the socket that the first steps of a login need.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Random bytes from the operating system, for SCRAM and for names that no other client has.
    pub nonce: [u8; 18],
    /// The socket is a Unix socket or leads to a loopback address, so no network can be listened to
    /// in between.
    pub local: bool,
    pub security: Security,
}

impl Peer {
    pub(in crate::connection) fn digits(&self) -> [u8; 8] {
        self.nonce.last_chunk().copied().unwrap_or_default()
    }
}

/// State that all connections of one pool share.
#[derive(Debug)]
pub struct Shared<'a> {
    pub config: &'a Config,
    pub statements: &'a mut Statements,
    pub keys: &'a mut KeyCache,
}

/// One statement to run.
#[derive(Debug)]
pub struct Request<'a> {
    pub token: RequestToken,
    pub statement: StatementId,
    pub params: &'a Params,
    /// The transaction that begins in the same flight. If the server refuses the BEGIN, the request
    /// does not run.
    pub begin: Option<Begin>,
    /// Whether the request may be sent again if the server refuses it without effect: its caller
    /// has not seen anything yet that it builds on.
    pub free: bool,
    /// Whether the caller has the connection to itself: in a transaction, or until a release.
    pub leased: bool,
    /// Keep the statement prepared on this connection, if the options allow that.
    pub prepare: bool,
    /// Make the server report its role in front of the request, unless an entry in flight does so
    /// already.
    pub barrier: bool,
    /// Run nothing, and ask for the statement's description even if one is known.
    pub describe: bool,
    pub description: &'a DescriptionState,
    /// Whether the statement's description may not hold on this connection.
    pub strange: bool,
    /// Describe and run it in one transaction, whose locks keep DDL away in between.
    pub held: bool,
    pub written: Option<&'a Written>,
}

impl Request<'_> {
    /// Whether the statement has to be described for this request before it runs.
    pub(super) fn is_question(&self) -> bool {
        self.describe || matches!(self.description, DescriptionState::Due)
    }

    /// Whether its values fit only the types that they were written for, and the statement was not
    /// described for this request.
    pub(super) fn is_bound_to_types(&self) -> bool {
        self.written.is_some() && self.description.get().is_none()
    }
}

/// Whether a request has a description of its statement of its own.
#[derive(Clone, Debug, Default)]
pub enum DescriptionState {
    /// No: the request goes by the description that the pool keeps, if that is enough.
    #[default]
    Shared,
    /// The statement has to be described, even if a description is known: the server refused the
    /// request before, perhaps because of that description, or the client could not read the
    /// answer.
    Due,
    /// The statement was described for this request, so this description is certain. The server may
    /// have described the same text differently for other requests, if names mean something else to
    /// them.
    Done(Arc<Description>),
}

impl DescriptionState {
    /// The description that was made for this request.
    pub fn get(&self) -> Option<&Arc<Description>> {
        match self {
            Self::Done(description) => Some(description),
            Self::Shared | Self::Due => None,
        }
    }

    pub fn get_mut(&mut self) -> Option<&mut Arc<Description>> {
        match self {
            Self::Done(description) => Some(description),
            Self::Shared | Self::Due => None,
        }
    }
}

/// For which types code of the caller's has written the values of a request (`serialize`). They may
/// mean something else, or nothing, as values of other types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub types: Vec<u32>,
    /// By what the pool knew when its caller asked.
    pub early: bool,
}

/// What a refused request can hope for if it is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    Nothing,
    /// Its statement will be prepared or described anew.
    Anew,
    /// The server's error may be due to the types that parameters had before. The statement is
    /// described first, and then the error may turn out to be right.
    DescribeFirst,
}

#[derive(Debug)]
pub enum Input<'a> {
    Connected(Peer),
    Received(&'a [u8]),
    /// No socket could be connected to the host.
    Unreached {
        why: String,
        /// The error that the operating system gave.
        cause: Option<Error>,
    },
    /// The connection could not be encrypted as the options ask, which only a person can mend. The
    /// server may say that once the login has begun.
    Insecure {
        why: String,
    },
    /// The function of the option `password` gave none.
    NoPassword {
        why: String,
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
    /// Only the part that must come first: the question for the statement's description, without
    /// which a parameter can't be encoded, or the BEGIN in front of a script. [`Answer::Described`]
    /// follows, and then the request must be sent again.
    Question,
    /// The first step of a script. Nothing is sent behind the script before its last step.
    Steps,
}

#[derive(Debug)]
pub enum Answer {
    /// The part that had to come first is answered, and the statement has not run.
    Described {
        /// The description, if the request asked for it.
        description: Option<Arc<Description>>,
    },
    Completed {
        results: Vec<StatementResult>,
        /// The server warned that its synchronous standbys had not confirmed a commit.
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
    /// The server's answer names another role than its reports. From now on it is asked. The event
    /// that follows has the role.
    Contradicted,
    /// The answer to a probe or a reset.
    Answered {
        role: Option<Role>,
    },
    /// The answer to the question for the server's place in its cluster.
    Placed {
        place: Place,
        role: Option<Role>,
    },
    /// The answer to the question for types, to the ROLLBACK after it, or to the question for the
    /// database, which names no types.
    Typed {
        outcome: TypesOutcome,
        /// The database, if it was asked for and the answer holds.
        realm: Option<Realm>,
    },
    /// A request's ReadyForQuery has come.
    Settled(Settled),
    /// The connection broke before the request's ReadyForQuery.
    Lost {
        token: RequestToken,
        outcome: Outcome,
        /// The server was in a transaction when it came to the request, as far as this client
        /// knows.
        in_transaction: bool,
        why: Error,
    },
    /// The login has shown a weakness, and goes on.
    Weak(Weakness),
    Notice(Box<ServerFields>),
    Notification {
        process_id: i32,
        channel: String,
        payload: String,
    },
    /// No event follows this one. Every request was settled or lost before.
    Closed {
        /// The error with a sentence about what it did to the connection.
        error: Error,
        /// The same error without that sentence, as the lost requests have it.
        why: Error,
        /// No request was in flight, and the server gave no reason: network devices end idle
        /// sessions too.
        idle: bool,
    },
}

/// The result of a request, and the server's role meanwhile.
#[derive(Debug)]
pub struct Settled {
    pub token: RequestToken,
    pub answer: Answer,
    /// The role that the server had reported when it began with the request.
    pub role_before: Option<Role>,
    pub role_after: Option<Role>,
    pub took: Duration,
    /// How long after its barrier's answer the answer came, if the barrier was heard by itself.
    pub parted: Option<Duration>,
    /// The transaction status before the request, and after it.
    pub status_before: TransactionStatus,
    pub status: TransactionStatus,
    /// Whether no request was in flight behind it when it was answered. The pool may look at this
    /// only after later requests were answered too, since one read of the socket brings several
    /// answers.
    pub last: bool,
    /// The session's user may have changed whether the session accepts writes.
    pub role_is_own: bool,
}
