//! The columns of one result. What can be decided about them is decided once per result, so that a
//! cell costs one `match`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::protocol::backend::{Field, Format};
use crate::transfer::Lane;

use super::array::Elements;
use super::scalar::Scalar;
use crate::types::oid;
use crate::types::user_type::{ArrayOf, UserType};

/// How the values of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    Scalar(Scalar),
    Array(Elements),
    /// A void: its one value has no content.
    Void,
    /// A binary form that this client can't read and did not ask for.
    Unreadable,
}

impl Decoder {
    fn for_column(type_oid: u32, format: Format, verbatim: &Verbatim) -> Self {
        let decoder = match oid::element(type_oid) {
            _ if verbatim.has(type_oid) => {
                (format == Format::Text).then_some(Self::Scalar(Scalar::Text))
            }
            _ if type_oid == oid::VOID => Some(Self::Void),
            Some(element) => Self::for_array(element, format, verbatim).map(Self::Array),
            None => Scalar::of(type_oid, format).map(Self::Scalar),
        };
        decoder.unwrap_or(Self::Unreadable)
    }

    fn for_array(element: u32, format: Format, verbatim: &Verbatim) -> Option<Elements> {
        let scalar = match (verbatim.has(element), format) {
            (true, Format::Binary) => return None,
            (true, Format::Text) => Scalar::Text,
            (false, _) => Scalar::of(element, format)?,
        };
        let delimiter = if element == oid::BOX { b';' } else { b',' };
        Some(Elements { scalar, type_oid: element, member: element, format, delimiter })
    }

    /// An array of a user's type comes as text if its binary form would need a decoder of that
    /// type.
    fn for_user_array(array: ArrayOf, format: Format, verbatim: &Verbatim) -> Option<Self> {
        let ArrayOf { element, member, delimiter, .. } = array;
        let elements = Self::for_array(element, format, verbatim)?;
        Some(Self::Array(Elements { delimiter, member, ..elements }))
    }

    const fn lane(self) -> Lane {
        match self {
            Self::Scalar(scalar) => scalar.lane(),
            Self::Array(_) => Lane::Array,
            Self::Void | Self::Unreadable => Lane::Text,
        }
    }
}

/// Types whose values the caller wants as exactly the text that psql shows, because the caller's
/// own code parses it. Arrays of these types come as arrays of such text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verbatim {
    /// Usually `None`.
    oids: Option<Arc<[u32]>>,
    domains: DomainArrays,
}

/// Arrays of domains over types whose binary form this client reads, as far as the pool has learned
/// of them. The pool asks for these arrays in binary too.
#[derive(Clone, Debug, Default)]
pub struct DomainArrays {
    /// The inner `None` marks a type that is not such an array. Usually there is no map.
    known: Option<Arc<BTreeMap<u32, Option<ArrayOf>>>>,
    /// Whether a server has refused to describe types between the statements of a script.
    is_refused: bool,
}

impl DomainArrays {
    /// Adds a type that a server has described.
    pub fn add(&mut self, type_oid: u32, known: &UserType) {
        let is_read = |array: &ArrayOf| Scalar::of(array.element, Format::Binary).is_some();
        let all = self.known.get_or_insert_default();
        Arc::make_mut(all).insert(type_oid, known.array.filter(is_read));
    }

    /// How many types are known.
    pub fn count(&self) -> usize {
        self.known.as_ref().map_or(0, |known| known.len())
    }

    /// A copy with these types only, so that a long-lived shape does not keep all known types
    /// alive.
    fn only(&self, type_oids: impl Iterator<Item = u32>) -> Self {
        let known: BTreeMap<_, _> =
            type_oids.filter_map(|oid| Some((oid, self.get(oid)?))).collect();
        let known = (!known.is_empty()).then(|| Arc::new(known));
        Self { known, is_refused: self.is_refused }
    }

    /// What is known of a type. The outer `None` means nothing.
    fn get(&self, type_oid: u32) -> Option<Option<ArrayOf>> {
        self.known.as_ref()?.get(&type_oid).copied()
    }

