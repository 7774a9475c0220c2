//! The connection string: the parts that both of libpq's forms share, and the keyword form, as in
//! `host=h1,h2 port=5432` (PostgreSQL manual, 34.1.1).
//!
//! An error shows a part of the text only if no password can be in it.

use super::refusal::error;
use super::source::{Pair, SUBJECT};
use super::uri;
use crate::base::Error;

/// The keys and values of a connection string of either form, in their order. The last value of a
/// key counts.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>, Error> {
    // A string that was read from a file ends with a line feed.
    let text = text.trim_matches(|letter: char| letter.is_ascii_whitespace());
    if text.contains('\0') {
        return Err(error(format!("{SUBJECT} must be a text without NUL characters")));
    }
    let behind = ["postgres://", "postgresql://"].iter().find_map(|it| text.strip_prefix(it));
    if let Some(rest) = behind {
        return uri::parse(rest);
    }
    let first = text.split(|letter: char| letter == '=' || letter.is_ascii_whitespace()).next();
    let is_other_uri = first.is_some_and(|first| first.contains("://"));
    if is_other_uri || !(text.is_empty() || text.contains('=')) {
        return Err(error(format!(
            "{SUBJECT} must begin with 'postgres://' or 'postgresql://', or be a list as in host=h1,h2 port=5432"
        )));
    }
    keywords(text)
}

fn keywords(text: &str) -> Result<Vec<Pair>, Error> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(pairs);
        }
        // The key is not shown: it may be the end of a password with a space.
        let no_equals = || {
            error(format!(
                "{SUBJECT} has a key without '=': a value with a space in it belongs into quotes, as in \
                 password='a b'"
            ))
        };
        let (key, behind) = rest.split_once('=').ok_or_else(no_equals)?;
        let key = key.trim_ascii_end();
        if key.contains(|letter: char| letter.is_ascii_whitespace()) {
            return Err(no_equals());
        }
        let (value, behind) = value(behind.trim_ascii_start())?;
        pairs.push((key.to_owned(), value));
        rest = behind;
    }
}

/// Reads one value, and returns what follows. A backslash takes the next letter as it is.
fn value(text: &str) -> Result<(String, &str), Error> {
    let quoted = text.strip_prefix('\'');
    let mut value = String::new();
    let mut letters = quoted.unwrap_or(text).chars();
    loop {
        match letters.next() {
            Some('\\') => value.extend(letters.next()),
            Some('\'') if quoted.is_some() => return Ok((value, letters.as_str())),
            Some(letter) if quoted.is_none() && letter.is_ascii_whitespace() => {
                return Ok((value, letters.as_str()));
            }
            Some(letter) => value.push(letter),
            None if quoted.is_some() => {
                return Err(error(format!("{SUBJECT} has a quote that is not closed")));
            }
            None => return Ok((value, "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pairs, as `key=value` with a bar between them.
    fn read(text: &str) -> Result<String, Error> {
        let pairs = parse(text)?;
        let shown: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok(shown.join("|"))
    }

    #[test]
    fn keywords_are_read_as_libpq_reads_them() {
        let table = [
            ("", ""),
            (" \n", ""),
            ("host=h", "host=h"),
            ("host=h1,h2 port=1,2\n", "host=h1,h2|port=1,2"),
            ("  host = h\tport\n=\n5 ", "host=h|port=5"),
            ("password='a b'", "password=a b"),
            ("password='it\\'s' user=u", "password=it's|user=u"),
            ("password='a\\\\b'", "password=a\\b"),
            (r"password=a\ b\'c\\d", r"password=a b'c\d"),
            ("password='a=b'", "password=a=b"),
            ("password=a=b", "password=a=b"),
            ("password='' user=u", "password=|user=u"),
            ("password= user=u", "password=user=u"),
            ("password='a'user=u", "password=a|user=u"),
            ("password=postgres://x", "password=postgres://x"),
            ("host=h options='-c a=b'", "host=h|options=-c a=b"),
            ("password=a\\", "password=a"),
            ("user=a user=b", "user=a|user=b"),
        ];
        for (text, expect) in table {
            assert_eq!(read(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_of_keywords_is_refused_and_not_shown() {
        let table = [
            ("hunter2", "must begin with 'postgres://'"),
            ("mysql://u:hunter2@h/d?a=b", "must begin with 'postgres://'"),
            ("postgre://", "must begin with 'postgres://'"),
            ("password=a hunter2", "a key without '='"),
            ("password=a hunter2 user=u", "a key without '='"),
            ("password='hunter2", "a quote that is not closed"),
            ("password='hunter2\\'", "a quote that is not closed"),
        ];
        for (text, expect) in table {
            let error = read(text).expect_err(text);
            assert!(error.message().contains(expect), "{text}: {error}");
            assert!(!error.message().contains("hunter2"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_survives_its_quotes(value in "[^\0]{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let pairs = parse(&format!("a='{quoted}' b=c")).unwrap();
            let expect = [("a".to_owned(), value), ("b".to_owned(), "c".to_owned())];
            prop_assert_eq!(pairs, expect);
        }
    }
}
