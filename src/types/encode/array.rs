//! JavaScript's arrays as the server reads them: as a PostgreSQL array if the parameter is one, and
//! as JSON if it is json or jsonb.
//!
//! If every element has a binary form, the array has one too. It needs no quotes here and no parser
//! in the server.

use bytes::{BufMut, BytesMut};

use crate::protocol::backend::Format;

use super::value::{ArrayParameter, ArrayToken, EncodeError, MAX_BYTES, Value};
use super::{scalar, text_to_binary};
use crate::types::user_type::ArrayOf;
use crate::types::{float, oid};

/// The server's `MAXDIM`.
const MOST_DIMENSIONS: usize = 6;
const VERTICAL_TAB: u8 = 0x0b;
/// The length that marks a NULL in an array's binary form.
const NULL: i32 = -1;

const RAGGED: EncodeError =
    "an array of several dimensions needs arrays of one length and depth, all the way down";
const TOO_DEEP: EncodeError = "an array has at most 6 dimensions";
const TOO_LONG: EncodeError = "the array is longer than a message can be";
/// Users never see this message: such an array is sent as text.
const NO_BINARY: EncodeError = "the element has no binary form here";
const NUL: EncodeError = "PostgreSQL stores no NUL character in text";
const NO_JSON_BYTES: EncodeError = "bytes have no form in JSON: encode them, for example as base64";

enum Step<'a> {
    Open,
    Close,
    Element(Value<'a>),
}

/// The lengths of the dimensions, outermost first. Empty for an array without elements.
struct Dimensions {
    lengths: [usize; MOST_DIMENSIONS],
    count: usize,
}

impl Dimensions {
    fn lengths(&self) -> &[usize] {
        self.lengths.get(..self.count).unwrap_or_default()
    }
}

