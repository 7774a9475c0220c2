//! From the connected socket to the first ReadyForQuery (PostgreSQL manual, 55.2.1).
//!
//! ```text
//! Started ──Ok──────────────────────────────┐
//!    │  └─CleartextPassword, MD5Password─▶ PasswordSent ─Ok─▶ Authenticated ─ReadyForQuery─▶ end
//!    └─SASL─▶ Scram(first ▶ keys ▶ final) ──Ok (verified)──▶┘
//! ```
//!
//! Each state takes the one authentication message that may come next, so a server can't make the
//! client authenticate in circles. An ErrorResponse ends the handshake in any state. A
//! NoticeResponse changes nothing.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;

use crate::base::{Error, ErrorClass, ServerFields};
use crate::config::{AuthMethod, ChannelBinding as Wanted, Config, Secret, SslMode};
use crate::connection::introspection::role::Parameters;
use crate::connection::login::weakness::Weakness;
use crate::connection::{Peer, Security, Shared};
use crate::protocol::backend::BackendMessage;
use crate::protocol::frontend;
use crate::protocol::scram::{ChannelBinding, Scram, Work};

/// The key that a CancelRequest must quote.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendKey {
    pub process_id: i32,
    pub secret: Vec<u8>,
}

/// The largest number of a process: Linux allows none beyond it, and other systems give none.
const LARGEST_PROCESS_ID: i32 = 1 << 22;

impl BackendKey {
    /// Whether this key can't be a server's: a pooler makes up both halves of its keys.
    pub(in crate::connection) fn is_of_pooler(&self) -> bool {
        !(1..=LARGEST_PROCESS_ID).contains(&self.process_id)
    }
}

impl std::fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendKey {{ process_id: {}, secret: [redacted] }}", self.process_id)
    }
}

#[derive(Debug)]
pub(in crate::connection) enum Handshake {
    Started { peer: Peer, password: Option<Secret> },
    PasswordSent,
    Scram { scram: Scram },
    Authenticated { key: Option<BackendKey> },
}

/// The state that a message has led to.
pub(in crate::connection) enum Next {
    Handshake(Handshake),
    Done { key: Option<BackendKey> },
}

