//! Whether a statement's results as text depend on settings.

use crate::connection::statement::lexer::{SqlToken, tokens};

/// On which settings the text results of a statement's first use depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum TextResults {
    /// None: it returns no rows, or none with values other than text.
    Plain,
    /// It may return values whose text the settings decide.
    Styled,
    /// The same, and no check can stand in front of it: its result is that of an object with the
    /// name that it gives.
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

/// Whether a text may change what results look like as text. Functions that it calls are not looked
/// at.
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
