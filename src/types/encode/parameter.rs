//! Which encoder writes a parameter's value. This depends on the parameter's type, and on whether
//! the value is an array. [`super::scalar`] has the rules for single values, [`super::array`] those
//! for arrays.

use bytes::BytesMut;
use postgres_protocol::IsNull;

use crate::protocol::backend::Format;

use super::scalar::{self, NOT_AN_ARRAY, NOT_ELEMENTS, NOT_JSON, NOT_KNOWN};
use super::value::{ArrayParameter, EncodeError, Value};
use crate::types::oid;
use crate::types::parameter_type::{Kind, ParameterType};
use crate::types::user_type::ArrayOf;

impl Value<'_> {
    pub(super) fn format(self, type_oid: u32) -> Format {
        match self {
            Self::Array(array) => array.format(type_oid),
            _ => scalar::format(self, type_oid),
        }
    }

    /// The format in which [`Value::encode_for`] writes the value.
    pub(super) fn format_for(self, of: &ParameterType) -> Format {
        match (self, of.kind()) {
            (Self::Array(array), Kind::Array(of)) => array.format_of(of),
            _ => self.format(of.oid()),
        }
    }

    /// Appends the value as a parameter of the type. On an error nothing is appended.
    pub(super) fn encode_for(
        self,
        of: &ParameterType,
        out: &mut BytesMut,
    ) -> Result<IsNull, EncodeError> {
        match (self, of.kind()) {
            (Self::Array(array), Kind::Array(of)) => {
                let mark = out.len();
                let encoded = match array.format_of(of) {
                    Format::Binary => array.encode_binary(of, out),
                    Format::Text => array.encode_text_of(of, out),
                };
                encoded.inspect_err(|_| out.truncate(mark))?;
                Ok(IsNull::No)
            }
            (Self::Array(_), Kind::Other) => Err(NOT_AN_ARRAY),
            (Self::Json(_), Kind::Array(_) | Kind::Other) => Err(NOT_JSON),
            (Self::Bytes(_), Kind::Array(_)) => Err(NOT_ELEMENTS),
            _ => self.encode(of.oid(), out),
        }
    }

    /// Appends the value in the format that [`Value::format`] returns. On an error nothing is
    /// appended.
    pub(super) fn encode(self, type_oid: u32, out: &mut BytesMut) -> Result<IsNull, EncodeError> {
        if matches!(self, Self::Null) {
            return Ok(IsNull::Yes);
        }
        let mark = out.len();
        let encoded = match self {
            Self::Array(array) => encode_array(array, type_oid, out),
            _ => match scalar::format(self, type_oid) {
                Format::Binary => scalar::encode_binary(self, type_oid, out),
                Format::Text => scalar::encode_text(self, type_oid, out),
            },
        };
        if encoded.is_err() {
            out.truncate(mark);
        }
        encoded.map(|()| IsNull::No)
    }
}

fn encode_array(
    array: ArrayParameter<'_>,
    type_oid: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if array.format(type_oid) == Format::Binary {
        let element = oid::element(type_oid).ok_or(NOT_AN_ARRAY)?;
        return array.encode_binary(ArrayOf::plain(element), out);
    }
    match type_oid {
        oid::JSON | oid::JSONB => array.encode_json(out),
        oid::NOT_KNOWN => Err(NOT_KNOWN),
        // The most likely reading, if the type remains unknown.
        oid::FIRST_OF_USERS.. => array.encode_text(type_oid, out),
        _ => array.encode_text(oid::element(type_oid).ok_or(NOT_AN_ARRAY)?, out),
    }
}