    /// Records that a server has refused to describe types between the statements of a script. From
    /// now on, no server is asked there.
    pub fn refuse(&mut self) {
        self.is_refused = true;
    }
}

impl PartialEq for DomainArrays {
    /// Always equal, because what is known of a type never changes.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for DomainArrays {}

impl Verbatim {
    pub fn new(oids: &[u32]) -> Self {
        let oids = (!oids.is_empty()).then(|| Arc::from(oids));
        Self { oids, domains: DomainArrays::default() }
    }

    #[must_use]
    pub fn with_domains(&self, domains: &DomainArrays) -> Self {
        Self { oids: self.oids.clone(), domains: domains.clone() }
    }

    /// The same, except that if `types` is true, no server is to be asked for types.
    #[must_use]
    pub fn without(mut self, types: bool) -> Self {
        self.domains.is_refused |= types;
        self
    }

    fn has(&self, type_oid: u32) -> bool {
        self.oids.as_ref().is_some_and(|oids| oids.contains(&type_oid))
    }

    /// How an array of domains is read in binary.
    fn domain_array(&self, type_oid: u32) -> Option<Decoder> {
        let array = self.domains.get(type_oid).filter(|_| !self.has(type_oid))?;
        Decoder::for_user_array(array?, Format::Binary, self)
    }

    /// Whether a server has refused to describe types between the statements of a script.
    pub fn is_refused(&self) -> bool {
        self.domains.is_refused
    }

    /// Adds a type that a server has described.
    pub fn add(&mut self, type_oid: u32, known: &UserType) {
        self.domains.add(type_oid, known);
    }

    /// The format to ask for: binary if there is a binary decoder.
    pub fn result_format(&self, type_oid: u32) -> Format {
        match Decoder::for_column(type_oid, Format::Binary, self) {
            // Not every server has a binary form of void, and its value is empty in both formats. A
            // jsonb has the same text in both formats, and one byte more in binary.
            Decoder::Unreadable
            | Decoder::Void
            | Decoder::Scalar(Scalar::Json | Scalar::JsonbBinary) => {
                match self.domain_array(type_oid) {
                    Some(_) => Format::Binary,
                    None => Format::Text,
                }
            }
            Decoder::Scalar(_) | Decoder::Array(_) => Format::Binary,
        }
    }
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub field: Field,
    pub lane: Lane,
    pub(super) decoder: Decoder,
    /// The name of a user's type, once it is known.
    type_name: Option<Arc<str>>,
}

/// The columns of a result, in the order of its rows' fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    columns: Vec<Column>,
    has_text: bool,
    has_user_types: bool,
    verbatim: Verbatim,
}

impl Shape {
    /// The shape of a RowDescription. `fields` have the formats in which the rows really come.
    pub fn new(fields: Vec<Field>) -> Self {
        Self::with_verbatim(fields, &Verbatim::default())
    }

    pub fn with_verbatim(fields: Vec<Field>, verbatim: &Verbatim) -> Self {
        let mut columns: Vec<Column> = fields
            .into_iter()
            .map(|field| {
                let decoder = Decoder::for_column(field.type_oid, field.format, verbatim);
                let decoder = match (decoder, field.format) {
                    // A question at a later time may have no answer: the type may be rolled back by
                    // then.
                    (Decoder::Unreadable, Format::Binary) => {
                        verbatim.domain_array(field.type_oid).unwrap_or(decoder)
                    }
                    _ => decoder,
                };
                Column { field, lane: decoder.lane(), decoder, type_name: None }
            })
            .collect();
        if let Some(first) = columns.iter_mut().find(|column| column.lane == Lane::Json) {
            first.lane = Lane::Joined;
        }
        let has_text = columns.iter().any(|column| column.lane.takes_text());
        let user_types = || columns.iter().map(|column| column.field.type_oid);
        let user_types = || user_types().filter(|oid| oid::is_of_users(*oid));
        let has_user_types = user_types().next().is_some();
        let domains = verbatim.domains.only(user_types());
        let verbatim = Verbatim { oids: verbatim.oids.clone(), domains };
        Self { columns, has_text, has_user_types, verbatim }
    }

