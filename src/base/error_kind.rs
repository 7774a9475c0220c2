//! The kinds of errors by which the pool and the cluster decide. What a refused login or a refused
//! statement means has tables of its own (`src/cluster/host_state.rs`,
//! `src/connection/statement/staleness.rs`).

/// The kind of an error, by its code: a SQLSTATE (PostgreSQL manual, appendix A), a code of this
/// client, or one of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 25006: the transaction is read-only, and the statement is not.
    ReadOnlyTransaction,
    /// 40001: also what the replay on a standby is in the way of (manual, 27.4.2).
    SerializationFailure,
    /// 57014: by a CancelRequest, or by a time limit of the server's.
    QueryCanceled,
    /// 57P05: `idle_session_timeout`.
    IdleSessionTimeout,
    /// 25P03: `idle_in_transaction_session_timeout`.
    IdleInTransactionTimeout,
    /// 25P04: `transaction_timeout` of PostgreSQL 17 and later.
    TransactionTimeout,
    /// 53300.
    TooManyConnections,
    /// 57P03: the server starts, stops or recovers.
    CannotConnectNow,
    /// A value that does not fit its parameter, as this client finds.
    Parameter,
    /// The transaction was idle for too long and was rolled back.
    TransactionAbandoned,
    /// No answer within `connectTimeoutMs`.
    ConnectTimeout,
    /// The operating system says that no server exists at the address.
    NoServer,
    /// One by which nothing is decided.
    Other,
}

impl ErrorKind {
    pub(super) fn of(code: &str) -> Self {
        match code {
            "25006" => Self::ReadOnlyTransaction,
            "40001" => Self::SerializationFailure,
            "57014" => Self::QueryCanceled,
            "57P05" => Self::IdleSessionTimeout,
            "25P03" => Self::IdleInTransactionTimeout,
            "25P04" => Self::TransactionTimeout,
            "53300" => Self::TooManyConnections,
            "57P03" => Self::CannotConnectNow,
            "HYPERION_PARAMETER" => Self::Parameter,
            "HYPERION_TRANSACTION_ABANDONED" => Self::TransactionAbandoned,
            "HYPERION_CONNECT_TIMEOUT" => Self::ConnectTimeout,
            "ECONNREFUSED" | "ENOENT" | "ENOTFOUND" => Self::NoServer,
            _ => Self::Other,
        }
    }
}
