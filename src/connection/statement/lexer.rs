//! The tokens of an SQL text, split as PostgreSQL's own scanner splits it (manual, 4.1).
//!
//! These tokens decide what a statement is and what it does to its session, so a comment, a string
//! or a line break must not hide anything. The scanner knows no grammar. It never fails: a string
//! or a comment without an end extends to the end of the text.

/// A part of a text that is neither white space nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum SqlToken<'a> {
    /// A key word, or an identifier without quotes, as written in the text.
    Word(&'a str),
    /// An identifier in double quotes, without the quotes. Doubled quotes inside stay doubled.
    Quoted(&'a str),
    /// A string constant of any kind, without its quotes. Doubled quotes and escapes stay as
    /// written.
    Text {
        body: &'a str,
        /// Whether it is a plain string with a backslash before a quote.
        /// `standard_conforming_strings` decides where such a string ends, and the scanner can't
        /// see that setting. It assumes the default, which is on.
        is_ambiguous: bool,
    },
    Number(&'a str),
    /// `$1`, without the dollar sign.
    Parameter(&'a str),
    /// Any other character. An operator of several characters comes as several tokens.
    Symbol(char),
}

impl<'a> SqlToken<'a> {
    /// Whether the token is this key word, in any case.
    pub(in crate::connection) fn is_word(self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found.eq_ignore_ascii_case(word))
    }

    /// Whether the token is one of these key words, in any case.
    pub(in crate::connection) fn is_any(self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    pub(in crate::connection) fn is_symbol(self, symbol: char) -> bool {
        self == Self::Symbol(symbol)
    }

    /// The key word or identifier, with or without quotes. Empty for any other token.
    pub(in crate::connection) fn name(self) -> &'a str {
        match self {
            Self::Word(name) | Self::Quoted(name) => name,
            _ => "",
        }
    }
}

/// The tokens of a text, in order.
pub(in crate::connection) fn tokens(sql: &str) -> SqlTokens<'_> {
    SqlTokens { rest: sql, string: None, is_cut: false }
}

#[derive(Clone, Debug)]
pub(in crate::connection) struct SqlTokens<'a> {
    rest: &'a str,
    /// If the last token is a string, its kind. A string on a following line may continue it.
    string: Option<Quotes>,
    is_cut: bool,
}

/// The kinds of string constants in single quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// `'...'`, and `N'...'`.
    Plain,
    /// `E'...'`: a backslash escapes a quote.
    Escapes,
    /// `B'...'` and `X'...'`: two quotes are an end and a beginning.
    Bits,
    /// `U&'...'`
    Unicode,
}

impl<'a> SqlTokens<'a> {
    /// The part of the text that is not read yet.
    pub(in crate::connection) fn rest(&self) -> &'a str {
        self.rest
    }

    /// Whether the text has ended inside a string, a quoted identifier or a comment. The server
    /// refuses all of such a text.
    pub(in crate::connection) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Takes `length` bytes, and returns them without the first `before` and the last `after`
    /// bytes.
    fn take(&mut self, length: usize, before: usize, after: usize) -> &'a str {
        let (token, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        let end = token.len().saturating_sub(after).max(before);
        token.get(before..end).unwrap_or("")
    }

    fn quoted(&mut self, before: usize, quote: u8, quotes: Quotes) -> &'a str {
        let (length, is_closed) = quoted_length(self.rest, before, quote, quotes);
        self.is_cut |= !is_closed;
        self.take(length, before, usize::from(is_closed))
    }

    fn identifier(&mut self, before: usize) -> SqlToken<'a> {
        SqlToken::Quoted(self.quoted(before, b'"', Quotes::Plain))
    }

    fn string(&mut self, before: usize, quotes: Quotes) -> SqlToken<'a> {
        let body = self.quoted(before, b'\'', quotes);
        self.string = Some(quotes);
        let is_ambiguous = quotes == Quotes::Plain && has_escaped_quote(body);
        SqlToken::Text { body, is_ambiguous }
    }
}

impl<'a> Iterator for SqlTokens<'a> {
    type Item = SqlToken<'a>;

