//! Whose types the pool knows: those of one database of one cluster, which is compared on each
//! session.
//!
//! As long as the pool knows no type that a user made, no session is asked. The one that tells the
//! first is asked along with that, and each other one in front of its next call, or at once where
//! it is new: no round trip is spent. Where a session turns out to be in another database, what was
//! told elsewhere is forgotten before anything of that session is read. Before a session is known
//! nothing that holds for such types is used there.

use super::{ConnectionId, Pool};
use crate::base::Instant;
use crate::connection::{Realm, Statement, StatementId};
use crate::types::Catalog;

impl Pool {
    /// What is known of users' types is what holds on this connection from now on. False where
    /// nobody knows whether it does.
    pub(super) fn enter(&mut self, id: ConnectionId) -> bool {
        let Some(realm) = self.slots.get(id).and_then(|slot| slot.realm) else {
            return self.catalog.is_empty();
        };
        if self.realm.differs(realm) {
            self.forget_types();
            self.realm = realm;
        } else {
            self.realm = self.realm.with(realm);
        }
        true
    }

    /// What servers have told of statements and types holds no longer.
    pub(super) fn forget_types(&mut self) {
        self.statements.forget_descriptions();
        (self.catalog, self.realm) = (Catalog::default(), Realm::default());
    }

    /// A call is about to be sent. Returns whether what is known of its statement may not hold
    /// there.
    pub(super) fn is_strange(
        &mut self,
        now: Instant,
        id: ConnectionId,
        statement: StatementId,
    ) -> bool {
        if self.enter(id) {
            return false;
        }
        self.ask_realm(now, id);
        self.statements.get(statement).is_some_and(Statement::has_user_types)
    }

    /// Asks a session which database it is in, where that is to be known and nothing is in the way.
    pub(super) fn ask_realm(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let is_known = slot.realm.is_some() || slot.connection.is_asking_realm();
        if !is_known && slot.cancelling.is_none() && slot.is_at_rest() {
            slot.connection.ask_realm(now);
            self.mark_writing(id);
        }
    }
}
