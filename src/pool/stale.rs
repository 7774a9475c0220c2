//! Hints for the errors of statements that a server refused because of an earlier description, and
//! that the pool does not send again.

use crate::base::Error;
use crate::connection::Remedy;

/// The hint if a transaction prevents the pool from preparing the statement again.
const STALE_PLAN: &str = "the statement was prepared before its tables or types changed; it is prepared anew when the \
                          transaction is repeated";
/// The hint on a dedicated connection, if requests after the statement have run, so that the
/// statement would now run after them.
const OUTRUN: &str = "the statement was prepared before its tables or types changed, and has not run, as statements that \
                      were asked behind it have; it is prepared anew when it is repeated";
/// The hint if the error may as well be the caller's own.
const PERHAPS_STALE: &str = "the types of the statement's parameters were described earlier, and may have changed since; \
                             they are described anew when the statement, or its transaction, is repeated";
/// The hint if the statement's name is unknown in the session, or names another statement.
const STRANGE_SESSION: &str = "the session has dropped its prepared statements, or a pooler in between has put another \
                               session in its place (behind PgBouncer in transaction mode, set statementCacheSize: 0); \
                               the statement is prepared anew when it, or its transaction, is repeated";

/// `js/api/errors.cjs` knows these hints, and that repeating a statement with such a hint may help.
pub(super) fn explain_staleness(error: Error, remedy: Remedy, is_outrun: bool) -> Error {
    match error.code() {
        _ if remedy == Remedy::DescribeFirst => error.with_hint_in_front(PERHAPS_STALE),
        "26000" | "42P05" => error.with_hint(STRANGE_SESSION),
        _ if is_outrun => error.with_hint(OUTRUN),
        "0A000" | "08P01" | "42704" | "XX000" => error.with_hint(STALE_PLAN),
        _ => error,
    }
}
