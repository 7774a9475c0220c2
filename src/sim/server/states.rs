//! States of the simulated server and its sessions.

use super::Server;
use crate::connection::Role;

impl Server {
    pub fn has_session(&self, session: u64) -> bool {
        self.sessions.contains_key(&session)
    }
}

/// What a session reports of the role by ParameterStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// The role at the login, and each change.
    Changes,
    /// A role that a pooler once heard, perhaps from another server.
    Stale(Role),
    /// Nothing, as servers before PostgreSQL 14.
    Nothing,
}

/// Whether a session runs a slow statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    Awake,
    Asleep,
    /// The statement over which the session slept runs now.
    Over,
}

/// What a session has received since its last Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amid {
    Nothing,
    Messages,
    /// A Flush was among them: its statements come one by one.
    Steps,
}

impl Amid {
    pub(super) fn behind(self, tag: u8) -> Self {
        match (tag, self) {
            (0 | b'S' | b'Q', _) => Self::Nothing,
            (b'H', _) | (_, Self::Steps) => Self::Steps,
            _ => Self::Messages,
        }
    }
}

/// Why a session stops reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It has read everything.
    Idle,
    /// It has answered a request, and may have more to read.
    Ready,
    /// It has committed, and must not answer before the standbys have the commit.
    Committed,
    Asleep,
}
