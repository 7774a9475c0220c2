//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side.
//!
//! `postgres-protocol` has an implementation too, which derives its key in one go. With the most
//! iterations that a server may ask for, each such login would block the event loop for 19 ms. This
//! implementation uses the same crates, derives the key in slices, and keeps the key for later
//! connections.
//!
//! ```text
//! First ──server_first──▶ Deriving ──work──▶ Final ──server_final──▶ Verified
//!    └───────────────────────┴─── any error ───┴──▶ Failed
//! ```

use std::collections::VecDeque;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base::{Error, ErrorClass};

/// The most iterations. The server chooses how many iterations a login takes. A larger number is
/// refused before any work is done.
const MOST_ITERATIONS: u32 = 100_000;
/// The iterations of one slice, which take some 0.4 ms.
const SLICE: u32 = 2_000;
/// How many keys are kept. A user's salt stays the same until the password changes.
const MOST_KEYS: usize = 16;

type Key = [u8; 32];

/// What the client tells the server about channel binding (RFC 5802, section 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// The client can't bind the channel, or does not want to.
    Unsupported,
    /// The client can bind the channel, but saw no offer from the server. If the server did offer
    /// channel binding, this flag tells it that somebody removed the offer on the way.
    NotOffered,
    /// The hash of the server's certificate (RFC 5929, section 4).
    EndPoint(Vec<u8>),
}

impl ChannelBinding {
    const fn header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// What the client-final-message says about the channel.
    fn input(&self) -> Vec<u8> {
        let data: &[u8] = match self {
            Self::Unsupported | Self::NotOffered => &[],
            Self::EndPoint(hash) => hash,
        };
        [self.header().as_bytes(), data].concat()
    }
}

/// The result of a slice of work.
#[derive(Debug, PartialEq, Eq)]
pub enum Work {
    More,
    /// The client-final-message, to be sent now.
    ClientFinal(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq)]
struct Keys {
    client: Key,
    server: Key,
}

impl Keys {
    fn of(salted_password: &Key) -> Result<Self, Error> {
        let client = hmac(salted_password, b"Client Key")?;
        Ok(Self { client, server: hmac(salted_password, b"Server Key")? })
    }

    /// The client's proof, and the signature by which the server proves itself (RFC 5802, section
    /// 3).
    fn sign(&self, auth_message: &str) -> Result<(Vec<u8>, Key), Error> {
        let stored: Key = Sha256::digest(self.client).into();
        let signature = hmac(&stored, auth_message.as_bytes())?;
        let proof = self.client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        Ok((proof, hmac(&self.server, auth_message.as_bytes())?))
    }
}

/// Everything that determines a key. The password is held only as a digest.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    user: String,
    password: Key,
    salt: Vec<u8>,
    iterations: u32,
}

/// Derived keys, so that a pool of a hundred connections derives only one.
#[derive(Default)]
pub struct KeyCache {
    entries: VecDeque<(Origin, Keys)>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyCache {{ {} entries }}", self.entries.len())
    }
}

impl KeyCache {
    fn keys(&self, origin: &Origin) -> Option<Keys> {
        self.entries.iter().find(|(of, _)| of == origin).map(|(_, keys)| keys.clone())
    }

    fn insert(&mut self, origin: Origin, keys: Keys) {
        if self.entries.len() >= MOST_KEYS {
            self.entries.pop_front();
        }
        self.entries.push_back((origin, keys));
    }
}

enum State {
    First {
        user: String,
        password: Zeroizing<Vec<u8>>,
        nonce: String,
        first_bare: String,
    },
    Deriving {
        origin: Origin,
        derivation: Box<Derivation>,
        auth_message: String,
        without_proof: String,
    },
    Final {
        signature: Key,
    },
    Verified,
    Failed,
}

/// PBKDF2 with HMAC-SHA-256 (RFC 8018, 5.2), for one block of output.
struct Derivation {
    /// Already keyed, so that each clone can take the next message.
    mac: Hmac<Sha256>,
    previous: Key,
    result: Key,
    left: u32,
}

/// One login. Each state owns the values that it needs. A call in the wrong state is an error.
pub struct Scram {
    state: State,
    binding: ChannelBinding,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::First { .. } => "First",
            State::Deriving { .. } => "Deriving",
            State::Final { .. } => "Final",
            State::Verified => "Verified",
            State::Failed => "Failed",
        };
        write!(f, "Scram::{state}")
    }
}

