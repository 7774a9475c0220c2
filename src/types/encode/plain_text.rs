//! The text of a value that is right for whatever type its parameter has by now.
//!
//! The types of a statement's parameters are known from its latest description on the connection.
//! Meanwhile a column may have another type, or another table its name. Where a connection prepares
//! a statement anew the server infers the types anew, and before it has described them values
//! travel as text: a whole number is read by every type of numbers, and an instant in ISO 8601 by
//! every type of dates. What a type does not read it refuses, but for a few that take any text, as
//! bytea does: so the type must come from a recent description on this connection. A value without
//! such a text waits for the description: an array is `{1}` or `[1]`, and text takes the forms of
//! bytes and of objects in silence.

use bytes::BytesMut;
use postgres_protocol::IsNull;

use super::Params;
use super::scalar::{encode_text, put_text, valid};
use super::value::{EncodeError, Value};
use crate::base::Error;
use crate::types::parameter_type::{Kind, ParameterType};
use crate::types::{datetime, oid};

/// From the year 1 to 9999, in milliseconds: beyond it, the text forms of JavaScript and PostgreSQL
/// differ.
const YEARS: std::ops::Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// How such a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    /// As where nothing is known of its parameter.
    AsIs,
    /// With the sign of a negative zero.
    Signed,
    Instant,
}

impl Value<'_> {
    /// `last` is the type that the parameter had in the last description.
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
                // Types of times alone read no `T`, which text shows as a Date does.
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

    /// Whether it has such a text, and fits the type that the parameter had in the last
    /// description. `scratch` is left as it was.
    pub(super) fn is_plain(self, last: &ParameterType, scratch: &mut BytesMut) -> bool {
        let mark = scratch.len();
        let fits = self.plain(last).is_some() && self.encode_for(last, scratch).is_ok();
        scratch.truncate(mark);
        fits
    }

    /// Appends the text of a value that is plain.
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
    /// Whether each value is plain. `scratch` is left as it was.
    pub fn are_plain(&self, last: &[ParameterType], scratch: &mut BytesMut) -> bool {
        let not_known = &ParameterType::NOT_KNOWN;
        let last_of = |n: usize| last.get(n).unwrap_or(not_known);
        let mut params = self.params.iter().enumerate();
        params.all(|(n, param)| self.value(*param).is_plain(last_of(n), scratch))
    }

    /// Appends the text of a plain value, without its length. On an error `out` is as before.
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
        // A float4 reads all digits that a wider column keeps.
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
        // Text would take the form of either in silence.
        check(Bytes(b""), &[oid::BYTEA, oid::TEXT], None);
        check(Json(b"{}"), &[oid::JSON, oid::JSONB, oid::TEXT, oid::FIRST_OF_USERS], None);
    }
}
