//! A statement that is described and run in the same transaction, with a single Sync after both
//! (`steps`). From the Parse on, the server holds a lock on each of the statement's tables. So no
//! DDL can come between the rows and the description of their types, including users' types.
//!
//! This takes up to four round trips more than a flight. So it is used only for statements that
//! servers have refused again and again because of outdated descriptions.

use std::sync::Arc;

use bytes::BytesMut;

use super::wire::{Values, bind_and_run};
use crate::base::Error;
use crate::connection::Request;
use crate::connection::introspection::user_types::UserTypes;
use crate::connection::statement::Description;
use crate::connection::statement::staleness::Relies;
use crate::types::{Catalog, ParameterType, Params, Shape};

/// The values and types of the statement, which it needs once it is described.
#[derive(Debug)]
pub(in crate::connection) struct Held {
    params: Params,
    /// The description for which the values were written, if the caller has written them.
    declared: Option<Arc<Description>>,
    /// The types that the server inferred.
    parameter_types: Vec<u32>,
    /// The users' types that the server has described.
    catalog: Catalog,
    unrun: Option<Unrun>,
}

/// Why the statement was not run.
#[derive(Debug)]
pub(in crate::connection) enum Unrun {
    /// A type that is not locked no longer existed.
    LacksType,
    /// A value can't be written.
    EncodeError(Error),
}

impl Held {
    pub(in crate::connection) fn new(request: &Request<'_>) -> Self {
        Self {
            params: request.params.clone(),
            declared: request.description.get().cloned(),
            parameter_types: Vec::new(),
            catalog: Catalog::default(),
            unrun: None,
        }
    }

    /// The types that are declared to the server.
    pub(in crate::connection) fn declared(&self) -> &[u32] {
        self.declared.as_ref().map_or(&[], |own| &own.parameter_types)
    }

    pub(in crate::connection) fn infer(&mut self, parameter_types: Vec<u32>) {
        self.parameter_types = parameter_types;
    }

    /// The users' types that have to be resolved before the statement runs: all types of its
    /// results, and those types of its parameters on which a value depends.
    pub(in crate::connection) fn user_types(&self, shape: Option<&Shape>) -> Vec<u32> {
        let inferred = |oid: &u32| ParameterType::inferred(*oid);
        let resolved: Vec<_> = self.parameter_types.iter().map(inferred).collect();
        let needs_resolution = self.declared.is_none() && self.params.needs_resolution(&resolved);
        let of_values = self.parameter_types.iter().zip(&resolved);
        let of_values = of_values.filter(|(_, of)| needs_resolution && of.is_unresolved());
        let of_results = shape.into_iter().flat_map(Shape::user_types);
        let mut oids: Vec<_> = of_values.map(|(oid, _)| *oid).chain(of_results).collect();
        oids.sort_unstable();
        oids.dedup();
        oids
    }

    /// Adds the users' types that the server has described.
    pub(in crate::connection) fn add_types(&mut self, asked: &[u32], types: &UserTypes) {
        if !asked.iter().all(|oid| types.iter().any(|(known, _)| known == oid)) {
            self.unrun = Some(Unrun::LacksType);
        }
        self.catalog.add(asked, types.clone());
    }

    /// Binds and runs the statement, unless a value can't be written.
    pub(in crate::connection) fn run(&mut self, shape: Option<&Shape>, out: &mut BytesMut) {
        let resolved: Vec<_> = match &self.declared {
            Some(own) => own.resolved.clone(),
            None => {
                let of = |oid: &u32| self.catalog.parameter_type(*oid).taken_as_it_is();
                self.parameter_types.iter().map(of).collect()
            }
        };
        let mark = out.len();
        let done = bind_and_run(out, "", &self.params, Values::Encoded(&resolved), shape);
        if done.is_err() {
            out.truncate(mark);
        }
        self.unrun = done.err().map(Unrun::EncodeError);
    }

    /// Puts the names of users' types into the shape of its result.
    pub(in crate::connection) fn name_types(&mut self, shape: Arc<Shape>) -> Arc<Shape> {
        self.catalog.name_types(&shape).unwrap_or(shape)
    }

    pub(in crate::connection) fn relies(&self) -> Relies {
        match self.declared {
            Some(_) => Relies::declared(&self.params),
            None => Relies::OnLocks,
        }
    }

    pub(in crate::connection) fn is_unrun(&self) -> bool {
        self.unrun.is_some()
    }

    pub(in crate::connection) fn take_unrun(&mut self) -> Option<Unrun> {
        self.unrun.take()
    }
}
