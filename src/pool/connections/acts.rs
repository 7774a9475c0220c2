//! What the pool does to a connection, the outputs that follow, and the end of a connection.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{ConnectionId, Connections, Duty, Slot};
use crate::base::{Error, Instant, Mutation};
use crate::cluster::{HostId, Topology};
use crate::pool::{CloseReason, Output};

/// What is left of a closed connection.
#[derive(Debug)]
pub(in crate::pool) struct Closed {
    pub(in crate::pool) id: ConnectionId,
    pub(in crate::pool) host: HostId,
    /// The lease to which it still belonged.
    pub(in crate::pool) lease: Option<NonZeroU32>,
    /// Whether its session may have changed what names in statements mean.
    pub(in crate::pool) has_moved_names: bool,
    pub(in crate::pool) role_reported_at: Option<Instant>,
    /// The host's name.
    pub(in crate::pool) name: Arc<str>,
    /// When the login was complete, if it ever was.
    pub(in crate::pool) joined_at: Option<Instant>,
    pub(in crate::pool) reason: CloseReason,
    pub(in crate::pool) error: Option<Error>,
}

impl Connections {
    /// The next output for the sockets.
    pub(in crate::pool) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Opens a session. If the host's name leads to several addresses, those in `last` are tried
    /// last.
    pub(in crate::pool) fn open(&mut self, slot: Slot, last: Vec<SocketAddr>) {
        let (host, address) = (Arc::clone(&slot.target), slot.address);
        let connection = self.insert(slot);
        self.outputs.push_back(Output::Open { connection, host, address, last });
    }

    pub(in crate::pool) fn mark_writing(&mut self, id: ConnectionId) {
        if let Some(slot) = self.get_mut(id)
            && !slot.writing
            && !slot.connection.outgoing().is_empty()
        {
            slot.writing = true;
            self.outputs.push_back(Output::Write { connection: id });
        }
    }

    /// Discards the state that the last user of a connection left behind.
    pub(in crate::pool) fn clean(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.get_mut(id)
            && slot.takes_calls()
            && !slot.connection.is_clean()
            && !slot.connection.is_resetting()
            && !Mutation::ForgetReset.is_on()
        {
            slot.connection.reset(now);
            self.mark_writing(id);
        }
    }

    pub(in crate::pool) fn free_slot(&mut self, id: ConnectionId) {
        if let Some(slot) = self.get_mut(id) {
            slot.duty = Duty::Serving;
        }
    }

    /// Asks a session for its host's lineage, and for the host that it follows.
    pub(in crate::pool) fn ask_place(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.get_mut(id) {
            slot.connection.ask_place(now);
            self.mark_writing(id);
        }
    }

    /// Asks a session which database it is in, if the pool needs to know and the session can be
    /// asked now.
    pub(in crate::pool) fn ask_realm(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.get_mut(id) else { return };
        let is_known = slot.realm.is_some() || slot.connection.is_asking_realm();
        if !is_known && slot.cancelling.is_none() && slot.is_at_rest() {
            slot.connection.ask_realm(now);
            self.mark_writing(id);
        }
    }

    /// Asks a session for the role of its host.
    pub(in crate::pool) fn probe(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.get_mut(id) {
            slot.connection.probe(now);
            self.mark_writing(id);
        }
    }

    /// Has the server cancel what it runs on a connection, by a CancelRequest. Returns whether one
    /// can be sent.
    pub(in crate::pool) fn send_cancel(&mut self, id: ConnectionId) -> bool {
        let packet = self.get(id).and_then(|slot| slot.connection.cancel_request());
        let Some(packet) = packet else { return false };
        self.outputs.push_back(Output::Cancel { connection: id, packet });
        true
    }

    /// A connection was given to a caller. It expires after `most` uses, if there is such a limit.
    pub(in crate::pool) fn count_use(&mut self, id: ConnectionId, most: Option<u64>) {
        if let Some(most) = most
            && let Some(slot) = self.get_mut(id)
        {
            slot.uses += 1;
            slot.expired |= slot.uses >= most;
        }
    }

    /// Closes a connection that has nothing in flight.
    pub(in crate::pool) fn retire(&mut self, id: ConnectionId) {
        let is_expired = self.get(id).is_some_and(|slot| slot.expired);
        let reason = if is_expired { CloseReason::Expired } else { CloseReason::Unneeded };
        self.retire_for(id, reason);
    }

    /// Closes a connection that has nothing in flight, for this reason.
    pub(in crate::pool) fn retire_for(&mut self, id: ConnectionId, reason: CloseReason) {
        self.close(id, reason, None);
    }

    /// Closes an idle connection to a host that does not serve.
    pub(in crate::pool) fn retire_if_useless(&mut self, id: ConnectionId, topology: &Topology) {
        let Some(slot) = self.get(id) else { return };
        if slot.is_idle() && (slot.expired || !topology.serves(slot.host)) {
            self.retire(id);
        }
    }

    pub(in crate::pool) fn close(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        error: Option<Error>,
    ) {
        if let Some(slot) = self.remove(id) {
            let lease = match slot.duty {
                Duty::Leased { lease } => Some(lease),
                _ => None,
            };
            let terminate = slot.connection.terminate();
            self.outputs.push_back(Output::Close { connection: id, terminate });
            self.closed.push_back(Closed {
                id,
                host: slot.host,
                lease,
                has_moved_names: slot.connection.has_moved_names(),
                role_reported_at: slot.connection.role_reported_at(),
                name: Arc::clone(&slot.target.name),
                joined_at: slot.joined_at,
                reason,
                error,
            });
        }
    }

    /// Removes a connection from the pool for good, whatever is in flight on it. Nothing more is
    /// sent there. The requests in flight are settled after the pool's present step, which may drop
    /// other connections too.
    pub(in crate::pool) fn drop_slot(&mut self, id: ConnectionId, error: Error) {
        if let Some(slot) = self.get_mut(id)
            && !std::mem::replace(&mut slot.is_dropped, true)
        {
            self.dropped.push_back((id, error));
        }
    }

    /// The next dropped connection, with the reason. It is to be closed with everything that is in
    /// flight on it.
    pub(in crate::pool) fn next_dropped(&mut self) -> Option<(ConnectionId, Error)> {
        self.dropped.pop_front()
    }

    /// The next closed connection that was not followed up yet.
    pub(in crate::pool) fn next_closed(&mut self) -> Option<Closed> {
        self.closed.pop_front()
    }

    #[inline]
    pub(in crate::pool) fn is_all_followed_up(&self) -> bool {
        self.dropped.is_empty() && self.closed.is_empty()
    }
}
