//! The types of users and extensions that servers have described, and the shapes that have such
//! types.
//!
//! An oid never changes its meaning within a cluster. A type that is dropped and created again gets
//! another oid, and a standby has its primary's oids. For another list of hosts, and for a session
//! in another database, the pool begins a new catalog. Only a name becomes stale, when its type is
//! renamed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ParameterType;
use super::decode::Shape;
use super::user_type::UserType;

/// More types than a client meets in practice. Beyond this number the catalog begins anew.
const MOST_TYPES: usize = 10_000;
/// How many shapes are kept that were found to hold for their statements.
const MOST_SHAPES: usize = 512;

#[derive(Debug, Default)]
pub struct Catalog {
    /// `None`: the server refuses to describe the type to the pool's role.
    types: BTreeMap<u32, Option<UserType>>,
    /// The shapes with such types, by the address of the statement's own shape. Both shapes are
    /// kept alive, so that no other shape can get that address.
    shapes: BTreeMap<usize, (Arc<Shape>, Arc<Shape>)>,
}

impl Catalog {
    /// Adds the types that a server has described. `asked` are the oids that it was asked about.
    pub fn add(&mut self, asked: &[u32], found: Vec<(u32, UserType)>) {
        self.make_room_for(asked.len());
        let found = found.into_iter().filter(|(oid, _)| asked.contains(oid));
        self.types.extend(found.map(|(oid, known)| (oid, Some(known))));
    }

    /// Records that a server refuses to describe these types, and always will. A type that does not
    /// exist counts as not refused: an answer that was in flight when the type was dropped may
    /// still contain its values.
    pub fn add_refusal(&mut self, asked: &[u32]) {
        self.make_room_for(asked.len());
        self.types.extend(asked.iter().map(|oid| (*oid, None)));
    }

    fn make_room_for(&mut self, count: usize) {
        if self.types.len() + count > MOST_TYPES {
            *self = Self::default();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Whether a server has described the type, or has refused to.
    pub fn has(&self, oid: u32) -> bool {
        self.types.contains_key(&oid)
    }

    pub fn get(&self, oid: u32) -> Option<&UserType> {
        self.types.get(&oid)?.as_ref()
    }

    /// The parameter type by which values for this oid are encoded.
    pub fn parameter_type(&self, oid: u32) -> ParameterType {
        match self.types.get(&oid) {
            Some(Some(known)) => ParameterType::of_user(known),
            Some(None) => ParameterType::plain(oid),
            None => ParameterType::inferred(oid),
        }
    }

    /// The shape with all that is known about its types, or the oids that no server was asked about
    /// yet.
    pub fn name_types(&mut self, shape: &Arc<Shape>) -> Result<Arc<Shape>, Vec<u32>> {
        if !shape.has_user_types() {
            return Ok(Arc::clone(shape));
        }
        let address = Arc::as_ptr(shape).addr();
        if let Some((_, named)) = self.shapes.get(&address) {
            return Ok(Arc::clone(named));
        }
        let mut unknown: Vec<_> =
            shape.user_types().filter(|oid| !self.types.contains_key(oid)).collect();
        if !unknown.is_empty() {
            unknown.sort_unstable();
            unknown.dedup();
            return Err(unknown);
        }
        let named = Arc::new(shape.with_types(|oid| self.get(oid)));
        if self.shapes.len() >= MOST_SHAPES {
            self.shapes.clear();
        }
        self.shapes.insert(address, (Arc::clone(shape), Arc::clone(&named)));
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::backend::{Field, Format};
    use crate::types::user_type::ArrayOf;

    const MOODS: u32 = 16_400;

    fn shape(type_oid: u32) -> Arc<Shape> {
        let field = Field {
            name: "a".to_owned(),
            table_oid: 0,
            column_number: 0,
            type_oid,
            type_size: -1,
            type_modifier: -1,
            format: Format::Text,
        };
        Arc::new(Shape::new(vec![field]))
    }

    fn moods() -> UserType {
        let array = Some(ArrayOf { member: 16_399, ..ArrayOf::plain(16_399) });
        UserType { name: "_mood".into(), base: MOODS, array }
    }

    #[test]
    fn a_shape_is_named_once_and_is_the_same_from_then_on() {
        let mut catalog = Catalog::default();
        let built_in = shape(23);
        assert!(Arc::ptr_eq(&catalog.name_types(&built_in).unwrap(), &built_in));
        let plain = shape(MOODS);
        assert_eq!(catalog.name_types(&plain), Err(vec![MOODS]));
        catalog.add(&[MOODS], vec![(MOODS, moods()), (99_999, moods())]);
        assert_eq!(catalog.get(99_999), None, "nobody asked for it");
        let named = catalog.name_types(&plain).unwrap();
        assert!(named.to_json().contains(r#""typeName":"_mood""#));
        assert!(Arc::ptr_eq(&catalog.name_types(&plain).unwrap(), &named));
        assert!(Arc::ptr_eq(&catalog.name_types(&named).unwrap(), &named));
    }

    #[test]
    fn a_type_that_the_server_refuses_to_describe_is_not_asked_for_again() {
        let mut catalog = Catalog::default();
        catalog.add_refusal(&[MOODS]);
        let plain = shape(MOODS);
        assert_eq!(catalog.name_types(&plain).unwrap().columns(), plain.columns());
    }

    #[test]
    fn a_type_that_is_not_there_is_asked_for_again_by_an_answer_that_has_it() {
        let mut catalog = Catalog::default();
        catalog.add(&[MOODS], Vec::new());
        assert_eq!(catalog.name_types(&shape(MOODS)), Err(vec![MOODS]));
    }

    #[test]
    fn a_catalog_stays_small() {
        let mut catalog = Catalog::default();
        for n in 0..30_000 {
            catalog.add(&[MOODS + n], vec![(MOODS + n, moods())]);
            catalog.name_types(&shape(MOODS + n)).unwrap();
        }
        assert!(catalog.types.len() <= MOST_TYPES && catalog.shapes.len() <= MOST_SHAPES);
    }
}
