//! What libpq's keys mean to a pool (PostgreSQL manual, 34.1.2), and those that hosters and other
//! clients add.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::draft::{Draft, default_address};
use super::hosts::{Address, Place, check_count, parse_port};
use super::limits::{KEEP_ALIVE_MILLISECONDS, MILLISECONDS};
use super::refusal::{error, quote, refuse, unknown};
use super::source::{Setting, Source};
use super::{RequiredAuth, RoleCheck, Secret, tls};
use crate::base::Error;

/// libpq's keys, and those of others that are understood.
const KEYS: [&str; 51] = [
    "application_name",
    "authtype",
    "charset",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "currentSchema",
    "datestyle",
    "dbname",
    "encoding",
    "fallback_application_name",
    "geqo",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "idle_in_transaction_session_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "lock_timeout",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "passfile",
    "password",
    "pgbouncer",
    "pool_timeout",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "schema",
    "search_path",
    "service",
    "servicefile",
    "sslaccept",
    "sslcrldir",
    "sslkeylogfile",
    "statement_cache_size",
    "statement_timeout",
    "target_session_attrs",
    "tcp_user_timeout",
    "timezone",
    "tty",
    "uselibpqcompat",
    "user",
];

/// Keys of other clients and of hosters that change nothing here.
const IGNORED: [&str; 33] = [
    "conn_max_age",
    "connect_retry",
    "connection_timeout",
    "fetch_types",
    "idle_timeout",
    "loggerLevel",
    "max",
    "max_idle_connection_lifetime",
    "max_lifetime",
    "max_pool",
    "min_pool",
    "pool",
    "pool_max_conn_idle_time",
    "pool_max_conn_lifetime",
    "pool_max_conns",
    "pool_min_conns",
    "pool_mode",
    "pool_size",
    "pooled",
    "prepare",
    "prepareThreshold",
    "prepared_statements",
    "query_timeout",
    "reWriteBatchedInserts",
    "reconnect",
    "serverVersion",
    "socket_timeout",
    "sslidentity",
    "stringtype",
    "supa",
    "tcpKeepAlive",
    "workaround",
    "default_query_exec_mode",
];