impl Scram {
    /// Begins a login, and returns the client-first-message. `random` must be fresh and
    /// unpredictable.
    pub fn start(
        user: &str,
        password: &str,
        random: &[u8],
        binding: ChannelBinding,
    ) -> (Self, Vec<u8>) {
        let nonce = STANDARD.encode(random);
        // PostgreSQL takes the user from the StartupMessage, and ignores the name here.
        let first_bare = format!("n=,r={nonce}");
        let message = format!("{}{first_bare}", binding.header()).into_bytes();
        // As in libpq, a password that SASLprep can't handle is used as it is.
        let password = match stringprep::saslprep(password) {
            Ok(prepared) => prepared.as_bytes().to_vec(),
            Err(_) => password.as_bytes().to_vec(),
        };
        let password = Zeroizing::new(password);
        let state = State::First { user: user.to_owned(), password, nonce, first_bare };
        (Self { state, binding }, message)
    }

    /// Takes the server-first-message. [`Self::work`] is next.
    pub fn server_first(&mut self, data: &[u8], _cache: &KeyCache) -> Result<(), Error> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let State::First { user, password, nonce, first_bare } = state else {
            return Err(Error::protocol("AuthenticationSASLContinue came twice"));
        };
        let message = text(data)?;
        let first = ServerFirst::parse(message, &nonce)?;
        let channel = STANDARD.encode(self.binding.input());
        let without_proof = format!("c={channel},r={}", first.nonce);
        let auth_message = format!("{first_bare},{message},{without_proof}");
        let mac = keyed(&password)?;
        let derivation = Box::new(Derivation::new(mac, &first.salt, first.iterations));
        let password = Sha256::digest(&*password).into();
        let origin = Origin { user, password, salt: first.salt, iterations: first.iterations };
        self.state = State::Deriving { origin, derivation, auth_message, without_proof };
        Ok(())
    }

    pub fn has_work(&self) -> bool {
        matches!(self.state, State::Deriving { .. })
    }

    /// How many iterations the server asks for, once it has.
    pub fn iterations(&self) -> Option<u32> {
        match &self.state {
            State::Deriving { origin, .. } => Some(origin.iterations),
            _ => None,
        }
    }

    /// How many iterations the key derivation still needs. `None` if there is no work.
    pub fn work_left(&self) -> Option<u32> {
        match &self.state {
            State::Deriving { derivation, .. } => Some(derivation.left),
            _ => None,
        }
    }

    /// Does one slice of the key derivation. If another connection has derived the key meanwhile,
    /// the derivation is done.
    pub fn work(&mut self, cache: &mut KeyCache) -> Result<Work, Error> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let State::Deriving { origin, mut derivation, auth_message, without_proof } = state else {
            return Err(Error::internal("SCRAM has no work to do in this state"));
        };
        let keys = match cache.keys(&origin) {
            Some(keys) => keys,
            None => match derivation.step(SLICE) {
                Some(salted) => {
                    let keys = Keys::of(&salted)?;
                    cache.insert(origin, keys.clone());
                    keys
                }
                None => {
                    self.state =
                        State::Deriving { origin, derivation, auth_message, without_proof };
                    return Ok(Work::More);
                }
            },
        };
        let (proof, signature) = keys.sign(&auth_message)?;
        self.state = State::Final { signature };
        Ok(Work::ClientFinal(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()))
    }

    /// Takes the server-final-message, which proves that the server knows the password's verifier.
    pub fn server_final(&mut self, data: &[u8]) -> Result<(), Error> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let State::Final { signature } = state else {
            return Err(Error::protocol("AuthenticationSASLFinal came before its time"));
        };
        let message = text(data)?;
        if let Some(error) = message.strip_prefix("e=") {
            return Err(refused(format!("the server refused SCRAM authentication: {error:.100}")));
        }
        let given = message.strip_prefix("v=").map(|text| STANDARD.decode(text));
        let Some(Ok(given)) = given else {
            return Err(Error::protocol("the server's SCRAM signature can't be read"));
        };
        if !equal(&given, &signature) {
            return Err(refused(
                "the server's SCRAM signature is wrong: it does not know the password",
            ));
        }
        self.state = State::Verified;
        Ok(())
    }

    pub fn is_verified(&self) -> bool {
        matches!(self.state, State::Verified)
    }
}

