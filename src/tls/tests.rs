//! Against rustls's own server, in memory. `test/integration/tls.test.js` has the real ones.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::provider::provider;
use super::*;
use crate::config::{Endpoint, Host, Identity, Roots, Secret, SslMode, Tls, TlsVersion};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name, ".pem"))
    };
}

const CA: &str = fixture!("ca-ec");
const SERVER: &str = fixture!("server");

#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// In 2030.
const NOW: u64 = 1_893_456_000;

fn options(mode: SslMode, ca: Option<&str>) -> Tls {
    let roots = ca.map_or(Roots::None, |ca| Roots::Given(ca.to_owned()));
    Tls { mode, roots, is_default: false, ..Tls::default_of_pools() }
}

fn full(ca: &str) -> Tls {
    options(SslMode::VerifyFull, Some(ca))
}

fn trust(tls: &Tls) -> Trust {
    Trust::new(tls, Arc::new(At(NOW))).unwrap().unwrap()
}

fn host(name: &str) -> Host {
    let endpoint = match name.parse() {
        Ok(ip) => Endpoint::Ip(std::net::SocketAddr::new(ip, 5432)),
        Err(_) => Endpoint::Name { name: name.to_owned(), port: 5432 },
    };
    Host { name: name.into(), endpoint }
}

fn begin(tls: &Tls, name: &str) -> Negotiation {
    trust(tls).negotiate(&host(name), false, false).unwrap().unwrap()
}

struct Server {
    connection: ServerConnection,
    /// The bytes that are to be answered by one in the clear.
    asked: usize,
    out: Vec<u8>,
    heard: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Setup<'a> {
    identity: &'a str,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a str],
    client_ca: Option<&'a str>,
    is_direct: bool,
    tickets: usize,
    /// 0 for tickets as rustls makes them.
    ticket_length: usize,
}

/// Tickets in place of which other servers' are short.
#[derive(Debug)]
struct LongTickets(usize);

impl ProducesTickets for LongTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        Some(vec![1; self.0])
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

const SETUP: Setup<'static> = Setup {
    identity: SERVER,
    versions: rustls::ALL_VERSIONS,
    protocols: &["postgresql"],
    client_ca: None,
    is_direct: false,
    tickets: 0,
    ticket_length: 0,
};

fn certificates(text: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect()
}

impl Server {
    fn new(setup: Setup<'_>) -> Self {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(setup.versions)
            .unwrap();
        let builder = match setup.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                certificates(ca).into_iter().for_each(|ca| roots.add(ca).unwrap());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(setup.identity.as_bytes()).unwrap();
        // rustls would not serve a certificate that it can't read.
        let key = provider().key_provider.load_private_key(key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(certificates(setup.identity), key);
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = setup.protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        // As PostgreSQL.
        config.send_tls13_tickets = setup.tickets;
        if setup.ticket_length > 0 {
            config.ticketer = Arc::new(LongTickets(setup.ticket_length));
            config.max_fragment_size = Some(512);
        }
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        Self {
            connection,
            asked: if setup.is_direct { 0 } else { 8 },
            out: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        if self.asked > 0 && !bytes.is_empty() {
            assert_eq!(bytes, [0, 0, 0, 8, 4, 210, 22, 47]);
            self.asked = 0;
            self.out.push(b'S');
            return;
        }
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).unwrap();
            // A refusal goes to the client as an alert.
            let _ = self.connection.process_new_packets();
            // It is at its end, or there is nothing more at the moment.
            let _ = self.connection.reader().read_to_end(&mut self.heard);
        }
        self.write();
    }

    fn write(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.out).unwrap();
        }
    }

    fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    fn send(&mut self, plain: &[u8]) {
        self.connection.set_buffer_limit(None);
        self.connection.writer().write_all(plain).unwrap();
        self.write();
    }
}

/// Runs a negotiation to its end. Each of the server's flights comes in pieces whose sizes
/// `piece` gives, by how many bytes have come so far.
fn run(
    mut negotiation: Negotiation,
    server: &mut Server,
    piece: impl Fn(usize) -> usize,
) -> Result<(Box<Sealed>, Facts), Failure> {
    let mut buffer = vec![0; 64 * 1024];
    let mut come = 0;
    loop {
        let out = negotiation.outgoing().to_vec();
        negotiation.advance(out.len());
        server.take(&out);
        let mut flight = std::mem::take(&mut server.out);
        if flight.is_empty() {
            return Err(negotiation.ended());
        }
        while !flight.is_empty() {
            let rest = flight.split_off(piece(come).clamp(1, flight.len()));
            come += flight.len();
            let at = negotiation.put_rest(&mut buffer)?;
            buffer[at..at + flight.len()].copy_from_slice(&flight);
            match negotiation.receive(&mut buffer[..at + flight.len()])? {
                Step::More => {}
                Step::Plain => panic!("plain text"),
                Step::Secured(mut sealed, facts) => {
                    server.take(sealed.outgoing());
                    sealed.advance(sealed.outgoing().len());
                    return Ok((sealed, facts));
                }
            }
            flight = rest;
        }
    }
}

