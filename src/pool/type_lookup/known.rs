//! What the pool knows of types, on which session it holds, and what follows for answers and calls.

use super::TypeLookup;
use crate::base::Instant;
use crate::connection::{Description, DescriptionState, Realm, Statements, TypesRefused};
use crate::pool::{Call, QueryFlags, Response, Slot};
use crate::protocol::backend::TransactionStatus;
use crate::types::{Catalog, ParameterType, UserType};

/// What a call needs whose statement was described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Due {
    Nothing,
    /// What is known of types is put into its description.
    Known,
    /// These types are asked for first.
    Question(Vec<u32>),
}

/// Why a server has not described all types that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Lack {
    /// A type is not there any more.
    Gone,
    /// The transaction that was open does not see a type.
    Unseen,
    /// A lock or a cancel came in between.
    Refused,
}

impl TypeLookup {
    pub(in crate::pool) fn knows_any(&self) -> bool {
        !self.catalog.is_empty()
    }

    /// Descriptions of statements and types hold no longer.
    pub(in crate::pool) fn forget(&mut self, statements: &mut Statements) {
        statements.forget_descriptions();
        self.catalog = Catalog::default();
        self.home.leave();
    }

    /// What is known is what holds on a session in this database from now on. False where it is not
    /// known whether it does.
    pub(in crate::pool) fn enter(
        &mut self,
        realm: Option<Realm>,
        statements: &mut Statements,
    ) -> bool {
        let Some(realm) = realm else { return self.catalog.is_empty() };
        if self.home.differs(realm) {
            self.forget(statements);
        }
        self.home.add(realm);
        true
    }

    /// The same, for a call that is about to be sent.
    pub(in crate::pool) fn enter_with_call(
        &mut self,
        now: Instant,
        slot: Option<&Slot>,
        statements: &mut Statements,
    ) -> bool {
        if self.catalog.is_empty() {
            self.home.is_empty_at(now);
        } else if self.home.is_old(now) && slot.is_some_and(|slot| slot.connection.is_pooled()) {
            self.forget(statements);
        }
        self.enter(slot.and_then(|slot| slot.realm), statements)
    }

    /// A server has described types on a connection, or has refused to. Returns what is lacking.
    pub(in crate::pool) fn add(
        &mut self,
        asked: &[u32],
        types: Result<Vec<(u32, UserType)>, TypesRefused>,
        slot: Option<&Slot>,
        statements: &mut Statements,
    ) -> Option<Lack> {
        let types = match types {
            Ok(types) => types,
            Err(TypesRefused { lasts: false }) => return Some(Lack::Refused),
            Err(TypesRefused { lasts: true }) => {
                // The role of a lease's session may be another one than the pool's.
                if slot.is_some_and(|slot| slot.takes_calls() && slot.connection.is_clean()) {
                    self.catalog.add_refusal(asked);
                }
                return None;
            }
        };
        if !statements.has_room_for_types(types.len()) {
            self.forget(statements);
        }
        statements.add_types(&types);
        let is_found = |oid: &u32| types.iter().any(|(known, _)| known == oid);
        let are_all_found = asked.iter().all(is_found);
        self.catalog.add(asked, types);
        match slot.and_then(|slot| slot.connection.transaction_status()) {
            _ if are_all_found => None,
            Some(TransactionStatus::Idle) => Some(Lack::Gone),
            // A transaction's snapshot may be older than a type.
            _ => Some(Lack::Unseen),
        }
    }

    /// Puts what is known into the shapes of an answer, and returns the oids that no server was
    /// asked for.
    pub(in crate::pool) fn name_types(&mut self, response: &mut Response) -> Vec<u32> {
        let mut unknown = Vec::new();
        for result in &mut response.results {
            if let Some(shape) = &mut result.shape {
                match self.catalog.name_types(shape) {
                    Ok(named) => *shape = named,
                    Err(oids) => unknown.extend(oids),
                }
            }
        }
        unknown
    }

    /// What is due for a call whose statement was described on a connection where what is known
    /// `holds`, or may not.
    pub(in crate::pool) fn due(&self, call: &Call, holds: bool) -> Due {
        let DescriptionState::Done(description) = &call.description else { return Due::Nothing };
        let needs_resolution = needs_resolution(call, description);
        let mut unknown = if needs_resolution { description.unresolved() } else { Vec::new() };
        // Arrays of domains among its results are asked for in binary, where it is known that they
        // are.
        unknown.extend(description.shape.iter().flat_map(|shape| shape.user_types()));
        unknown.retain(|oid| !(holds && self.catalog.has(*oid)));
        unknown.sort_unstable();
        unknown.dedup();
        match unknown.is_empty() {
            true if needs_resolution => Due::Known,
            true => Due::Nothing,
            false => Due::Question(unknown),
        }
    }

    /// A description with what is known of its parameters, as it is `taken`.
    pub(in crate::pool) fn resolved(
        &self,
        description: &Description,
        taken: impl Fn(ParameterType) -> ParameterType,
    ) -> Description {
        description.with_resolved(|oid| taken(self.catalog.parameter_type(oid)))
    }

    /// Whether the form of a call's values depends on a type that is not known so far.
    pub(in crate::pool) fn is_lacking(&self, call: &Call) -> bool {
        let DescriptionState::Done(description) = &call.description else { return false };
        needs_resolution(call, &self.resolved(description, |parameter| parameter))
    }
}

/// Whether the form of a call's values depends on types that a description does not know.
fn needs_resolution(call: &Call, description: &Description) -> bool {
    // Which values its caller writes is not known before it has written them.
    match call.flags.has(QueryFlags::VALUES_TO_COME) {
        true => !description.unresolved().is_empty(),
        false => call.params.needs_resolution(&description.resolved),
    }
}
