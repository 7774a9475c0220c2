//! What a pool asks of TLS: the option `ssl`, and libpq's keys in the connection string.
//!
//! libpq's keys name files. This floor reads none: [`super::wanted_from_json`] tells which ones,
//! and their contents come back beside the options, as `$tls`, in the form of the option `ssl`.

use serde_json::{Map, Value};

use super::refusal::{error, kind, quote, refuse, show, unknown};
use super::{Secret, Tls, Wanted};
use crate::base::Error;

/// The key of the options under which the contents of files come.
pub(super) const CONTENTS: &str = "$tls";

/// libpq's keys that this file reads.
pub(super) const KEYS: [&str; 15] = [
    "channel_binding",
    "requiressl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "ssl",
];

/// In place of the option `ssl` where it is a function.
const ASKED: &str = "$asked";

const OBJECT: [&str; 10] = [
    "ca",
    "cert",
    "crl",
    "key",
    "maxVersion",
    "minVersion",
    "negotiation",
    "passphrase",
    "rejectUnauthorized",
    "servername",
];

/// How much of TLS is asked for (PostgreSQL manual, 34.19.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Also libpq's `allow`: TLS is never asked for.
    Disable,
    /// TLS where the server has it. A handshake that fails is an error, and no reason to go on in
    /// the clear.
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The CAs by which servers are verified, as text in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    None,
    Given(String),
    /// Node's own, or the system's.
    System(String),
}

/// The certificate by which this client proves who it is, in PEM, with its key in PKCS#8.
#[derive(Clone, Debug)]
pub struct Identity {
    pub chain: String,
    pub key: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// Whether a login is tied to the certificate that the server has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// The option `ssl`.
#[derive(Clone, Debug, Default)]
struct Given {
    mode: Option<SslMode>,
    is_asked: bool,
    is_object: bool,
    rejects: Option<bool>,
    server_name: Option<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<Secret>,
    crl: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct TlsDraft {
    /// `sslmode`, and its value.
    word: Option<SslMode>,
    is_no_verify: bool,
    option: Given,
    files: Wanted,
    drops_identity: bool,
    needs_identity: bool,
    hides_name: bool,
    negotiation: Option<bool>,
    oldest: Option<TlsVersion>,
    newest: Option<TlsVersion>,
    channel_binding: Option<ChannelBinding>,
    /// Prisma's `sslaccept=strict`.
    pub(super) is_strict: bool,
}

impl Tls {
    pub(crate) fn default_of_pools() -> Self {
        Self {
            mode: SslMode::Prefer,
            is_default: true,
            is_asked: false,
            is_direct: false,
            roots: Roots::None,
            identity: None,
            revocations: None,
            server_name: None,
            sends_name: true,
            oldest: TlsVersion::V1_2,
            newest: TlsVersion::V1_3,
            channel_binding: ChannelBinding::Prefer,
        }
    }
}

impl TlsDraft {
    /// Reads a key of the connection string. `subject` names it.
    pub(super) fn set_key(&mut self, subject: &str, key: &str, value: &str) -> Result<(), Error> {
        let path = || (!value.is_empty()).then(|| value.to_owned());
        match key {
            "sslmode" => self.set_word(subject, value)?,
            // As `pg` and pgjdbc, whose key it is. libpq takes it for sslmode=require.
            "ssl" => match value {
                "true" | "1" => self.word = Some(SslMode::VerifyFull),
                "false" | "0" => self.word = Some(SslMode::Disable),
                _ => return Err(refuse(subject, "true or false", &quote(value))),
            },
            "requiressl" => {
                if flag(subject, value)? {
                    self.word = Some(SslMode::Require);
                }
            }
            "sslrootcert" => match value {
                "system" => self.files.system = true,
                _ => self.files.root_cert = path(),
            },
            "sslcert" => self.files.cert = path(),
            "sslkey" => self.files.key = path(),
            "sslcrl" => self.files.crl = path(),
            "sslpassword" => self.files.password = path(),
            "sslsni" => self.hides_name = !flag(subject, value)?,
            "sslcompression" => {
                if flag(subject, value)? {
                    return Err(error(format!(
                        "{subject}: compression of TLS is not offered, since it betrays secrets (CRIME)"
                    )));
                }
            }
            "sslcertmode" => match value {
                "disable" => self.drops_identity = true,
                "allow" => {}
                "require" => self.needs_identity = true,
                _ => {
                    return Err(refuse(subject, "one of disable, allow, require", &quote(value)));
                }
            },
            "sslnegotiation" => self.set_negotiation(subject, value)?,
            "ssl_min_protocol_version" => self.oldest = Some(version(subject, value)?),
            "ssl_max_protocol_version" => self.newest = Some(version(subject, value)?),
            _ => self.set_channel_binding(subject, value)?,
        }
        Ok(())
    }