fn shake(tls: &Tls, name: &str, setup: Setup<'_>) -> Result<(Box<Sealed>, Facts), Failure> {
    run(begin(tls, name), &mut Server::new(setup), |_| usize::MAX)
}

/// How many bytes a server sends in a handshake, not counting the S.
fn flights(tls: &Tls, setup: Setup<'_>) -> usize {
    let total = std::cell::Cell::new(0);
    run(begin(tls, "localhost"), &mut Server::new(setup), |come| {
        total.set(come);
        1
    })
    .unwrap();
    total.get()
}

#[test]
fn a_handshake_may_be_cut_at_every_byte() {
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let setup = Setup { versions, ..SETUP };
        let length = flights(&full(CA), setup);
        assert!(length > 500, "{length}");
        for cut in 1..=length + 8 {
            let piece = |come: usize| if come < cut { cut - come } else { usize::MAX };
            let done = run(begin(&full(CA), "localhost"), &mut Server::new(setup), piece);
            assert!(done.is_ok(), "cut at {cut}: {done:?}");
        }
    }
}

#[test]
fn the_end_of_the_stream_is_an_error_wherever_it_comes() {
    let length = flights(&full(CA), SETUP);
    for end in 0..=length {
        let mut server = Server::new(SETUP);
        let mut negotiation = begin(&full(CA), "localhost");
        let (mut buffer, mut left) = (vec![0; 64 * 1024], end);
        while left > 0 {
            let out = negotiation.outgoing().to_vec();
            negotiation.advance(out.len());
            server.take(&out);
            let flight = std::mem::take(&mut server.out);
            if flight.is_empty() {
                break;
            }
            let flight = &flight[..flight.len().min(left)];
            left -= flight.len();
            let at = negotiation.put_rest(&mut buffer).unwrap();
            buffer[at..at + flight.len()].copy_from_slice(flight);
            match negotiation.receive(&mut buffer[..at + flight.len()]) {
                Ok(Step::More) => {}
                // The last bytes of the handshake are not always equally many.
                Ok(Step::Secured(..)) if end + 8 > length => return,
                other => panic!("{other:?}"),
            }
        }
        let failure = negotiation.ended();
        assert!(!failure.is_final && failure.why.contains("closed"), "{failure:?}");
    }
}

#[test]
fn the_answer_to_the_request_for_tls_is_one_byte() {
    let answer = |tls: &Tls, had_tls: bool, bytes: &[u8]| {
        let negotiation = trust(tls).negotiate(&host("h"), false, had_tls).unwrap();
        negotiation.unwrap().receive(&mut bytes.to_vec())
    };
    let prefer = options(SslMode::Prefer, None);
    let require = options(SslMode::Require, None);
    let by_default = Tls::default_of_pools();
    assert!(matches!(answer(&prefer, false, b""), Ok(Step::More)));
    assert!(matches!(answer(&prefer, false, b"N"), Ok(Step::Plain)));
    let refused = |done: Result<Step, Failure>, is_final: bool, word: &str| {
        let failure = done.unwrap_err();
        assert_eq!(failure.is_final, is_final, "{failure:?}");
        assert!(failure.why.contains(word), "{failure:?}");
    };
    refused(answer(&require, false, b"N"), true, "ssl = off");
    // Someone in between may have said these, so that the next attempt may end otherwise.
    for tls in [&prefer, &require, &by_default] {
        refused(answer(tls, true, b"N"), false, "had TLS with it before");
        refused(answer(tls, false, b"NR"), false, "in the clear");
        refused(answer(tls, false, b"S\x16\x03\x03"), false, "in the clear");
        refused(answer(tls, false, b"E"), false, "with an error");
        refused(answer(tls, false, b"E\0\0\0\x0cSFATAL\0\0"), false, "with an error");
        refused(answer(tls, false, b"HTTP/1.1"), false, "not that of a PostgreSQL server");
    }
    let mut over = begin(&require, "h");
    let _ = over.receive(&mut b"N".to_vec());
    refused(over.receive(&mut b"S".to_vec()), false, "must not come to");
}

