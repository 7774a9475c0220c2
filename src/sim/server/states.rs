//! What the simulated server and its sessions may be at.

use crate::connection::Role;

/// What sessions report of the role by ParameterStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// What it is at the login, and each change.
    Changes,
    /// What a pooler heard once, of whomever.
    Stale(Role),
    /// Nothing, as before PostgreSQL 14.
    Nothing,
}

/// Whether a session runs a slow statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    Awake,
    Asleep,
    /// The statement that it slept over runs now.
    Over,
}

/// Why a session reads no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It has read all there is.
    Idle,
    /// It has answered a request, and may have more to read.
    Ready,
    /// It has committed, and may not say so before the standbys have it.
    Committed,
    Asleep,
}
