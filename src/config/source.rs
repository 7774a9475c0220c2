//! The places where libpq's keys come from, and one key with its value.

use super::refusal::quote;

/// How errors name the connection string.
pub(super) const SUBJECT: &str = "the connection string";

/// A key of libpq's and its value.
pub(super) type Pair = (String, String);

/// The variables of the environment that libpq reads, with their keys (PostgreSQL manual, 34.15).
pub(super) const VARIABLES: [(&str, &str); 41] = [
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCLIENTENCODING", "client_encoding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGDATESTYLE", "datestyle"),
    ("PGGEQO", "geqo"),
    ("PGGSSDELEGATION", "gssdelegation"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGGSSLIB", "gsslib"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGKRBSRVNAME", "krbsrvname"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGMAXPROTOCOLVERSION", "max_protocol_version"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGSERVICE", "service"),
    ("PGSERVICEFILE", "servicefile"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLCOMPRESSION", "sslcompression"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLSNI", "sslsni"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGTZ", "timezone"),
    ("PGUSER", "user"),
    ("PGSSLKEYLOGFILE", "sslkeylogfile"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Text,
    Service,
    Environment,
}

impl Source {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => SUBJECT,
            Self::Service => "the service file",
            Self::Environment => "the environment",
        }
    }
}

#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) source: Source,
    /// A password stands in front of it, whose end its key may be.
    pub(super) is_behind_password: bool,
}

impl Setting {
    /// How errors name it.
    pub(super) fn subject(&self) -> String {
        let variable = VARIABLES.iter().find(|(_, key)| *key == self.key);
        match (self.source, variable) {
            (Source::Environment, Some((variable, _))) => {
                format!("'{variable}' in the environment")
            }
            _ => format!("'{}' in {}", self.key, self.source.name()),
        }
    }

    /// The value for an error, unless it may be secret.
    pub(super) fn shown(&self) -> String {
        quote(&self.value)
    }
}
