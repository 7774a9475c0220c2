//! The values of a query's parameters. `Params` keeps each value as a small [`StoredValue`], and
//! the text and bytes of all values in one buffer. [`Value`] is the form in which they are read.

/// The most bytes that the values of one query may take together. A server reads no longer message
/// (`PQ_LARGE_MESSAGE_LIMIT`), and closes the session that sends one.
pub(super) const MAX_BYTES: usize = 0x3fff_fffe;

/// A value with a reference to its text or bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(f64),
    /// Milliseconds since 1970. NaN is an invalid Date.
    Date(f64),
    /// Decimal digits.
    BigInt(&'a str),
    /// UTF-8. Outside of arrays it contains no NUL.
    Text(&'a [u8]),
    /// What JSON.stringify returned for an object.
    Json(&'a [u8]),
    Bytes(&'a [u8]),
    Array(ArrayParameter<'a>),
}

/// An array as it was captured in JavaScript.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArrayParameter<'a> {
    pub(super) tokens: &'a [ArrayToken],
    pub(super) kinds: Kinds,
    pub(super) bytes: &'a [u8],
}

/// Why a value does not fit its parameter, as the end of the message "parameter $3 of type int4:
/// ...".
pub(super) type EncodeError = &'static str;

/// A range of a query's bytes or tokens. There are fewer than 2^30 of either ([`MAX_BYTES`]).
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
pub(super) enum StoredValue {
    Null,
    Bool(bool),
    Number(f64),
    /// Milliseconds since 1970.
    Date(f64),
    BigInt(Span),
    Text(Span),
    Json(Span),
    Bytes(Span),
    /// The array's tokens. An element is never an array.
    Array(Span, Kinds),
}

/// Which kinds of values an array has. This decides the array's format without a look at each
/// value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds(u8);

/// One value of each kind, at the index of the kind's bit.
const SAMPLES: [Value<'static>; 8] = [
    Value::Null,
    Value::Bool(false),
    Value::Number(0.0),
    Value::Date(0.0),
    Value::BigInt(""),
    Value::Text(b""),
    Value::Json(b""),
    Value::Bytes(b""),
];

impl Kinds {
    pub(super) const fn add(&mut self, stored: StoredValue) {
        self.0 |= match stored {
            StoredValue::Null => 1,
            StoredValue::Bool(_) => 1 << 1,
            StoredValue::Number(_) => 1 << 2,
            StoredValue::Date(_) => 1 << 3,
            StoredValue::BigInt(_) => 1 << 4,
            StoredValue::Text(_) => 1 << 5,
            StoredValue::Json(_) => 1 << 6,
            StoredValue::Bytes(_) => 1 << 7,
            StoredValue::Array(..) => 0,
        }
    }

    pub(super) const fn has_nulls(self) -> bool {
        self.0 & 1 != 0
    }

    pub(super) fn all(self, is: impl Fn(Value<'static>) -> bool) -> bool {
        SAMPLES.iter().enumerate().all(|(bit, sample)| self.0 & (1 << bit) == 0 || is(*sample))
    }
}

/// An array is a flat list of tokens, so that nothing recurses to a depth that the user chooses.
#[derive(Clone, Copy, Debug)]
pub(super) enum ArrayToken {
    Open,
    Close,
    Element(StoredValue),
}

impl StoredValue {
    pub(super) fn value<'a>(self, bytes: &'a [u8], tokens: &'a [ArrayToken]) -> Value<'a> {
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
            Self::Array(span, kinds) => {
                Value::Array(ArrayParameter { tokens: span.of(tokens), kinds, bytes })
            }
        }
    }
}

/// False if there is not enough memory for the token.
pub(super) fn push_token(tokens: &mut Vec<ArrayToken>, token: ArrayToken) -> bool {
    let has_room = tokens.try_reserve(1).is_ok();
    if has_room {
        tokens.push(token);
    }
    has_room
}
