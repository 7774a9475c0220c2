//! Reads that wait after a call that does not answer.

use super::View;
use crate::base::Key;
use crate::pool::{Call, ConnectionId};

/// The reads after the first request of a connection that could go elsewhere.
pub(in crate::pool) fn stuck_behind(id: ConnectionId, view: &View<'_>) -> Vec<Key<Call>> {
    let behind = view.connections.get(id).into_iter().flat_map(|slot| slot.connection.requests());
    let moves = |key: &Key<Call>| {
        view.requests.get(*key).is_some_and(|call| {
            call.lease.is_none()
                && call.given_up.is_none()
                && !call.is_copy()
                && call
                    .statement_in(view.statements)
                    .is_some_and(|statement| statement.is_plain_read)
        })
    };
    behind.skip(1).map(|token| Key::from_bits(token.0)).filter(moves).collect()
}
