//! What a statement creates by CREATE or INTO: an object for its session only, or for all sessions.
//!
//! Most of the words that show this may also be the names of columns, tables and schemas, so their
//! position in the statement matters.

use super::lexer::{NONE, SqlToken, SqlTokens};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Created {
    Temporary,
    ForAll,
}

impl Created {
    /// What CREATE creates, by the tokens that follow it: `TEMP`, `OR REPLACE LOCAL TEMPORARY`.
    pub(in crate::connection) fn by_create<'a>(
        mut rest: impl Iterator<Item = SqlToken<'a>>,
    ) -> Self {
        const BEFORE: [&str; 4] = ["or", "replace", "local", "global"];
        let what = rest.find(|token| !token.is_any(&BEFORE));
        Self::if_temporary(what.is_some_and(is_temporary))
    }

    /// What a SELECT creates, by the tokens after its INTO.
    fn by_into(rest: &SqlTokens<'_>) -> Self {
        const BEHIND_A_NAME: [&str; 13] = [
            "from",
            "where",
            "group",
            "having",
            "window",
            "union",
            "intersect",
            "except",
            "order",
            "limit",
            "offset",
            "fetch",
            "for",
        ];
        let mut rest = rest.clone();
        let [first, second] = std::array::from_fn(|_| rest.next().unwrap_or(NONE));
        Self::if_temporary(match first {
            _ if first.is_any(&["local", "global"]) => is_temporary(second),
            // The table itself may have this name, if nothing after the word can be the table's
            // name.
            _ if is_temporary(first) => !second.name().is_empty() && !second.is_any(&BEHIND_A_NAME),
            _ => false,
        })
    }

    fn if_temporary(condition: bool) -> Self {
        if condition { Self::Temporary } else { Self::ForAll }
    }
}

fn is_temporary(token: SqlToken<'_>) -> bool {
    token.is_any(&["temp", "temporary"])
}

/// Finds the INTO of a SELECT among the tokens of a text.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) struct IntoFinder<'a> {
    /// The last two tokens, with the last token first.
    before: [SqlToken<'a>; 2],
    depth: usize,
    /// One bit for each depth of parentheses: whether a SELECT was found at that depth.
    selects: u64,
}

impl Default for IntoFinder<'_> {
    fn default() -> Self {
        Self { before: [NONE; 2], depth: 0, selects: 0 }
    }
}

impl<'a> IntoFinder<'a> {
    /// Reads the next token of the text. `rest` is the text after the token. If the token is the
    /// INTO of a SELECT, returns what the SELECT creates.
    pub(in crate::connection) fn read(
        &mut self,
        token: SqlToken<'a>,
        rest: &SqlTokens<'a>,
    ) -> Option<Created> {
        // The deepest parentheses share a bit, and count as a SELECT.
        let bit = 1 << self.depth.min(u64::BITS as usize - 1);
        let mut created = None;
        match token {
            SqlToken::Symbol('(') => {
                self.depth += 1;
                self.selects &= !(bit << 1);
            }
            SqlToken::Symbol(')') => self.depth = self.depth.saturating_sub(1),
            SqlToken::Symbol(';') => self.selects &= !bit,
            SqlToken::Word(_) if token.is_word("select") => self.selects |= bit,
            SqlToken::Word(_) if token.is_word("into") && self.creates(bit) => {
                created = Some(Created::by_into(rest));
            }
            _ => {}
        }
        let [last, _] = self.before;
        self.before = [token, last];
        created
    }

    /// Whether an INTO creates a table. It does not if it is a label after AS, or follows an INSERT
    /// or MERGE. A column with the name `into` comes after SELECT.
    fn creates(&self, bit: u64) -> bool {
        let [last, second] = self.before;
        if last.is_word("as") {
            // This may also be a column's name.
            return second.is_symbol('.') || second.is_word("as");
        }
        let has_select = self.selects & bit != 0 || self.depth >= u64::BITS as usize - 1;
        has_select || !last.is_any(&["insert", "merge"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::statement::lexer::tokens;

    fn into(sql: &str) -> Option<Created> {
        let (mut finder, mut all) = (IntoFinder::default(), tokens(sql));
        std::iter::from_fn(|| all.next().map(|token| finder.read(token, &all))).flatten().next()
    }

    #[test]
    fn select_into_is_distinguished_from_names_of_columns() {
        for sql in [
            "SELECT 1 AS a INTO s",
            "SELECT insert INTO s FROM t",
            "SELECT a merge INTO s FROM t",
            "(WITH t AS (INSERT INTO u VALUES (1) RETURNING a) SELECT insert INTO s FROM t)",
            "SELECT (SELECT 1), t.as INTO s FROM t",
            "SELECT 1 AS as INTO s",
            "SELECT * INTO temp FROM t",
            "SELECT * INTO temporary",
            "SELECT * INTO temp ORDER BY 1",
            "SELECT * INTO temp.s FROM t",
            "SELECT * INTO TABLE temp FROM t",
            "SELECT * INTO UNLOGGED temp FROM t",
            "SELECT * INTO local FROM t",
            "SELECT * INTO \"temp\" FROM t",
        ] {
            assert_eq!(into(sql), Some(Created::ForAll), "{sql}");
        }
        for sql in [
            "SELECT * INTO TEMP s FROM t",
            "SELECT * INTO TEMP \"from\" FROM t",
            "SELECT * INTO TEMPORARY TABLE s FROM t",
            "SELECT * INTO LOCAL TEMP s FROM t",
            "SELECT insert INTO TEMP temp FROM t",
            "SELECT * INTO TEMP values FROM t",
        ] {
            assert_eq!(into(sql), Some(Created::Temporary), "{sql}");
        }
        for sql in [
            "INSERT INTO temp VALUES (1)",
            "INSERT INTO temp SELECT 1 AS into",
            "WITH a AS (SELECT 1), b AS (MERGE INTO s USING t ON true) INSERT INTO temp TABLE a",
            "EXPLAIN (ANALYZE) INSERT INTO temp VALUES (1)",
            "SELECT 1; INSERT INTO temp values",
            "SELECT \"into\"",
        ] {
            assert_eq!(into(sql), None, "{sql}");
        }
        let deep = format!("{}SELECT insert INTO s", "(".repeat(100));
        assert_eq!(into(&deep), Some(Created::ForAll));
    }
}
