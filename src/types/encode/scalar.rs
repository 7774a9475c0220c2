//! How a JavaScript value that is not an array is encoded for the type that the server inferred for
//! its parameter.
//!
//! If the type's binary form can express the value exactly, the value is sent in binary, otherwise
//! as text. Each type of PostgreSQL reads text, or refuses it with a message of its own. A
//! conversion that would change the value (a lost fraction, a number out of range) is refused here,
//! before anything is sent.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::protocol::backend::Format;

use super::value::{EncodeError, Value};
use crate::types::{datetime, float, oid};

const FRACTION: EncodeError = "a number with a fraction does not fit an integer type";
const NO_INTEGER: EncodeError = "NaN and Infinity do not fit an integer type";
const NO_JSON_NUMBER: EncodeError = "NaN and Infinity have no form in JSON";
const RANGE: EncodeError = "the value is out of the type's range";
const NOT_A_NUMBER: EncodeError = "a boolean is not a number";
const NO_NUMBER_TYPE: EncodeError = "a number fits number and text types: pass a string";
const ROUNDED: EncodeError = "the BigInt is no exact number: pass Number(value) to have it rounded";
const NOT_BYTES: EncodeError =
    "a Buffer or typed array fits bytea alone: pass a string, or cast the parameter to bytea";
pub(super) const NOT_ELEMENTS: EncodeError =
    "a Buffer or typed array is bytes, and no array of PostgreSQL: pass Array.from(value)";
pub(super) const NOT_JSON: EncodeError =
    "an object fits json and jsonb alone: pass a string, or cast the parameter to jsonb";
pub(super) const NOT_AN_ARRAY: EncodeError = "an array fits array types, json and jsonb alone";
const NOT_A_DATE: EncodeError =
    "a Date fits date, time, timestamp and text types, json and jsonb alone";
const INVALID_DATE: EncodeError = "the Date is invalid";
pub(super) const NOT_KNOWN: EncodeError = "the type must be known before this value can be sent";

impl Value<'_> {
    /// Whether the text form would be a guess as long as the type is unknown. A text column would
    /// store the `\x...` of bytes as it is, an array is either `{1}` or `[1]`, and only a float
    /// keeps the sign of a negative zero. For whole numbers of 32 bits the text is safe, since the
    /// server reads them exactly or refuses them. Other numbers can be silently changed: an xid of
    /// 1.5 becomes 1, an oid of 2^64 - 1 is cut, and a float8 of 2^53 + 1 is rounded. An oid of -1
    /// becomes 4294967295.
    pub(super) fn needs_type(self) -> bool {
        match self {
            Self::Bytes(_) | Self::Json(_) | Self::Date(_) | Self::Array(_) => true,
            Self::Number(value) => f64::from(value as u32).to_bits() != value.to_bits(),
            Self::BigInt(digits) => digits.parse::<u32>().is_err(),
            // Servers before 16 read an xid of `true` as 0.
            Self::Bool(_) => true,
            Self::Text(text) => datetime::has_expanded_year(text),
            Self::Null => false,
        }
    }
}

/// The format of a value that is not an array, as a parameter of the type.
pub(super) fn format(value: Value<'_>, type_oid: u32) -> Format {
    match (value, type_oid) {
        (Value::Bool(_), oid::BOOL)
        | (Value::Number(_), oid::INT2 | oid::INT4 | oid::INT8 | oid::FLOAT4 | oid::FLOAT8)
        | (Value::BigInt(_), oid::INT2 | oid::INT4 | oid::INT8)
        | (Value::Date(_), oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ)
        | (Value::Bytes(_), _) => Format::Binary,
        _ => Format::Text,
    }
}

