//! The messages for wrong options: the option's name, what is allowed, and what was given.

use serde_json::Value;

use crate::base::{Error, ErrorClass};

/// How many characters of a value are shown: a message is for reading.
const SHOWN: usize = 64;

pub(super) fn error(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Configuration, "HYPERION_CONFIGURATION", message)
}

/// The error for a wrong value. `subject` is for example `option 'port'`.
pub(super) fn refuse(subject: &str, allowed: &str, given: &str) -> Error {
    error(format!("{subject} must be {allowed}, not {given}"))
}

/// The value itself, for options that contain no secret.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => kind(value),
    }
}

/// The kind of the value, which shows nothing of its content.
pub(super) fn kind(value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        // JavaScript describes in this way what JSON can't express: NaN, a function, a Date.
        Value::Object(object) => match object.get("$given") {
            Some(Value::String(given)) if object.len() == 1 => return cut(given),
            _ => "an object",
        },
    };
    kind.to_owned()
}

/// A text in quotes, unless it looks as if it contained a secret: a connection string in the wrong
/// place, or cut in the wrong place, or a key in PEM where something else is expected.
pub(super) fn quote(text: &str) -> String {
    if text.contains("-----BEGIN") {
        "a text in PEM (not shown: it may hold a key)".to_owned()
    } else if text.contains("://")
        || text.char_indices().any(|(at, letter)| at > 0 && letter == '@')
    {
        "a text with '://' or '@' in it (not shown: it may hold a password)".to_owned()
    } else {
        format!("{:?}", cut(text))
    }
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub(super) fn refuse_nul(subject: &str, text: &str) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(error(format!("{subject} must be a text without NUL characters")));
    }
    Ok(())
}

/// The error for an unknown name. It suggests the known name that was probably meant.
pub(super) fn unknown(what: &str, name: &str, known: &[&'static str]) -> Error {
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("allowed: {}", known.join(", ")),
    };
    error(format!("unknown {what} {}: {hint}", quote(name)))
}

fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    if name.len() > SHOWN {
        return None;
    }
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let given = plain(name);
    known
        .iter()
        .map(|&candidate| (distance(&given, &plain(candidate)), candidate))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, candidate)| distance <= candidate.len() / 3)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        let known = ["poolSize", "port", "applicationName"];
        assert_eq!(nearest("poolsize", &known), Some("poolSize"));
        assert_eq!(nearest("pool_sizes", &known), Some("poolSize"));
        assert_eq!(nearest("prt", &known), Some("port"));
        assert_eq!(nearest("application_name", &known), Some("applicationName"));
        assert_eq!(nearest("__proto__", &known), None);
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }

    #[test]
    fn values_are_shown_and_cut() {
        let table = [
            (json!("a\"b"), r#""a\"b""#),
            (json!(1.5), "1.5"),
            (json!(null), "null"),
            (json!([1]), "an array"),
            (json!({"a": 1}), "an object"),
            (json!({"$given": "NaN"}), "NaN"),
        ];
        for (value, expect) in table {
            assert_eq!(show(&value), expect);
        }
        assert_eq!(show(&json!("x".repeat(1000))).len(), SHOWN + 5);
        assert_eq!(kind(&json!("secret")), "a string");
        assert!(!show(&json!("postgres://u:secret@h")).contains("secret"));
        assert!(!show(&json!("secret@h")).contains("secret"));
    }
}
