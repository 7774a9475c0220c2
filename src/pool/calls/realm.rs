//! Whose types the pool knows: those of one database of one cluster, which is compared on each
//! session.
//!
//! As long as the pool knows no type that a user made, no session is asked. The one that tells the
//! first is asked along with that, and each other one in front of its next call, or at once where
//! it is new: no round trip is spent. Where a session turns out to be in another database, what was
//! told elsewhere is forgotten before anything of that session is read. Before a session is known
//! nothing that holds for such types is used there.
//!
//! A database hands an oid out once. But what was not replicated is lost with a failover, and what
//! was done since a backup with its restoration, and then the same oids are handed out again, for
//! other types. So what is known is forgotten as well when another host serves, when one can't be
//! reached any more, and when a server was started that is new to the pool. None of that shows
//! behind a pooler, which keeps its sessions through all of it: there types are asked for anew now
//! and then.

use std::time::Duration;

use super::{Calls, Context};
use crate::base::Instant;
use crate::connection::{Realm, Statement, StatementId};
use crate::pool::ConnectionId;
use crate::types::Catalog;

/// So long types are known behind a pooler, as prepared statements are anywhere.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// So many servers' starts are remembered.
const MOST_STARTS: usize = 64;

/// Which database the types are of.
#[derive(Debug, Default)]
pub(in crate::pool) struct Home {
    realm: Realm,
    /// When the servers were started that have been met, the latest last.
    starts: Vec<i64>,
    /// When no type was known yet.
    empty_at: Option<Instant>,
}

impl Home {
    /// Whether types may be others there than those that are known.
    fn differs(&self, realm: Realm) -> bool {
        let is_new = |started| !self.starts.is_empty() && !self.starts.contains(&started);
        realm.started().is_some_and(is_new) || self.realm.differs(realm)
    }

    fn add(&mut self, realm: Realm) {
        self.realm = self.realm.with(realm);
        if let Some(started) = realm.started()
            && !self.starts.contains(&started)
        {
            if self.starts.len() == MOST_STARTS {
                self.starts.remove(0);
            }
            self.starts.push(started);
        }
    }
}

impl Calls {
    /// What is known of users' types is what holds on this connection from now on. False where
    /// it is not known whether it does.
    pub(in crate::pool) fn enter(&mut self, id: ConnectionId, cx: &mut Context<'_>) -> bool {
        self.forget_lost_types(cx);
        let Some(realm) = cx.connections.get(id).and_then(|slot| slot.realm) else {
            return self.catalog.is_empty();
        };
        if self.home.differs(realm) {
            self.forget_types();
        }
        self.home.add(realm);
        true
    }

    /// A host has left, or another one has come in its place: what was done since may be lost.
    fn forget_lost_types(&mut self, cx: &mut Context<'_>) {
        if cx.discovery.take_lost_types() && !self.catalog.is_empty() {
            self.forget_types();
        }
    }

    /// What servers have told of statements and types holds no longer.
    pub(in crate::pool) fn forget_types(&mut self) {
        self.statements.forget_descriptions();
        (self.catalog, self.home.realm) = (Catalog::default(), Realm::default());
    }

    /// A call is about to be sent. Returns whether what is known of its statement may not hold
    /// there.
    pub(in crate::pool) fn is_strange(
        &mut self,
        now: Instant,
        id: ConnectionId,
        statement: StatementId,
        cx: &mut Context<'_>,
    ) -> bool {
        self.forget_lost_types(cx);
        if self.catalog.is_empty() {
            self.home.empty_at = Some(now);
        } else if self.home.empty_at.is_none_or(|at| now.since(at) >= KNOWN_FOR)
            && cx.connections.get(id).is_some_and(|slot| slot.connection.is_pooled())
        {
            self.forget_types();
        }
        if self.enter(id, cx) {
            return false;
        }
        cx.connections.ask_realm(now, id);
        self.statements.get(statement).is_some_and(Statement::has_user_types)
    }
}