    pub(super) fn set_channel_binding(&mut self, subject: &str, value: &str) -> Result<(), Error> {
        self.channel_binding = Some(match value {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            _ => return Err(refuse(subject, "one of disable, prefer, require", &quote(value))),
        });
        Ok(())
    }

    fn set_word(&mut self, subject: &str, value: &str) -> Result<(), Error> {
        let (mode, is_no_verify) = word(value).ok_or_else(|| {
            let words = "one of disable, allow, prefer, require, verify-ca, verify-full, no-verify";
            refuse(subject, words, &quote(value))
        })?;
        (self.word, self.is_no_verify) = (Some(mode), is_no_verify);
        Ok(())
    }

    /// Verifies the server where `is_strict` asks for it, unless TLS is off or the option `ssl` says
    /// what is verified.
    pub(super) fn verify_strictly(&mut self, has_option: bool) {
        if self.is_strict && !has_option && self.word != Some(SslMode::Disable) {
            self.word = Some(SslMode::VerifyFull);
        }
    }

    fn set_negotiation(&mut self, subject: &str, value: &str) -> Result<(), Error> {
        self.negotiation = Some(match value {
            "postgres" => false,
            "direct" => true,
            _ => return Err(refuse(subject, "one of postgres, direct", &quote(value))),
        });
        Ok(())
    }

    /// Reads the option `ssl`.
    pub(super) fn set_option(&mut self, value: &Value) -> Result<(), Error> {
        const SUBJECT: &str = "option 'ssl'";
        const FORMS: &str = "true, false, an object, a function that returns one, or one of disable, prefer, require, \
                             verify-ca, verify-full, no-verify";
        match value {
            Value::Bool(true) => self.option.mode = Some(SslMode::VerifyFull),
            Value::Bool(false) => self.option.mode = Some(SslMode::Disable),
            Value::String(text) => {
                let (mode, _) = word(text).ok_or_else(|| refuse(SUBJECT, FORMS, &quote(text)))?;
                self.option.mode = Some(mode);
            }
            Value::Object(object) if object.contains_key(ASKED) => {
                (self.option.is_asked, self.option.is_object) = (true, true);
            }
            Value::Object(object) if !object.contains_key("$given") => self.set_object(object)?,
            other => return Err(refuse(SUBJECT, FORMS, &show(other))),
        }
        Ok(())
    }

