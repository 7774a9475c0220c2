//! Values as `Params` keeps them: small, with their text and bytes in one buffer of the whole query.

use super::fit::Value;
use super::nested::Nested;

/// A part of a query's bytes, or of its tokens. Both are fewer than 2^30 (`MAX_BYTES`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn of<T>(self, whole: &[T]) -> &[T] {
        whole.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A parameter, or an element of an array.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    Null,
    Bool(bool),
    Number(f64),
    /// In milliseconds since 1970.
    Date(f64),
    BigInt(Span),
    Text(Span),
    Json(Span),
    Bytes(Span),
    /// Its tokens; never an element.
    Array(Span),
}

/// An array is a list of these, so that nothing recurses where the depth is the user's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Open,
    Close,
    Element(Kept),
}

impl Kept {
    pub(super) fn value<'a>(self, bytes: &'a [u8], tokens: &'a [Token]) -> Value<'a> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Date(millis) => Value::Date(millis),
            Self::BigInt(span) => {
                Value::BigInt(std::str::from_utf8(span.of(bytes)).unwrap_or_default())
            }
            Self::Text(span) => Value::Text(span.of(bytes)),
            Self::Json(span) => Value::Json(span.of(bytes)),
            Self::Bytes(span) => Value::Bytes(span.of(bytes)),
            Self::Array(span) => Value::Array(Nested::new(span.of(tokens), bytes)),
        }
    }
}