#[test]
fn where_there_is_no_network_or_no_wish_there_is_no_tls() {
    let none = |tls: &Tls, host: &Host, is_local: bool| {
        trust(tls).negotiate(host, is_local, false).unwrap().is_none()
    };
    let by_default = Tls::default_of_pools();
    let prefer = options(SslMode::Prefer, None);
    assert!(none(&by_default, &host("127.0.0.1"), true) && !none(&by_default, &host("h"), false));
    assert!(!none(&prefer, &host("127.0.0.1"), true), "it was asked for");
    let moved = trust(&by_default).negotiate(&host("h"), true, true).unwrap();
    assert!(moved.is_some(), "TLS was had with this host, and its name leads to this machine now");
    let socket = Endpoint::Unix { path: "/tmp/.s.PGSQL.5432".to_owned() };
    let socket = Host { name: "/tmp".into(), endpoint: socket };
    assert!(none(&options(SslMode::Require, None), &socket, true), "as with libpq");
    let off = Trust::new(&options(SslMode::Disable, None), Arc::new(At(NOW)));
    assert!(off.unwrap().is_none());
}

/// `Ok` has the length of what a login may be bound to.
fn check(tls: &Tls, name: &str, setup: Setup<'_>, expect: Result<Option<usize>, &str>) {
    match (shake(tls, name, setup), expect) {
        (Ok((_, facts)), Ok(length)) => {
            assert_eq!(facts.end_point.map(|hash| hash.len()), length, "{name}");
        }
        (Err(failure), Err(words)) => {
            assert!(failure.why.contains(words), "{name}: {failure:?}");
            assert!(failure.is_final, "{failure:?}");
        }
        (done, expect) => panic!("{name}: {done:?} instead of {expect:?}"),
    }
}

fn with(identity: &str) -> Setup<'_> {
    Setup { identity, ..SETUP }
}

#[test]
fn a_server_is_verified_as_the_mode_says() {
    let elsewhere = with(fixture!("elsewhere"));
    let require = options(SslMode::Require, None);
    let verify_ca = options(SslMode::VerifyCa, Some(CA));
    let other = fixture!("ca-other");
    for name in ["localhost", "LOCALHOST", "localhost.", "127.0.0.1"] {
        check(&full(CA), name, SETUP, Ok(Some(32)));
    }
    check(&full(CA), "db.example.com", SETUP, Err("ERR_TLS_CERT_ALTNAME_INVALID"));
    check(&full(CA), "127.0.0.2", SETUP, Err("is for localhost"));
    check(&full(CA), "db.example.com", elsewhere, Ok(Some(32)));
    check(&full(CA), "a.example.org", elsewhere, Ok(Some(32)));
    check(&full(CA), "a.b.example.org", elsewhere, Err("and not for 'a.b.example.org'"));
    check(&full(CA), "my_db", SETUP, Err("and not for 'my_db'"));
    check(&Tls { server_name: Some("localhost".into()), ..full(CA) }, "h", SETUP, Ok(Some(32)));
    check(&verify_ca, "h", SETUP, Ok(Some(32)));
    check(&require, "h", SETUP, Ok(Some(32)));
    check(&require, "a name", SETUP, Ok(Some(32)));
    check(&options(SslMode::Prefer, None), "h", SETUP, Ok(Some(32)));
    for mode in [SslMode::VerifyFull, SslMode::VerifyCa, SslMode::Require] {
        let tls = options(mode, Some(other));
        check(&tls, "localhost", SETUP, Err("'hyperiondb test CA ec'"));
    }
    let nobody = trust(&full(CA)).negotiate(&host("a name"), false, false).unwrap_err();
    assert!(nobody.why.contains("no certificate can be for"), "{nobody:?}");
}

