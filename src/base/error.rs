//! All errors, in the form in which they reach the user.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::ErrorKind;

/// Whether the work that failed may have had an effect on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No byte of the work reached a socket, or the server said that it never looked at the work.
    NotSent,
    /// The server refused the work or rolled it back, so the work certainly had no effect.
    NotCommitted,
    /// The work was sent, and no answer came. It may have had an effect.
    Unknown,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not-sent",
            Self::NotCommitted => "not-committed",
            Self::Unknown => "unknown",
        }
    }
}

/// The class of the JavaScript error. It tells what failed: the server refused, the network failed,
/// the peer sent invalid bytes, the caller made a mistake, or this library has a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The server sent an ErrorResponse; `code` is its SQLSTATE.
    Database,
    /// A connection could not be opened, or was lost.
    Connection,
    /// No connection became free within `acquireTimeoutMs`, or the queue was full.
    PoolTimeout,
    QueryTimeout,
    Abort,
    /// An option or an argument is wrong.
    Configuration,
    /// The server sent bytes that are not valid PostgreSQL protocol, or a message at the wrong
    /// moment.
    Protocol,
    /// The caller used a transaction in a wrong way, or the transaction did not commit although
    /// COMMIT was sent.
    Transaction,
    /// A defect in this library.
    Internal,
    /// The operating system's error. It is always the cause of another error.
    System,
}

impl ErrorClass {
    /// The name of the JavaScript class.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "DatabaseError",
            Self::Connection => "ConnectionError",
            Self::PoolTimeout => "PoolTimeoutError",
            Self::QueryTimeout => "QueryTimeoutError",
            Self::Abort => "AbortError",
            Self::Configuration => "ConfigurationError",
            Self::Protocol => "ProtocolError",
            Self::Transaction => "TransactionError",
            Self::Internal => "InternalError",
            Self::System => "SystemError",
        }
    }
}

/// The fields of an ErrorResponse or NoticeResponse (PostgreSQL manual, 55.8). The parser cuts each
/// of them to 8 KiB (`protocol::report`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFields {
    /// ERROR, FATAL, PANIC, WARNING, NOTICE, DEBUG, INFO or LOG, not translated.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The place in the query text, in characters, counted from 1.
    pub position: Option<u32>,
    pub internal_position: Option<u32>,
    pub internal_query: Option<String>,
    pub where_: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub constraint: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub routine: Option<String>,
}

/// The fields of Node's own error for a connect or a look-up that failed. The name of the error
/// (`ECONNREFUSED`) is in [`Error::code`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemFields {
    /// libuv's number for the error, which is negative.
    pub errno: Option<i32>,
    pub syscall: Cow<'static, str>,
    /// An IP address, or the path of a Unix socket.
    pub address: Option<String>,
    pub port: Option<u16>,
    /// The name that was looked up.
    pub hostname: Option<String>,
}

/// Why one host does not serve, for an error that names all hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    pub host: Arc<str>,
    pub why: String,
    /// The error of the operating system or the server, if no session could be opened.
    pub cause: Option<Error>,
}

/// An error as the user sees it. It never contains a password or a parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    class: ErrorClass,
    code: Cow<'static, str>,
    message: String,
    outcome: Option<Outcome>,
    host: Option<Arc<str>>,
    server: Option<ServerFields>,
    system: Option<SystemFields>,
    hosts: Vec<HostReport>,
    cause: Option<Error>,
    transaction_failed: bool,
    transaction_open: bool,
}

