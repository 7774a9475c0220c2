//! The parameters of one query, as they came from JavaScript.
//!
//! Each value is read exactly once, before anything is written: a getter or `toJSON` may run any
//! code, and may return another value the second time. The values are kept until the query is done.
//! The pool may have to send the query again, perhaps to a server that infers other types.

use std::io::Write as _;

use bytes::BytesMut;
use postgres_protocol::IsNull;

use crate::base::{Error, ErrorClass, Outcome};
use crate::protocol::backend::Format;

use super::value::{ArrayToken, Kinds, MAX_BYTES, Span, StoredValue, Value, push_token};
use crate::types::ParameterType;

/// Bind has 16 bits for the number of parameters (PostgreSQL manual, 55.7).
const MAX_COUNT: usize = 65_535;

/// A numeric can have 131,072 digits before its decimal point. This is that number of digits in
/// words of 64 bits. The time to write them grows with the square of their number.
const MAX_BIGINT_WORDS: usize = 6_804;

/// The most digits that [`MAX_BIGINT_WORDS`] words can have, and a sign.
const MAX_DIGITS: usize = 131_087;
const LONG_BIGINT: &str = "a BigInt has more digits than any PostgreSQL number";

const NO_MEMORY: &str = "there is no memory left for the value";

const BROKEN_PAIR: &str = "the text holds half of a surrogate pair, which has no form in UTF-8 \
                           (String.prototype.isWellFormed() tells)";

/// The largest power of ten that fits in 64 bits has this exponent.
const DIGITS_PER_CHUNK: usize = 19;
const CHUNK: u128 = 10_u128.pow(19);

#[derive(Clone, Default)]
pub struct Params {
    pub(super) params: Vec<StoredValue>,
    /// The tokens of the arrays.
    tokens: Vec<ArrayToken>,
    array: Option<OpenArray>,
    /// The digits, text and bytes of all values.
    bytes: Vec<u8>,
}

/// The array to which elements are being added.
#[derive(Clone, Copy, Debug, Default)]
struct OpenArray {
    /// The index of its first token.
    start: usize,
    /// How many arrays are open inside one another.
    depth: usize,
    kinds: Kinds,
    /// There was no memory for one of its tokens.
    lacks_memory: bool,
}

/// The text of many elements as one string. The elements take their pieces from it, in order.
#[derive(Debug)]
pub struct Pieces {
    at: usize,
    end: usize,
    /// Whether each UTF-16 unit, which JavaScript counts, is one byte.
    is_ascii: bool,
}

/// The kind of element that a piece of text is.
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    Text,
    /// A BigInt in decimal digits.
    BigInt,
    Json,
}

/// Shows only how many values there are, because the values may be secret.
impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Params").field("count", &self.params.len()).finish_non_exhaustive()
    }
}

impl Params {
    pub const fn new() -> Self {
        Self { params: Vec::new(), tokens: Vec::new(), array: None, bytes: Vec::new() }
    }

    /// `count` is how many values the caller announces. It is not trusted beyond `MAX_COUNT`.
    pub fn with_capacity(count: usize) -> Self {
        Self { params: Vec::with_capacity(count.min(MAX_COUNT)), ..Self::new() }
    }

    pub fn push_null(&mut self) -> Result<(), Error> {
        self.push(StoredValue::Null)
    }

    pub fn push_bool(&mut self, value: bool) -> Result<(), Error> {
        self.push(StoredValue::Bool(value))
    }

    pub fn push_number(&mut self, value: f64) -> Result<(), Error> {
        self.push(StoredValue::Number(value))
    }

    /// `millis` are since 1970. NaN stands for an invalid Date.
    pub fn push_date(&mut self, millis: f64) -> Result<(), Error> {
        self.push(StoredValue::Date(millis))
    }

    /// `words` are what `napi_get_value_bigint_words` gives: the least significant word comes
    /// first.
    pub fn push_bigint(&mut self, negative: bool, words: &[u64]) -> Result<(), Error> {
        let length = words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        let words = words.get(..length).unwrap_or(words);
        if words.len() > MAX_BIGINT_WORDS {
            return Err(self.over_limit(LONG_BIGINT));
        }
        let start = self.bytes.len();
        if negative && !words.is_empty() {
            self.bytes.push(b'-');
        }
        write_decimal(words, &mut self.bytes);
        let span = self.span_from(start)?;
        self.push(StoredValue::BigInt(span))
    }

