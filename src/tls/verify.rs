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

use super::authorities::Authorities;
use super::der::{self, Certificate};
use super::failure::{NOT_SUPPORTED, Refusal};

/// What is verified of a server's certificate. That the server has its key always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    /// That a trusted CA has issued it: `verify-ca`.
    Issuer,
    /// That it names the host as well: `verify-full`.
    Full,
}

/// A list of revoked certificates.
pub(super) struct Revocations {
    /// Seconds since 1970.
    pub(super) since: i64,
    pub(super) list: CertRevocationList<'static>,
}

/// The most certificates of a server's that are looked at. Nobody needs more, and each may be tried
/// with each other one.
const MOST_BETWEEN: usize = 16;

pub(super) struct Verifier {
    pub(super) check: Check,
    pub(super) authorities: Authorities,
    /// The certificates that the user gave. Empty if the system's CAs are trusted.
    pub(super) given: Vec<CertificateDer<'static>>,
    pub(super) revocations: Vec<Revocations>,
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
            self.verify_name(leaf, chain, name)?;
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
            return verify_dates(Certificate::parse(leaf), now);
        }
        if let Some(certificate) = version_1(leaf) {
            return self.verify_version_1(&certificate, now);
        }
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| refused(&error))?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let made = self.revocations.iter().filter(|it| it.since <= seconds);
        let lists: Vec<_> = made.map(|it| &it.list).collect();
        if lists.is_empty() && !self.revocations.is_empty() {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        let between = chain.iter().take(MOST_BETWEEN).chain(&self.authorities.between);
        let between: Vec<_> = between.map(|it| CertificateDer::from(it.as_ref())).collect();
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.authorities.valid(now),
                &between,
                now,
                KeyUsage::server_auth(),
                revocation(&lists),
                None,
            )
            .map(|_| ())
            .map_err(|error| match error {
                webpki::Error::UnknownIssuer => self.unknown_issuer(leaf, chain, now),
                // Whatever else is wrong with it, webpki says this first.
                webpki::Error::CaUsedAsEndEntity if !self.knows_issuer(leaf) => {
                    self.unknown_issuer(leaf, chain, now)
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
        verify_dates(Some(*certificate), now)?;
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
        // Nothing says of such a certificate whether it keeps to the limits of its CA.
        let issuers = self.authorities.valid(now);
        let mut issuers = issuers.iter().filter(|it| {
            it.subject.as_ref() == certificate.issuer && it.name_constraints.is_none()
        });
        if issuers.any(is_signed_by) {
            return Ok(());
        }
        Err(unknown(certificate.issuer_name(), false, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"))
    }

    fn verify_name(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
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
            && !self.limit_names(chain)
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
        if matches!(name, ServerName::IpAddress(_)) && names.contains(name.to_str().as_ref()) {
            return Err(refusal(format!(
                "has the address {} as a name alone: an address must stand in subjectAltName as IP",
                name.to_str()
            )));
        }
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
        issuer.is_some_and(|issuer| self.authorities.know(issuer))
    }

    /// webpki checks the names of subjectAltName alone against the limits of CAs.
    fn limit_names(&self, chain: &[CertificateDer<'_>]) -> bool {
        let limits = |it: &CertificateDer<'_>| {
            Certificate::parse(it).is_none_or(|it| it.has_name_constraints() != Some(false))
        };
        self.authorities.limit_names() || chain.iter().any(limits)
    }

    fn unknown_issuer(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Error {
        let outdated = [leaf].into_iter().chain(chain).find_map(|it| {
            let it = Certificate::parse(it)?;
            let is_known = self.authorities.know(it.issuer);
            let valid = self.authorities.valid(now);
            let is_valid = valid.iter().any(|anchor| anchor.subject.as_ref() == it.issuer);
            (is_known && !is_valid).then(|| it.issuer_name()).flatten()
        });
        if let Some(name) = outdated {
            return refusal(format!(
                "is issued by '{name}', whose own certificate, as it was given, has expired or is not valid yet \
                 (CERT_HAS_EXPIRED in Node): give its new one as ssl: {{ ca }}"
            ));
        }
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

/// Each CA must have a list that has not expired, as with OpenSSL's X509_V_FLAG_CRL_CHECK_ALL.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
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

fn verify_dates(certificate: Option<Certificate<'_>>, time: UnixTime) -> Result<(), Error> {
    let dates = certificate.and_then(|certificate| certificate.dates());
    let (from, to) = dates.ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    if now < from {
        return Err(CertificateError::NotValidYetContext { time, not_before: at(from) }.into());
    }
    if now > to {
        return Err(CertificateError::ExpiredContext { time, not_after: at(to) }.into());
    }
    Ok(())
}

fn refusal(why: impl Into<String>) -> Error {
    let refusal = Arc::new(Refusal(why.into()));
    Error::InvalidCertificate(CertificateError::Other(OtherError(refusal)))
}

fn refused(error: &webpki::Error) -> Error {
    use webpki::Error as E;
    let known = match error {
        E::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time: *time, not_after: *not_after }
        }
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time: *time, not_before: *not_before }
        }
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
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
            return refusal(NOT_SUPPORTED);
        }
        E::RequiredEkuNotFoundContext(_) => {
            return refusal(
                "may not be used by a server (its extendedKeyUsage has no serverAuth; INVALID_PURPOSE in Node)",
            );
        }
        E::EndEntityUsedAsCa => {
            return refusal(
                "is issued by a certificate that is not that of a CA (INVALID_CA in Node)",
            );
        }
        E::PathLenConstraintViolated => {
            return refusal("is below more CAs than one of them allows (pathLenConstraint)");
        }
        E::NameConstraintViolation => {
            return refusal(
                "has a name that a CA above it must not give (nameConstraints; PERMITTED_VIOLATION in Node)",
            );
        }
        E::MaximumPathBuildCallsExceeded | E::MaximumSignatureChecksExceeded => {
            return refusal("comes with too many CAs to try");
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
