//! Whether a statement's results in text format depend on settings.

use crate::connection::statement::lexer::{SqlToken, tokens};

/// The settings on which the text results of a statement's first use depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum TextResults {
    /// None: it returns no rows, or only values of type text.
    Plain,
    /// It may return values whose text the settings decide.
    Styled,
    /// As `Styled`, but no check can come before it: its result is that of the object whose name it
    /// gives.
    Named,
}

impl TextResults {
    pub(in crate::connection) fn of(sql: &str) -> Self {
        let is_open = |token: &SqlToken<'_>| token.is_symbol(';') || token.is_symbol('(');
        let mut words = tokens(sql).skip_while(is_open);
        let Some(first) = words.next() else { return Self::Plain };
        let returning = |token: SqlToken<'_>| token.is_word("returning");
        if first.is_any(&["select", "values", "table", "with"]) {
            Self::Styled
        } else if first.is_any(&["fetch", "execute", "call"]) {
            Self::Named
        } else if first.is_any(&["insert", "update", "delete", "merge"]) && words.any(returning) {
            Self::Styled
        } else {
            Self::Plain
        }
    }
}

/// Whether a text may change the text format of results. Functions that it calls are not examined.
pub(in crate::connection) fn names_styles(sql: &str) -> bool {
    let names = ["datestyle", "intervalstyle", "extra_float_digits", "set_config", "discard"];
    let reset_all = || {
        let mut words = tokens(sql);
        words.any(|token| token.is_word("reset")) && words.any(|token| token.is_word("all"))
    };
    let initials: Vec<u8> = names.iter().filter_map(|name| name.bytes().next()).collect();
    let named = sql.as_bytes().iter().enumerate().any(|(at, byte)| {
        initials.contains(&byte.to_ascii_lowercase())
            && names.iter().any(|name| {
                let found = sql.as_bytes().get(at..at + name.len());
                found.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
            })
    });
    named || reset_all()
}
