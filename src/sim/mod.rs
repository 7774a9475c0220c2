//! A simulated PostgreSQL, and simulated clusters to run the pool in, for tests of the floors that
//! do no I/O. No other module imports this one.

pub mod cluster;
mod driver;
pub mod fuzz;
pub mod growth;
mod messages;
mod names;
#[cfg(test)]
mod scenarios;
pub mod server;
pub mod storm;
mod tls_fuzz;
