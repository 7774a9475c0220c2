//! What the pool itself does on a connection, and what that has to write.

use super::connections::Duty;
use super::{ConnectionId, Output, Pool};
use crate::base::{Instant, Mutation};

impl Pool {
    pub(super) fn mark_writing(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id)
            && !slot.writing
            && !slot.connection.outgoing().is_empty()
        {
            slot.writing = true;
            self.outputs.push_back(Output::Write { connection: id });
        }
    }

    /// Discards what the last user of a connection left behind.
    pub(super) fn clean(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id)
            && slot.takes_calls()
            && !slot.connection.is_clean()
            && !slot.connection.is_resetting()
            && !Mutation::ForgetReset.is_on()
        {
            slot.connection.reset(now);
            self.mark_writing(id);
        }
    }

    pub(super) fn free_slot(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.duty = Duty::Serving;
        }
    }

    pub(super) fn ask_session(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.connection.ask_place(now);
            self.mark_writing(id);
        }
    }

    /// Asks a session which database it is in, where that is to be known and nothing is in the way.
    pub(super) fn ask_realm(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.connections.get_mut(id) else { return };
        let is_known = slot.realm.is_some() || slot.connection.is_asking_realm();
        if !is_known && slot.cancelling.is_none() && slot.is_at_rest() {
            slot.connection.ask_realm(now);
            self.mark_writing(id);
        }
    }

    /// A connection is about to be closed in the middle of its work: the server would go on with
    /// that otherwise. A COMMIT goes on, and so does what stands in front of one: the signal may
    /// come when its turn has come.
    pub(super) fn cancel_work(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get(id)
            && slot.connection.first_request().is_some()
            && !self.has_commit(id)
            && let Some(packet) = slot.connection.cancel_request()
        {
            self.outputs.push_back(Output::Cancel { connection: id, packet });
        }
    }
}
