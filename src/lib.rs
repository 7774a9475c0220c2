//! A PostgreSQL connection pool over the hosts of a cluster, polled on Node's own event loop.
//!
//! The house has floors, and a floor uses only the floors under it (docs/ARCHITECTURE.md):
//! `base` < `protocol`, `types`, `config` < `connection` < `cluster` < `pool` < `reactor` < `node`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod base;
pub mod cluster;
pub mod config;
pub mod connection;
#[cfg(feature = "node")]
pub mod node;
pub mod pool;
pub mod protocol;
#[cfg(feature = "reactor")]
pub mod reactor;
#[cfg(feature = "sim")]
pub mod sim;
pub mod types;
