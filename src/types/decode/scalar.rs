//! Values that are not arrays: which kind a type and a format give, and how the server's bytes are
//! read. A column's cell and an array's element are made from the same reading.

use std::str::FromStr;

use postgres_protocol::types as wire;

use crate::protocol::Format;
use crate::transfer::Lane;

use super::{bytes, interval};
use crate::types::{datetime, float, numeric, oid};

/// How a value's bytes become a cell or an element of an array. The type and the format in the
/// RowDescription decide it together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    BoolBinary,
    BoolText,
    Int2Binary,
    Int4Binary,
    Int2Text,
    Int4Text,
    /// For oid, xid and cid.
    Uint32Binary,
    Uint32Text,
    Int8Binary,
    Int8Text,
    Xid8Binary,
    Xid8Text,
    Float4Binary,
    Float8Binary,
    /// The text of both float types. The server itself writes the shortest form of a float4.
    FloatText,
    /// Types whose binary form is their text, and the text form of every type without a variant of
    /// its own.
    Text,
    NumericBinary,
    DateBinary,
    DateText,
    /// The text form of a time is ISO 8601 already, so it is [`Self::Text`].
    TimeBinary,
    TimetzBinary,
    TimestampBinary,
    TimestampText,
    TimestamptzBinary,
    TimestamptzText,
    IntervalBinary,
    UuidBinary,
    ByteaBinary,
    ByteaText,
    /// The text form of json and jsonb, and the binary form of json.
    Json,
    /// A version byte, then the text.
    JsonbBinary,
}

impl Scalar {
    /// `None` if this client does not read the type's binary form.
    pub(super) const fn of(type_oid: u32, format: Format) -> Option<Self> {
        Some(match (type_oid, format) {
            (oid::BOOL, Format::Binary) => Self::BoolBinary,
            (oid::BOOL, Format::Text) => Self::BoolText,
            (oid::INT2, Format::Binary) => Self::Int2Binary,
            (oid::INT4, Format::Binary) => Self::Int4Binary,
            (oid::INT2, Format::Text) => Self::Int2Text,
            (oid::INT4, Format::Text) => Self::Int4Text,
            (oid::OID | oid::XID | oid::CID, Format::Binary) => Self::Uint32Binary,
            (oid::OID | oid::XID | oid::CID, Format::Text) => Self::Uint32Text,
            (oid::INT8, Format::Binary) => Self::Int8Binary,
            (oid::INT8, Format::Text) => Self::Int8Text,
            (oid::XID8, Format::Binary) => Self::Xid8Binary,
            (oid::XID8, Format::Text) => Self::Xid8Text,
            (oid::FLOAT4, Format::Binary) => Self::Float4Binary,
            (oid::FLOAT8, Format::Binary) => Self::Float8Binary,
            (oid::FLOAT4 | oid::FLOAT8, Format::Text) => Self::FloatText,
            (oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN, Format::Binary) => {
                Self::Text
            }
            (oid::NUMERIC, Format::Binary) => Self::NumericBinary,
            (oid::DATE, Format::Binary) => Self::DateBinary,
            (oid::DATE, Format::Text) => Self::DateText,
            (oid::TIME, Format::Binary) => Self::TimeBinary,
            (oid::TIMETZ, Format::Binary) => Self::TimetzBinary,
            (oid::TIMESTAMP, Format::Binary) => Self::TimestampBinary,
            (oid::TIMESTAMP, Format::Text) => Self::TimestampText,
            (oid::TIMESTAMPTZ, Format::Binary) => Self::TimestamptzBinary,
            (oid::TIMESTAMPTZ, Format::Text) => Self::TimestamptzText,
            (oid::INTERVAL, Format::Binary) => Self::IntervalBinary,
            (oid::UUID, Format::Binary) => Self::UuidBinary,
            (oid::BYTEA, Format::Binary) => Self::ByteaBinary,
            (oid::BYTEA, Format::Text) => Self::ByteaText,
            (oid::JSON, Format::Binary | Format::Text) | (oid::JSONB, Format::Text) => Self::Json,
            (oid::JSONB, Format::Binary) => Self::JsonbBinary,
            // The binary form of "char" is a raw byte. Its text form is what psql shows, so only
            // that form is requested.
            (_, Format::Text) => Self::Text,
            (_, Format::Binary) => return None,
        })
    }

    pub(super) const fn lane(self) -> Lane {
        match self {
            Self::BoolBinary | Self::BoolText => Lane::Bool,
            Self::Int2Binary | Self::Int4Binary | Self::Int2Text | Self::Int4Text => Lane::Int32,
            Self::Uint32Binary | Self::Uint32Text => Lane::Uint32,
            Self::Int8Binary | Self::Int8Text => Lane::BigInt64,
            Self::Xid8Binary | Self::Xid8Text => Lane::BigUint64,
            Self::Float4Binary | Self::Float8Binary | Self::FloatText => Lane::Float64,
            Self::ByteaBinary | Self::ByteaText => Lane::Bytes,
            Self::Json | Self::JsonbBinary => Lane::Json,
            Self::Text
            | Self::NumericBinary
            | Self::DateBinary
            | Self::DateText
            | Self::TimeBinary
            | Self::TimetzBinary
            | Self::TimestampBinary
            | Self::TimestampText
            | Self::TimestamptzBinary
            | Self::TimestamptzText
            | Self::IntervalBinary
            | Self::UuidBinary => Lane::Text,
        }
    }
}

