//! Floor 5: sockets, readiness, the only clock, and libuv's handles.
//!
//! Owns: every socket of a pool, when each socket is read and written, how much of that work one
//! turn of the loop may do, and the libuv handles that wake the loop. Imports the floors below, and
//! drives `pool` by its commands. Never knows of JavaScript, never starts a thread, never blocks,
//! and never looks up a name: it passes the names that connections need upwards, and gets their
//! addresses back.
//!
//! ```text
//! libuv ──wake──▶ Reactor::turn: readiness ─▶ read ─▶ pool ─▶ write ─▶ deadlines ─▶ timer
//! node ──commands─▶ Reactor::flush:                   pool ─▶ write ─────────────▶ timer
//! ```
//!
//! A pool has one reactor, and a reactor has one selector. On Unix this is mio's, whose descriptor
//! libuv polls. On Windows libuv polls each socket. Only `readiness` differs by system, and it
//! hides the difference.

mod cancel_requests;
mod clock;
mod closed_window;
mod io;
pub mod libuv;
mod libuv_symbols;
mod low_water;
mod passwords;
mod race;
#[cfg_attr(windows, path = "readiness_windows.rs")]
#[cfg_attr(not(windows), path = "readiness_unix.rs")]
mod readiness;
mod socket;
mod sockets;
mod system_error;
mod timer;
mod transport;
mod turn;

pub use closed_window::{TcpCalls, TcpReport};
pub use io::{ReactorEvent, SystemCalls};
pub use libuv::Wake;
pub use low_water::SetLowWater;
pub use socket::{Descriptor, PrepareSocket};
pub use sockets::Lookup;
pub use system_error::{Unreached, lookup_error, not_started};
pub use turn::{Reactor, poisoned};

pub use crate::tls::Facts;
