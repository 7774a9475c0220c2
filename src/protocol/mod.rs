//! Floor 1: PostgreSQL's frontend/backend protocol, version 3.0 (PostgreSQL manual, chapter 55).
//!
//! Owns: the wall around `postgres-protocol`. Each frame's length is checked against its type
//! before it is awaited, each body is parsed to its last byte, no count of a peer is a capacity,
//! and an encoder that fails leaves the output as it was. Imports `base`. Never keeps state, except
//! for SCRAM's few steps.

#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod backend;
pub mod data_row;
pub mod frame;
pub mod frontend;
pub mod report;
pub mod scram;

pub use backend::{Field, Format};