pub(super) fn apply(draft: &mut Draft, hosts: &mut Hosts, setting: &Setting) -> Result<(), Error> {
    let Setting { key, value, source, .. } = setting;
    let subject = || setting.subject();
    if value.is_empty() && !matches!(key.as_str(), "password" | "application_name" | "options") {
        return if is_known(key) { Ok(()) } else { refuse_unknown(draft, setting) };
    }
    let config = &mut draft.config;
    match key.as_str() {
        "user" => value.clone_into(&mut config.user),
        "password" => config.password = Secret::from_option(value),
        "dbname" => value.clone_into(&mut config.database),
        "host" => hosts.names = Some(List::new(value, *source)),
        "hostaddr" => hosts.addresses = Some(List::new(value, *source)),
        "port" => hosts.ports = Some(List::new(value, *source)),
        "application_name" => config.application_name = Some(value.clone()),
        "fallback_application_name" => draft.fallback_name = Some(value.clone()),
        "target_session_attrs" => draft.set_mode(&subject(), value)?,
        "load_balance_hosts" => match value.as_str() {
            // libpq tries one host after the other then.
            "disable" => draft
                .warnings
                .push(format!("{} is ignored: this client tries all hosts at once", subject())),
            "random" => draft.set_load_balance(&subject(), value)?,
            _ => return Err(refuse(&subject(), "one of disable, random", &setting.shown())),
        },
        "require_auth" => {
            config.require_auth = Some(RequiredAuth::parse(&subject(), value)?);
        }
        "options" if value.is_empty() => {}
        "options"
        | "datestyle"
        | "geqo"
        | "timezone"
        | "search_path"
        | "statement_timeout"
        | "lock_timeout"
        | "idle_in_transaction_session_timeout" => {
            draft.set_parameter(&subject(), key, value)?;
        }
        "connect_timeout" => config.connect_timeout = seconds_or_ever(setting)?,
        "keepalives" => config.keep_alive = integer(setting, 0..=1)? == 1,
        "keepalives_idle" => {
            let seconds = integer(setting, 0..=KEEP_ALIVE_MILLISECONDS.end() / 1000)?;
            // 0 asks for a default. The system's two hours are no use to a pool, so the pool's own
            // default stays.
            if seconds > 0 {
                config.keep_alive_delay = Duration::from_secs(seconds);
            }
        }
        "keepalives_interval" => {
            let seconds = integer(setting, 0..=KEEP_ALIVE_MILLISECONDS.end() / 1000)?;
            config.keep_alive_interval =
                Some(Duration::from_secs(seconds)).filter(|interval| !interval.is_zero());
        }
        "keepalives_count" => {
            let count = u32::try_from(integer(setting, 0..=127)?).unwrap_or_default();
            config.keep_alive_count = Some(count).filter(|count| *count > 0);
        }
        "tcp_user_timeout" => {
            let timeout = Duration::from_millis(integer(setting, 0..=*MILLISECONDS.end())?);
            config.tcp_user_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        "passfile" => draft.passfile = Some(value.clone()),
        // These were read before.
        "service" | "servicefile" => {}
        "client_encoding" | "encoding" | "charset" => check_encoding(draft, setting)?,
        "gssencmode" => match value.as_str() {
            "disable" | "prefer" => {}
            "require" => return Err(unsupported(setting, "encryption by GSSAPI", "use sslmode")),
            _ => return Err(refuse(&subject(), "one of disable, prefer", &setting.shown())),
        },
        // Of GSSAPI, which is not offered, and of libpq's own past.
        "krbsrvname" | "gsslib" | "gssdelegation" | "tty" | "authtype" => {}
        "requirepeer" => {
            let what = "checking the user of a Unix socket";
            return Err(unsupported(setting, what, "use SCRAM, by which the server proves itself"));
        }
        "sslcrldir" => return Err(unsupported(setting, "a folder of lists", "give sslcrl")),
        // This client speaks 3.0, as libpq does by default.
        "max_protocol_version" | "min_protocol_version" => match (key.as_str(), value.as_str()) {
            (_, "3.0") | ("max_protocol_version", "3.2" | "latest") => {}
            ("min_protocol_version", "3.2" | "latest") => {
                return Err(unsupported(setting, "protocol 3.2", "say 3.0, or leave it out"));
            }
            _ => return Err(refuse(&subject(), "one of 3.0, 3.2, latest", &setting.shown())),
        },
        "sslkeylogfile" => ignore(draft, setting),
        "replication" => match value.as_str() {
            "false" | "off" | "no" | "0" => {}
            _ => return Err(unsupported(setting, "replication", "use another client for it")),
        },
        _ if tls::KEYS.contains(&key.as_str()) => draft.tls.set_key(&subject(), key, value)?,
        _ => apply_foreign(draft, setting)?,
    }
    Ok(())
}

/// Keys that hosters and other clients add.
fn apply_foreign(draft: &mut Draft, setting: &Setting) -> Result<(), Error> {
    let Setting { key, value, .. } = setting;
    let subject = || setting.subject();
    match key.as_str() {
        // Prisma's. The path of a new database ends with this schema already, and poolers refuse to
        // have it set.
        "schema" if value == "public" => {}
        "schema" => {
            let name = format!("\"{}\"", value.replace('"', "\"\""));
            draft.set_parameter(&subject(), "search_path", &name)?;
        }
        // JDBC's, a list.
        "currentSchema" => draft.set_parameter(&subject(), "search_path", value)?,
        "connection_limit" => {
            let size = integer(setting, 1..=10_000)?;
            draft.config.pool_size = usize::try_from(size).unwrap_or(usize::MAX);
        }
        "pool_timeout" => draft.config.acquire_timeout = seconds_or_ever(setting)?,
        "statement_cache_size" => {
            let size = integer(setting, 0..=10_000)?;
            draft.config.statement_cache_size = usize::try_from(size).unwrap_or(usize::MAX);
        }
        "pgbouncer" => {
            if flag(setting)? {
                draft.config.role_check = RoleCheck::Query;
            }
        }
        "sslaccept" => match value.as_str() {
            "strict" => draft.tls.is_strict = true,
            "accept_invalid_certs" => {}
            _ => {
                let words = "one of strict, accept_invalid_certs";
                return Err(refuse(&subject(), words, &setting.shown()));
            }
        },
        // What `pg` asks for with it is how this client reads `sslmode`.
        "uselibpqcompat" => {
            if !flag(setting)? {
                ignore(draft, setting);
            }
        }
        _ => return refuse_unknown(draft, setting),
    }
    Ok(())
}

fn is_known(key: &str) -> bool {
    KEYS.contains(&key) || tls::KEYS.contains(&key)
}

fn refuse_unknown(draft: &mut Draft, setting: &Setting) -> Result<(), Error> {
    if IGNORED.contains(&setting.key.as_str()) {
        ignore(draft, setting);
        return Ok(());
    }
    let what = format!("key in {}", setting.source.name());
    let unknown = unknown(&what, &setting.key, &[&KEYS[..], &tls::KEYS].concat());
    // With a hint the key is hardly the end of a password.
    if setting.is_behind_password && !unknown.message().contains("did you mean") {
        return Err(error(format!(
            "unknown {what} behind the password (it is not shown: it may be a part of it; percent-encode the \
             password in a URI, and put it into quotes in a list of keys)"
        )));
    }
    Err(unknown)
}

fn ignore(draft: &mut Draft, setting: &Setting) {
    draft.warnings.push(format!("{} is ignored: it means nothing here", setting.subject()));
}

fn unsupported(setting: &Setting, what: &str, instead: &str) -> Error {
    error(format!("{}: {what} is not supported: {instead}", setting.subject()))
}

/// Text is always UTF-8 here. `auto` is what libpq finds out from a locale.
fn check_encoding(draft: &mut Draft, setting: &Setting) -> Result<(), Error> {
    let plain: String = setting.value.chars().filter(char::is_ascii_alphanumeric).collect();
    if ["utf8", "unicode", "auto"].iter().any(|known| plain.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    if setting.source == Source::Environment {
        let subject = setting.subject();
        draft.warnings.push(format!("{subject} is ignored: the encoding is always UTF8"));
        return Ok(());
    }
    Err(refuse(&setting.subject(), "UTF8, which is always used", &setting.shown()))
}

/// Seconds, of which 0 and less mean no limit.
fn seconds_or_ever(setting: &Setting) -> Result<Duration, Error> {
    let most = *MILLISECONDS.end();
    let is_negative = setting.value.strip_prefix('-').is_some_and(is_digits);
    let seconds = if is_negative { 0 } else { integer(setting, 0..=most / 1000)? };
    Ok(match seconds {
        0 => Duration::from_millis(most),
        seconds => Duration::from_secs(seconds),
    })
}

fn flag(setting: &Setting) -> Result<bool, Error> {
    match setting.value.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refuse(&setting.subject(), "true or false", &setting.shown())),
    }
}

