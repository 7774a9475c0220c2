//! The CAs that are trusted, sorted as OpenSSL sorts them.
//!
//! webpki ends at the first trust anchor, and looks neither at its dates nor at its purpose. So only
//! a certificate above which the list has none becomes one, if it may sign certificates. A CA that
//! stands in the list together with its own issuer goes to webpki beside those that the server
//! sends, where its dates, its limits and its revocation count.

use rustls::pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};

use super::der::Certificate;

#[derive(Debug, Default)]
pub(super) struct Authorities {
    anchors: Vec<Anchor>,
    pub(super) between: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    /// Seconds since 1970, both included.
    from: i64,
    to: i64,
}

impl Authorities {
    /// Certificates that can't be read are left out, as OpenSSL does: a bundle must not fail for
    /// one odd certificate. `None` if none can be read.
    pub(super) fn new(certificates: &[CertificateDer<'static>]) -> Option<Self> {
        let read: Vec<_> =
            certificates.iter().filter_map(|it| Some((it, Certificate::parse(it)?))).collect();
        if read.is_empty() {
            return None;
        }
        let mut authorities = Self::default();
        for (whole, certificate) in &read {
            if !certificate.may_sign_certificates() {
                continue;
            }
            let is_below = !certificate.is_self_issued()
                && read.iter().any(|(_, above)| above.subject == certificate.issuer);
            if is_below {
                authorities.between.push((*whole).clone());
            } else if let (Ok(anchor), Some((from, to))) =
                (webpki::anchor_from_trusted_cert(whole), certificate.dates())
            {
                authorities.anchors.push(Anchor { anchor: anchor.to_owned(), from, to });
            }
        }
        Some(authorities)
    }

    /// Those whose own dates hold.
    pub(super) fn valid(&self, now: UnixTime) -> Vec<TrustAnchor<'_>> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = self.anchors.iter().filter(|it| (it.from..=it.to).contains(&now));
        valid.map(|it| borrowed(&it.anchor)).collect()
    }

    pub(super) fn know(&self, issuer: &[u8]) -> bool {
        self.anchors.iter().any(|it| it.anchor.subject.as_ref() == issuer)
    }

    /// Whether a CA limits the names that certificates below it may have.
    pub(super) fn limit_names(&self) -> bool {
        self.anchors.iter().any(|it| it.anchor.name_constraints.is_some())
            || self.between.iter().any(|it| {
                Certificate::parse(it).is_none_or(|it| it.has_name_constraints() != Some(false))
            })
    }
}

fn borrowed<'a>(anchor: &'a TrustAnchor<'static>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: Der::from_slice(anchor.subject.as_ref()),
        subject_public_key_info: Der::from_slice(anchor.subject_public_key_info.as_ref()),
        name_constraints: anchor.name_constraints.as_ref().map(|it| Der::from_slice(it.as_ref())),
    }
}
