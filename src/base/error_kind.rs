//! The kinds of errors on which the pool and the cluster base decisions. Two other tables say what
//! a refused login (`src/cluster/host_state.rs`) and a refused statement
//! (`src/connection/statement/staleness.rs`) mean.

/// The kind of an error, by its code: an SQLSTATE (PostgreSQL manual, appendix A), a code of this
/// client, or a code of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 25006: the statement writes, and the transaction is read-only.
    ReadOnlyTransaction,
    /// 40001, also of a standby whose replay of the WAL conflicts with the query (manual, 27.4.2).
    SerializationFailure,
    /// 57014: a CancelRequest or one of the server's time limits canceled the statement.
    QueryCanceled,
    /// 57P05: `idle_session_timeout`.
    IdleSessionTimeout,
    /// 25P03: `idle_in_transaction_session_timeout`.
    IdleInTransactionTimeout,
    /// 25P04: `transaction_timeout` of PostgreSQL 17 and later.
    TransactionTimeout,
    /// 53300.
    TooManyConnections,
    /// 57P03: the server is starting, stopping or recovering.
    CannotConnectNow,
    /// This client finds that a value does not fit its parameter.
    Parameter,
    /// The transaction was idle for too long, so this client rolled it back.
    TransactionAbandoned,
    /// The server gave no answer within `connectTimeoutMs`.
    ConnectTimeout,
    /// The operating system says that no server exists at the address.
    NoServer,
    /// Any other error. No decision depends on it.
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