    fn next(&mut self) -> Option<SqlToken<'a>> {
        let before = self.rest;
        self.rest = match behind_blank(before) {
            Some(rest) => rest,
            None => {
                self.is_cut = true;
                ""
            }
        };
        let string = self.string.take();
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        let at = |n: usize| bytes.get(n).copied().unwrap_or(0);
        let token = match first {
            b'\'' => {
                let blank = before.get(..before.len() - self.rest.len()).unwrap_or("");
                let continued = string.filter(|_| may_continue(blank));
                self.string(1, continued.unwrap_or(Quotes::Plain))
            }
            b'e' | b'E' if at(1) == b'\'' => self.string(2, Quotes::Escapes),
            b'b' | b'B' | b'x' | b'X' if at(1) == b'\'' => self.string(2, Quotes::Bits),
            b'n' | b'N' if at(1) == b'\'' => self.string(2, Quotes::Plain),
            b'u' | b'U' if at(1) == b'&' && at(2) == b'\'' => self.string(3, Quotes::Unicode),
            b'u' | b'U' if at(1) == b'&' && at(2) == b'"' => self.identifier(3),
            b'"' => self.identifier(1),
            b'$' => self.dollar(),
            b'0'..=b'9' => SqlToken::Number(self.take(number_length(bytes), 0, 0)),
            b'.' if at(1).is_ascii_digit() => {
                SqlToken::Number(self.take(number_length(bytes), 0, 0))
            }
            _ if is_word_start(first) => {
                let length = bytes.iter().position(|byte| !is_word_part(*byte));
                SqlToken::Word(self.take(length.unwrap_or(bytes.len()), 0, 0))
            }
            _ => {
                let symbol = self.rest.chars().next()?;
                self.take(symbol.len_utf8(), 0, 0);
                SqlToken::Symbol(symbol)
            }
        };
        Some(token)
    }
}

impl<'a> SqlTokens<'a> {
    /// `$1`, `$$text$$`, `$tag$text$tag$`, or the dollar sign by itself.
    fn dollar(&mut self) -> SqlToken<'a> {
        let bytes = self.rest.as_bytes();
        let behind = bytes.get(1..).unwrap_or_default();
        if behind.first().is_some_and(u8::is_ascii_digit) {
            let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
            return SqlToken::Parameter(self.take(1 + digits, 1, 0));
        }
        let is_tag = |(n, byte): (usize, &u8)| {
            if n == 0 { is_word_start(*byte) } else { is_word_part(*byte) && *byte != b'$' }
        };
        let tag = behind.iter().enumerate().take_while(|(n, byte)| is_tag((*n, *byte))).count();
        if behind.get(tag) != Some(&b'$') {
            self.take(1, 0, 0);
            return SqlToken::Symbol('$');
        }
        let mark = tag + 2;
        let delimiter = self.rest.get(..mark).unwrap_or("");
        let body = self.rest.get(mark..).unwrap_or("");
        let (length, after) = match body.find(delimiter) {
            Some(end) => (mark + end + mark, mark),
            None => {
                self.is_cut = true;
                (self.rest.len(), 0)
            }
        };
        SqlToken::Text { body: self.take(length, mark, after), is_ambiguous: false }
    }
}

// PostgreSQL's white space: no other character of Unicode counts.
const WHITE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// The text after white space and comments. `None` if a comment has no end.
fn behind_blank(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start_matches(WHITE);
        text = if text.starts_with("--") {
            behind_line(text)
        } else if text.starts_with("/*") {
            behind_comment(text)?
        } else {
            return Some(text);
        };
    }
}

fn behind_line(text: &str) -> &str {
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    text.get(end..).unwrap_or("")
}

/// The text after a comment that begins with `/*`. Comments nest.
fn behind_comment(text: &str) -> Option<&str> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..)
        && let Some(found) = rest.find(['/', '*'])
    {
        at += found;
        (depth, at) = match text.get(at..at + 2) {
            Some("/*") => (depth + 1, at + 2),
            Some("*/") => (depth.saturating_sub(1), at + 2),
            _ => (depth, at + 1),
        };
        if depth == 0 {
            return text.get(at..);
        }
    }
    None
}

/// Whether a string may continue after this white space. By the server's scanner (`quotecontinue`
/// in scan.l), the white space must contain a line break, and no comment other than `--`.
fn may_continue(blank: &str) -> bool {
    let mut rest = blank.trim_start_matches(WHITE);
    while rest.starts_with("--") {
        rest = behind_line(rest).trim_start_matches(WHITE);
    }
    rest.is_empty() && blank.contains(['\n', '\r'])
}

