//! Which ways to log in are accepted: libpq's `require_auth` (PostgreSQL manual, 34.1.2).

use serde_json::Value;

use super::refusal::{error, quote, refuse, show};
use crate::base::Error;

/// A way in which a server lets a user in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// It asks for nothing: `trust`, or `cert`, in which TLS has shown who comes.
    None,
    Password,
    Md5,
    ScramSha256,
}

const METHODS: [(&str, AuthMethod); 4] = [
    ("none", AuthMethod::None),
    ("password", AuthMethod::Password),
    ("md5", AuthMethod::Md5),
    ("scram-sha-256", AuthMethod::ScramSha256),
];
/// Methods of libpq's that this client does not have, so that they can only be excluded.
const OTHERS: [&str; 3] = ["gss", "sspi", "oauth"];

/// The accepted methods, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredAuth {
    allowed: Vec<AuthMethod>,
}

impl RequiredAuth {
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.allowed.contains(&method)
    }

    /// The accepted methods, as users write them.
    pub fn names(&self) -> String {
        let names = METHODS.iter().filter(|(_, method)| self.allows(*method));
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Reads a list with commas. Either each entry has a `!` in front of it, or none has.
    pub(super) fn parse(subject: &str, text: &str) -> Result<Self, Error> {
        Self::of(subject, &text.split(',').collect::<Vec<_>>())
    }

    /// Reads the option, which may be an array too.
    pub(super) fn from_option(subject: &str, value: &Value) -> Result<Self, Error> {
        let wrong = || refuse(subject, "a string or an array of strings", &show(value));
        match value {
            Value::String(text) => Self::parse(subject, text),
            Value::Array(entries) => {
                let entries: Option<Vec<_>> = entries.iter().map(Value::as_str).collect();
                Self::of(subject, &entries.ok_or_else(wrong)?)
            }
            _ => Err(wrong()),
        }
    }

    fn of(subject: &str, entries: &[&str]) -> Result<Self, Error> {
        let mut named = Vec::new();
        let mut excludes = None;
        for entry in entries {
            let entry = entry.trim_ascii();
            let (name, is_excluded) = match entry.strip_prefix('!') {
                Some(name) => (name, true),
                None => (entry, false),
            };
            if *excludes.get_or_insert(is_excluded) != is_excluded {
                return Err(error(format!(
                    "{subject} names what is required and what is excluded (!): say one of them"
                )));
            }
            match METHODS.iter().find(|(known, _)| *known == name) {
                Some((_, method)) => named.push(*method),
                None if OTHERS.contains(&name) && is_excluded => {}
                None if OTHERS.contains(&name) => {
                    return Err(error(format!(
                        "{subject}: {name} is not supported by this client"
                    )));
                }
                None => {
                    let methods =
                        "a list of scram-sha-256, md5, password, none, or of the same with '!'";
                    return Err(refuse(subject, methods, &quote(entry)));
                }
            }
        }
        let excludes = excludes == Some(true);
        let all = METHODS.iter().map(|(_, method)| *method);
        let allowed: Vec<_> = all.filter(|method| named.contains(method) != excludes).collect();
        if allowed.is_empty() {
            return Err(error(format!("{subject} excludes every way to log in")));
        }
        Ok(Self { allowed })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_name_what_is_required_or_what_is_excluded() {
        let table = [
            (json!("scram-sha-256"), Ok("scram-sha-256")),
            (json!("md5, scram-sha-256"), Ok("md5, scram-sha-256")),
            (json!(["none", "password"]), Ok("none, password")),
            (json!("!none"), Ok("password, md5, scram-sha-256")),
            (json!("!password,!md5,!gss,!sspi"), Ok("none, scram-sha-256")),
            (json!("!gss"), Ok("none, password, md5, scram-sha-256")),
            (json!("gss"), Err("gss is not supported")),
            (json!("scram-sha-256,sspi"), Err("sspi is not supported")),
            (json!("md5,!none"), Err("say one of them")),
            (json!("!md5,none"), Err("say one of them")),
            (json!("!none,!password,!md5,!scram-sha-256"), Err("excludes every way")),
            (json!("scram"), Err("a list of scram-sha-256")),
            (json!(""), Err("a list of scram-sha-256")),
            (json!([]), Err("excludes every way")),
            (json!(5), Err("a string or an array of strings, not 5")),
            (json!([5]), Err("a string or an array of strings, not an array")),
        ];
        for (given, expect) in table {
            let read = RequiredAuth::from_option("option 'requireAuth'", &given);
            match (read, expect) {
                (Ok(read), Ok(expect)) => assert_eq!(read.names(), expect, "{given}"),
                (Err(error), Err(why)) => assert!(error.message().contains(why), "{error}"),
                (read, _) => panic!("{given}: {read:?}"),
            }
        }
    }
}
