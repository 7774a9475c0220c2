//! What the options of a pool come to: the certificates and keys, read once, and the beginning of
//! each negotiation.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, IpAddr, Ipv4Addr, PrivateKeyDer, ServerName,
};
use rustls::{ClientConfig, SupportedProtocolVersion};
use webpki::OwnedCertRevocationList;

use super::Clock;
use super::authorities::Authorities;
use super::der;
use super::failure::Failure;
use super::negotiation::{Negotiation, PROTOCOL, Plain};
use super::provider::provider;
use super::verify::{Check, Revocations, Verifier};
use crate::base::{Error, ErrorClass};
use crate::config::{Endpoint, Host, Identity, Roots, SslMode, Tls, TlsVersion};

/// How the hosts of a pool are spoken to.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    check: Check,
    may_be_plain: bool,
    /// Nothing was said of TLS, and on this machine nobody can listen in between.
    spares_this_machine: bool,
    is_direct: bool,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("check", &self.check).finish_non_exhaustive()
    }
}

impl Trust {
    /// `None` if TLS is never used. An error is one in the options.
    pub fn new(tls: &Tls, clock: Arc<dyn Clock>) -> Result<Option<Self>, Error> {
        let check = match (tls.mode, &tls.roots) {
            (SslMode::Disable, _) => return Ok(None),
            (SslMode::Prefer | SslMode::Require, Roots::None) => Check::Nothing,
            // As libpq: a CA that was given is used.
            (SslMode::Prefer | SslMode::Require | SslMode::VerifyCa, _) => Check::Issuer,
            (SslMode::VerifyFull, _) => Check::Full,
        };
        let server_name = match &tls.server_name {
            Some(name) => Some(server_name(name).ok_or_else(|| {
                // A key has got there before, whose text has more than one line.
                let shown = match name.contains(char::is_whitespace) {
                    true => "a text with white space".to_owned(),
                    false => format!("{name:?}"),
                };
                configuration(format!(
                    "option 'ssl.servername' is no host name or address, but {shown}"
                ))
            })?),
            None => None,
        };
        Ok(Some(Self {
            config: Arc::new(client_config(tls, check, clock)?),
            check,
            may_be_plain: tls.mode == SslMode::Prefer,
            spares_this_machine: tls.is_default,
            is_direct: tls.is_direct,
            server_name,
        }))
    }

    /// Begins to secure a connection. `None` if it stays in the clear: on a Unix socket, as with
    /// libpq, and by default within this machine. `had_tls`: a session with this host was encrypted
    /// before, so that plain text is refused, even if the name leads to this machine now.
    pub fn negotiate(
        &self,
        host: &Host,
        is_local: bool,
        had_tls: bool,
    ) -> Result<Option<Negotiation>, Failure> {
        if is_local && self.spares_this_machine && !had_tls {
            return Ok(None);
        }
        let own = match &host.endpoint {
            Endpoint::Unix { .. } | Endpoint::Abstract { .. } => return Ok(None),
            Endpoint::Ip(address) => Some(ServerName::from(address.ip())),
            Endpoint::Name { name, .. } | Endpoint::Pinned { name, .. } => server_name(name),
        };
        let name = match self.server_name.clone().or(own) {
            Some(name) => name,
            None if self.check == Check::Full => {
                return Err(Failure::refused(format!(
                    "no certificate can be for the name '{}': give the name that the certificate has as ssl: \
                     {{ servername }}",
                    host.name
                )));
            }
            // An address is not sent to the server.
            None => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4]))),
        };
        let plain = match (self.may_be_plain, had_tls) {
            (_, true) => Plain::RefusedNow,
            (true, false) => Plain::Allowed,
            (false, false) => Plain::Refused,
        };
        Negotiation::new(Arc::clone(&self.config), name, plain, self.is_direct).map(Some)
    }

    /// Begins to secure another connection to a host with which there is TLS. Plain text is no way
    /// for it.
    pub fn again(&self, host: &Host) -> Result<Option<Negotiation>, Failure> {
        let always = Self { may_be_plain: false, spares_this_machine: false, ..self.clone() };
        always.negotiate(host, false, true)
    }

    /// Whether a server's certificate must be that of a trusted CA.
    pub fn verifies(&self) -> bool {
        self.check != Check::Nothing
    }

    /// How far a server of this pool is verified, as `cluster()` says it.
    pub fn verified(&self) -> &'static str {
        match self.check {
            Check::Nothing => "none",
            Check::Issuer => "ca",
            Check::Full => "full",
        }
    }
}

