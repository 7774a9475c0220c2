//! The cryptography: the only file that names its library.
//!
//! Servers before PostgreSQL 18 know P-256 alone (`ssl_ecdh_curve`). A ClientHello with the share
//! of another group would cost them one round trip more at each login, so P-256 comes first.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{default_provider, kx_group};

pub(super) fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::SECP256R1, kx_group::X25519, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}