impl Derivation {
    fn new(mac: Hmac<Sha256>, salt: &[u8], iterations: u32) -> Self {
        let first = mac.clone().chain_update(salt).chain_update(1u32.to_be_bytes());
        let first: Key = first.finalize().into_bytes().into();
        Self { mac, previous: first, result: first, left: iterations.saturating_sub(1) }
    }

    /// Does at most `most` iterations. Returns the key once the last iteration is done.
    fn step(&mut self, most: u32) -> Option<Key> {
        let count = self.left.min(most);
        for _ in 0..count {
            let next = self.mac.clone().chain_update(self.previous).finalize();
            self.previous = next.into_bytes().into();
            for (sum, byte) in self.result.iter_mut().zip(self.previous) {
                *sum ^= byte;
            }
        }
        self.left = self.left.saturating_sub(count);
        (self.left == 0).then_some(self.result)
    }
}

/// `r=<nonce>,s=<salt>,i=<iterations>`. PostgreSQL sends nothing else, so any extension is refused.
struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn parse(message: &'a str, ours: &str) -> Result<Self, Error> {
        let mut parts = message.split(',');
        let mut attribute = |name: &str| {
            parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(|| {
                // This also refuses a mandatory extension (m=), which must not be ignored.
                Error::protocol(format!(
                    "the server's SCRAM message has no {name} where it belongs"
                ))
            })
        };
        let (nonce, salt, iterations) = (attribute("r=")?, attribute("s=")?, attribute("i=")?);
        if !nonce.starts_with(ours) || nonce.len() <= ours.len() {
            return Err(Error::protocol("the server's SCRAM nonce does not extend ours"));
        }
        let salt = STANDARD.decode(salt);
        let salt = salt.map_err(|_| Error::protocol("the server's SCRAM salt is not base64"))?;
        if salt.is_empty() {
            return Err(Error::protocol("the server's SCRAM salt is empty"));
        }
        let iterations = iterations.parse().unwrap_or(0);
        if !(1..=MOST_ITERATIONS).contains(&iterations) {
            return Err(Error::protocol(format!(
                "the server asks for a SCRAM iteration count outside of 1 to {MOST_ITERATIONS}"
            )));
        }
        if parts.next().is_some() {
            return Err(Error::protocol("the server's SCRAM message has an unknown extension"));
        }
        Ok(Self { nonce, salt, iterations })
    }
}

fn text(data: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(data).map_err(|_| Error::protocol("a SCRAM message is not UTF-8"))
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Connection, "HYPERION_AUTHENTICATION", message)
}

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>, Error> {
    Hmac::new_from_slice(key).map_err(|_| Error::internal("HMAC takes keys of any length"))
}

fn hmac(key: &[u8], data: &[u8]) -> Result<Key, Error> {
    Ok(keyed(key)?.chain_update(data).finalize().into_bytes().into())
}

