//! Floor 6: the addon, and the only code that knows Node-API.
//!
//! Owns: the entry points that `js/` calls, the reading of JavaScript's values, the segments in which rows
//! go back, the one place that calls into JavaScript (`client`), and the life of all that with its
//! environment. Imports `reactor` and the floors below. Never speaks PostgreSQL, never holds a borrow
//! across a call into JavaScript, never lets a panic leave.
//!
//! Node-API is used as it is, without a layer of macros over it: there are some twenty entry points, and every
//! status is looked at. An environment (the main thread, a worker, a vm context) has its own state, in its
//! instance data. What they share is the table of Node's functions alone.

mod client;
#[cfg(feature = "defects")]
mod defect;
mod deliver;
mod entry;
mod environment;
mod error_json;
mod event_json;
mod loop_callback;
mod params;
mod requests;
mod segment;
mod shape_slots;
mod sheet;
mod slip;
mod socket_calls;
mod transcode;
mod value;
