//! What callers are told of statements that servers refuse for what was told before, where they are
//! not sent again.

use crate::base::Error;
use crate::connection::Remedy;

/// Said where a transaction is in the way of preparing a statement anew.
const STALE_PLAN: &str = "the statement was prepared before its tables or types changed; it is prepared anew when the \
                          transaction is repeated";
/// The same on a dedicated connection, where what was asked behind the statement has run and the
/// statement would come after it.
const OUTRUN: &str = "the statement was prepared before its tables or types changed, and has not run, as statements that \
                      were asked behind it have; it is prepared anew when it is repeated";
/// The same where it may as well be the caller's own error.
const PERHAPS_STALE: &str = "the types of the statement's parameters were told before, and may have changed since; they \
                             are asked anew when the statement, or its transaction, is repeated";
/// The same where the statement's name means nothing in the session, or something else.
const STRANGE_SESSION: &str = "the session has dropped its prepared statements, or a pooler in between has put another \
                               session in its place (behind PgBouncer in transaction mode, set statementCacheSize: 0); \
                               the statement is prepared anew when it, or its transaction, is repeated";

/// `js/api/errors.cjs` knows these hints, and that it may help to repeat what has them.
pub(super) fn explain_staleness(error: Error, remedy: Remedy, is_outrun: bool) -> Error {
    match error.code() {
        _ if remedy == Remedy::Told => error.with_hint_in_front(PERHAPS_STALE),
        "26000" | "42P05" => error.with_hint(STRANGE_SESSION),
        _ if is_outrun => error.with_hint(OUTRUN),
        "0A000" | "08P01" | "42704" | "XX000" => error.with_hint(STALE_PLAN),
        _ => error,
    }
}