impl Handshake {
    /// Writes the StartupMessage.
    pub(in crate::connection) fn start(
        peer: Peer,
        password: Option<Secret>,
        config: &Config,
        out: &mut BytesMut,
    ) -> Result<Self, Error> {
        let mut parameters = vec![
            ("user", config.user.as_str()),
            ("database", config.database.as_str()),
            // This client sends and reads text as UTF-8.
            ("client_encoding", "UTF8"),
        ];
        if let Some(name) = &config.application_name {
            parameters.push(("application_name", name));
        }
        parameters.extend(config.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        frontend::startup(out, &parameters)?;
        Ok(Self::Started { peer, password })
    }

    /// Whether key derivation waits for its next slice.
    pub(in crate::connection) fn has_work(&self) -> bool {
        matches!(self, Self::Scram { scram } if scram.has_work())
    }

    /// How many iterations of the key derivation are left.
    pub(in crate::connection) fn work_left(&self) -> Option<u32> {
        if let Self::Scram { scram } = self { scram.work_left() } else { None }
    }

    /// Does one slice of key derivation, which takes less than a millisecond.
    pub(in crate::connection) fn work(
        &mut self,
        shared: &mut Shared<'_>,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        if let Self::Scram { scram } = self
            && scram.has_work()
            && let Work::ClientFinal(message) = scram.work(shared.keys)?
        {
            frontend::sasl_response(out, &message)?;
        }
        Ok(())
    }

    pub(in crate::connection) fn handle(
        self,
        message: BackendMessage<'_>,
        parameters: &mut Parameters,
        shared: &mut Shared<'_>,
        out: &mut BytesMut,
    ) -> Result<(Next, Option<Weakness>), Error> {
        use BackendMessage as M;
        let mut weakness = None;
        let next = match (self, message) {
            (_, M::ErrorResponse(fields)) => return Err(login_refused(*fields)),
            (state, M::NoticeResponse(_)) => state,
            // The server knows protocol 3 only up to some minor version. This client asks for 3.0.
            (state @ Self::Started { .. }, M::NegotiateProtocolVersion { .. }) => state,

            (Self::Started { peer, password }, M::AuthenticationOk) => {
                require(shared.config, AuthMethod::None)?;
                let can_be_listened_to = is_open_to_others(&peer) && password.is_some();
                weakness = can_be_listened_to.then_some(Weakness::NoPassword);
                refuse_unbound(shared.config, "lets this user in without a password")?;
                Self::Authenticated { key: None }
            }
            (Self::Started { peer, password }, M::AuthenticationCleartextPassword) => {
                require(shared.config, AuthMethod::Password)?;
                refuse_unbound(shared.config, "asks for the password in clear text")?;
                cleartext(&peer, password.as_ref(), shared.config, out)?
            }
            (Self::Started { peer, password }, M::AuthenticationMd5Password { salt }) => {
                require(shared.config, AuthMethod::Md5)?;
                weakness = is_open_to_others(&peer).then_some(Weakness::Md5);
                refuse_unbound(shared.config, "asks for an MD5 hash of the password")?;
                let password = needed(password.as_ref())?;
                let hash = md5_hash(shared.config.user.as_bytes(), password.as_bytes(), salt);
                frontend::password(out, hash.as_bytes())?;
                Self::PasswordSent
            }
            (Self::Started { peer, password }, M::AuthenticationSasl { mechanisms }) => {
                require(shared.config, AuthMethod::ScramSha256)?;
                scram(&peer, password.as_ref(), &mechanisms, shared.config, out)?
            }
            (Self::Started { .. }, M::AuthenticationUnsupported { kind }) => {
                return Err(refused(format!(
                    "the server asks for {kind} authentication, which this client does not have; \
                     scram-sha-256, md5, password and trust are understood (pg_hba.conf decides)"
                )));
            }
            (Self::PasswordSent, M::AuthenticationOk) => Self::Authenticated { key: None },

            (Self::Scram { mut scram }, M::AuthenticationSaslContinue(data)) => {
                scram.server_first(data, shared.keys)?;
                weakness = few_iterations(&scram, shared.config)?;
                Self::Scram { scram }
            }
            (Self::Scram { mut scram }, M::AuthenticationSaslFinal(data)) => {
                scram.server_final(data)?;
                Self::Scram { scram }
            }
            // A server that omits its own proof does not know the password (RFC 5802, section 5).
            (Self::Scram { scram }, M::AuthenticationOk) if scram.is_verified() => {
                Self::Authenticated { key: None }
            }

            (state @ Self::Authenticated { .. }, M::ParameterStatus { name, value }) => {
                parameters.set(name, value);
                state
            }
            (Self::Authenticated { key: None }, M::BackendKeyData { process_id, secret_key }) => {
                let secret = secret_key.to_vec();
                Self::Authenticated { key: Some(BackendKey { process_id, secret }) }
            }
            (Self::Authenticated { key }, M::ReadyForQuery(_)) => {
                return Ok((Next::Done { key }, None));
            }
            (state, message) => {
                return Err(Error::protocol(format!(
                    "the server sent {} {}",
                    message.name(),
                    state.moment()
                )));
            }
        };
        Ok((Next::Handshake(next), weakness))
    }

    const fn moment(&self) -> &'static str {
        match self {
            Self::Started { .. } => "in answer to the startup message",
            Self::PasswordSent => "in answer to the password",
            Self::Scram { .. } => "in the middle of SCRAM authentication",
            Self::Authenticated { .. } => "between authentication and ReadyForQuery",
        }
    }
}

fn needed(password: Option<&Secret>) -> Result<&str, Error> {
    match password {
        Some(password) => Ok(password.expose()),
        None => Err(refused(
            "the server asks for a password: give the option 'password', or an entry in ~/.pgpass",
        )),
    }
}

fn cleartext(
    peer: &Peer,
    password: Option<&Secret>,
    config: &Config,
    out: &mut BytesMut,
) -> Result<Handshake, Error> {
    let is_encrypted = peer.security != Security::Plain;
    if !peer.local && !is_encrypted {
        return Err(refused(
            "the server asks for the password in clear text over an unencrypted connection, which is \
             refused: give ssl: true, or use scram-sha-256 in pg_hba.conf, a Unix socket, or a loopback \
             address",
        ));
    }
    // With this mode anyone in between may be the one that asks.
    if !peer.local && config.tls.mode == SslMode::Prefer {
        return Err(refused(
            "the server asks for the password in clear text, and sslmode=prefer does not tell who it is, so \
             that this is refused: give ssl: true, or sslmode=require if the network is trusted",
        ));
    }
    frontend::password(out, needed(password)?.as_bytes())?;
    Ok(Handshake::PasswordSent)
}

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

