//! Floor 1: TLS, as bytes in and bytes out.
//!
//! Owns: whether and how a connection is encrypted, and which server is trusted. Imports `base` and
//! `config`. Never touches a socket, and never reads a file: certificates come as text in the
//! options. The time comes from the reactor ([`Clock`]); random numbers are the provider's own,
//! since they are part of its keys.
//!
//! | | |
//! |---|---|
//! | `Trust` | what the options of a pool come to: it begins each negotiation |
//! | `Negotiation` | from a connected socket to an encrypted stream |
//! | `Sealed` | the encrypted stream |
//!
//! docs/design/tls.md says why each of them is as it is.

mod authorities;
mod binding;
mod der;
mod failure;
mod negotiation;
mod provider;
mod sealed;
mod trust;
mod verify;

pub use failure::Failure;
pub use negotiation::{Facts, Negotiation, Plain, Step};
pub use rustls::time_provider::TimeProvider as Clock;
pub use sealed::Sealed;
pub use trust::Trust;

/// Reads a certificate in each way that there is, for the fuzz target.
#[cfg(feature = "sim")]
pub fn read_certificate(der: &[u8]) {
    der::read_all(der);
}

#[cfg(test)]
mod tests;
