//! Floor 1: PostgreSQL's frontend/backend protocol, version 3.0 (PostgreSQL manual, chapter 55).
//!
//! Owns: everything that touches `postgres-protocol`. A frame's length is checked against its type
//! before its body is awaited. A body is parsed to its last byte. A count from the peer is never
//! used as a capacity. An encoder that fails leaves the output as it was. Imports `base`. Keeps no
//! state, except for the steps of SCRAM.

#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod backend;
pub mod data_row;
pub mod frame;
pub mod frontend;
pub mod report;
pub mod scram;
#[cfg(any(test, feature = "sim"))]
pub mod scripted;

pub use backend::{Field, Format};
