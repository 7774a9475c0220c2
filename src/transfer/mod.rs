//! Floor 0: what crosses between Rust and JavaScript.
//!
//! Owns: the contract of both sides, which [`contract`] defines, and the batch in which rows cross.
//! Imports nothing of this crate, does no I/O, reads no clock.

pub mod contract;
#[cfg(test)]
mod javascript;
pub mod row_batch;

pub use contract::Lane;
pub use row_batch::{Full, RowBatch};