#[test]
fn certificates_are_taken_that_postgresql_s_manual_makes() {
    let (rsa, own) = (fixture!("ca-rsa"), fixture!("self"));
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let setup = |identity| Setup { versions, ..with(identity) };
        check(&full(own), "localhost", setup(own), Ok(Some(32)));
        check(&full(CA), "localhost", setup(own), Err("DEPTH_ZERO_SELF_SIGNED_CERT"));
        check(&full(rsa), "localhost", setup(fixture!("v1")), Ok(Some(32)));
        check(&full(CA), "localhost", setup(fixture!("v1")), Err("'hyperiondb test CA rsa'"));
        check(&full(rsa), "elsewhere", setup(fixture!("v1")), Err("its common name"));
        check(&options(SslMode::Require, None), "h", setup(fixture!("v1")), Ok(Some(32)));
        check(&full(CA), "localhost", setup(fixture!("cn")), Ok(Some(32)));
        check(&full(CA), "localhost", setup(fixture!("chained")), Ok(Some(32)));
    }
    let system = |ca: &str| Tls { roots: Roots::System(ca.to_owned()), ..full(CA) };
    check(&system(CA), "localhost", SETUP, Ok(Some(32)));
    check(&system(rsa), "localhost", with(fixture!("v1")), Err("has version 1"));
    check(&system(CA), "localhost", with(fixture!("cn")), Err("its common name"));
    check(&system(own), "localhost", with(own), Err("is that of a CA"));
}

#[test]
fn a_login_is_bound_by_the_hash_of_the_certificate_s_signature() {
    let rsa = fixture!("ca-rsa");
    check(&full(rsa), "localhost", with(fixture!("rsa")), Ok(Some(32)));
    check(&full(rsa), "localhost", with(fixture!("sha512")), Ok(Some(64)));
    check(&full(rsa), "localhost", with(fixture!("pss")), Ok(Some(48)));
    check(&full(fixture!("ca-ed")), "localhost", with(fixture!("ed25519")), Ok(None));
}

#[test]
fn a_certificate_counts_in_its_time() {
    let at = |seconds: u64, ca: &str, identity: &str| {
        let trust = Trust::new(&full(ca), Arc::new(At(seconds))).unwrap().unwrap();
        let negotiation = trust.negotiate(&host("localhost"), false, false).unwrap().unwrap();
        run(negotiation, &mut Server::new(with(identity)), |_| usize::MAX).unwrap_err().why
    };
    assert!(at(1_000_000_000, CA, SERVER).contains("CERT_NOT_YET_VALID"));
    assert!(at(6_000_000_000, CA, SERVER).contains("CERT_HAS_EXPIRED"));
    let own = fixture!("self");
    assert!(at(6_000_000_000, own, own).contains("CERT_HAS_EXPIRED"), "a given one too");
    assert!(at(6_000_000_000, fixture!("ca-rsa"), fixture!("v1")).contains("CERT_HAS_EXPIRED"));
}

#[test]
fn a_revoked_certificate_is_refused() {
    let tls = Tls { revocations: Some(fixture!("ec.crl").to_owned()), ..full(CA) };
    check(&tls, "localhost", SETUP, Ok(Some(32)));
    check(&tls, "localhost", with(fixture!("revoked")), Err("CERT_REVOKED"));
    check(&full(CA), "localhost", with(fixture!("revoked")), Ok(Some(32)));
}

fn identity(text: &str) -> Option<Identity> {
    Some(Identity { chain: text.to_owned(), key: Secret::new(text.to_owned()) })
}

#[test]
fn a_client_shows_its_certificate() {
    let setup = Setup { client_ca: Some(CA), ..SETUP };
    let (client, stranger) = (fixture!("client"), fixture!("stranger"));
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let mut server = Server::new(Setup { versions, ..setup });
        let tls = Tls { identity: identity(client), ..full(CA) };
        let (mut sealed, _) = run(begin(&tls, "localhost"), &mut server, |_| usize::MAX).unwrap();
        assert!(server.connection.peer_certificates().is_some());
        pass(&mut sealed, &mut server, b"x");
    }
    // With TLS 1.3 the client has nothing more to hear of the handshake, so the alert comes later.
    for (with, words) in [(None, "wants a client certificate"), (identity(stranger), "alert")] {
        let mut server = Server::new(setup);
        let tls = Tls { identity: with, ..full(CA) };
        let (mut sealed, _) = run(begin(&tls, "localhost"), &mut server, |_| usize::MAX).unwrap();
        let failure = sealed.open(&mut server.out.clone(), |_| {}).unwrap_err();
        let is_meant = failure.why.contains(words) || failure.why.contains("does not trust");
        assert!(is_meant, "{failure:?}");
    }
}

#[test]
fn direct_tls_needs_the_protocol_s_name() {
    let tls = Tls { is_direct: true, ..full(CA) };
    let direct = Setup { is_direct: true, ..SETUP };
    check(&tls, "localhost", direct, Ok(Some(32)));
    check(&tls, "localhost", Setup { protocols: &[], ..direct }, Err("ALPN"));
    check(&tls, "localhost", Setup { protocols: &["h2"], ..direct }, Err("NoApplicationProtocol"));
    // An older server closes the connection.
    let why = begin(&tls, "localhost").ended().why;
    assert!(why.contains("PostgreSQL 17"), "{why}");
}