impl Error {
    /// A new error. `code` begins with `HYPERION_`, or is an SQLSTATE if the standard has one for
    /// exactly this case.
    pub fn new(class: ErrorClass, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            class,
            code: Cow::Borrowed(code),
            message: message.into(),
            outcome: None,
            host: None,
            server: None,
            system: None,
            hosts: Vec::new(),
            cause: None,
            transaction_failed: false,
            transaction_open: false,
        }))
    }

    /// An error that the server reported. It has no outcome yet: only the caller knows whether a
    /// ReadyForQuery followed. An ERROR that is followed by one had no effect.
    pub fn database(fields: ServerFields) -> Self {
        Self(Box::new(Parts {
            class: ErrorClass::Database,
            code: Cow::Owned(fields.code.clone()),
            message: fields.message.clone(),
            outcome: None,
            host: None,
            server: Some(fields),
            system: None,
            hosts: Vec::new(),
            cause: None,
            transaction_failed: false,
            transaction_open: false,
        }))
    }

    /// An error of the operating system, with the system's own name for it.
    pub fn system(
        code: impl Into<Cow<'static, str>>,
        message: String,
        fields: SystemFields,
    ) -> Self {
        let mut error = Self::new(ErrorClass::System, "", message);
        error.0.code = code.into();
        error.0.system = Some(fields);
        error
    }

    pub fn kind(&self) -> ErrorKind {
        ErrorKind::of(self.code())
    }

    /// Whether the operating system says that no server exists at the address: the host refused the
    /// connection, or the name has no address. A name server that gives no answer (`EAI_AGAIN`)
    /// does not count, nor does a host that is silent.
    pub fn names_no_server(&self) -> bool {
        self.0.system.is_some() && self.kind() == ErrorKind::NoServer
    }

    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Protocol, "HYPERION_PROTOCOL", message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Internal, "HYPERION_INTERNAL", message)
    }

    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = Cow::Borrowed(code);
        self
    }

    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = Some(outcome);
        self
    }

    /// Adds a hint, unless the server gave one.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        if let Some(server) = &mut self.0.server {
            server.hint.get_or_insert_with(|| hint.to_owned());
        }
        self
    }

    /// Adds a hint in front of the server's own.
    #[must_use]
    pub fn with_hint_in_front(mut self, hint: &str) -> Self {
        if let Some(server) = &mut self.0.server {
            server.hint = Some(match server.hint.take() {
                Some(own) => format!("{hint}. The server says: {own}"),
                None => hint.to_owned(),
            });
        }
        self
    }

    #[must_use]
    pub fn with_host(mut self, host: Arc<str>) -> Self {
        self.0.host = Some(host);
        self
    }

    #[must_use]
    pub fn with_hosts(mut self, hosts: Vec<HostReport>) -> Self {
        self.0.hosts = hosts;
        self
    }

    /// Adds the error that led to this one. For a lost connection, this is the server's last
    /// message.
    #[must_use]
    pub fn with_cause(mut self, cause: Self) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// Records that this error made the transaction fail, so that the transaction accepts no more
    /// statements.
    #[must_use]
    pub fn with_failed_transaction(mut self) -> Self {
        self.0.transaction_failed = true;
        self
    }

    /// Records that the transaction is still open after its statement has run. Nothing of the
    /// transaction is committed, and the caller can still roll it back.
    #[must_use]
    pub fn with_open_transaction(mut self) -> Self {
        self.0.transaction_open = true;
        self
    }

    pub fn has_open_transaction(&self) -> bool {
        self.0.transaction_open
    }

    pub fn has_failed_transaction(&self) -> bool {
        self.0.transaction_failed
    }

    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.0.outcome
    }

    pub fn host(&self) -> Option<&Arc<str>> {
        self.0.host.as_ref()
    }

    pub fn server(&self) -> Option<&ServerFields> {
        self.0.server.as_ref()
    }

    pub fn system_fields(&self) -> Option<&SystemFields> {
        self.0.system.as_ref()
    }

    pub fn hosts(&self) -> &[HostReport] {
        &self.0.hosts
    }

    pub fn cause(&self) -> Option<&Self> {
        self.0.cause.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message(), self.code())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_that_does_not_answer_says_nothing_of_the_server() {
        let codes = ["ECONNREFUSED", "ENOENT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "EACCES"];
        let fields = || SystemFields {
            errno: None,
            syscall: "connect".into(),
            address: None,
            port: None,
            hostname: None,
        };
        let says = |code| Error::system(code, String::new(), fields()).names_no_server();
        assert_eq!(codes.map(says), [true, true, true, false, false, false]);
        let of_ours = Error::new(ErrorClass::Connection, "ENOENT", "");
        assert!(!of_ours.names_no_server());
    }
}