/// Writes the binary form. Only for values and types for which [`format()`] returns binary.
pub(super) fn encode_binary(
    value: Value<'_>,
    type_oid: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match (value, type_oid) {
        // Most numbers are of this kind. The way through i128 takes five times as long.
        (Value::Number(value), oid::INT4) if f64::from(value as i32) == value => {
            out.put_i32(value as i32);
        }
        (Value::Bool(value), _) => out.put_u8(u8::from(value)),
        (Value::Number(value), oid::FLOAT4) => out.put_f32(narrow(value)?),
        (Value::Number(value), oid::FLOAT8) => out.put_f64(value),
        (Value::Number(value), _) => put_integer(whole(value)?, type_oid, out)?,
        (Value::BigInt(digits), _) => {
            put_integer(digits.parse().map_err(|_| RANGE)?, type_oid, out)?;
        }
        (Value::Date(millis), oid::DATE) => {
            out.put_i32(datetime::days_of_js_date(valid(millis)?).ok_or(RANGE)?);
        }
        (Value::Date(millis), _) => {
            out.put_i64(datetime::micros_of_js_date(valid(millis)?).ok_or(RANGE)?);
        }
        (Value::Bytes(bytes), _) => {
            check_bytes(type_oid)?;
            out.extend_from_slice(bytes);
        }
        (Value::Null | Value::Text(_) | Value::Json(_) | Value::Array(_), _) => {
            return encode_text(value, type_oid, out);
        }
    }
    Ok(())
}

pub(super) fn encode_text(
    value: Value<'_>,
    type_oid: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match value {
        Value::Null => {}
        Value::Bool(value) => encode_bool(value, type_oid, out)?,
        Value::Number(value) => encode_number(value, type_oid, out)?,
        Value::BigInt(digits) => encode_bigint(digits, type_oid, out)?,
        Value::Text(text) => out.extend_from_slice(&server_text(text, type_oid)),
        Value::Json(json) => {
            match type_oid {
                // The parameter may be a domain over json. Or the value is an element whose type
                // users made, and that type's own code decides.
                oid::JSON | oid::JSONB | oid::FIRST_OF_USERS.. => {}
                oid::NOT_KNOWN => return Err(NOT_KNOWN),
                _ => return Err(NOT_JSON),
            }
            out.extend_from_slice(json);
        }
        Value::Date(millis) => encode_date(millis, type_oid, out)?,
        Value::Bytes(bytes) => {
            check_bytes(type_oid)?;
            put_hex(bytes, out);
        }
        // The elements of an array come here one by one. An element is never an array.
        Value::Array(_) if type_oid == oid::NOT_KNOWN => return Err(NOT_KNOWN),
        Value::Array(_) => return Err(NOT_AN_ARRAY),
    }
    Ok(())
}

/// A text as the server reads it.
pub(super) fn server_text(text: &[u8], type_oid: u32) -> Cow<'_, [u8]> {
    let written = match type_oid {
        oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ => datetime::with_server_year(text),
        _ => None,
    };
    written.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Whether the type reads digits as something other than a number. Whole numbers of 32 bits are
/// sent before the type is known, so the server judges these.
const fn is_no_number(type_oid: u32) -> bool {
    matches!(
        type_oid,
        oid::BYTEA
            | oid::DATE
            | oid::TIME
            | oid::TIMETZ
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::INTERVAL
    )
}

fn encode_bool(value: bool, type_oid: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    match type_oid {
        oid::INT2 | oid::INT4 | oid::INT8 | oid::FLOAT4 | oid::FLOAT8 | oid::NUMERIC => {
            return Err(NOT_A_NUMBER);
        }
        // The server would read 0 here.
        oid::OID | oid::XID | oid::CID | oid::XID8 => return Err(NOT_A_NUMBER),
        _ => out.extend_from_slice(if value { b"true" } else { b"false" }),
    }
    Ok(())
}

