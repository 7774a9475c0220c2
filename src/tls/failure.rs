//! Why a connection can't be encrypted, in words that say what to do.

use std::fmt;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// The reason for which a negotiation or an encrypted stream has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Only a person can mend it: a certificate that is not trusted, a server without TLS.
    pub is_final: bool,
    pub why: String,
}

/// What the verifier says of a certificate. It passes through rustls as it is.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl Failure {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self { is_final: true, why: why.into() }
    }

    pub(super) fn lost(why: impl Into<String>) -> Self {
        Self { is_final: false, why: why.into() }
    }

    pub(super) fn defect() -> Self {
        Self::lost("TLS has come to a state that it must not come to")
    }

    pub(super) fn no_memory() -> Self {
        Self::lost("there is no memory for an encrypted record")
    }

    pub(super) fn too_long() -> Self {
        Self::lost("a message of the server's TLS is longer than any may be")
    }

    pub(super) fn exhausted() -> Self {
        Self::lost("more was encrypted than one key may encrypt")
    }

    pub(super) fn ended() -> Self {
        Self::lost("the server closed the connection")
    }

    pub(super) fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => {
                Self::refused(format!("the server's certificate {}", of_certificate(error)))
            }
            rustls::Error::PeerIncompatible(why) => Self::refused(of_incompatible(why)),
            rustls::Error::AlertReceived(alert) => of_alert(*alert),
            rustls::Error::InvalidMessage(_) => {
                Self::lost(format!("what the server sent is not valid TLS ({error})"))
            }
            rustls::Error::DecryptError => {
                Self::lost("a record of the server's can't be decrypted: it was changed on its way")
            }
            other => Self::lost(format!("TLS failed: {other}")),
        }
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Other(refusal) => refusal.to_string(),
        E::Expired | E::ExpiredContext { .. } => {
            "has expired (CERT_HAS_EXPIRED in Node): renew it, or look at this machine's clock".into()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "is not valid yet (CERT_NOT_YET_VALID in Node): look at this machine's clock".into()
        }
        E::Revoked => "was revoked (CERT_REVOKED in Node)".into(),
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "can't be checked, since the revocation list has expired: give a newer 'crl'".into()
        }
        E::BadSignature => {
            "does not belong to the key by which the server signs, or its own signature is wrong".into()
        }
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed in a way that is not supported: SHA-1, RSA below 2048 bits and the curve P-521 are \
             refused"
                .into()
        }
        other => format!("is refused: {other}"),
    }
}

fn of_incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
            "the server's version of TLS is not among those that are allowed (minVersion, maxVersion; TLS \
             before 1.2 is never used)"
                .into()
        }
        other => format!("the server and this client have no way of TLS in common ({other:?})"),
    }
}

fn of_alert(alert: AlertDescription) -> Failure {
    use AlertDescription as A;
    let why = match alert {
        A::CertificateRequired => {
            "the server wants a client certificate (pg_hba.conf): give 'cert' and 'key' in option 'ssl', or \
             sslcert and sslkey"
        }
        A::UnknownCA => "the server does not trust the client certificate (ssl_ca_file)",
        A::BadCertificate
        | A::CertificateUnknown
        | A::CertificateExpired
        | A::CertificateRevoked
        | A::UnsupportedCertificate => "the server does not take the client certificate",
        A::ProtocolVersion => {
            "the server has none of the versions of TLS that are allowed (minVersion, maxVersion)"
        }
        A::HandshakeFailure => {
            "the server found no cipher suite, key exchange or signature in common (ssl_ciphers, ssl_groups)"
        }
        A::NoApplicationProtocol => {
            "the server does not speak PostgreSQL's protocol by direct TLS (sslnegotiation)"
        }
        A::UnrecognisedName => "the server knows no host of the name that it was told (SNI)",
        _ => return Failure::lost(format!("the server ended TLS with the alert {alert:?}")),
    };
    Failure::refused(format!("{why} ({alert:?})"))
}