#[test]
fn versions_are_those_that_are_allowed() {
    let check = |oldest, newest, versions, expect: Result<&str, &str>| {
        let tls = Tls { oldest, newest, ..full(CA) };
        match (shake(&tls, "localhost", Setup { versions, ..SETUP }), expect) {
            (Ok((_, facts)), Ok(version)) => assert_eq!(facts.protocol, version),
            (Err(failure), Err(words)) => assert!(failure.why.contains(words), "{failure:?}"),
            (done, expect) => panic!("{done:?} instead of {expect:?}"),
        }
    };
    use TlsVersion::{V1_2, V1_3};
    let (v1_2, v1_3) = (&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]);
    check(V1_2, V1_3, rustls::ALL_VERSIONS, Ok("TLSv1.3"));
    check(V1_2, V1_2, rustls::ALL_VERSIONS, Ok("TLSv1.2"));
    check(V1_2, V1_3, v1_2, Ok("TLSv1.2"));
    check(V1_3, V1_3, v1_2, Err("versions of TLS"));
    check(V1_2, V1_2, v1_3, Err("versions of TLS"));
    let upside_down = Tls { oldest: V1_3, newest: V1_2, ..full(CA) };
    assert!(Trust::new(&upside_down, Arc::new(At(NOW))).is_err());
}

/// Sends bytes both ways, and cuts what comes at `cut`.
fn pass_cut(sealed: &mut Sealed, server: &mut Server, plain: &[u8], cut: usize) {
    sealed.seal(plain).unwrap();
    let out = sealed.outgoing().to_vec();
    sealed.advance(out.len());
    server.take(&out);
    assert_eq!(server.read(), plain);
    server.send(plain);
    let come = std::mem::take(&mut server.out);
    let (mut buffer, mut heard) = (vec![0; 64 * 1024], Vec::new());
    let pieces = come.split_at(cut.min(come.len()));
    for piece in [pieces.0, pieces.1].into_iter().flat_map(|piece| piece.chunks(16 * 1024)) {
        let at = sealed.put_rest(&mut buffer).unwrap();
        buffer[at..at + piece.len()].copy_from_slice(piece);
        sealed
            .open(&mut buffer[..at + piece.len()], |bytes| heard.extend_from_slice(bytes))
            .unwrap();
    }
    assert_eq!(heard, plain);
    assert_eq!(sealed.kept(), 0);
}

fn pass(sealed: &mut Sealed, server: &mut Server, plain: &[u8]) {
    pass_cut(sealed, server, plain, usize::MAX);
}

#[test]
fn wrong_certificates_and_keys_are_refused_at_once() {
    let check = |tls: Tls, words: &str| {
        let error = Trust::new(&tls, Arc::new(At(NOW))).unwrap_err();
        assert_eq!(error.code(), "HYPERION_CONFIGURATION");
        assert!(error.message().contains(words), "{error}");
    };
    check(full(""), "'ca' has no certificate");
    check(full("rubbish"), "'ca' has no certificate");
    check(full("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "can be read");
    check(Tls { revocations: Some(CA.to_owned()), ..full(CA) }, "'crl' has no");
    let pair = Identity {
        chain: fixture!("client").to_owned(),
        key: Secret::new(fixture!("stranger").to_owned()),
    };
    check(Tls { identity: Some(pair), ..full(CA) }, "KEY_VALUES_MISMATCH");
    check(Tls { server_name: Some("a b".to_owned()), ..full(CA) }, "ssl.servername");
}

#[test]
fn an_odd_certificate_of_a_bundle_is_left_out() {
    let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(&full(&format!("{odd}{CA}")), "localhost", SETUP, Ok(Some(32)));
}

#[test]
fn certificates_are_read_or_refused_wherever_they_are_cut_or_changed() {
    for text in [SERVER, fixture!("v1"), fixture!("pss"), fixture!("ed25519")] {
        let whole = certificates(text).remove(0).to_vec();
        assert!(der::Certificate::parse(&whole).is_some());
        for at in 0..whole.len() {
            assert!(der::Certificate::parse(&whole[..at]).is_none(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let _ = binding::end_point(&changed);
                if let Some(certificate) = der::Certificate::parse(&changed) {
                    let _ = (certificate.has_alternative_name(), certificate.common_name());
                    let _ = (certificate.issuer_name(), certificate.is_self_issued());
                }
            }
        }
    }
}

mod stream;
