//! The text of a statement without its constants, for traces: `SELECT * FROM t WHERE a = ?`.
//!
//! Comments are removed too, since they may contain anything.

use super::lexer::{SqlToken, tokens};

pub fn sanitize(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut rest = tokens(sql);
    loop {
        let before = rest.rest();
        let Some(token) = rest.next() else { return text };
        let is_apart = before.starts_with(|c: char| c.is_ascii_whitespace())
            || before.starts_with("--")
            || before.starts_with("/*");
        if is_apart && !text.is_empty() {
            text.push(' ');
        }
        match token {
            SqlToken::Word(word) => text.push_str(word),
            SqlToken::Quoted(name) => {
                text.push('"');
                text.push_str(name);
                text.push('"');
            }
            SqlToken::Text { .. } | SqlToken::Number(_) => text.push('?'),
            SqlToken::Parameter(number) => {
                text.push('$');
                text.push_str(number);
            }
            SqlToken::Symbol(symbol) => text.push(symbol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_comments_are_gone() {
        for (sql, sanitized) in [
            ("SELECT * FROM t WHERE a = 7", "SELECT * FROM t WHERE a = ?"),
            ("SELECT 'secret', E'it\\'s', $$x y$$, 1.5e3", "SELECT ?, ?, ?, ?"),
            ("SELECT /* password: x */ 1 -- more", "SELECT ?"),
            ("SELECT \"My Col\" FROM\n  t\tWHERE a>=$1", "SELECT \"My Col\" FROM t WHERE a>=$1"),
            ("INSERT INTO t VALUES(-1,B'01',X'ff',U&'a')", "INSERT INTO t VALUES(-?,?,?,?)"),
            ("SELECT 'open", "SELECT ?"),
            ("", ""),
        ] {
            assert_eq!(sanitize(sql), sanitized, "{sql}");
        }
    }
}