    /// Whether a column comes as text and has a user's type that is not resolved yet.
    pub fn has_unresolved_text(&self, verbatim: &Verbatim) -> bool {
        let is_unresolved = |field: &Field| {
            oid::is_of_users(field.type_oid)
                && field.format == Format::Text
                && !verbatim.has(field.type_oid)
                && verbatim.domains.get(field.type_oid).is_none()
        };
        self.has_user_types && self.columns.iter().any(|column| is_unresolved(&column.field))
    }

    /// Whether a column has a type that only a server can describe.
    pub const fn has_user_types(&self) -> bool {
        self.has_user_types
    }

    /// The same shape with the formats that the pool would ask for by what it knows now. `None` if
    /// they are the same.
    pub fn with_formats(&self, verbatim: &Verbatim) -> Option<Self> {
        let wants = |field: &Field| verbatim.result_format(field.type_oid);
        let differs = |column: &Column| column.field.format != wants(&column.field);
        if !self.has_user_types || !self.columns.iter().any(differs) {
            return None;
        }
        let fields = self.columns.iter().map(|column| {
            let format = wants(&column.field);
            Field { format, ..column.field.clone() }
        });
        Some(Self::with_verbatim(fields.collect(), verbatim))
    }

    /// Whether the rows come in the same formats as those of `other`.
    pub fn has_formats_of(&self, other: &Self) -> bool {
        let formats =
            |shape: &'_ Self| shape.columns.iter().map(|c| c.field.format).collect::<Vec<_>>();
        !self.has_user_types || formats(self) == formats(other)
    }

    pub fn user_types(&self) -> impl Iterator<Item = u32> {
        self.columns.iter().map(|column| column.field.type_oid).filter(|oid| oid::is_of_users(*oid))
    }

    /// Users' types of which nothing is known yet, and which may be better read in binary.
    pub fn unresolved(&self) -> Vec<u32> {
        let Verbatim { domains, .. } = &self.verbatim;
        let is_unresolved = |oid: &u32| !self.verbatim.has(*oid) && domains.get(*oid).is_none();
        let mut oids: Vec<_> = self.user_types().filter(is_unresolved).collect();
        oids.retain(|_| !domains.is_refused);
        oids.sort_unstable();
        oids.dedup();
        oids
    }

