//! Whether a server refuses a request because of what was told of its statement before.

use super::exchange::Step;
use crate::base::ServerFields;

/// What was written for a request relies on what was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relies {
    No,
    /// On another connection, or a moment ago.
    InPart,
    /// On this one, some time ago: the types of parameters may be others.
    OnTypes,
}

/// Whether the server refused because of what was told before, so that it helps to send the statement anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staleness {
    No,
    /// The name is that of another statement.
    NameTaken,
    /// It has to be parsed anew.
    Preparation,
    /// It has to be described anew.
    Description,
}

/// The statement is gone (26000), its result has changed (0A000), Bind's formats don't match its columns (08P01), or a type
/// that it names by its oid was dropped, and perhaps made anew (42704, XX000). Where values were written for the types that
/// parameters once had, what the server says of a value, a type, an operator or a function may be due to that. Where it is
/// wrong itself, it is refused once more.
pub(super) fn staleness(fields: &ServerFields, step: Step, relies: Relies) -> Staleness {
    let (parses, binds) = (step == Step::Parse, step == Step::Bind);
    match (fields.code.as_str(), relies) {
        ("42P05", _) if parses => Staleness::NameTaken,
        (_, Relies::No) => Staleness::No,
        ("26000", _) if binds => Staleness::Preparation,
        ("08P01", _) if binds => Staleness::Description,
        ("42704", _) if parses || binds => Staleness::Description,
        // Internal errors are not translated.
        ("XX000", _) if parses || binds => {
            match fields.message.starts_with("cache lookup failed for type") {
                true => Staleness::Description,
                false => Staleness::No,
            }
        }
        ("0A000", _) => match fields.routine.as_deref() == Some("RevalidateCachedQuery") {
            true => Staleness::Description,
            false => Staleness::No,
        },
        (code, Relies::OnTypes) if (parses || binds) && depends_on_types(code) => {
            Staleness::Preparation
        }
        _ => Staleness::No,
    }
}

/// Whether a server may say so of the right value for another type, or of a statement that has another type in it.
fn depends_on_types(code: &str) -> bool {
    const CODES: [&str; 10] =
        ["42804", "42883", "42725", "42P18", "42846", "22P02", "22P03", "22003", "22007", "22008"];
    CODES.contains(&code)
}