/// The length of a quoted token, and whether it has an end. The token begins with `before` bytes,
/// of which the last is the quote.
fn quoted_length(text: &str, before: usize, quote: u8, quotes: Quotes) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut at = before;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' && quotes == Quotes::Escapes {
            at += 2;
        } else if *byte != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) && quotes != Quotes::Bits {
            at += 2;
        } else {
            return (at + 1, true);
        }
    }
    (bytes.len(), false)
}

/// Whether a backslash would escape a quote inside the string, or its closing quote, if backslashes
/// were escape characters.
fn has_escaped_quote(body: &str) -> bool {
    let mut escapes = false;
    for byte in body.bytes() {
        match byte {
            b'\\' => escapes = !escapes,
            b'\'' if escapes => return true,
            _ => escapes = false,
        }
    }
    escapes
}

/// The length of the number at the beginning. A word may follow without a blank: servers before
/// PostgreSQL 15 read `1into` as two tokens.
fn number_length(bytes: &[u8]) -> usize {
    let at = |n: usize| bytes.get(n).copied().unwrap_or(0);
    let is_digit = |n: usize| at(n).is_ascii_digit();
    let is_hexadecimal = at(0) == b'0' && matches!(at(1), b'x' | b'X');
    if is_hexadecimal && at(2 + usize::from(at(2) == b'_')).is_ascii_hexdigit() {
        return behind_digits(bytes, 2, |byte| byte.is_ascii_hexdigit());
    }
    let is_radix = at(0) == b'0' && matches!(at(1), b'o' | b'O' | b'b' | b'B');
    if is_radix && is_digit(2 + usize::from(at(2) == b'_')) {
        return behind_digits(bytes, 2, |byte| byte.is_ascii_digit());
    }
    let mut end = behind_digits(bytes, 0, |byte| byte.is_ascii_digit());
    if at(end) == b'.' && at(end + 1) != b'.' {
        end += 1;
        if is_digit(end) {
            end = behind_digits(bytes, end, |byte| byte.is_ascii_digit());
        }
    }
    let digits = end + 1 + usize::from(matches!(at(end + 1), b'+' | b'-'));
    if matches!(at(end), b'e' | b'E') && is_digit(digits) {
        end = behind_digits(bytes, digits, |byte| byte.is_ascii_digit());
    }
    end
}

