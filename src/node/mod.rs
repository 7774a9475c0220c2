//! Floor 6: the addon, and the only code that knows Node-API.
//!
//! Owns: the entry points that `js/` calls, the reading of JavaScript's values, the segments in
//! which rows go back, the one place that calls into JavaScript (`client`), and the life of all
//! that with its environment. Imports `reactor` and the floors below. Never speaks PostgreSQL,
//! never holds a borrow across a call into JavaScript, never lets a panic leave.
//!
//! `napi` and `napi-derive` carry what is called seldom (`seldom`) and the addon's registration; on
//! the way of a query (`entry`) and of its answer (`loop_callback`) Node-API is used as it is, and
//! every status is looked at. An environment (the main thread, a worker, a vm context) has its own
//! state, in its instance data, which is this addon's and never napi's. What environments share are
//! the tables of Node's functions and of napi's registration alone.

// napi-derive registers nothing where tests are built, so that nothing seems to be in use.
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
mod requests;
mod segment;
mod seldom;
mod shape_slots;
mod sheet;
mod slip;
mod socket_calls;
mod transcode;
mod value;
