//! The text form of a value that is right for every type that its parameter may have by now.
//!
//! The types of a statement's parameters come from the statement's last description on the
//! connection. Since then, a column may have got another type, or another table the old name. When
//! a connection prepares a statement again, the server infers the types again. Until the server has
//! described the new types, values are sent as text: every numeric type reads a whole number, and
//! every type of dates reads an instant in ISO 8601. Most types refuse a text that they can't read.
//! A few types, such as bytea, accept any text, so the last description must be a recent one of
//! this connection. Other values have no text form of this kind and wait for the description: an
//! array is either `{1}` or `[1]`, and a text column would silently accept the text form of bytes
//! or of an object.

use bytes::BytesMut;
use postgres_protocol::IsNull;

use super::Params;
use super::scalar::{encode_text, put_text, valid};
use super::value::{EncodeError, Value};
use crate::base::Error;
use crate::types::parameter_type::{Kind, ParameterType};
use crate::types::{datetime, oid};

/// From the year 1 to the year 9999, in milliseconds. Outside of it, JavaScript and PostgreSQL
/// write years differently.
const YEARS: std::ops::Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// How such a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    /// As for a parameter of which nothing is known.
    AsIs,
    /// With the sign of a negative zero.
    Signed,
    Instant,
}

impl Value<'_> {
    /// `last` is the parameter's type in the last description.
    fn plain(self, last: &ParameterType) -> Option<Plain> {
        if !self.needs_type() {
            return Some(Plain::AsIs);
        }
        if last.kind() != Kind::Plain {
            return None;
        }
        match (self, last.oid()) {
            (
                Self::Bool(_),
                oid::BOOL | oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::JSON | oid::JSONB,
            ) => Some(Plain::AsIs),
            (Self::Number(_), oid::FLOAT4 | oid::FLOAT8) => Some(Plain::Signed),
            (
                Self::Number(_) | Self::BigInt(_),
                oid::INT2
                | oid::INT4
                | oid::INT8
                | oid::NUMERIC
                | oid::TEXT
                | oid::VARCHAR
                | oid::BPCHAR
                | oid::JSON
                | oid::JSONB,
            ) => Some(Plain::AsIs),
            (
                Self::Date(millis),
                // The types of times without a date can't read the `T` of a Date's text.
                oid::DATE
                | oid::TIMESTAMP
                | oid::TIMESTAMPTZ
                | oid::TEXT
                | oid::VARCHAR
                | oid::BPCHAR,
            ) if valid(millis).is_ok_and(|millis| YEARS.contains(&millis)) => Some(Plain::Instant),
            _ => None,
        }
    }

    /// Whether the value has such a text, and fits the type of its parameter in the last
    /// description. `scratch` is left as it was.
    pub(super) fn is_plain(self, last: &ParameterType, scratch: &mut BytesMut) -> bool {
        let mark = scratch.len();
        let fits = self.plain(last).is_some() && self.encode_for(last, scratch).is_ok();
        scratch.truncate(mark);
        fits
    }

    /// Appends the text of a plain value.
    pub(super) fn encode_plain(
        self,
        last: &ParameterType,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        match (self.plain(last), self) {
            (Some(Plain::Signed), Self::Number(value)) => put_text(value, out),
            (Some(Plain::Instant), Self::Date(millis)) => {
                let mut text = Vec::new();
                datetime::write_js_date(valid(millis)?, &mut text);
                out.extend_from_slice(&text);
            }
            _ => return encode_text(self, oid::NOT_KNOWN, out),
        }
        Ok(())
    }
}

impl Params {
    /// Whether every value is plain. `scratch` is left as it was.
    pub fn are_plain(&self, last: &[ParameterType], scratch: &mut BytesMut) -> bool {
        let not_known = &ParameterType::NOT_KNOWN;
        let last_of = |n: usize| last.get(n).unwrap_or(not_known);
        let mut params = self.params.iter().enumerate();
        params.all(|(n, param)| self.value(*param).is_plain(last_of(n), scratch))
    }

    /// Appends the text of a plain value, without its length. On an error `out` stays as it was.
    pub fn encode_plain(
        &self,
        index: usize,
        last: &ParameterType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Error> {
        let unwritten = |why: &str| Error::internal(format!("parameter ${}: {why}", index + 1));
        let param = self.params.get(index).ok_or_else(|| unwritten("there is none"))?;
        let value = self.value(*param);
        if matches!(value, Value::Null) {
            return Ok(IsNull::Yes);
        }
        let mark = out.len();
        let written = value.encode_plain(last, out).inspect_err(|_| out.truncate(mark));
        written.map(|()| IsNull::No).map_err(unwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value<'_>, last: &[u32], expect: Option<&str>) {
        for type_oid in last {
            let last = ParameterType::inferred(*type_oid);
            let mut out = BytesMut::from(&b"x"[..]);
            let is_plain = value.is_plain(&last, &mut out);
            assert_eq!((is_plain, &out[..]), (expect.is_some(), &b"x"[..]), "{value:?} {type_oid}");
            if let Some(expect) = expect {
                value.encode_plain(&last, &mut out).unwrap();
                assert_eq!(&out[1..], expect.as_bytes(), "{value:?} for {type_oid}");
            }
        }
    }

    #[test]
    fn what_every_type_reads_rightly_is_plain() {
        use Value::{BigInt, Bool, Date, Number, Text};
        let numbers = [oid::INT4, oid::INT8, oid::NUMERIC, oid::TEXT, oid::JSONB];
        check(Number(-1.0), &numbers, Some("-1"));
        check(Number(1.5), &[oid::NUMERIC, oid::FLOAT8, oid::TEXT], Some("1.5"));
        check(Number(-0.0), &[oid::INT4, oid::TEXT], Some("0"));
        check(Number(-0.0), &[oid::FLOAT8], Some("-0"));
        // A float4 can read all the digits, which a wider column keeps.
        check(Number(16_777_217.5), &[oid::FLOAT4], Some("16777217.5"));
        check(BigInt("-9007199254740993"), &[oid::INT8, oid::NUMERIC], Some("-9007199254740993"));
        let dates = [oid::DATE, oid::TIMESTAMP, oid::TIMESTAMPTZ, oid::TEXT];
        check(Date(0.0), &dates, Some("1970-01-01T00:00:00.000Z"));
        check(Bool(true), &[oid::BOOL, oid::TEXT], Some("true"));
        check(Text(b"a"), &[oid::INT4, oid::TEXT, oid::FIRST_OF_USERS], Some("a"));
    }

    #[test]
    fn what_depends_on_the_type_or_does_not_fit_it_is_not() {
        use Value::{BigInt, Bool, Bytes, Date, Json, Number};
        check(Number(1.5), &[oid::INT4, oid::OID], None);
        check(Number(-1.0), &[oid::OID, oid::XID, oid::FIRST_OF_USERS], None);
        check(Number(3e9), &[oid::INT4], None);
        check(Bool(true), &[oid::INT4], None);
        check(BigInt("-9007199254740993"), &[oid::FLOAT8, oid::INT4], None);
        check(Date(-8.64e15), &[oid::TEXT, oid::TIMESTAMP], None);
        check(Date(0.0), &[oid::JSONB, oid::FIRST_OF_USERS, oid::INT4], None);
        // A text column would silently accept either text form.
        check(Bytes(b""), &[oid::BYTEA, oid::TEXT], None);
        check(Json(b"{}"), &[oid::JSON, oid::JSONB, oid::TEXT, oid::FIRST_OF_USERS], None);
    }
}
