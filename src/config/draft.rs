//! A configuration in the making: the defaults, then the connection string, then the options on
//! top.

use std::time::Duration;

use serde_json::Value;

use super::hosts::{Address, DEFAULT_PORT, Place};
use super::refusal::{error, quote, refuse, refuse_nul};
use super::tls::{CONTENTS, TlsDraft};
use super::{Config, LoadBalance, Passfile, Pipelining, RoleCheck, TargetSessionAttrs, Tls};
use crate::base::Error;

/// The most bytes of all parameters. A server accepts no StartupMessage above 10,000 bytes
/// (`MAX_STARTUP_PACKET_LENGTH`), and this client adds some parameters of its own.
const MAX_STARTUP_BYTES: usize = 9_500;

const MODES: [TargetSessionAttrs; 6] = [
    TargetSessionAttrs::ReadWrite,
    TargetSessionAttrs::ReadOnly,
    TargetSessionAttrs::Primary,
    TargetSessionAttrs::Standby,
    TargetSessionAttrs::PreferStandby,
    TargetSessionAttrs::Any,
];

const LOAD_BALANCES: [(&str, LoadBalance); 3] = [
    ("random", LoadBalance::Random),
    ("least-connections", LoadBalance::LeastConnections),
    ("nearest", LoadBalance::Nearest),
];

const ROLE_CHECKS: [(&str, RoleCheck); 2] =
    [("reported", RoleCheck::Reported), ("query", RoleCheck::Query)];

const PIPELININGS: [(&str, Pipelining); 3] =
    [("reads", Pipelining::Reads), ("all", Pipelining::All), ("off", Pipelining::Off)];

/// Parameters of the StartupMessage that have an option of their own, or that this client can't
/// work with: it reads text as UTF-8, and a replication connection speaks another protocol.
const RESERVED: [(&str, &str); 6] = [
    ("user", "give it as option 'user'"),
    ("database", "give it as option 'database'"),
    ("password", "give it as option 'password'"),
    ("application_name", "give it as option 'applicationName'"),
    ("client_encoding", "it is always UTF8"),
    ("replication", "replication connections are not offered"),
];

/// The name by which the operating system knows the user of this process, if it may be used.
pub(super) const LOGIN_NAME: &str = "$loginName";
/// The contents of the password file.
pub(super) const PASSFILE: &str = "$passfile";

/// The setting by which a host is fenced.
const READ_ONLY: &str = "default_transaction_read_only";

#[derive(Debug)]
pub(super) struct Draft {
    /// Has no hosts yet. An empty user or database was not given.
    pub(super) config: Config,
    pub(super) addresses: Vec<Address>,
    pub(super) port: u16,
    pub(super) tls: TlsDraft,
    /// The application's name where no other is given.
    pub(super) fallback_name: Option<String>,
    /// The file of passwords that is named.
    pub(super) passfile: Option<String>,
    /// The run-time parameters of the option `parameters`.
    pub(super) parameters: Vec<String>,
    /// What is said and changes nothing, in sentences for the user.
    pub(super) warnings: Vec<String>,
}