/// The end of the digits that begin at `at`. There may be an underscore between two digits.
fn behind_digits(bytes: &[u8], mut at: usize, is_digit: fn(u8) -> bool) -> usize {
    loop {
        let next = at + usize::from(bytes.get(at) == Some(&b'_'));
        match bytes.get(next) {
            Some(byte) if is_digit(*byte) => at = next + 1,
            _ => return at,
        }
    }
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// Stands for the token after the last one.
pub(in crate::connection) const NONE: SqlToken<'_> = SqlToken::Word("");

/// The first tokens of a statement. Opening parentheses before them are left out, since a query may
/// begin with parentheses.
pub(in crate::connection) fn first_tokens<const N: usize>(statement: &str) -> [SqlToken<'_>; N] {
    let mut all = tokens(statement).skip_while(|t| t.is_symbol('(') || t.is_symbol(';'));
    std::array::from_fn(|_| all.next().unwrap_or(NONE))
}

pub(in crate::connection) fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use SqlToken::{Number, Parameter, Quoted, Symbol, Word};

    fn all(sql: &str) -> Vec<SqlToken<'_>> {
        tokens(sql).collect()
    }

    fn text(body: &str) -> SqlToken<'_> {
        SqlToken::Text { body, is_ambiguous: false }
    }

    #[test]
    fn comments_and_white_space_are_no_tokens() {
        let expected = [Word("SELECT"), Number("1"), Symbol(';')];
        for sql in [
            "SELECT 1;",
            "-- FETCH\nSELECT\t1 ;",
            "/* a /* b */ '*/SELECT/**/1--x\r;",
            "\u{c}SELECT\u{b}1;-- '",
        ] {
            assert_eq!(all(sql), expected, "{sql}");
        }
    }

    #[test]
    fn strings_of_every_kind_hide_what_is_in_them() {
        assert_eq!(all("'it''s; '"), [text("it''s; ")]);
        assert_eq!(all(r"E'a\'b' x"), [text(r"a\'b"), Word("x")]);
        let ambiguous = |body| SqlToken::Text { body, is_ambiguous: true };
        assert_eq!(all(r"'a\' x"), [ambiguous(r"a\"), Word("x")]);
        assert_eq!(all(r"'a\'' x'"), [ambiguous(r"a\'' x")]);
        assert_eq!(all(r"'C:\a\\' x"), [text(r"C:\a\\"), Word("x")]);
        assert_eq!(
            all("U&'d\\0061' b'1' X'f' n'x'"),
            [text("d\\0061"), text("1"), text("f"), text("x")]
        );
        assert_eq!(all("$$a; $b$ ' $$ c"), [text("a; $b$ ' "), Word("c")]);
        assert_eq!(all("$tag$a $$ $ta$ b$tag$;"), [text("a $$ $ta$ b"), Symbol(';')]);
        assert_eq!(all("\"a\"\"b;\" U&\"c\""), [Quoted("a\"\"b;"), Quoted("c")]);
    }

    #[test]
    fn a_dollar_belongs_to_parameters_and_words_too() {
        assert_eq!(all("$1::int"), [Parameter("1"), Symbol(':'), Symbol(':'), Word("int")]);
        assert_eq!(all("a$b$c"), [Word("a$b$c")]);
        assert_eq!(all("$ $x"), [Symbol('$'), Symbol('$'), Word("x")]);
        assert_eq!(
            all("1.5e3 .5 a.b"),
            [Number("1.5e3"), Number(".5"), Word("a"), Symbol('.'), Word("b")]
        );
    }

    #[test]
    fn a_string_goes_on_in_the_next_line_as_it_began() {
        for blank in ["\n", "\t\r", " -- x\n\n\t", "\n-- '\n--\n"] {
            let sql = format!(r"E'it'{blank}'\'s; ' x");
            assert_eq!(all(&sql), [text("it"), text(r"\'s; "), Word("x")], "{sql}");
            let sql = format!(r"U&'a'{blank}'\' x");
            assert_eq!(all(&sql), [text("a"), text("\\"), Word("x")], "{sql}");
            let sql = format!("e'a'{blank}'b'{blank}'\\'' x");
            assert_eq!(all(&sql), [text("a"), text("b"), text("\\'"), Word("x")], "{sql}");
            let sql = format!("X'a'{blank}'b''c'");
            assert_eq!(all(&sql), [text("a"), text("b"), text("c")], "{sql}");
        }
        let plain = SqlToken::Text { body: "\\", is_ambiguous: true };
        for blank in [" ", "/*\n*/", "\n/**/", "--\n/* \n */\n"] {
            let sql = format!(r"E'it'{blank}'\' x");
            assert_eq!(all(&sql), [text("it"), plain, Word("x")], "{sql}");
        }
        assert_eq!(all("E'a'\n,'\\' x"), [text("a"), Symbol(','), plain, Word("x")]);
        assert_eq!(all("n'a'\n'\\' x"), [text("a"), plain, Word("x")]);
    }

    #[test]
    fn a_text_that_is_cut_off_is_seen() {
        let is_cut = |sql: &str| {
            let mut all = tokens(sql);
            all.by_ref().for_each(drop);
            all.is_cut()
        };
        for sql in ["'", "a 'b''", "E'\\'", "\"a", "U&'", "/* /* */", "1; /*", "$a$ $b$", "x'1"] {
            assert!(is_cut(sql), "{sql}");
        }
        for sql in ["", "'a'", "/* /**/ */", "-- '", "$a$ $a$", "'a\\'", "\"\"\"\"", "$a", "E'\\''"]
        {
            assert!(!is_cut(sql), "{sql}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for sql in [
            "'",
            "E'\\",
            "\"",
            "/*",
            "/*/",
            "$a$",
            "$é$x",
            "é",
            "\u{1f600}",
            "--",
            "U&'",
            "E'é",
            "$",
            "'é",
        ] {
            assert!(tokens(sql).count() <= sql.len(), "{sql}");
            assert!(all(sql).iter().all(|token| !token.is_any(&["select"])), "{sql}");
        }
        assert_eq!(
            all("SELECT 1_0.5_0e+1_0into"),
            [Word("SELECT"), Number("1_0.5_0e+1_0"), Word("into")]
        );
        assert_eq!(
            all("0x1Fz 0b_1 1..2"),
            [Number("0x1F"), Word("z"), Number("0b_1"), Number("1"), Symbol('.'), Number(".2")]
        );
        assert_eq!(all("'no end"), [text("no end")]);
        assert_eq!(all("$$no end$"), [text("no end$")]);
    }
}
