//! Floor 0: types that every other floor uses.
//!
//! Owns: points in time, keys of values that come and go, seeded random numbers, and errors.
//! Imports nothing of this crate, does no I/O, reads no clock.

pub mod arena;
pub mod body;
pub mod error;
mod error_kind;
pub mod memory;
pub mod mutation;
pub mod random;
pub mod time;

pub use arena::{Arena, Key};
pub use body::Body;
pub use error::{Error, ErrorClass, HostReport, Outcome, ServerFields, SystemFields};
pub use error_kind::ErrorKind;
pub use mutation::Mutation;
pub use random::Random;
pub use time::Instant;
