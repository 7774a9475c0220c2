//! Floor 6: the addon, and the only code that uses Node-API.
//!
//! Owns: the entry points that `js/` calls, the reading of JavaScript's values, the segments in
//! which rows go back, the one place that calls into JavaScript (`client`), and the lifetime of
//! these in their environment. Imports `reactor` and the floors below. Never speaks PostgreSQL's
//! protocol, never holds a borrow across a call into JavaScript, never lets a panic out.
//!
//! The entry points that are called seldom (`seldom`) and the addon's registration use the crates
//! `napi` and `napi-derive`. For a query (`entry`) and its answer (`loop_callback`), the addon
//! calls Node-API directly, and checks every status. Each environment (the main thread, a worker, a
//! vm context) has a state of its own in its instance data, which belongs to this addon and not to
//! napi. Environments share nothing but the tables of Node's functions and of napi's registration.

// In builds for tests, napi-derive registers nothing, so all of this seems unused.
#![cfg_attr(test, allow(dead_code))]

mod argument;
mod client;
#[cfg(feature = "defects")]
mod defect;
mod deliver;
mod door;
mod entry;
mod environment;
mod error_json;
mod event_json;
mod last_one_out;
mod loop_callback;
mod params;
mod request_buffer;
mod requests;
mod segment;
mod segment_writer;
mod seldom;
mod shape_slots;
mod socket_calls;
mod status_json;
mod transcode;
mod value;
