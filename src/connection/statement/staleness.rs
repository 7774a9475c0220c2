//! Whether a server refused a request because of an earlier description of its statement.

use crate::base::ServerFields;
use crate::connection::request::step::Step;
use crate::types::Params;

/// How far the bytes of a request depend on an earlier description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Relies {
    No,
    /// The statement is described in the transaction that runs it, which holds locks.
    OnLocks,
    /// The statement was described for this request, or the form of its values does not depend on
    /// types.
    Fresh,
    /// The parameter types were declared as the server had inferred them for this request a moment
    /// ago. The server refuses the statement with them only if they are no longer right.
    Declared,
    /// The server infers the types again, and the form of the values depends on the earlier types.
    InPart,
    /// The parameter types were declared as they were described some time ago.
    OnTypes,
}

impl Relies {
    /// For a request whose parameters are declared with types that were described for it.
    pub(in crate::connection) fn declared(params: &Params) -> Self {
        if params.is_empty() { Self::Fresh } else { Self::Declared }
    }

    /// For a request whose parameters were declared with types that were described some time ago.
    pub(in crate::connection) fn on_types(params: &Params) -> Self {
        if params.is_empty() { Self::Fresh } else { Self::OnTypes }
    }
}

/// Whether the server refused because of an earlier description, so that sending the statement
/// again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Staleness {
    No,
    /// Another statement has the name.
    NameTaken,
    /// The statement has to be parsed again.
    Preparation,
    /// The statement has to be described again.
    Description,
    /// The statement has to be described again before its values are encoded. The server's error
    /// may also be right.
    Types,
}

/// Decides by the error. The prepared statement is gone (26000), its result has changed (0A000),
/// Bind's formats don't match its columns (08P01), or a type that it names by oid was dropped and
/// perhaps created again (42704, XX000). If values were encoded for earlier parameter types, any
/// other error before the statement runs may be due to that too: an error about a value, from the
/// input function of any type, or about an operator, a function or a table.
pub(in crate::connection) fn staleness(
    fields: &ServerFields,
    step: Step,
    relies: Relies,
) -> Staleness {
    let parses = step == Step::Parse;
    let binds = matches!(step, Step::ParameterDescription | Step::Describe | Step::Bind);
    let rests_on_types = match relies {
        Relies::No | Relies::OnLocks | Relies::Fresh => false,
        Relies::Declared => parses,
        Relies::InPart => binds,
        Relies::OnTypes => binds || parses,
    };
    match fields.code.as_str() {
        "42P05" if parses => Staleness::NameTaken,
        _ if relies == Relies::No => Staleness::No,
        // Internal errors are not translated.
        "XX000"
            if (parses || binds) && fields.message.starts_with("cache lookup failed for type") =>
        {
            Staleness::Description
        }
        "0A000" if fields.routine.as_deref() == Some("RevalidateCachedQuery") => {
            Staleness::Description
        }
        _ if relies == Relies::OnLocks => Staleness::No,
        "26000" if binds => Staleness::Preparation,
        "08P01" if binds => Staleness::Description,
        "42704" if parses || binds => Staleness::Description,
        code if rests_on_types && !is_passing(code) && code != INSUFFICIENT_PRIVILEGE => {
            Staleness::Types
        }
        _ => Staleness::No,
    }
}

pub(in crate::connection) const INSUFFICIENT_PRIVILEGE: &str = "42501";
pub(in crate::connection) const QUERY_CANCELED: &str = "57014";

/// Whether a server that refused with this code may answer the same request the next time. Such an
/// error is about the transaction's state, a serialization failure, resources, locks, cancels,
/// shutdowns, or the operating system.
pub(in crate::connection) fn is_passing(code: &str) -> bool {
    const CLASSES: [&str; 6] = ["25", "40", "53", "55", "57", "58"];
    CLASSES.iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, step: Step, relies: Relies, expect: Staleness) {
        let fields = ServerFields { code: code.to_owned(), ..ServerFields::default() };
        assert_eq!(staleness(&fields, step, relies), expect, "{code} {step:?} {relies:?}");
    }

    #[test]
    fn whatever_is_said_before_a_statement_runs_may_be_due_to_earlier_types() {
        for code in
            ["22P02", "2200N", "22023", "22000", "23514", "42601", "42P01", "42883", "XX000"]
        {
            check(code, Step::Bind, Relies::OnTypes, Staleness::Types);
            check(code, Step::Parse, Relies::OnTypes, Staleness::Types);
            check(code, Step::Bind, Relies::InPart, Staleness::Types);
            check(code, Step::Parse, Relies::InPart, Staleness::No);
            check(code, Step::Execute, Relies::OnTypes, Staleness::No);
            check(code, Step::Parse, Relies::Declared, Staleness::Types);
            check(code, Step::Bind, Relies::Declared, Staleness::No);
            for relies in [Relies::No, Relies::Fresh] {
                check(code, Step::Bind, relies, Staleness::No);
            }
        }
    }

    #[test]
    fn a_passing_refusal_is_distinguished_from_others() {
        assert!(["57014", "55P03", "53200"].into_iter().all(is_passing));
        assert!(!["42501", "0A000", "42P01", "XX000"].into_iter().any(is_passing));
    }

    #[test]
    fn what_tells_of_the_moment_is_no_news_of_types() {
        for code in ["25P02", "40001", "42501", "53200", "55P03", "57014", "58030"] {
            check(code, Step::Bind, Relies::OnTypes, Staleness::No);
        }
    }

    #[test]
    fn a_statement_that_is_gone_is_prepared_anew_whatever_it_relies_on() {
        for relies in [Relies::Fresh, Relies::InPart, Relies::OnTypes] {
            check("26000", Step::Bind, relies, Staleness::Preparation);
            check("08P01", Step::Bind, relies, Staleness::Description);
            check("42704", Step::Parse, relies, Staleness::Description);
        }
        check("26000", Step::Bind, Relies::No, Staleness::No);
        check("42P05", Step::Parse, Relies::No, Staleness::NameTaken);
    }
}