fn client_config(tls: &Tls, check: Check, clock: Arc<dyn Clock>) -> Result<ClientConfig, Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let (authorities, given) = match &tls.roots {
        Roots::None => (Authorities::default(), Vec::new()),
        Roots::Given(text) => {
            let given = certificates("ca", text.as_bytes())?;
            (authorities("ca", &given)?, given)
        }
        Roots::System(text) => (
            authorities("the system's CAs", &certificates("the system's CAs", text.as_bytes())?)?,
            Vec::new(),
        ),
    };
    let revocations = match &tls.revocations {
        Some(text) => revocations(text.as_bytes())?,
        None => Vec::new(),
    };
    let verifier = Verifier { check, authorities, given, revocations, algorithms };
    let versions = versions(tls)?;
    let builder = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&versions)
        .map_err(|error| configuration(format!("TLS can't be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        Some(Identity { chain, key }) => {
            let chain = certificates("cert", chain.as_bytes())?;
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .map_err(|_| configuration("option 'ssl': 'key' is no private key in PEM"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| of_identity(&error))?
        }
        None => builder.with_no_client_auth(),
    };
    // PostgreSQL gives no tickets (`SSL_CTX_set_num_tickets(0)`).
    config.resumption = Resumption::disabled();
    config.enable_sni = tls.sends_name;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

fn of_identity(error: &rustls::Error) -> Error {
    configuration(match error {
        rustls::Error::InconsistentKeys(_) => {
            "option 'ssl': 'key' is not the key of 'cert' (KEY_VALUES_MISMATCH in Node)".to_owned()
        }
        _ => "option 'ssl': 'key' is of a kind that is not supported: RSA, P-256, P-384 and Ed25519 are"
            .to_owned(),
    })
}

fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let known =
        [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let allowed = known.into_iter().filter(|(of, _)| (tls.oldest..=tls.newest).contains(of));
    let versions: Vec<_> = allowed.map(|(_, version)| version).collect();
    if versions.is_empty() {
        return Err(configuration("the lowest version of TLS is above the highest one"));
    }
    Ok(versions)
}

fn certificates(what: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(configuration(format!(
            "option 'ssl': '{what}' has no certificate in PEM (-----BEGIN CERTIFICATE-----)"
        ))),
    }
}

fn authorities(what: &str, certificates: &[CertificateDer<'static>]) -> Result<Authorities, Error> {
    Authorities::new(certificates).ok_or_else(|| {
        configuration(format!("option 'ssl': no certificate of '{what}' can be read"))
    })
}

/// The newest come first, since webpki asks the first that fits.
fn revocations(text: &[u8]) -> Result<Vec<Revocations>, Error> {
    let wrong = || {
        configuration(
            "option 'ssl': 'crl' has no revocation list in PEM (-----BEGIN X509 CRL-----)",
        )
    };
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    let lists = read.map_err(|_| wrong())?;
    if lists.is_empty() {
        return Err(wrong());
    }
    let owned = |list: &CertificateRevocationListDer<'_>| {
        let owned = OwnedCertRevocationList::from_der(list.as_ref())?;
        let since = der::this_update(list.as_ref()).unwrap_or(i64::MAX);
        Ok(Revocations { since, list: owned.into() })
    };
    let lists: Result<Vec<_>, webpki::Error> = lists.iter().map(owned).collect();
    let mut lists = lists.map_err(|error| {
        configuration(format!("option 'ssl': a list of 'crl' can't be read: {error}"))
    })?;
    lists.sort_by_key(|list| std::cmp::Reverse(list.since));
    Ok(lists)
}

/// A name that certificates can have. A dot at its end says that it is whole, and is none of its.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    // The zone of a link-local address is this machine's own.
    let name = name.split_once('%').map_or(name, |(address, _)| address);
    ServerName::try_from(name).ok().map(|name| name.to_owned())
}

fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Configuration, "HYPERION_CONFIGURATION", message)
}