fn integer(setting: &Setting, allowed: RangeInclusive<u64>) -> Result<u64, Error> {
    let Setting { value, .. } = setting;
    value.parse().ok().filter(|number| is_digits(value) && allowed.contains(number)).ok_or_else(
        || {
            let (from, to) = allowed.into_inner();
            let allowed = format!("an integer from {from} to {to}");
            refuse(&setting.subject(), &allowed, &quote(value))
        },
    )
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A value with commas.
#[derive(Debug)]
struct List {
    entries: Vec<String>,
    source: Source,
}

impl List {
    fn new(value: &str, source: Source) -> Self {
        Self {
            entries: value.split(',').map(|entry| entry.trim_ascii().to_owned()).collect(),
            source,
        }
    }
}

/// The lists of hosts, of their addresses and of their ports.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    names: Option<List>,
    addresses: Option<List>,
    ports: Option<List>,
}

impl Hosts {
    /// `has_hosts`, `has_port`: an option says them.
    pub(super) fn finish(
        self,
        draft: &mut Draft,
        has_hosts: bool,
        has_port: bool,
    ) -> Result<(), Error> {
        let Self { names, addresses, ports } = self;
        let of_hosts = names.as_ref().or(addresses.as_ref()).map(|list| list.source);
        // A port belongs to the hosts that stand beside it.
        let ports = ports.filter(|ports| {
            let goes_with_hosts = has_hosts && of_hosts == Some(ports.source);
            !(goes_with_hosts || has_port && ports.source != Source::Text)
        });
        if let Some(ports) = &ports
            && let [port] = &ports.entries[..]
            && !port.is_empty()
            && (has_hosts || of_hosts != Some(ports.source))
            && ports.source != Source::Text
        {
            draft.port = parse_port(port).ok_or_else(|| no_port(ports.source, 0))?;
        }
        if has_hosts || (names.is_none() && addresses.is_none() && ports.is_none()) {
            return Ok(());
        }
        let source = of_hosts.or(ports.as_ref().map(|ports| ports.source)).unwrap_or(Source::Text);
        draft.addresses = join(source, names, addresses, ports)?;
        Ok(())
    }
}

