//! Channel binding: what ties a login to the certificate that the server has shown (RFC 5929).

use sha2::{Digest, Sha256, Sha384, Sha512};

use super::der::{Hash, signature_hash};

/// The data of `tls-server-end-point`. `None` if the certificate has none.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}