    /// The same shape, with what `known` says about its types.
    pub(in crate::types) fn with_types<'a>(
        &self,
        known: impl Fn(u32) -> Option<&'a UserType>,
    ) -> Self {
        let mut shape = self.clone();
        shape.has_user_types = false;
        for column in &mut shape.columns {
            let type_oid = column.field.type_oid;
            let Some(known) = known(type_oid) else { continue };
            column.type_name = Some(Arc::clone(&known.name));
            if let Some(array) = known.array
                && !self.verbatim.has(type_oid)
                && let Some(decoder) =
                    Decoder::for_user_array(array, column.field.format, &self.verbatim)
            {
                column.decoder = decoder;
                column.lane = decoder.lane();
            }
        }
        shape
    }

    /// Whether a column comes in a form that this client can't read.
    pub fn is_unreadable(&self) -> bool {
        self.columns.iter().any(|column| {
            let wanted = self.verbatim.result_format(column.field.type_oid);
            column.decoder == Decoder::Unreadable && wanted == Format::Text
        })
    }

    /// Whether a column came as text because the column that was expected had another type,
    /// although its own type is better read in binary. A user's type that is not resolved yet
    /// counts too, since it may be such a type.
    pub fn has_text_unlike(&self, asked: &Self) -> bool {
        self.columns.iter().enumerate().any(|(n, Column { field, .. })| {
            let is_same = asked.columns.get(n).is_some_and(|a| a.field.type_oid == field.type_oid);
            field.format == Format::Text
                && (self.verbatim.result_format(field.type_oid) == Format::Binary
                    || (!is_same && oid::is_of_users(field.type_oid)))
        })
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// About how many bytes of text a row adds to a batch: the length of its body if there is a
    /// text column. Some values are longer as text.
    pub(super) const fn text_bound(&self, body: &[u8]) -> usize {
        if self.has_text { body.len() } else { 0 }
    }

    /// About how many bytes of memory the shape takes.
    pub fn weight(&self) -> usize {
        let names = self.columns.iter().map(|column| column.field.name.len());
        size_of::<Self>() + names.map(|name| name + size_of::<Column>()).sum::<usize>()
    }

    /// A description for JavaScript, which makes `fields` and the row builder from it.
    pub fn to_json(&self) -> String {
        let columns = self.columns.iter().map(|Column { field, lane, decoder, type_name }| {
            let mut column = json!({
                "name": field.name,
                "typeOid": field.type_oid,
                "tableOid": field.table_oid,
                "columnNumber": field.column_number,
                "modifier": field.type_modifier,
                "lane": *lane as u8,
            });
            if let (Some(name), Some(column)) = (type_name, column.as_object_mut()) {
                column.insert("typeName".to_owned(), (&**name).into());
            }
            if let (Decoder::Array(elements), Some(column)) = (decoder, column.as_object_mut()) {
                column.insert("elementOid".to_owned(), elements.type_oid.into());
                column.insert("elementLane".to_owned(), (elements.scalar.lane() as u8).into());
            }
            column
        });
        serde_json::Value::Array(columns.collect()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4_ARRAY: u32 = 1007;
    const INT2_VECTOR: u32 = 22;

    #[test]
    fn what_somebody_reads_himself_comes_as_text() {
        let verbatim = Verbatim::new(&[oid::INT4]);
        for type_oid in [oid::INT4, INT4_ARRAY] {
            assert_eq!(verbatim.result_format(type_oid), Format::Text);
            let decoder = |format| Decoder::for_column(type_oid, format, &verbatim);
            assert_eq!(decoder(Format::Binary), Decoder::Unreadable);
        }
        assert_eq!(verbatim.result_format(oid::INT8), Format::Binary);
        let shape = Shape::with_verbatim(vec![field("a", INT4_ARRAY, Format::Text)], &verbatim);
        let json: serde_json::Value = serde_json::from_str(&shape.to_json()).unwrap();
        assert_eq!(json[0]["lane"], Lane::Array as u8);
        assert_eq!(
            (&json[0]["elementOid"], &json[0]["elementLane"]),
            (&json!(23), &json!(Lane::Text as u8))
        );
        assert_eq!(Decoder::for_column(INT2_VECTOR, Format::Text, &verbatim).lane(), Lane::Text);
    }

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
            oid::NUMERIC,
            oid::BYTEA,
            oid::TIMESTAMPTZ,
            oid::INTERVAL,
            oid::UUID,
            INT4_ARRAY,
        ];
        for type_oid in binary {
            assert_eq!(Verbatim::default().result_format(type_oid), Format::Binary, "{type_oid}");
        }
        for type_oid in [oid::CHAR, oid::JSON, oid::JSONB, oid::BOX, oid::VOID, 0, 99_999] {
            assert_eq!(Verbatim::default().result_format(type_oid), Format::Text, "{type_oid}");
        }
    }

    #[test]
    fn a_type_has_one_lane_in_both_formats() {
        for type_oid in 0..6_000 {
            let verbatim = Verbatim::default();
            if verbatim.result_format(type_oid) == Format::Binary {
                let lane = |format| Decoder::for_column(type_oid, format, &verbatim).lane();
                assert_eq!(lane(Format::Binary), lane(Format::Text), "{type_oid}");
            }
        }
    }

    #[test]
    fn a_shape_goes_to_javascript_as_json() {
        let name = "a\"\u{2028}__proto__";
        let shape = Shape::new(vec![field(name, oid::INT8, Format::Text)]);
        let json: serde_json::Value = serde_json::from_str(&shape.to_json()).unwrap();
        assert_eq!(
            json,
            json!([{
                "name": name,
                "typeOid": 20,
                "tableOid": 16_400,
                "columnNumber": -1,
                "modifier": 12,
                "lane": Lane::BigInt64 as u8,
            }])
        );
        assert_eq!(Shape::new(Vec::new()).to_json(), "[]");
    }
}