fn join(
    source: Source,
    names: Option<List>,
    addresses: Option<List>,
    ports: Option<List>,
) -> Result<Vec<Address>, Error> {
    let subject = source.name();
    let count = names.as_ref().or(addresses.as_ref()).map_or(1, |list| list.entries.len());
    check_count(subject, count)?;
    if let Some(addresses) = &addresses
        && addresses.entries.len() != count
    {
        let allowed = format!("one for each of its {count} hosts");
        let given = addresses.entries.len().to_string();
        return Err(refuse(
            &format!("'hostaddr' in {}", addresses.source.name()),
            &allowed,
            &given,
        ));
    }
    if let Some(ports) = &ports
        && ports.entries.len() != 1
        && ports.entries.len() != count
    {
        let allowed = format!("one, or one for each of its {count} hosts");
        let subject = format!("the ports of {}", ports.source.name());
        return Err(refuse(&subject, &allowed, &ports.entries.len().to_string()));
    }
    let entry = |list: &Option<List>, index: usize| {
        let entries = list.as_ref().map(|list| &list.entries)?;
        let entry = if entries.len() == 1 { entries.first() } else { entries.get(index) };
        entry.filter(|entry| !entry.is_empty()).cloned()
    };
    let address = |index: usize| {
        let place = match (entry(&names, index), entry(&addresses, index)) {
            (None, None) => default_address().place,
            (Some(name), None) => Place::parse(&name).ok_or_else(|| no_host(source, index))?,
            (name, Some(ip)) => pinned(name, &ip).ok_or_else(|| {
                let subject = format!("'hostaddr' in {subject}");
                refuse(&subject, "an IPv4 or IPv6 address for each host", &quote(&ip))
            })?,
        };
        let port = match entry(&ports, index) {
            Some(port) => {
                let source = ports.as_ref().map_or(source, |ports| ports.source);
                Some(parse_port(&port).ok_or_else(|| no_port(source, index))?)
            }
            None => None,
        };
        Ok(Address { place, port })
    };
    (0..count).map(address).collect()
}

/// A host whose address is given, so that no name is looked up. The name is what certificates and
/// the password file have.
fn pinned(name: Option<String>, ip: &str) -> Option<Place> {
    let place = Place::parse(ip)?;
    let address = match place {
        Place::Ip(ip) => SocketAddr::new(ip, 0),
        Place::Scoped(ip, scope) => {
            let mut address = SocketAddr::new(IpAddr::V6(ip), 0);
            if let SocketAddr::V6(address) = &mut address {
                address.set_scope_id(scope);
            }
            address
        }
        Place::Zoned(_) if name.is_none() => return Some(place),
        _ => return None,
    };
    Some(match name {
        Some(name) => Place::Pinned(name, address),
        None => place,
    })
}

fn no_host(source: Source, index: usize) -> Error {
    let subject = source.name();
    error(format!("{subject}: host {} is no host name, address or socket directory", index + 1))
}

fn no_port(source: Source, index: usize) -> Error {
    let subject = source.name();
    error(format!("{subject}: the port of host {} must be an integer from 1 to 65535", index + 1))
}