    fn set_object(&mut self, object: &Map<String, Value>) -> Result<(), Error> {
        self.option.is_object = true;
        for (name, value) in object {
            let subject = format!("option 'ssl.{name}'");
            match name.as_str() {
                "rejectUnauthorized" => {
                    let rejects = value
                        .as_bool()
                        .ok_or_else(|| refuse(&subject, "true or false", &show(value)));
                    self.option.rejects = Some(rejects?);
                }
                "servername" => {
                    self.option.server_name =
                        Some(text(&subject, value)?).filter(|name| !name.is_empty());
                }
                "ca" => self.option.ca = Some(text(&subject, value)?),
                "cert" => self.option.cert = Some(text(&subject, value)?),
                "key" => self.option.key = Some(Secret::new(text(&subject, value)?)),
                "crl" => self.option.crl = Some(text(&subject, value)?),
                "minVersion" => self.oldest = Some(version(&subject, &text(&subject, value)?)?),
                "maxVersion" => self.newest = Some(version(&subject, &text(&subject, value)?)?),
                "negotiation" => self.set_negotiation(&subject, &text(&subject, value)?)?,
                _ => return Err(refused_option(name)),
            }
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> Result<Wanted, Error> {
        let mode = self.mode()?;
        if self.option.is_asked {
            // They are read for each answer.
            return Ok(Wanted::default());
        }
        let mut wanted = self.files.clone();
        let has_root = self.option.ca.is_some() || wanted.root_cert.is_some();
        wanted.system |= mode.is_some_and(|mode| mode == SslMode::VerifyFull) && !has_root;
        if self.drops_identity {
            (wanted.cert, wanted.key) = (None, None);
        }
        Ok(wanted)
    }

    /// The mode that was asked for, if one was.
    fn mode(&self) -> Result<Option<SslMode>, Error> {
        let Given { mode, is_object, rejects, .. } = &self.option;
        if let (Some(option), Some(word)) = (mode, self.word)
            && *option != word
        {
            return Err(error(
                "option 'ssl' and 'sslmode' in the connection string say different things: give one of them",
            ));
        }
        let word = mode.or(self.word);
        let mode = match (word, rejects) {
            (Some(SslMode::VerifyCa | SslMode::VerifyFull), Some(false)) => {
                return Err(error(
                    "option 'ssl.rejectUnauthorized' is false, but 'sslmode' asks to verify the server: give one \
                     of them",
                ));
            }
            (Some(_), Some(true)) if self.is_no_verify => {
                return Err(error(
                    "option 'ssl.rejectUnauthorized' is true, but 'sslmode' is no-verify: give one of them",
                ));
            }
            // An object verifies unless it says otherwise. A hoster's string with sslmode=require
            // would take the check of the name away.
            (Some(SslMode::Prefer | SslMode::Require), None)
                if *is_object && !self.is_no_verify =>
            {
                Some(SslMode::VerifyFull)
            }
            // The same as the option `ssl: 'require'`: without it, an object is verify-full.
            (Some(SslMode::Prefer), Some(false)) => Some(SslMode::Require),
            (Some(word), _) => Some(word),
            (None, Some(false)) => Some(SslMode::Require),
            (None, _) if *is_object => Some(SslMode::VerifyFull),
            (None, _) if self.files.system => Some(SslMode::VerifyFull),
            (None, _) => None,
        };
        if self.files.system && mode != Some(SslMode::VerifyFull) {
            return Err(error(
                "'sslrootcert=system' needs sslmode=verify-full: a public CA signs for anybody",
            ));
        }
        Ok(mode)
    }

    fn says_anything(&self) -> bool {
        let Given { is_object, .. } = self.option;
        is_object
            || self.files != Wanted::default()
            || self.needs_identity
            || self.negotiation.is_some()
            || self.oldest.or(self.newest).is_some()
    }

    /// `contents`: what was read of the files that [`Self::wanted`] names.
    pub(super) fn finish(self, contents: Option<&Value>) -> Result<Tls, Error> {
        let asked = self.mode()?;
        let mode = asked.unwrap_or(SslMode::Prefer);
        let requires_binding = self.channel_binding == Some(ChannelBinding::Require);
        if mode == SslMode::Disable && self.says_anything() {
            return Err(error("options of TLS were given, but 'sslmode' or 'ssl' turns TLS off"));
        }
        if mode == SslMode::Disable && requires_binding {
            return Err(error(
                "'channel_binding=require' needs TLS, which 'sslmode' or 'ssl' turns off",
            ));
        }
        let channel_binding = self.channel_binding.unwrap_or(ChannelBinding::Prefer);
        if self.option.is_asked {
            let is_default = false;
            return Ok(Tls {
                mode,
                is_default,
                is_asked: true,
                channel_binding,
                ..Tls::default_of_pools()
            });
        }
        let is_direct = self.negotiation == Some(true);
        if is_direct && mode < SslMode::Require {
            return Err(error(
                "'sslnegotiation=direct' needs sslmode=require or a stronger one: there is no way back to plain \
                 text",
            ));
        }
        let content = |name: &str| {
            contents.and_then(|contents| contents.get(name)?.as_str()).map(str::to_owned)
        };
        let is_default = asked.is_none() && !self.says_anything() && !requires_binding;
        let Given { rejects, server_name, ca, cert, key, crl, .. } = self.option;
        let given = ca.or_else(|| self.files.root_cert.is_some().then(|| content("ca")).flatten());
        let roots = match (given, mode) {
            // Of both, the name says what it means.
            (Some(_), _) if self.is_no_verify || rejects == Some(false) => Roots::None,
            (Some(given), _) => Roots::Given(given),
            (None, SslMode::VerifyFull) => Roots::System(content("system").unwrap_or_default()),
            (None, SslMode::VerifyCa) => {
                return Err(error(
                    "'verify-ca' needs a CA, as ssl: { ca } or sslrootcert: a public CA signs for anybody",
                ));
            }
            (None, _) => Roots::None,
        };
        let chain = cert.or_else(|| content("cert"));
        let key = key.or_else(|| content("key").map(Secret::new));
        let identity = match (chain, key) {
            _ if self.drops_identity => None,
            (Some(chain), Some(key)) => Some(Identity { chain, key }),
            (None, None) if self.needs_identity => {
                return Err(error("'sslcertmode=require' needs 'sslcert' and 'sslkey'"));
            }
            (None, None) => None,
            (Some(_), None) => return Err(error("a client certificate needs its key as well")),
            (None, Some(_)) => return Err(error("a key needs its client certificate as well")),
        };
        Ok(Tls {
            mode,
            is_default,
            is_asked: false,
            is_direct,
            roots,
            identity,
            revocations: crl.or_else(|| content("crl")),
            server_name,
            sends_name: !self.hides_name,
            oldest: self.oldest.unwrap_or(TlsVersion::V1_2),
            newest: self.newest.unwrap_or(TlsVersion::V1_3),
            channel_binding,
        })
    }
}

/// The mode of a word, and whether the word says that nothing is verified.
fn word(text: &str) -> Option<(SslMode, bool)> {
    Some(match text {
        "disable" | "allow" => (SslMode::Disable, false),
        "prefer" => (SslMode::Prefer, false),
        "require" => (SslMode::Require, false),
        "verify-ca" => (SslMode::VerifyCa, false),
        "verify-full" => (SslMode::VerifyFull, false),
        // `pg`'s word, which hosters hand out.
        "no-verify" => (SslMode::Require, true),
        _ => return None,
    })
}

fn flag(subject: &str, value: &str) -> Result<bool, Error> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(refuse(subject, "0 or 1", &quote(value))),
    }
}

fn version(subject: &str, value: &str) -> Result<TlsVersion, Error> {
    match value {
        "TLSv1.2" => Ok(TlsVersion::V1_2),
        "TLSv1.3" => Ok(TlsVersion::V1_3),
        "TLSv1" | "TLSv1.1" => Err(error(format!(
            "{subject}: {value} is not offered, since it is broken (RFC 8996); allowed: TLSv1.2, TLSv1.3"
        ))),
        _ => Err(refuse(subject, "one of TLSv1.2, TLSv1.3", &quote(value))),
    }
}

/// Nothing of the value is shown: it may be a key.
fn text(subject: &str, value: &Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(refuse(subject, "a string", &kind(other))),
    }
}

/// Options of Node's `tls.connect` that this client does not have, with what to do.
fn refused_option(name: &str) -> Error {
    let advice = match name {
        "pfx" => {
            "convert it: openssl pkcs12 -in file.pfx -nodes -out file.pem, and give 'cert' and 'key'"
        }
        "checkServerIdentity" => {
            "give 'servername', or sslmode=verify-ca in the connection string to check the CA alone"
        }
        "ciphers" | "ecdhCurve" | "sigalgs" | "honorCipherOrder" => {
            "there are safe ones only, and the server chooses"
        }
        "secureContext" | "secureProtocol" | "secureOptions" => {
            "give 'ca', 'cert', 'key', 'minVersion'"
        }
        "ALPNProtocols" => "it is always 'postgresql'",
        "passphrase" => "it needs 'key'",
        "sslmode" | "mode" => "give it in the connection string, or as option 'ssl'",
        _ => return unknown("option of 'ssl'", name, &OBJECT),
    };
    error(format!("option 'ssl.{name}' is not supported: {advice}"))
}

#[cfg(test)]
mod tests;