impl Draft {
    pub(super) fn new() -> Self {
        let config = Config {
            hosts: Vec::new(),
            port: DEFAULT_PORT,
            user: String::new(),
            password: None,
            asks_password: false,
            passfile: Passfile::default(),
            require_auth: None,
            database: String::new(),
            mode: TargetSessionAttrs::ReadWrite,
            load_balance: LoadBalance::Random,
            role_check: RoleCheck::Reported,
            pipelining: Pipelining::Reads,
            pool_size: 10,
            connect_timeout: Duration::from_secs(2),
            acquire_timeout: Duration::from_secs(5),
            fail_fast: true,
            query_timeout: None,
            cancel_grace: Duration::from_secs(1),
            min_idle: 0,
            // Long enough for the pauses of a busy service, short enough that a burst does not keep
            // its server processes for long, and below the idle timeouts of most routers and
            // proxies.
            idle_timeout: Some(Duration::from_secs(30)),
            // A session's caches grow, and a load balancer's weights change. A new connection once
            // an hour is cheap.
            max_lifetime: Some(Duration::from_secs(3600)),
            max_uses: None,
            failover_probe: Duration::from_millis(25),
            liveness_check: Duration::from_secs(2),
            keep_alive: true,
            keep_alive_delay: Duration::from_secs(10),
            keep_alive_interval: None,
            keep_alive_count: None,
            // Keepalive probes only idle connections. If a host dies while data is under way to it,
            // Linux sends the data again for some 15 minutes before it reports that. Half a minute
            // outlasts a change of routes or the move of a machine, and no call waits longer for a
            // dead one. It also ends a connection whose server reads nothing for that long while
            // data waits for it.
            tcp_user_timeout: Some(Duration::from_secs(30)),
            statement_cache_size: 256,
            application_name: None,
            parameters: Vec::new(),
            // Far longer than a transaction should be idle, and soon enough to release the locks of
            // a forgotten one.
            idle_in_transaction: Some(Duration::from_secs(300)),
            reset_on_release: true,
            allow_exit_on_idle: true,
            max_result_bytes: 1 << 30,
            max_queue: 1_000_000,
            tls: Tls::default_of_pools(),
        };
        Self {
            config,
            addresses: vec![default_address()],
            port: DEFAULT_PORT,
            tls: TlsDraft::default(),
            fallback_name: None,
            passfile: None,
            parameters: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn set_mode(&mut self, subject: &str, name: &str) -> Result<(), Error> {
        self.config.mode = one_of(subject, name, &MODES.map(|mode| (mode.as_str(), mode)))?;
        Ok(())
    }

    pub(super) fn set_load_balance(&mut self, subject: &str, name: &str) -> Result<(), Error> {
        self.config.load_balance = one_of(subject, name, &LOAD_BALANCES)?;
        Ok(())
    }

    pub(super) fn set_role_check(&mut self, subject: &str, name: &str) -> Result<(), Error> {
        self.config.role_check = one_of(subject, name, &ROLE_CHECKS)?;
        Ok(())
    }

    pub(super) fn set_pipelining(&mut self, subject: &str, name: &str) -> Result<(), Error> {
        self.config.pipelining = one_of(subject, name, &PIPELININGS)?;
        Ok(())
    }

    /// Sets a run-time parameter. Its name ignores case, and the last value counts.
    pub(super) fn set_parameter(
        &mut self,
        subject: &str,
        name: &str,
        value: &str,
    ) -> Result<(), Error> {
        let lower = name.to_ascii_lowercase();
        if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == lower) {
            return Err(error(format!("{subject} can't be set here: {why}")));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) || lower.starts_with("_pq_.") {
            return Err(error(format!("{subject} does not have the name of a run-time parameter")));
        }
        refuse_nul(subject, value)?;
        if lower == READ_ONLY || (lower == "options" && sets_read_only(value)) {
            return Err(error(format!(
                "{subject} must not set {READ_ONLY}: a session that sets it itself would write on a \
                 host that was fenced by it"
            )));
        }
        let parameters = &mut self.config.parameters;
        match parameters.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, old)) => value.clone_into(old),
            None => parameters.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Sets a run-time parameter that has an option of its own.
    pub(super) fn set_own_parameter(
        &mut self,
        subject: &str,
        name: &str,
        value: &str,
    ) -> Result<(), Error> {
        if self.parameters.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(error(format!(
                "{subject} and 'parameters.{name}' say the same: give one of them"
            )));
        }
        self.set_parameter(subject, name, value)
    }

    /// `options` hold the contents of the files that they name.
    pub(super) fn finish(self, options: &Value) -> Result<Config, Error> {
        let Self { mut config, addresses, port, tls, fallback_name, .. } = self;
        let text = |key: &str| options.get(key).and_then(Value::as_str);
        if config.user.is_empty()
            && let Some(name) = text(LOGIN_NAME)
        {
            name.clone_into(&mut config.user);
        }
        if config.user.is_empty() {
            return Err(error(
                "option 'user' is missing: give the name of a role, as an option, in the connection string or \
                 as PGUSER",
            ));
        }
        config.application_name = config.application_name.or(fallback_name);
        config.passfile = text(PASSFILE).map(Passfile::new).unwrap_or_default();
        if config.database.is_empty() {
            config.database.clone_from(&config.user);
        }
        if config.min_idle > config.pool_size {
            let (least, most) = (config.min_idle, config.pool_size);
            let message = format!(
                "option 'minIdle' must not be more than 'poolSize', {most}, but is {least}"
            );
            return Err(error(message));
        }
        refuse_long_startup(&config)?;
        config.tls = tls.finish(options.get(CONTENTS))?;
        config.port = port;
        config.hosts = addresses
            .into_iter()
            .map(|address| address.into_host(port))
            .collect::<Result<_, _>>()?;
        Ok(config)
    }
}

/// libpq's default host when it was built without Unix sockets.
pub(super) fn default_address() -> Address {
    Address { place: Place::Name("localhost".to_owned()), port: None }
}

/// Whether `options` may set it. They are a command line, `-c name=value` or `--name=value`, in
/// which a dash may stand for an underscore, and a backslash takes the next letter as it is. Any
/// mention counts.
fn sets_read_only(options: &str) -> bool {
    options.replace('\\', "").replace('-', "_").to_ascii_lowercase().contains(READ_ONLY)
}

fn one_of<T: Copy>(subject: &str, name: &str, known: &[(&str, T)]) -> Result<T, Error> {
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(known, _)| *known).collect();
        refuse(subject, &format!("one of {}", names.join(", ")), &quote(name))
    })
}

fn refuse_long_startup(config: &Config) -> Result<(), Error> {
    let own = [
        ("user", config.user.as_str()),
        ("database", config.database.as_str()),
        ("application_name", config.application_name.as_deref().unwrap_or_default()),
    ];
    let others = config.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // Each name and each value ends with a NUL.
    let length: usize =
        own.into_iter().chain(others).map(|(name, value)| name.len() + value.len() + 2).sum();
    if length > MAX_STARTUP_BYTES {
        let allowed = format!("{MAX_STARTUP_BYTES} bytes at most");
        let subject = "user, database, application name and parameters together";
        return Err(refuse(subject, &allowed, &length.to_string()));
    }
    Ok(())
}
