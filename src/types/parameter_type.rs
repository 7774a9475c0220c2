//! The type for which a parameter's values are encoded: the type that the server inferred, or the
//! base type of a domain.

use std::sync::Arc;

use super::oid;
use super::user_type::{ArrayOf, UserType};

/// The type of a parameter, as far as the pool knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterType {
    /// The type, or its base type if it is a domain.
    oid: u32,
    kind: Kind,
    /// The name of a user's type.
    name: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The oid says all. A user's type that no server describes is also of this kind: any value may
    /// fit it.
    Plain,
    /// A user's type that the pool has not asked a server to describe yet.
    Unresolved,
    /// An array of a user's type.
    Array(ArrayOf),
    /// A user's type that is neither an array nor a domain: an enum, a composite type, a range, or
    /// a type of an extension.
    Other,
}

impl ParameterType {
    /// The type that the server has not named yet.
    pub const NOT_KNOWN: Self = Self::plain(oid::NOT_KNOWN);

    pub const fn plain(oid: u32) -> Self {
        Self { oid, kind: Kind::Plain, name: None }
    }

    /// The type for an oid in a ParameterDescription.
    pub fn inferred(oid: u32) -> Self {
        let kind = if oid::is_of_users(oid) { Kind::Unresolved } else { Kind::Plain };
        Self { oid, kind, name: None }
    }

    pub(super) fn of_user(known: &UserType) -> Self {
        let kind = match known.array {
            _ if !oid::is_of_users(known.base) => Kind::Plain,
            Some(array) => Kind::Array(array),
            None => Kind::Other,
        };
        Self { oid: known.base, kind, name: Some(Arc::clone(&known.name)) }
    }

    pub fn is_unresolved(&self) -> bool {
        self.kind == Kind::Unresolved
    }

    /// The type after the question: if no server describes it, any value may fit it.
    #[must_use]
    pub fn taken_as_it_is(self) -> Self {
        match self.kind {
            Kind::Unresolved => Self { kind: Kind::Plain, ..self },
            Kind::Plain | Kind::Array(_) | Kind::Other => self,
        }
    }

    pub(super) const fn oid(&self) -> u32 {
        self.oid
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// The name for errors. Empty if the type is not known.
    pub(super) fn name(&self) -> String {
        match &self.name {
            Some(name) => match (self.kind, name.strip_prefix('_')) {
                (Kind::Array(_), Some(element)) => format!("{element}[]"),
                _ => name.to_string(),
            },
            None if self.oid == oid::NOT_KNOWN => String::new(),
            None => oid::name(self.oid),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use postgres_protocol::IsNull;

    use super::super::{Catalog, Params};
    use super::*;
    use crate::protocol::backend::Format;

    const MADE: u32 = 16_400;
    const INTS: u32 = 1007;

    /// The type [`MADE`], as a server described it.
    fn resolved(name: &str, base: u32, array: Option<u32>) -> ParameterType {
        let array = array.map(ArrayOf::plain);
        let mut catalog = Catalog::default();
        catalog.add(&[MADE], vec![(MADE, UserType { name: name.into(), base, array })]);
        catalog.parameter_type(MADE)
    }

    fn json() -> Params {
        let mut params = Params::new();
        let text = br#"{"a":1}"#;
        params
            .push_json_with(text.len(), |bytes| {
                bytes.extend_from_slice(text);
                Ok(())
            })
            .unwrap();
        params
    }

    fn array(numbers: &[f64]) -> Params {
        let mut params = Params::new();
        params.open_array();
        numbers.iter().for_each(|number| params.push_number(*number).unwrap());
        params.close_array().unwrap();
        params
    }

    fn bytes() -> Params {
        let mut params = Params::new();
        params.push_bytes(&[1]).unwrap();
        params
    }

    #[track_caller]
    fn written(params: &Params, of: &ParameterType, format: Format, expect: &[u8]) {
        let mut out = BytesMut::new();
        assert!(matches!(params.encode(0, of, &mut out), Ok(IsNull::No)));
        assert_eq!((params.format(0, of), &out[..]), (format, expect));
    }

    #[track_caller]
    fn refused(params: &Params, of: &ParameterType, message: &str) {
        let mut out = BytesMut::from(&b"before"[..]);
        let error = params.encode(0, of, &mut out).err().unwrap();
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn a_domain_is_fitted_as_the_type_under_it() {
        let (email, doc) = (resolved("email", oid::TEXT, None), resolved("doc", oid::JSONB, None));
        refused(&json(), &email, "parameter $1 of type email: an object fits json");
        refused(&array(&[1.0]), &email, "parameter $1 of type email: an array fits");
        refused(&bytes(), &email, "parameter $1 of type email: a Buffer");
        written(&json(), &doc, Format::Text, br#"{"a":1}"#);
        written(&array(&[]), &doc, Format::Text, b"[]");
        let file = resolved("file", oid::BYTEA, None);
        written(&bytes(), &file, Format::Binary, &[1]);
        let row = resolved("row_of", INTS, Some(oid::INT4));
        refused(&json(), &row, "parameter $1 of type row_of: an object fits json");
        written(&array(&[]), &row, Format::Binary, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
    }

    #[test]
    fn arrays_of_users_take_arrays_whose_elements_fit() {
        let moods = resolved("_mood", MADE, Some(16_399));
        written(&array(&[]), &moods, Format::Text, b"{}");
        written(&array(&[1.0, 0.5]), &moods, Format::Text, b"{1,0.5}");
        refused(&json(), &moods, "parameter $1 of type mood[]: an object fits json");
        refused(&bytes(), &moods, "parameter $1 of type mood[]: a Buffer");
        // An array of a domain over int4.
        let counts = resolved("_count", MADE, Some(oid::INT4));
        written(&array(&[1.0, 2.0]), &counts, Format::Text, b"{1,2}");
        refused(
            &array(&[1.0, 0.5]),
            &counts,
            "parameter $1 of type count[]: a number with a fraction",
        );
    }

    #[test]
    fn other_types_of_users_take_no_arrays_and_no_objects() {
        let mood = resolved("mood", MADE, None);
        refused(&array(&[]), &mood, "parameter $1 of type mood: an array fits");
        refused(&json(), &mood, "parameter $1 of type mood: an object fits");
        // An extension's type may have a binary form that the caller knows.
        written(&bytes(), &mood, Format::Binary, &[1]);
    }

    #[test]
    fn a_value_that_depends_on_its_type_needs_resolution_of_a_user_type() {
        let unresolved = ParameterType::inferred(MADE);
        assert!(unresolved.is_unresolved() && !ParameterType::inferred(oid::JSONB).is_unresolved());
        assert!(json().needs_resolution(std::slice::from_ref(&unresolved)));
        assert!(!json().needs_resolution(&[ParameterType::inferred(oid::JSONB)]));
        let mut text = Params::new();
        text.push_text("sad").unwrap();
        assert!(!text.needs_resolution(std::slice::from_ref(&unresolved)));
        assert!(!json().needs_resolution(&[unresolved.taken_as_it_is()]));
    }

    #[test]
    fn a_type_that_no_server_describes_is_taken_for_what_a_value_fits() {
        let mut catalog = Catalog::default();
        catalog.add_refusal(&[MADE]);
        let unknown = catalog.parameter_type(MADE);
        written(&json(), &unknown, Format::Text, br#"{"a":1}"#);
        written(&array(&[]), &unknown, Format::Text, b"\x0b{}");
    }
}
