//! What the rows of one result look like: decided once per result, so that a cell costs one `match`.

use serde_json::json;

use crate::base::batch::Lane;
use crate::protocol::backend::{Field, Format};

use super::oid;

/// How a value's bytes become a cell: what the type and the format that RowDescription told decide
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    BoolBinary,
    BoolText,
    Int2Binary,
    Int4Binary,
    Int2Text,
    Int4Text,
    /// oid, xid and cid.
    Uint32Binary,
    Uint32Text,
    Int8Binary,
    Int8Text,
    Xid8Binary,
    Xid8Text,
    Float4Binary,
    Float8Binary,
    /// Text of both floats: the server writes the shortest form of a float4 itself.
    FloatText,
    /// Types whose binary form is their text, and the text form of every type without a case above.
    Text,
    /// The one value of type void says nothing.
    Void,
    /// A binary form that nothing here reads, and that nothing here asked for.
    Unreadable,
}

impl Decoder {
    const fn for_column(type_oid: u32, format: Format) -> Self {
        match (type_oid, format) {
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
            (oid::VOID, Format::Binary | Format::Text) => Self::Void,
            // The binary form of "char" is a raw byte, its text form is what psql shows: only the
            // text form is asked for.
            (_, Format::Text) => Self::Text,
            (_, Format::Binary) => Self::Unreadable,
        }
    }

    const fn lane(self) -> Lane {
        match self {
            Self::BoolBinary | Self::BoolText => Lane::Bool,
            Self::Int2Binary | Self::Int4Binary | Self::Int2Text | Self::Int4Text => Lane::Int32,
            Self::Uint32Binary | Self::Uint32Text => Lane::Uint32,
            Self::Int8Binary | Self::Int8Text | Self::Xid8Binary | Self::Xid8Text => Lane::BigInt64,
            Self::Float4Binary | Self::Float8Binary | Self::FloatText => Lane::Float64,
            Self::Text | Self::Void | Self::Unreadable => Lane::Text,
        }
    }
}

/// The format to ask for: binary where there is a binary decoder.
pub const fn result_format(type_oid: u32) -> Format {
    match Decoder::for_column(type_oid, Format::Binary) {
        // void has no binary form on every server, and an empty value either way.
        Decoder::Unreadable | Decoder::Void => Format::Text,
        _ => Format::Binary,
    }
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub field: Field,
    pub lane: Lane,
    pub(super) decoder: Decoder,
}

/// The columns of a result, in the order of its rows' fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    columns: Vec<Column>,
    has_text: bool,
}

impl Shape {
    /// From the fields of a RowDescription: the formats are those in which the rows really come.
    pub fn new(fields: Vec<Field>) -> Self {
        let columns: Vec<Column> = fields
            .into_iter()
            .map(|field| {
                let decoder = Decoder::for_column(field.type_oid, field.format);
                Column { field, lane: decoder.lane(), decoder }
            })
            .collect();
        let has_text = columns.iter().any(|column| column.lane == Lane::Text);
        Self { columns, has_text }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The bytes of text that a row can bring into a batch: all its bytes where there is a text column.
    pub(super) const fn text_bound(&self, body: &[u8]) -> usize {
        if self.has_text { body.len() } else { 0 }
    }

    /// For JavaScript, which builds `fields` and the row builder from it.
    pub fn to_json(&self) -> String {
        let columns = self.columns.iter().map(|Column { field, lane, .. }| {
            json!({
                "name": field.name,
                "typeOid": field.type_oid,
                "tableOid": field.table_oid,
                "columnNumber": field.column_number,
                "modifier": field.type_modifier,
                "lane": *lane as u8,
            })
        });
        serde_json::Value::Array(columns.collect()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, type_oid: u32, format: Format) -> Field {
        Field {
            name: name.to_owned(),
            table_oid: 16_400,
            column_number: -1,
            type_oid,
            type_size: -1,
            type_modifier: 12,
            format,
        }
    }

    #[test]
    fn binary_is_asked_for_where_it_can_be_read() {
        let binary = [
            oid::BOOL,
            oid::INT2,
            oid::INT4,
            oid::INT8,
            oid::OID,
            oid::XID,
            oid::CID,
            oid::XID8,
            oid::FLOAT4,
            oid::FLOAT8,
            oid::TEXT,
            oid::VARCHAR,
            oid::BPCHAR,
            oid::NAME,
            oid::UNKNOWN,
        ];
        for type_oid in binary {
            assert_eq!(result_format(type_oid), Format::Binary, "{type_oid}");
        }
        for type_oid in [oid::CHAR, oid::NUMERIC, oid::BYTEA, oid::VOID, 0, 99_999] {
            assert_eq!(result_format(type_oid), Format::Text, "{type_oid}");
        }
    }

    #[test]
    fn a_type_has_one_lane_in_both_formats() {
        for type_oid in 0..6_000 {
            if result_format(type_oid) == Format::Binary {
                let lane = |format| Decoder::for_column(type_oid, format).lane();
                assert_eq!(lane(Format::Binary), lane(Format::Text), "{type_oid}");
            }
        }
    }

    #[test]
    fn a_shape_is_told_to_javascript_as_json() {
        let name = "a\"\u{2028}__proto__";
        let shape = Shape::new(vec![field(name, oid::INT8, Format::Text)]);
        let told: serde_json::Value = serde_json::from_str(&shape.to_json()).unwrap();
        assert_eq!(
            told,
            json!([{
                "name": name,
                "typeOid": 20,
                "tableOid": 16_400,
                "columnNumber": -1,
                "modifier": 12,
                "lane": 5,
            }])
        );
        assert_eq!(Shape::new(Vec::new()).to_json(), "[]");
    }
}
