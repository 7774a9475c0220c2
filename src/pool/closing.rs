//! Connections that are taken out of the pool.

use super::connections::Duty;
use super::{ConnectionId, Output, Pool};
use crate::base::{Error, ErrorClass};

impl Pool {
    /// Takes a connection out of the pool for good, whatever is in flight on it. Nothing is sent
    /// there any more. What was in flight is settled once the pool is done with what it does at the
    /// moment (`settle_dropped`): that may drop other connections.
    pub(super) fn drop_slot(&mut self, id: ConnectionId, error: Error) {
        if let Some(slot) = self.connections.get_mut(id)
            && !std::mem::replace(&mut slot.is_dropped, true)
        {
            self.dropped.push_back((id, error));
        }
    }

    /// Closes a connection that has nothing in flight.
    pub(super) fn retire(&mut self, id: ConnectionId) {
        let farewell = self.connections.get(id).map(|slot| slot.connection.farewell());
        self.remove_slot(id, farewell.unwrap_or_default());
    }

    pub(super) fn remove_slot(&mut self, id: ConnectionId, farewell: Vec<u8>) {
        if let Some(slot) = self.connections.remove(id) {
            if let Duty::Leased { lease } = slot.duty {
                let message = "the connection was closed by the pool";
                let code = "HYPERION_CONNECTION_LOST";
                self.vacate(lease, Error::new(ErrorClass::Connection, code, message));
            }
            if slot.connection.has_moved_names() {
                self.statements.names_moved();
            }
            if let Some(then) = slot.connection.role_told_at() {
                self.cluster.said_until(slot.host, then);
            }
            self.outputs.push_back(Output::Close { connection: id, farewell });
            self.release_untyped_of(id);
        }
    }

    /// A connection that has nothing to do on a host that does not serve.
    pub(super) fn retire_if_useless(&mut self, id: ConnectionId) {
        let useless = |slot: &super::Slot| slot.is_idle() && (slot.spent || !self.may_serve(id));
        if self.connections.get(id).is_some_and(useless) {
            self.retire(id);
        }
    }
}