fn scram(
    peer: &Peer,
    password: Option<&Secret>,
    mechanisms: &[String],
    config: &Config,
    out: &mut BytesMut,
) -> Result<Handshake, Error> {
    let offers = |mechanism: &str| mechanisms.iter().any(|offered| offered == mechanism);
    let binding = binding(&peer.security, offers(SCRAM_PLUS), config.tls.channel_binding)?;
    let mechanism = match binding {
        ChannelBinding::EndPoint(_) => SCRAM_PLUS,
        ChannelBinding::Unsupported | ChannelBinding::NotOffered => SCRAM,
    };
    if !offers(mechanism) {
        return Err(refused(format!("the server offers no {mechanism} authentication")));
    }
    let (scram, first) = Scram::start(&config.user, needed(password)?, &peer.nonce, binding);
    frontend::sasl_initial_response(out, mechanism, &first)?;
    Ok(Handshake::Scram { scram })
}

/// What a login by SCRAM tells of the channel (RFC 5802, section 6). Where the certificate has no
/// hash, `y` would be a lie: a server that offers binding takes it for a sign of an attack.
fn binding(security: &Security, is_offered: bool, wanted: Wanted) -> Result<ChannelBinding, Error> {
    let why = match (security, is_offered) {
        _ if wanted == Wanted::Disable => return Ok(ChannelBinding::Unsupported),
        (Security::Encrypted { end_point: Some(hash), .. }, true) => {
            return Ok(ChannelBinding::EndPoint(hash.clone()));
        }
        (Security::Encrypted { .. }, false) if wanted == Wanted::Prefer => {
            return Ok(ChannelBinding::NotOffered);
        }
        // Whoever stands in between could show such a certificate, so that nothing is bound.
        (Security::Encrypted { end_point: None, is_verified: false }, true)
            if wanted == Wanted::Prefer =>
        {
            return Err(refused(
                "the login can't be bound to the server's certificate, whose signature has no hash of its own \
                 (Ed25519 and Ed448 have none), and the certificate is not verified: someone in between may have \
                 chosen it. Verify it by ssl: { ca }, or give channelBinding: 'disable'",
            ));
        }
        _ if wanted == Wanted::Prefer => return Ok(ChannelBinding::Unsupported),
        (Security::Plain, _) => "the connection is not encrypted",
        (Security::Encrypted { .. }, false) => {
            "the server does not offer it (a pooler may stand before it)"
        }
        (Security::Encrypted { .. }, true) => {
            "the signature of the server's certificate has no hash of its own (Ed25519 and Ed448 have none): \
             use one that is signed by RSA or ECDSA"
        }
    };
    Err(refused(format!("channel binding is required, but {why}")))
}

/// The fewest iterations of SCRAM that count as safe (RFC 7677, section 4). It is the servers' default.
const LEAST_ITERATIONS: u32 = 4096;

/// With few iterations, whoever has listened to the login guesses the password sooner.
fn few_iterations(scram: &Scram, config: &Config) -> Result<Option<Weakness>, Error> {
    let few = scram.iterations().filter(|iterations| *iterations < LEAST_ITERATIONS);
    match few {
        Some(iterations) if config.require_auth.is_some() => Err(refused(format!(
            "the server asks for {iterations} iterations of SCRAM, and requireAuth takes no fewer than \
             {LEAST_ITERATIONS}: set the password anew, with scram_iterations at {LEAST_ITERATIONS} or more"
        ))),
        few => Ok(few.map(Weakness::FewIterations)),
    }
}

/// Whether others may listen, and stand in between.
fn is_open_to_others(peer: &Peer) -> bool {
    !peer.local && peer.security == Security::Plain
}

/// Refuses a way to log in that the options exclude.
fn require(config: &Config, method: AuthMethod) -> Result<(), Error> {
    let Some(required) = config.require_auth.as_ref().filter(|it| !it.allows(method)) else {
        return Ok(());
    };
    let does = match method {
        AuthMethod::None => "lets this user in without a password",
        AuthMethod::Password => "asks for the password in clear text",
        AuthMethod::Md5 => "asks for an MD5 hash of the password",
        AuthMethod::ScramSha256 => "asks for SCRAM-SHA-256",
    };
    Err(refused(format!(
        "the server {does}, but requireAuth allows {} alone (pg_hba.conf decides what it asks for)",
        required.names()
    )))
}

/// Only SCRAM binds a login to the channel.
fn refuse_unbound(config: &Config, does: &str) -> Result<(), Error> {
    match config.tls.channel_binding {
        Wanted::Require => Err(refused(format!(
            "channel binding is required, but the server {does} (pg_hba.conf must ask for scram-sha-256)"
        ))),
        Wanted::Disable | Wanted::Prefer => Ok(()),
    }
}