/// Appends an array's element as JSON.
pub(super) fn write_json(value: &[u8], scalar: Scalar, out: &mut Vec<u8>) -> Option<()> {
    match read(value, scalar)? {
        Read::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Read::Int32(value) => serde_json::to_writer(out, &value).ok()?,
        Read::Uint32(value) => serde_json::to_writer(out, &value).ok()?,
        Read::Float(value) if value.is_finite() => serde_json::to_writer(out, &value).ok()?,
        Read::Text(value) => {
            serde_json::to_writer(out, std::str::from_utf8(value).ok()?).ok()?;
        }
        // None of these contains a character that JSON must escape.
        composed @ (Read::Int64(_) | Read::Uint64(_) | Read::Float(_) | Read::Composed) => {
            out.push(b'"');
            match composed {
                Read::Int64(value) => serde_json::to_writer(&mut *out, &value).ok()?,
                Read::Uint64(value) => serde_json::to_writer(&mut *out, &value).ok()?,
                Read::Float(value) => float::write_js(value, out),
                _ => compose(value, scalar, out)?,
            }
            out.push(b'"');
        }
    }
    Some(())
}

/// A value that was read, before it becomes a cell or an element.
pub(super) enum Read<'a> {
    Bool(bool),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Float(f64),
    /// Text that may not be valid UTF-8. The code that measures it checks that.
    Text(&'a [u8]),
    /// The value's text differs from the server's bytes. [`compose`] writes it, in ASCII.
    Composed,
}

#[inline(always)]
pub(super) fn read(value: &[u8], scalar: Scalar) -> Option<Read<'_>> {
    Some(match scalar {
        Scalar::BoolBinary => Read::Bool(bool_from_binary(value)?),
        Scalar::BoolText => Read::Bool(bool_from_text(value)?),
        Scalar::Int2Binary => Read::Int32(wire::int2_from_sql(value).ok()?.into()),
        Scalar::Int4Binary => Read::Int32(wire::int4_from_sql(value).ok()?),
        Scalar::Int2Text => Read::Int32(from_text::<i16>(value)?.into()),
        Scalar::Int4Text => Read::Int32(from_text(value)?),
        Scalar::Uint32Binary => Read::Uint32(wire::oid_from_sql(value).ok()?),
        Scalar::Uint32Text => Read::Uint32(from_text(value)?),
        Scalar::Int8Binary => Read::Int64(wire::int8_from_sql(value).ok()?),
        Scalar::Int8Text => Read::Int64(from_text(value)?),
        Scalar::Xid8Binary => Read::Uint64(wire::int8_from_sql(value).ok()?.cast_unsigned()),
        Scalar::Xid8Text => Read::Uint64(from_text(value)?),
        Scalar::Float4Binary => Read::Float(float::widen(wire::float4_from_sql(value).ok()?)),
        Scalar::Float8Binary => Read::Float(wire::float8_from_sql(value).ok()?),
        Scalar::FloatText => Read::Float(from_text(value)?),
        Scalar::Text | Scalar::Json => Read::Text(value),
        Scalar::JsonbBinary => Read::Text(document(value)?),
        Scalar::NumericBinary
        | Scalar::DateBinary
        | Scalar::DateText
        | Scalar::TimeBinary
        | Scalar::TimetzBinary
        | Scalar::TimestampBinary
        | Scalar::TimestampText
        | Scalar::TimestamptzBinary
        | Scalar::TimestamptzText
        | Scalar::IntervalBinary
        | Scalar::UuidBinary
        | Scalar::ByteaBinary
        | Scalar::ByteaText => Read::Composed,
    })
}

/// The text of a binary jsonb, which follows the version byte. There is only one version.
const fn document(value: &[u8]) -> Option<&[u8]> {
    match value {
        [1, document @ ..] => Some(document),
        _ => None,
    }
}

/// Appends the text of a [`Read::Composed`] value.
pub(super) fn compose(value: &[u8], scalar: Scalar, out: &mut Vec<u8>) -> Option<()> {
    match scalar {
        Scalar::NumericBinary => numeric::write(value, out),
        Scalar::DateBinary => datetime::write_date(wire::int4_from_sql(value).ok()?, out),
        Scalar::DateText => datetime::date_from_text(value, out),
        Scalar::TimeBinary => datetime::write_time(wire::int8_from_sql(value).ok()?, out),
        Scalar::TimetzBinary => {
            let (micros, zone) = value.split_at_checked(size_of::<i64>())?;
            let micros = wire::int8_from_sql(micros).ok()?;
            datetime::write_timetz(micros, wire::int4_from_sql(zone).ok()?, out)
        }
        Scalar::TimestampBinary => {
            datetime::write_timestamp(wire::int8_from_sql(value).ok()?, false, out)
        }
        Scalar::TimestampText => datetime::timestamp_from_text(value, false, out),
        Scalar::TimestamptzBinary => {
            datetime::write_timestamp(wire::int8_from_sql(value).ok()?, true, out)
        }
        Scalar::TimestamptzText => datetime::timestamp_from_text(value, true, out),
        Scalar::IntervalBinary => interval::write(value, out),
        Scalar::UuidBinary => bytes::write_uuid(value, out),
        Scalar::ByteaBinary => bytes::write_base64(value, out),
        Scalar::ByteaText => bytes::bytea_from_text(value, out),
        _ => None,
    }
}

/// The server sends only 0 and 1. Other bytes are not read as true, unlike in `bool_from_sql`.
const fn bool_from_binary(value: &[u8]) -> Option<bool> {
    match value {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

const fn bool_from_text(value: &[u8]) -> Option<bool> {
    match value {
        b"f" => Some(false),
        b"t" => Some(true),
        _ => None,
    }
}

/// Rust reads all that the server writes: digits with a minus sign, exponents, `NaN`, `-Infinity`.
fn from_text<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
