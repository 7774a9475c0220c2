//! Whose types the pool knows: those of one database of one cluster, which is compared on each
//! session.
//!
//! As long as the pool knows no type that a user made, it asks no session. It asks the session that
//! describes the first such type along with that, and each other session in front of its next call,
//! or at once if the session is new: this costs no round trip. If a session turns out to be in
//! another database, the pool forgets these types before it reads anything of that session. Until a
//! session has reported its database, nothing that the pool knows of such types is used there.
//!
//! A database hands an oid out once. But what was not replicated is lost with a failover, and what
//! was done since a backup with its restoration, and then the same oids are handed out again, for
//! other types. So what is known is forgotten as well when another host serves, when one can't be
//! reached any more, and when a server was started that is new to the pool. None of that shows
//! behind a pooler, which keeps its sessions through all of it: there types are asked for anew now
//! and then.

use std::time::Duration;

use crate::base::Instant;
use crate::connection::Realm;

/// So long types are known behind a pooler, as prepared statements are anywhere.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// So many servers' starts are remembered.
const MOST_STARTS: usize = 64;

/// Which database the types are of.
#[derive(Debug, Default)]
pub(super) struct Home {
    realm: Realm,
    /// When the servers were started that have been met, the latest last.
    starts: Vec<i64>,
    /// When no type was known yet.
    empty_at: Option<Instant>,
}

impl Home {
    /// Whether types may be others there than those that are known.
    pub(super) fn differs(&self, realm: Realm) -> bool {
        let is_new = |started| !self.starts.is_empty() && !self.starts.contains(&started);
        realm.started().is_some_and(is_new) || self.realm.differs(realm)
    }

    pub(super) fn add(&mut self, realm: Realm) {
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

    /// No type is known so far.
    pub(super) fn is_empty_at(&mut self, now: Instant) {
        self.empty_at = Some(now);
    }

    /// What is known has been known for so long that it is asked for anew behind a pooler.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.empty_at.is_none_or(|at| now.since(at) >= KNOWN_FOR)
    }

    /// No type is known any more. The servers that were met are.
    pub(super) fn leave(&mut self) {
        self.realm = Realm::default();
    }
}
