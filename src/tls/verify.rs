//! Which certificates of servers are trusted.
//!
//! webpki decides first. OpenSSL, and so Node, `pg` and libpq, take three kinds of certificates
//! that webpki refuses, and the examples of PostgreSQL's own manual make all three (18.9.5). They
//! are taken below CAs that the user gave, and never below those of the system:
//!
//! - the very certificate that the user gave as `ca`, whatever it says of itself,
//! - a certificate of version 1 directly below such a CA,
//! - a common name, where the certificate has no subjectAltName of a host or an address.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::der::{self, Certificate};
use super::failure::Refusal;

/// What is verified of a server's certificate. That the server has its key always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    /// That a trusted CA has issued it: `verify-ca`.
    Issuer,
    /// That it names the host as well: `verify-full`.
    Full,
}

pub(super) struct Verifier {
    pub(super) check: Check,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// The certificates that the user gave. Empty if the system's CAs are trusted.
    pub(super) given: Vec<CertificateDer<'static>>,
    pub(super) revocations: Vec<CertRevocationList<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("check", &self.check).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check != Check::Nothing {
            self.verify_issuer(leaf, chain, now)?;
        }
        if self.check == Check::Full {
            self.verify_name(leaf, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1(certificate) {
            Some(certificate) => self.verify_by_hand(message, &certificate, signature),
            None => verify_tls12_signature(message, certificate, signature, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1(certificate) {
            Some(certificate) => {
                let key = SubjectPublicKeyInfoDer::from(certificate.key_info);
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
            None => verify_tls13_signature(message, certificate, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    fn verify_issuer(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // Revocation lists need webpki's whole way.
        let is_given = self.revocations.is_empty()
            && self.given.iter().any(|given| given.as_ref() == leaf.as_ref());
        if is_given {
            let is_valid = Certificate::parse(leaf).is_some_and(|leaf| leaf.is_valid(now));
            return if is_valid { Ok(()) } else { Err(CertificateError::Expired.into()) };
        }
        if let Some(certificate) = version_1(leaf) {
            return self.verify_version_1(&certificate, now);
        }
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| refused(&error))?;
        let lists: Vec<_> = self.revocations.iter().collect();
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                chain,
                now,
                KeyUsage::server_auth(),
                revocation(&lists),
                None,
            )
            .map(|_| ())
            .map_err(|error| match error {
                webpki::Error::UnknownIssuer => self.unknown_issuer(leaf, chain),
                // Whatever else is wrong with it, webpki says this first.
                webpki::Error::CaUsedAsEndEntity if !self.knows_issuer(leaf) => {
                    self.unknown_issuer(leaf, chain)
                }
                other => refused(&other),
            })
    }

    /// A certificate of version 1 has no extensions, hence no chain: a CA that the user gave must
    /// have signed it.
    fn verify_version_1(&self, certificate: &Certificate<'_>, now: UnixTime) -> Result<(), Error> {
        if self.given.is_empty() || !self.revocations.is_empty() {
            return Err(refusal(
                "has version 1 of X.509, which has no place for what it may be used for: issue it anew with \
                 'openssl x509 -extfile', or give its CA as 'ca'",
            ));
        }
        if !certificate.is_valid(now) {
            return Err(CertificateError::Expired.into());
        }
        let is_signed_by = |anchor: &TrustAnchor<'_>| {
            let Some((of_key, key)) = der::key(&anchor.subject_public_key_info) else {
                return false;
            };
            self.algorithms.all.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == certificate.algorithm
                    && algorithm.public_key_alg_id().as_ref() == of_key
                    && algorithm
                        .verify_signature(key, certificate.signed, certificate.signature)
                        .is_ok()
            })
        };
        let mut issuers =
            self.anchors.iter().filter(|it| it.subject.as_ref() == certificate.issuer);
        if issuers.any(is_signed_by) {
            return Ok(());
        }
        Err(unknown(certificate.issuer_name(), false, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"))
    }

    fn verify_name(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        let presented = match EndEntityCert::try_from(leaf) {
            Ok(certificate) => match certificate.verify_is_valid_for_subject_name(name) {
                Ok(()) => return Ok(()),
                Err(webpki::Error::CertNotValidForName(context)) => context.presented,
                Err(other) => return Err(refused(&other)),
            },
            Err(_) => Vec::new(),
        };
        let certificate = Certificate::parse(leaf);
        let common_name = certificate
            .filter(|certificate| certificate.has_alternative_name() == Some(false))
            .and_then(|certificate| certificate.common_name());
        if let (ServerName::DnsName(host), Some(common_name)) = (name, common_name)
            && !self.given.is_empty()
            && matches(common_name, host.as_ref())
        {
            return Ok(());
        }
        let mut names: Vec<String> = presented.iter().take(8).map(|name| bare(name)).collect();
        if names.is_empty() {
            names.extend(common_name.map(|name| {
                format!("{} (its common name)", String::from_utf8_lossy(name).escape_default())
            }));
        }
        let names = if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") };
        Err(refusal(format!(
            "is for {names}, and not for '{}' (ERR_TLS_CERT_ALTNAME_INVALID in Node): connect by a name that \
             it has, give that name as ssl: {{ servername }}, or check its CA alone by sslmode=verify-ca",
            name.to_str()
        )))
    }

    /// TLS 1.2 names a pair of algorithms, which several of the provider's may fit.
    fn verify_by_hand(
        &self,
        message: &[u8],
        certificate: &Certificate<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = der::content(certificate.key_info).and_then(der::key);
        let (of_key, key) = key.ok_or(CertificateError::BadEncoding)?;
        let of_scheme = self
            .algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signature.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter());
        let is_valid = of_scheme.into_iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == of_key
                && algorithm.verify_signature(key, message, signature.signature()).is_ok()
        });
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn knows_issuer(&self, leaf: &CertificateDer<'_>) -> bool {
        let issuer = Certificate::parse(leaf).map(|certificate| certificate.issuer);
        issuer.is_some_and(|issuer| self.anchors.iter().any(|it| it.subject.as_ref() == issuer))
    }

    fn unknown_issuer(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Error {
        let parsed = |it: &CertificateDer<'_>| {
            let certificate = Certificate::parse(it)?;
            Some((certificate.is_self_issued(), certificate.issuer_name()))
        };
        let has_system = self.given.is_empty();
        match (parsed(leaf), chain.last().and_then(parsed)) {
            (Some((true, name)), _) => unknown(name, has_system, "DEPTH_ZERO_SELF_SIGNED_CERT"),
            (_, Some((true, name))) => unknown(name, has_system, "SELF_SIGNED_CERT_IN_CHAIN"),
            (_, Some((false, name))) | (Some((false, name)), None) => {
                unknown(name, has_system, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY")
            }
            (None, None) => unknown(None, has_system, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"),
        }
    }
}

/// A list of a CA that has none is not missed, and an expired one counts for nothing, as with
/// OpenSSL's X509_V_FLAG_CRL_CHECK_ALL.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Allow)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

/// The certificate, if it is one of version 1, which webpki does not read.
fn version_1<'a>(certificate: &'a CertificateDer<'_>) -> Option<Certificate<'a>> {
    Certificate::parse(certificate).filter(|certificate| certificate.version == 1)
}

/// As libpq does: the whole name, or a wildcard in place of the first label alone.
fn matches(common_name: &[u8], host: &str) -> bool {
    let (pattern, host) = (common_name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let host = host.strip_suffix('.').unwrap_or(&host);
    if pattern == host.as_bytes() {
        return true;
    }
    let behind = host.split_once('.').map(|(_, behind)| behind.as_bytes());
    // "*.com" names no host of anybody's.
    behind
        .is_some_and(|behind| behind.contains(&b'.') && pattern.strip_prefix(b"*.") == Some(behind))
}

/// `db.example.com` of webpki's `DnsName("db.example.com")`.
fn bare(presented: &str) -> String {
    let inside = presented.split_once('(').map_or(presented, |(_, rest)| rest);
    inside.trim_end_matches(')').trim_matches('"').chars().take(100).collect()
}

fn unknown(issuer: Option<String>, has_system: bool, of_node: &str) -> Error {
    let issuer = issuer.map_or_else(|| "a nameless CA".to_owned(), |name| format!("'{name}'"));
    let among = if has_system {
        "those that this system trusts: give its CA as ssl: { ca }, or sslrootcert in the connection string"
    } else {
        "those that were given as 'ca' or sslrootcert"
    };
    refusal(format!("is issued by {issuer} ({of_node} in Node), which is not among {among}"))
}

fn refusal(why: impl Into<String>) -> Error {
    let refusal = Arc::new(Refusal(why.into()));
    Error::InvalidCertificate(CertificateError::Other(OtherError(refusal)))
}

fn refused(error: &webpki::Error) -> Error {
    use webpki::Error as E;
    let known = match error {
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::CertRevoked => CertificateError::Revoked,
        E::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::CaUsedAsEndEntity => {
            return refusal(
                "is that of a CA, which is trusted as a server's only where it is given itself as 'ca'",
            );
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            return refusal(
                "is signed in a way that is not supported: SHA-1, RSA below 2048 bits and the curve P-521 \
                 are refused",
            );
        }
        other => return refusal(format!("is refused: {other}")),
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_matches_as_in_libpq() {
        let check = |pattern: &str, host: &str, expect: bool| {
            assert_eq!(matches(pattern.as_bytes(), host), expect, "{pattern} {host}");
        };
        check("db.example.com", "DB.example.com", true);
        check("db.example.com", "db.example.com.", true);
        check("*.example.com", "db.example.com", true);
        check("*.example.com", "a.db.example.com", false);
        check("*.example.com", "example.com", false);
        check("*.com", "example.com", false);
        check("*", "localhost", false);
        check("d*.example.com", "db.example.com", false);
        check("db.example.com\0.evil", "db.example.com", false);
    }
}
