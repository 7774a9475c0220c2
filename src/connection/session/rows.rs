//! Rows that arrive, and the item of the pipeline that each of them belongs to.

use super::Session;
use crate::base::Error;
use crate::connection::introspection::lineage::Place;
use crate::connection::introspection::role::Role;
use crate::connection::request::exchange::Exchange;
use crate::connection::request::pipeline::Kind;
use crate::connection::request::step::unexpected;

impl Session {
    pub(in crate::connection) fn row(&mut self, body: &[u8]) -> Result<(), Error> {
        match self.pipeline.front_mut().map(|item| &mut item.kind) {
            Some(Kind::Request { exchange, .. }) => exchange.row(body),
            Some(Kind::Barrier { process: Some(asked), .. }) => asked.row(body),
            Some(Kind::Barrier { asked: true, role, .. }) => {
                *role = Some(Role::from_row(body)?);
                Ok(())
            }
            Some(Kind::Types(asked)) => {
                asked.row(body);
                Ok(())
            }
            Some(Kind::Place { place }) => {
                *place = Place::from_row(body);
                Ok(())
            }
            Some(Kind::Barrier { asked: false, .. } | Kind::Reset { .. }) | None => {
                Err(unexpected("DataRow"))
            }
        }
    }

    /// Begins a row that arrives in parts. Returns whether the parts are wanted: answers to the
    /// pool's own questions are never so long.
    pub(in crate::connection) fn begin_row(&mut self, length: usize) -> Result<bool, Error> {
        match self.pipeline.front_mut().map(|item| &mut item.kind) {
            Some(Kind::Request { exchange, .. }) => exchange.begin_row(length),
            Some(Kind::Types(_) | Kind::Place { .. }) => Ok(false),
            Some(Kind::Barrier { .. } | Kind::Reset { .. }) | None => Err(unexpected("DataRow")),
        }
    }

    /// Takes the next part of the row, of which `left` bytes are still to come.
    pub(in crate::connection) fn row_part(&mut self, part: &[u8], left: usize) -> bool {
        self.asked_for().is_some_and(|exchange| exchange.row_part(part, left))
    }

    pub(in crate::connection) fn end_row(&mut self) -> Result<(), Error> {
        self.asked_for().map_or(Ok(()), |exchange| exchange.end_row())
    }

    /// A RowDescription was skipped because it is too long.
    pub(in crate::connection) fn long_description(&mut self) -> Result<(), Error> {
        match self.asked_for() {
            Some(exchange) => exchange.long_description(),
            None => Err(unexpected("RowDescription")),
        }
    }

    fn asked_for(&mut self) -> Option<&mut Exchange> {
        match &mut self.pipeline.front_mut()?.kind {
            Kind::Request { exchange, .. } => Some(exchange),
            Kind::Barrier { .. } | Kind::Reset { .. } | Kind::Place { .. } | Kind::Types(_) => None,
        }
    }
}