impl<'a> ArrayParameter<'a> {
    fn steps(self) -> impl Iterator<Item = Step<'a>> {
        self.tokens.iter().map(move |token| match token {
            ArrayToken::Open => Step::Open,
            ArrayToken::Close => Step::Close,
            ArrayToken::Element(kept) => Step::Element(kept.value(self.bytes, &[])),
        })
    }

    fn elements(self) -> impl Iterator<Item = Value<'a>> {
        self.steps().filter_map(|step| match step {
            Step::Element(value) => Some(value),
            Step::Open | Step::Close => None,
        })
    }

    /// The format of a whole array. All its elements have the same format.
    pub(super) fn format(self, type_oid: u32) -> Format {
        let Some(element) = oid::element(type_oid) else { return Format::Text };
        let of = ArrayOf::plain(element);
        if (of.has_binary && self.has_binary_forms(element)) || self.has_sure_forms(of) {
            Format::Binary
        } else {
            Format::Text
        }
    }

    /// The format of an array of a user's type.
    pub(super) fn format_of(self, of: ArrayOf) -> Format {
        if self.has_sure_forms(of) { Format::Binary } else { Format::Text }
    }

    /// Whether the array has a NULL, and every element has a binary form. As text, such an array
    /// would not be safe: with `array_nulls = off`, which no server reports, NULL is a word like
    /// any other.
    fn has_sure_forms(self, of: ArrayOf) -> bool {
        let mut scratch = BytesMut::new();
        of.has_binary
            && self.kinds.has_nulls()
            && self.elements().all(|value| {
                scratch.clear();
                matches!(value, Value::Null) || put_binary(value, of, &mut scratch).is_ok()
            })
    }

    fn has_binary_forms(self, element: u32) -> bool {
        let has_binary_form = |value: Value<'_>| {
            matches!(value, Value::Null)
                || is_text_in_binary(element)
                || scalar::format(value, element) == Format::Binary
        };
        self.kinds.all(has_binary_form)
    }

    /// Writes what the server's `array_recv` reads: the number of dimensions, whether there are
    /// NULLs, the element type, the length and lower bound of each dimension, and the elements,
    /// each after its length.
    pub(super) fn encode_binary(self, of: ArrayOf, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mark = out.len();
        let dimensions = self.dimensions()?;
        // Enough for the usual elements.
        out.reserve(self.tokens.len().saturating_mul(2 * size_of::<i32>()));
        put_length(dimensions.count, out)?;
        out.put_i32(i32::from(self.kinds.has_nulls()));
        out.put_u32(of.member);
        for &length in dimensions.lengths() {
            put_length(length, out)?;
            out.put_i32(1);
        }
        for value in self.elements() {
            if matches!(value, Value::Null) {
                out.put_i32(NULL);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            put_binary(value, of, out)?;
            let length = out.len() - start - size_of::<i32>();
            let length = i32::try_from(length).map_err(|_| TOO_LONG)?;
            if let Some(place) = out.get_mut(start..start + size_of::<i32>()) {
                place.copy_from_slice(&length.to_be_bytes());
            }
            check_length(out, mark)?;
        }
        Ok(())
    }

    /// The text form of an array whose element type is built in or not known.
    pub(super) fn encode_text(self, element: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        if element >= oid::FIRST_OF_USERS && self.dimensions()?.count == 0 {
            // The parameter may be a domain over json, which would take `{}` for an empty object.
            // JSON does not allow a vertical tab, but `array_in` skips it as white space.
            out.put_u8(VERTICAL_TAB);
        }
        self.encode_text_of(ArrayOf::plain(element), out)
    }

    /// Writes what the server's `array_in` reads (PostgreSQL manual, 8.15.6):
    /// `{{1,NULL},{"a,b","c\"d"}}`.
    pub(super) fn encode_text_of(self, of: ArrayOf, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.dimensions()?.count == 0 {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.write(of.delimiter, out, |value, out| put_element(value, of.element, out), *b"{}")
    }

    pub(super) fn encode_json(self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.write(b',', out, put_json, *b"[]")
    }

    fn write(
        self,
        delimiter: u8,
        out: &mut BytesMut,
        mut put: impl FnMut(Value<'a>, &mut BytesMut) -> Result<(), EncodeError>,
        [open, close]: [u8; 2],
    ) -> Result<(), EncodeError> {
        let mark = out.len();
        let mut is_first = true;
        for step in self.steps() {
            if !is_first && !matches!(step, Step::Close) {
                out.put_u8(delimiter);
            }
            is_first = matches!(step, Step::Open);
            match step {
                Step::Open => out.put_u8(open),
                Step::Close => out.put_u8(close),
                Step::Element(value) => put(value, out)?,
            }
            check_length(out, mark)?;
        }
        Ok(())
    }

    /// The server wants a rectangular array: all arrays at the same depth have the same length.
    fn dimensions(self) -> Result<Dimensions, EncodeError> {
        let mut lengths: [Option<usize>; MOST_DIMENSIONS] = [None; MOST_DIMENSIONS];
        // How many elements the open array at each depth has so far.
        let mut come = [0_usize; MOST_DIMENSIONS];
        let mut depth = 0_usize;
        let mut bottom = None;
        let mut count = 0;
        for token in self.tokens {
            let inside = depth.checked_sub(1).and_then(|inside| come.get_mut(inside));
            match token {
                ArrayToken::Open => {
                    if let Some(inside) = inside {
                        *inside += 1;
                    }
                    if bottom.is_some_and(|bottom| depth >= bottom) {
                        return Err(RAGGED);
                    }
                    *come.get_mut(depth).ok_or(TOO_DEEP)? = 0;
                    depth += 1;
                }
                ArrayToken::Element(_) => {
                    if let Some(inside) = inside {
                        *inside += 1;
                    }
                    if *bottom.get_or_insert(depth) != depth {
                        return Err(RAGGED);
                    }
                    count += 1;
                }
                ArrayToken::Close => {
                    let came = inside.map_or(0, |inside| *inside);
                    depth = depth.saturating_sub(1);
                    let length = lengths.get_mut(depth).ok_or(TOO_DEEP)?;
                    if *length.get_or_insert(came) != came {
                        return Err(RAGGED);
                    }
                }
            }
        }
        let count = if count == 0 { 0 } else { bottom.unwrap_or_default() };
        Ok(Dimensions { lengths: lengths.map(Option::unwrap_or_default), count })
    }
}

fn put_length(length: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    out.put_i32(i32::try_from(length).map_err(|_| TOO_LONG)?);
    Ok(())
}

/// Escapes can make a text six times as long.
fn check_length(out: &BytesMut, mark: usize) -> Result<(), EncodeError> {
    if out.len() - mark > MAX_BYTES { Err(TOO_LONG) } else { Ok(()) }
}

/// Types whose binary form is their text.
const fn is_text_in_binary(element: u32) -> bool {
    matches!(element, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::JSON)
}

fn put_binary(value: Value<'_>, of: ArrayOf, out: &mut BytesMut) -> Result<(), EncodeError> {
    let element = of.element;
    check_nul(value)?;
    if of.is_textual || is_text_in_binary(element) {
        return scalar::encode_text(value, element, out);
    }
    if scalar::format(value, element) == Format::Binary {
        return scalar::encode_binary(value, element, out);
    }
    let mut text = BytesMut::new();
    scalar::encode_text(value, element, &mut text)?;
    text_to_binary::put(&text, element, out).ok_or(NO_BINARY)
}

fn check_nul(value: Value<'_>) -> Result<(), EncodeError> {
    match value {
        Value::Text(text) if text.contains(&0) => Err(NUL),
        _ => Ok(()),
    }
}

/// Writes an element of the text form. It is quoted if the server could take its text for something
/// else.
fn put_element(value: Value<'_>, element: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    check_nul(value)?;
    match value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Bool(_) | Value::Number(_) | Value::BigInt(_) => {
            scalar::encode_text(value, element, out)?;
        }
        Value::Text(text) => put_quoted(&scalar::server_text(text, element), out),
        Value::Json(_) | Value::Date(_) | Value::Bytes(_) | Value::Array(_) => {
            let mut text = BytesMut::new();
            scalar::encode_text(value, element, &mut text)?;
            put_quoted(&text, out);
        }
    }
    Ok(())
}

fn put_quoted(text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.put_u8(b'\\');
        let (byte, behind) = special.split_at(1);
        out.extend_from_slice(byte);
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.put_u8(b'"');
}

/// Writes JSON as JSON.stringify does, but a BigInt with all its digits. JSON.stringify throws for
/// a BigInt.
fn put_json(value: Value<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Number(value) if value.is_finite() => {
            let mut text = Vec::new();
            float::write_js(value + 0.0, &mut text);
            out.extend_from_slice(&text);
        }
        Value::Number(_) => out.extend_from_slice(b"null"),
        Value::BigInt(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).unwrap_or_default();
            // Writing a text into memory can't fail.
            let _ = serde_json::to_writer(out.writer(), text);
        }
        Value::Date(millis) => scalar::put_json_date(millis, out)?,
        Value::Json(json) => out.extend_from_slice(json),
        Value::Bytes(_) => return Err(NO_JSON_BYTES),
        // Arrays are flat lists of tokens, so an element is never an array.
        Value::Array(_) => return Err(RAGGED),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use postgres_protocol::types as wire;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::super::params::{Params, Piece};
    use super::*;
    use crate::types::ParameterType;
    use crate::types::decode::json_of_texts;

    const INTS: u32 = 1007;
    const TEXTS: u32 = 1009;
    const BYTEAS: u32 = 1001;
    const BOXES: u32 = 1020;
    const NUMERICS: u32 = 1231;
    const JSONBS: u32 = 3807;
    const MOODS: u32 = 16_400;

    /// Params from a text, in which `[` and `]` open and close an array. `push` pushes all other
    /// characters.
    fn params(shape: &str, mut push: impl FnMut(&mut Params, char)) -> Params {
        let mut params = Params::new();
        for character in shape.chars() {
            match character {
                '[' => params.open_array(),
                ']' => params.close_array().unwrap(),
                _ => push(&mut params, character),
            }
        }
        params
    }

    fn digits(shape: &str) -> Params {
        params(shape, |params, digit| match digit.to_digit(10) {
            Some(digit) => params.push_number(digit.into()).unwrap(),
            None => params.push_null().unwrap(),
        })
    }

    fn texts(elements: &[&str]) -> Params {
        let mut params = Params::new();
        params.open_array();
        elements.iter().for_each(|element| push_text(&mut params, element));
        params.close_array().unwrap();
        params
    }

    fn push_text(params: &mut Params, text: &str) {
        let mut pieces = params
            .append_pieces_with(text.len(), |out| {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            })
            .unwrap();
        params.push_piece(Piece::Text, &mut pieces, text.encode_utf16().count()).unwrap();
    }

    fn encoded(params: &Params, type_oid: u32) -> Result<Vec<u8>, String> {
        let mut out = BytesMut::from(&b"before"[..]);
        match params.encode(0, &ParameterType::plain(type_oid), &mut out) {
            Ok(_) => Ok(out.split_off(6).to_vec()),
            Err(error) => {
                assert_eq!(&out[..], b"before", "an error left bytes behind");
                Err(error.message().to_owned())
            }
        }
    }

    fn text(params: &Params, type_oid: u32) -> String {
        assert_eq!(params.format(0, &ParameterType::plain(type_oid)), Format::Text);
        String::from_utf8(encoded(params, type_oid).unwrap()).unwrap()
    }

    /// The dimensions and elements, as `postgres-protocol` reads them from the binary form.
    fn binary(params: &Params, type_oid: u32) -> (Vec<i32>, Vec<Option<Vec<u8>>>) {
        use fallible_iterator::FallibleIterator as _;
        assert_eq!(params.format(0, &ParameterType::plain(type_oid)), Format::Binary);
        let bytes = encoded(params, type_oid).unwrap();
        let array = wire::array_from_sql(&bytes).unwrap();
        assert_eq!(Some(array.element_type()), oid::element(type_oid));
        let dimensions = array.dimensions().map(|dimension| Ok(dimension.len)).collect().unwrap();
        let elements: Vec<_> =
            array.values().map(|value| Ok(value.map(<[u8]>::to_vec))).collect().unwrap();
        assert_eq!(array.has_nulls(), elements.contains(&None));
        (dimensions, elements)
    }

    #[test]
    fn numbers_and_nulls_of_any_dimension() {
        let one = |value: i32| Some(value.to_be_bytes().to_vec());
        let check = |shape: &str, dimensions: &[i32], elements: &[Option<Vec<u8>>]| {
            let expect = (dimensions.to_vec(), elements.to_vec());
            assert_eq!(binary(&digits(shape), INTS), expect, "{shape}");
        };
        check("[]", &[], &[]);
        check("[[][]]", &[], &[]);
        check("[1n3]", &[3], &[one(1), None, one(3)]);
        check("[[12][n4]]", &[2, 2], &[one(1), one(2), None, one(4)]);
        check("[[[[[[7]]]]]]", &[1; 6], &[one(7)]);
        // As text, NULL would depend on the session.
        let numeric = |digit: u8| Some(vec![0, 1, 0, 0, 0, 0, 0, 0, 0, digit]);
        let elements = vec![numeric(1), numeric(2), None, numeric(4)];
        assert_eq!(binary(&digits("[[12][n4]]"), NUMERICS), (vec![2, 2], elements));
        assert_eq!(text(&digits("[[12][34]]"), NUMERICS), "{{1,2},{3,4}}");
        assert_eq!(text(&digits("[[12][n4]]"), MOODS), "{{1,2},{NULL,4}}");
        assert_eq!(text(&digits("[[12]n[[3]][]]"), oid::JSONB), "[[1,2],null,[[3]],[]]");
    }

    #[test]
    fn what_is_no_box_is_refused() {
        for ragged in [
            "[1[2]]",
            "[[1]2]",
            "[n[1]]",
            "[[1][23]]",
            "[[][1]]",
            "[[1][]]",
            "[[[]][]]",
            "[[[1]][2]]",
        ] {
            for type_oid in [INTS, NUMERICS, MOODS] {
                let refused = encoded(&digits(ragged), type_oid).unwrap_err();
                assert!(refused.ends_with(RAGGED), "{ragged}: {refused}");
            }
        }
        let deep = digits("[[[[[[[1]]]]]]]");
        let refused = "parameter $1 of type int4[]: an array has at most 6 dimensions";
        assert_eq!(encoded(&deep, INTS).unwrap_err(), refused);
        assert_eq!(text(&deep, oid::JSON), "[[[[[[[1]]]]]]]");
    }

    #[test]
    fn depth_is_bounded_by_memory_alone() {
        let depth = 200_000;
        let deep = digits(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(encoded(&deep, INTS).unwrap_err().ends_with(TOO_DEEP));
        assert_eq!(text(&deep, oid::JSON).len(), 2 * depth);
    }

    #[test]
    fn only_json_and_arrays_take_an_array() {
        for type_oid in [oid::TEXT, oid::INT4, oid::BYTEA, oid::UNKNOWN] {
            assert!(
                encoded(&digits("[1]"), type_oid).unwrap_err().ends_with("json and jsonb alone")
            );
        }
        assert!(digits("[1]").needs_type());
        assert!(encoded(&digits("[1]"), 0).unwrap_err().contains("must be known"));
        let refused =
            "parameter $1 of type int4[]: a number with a fraction does not fit an integer type";
        let fraction = params("[x]", |params, _| params.push_number(0.5).unwrap());
        assert_eq!(encoded(&fraction, INTS).unwrap_err(), refused);
    }

    #[test]
    fn an_empty_array_of_users_is_no_json() {
        for shape in ["[]", "[[][]]"] {
            assert_eq!(text(&digits(shape), MOODS), "\u{b}{}");
        }
    }

    #[test]
    fn text_is_quoted_where_it_could_be_taken_for_something_else() {
        let special = ["a,b", r#"c"d\e"#, "{}", "", "NULL", " x ", "é😀"];
        let bare = r#"{"a,b","c\"d\\e","{}",""," x "}"#;
        assert_eq!(text(&texts(&["a,b", r#"c"d\e"#, "{}", "", " x "]), MOODS), bare);
        let expect: Vec<_> = special.iter().map(|text| Some(text.as_bytes().to_vec())).collect();
        assert_eq!(binary(&texts(&special), TEXTS), (vec![7], expect));
        assert_eq!(text(&texts(&["(1,1),(0,0)", "x"]), BOXES), r#"{"(1,1),(0,0)";"x"}"#);
        let nul = texts(&["a\0b"]);
        for type_oid in [TEXTS, MOODS] {
            assert!(encoded(&nul, type_oid).unwrap_err().ends_with(NUL));
        }
        assert_eq!(text(&nul, oid::JSON), r#"["a\u0000b"]"#);
    }

    #[test]
    fn elements_of_several_kinds_travel_as_text() {
        let mut params = Params::new();
        params.open_array();
        params.push_bytes(&[0, 255]).unwrap();
        push_text(&mut params, "x");
        params.close_array().unwrap();
        assert_eq!(text(&params, BYTEAS), r#"{"\\x00ff","x"}"#);
        assert!(encoded(&params, oid::JSONB).unwrap_err().ends_with(NO_JSON_BYTES));

        let several = |number: f64| {
            let mut params = Params::new();
            params.open_array();
            let mut pieces = params
                .append_pieces_with(9, |out| {
                    out.extend_from_slice(br#"{"a":"b"}"#);
                    Ok(())
                })
                .unwrap();
            params.push_piece(Piece::Json, &mut pieces, 9).unwrap();
            params.push_bool(true).unwrap();
            params.push_bigint(true, &[7]).unwrap();
            params.push_number(number).unwrap();
            params.push_number(-0.0).unwrap();
            params.push_date(0.0).unwrap();
            params.close_array().unwrap();
            params
        };
        let json = r#"[{"a":"b"},true,-7,null,0,"1970-01-01T00:00:00.000Z"]"#;
        assert_eq!(text(&several(f64::NAN), oid::JSON), json);
        let jsons = r#"{"{\"a\":\"b\"}",true,-7,0.5,0,"\"1970-01-01T00:00:00.000Z\""}"#;
        assert_eq!(text(&several(0.5), JSONBS), jsons);
        let refused = encoded(&several(f64::NAN), JSONBS).unwrap_err();
        assert!(refused.ends_with("NaN and Infinity have no form in JSON"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(elements in prop::collection::vec("[^\0]{0,8}", 0..6)) {
            let elements: Vec<_> = elements.iter().map(String::as_str).collect();
            let params = texts(&elements);
            let came = serde_json::from_str::<Vec<String>>(&text(&params, oid::JSON)).unwrap();
            prop_assert_eq!(&came, &elements);
            let (_, came) = binary(&params, TEXTS);
            let expect: Vec<_> = elements.iter().map(|text| Some(text.as_bytes().to_vec())).collect();
            prop_assert_eq!(came, expect);
            // The decoder of results reads the text form too, but without the white space in front,
            // which no server writes.
            let form = text(&params, MOODS);
            let form = form.strip_prefix('\u{b}').unwrap_or(&form);
            let json = json_of_texts(form.as_bytes()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), elements);
        }

        #[test]
        fn any_shape_is_written_or_refused(shape in "[\\[0-9]{0,12}") {
            let open = shape.matches('[').count();
            let shape = format!("[{shape}{}]", "]".repeat(open));
            let params = digits(&shape);
            let json: Json = serde_json::from_str(&text(&params, oid::JSON)).unwrap();
            prop_assert!(json.is_array());
            if let Ok(bytes) = encoded(&params, INTS) {
                prop_assert!(wire::array_from_sql(&bytes).is_ok());
            }
        }
    }
}