fn encode_number(value: f64, type_oid: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    match type_oid {
        oid::INT2 | oid::INT4 | oid::INT8 => {
            let value = whole(value)?;
            check_integer(value, type_oid)?;
            out.extend_from_slice(value.to_string().as_bytes());
        }
        oid::FLOAT4 => put_text(float::widen(narrow(value)?), out),
        oid::FLOAT8 => put_text(value, out),
        _ if is_no_number(type_oid) && Value::Number(value).needs_type() => {
            return Err(NO_NUMBER_TYPE);
        }
        oid::JSON | oid::JSONB if !value.is_finite() => return Err(NO_JSON_NUMBER),
        // The server would read -1 as 4294967295 here.
        oid::OID | oid::XID | oid::CID => {
            put_text(u32::try_from(whole(value)?).map_err(|_| RANGE)?.into(), out);
        }
        // Every number below 2^64 is exactly the float8 in which it came.
        oid::XID8 => {
            let id = u64::try_from(whole(value)?).map_err(|_| RANGE)?;
            out.extend_from_slice(id.to_string().as_bytes());
        }
        // Adding zero turns negative zero into zero, and changes no other number.
        _ => put_text(value + 0.0, out),
    }
    Ok(())
}

pub(super) fn put_text(value: f64, out: &mut BytesMut) {
    let mut text = Vec::new();
    float::write_js(value, &mut text);
    out.extend_from_slice(&text);
}

fn put_integer(value: i128, type_oid: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    match type_oid {
        oid::INT2 => out.put_i16(value.try_into().map_err(|_| RANGE)?),
        oid::INT4 => out.put_i32(value.try_into().map_err(|_| RANGE)?),
        _ => out.put_i64(value.try_into().map_err(|_| RANGE)?),
    }
    Ok(())
}

fn check_integer(value: i128, type_oid: u32) -> Result<(), EncodeError> {
    let fits = match type_oid {
        oid::INT2 => i16::try_from(value).is_ok(),
        oid::INT4 => i32::try_from(value).is_ok(),
        _ => i64::try_from(value).is_ok(),
    };
    if fits { Ok(()) } else { Err(RANGE) }
}

/// The number as an integer, if it is one exactly.
fn whole(value: f64) -> Result<i128, EncodeError> {
    if !value.is_finite() {
        return Err(NO_INTEGER);
    }
    if value.trunc() != value {
        return Err(FRACTION);
    }
    // Beyond i128 the cast saturates, and the result is out of range for every integer type too.
    Ok(value as i128)
}

/// Narrows as the server does for `'1e300'::float4`: overflow is an error, and so is underflow to
/// zero.
fn narrow(value: f64) -> Result<f32, EncodeError> {
    let narrowed = value as f32;
    let overran = narrowed.is_infinite() && value.is_finite();
    let vanished = narrowed == 0.0 && value != 0.0;
    if overran || vanished { Err(RANGE) } else { Ok(narrowed) }
}

fn encode_bigint(digits: &str, type_oid: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    let fits = match type_oid {
        oid::INT2 => digits.parse::<i16>().is_ok(),
        oid::INT4 => digits.parse::<i32>().is_ok(),
        oid::INT8 => digits.parse::<i64>().is_ok(),
        oid::OID | oid::XID | oid::CID => digits.parse::<u32>().is_ok(),
        oid::XID8 => digits.parse::<u64>().is_ok(),
        _ => true,
    };
    if !fits {
        return Err(RANGE);
    }
    if is_no_number(type_oid) && Value::BigInt(digits).needs_type() {
        return Err(NO_NUMBER_TYPE);
    }
    if matches!(type_oid, oid::FLOAT4 | oid::FLOAT8) {
        return encode_number(exact_number(digits)?, type_oid, out);
    }
    out.extend_from_slice(digits.as_bytes());
    Ok(())
}

/// The JavaScript number with exactly the value of a BigInt.
fn exact_number(digits: &str) -> Result<f64, EncodeError> {
    let number = digits.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(RANGE)?;
    if format!("{number:.0}") == digits { Ok(number) } else { Err(ROUNDED) }
}

/// The milliseconds of a valid Date.
pub(super) fn valid(millis: f64) -> Result<i64, EncodeError> {
    datetime::js_millis(millis).ok_or(INVALID_DATE)
}