/// The error of a refused login, with advice if a person can mend it and the server does not say
/// how.
fn login_refused(mut fields: ServerFields) -> Error {
    // For 'options' that it can't read, a server's hint is: Try "postgres --help" for more
    // information.
    if fields.code == "42601" {
        fields.hint = None;
    }
    let of_pooler = fields.routine.is_none();
    let hint = match fields.code.as_str() {
        "42704" | "22023" | "42601" => {
            "this was sent at login: correct the option 'parameters', or 'options' in the connection string"
        }
        // Servers before PostgreSQL 14 say "SSL off" and "SSL on".
        "28000" if ["no encryption", "SSL off"].iter().any(|end| fields.message.ends_with(end)) => {
            "the server wants TLS here: give ssl: true, or sslmode=require in the connection string"
        }
        "28000" if ["SSL encryption", "SSL on"].iter().any(|end| fields.message.ends_with(end)) => {
            "pg_hba.conf may have an entry without TLS alone (hostnossl): give ssl: false, or \
             sslmode=disable, if the network is trusted"
        }
        "28000" if fields.message.contains("channel binding check failed") => {
            "the server has another certificate than the one that this client was shown, so that someone stands \
             in between; if that is a proxy of yours that ends TLS, give channelBinding: 'disable'"
        }
        "28000" if fields.message.contains("valid client certificate") => {
            "give 'cert' and 'key' in option 'ssl', or sslcert and sslkey in the connection string"
        }
        "08P01" if of_pooler && fields.message.contains("startup parameter") => {
            "list the parameter in ignore_startup_parameters in pgbouncer.ini, and set it by ALTER ROLE ... \
             SET if you need it"
        }
        "08P01" if of_pooler && fields.message.starts_with("SASL authentication failed") => {
            "the user or the password is wrong, or, behind a PgBouncer before 1.19, there is no such database"
        }
        _ => return Error::database(fields),
    };
    Error::database(fields).with_hint(hint)
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Connection, "HYPERION_AUTHENTICATION", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_tells_of_the_channel_what_is_true() {
        use ChannelBinding::{EndPoint, NotOffered, Unsupported};
        let encrypted = |end_point, is_verified| Security::Encrypted { end_point, is_verified };
        let bound = || encrypted(Some(vec![7; 32]), false);
        let unbindable = || encrypted(None, true);
        let chosen_by_anyone = || encrypted(None, false);
        let end_point = || Some(EndPoint(vec![7; 32]));
        let table = [
            (Security::Plain, false, [Some(Unsupported), Some(Unsupported), None]),
            (Security::Plain, true, [Some(Unsupported), Some(Unsupported), None]),
            (bound(), true, [Some(Unsupported), end_point(), end_point()]),
            (bound(), false, [Some(Unsupported), Some(NotOffered), None]),
            (unbindable(), true, [Some(Unsupported), Some(Unsupported), None]),
            (chosen_by_anyone(), true, [Some(Unsupported), None, None]),
            (unbindable(), false, [Some(Unsupported), Some(NotOffered), None]),
        ];
        for (security, is_offered, expect) in table {
            let wanted = [Wanted::Disable, Wanted::Prefer, Wanted::Require];
            let told = wanted.map(|wanted| binding(&security, is_offered, wanted).ok());
            assert_eq!(told, expect, "{security:?}, offered: {is_offered}");
        }
    }

    #[test]
    fn a_refusal_for_want_of_tls_says_what_to_write() {
        let hint = |message: &str| {
            let fields = ServerFields {
                code: "28000".to_owned(),
                message: message.to_owned(),
                ..ServerFields::default()
            };
            login_refused(fields).server().unwrap().hint.clone().unwrap_or_default()
        };
        let no_entry = r#"no pg_hba.conf entry for host "10.0.0.1", user "u", database "d""#;
        for end in ["no encryption", "SSL off"] {
            assert!(hint(&format!("{no_entry}, {end}")).contains("ssl: true"), "{end}");
        }
        for end in ["SSL encryption", "SSL on"] {
            assert!(hint(&format!("{no_entry}, {end}")).contains("ssl: false"), "{end}");
        }
        assert!(
            hint("connection requires a valid client certificate").contains("'cert' and 'key'")
        );
        assert!(hint("SCRAM channel binding check failed").contains("in between"));
        assert_eq!(hint("role is not permitted to log in"), "");
    }
}
