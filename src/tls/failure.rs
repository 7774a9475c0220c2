//! Why a connection can't be encrypted, in words that say what to do.

use std::fmt;

use rustls::pki_types::UnixTime;
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

/// What the provider verifies.
pub(super) const NOT_SUPPORTED: &str = "is signed in a way that is not supported: RSA from 2048 bits up with SHA-256, \
     SHA-384 or SHA-512, ECDSA by P-256 with SHA-256 and by P-384 with SHA-384, and Ed25519 are";

/// As in ISO 8601.
fn date(time: UnixTime) -> String {
    let days = i64::try_from(time.as_secs() / 86_400).unwrap_or_default();
    // The year begins in March, so that a leap day is its last, and 400 years have 146,097 days.
    let of_era = days + 719_468;
    let (era, day) = (of_era / 146_097, of_era % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, next) = (of_year - (153 * month + 2) / 5 + 1, i64::from(month >= 10));
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Other(refusal) => refusal.to_string(),
        E::ExpiredContext { time, not_after } => format!(
            "has expired (CERT_HAS_EXPIRED in Node): it, or one of its CAs, was valid until {}, and this machine \
             has {}: renew it, or set the clock",
            date(*not_after),
            date(*time)
        ),
        E::NotValidYetContext { time, not_before } => format!(
            "is not valid yet (CERT_NOT_YET_VALID in Node): it, or one of its CAs, is valid from {}, and this \
             machine has {}: set the clock",
            date(*not_before),
            date(*time)
        ),
        E::Revoked => "was revoked (CERT_REVOKED in Node)".into(),
        E::UnknownRevocationStatus => {
            "can't be checked, since 'crl' has no list of the CA that issued it, or of one above, or a list \
             that is not valid yet (UNABLE_TO_GET_CRL in Node): give the lists of all CAs of its chain"
                .into()
        }
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "can't be checked, since the revocation list has expired: give a newer 'crl'".into()
        }
        E::BadSignature => {
            "does not belong to the key by which the server signs, or its own signature is wrong, or an RSA key \
             has less than 2048 bits"
                .into()
        }
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            NOT_SUPPORTED
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
            "the server found no cipher suite, key exchange or signature in common (ssl_ciphers, ssl_groups): \
             the key of its certificate must be RSA, P-256, P-384 or Ed25519"
        }
        A::NoApplicationProtocol => {
            "the server does not speak PostgreSQL's protocol by direct TLS (sslnegotiation)"
        }
        A::UnrecognisedName => "the server knows no host of the name that it was told (SNI)",
        _ => return Failure::lost(format!("the server ended TLS with the alert {alert:?}")),
    };
    Failure::refused(format!("{why} ({alert:?})"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |seconds: u64, expect: &str| {
            assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), expect);
        };
        check(0, "1970-01-01");
        check(951_868_799, "2000-02-29");
        check(1_735_689_599, "2024-12-31");
        check(1_893_456_000, "2030-01-01");
        check(4_107_542_400, "2100-03-01");
    }
}