/// Text and JSON get what Date's toJSON returns. Every other type gets a form that the server
/// reads.
fn encode_date(millis: f64, type_oid: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut text = Vec::new();
    match type_oid {
        oid::JSON | oid::JSONB => return put_json_date(millis, out),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR => {
            datetime::write_js_date(valid(millis)?, &mut text);
        }
        oid::DATE
        | oid::TIMESTAMP
        | oid::TIMESTAMPTZ
        | oid::TIME
        | oid::TIMETZ
        | oid::FIRST_OF_USERS.. => datetime::write_server_date(valid(millis)?, &mut text),
        oid::NOT_KNOWN => return Err(NOT_KNOWN),
        _ => return Err(NOT_A_DATE),
    }
    out.extend_from_slice(&text);
    Ok(())
}

/// Writes what Date's toJSON returns.
pub(super) fn put_json_date(millis: f64, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut text = vec![b'"'];
    datetime::write_js_date(valid(millis)?, &mut text);
    text.push(b'"');
    out.extend_from_slice(&text);
    Ok(())
}

fn check_bytes(type_oid: u32) -> Result<(), EncodeError> {
    match type_oid {
        // A type that is not built in may have a binary form that the caller knows. The type's
        // receive function checks it.
        oid::BYTEA | oid::FIRST_OF_USERS.. => Ok(()),
        oid::NOT_KNOWN => Err(NOT_KNOWN),
        _ if oid::element(type_oid).is_some() => Err(NOT_ELEMENTS),
        _ => Err(NOT_BYTES),
    }
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    out.reserve(2 + 2 * bytes.len());
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use postgres_protocol::IsNull;
    use proptest::prelude::*;

    use super::*;

    const JSON: u32 = 114;
    const DOMAIN: u32 = 16_500;

    fn encode(value: Value<'_>, type_oid: u32) -> Result<(Format, Vec<u8>), EncodeError> {
        let mut out = BytesMut::from(&b"before"[..]);
        let encoded = value.encode(type_oid, &mut out);
        let (before, written) = out.split_at(6);
        assert_eq!(before, b"before");
        match encoded {
            Ok(IsNull::No) => Ok((value.format(type_oid), written.to_vec())),
            Ok(IsNull::Yes) => Err("it became NULL"),
            Err(misfit) => {
                assert_eq!(written, b"", "an error left bytes behind");
                Err(misfit)
            }
        }
    }

    fn as_text(value: Value<'_>, type_oids: &[u32], expect: &str) {
        for &type_oid in type_oids {
            let expect = Ok((Format::Text, expect.as_bytes().to_vec()));
            assert_eq!(encode(value, type_oid), expect, "{value:?} for {type_oid}");
        }
    }

    fn as_binary(value: Value<'_>, type_oid: u32, expect: &[u8]) {
        let expect = Ok((Format::Binary, expect.to_vec()));
        assert_eq!(encode(value, type_oid), expect, "{value:?} for {type_oid}");
    }

    fn refused(value: Value<'_>, type_oids: &[u32], expect: EncodeError) {
        for &type_oid in type_oids {
            assert_eq!(encode(value, type_oid), Err(expect), "{value:?} for {type_oid}");
        }
    }

    #[test]
    fn numbers_fit_or_are_refused() {
        use Value::Number;
        as_binary(Number(-32_768.0), oid::INT2, &i16::MIN.to_be_bytes());
        as_binary(Number(-0.0), oid::INT4, &[0; 4]);
        as_binary(Number(2_147_483_647.0), oid::INT4, &i32::MAX.to_be_bytes());
        as_binary(Number(-9_223_372_036_854_775_808.0), oid::INT8, &i64::MIN.to_be_bytes());
        as_binary(Number(-0.0), oid::FLOAT8, &(-0.0_f64).to_be_bytes());
        as_binary(Number(f64::NAN), oid::FLOAT8, &f64::NAN.to_be_bytes());
        as_binary(Number(0.1), oid::FLOAT4, &0.1_f32.to_be_bytes());
        as_binary(Number(f64::NEG_INFINITY), oid::FLOAT4, &f32::NEG_INFINITY.to_be_bytes());
        as_text(Number(1.5), &[0, oid::TEXT, oid::NUMERIC, JSON, DOMAIN], "1.5");
        as_text(Number(1e21), &[0, oid::TEXT, oid::NUMERIC], "1e+21");
        as_text(Number(-0.0), &[oid::TEXT, oid::NUMERIC, JSON], "0");
        as_text(Number(f64::NAN), &[oid::TEXT, oid::NUMERIC], "NaN");
        as_text(Number(4_294_967_295.0), &[oid::OID, oid::XID, oid::CID], "4294967295");
        as_text(Number(9_223_372_036_854_775_808.0), &[oid::XID8], "9223372036854775808");

        let integers = [oid::INT2, oid::INT4, oid::INT8, oid::OID, oid::XID8];
        refused(Number(0.5), &integers, FRACTION);
        refused(Number(f64::NAN), &integers, NO_INTEGER);
        refused(Number(f64::INFINITY), &integers, NO_INTEGER);
        refused(Number(1e300), &integers, RANGE);
        refused(Number(32_768.0), &[oid::INT2], RANGE);
        refused(Number(-2_147_483_649.0), &[oid::INT4], RANGE);
        refused(Number(9_223_372_036_854_775_808.0), &[oid::INT8], RANGE);
        refused(Number(-1.0), &[oid::OID, oid::XID, oid::CID, oid::XID8], RANGE);
        refused(Number(1e39), &[oid::FLOAT4], RANGE);
        refused(Number(f64::NEG_INFINITY), &[JSON, oid::JSONB], NO_JSON_NUMBER);
        refused(Number(1e-50), &[oid::FLOAT4], RANGE);
    }

    #[test]
    fn the_other_values_fit_or_are_refused() {
        use Value::{BigInt, Bool, Bytes, Json, Text};
        as_binary(Bool(true), oid::BOOL, &[1]);
        as_text(Bool(false), &[0, oid::TEXT, JSON, DOMAIN], "false");
        refused(Bool(true), &[oid::INT4, oid::FLOAT8, oid::NUMERIC, oid::XID], NOT_A_NUMBER);

        let huge = "-170141183460469231731687303715884105728";
        as_text(BigInt(huge), &[0, oid::NUMERIC, oid::TEXT], huge);
        as_text(BigInt(huge), &[oid::FLOAT8], "-1.7014118346046923e+38");
        as_text(BigInt("0"), &[oid::FLOAT8, oid::FLOAT4], "0");
        as_text(BigInt("16777217"), &[oid::FLOAT8], "16777217");
        as_text(BigInt("16777217"), &[oid::FLOAT4], "16777216");
        refused(BigInt("-9007199254740993"), &[oid::FLOAT4, oid::FLOAT8], ROUNDED);
        refused(BigInt(&"9".repeat(400)), &[oid::FLOAT4, oid::FLOAT8], RANGE);
        as_binary(BigInt("-9223372036854775808"), oid::INT8, &i64::MIN.to_be_bytes());
        as_binary(BigInt("-32768"), oid::INT2, &i16::MIN.to_be_bytes());
        refused(BigInt(huge), &[oid::INT2, oid::INT4, oid::INT8, oid::OID, oid::XID8], RANGE);
        refused(BigInt("-1"), &[oid::OID, oid::XID8], RANGE);

        as_text(Text(b"12.50"), &[0, oid::INT4, oid::NUMERIC, oid::TEXT, JSON], "12.50");

        as_binary(Bytes(b"\0\xff"), oid::BYTEA, b"\0\xff");
        as_binary(Bytes(b""), DOMAIN, b"");
        refused(Bytes(b"x"), &[oid::TEXT, oid::INT4, JSON], NOT_BYTES);
        refused(Bytes(b"x"), &[1007, 1009], NOT_ELEMENTS);
        refused(Bytes(b"x"), &[oid::NOT_KNOWN], NOT_KNOWN);

        as_text(Json(b"{}"), &[JSON, oid::JSONB, DOMAIN], "{}");
        refused(Json(b"{}"), &[oid::TEXT, oid::INT4, oid::BYTEA], NOT_JSON);
        refused(Json(b"{}"), &[oid::NOT_KNOWN], NOT_KNOWN);
    }

    #[test]
    fn dates_fit_or_are_refused() {
        use Value::Date;
        as_binary(Date(946_684_800_000.0), oid::DATE, &[0; 4]);
        as_binary(Date(946_684_799_999.0), oid::DATE, &(-1_i32).to_be_bytes());
        as_binary(Date(946_684_800_001.0), oid::TIMESTAMP, &1000_i64.to_be_bytes());
        as_binary(Date(0.0), oid::TIMESTAMPTZ, &(-946_684_800_000_000_i64).to_be_bytes());
        as_text(Date(0.0), &[oid::TEXT, oid::VARCHAR], "1970-01-01T00:00:00.000Z");
        as_text(Date(-62_167_219_200_000.0), &[oid::TEXT], "0000-01-01T00:00:00.000Z");
        as_text(Date(-8.64e15), &[oid::TEXT], "-271821-04-20T00:00:00.000Z");
        as_text(Date(8.64e15), &[oid::TEXT], "+275760-09-13T00:00:00.000Z");
        as_text(Date(0.0), &[JSON, oid::JSONB], "\"1970-01-01T00:00:00.000Z\"");
        as_text(Date(0.0), &[oid::TIME, DOMAIN], "1970-01-01 00:00:00.000+00");
        as_text(Date(-63_517_824_000_000.0), &[DOMAIN], "0044-03-15 00:00:00.000+00 BC");
        let fitting = [oid::DATE, oid::TIMESTAMP, oid::TIMESTAMPTZ, oid::TEXT, JSON, DOMAIN];
        refused(Date(f64::NAN), &fitting, INVALID_DATE);
        refused(Date(8.64e15 + 2.0), &fitting, INVALID_DATE);
        refused(Date(-8.64e15), &[oid::DATE, oid::TIMESTAMP, oid::TIMESTAMPTZ], RANGE);
        refused(Date(0.0), &[oid::INT8, oid::NUMERIC, oid::BYTEA, oid::INTERVAL], NOT_A_DATE);
        refused(Date(0.0), &[oid::NOT_KNOWN], NOT_KNOWN);
    }

    #[test]
    fn a_type_is_asked_for_only_where_text_would_be_a_guess() {
        let table = [
            (Value::Null, false),
            (Value::Bool(true), true),
            (Value::Number(0.0), false),
            (Value::Number(-0.0), true),
            (Value::Number(-1.0), true),
            (Value::Number(4_294_967_295.0), false),
            (Value::Number(4_294_967_296.0), true),
            (Value::Number(0.5), true),
            (Value::Number(f64::NAN), true),
            (Value::Number(f64::INFINITY), true),
            (Value::BigInt("0"), false),
            (Value::BigInt("4294967295"), false),
            (Value::BigInt("4294967296"), true),
            (Value::BigInt("-1"), true),
            (Value::Text(b"x"), false),
            (Value::Bytes(b""), true),
            (Value::Json(b""), true),
            (Value::Date(0.0), true),
        ];
        for (value, expect) in table {
            assert_eq!(value.needs_type(), expect, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn integers_arrive_whole(value: i64) {
            let number = Value::Number(value as f64);
            let exact = value as f64 as i128;
            if let Ok(expect) = i64::try_from(exact) {
                as_binary(number, oid::INT8, &expect.to_be_bytes());
            }
            match i32::try_from(exact) {
                Ok(expect) => as_binary(number, oid::INT4, &expect.to_be_bytes()),
                Err(_) => refused(number, &[oid::INT4], RANGE),
            }
        }

        #[test]
        fn a_float4_comes_back_as_it_went(bits: u32) {
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                as_binary(Value::Number(float::widen(value)), oid::FLOAT4, &value.to_be_bytes());
            }
        }
    }
}