/// Compares all bytes, so that the time taken does not reveal where the first difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3, without the user name, which PostgreSQL ignores.
    const NONCE: &[u8] = b"fixed nonce for tests";

    fn begin(cache: &KeyCache, first: impl Fn(&str) -> String) -> Result<Scram, Error> {
        let (mut scram, message) = Scram::start("u", "pencil", NONCE, ChannelBinding::Unsupported);
        let message = String::from_utf8(message).unwrap();
        let nonce = message.strip_prefix("n,,n=,r=").unwrap();
        scram.server_first(first(nonce).as_bytes(), cache)?;
        Ok(scram)
    }

    fn derive(scram: &mut Scram, cache: &mut KeyCache) -> (String, usize) {
        for slices in 1.. {
            if let Work::ClientFinal(message) = scram.work(cache).unwrap() {
                return (String::from_utf8(message).unwrap(), slices);
            }
        }
        unreachable!()
    }

    fn good(nonce: &str) -> String {
        format!("r={nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    }

    #[test]
    fn proof_and_signature_are_those_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut derivation = Derivation::new(keyed(b"pencil").unwrap(), &salt, 4096);
        let salted = std::iter::repeat_with(|| derivation.step(1000)).find_map(|key| key).unwrap();
        let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                    r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (proof, signature) = Keys::of(&salted).unwrap().sign(auth).unwrap();
        assert_eq!(STANDARD.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn the_work_is_sliced_and_done_once_for_all_connections() {
        let mut cache = KeyCache::default();
        let mut scram = begin(&cache, good).unwrap();
        let (first, slices) = derive(&mut scram, &mut cache);
        assert_eq!(slices, 3, "4096 iterations in slices of 2000");
        let mut scram = begin(&cache, good).unwrap();
        assert_eq!(derive(&mut scram, &mut cache), (first, 1));
        let mut scram = begin(&cache, |nonce| good(nonce).replace("4096", "4097")).unwrap();
        assert_eq!(derive(&mut scram, &mut cache).1, 3, "another count is another key");
    }

    #[test]
    fn what_a_server_must_not_say_first() {
        let cache = KeyCache::default();
        let check = |first: fn(&str) -> String| {
            let error = begin(&cache, first).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Protocol, "{error}");
        };
        check(|nonce| format!("r={nonce},s=c2FsdA==,i=4096"));
        check(|_| "r=other,s=c2FsdA==,i=4096".into());
        check(|nonce| format!("r={nonce}x,s=?,i=4096"));
        check(|nonce| format!("r={nonce}x,s=,i=4096"));
        check(|nonce| format!("r={nonce}x,s=c2FsdA==,i=4096,x=optional"));
        check(|nonce| format!("r={nonce}x,s=c2FsdA==,i=0"));
        check(|nonce| format!("r={nonce}x,s=c2FsdA==,i=100001"));
        check(|nonce| format!("r={nonce}x,s=c2FsdA==,i=99999999999"));
        check(|nonce| format!("r={nonce}x,s=c2FsdA==,i=-1"));
        check(|nonce| format!("m=x,r={nonce}x,s=c2FsdA==,i=4096"));
        check(|nonce| format!("r={nonce}x,s=c2FsdA==,i=4096,m=x"));
        check(|_| String::new());
    }

    #[test]
    fn the_server_must_prove_itself() {
        let mut cache = KeyCache::default();
        for (message, verified) in [("v=AAAA", false), ("v=?", false), ("e=no", false), ("", false)]
        {
            let mut scram = begin(&cache, good).unwrap();
            derive(&mut scram, &mut cache);
            assert!(scram.server_final(message.as_bytes()).is_err());
            assert_eq!(scram.is_verified(), verified);
        }
        let mut scram = begin(&cache, good).unwrap();
        derive(&mut scram, &mut cache);
        let State::Final { signature } = &scram.state else { panic!() };
        let message = format!("v={}", STANDARD.encode(signature));
        assert_eq!(scram.server_final(message.as_bytes()), Ok(()));
        assert!(scram.is_verified());
    }

    /// A login in the state with this name.
    fn in_state(name: &str, cache: &mut KeyCache) -> Scram {
        let (mut scram, message) = Scram::start("u", "pencil", NONCE, ChannelBinding::Unsupported);
        let message = String::from_utf8(message).unwrap();
        let first = good(message.strip_prefix("n,,n=,r=").unwrap());
        match name {
            "First" => {}
            "Deriving" => scram.server_first(first.as_bytes(), cache).unwrap(),
            "Final" => {
                scram.server_first(first.as_bytes(), cache).unwrap();
                derive(&mut scram, cache);
            }
            "Verified" => {
                scram = in_state("Final", cache);
                let State::Final { signature } = &scram.state else { panic!() };
                let message = format!("v={}", STANDARD.encode(signature));
                scram.server_final(message.as_bytes()).unwrap();
            }
            _ => assert!(scram.server_final(b"").is_err()),
        }
        assert_eq!(format!("{scram:?}"), format!("Scram::{name}"));
        scram
    }

    #[test]
    fn every_state_takes_the_one_message_that_may_come_next() {
        let mut cache = KeyCache::default();
        let nonce = STANDARD.encode(NONCE);
        for (state, allowed) in [
            ("First", "server_first"),
            ("Deriving", "work"),
            ("Final", "server_final"),
            ("Verified", ""),
            ("Failed", ""),
        ] {
            for input in ["server_first", "work", "server_final"] {
                let mut scram = in_state(state, &mut cache);
                let signature = match &scram.state {
                    State::Final { signature } => STANDARD.encode(signature),
                    _ => "AAAA".to_owned(),
                };
                let done = match input {
                    "server_first" => scram.server_first(good(&nonce).as_bytes(), &cache),
                    "work" => scram.work(&mut cache).map(|_| ()),
                    _ => scram.server_final(format!("v={signature}").as_bytes()),
                };
                assert_eq!(done.is_ok(), input == allowed, "{input} in {state}: {done:?}");
                if done.is_err() {
                    assert_eq!(format!("{scram:?}"), "Scram::Failed", "{input} in {state}");
                }
            }
        }
    }
}