    pub fn push_text(&mut self, value: &str) -> Result<(), Error> {
        self.push_text_with(value.len(), |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            Ok(())
        })
    }

    /// `write` appends the text as UTF-8, about `length` bytes, so that it can be copied straight
    /// out of JavaScript's string. The length is checked before anything is copied.
    pub fn push_text_with(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let span = self.append(length, write)?;
        if span.of(&self.bytes).contains(&0) {
            self.bytes.truncate(span.start as usize);
            return Err(self.wrong("PostgreSQL stores no NUL character in text"));
        }
        self.push(StoredValue::Text(span))
    }

    /// Takes what JSON.stringify made of an object, in the same way as [`Self::push_text_with`].
    pub fn push_json_with(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let span = self.append(length, write)?;
        self.push(StoredValue::Json(span))
    }

    /// Takes the text of elements that [`Self::push_piece`] will push later, in the same way as
    /// [`Self::push_text_with`].
    pub fn append_pieces_with(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Pieces, Error> {
        let span = self.append(length, write)?;
        let is_ascii = span.of(&self.bytes).is_ascii();
        Ok(Pieces { at: span.start as usize, end: span.end as usize, is_ascii })
    }

    /// Pushes the next `units` UTF-16 units of `pieces`.
    pub fn push_piece(
        &mut self,
        piece: Piece,
        pieces: &mut Pieces,
        units: usize,
    ) -> Result<(), Error> {
        let rest = self.bytes.get(pieces.at..pieces.end).unwrap_or_default();
        let length = if pieces.is_ascii { Some(units) } else { utf8_length(rest, units) };
        let length = length.ok_or_else(|| self.wrong(BROKEN_PAIR))?;
        if length > rest.len() {
            return Err(Error::internal("the text of the elements is too short"));
        }
        if matches!(piece, Piece::BigInt) && length > MAX_DIGITS {
            return Err(self.over_limit(LONG_BIGINT));
        }
        let start = pieces.at;
        pieces.at += length;
        let span = span(start, pieces.at);
        self.push(match piece {
            Piece::Text => StoredValue::Text(span),
            Piece::BigInt => StoredValue::BigInt(span),
            Piece::Json => StoredValue::Json(span),
        })
    }

    /// Begins an array. Until [`Self::close_array`], all values that are pushed are its elements.
    pub fn open_array(&mut self) {
        let start = self.tokens.len();
        let array = self.array.get_or_insert(OpenArray { start, ..OpenArray::default() });
        array.depth += 1;
        array.lacks_memory |= !push_token(&mut self.tokens, ArrayToken::Open);
    }

    pub fn close_array(&mut self) -> Result<(), Error> {
        let Some(array) = &mut self.array else {
            return Err(Error::internal("no array is open"));
        };
        if !push_token(&mut self.tokens, ArrayToken::Close) || array.lacks_memory {
            return Err(self.over_limit(NO_MEMORY));
        }
        array.depth -= 1;
        if array.depth > 0 {
            return Ok(());
        }
        let OpenArray { start, kinds, .. } = *array;
        self.array = None;
        if self.tokens.len() > MAX_BYTES {
            return Err(self.over_limit("an array is longer than a message can be"));
        }
        self.push(StoredValue::Array(span(start, self.tokens.len()), kinds))
    }

    pub const fn has_open_array(&self) -> bool {
        self.array.is_some()
    }

    pub fn push_bytes(&mut self, value: &[u8]) -> Result<(), Error> {
        self.make_room(value.len())?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let span = self.span_from(start)?;
        self.push(StoredValue::Bytes(span))
    }

    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// About how many bytes the values take in a message. The result is never too small for plain
    /// values. In arrays of JSON, the server's escapes may take more.
    pub fn size(&self) -> usize {
        const EACH: usize = 64;
        let bytes = if self.tokens.is_empty() { 1 } else { 2 } * self.bytes.len();
        bytes.saturating_add(EACH.saturating_mul(self.params.len() + self.tokens.len()))
    }

    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Whether the server must describe the parameters' types before the values can be sent,
    /// because the form of a value depends on its type.
    pub fn needs_type(&self) -> bool {
        self.params.iter().any(|param| self.value(*param).needs_type())
    }

    /// Whether a user's type must also be resolved before the values can be sent.
    pub fn needs_resolution(&self, types: &[ParameterType]) -> bool {
        let mut pairs = self.params.iter().zip(types);
        pairs.any(|(param, of)| of.is_unresolved() && self.value(*param).needs_type())
    }

    /// The format in which [`Params::encode`] writes the parameter. If the type is not known, it is
    /// text, so that the server decides.
    pub fn format(&self, index: usize, of: &ParameterType) -> Format {
        match self.params.get(index) {
            Some(param) => self.value(*param).format_for(of),
            None => Format::Text,
        }
    }

    /// Appends the value, without its length. On an error `out` stays as it was.
    pub fn encode(
        &self,
        index: usize,
        of: &ParameterType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Error> {
        let Some(param) = self.params.get(index) else {
            return Err(Error::internal(format!("there is no parameter ${}", index + 1)));
        };
        self.value(*param).encode_for(of, out).map_err(|misfit| {
            let of_type = match of.name() {
                name if name.is_empty() => name,
                name => format!(" of type {name}"),
            };
            let message = format!("parameter ${}{of_type}: {misfit}", index + 1);
            Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", message)
        })
    }

    pub(super) fn value(&self, stored: StoredValue) -> Value<'_> {
        stored.value(&self.bytes, &self.tokens)
    }

    fn push(&mut self, stored: StoredValue) -> Result<(), Error> {
        if let Some(array) = &mut self.array {
            array.kinds.add(stored);
            let is_pushed = push_token(&mut self.tokens, ArrayToken::Element(stored));
            return if is_pushed { Ok(()) } else { Err(self.over_limit(NO_MEMORY)) };
        }
        if self.params.len() >= MAX_COUNT {
            return Err(self.over_limit("a query takes at most 65535 parameters"));
        }
        self.params.push(stored);
        Ok(())
    }

    /// Appends a text as a whole, or not at all.
    fn append(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Span, Error> {
        self.make_room(length)?;
        let start = self.bytes.len();
        let span = write(&mut self.bytes).and_then(|()| self.span_from(start)).and_then(|span| {
            match std::str::from_utf8(span.of(&self.bytes)) {
                Ok(_) => Ok(span),
                Err(_) => Err(self.wrong("the text is not valid Unicode")),
            }
        });
        if span.is_err() {
            self.bytes.truncate(start);
        }
        span
    }

    /// Returns an error if there is not enough memory. A failed allocation would abort the process.
    fn make_room(&mut self, length: usize) -> Result<(), Error> {
        if length > MAX_BYTES.saturating_sub(self.bytes.len()) {
            return Err(self.over_limit("the parameters of a query take at most 1 GiB together"));
        }
        if self.bytes.try_reserve(length).is_err() {
            return Err(self.over_limit(NO_MEMORY));
        }
        Ok(())
    }

    fn span_from(&self, start: usize) -> Result<Span, Error> {
        let end = self.bytes.len();
        if end < start {
            return Err(Error::internal("the text of an earlier parameter was taken away"));
        }
        if end > MAX_BYTES {
            return Err(self.over_limit("the parameters of a query take at most 1 GiB together"));
        }
        Ok(span(start, end))
    }

    #[cold]
    fn wrong(&self, why: &str) -> Error {
        let message = format!("parameter ${}: {why}", self.params.len() + 1);
        Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", message)
            .with_outcome(Outcome::NotSent)
    }

    #[cold]
    fn over_limit(&self, limit: &str) -> Error {
        let message = format!("parameter ${}: {limit}", self.params.len() + 1);
        Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER_LIMIT", message)
            .with_outcome(Outcome::NotSent)
    }
}

/// Both numbers are below [`MAX_BYTES`], against which every length is checked first.
const fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

/// How many bytes the next `units` UTF-16 units take. `None` if they end inside a character.
fn utf8_length(text: &[u8], units: usize) -> Option<usize> {
    let mut left = units;
    let mut length = 0;
    while left > 0 {
        let (bytes, units) = match text.get(length)? {
            0..=0x7f => (1, 1),
            0x80..=0xdf => (2, 1),
            0xe0..=0xef => (3, 1),
            _ => (4, 2),
        };
        left = usize::checked_sub(left, units)?;
        length += bytes;
    }
    Some(length)
}

/// Appends an unsigned integer in decimal digits.
fn write_decimal(words: &[u64], out: &mut Vec<u8>) {
    let mut rest = words.to_vec();
    let mut chunks = Vec::new();
    while rest.len() > 2 {
        chunks.push(divide(&mut rest));
        while rest.last() == Some(&0) {
            rest.pop();
        }
    }
    let head = rest.iter().rev().fold(0_u128, |sum, &word| (sum << 64) | u128::from(word));
    // Writing into a Vec can't fail.
    let _ = write!(out, "{head}");
    for chunk in chunks.iter().rev() {
        let _ = write!(out, "{chunk:0width$}", width = DIGITS_PER_CHUNK);
    }
}

/// Divides the number by [`CHUNK`] in place, and returns the remainder.
fn divide(words: &mut [u64]) -> u64 {
    let mut remainder = 0_u128;
    for word in words.iter_mut().rev() {
        let dividend = (remainder << 64) | u128::from(*word);
        // The remainder is below CHUNK, so the quotient fits in a word.
        *word = (dividend / CHUNK) as u64;
        remainder = dividend % CHUNK;
    }
    remainder as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oid;

    fn text_of(params: &Params, index: usize) -> String {
        let mut out = BytesMut::new();
        assert!(matches!(
            params.encode(index, &ParameterType::NOT_KNOWN, &mut out),
            Ok(IsNull::No)
        ));
        assert_eq!(params.format(index, &ParameterType::NOT_KNOWN), Format::Text);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn values_are_kept_in_their_order() {
        let mut params = Params::with_capacity(usize::MAX);
        params.push_text("é😀").unwrap();
        params.push_null().unwrap();
        params.push_bool(true).unwrap();
        params.push_bytes(&[0, 255]).unwrap();
        params.push_number(0.5).unwrap();
        params.push_text("").unwrap();
        assert_eq!(params.len(), 6);
        assert_eq!(text_of(&params, 0), "é😀");
        assert!(matches!(
            params.encode(1, &ParameterType::plain(oid::INT4), &mut BytesMut::new()),
            Ok(IsNull::Yes)
        ));
        assert_eq!(text_of(&params, 2), "true");
        let mut out = BytesMut::new();
        assert!(params.encode(3, &ParameterType::plain(oid::BYTEA), &mut out).is_ok());
        assert_eq!(&out[..], [0, 255]);
        assert_eq!(text_of(&params, 4), "0.5");
        assert_eq!(text_of(&params, 5), "");
        assert!(params.needs_type());
        assert_eq!(format!("{params:?}"), "Params { count: 6, .. }");
    }

    #[test]
    fn bigints_become_digits() {
        let check = |negative: bool, words: &[u64], expect: &str| {
            let mut params = Params::new();
            params.push_bigint(negative, words).unwrap();
            assert_eq!(text_of(&params, 0), expect);
        };
        check(false, &[], "0");
        check(true, &[0], "0");
        check(true, &[1], "-1");
        check(false, &[u64::MAX], "18446744073709551615");
        check(false, &[0, 1], "18446744073709551616");
        check(true, &[u64::MAX, u64::MAX], "-340282366920938463463374607431768211455");
        check(false, &[0, 0, 1], "340282366920938463463374607431768211456");
        check(false, &[7, 0, 0, 0], "7");
        // 2^256 has chunks in its middle that begin with zeros.
        let expect =
            "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        check(false, &[0, 0, 0, 0, 1], expect);
    }

    #[test]
    fn a_bigint_may_be_as_long_as_a_numeric() {
        let mut params = Params::new();
        params.push_bigint(false, &[u64::MAX; MAX_BIGINT_WORDS]).unwrap();
        assert_eq!(text_of(&params, 0).len(), 131_086);
        let error = params.push_bigint(false, &[1; MAX_BIGINT_WORDS + 1]).unwrap_err();
        assert_eq!(error.code(), "HYPERION_PARAMETER_LIMIT");
        assert!(error.message().starts_with("parameter $2: "), "{error}");
    }

    #[test]
    fn text_that_no_server_takes_is_refused_and_leaves_nothing() {
        let mut params = Params::new();
        params.push_text("kept").unwrap();
        let error = params.push_text("a\0b").unwrap_err();
        assert_eq!(error.code(), "HYPERION_PARAMETER");
        assert_eq!(error.message(), "parameter $2: PostgreSQL stores no NUL character in text");
        let lone_surrogate = params.push_text_with(3, |bytes| {
            bytes.extend([0xed, 0xa0, 0x80]);
            Ok(())
        });
        assert!(lone_surrogate.is_err());
        let failing = params.push_text_with(3, |bytes| {
            bytes.push(b'x');
            Err(Error::internal("no"))
        });
        assert!(failing.is_err());
        assert!(
            params
                .push_text_with(0, |bytes| {
                    bytes.clear();
                    Ok(())
                })
                .is_err()
        );
        assert_eq!((params.len(), params.bytes.len()), (1, 0));
    }

    #[test]
    fn pieces_are_cut_by_the_units_of_utf16() {
        let mut params = Params::new();
        let text = "aé€😀b";
        let mut pieces = params
            .append_pieces_with(text.len(), |bytes| {
                bytes.extend_from_slice(text.as_bytes());
                Ok(())
            })
            .unwrap();
        for units in [2, 0, 3, 1] {
            params.push_piece(Piece::Text, &mut pieces, units).unwrap();
        }
        let cut: Vec<_> = (0..4).map(|index| text_of(&params, index)).collect();
        assert_eq!(cut, ["aé", "", "€😀", "b"]);
        assert!(params.push_piece(Piece::Text, &mut pieces, 1).is_err());

        let mut halves = params
            .append_pieces_with(4, |bytes| {
                bytes.extend_from_slice("😀".as_bytes());
                Ok(())
            })
            .unwrap();
        let error = params.push_piece(Piece::Text, &mut halves, 1).unwrap_err();
        assert_eq!(error.message(), format!("parameter $5: {BROKEN_PAIR}"));
    }

    #[test]
    fn one_parameter_more_than_the_protocol_counts_is_refused() {
        let mut params = Params::new();
        for _ in 0..MAX_COUNT {
            params.push_null().unwrap();
        }
        let error = params.push_bool(true).unwrap_err();
        assert_eq!(error.code(), "HYPERION_PARAMETER_LIMIT");
        assert_eq!(params.len(), MAX_COUNT);
    }

    #[test]
    fn a_gibibyte_is_refused_before_it_is_copied() {
        let mut params = Params::new();
        params.push_text("x").unwrap();
        for length in [MAX_BYTES, MAX_BYTES + 1, usize::MAX] {
            let mut copied = false;
            let refused = params.push_text_with(length, |_| {
                copied = true;
                Ok(())
            });
            assert_eq!(refused.unwrap_err().code(), "HYPERION_PARAMETER_LIMIT");
            assert!(!copied);
        }
    }

    #[test]
    fn a_misfit_names_the_parameter_and_its_type_and_not_its_value() {
        let mut params = Params::new();
        params.push_null().unwrap();
        params.push_number(70_000.5).unwrap();
        params.push_bytes(b"secret").unwrap();
        let message = |index, type_oid| {
            let of = ParameterType::plain(type_oid);
            let refused = params.encode(index, &of, &mut BytesMut::new()).err();
            refused.unwrap().message().to_owned()
        };
        assert_eq!(
            message(1, oid::INT2),
            "parameter $2 of type int2: a number with a fraction does not fit an integer type"
        );
        assert!(message(2, oid::TEXT).starts_with("parameter $3 of type text: a Buffer"));
        assert!(message(2, 0).starts_with("parameter $3: the type must be known"));
        assert!(message(3, 0).starts_with("there is no parameter $4"));
    }
}
