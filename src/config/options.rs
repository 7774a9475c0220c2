//! The options as one JSON object, in the form in which JavaScript passes them down.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::draft::{Draft, LOGIN_NAME, PASSFILE};
use super::limits::{KEEP_ALIVE_MILLISECONDS, MILLISECONDS, SERVER_MILLISECONDS};
use super::refusal::{cut, error, kind, refuse, refuse_nul, show, unknown};
use super::settings::{ENVIRONMENT, SERVICES, Settings};
use super::tls::CONTENTS;
use super::{Config, Host, PassfileName, Secret, Service, Wanted, hosts};
use crate::base::Error;

/// How many milliseconds the server waits longer for an idle transaction than the pool.
const SERVER_IDLE_GRACE: u64 = 1000;
const PROBE_MILLISECONDS: RangeInclusive<u64> = 1..=60_000;
const POOL_SIZES: RangeInclusive<u64> = 1..=10_000;
const CACHE_SIZES: RangeInclusive<u64> = 0..=10_000;
const RESULT_SIZES: RangeInclusive<u64> = 1024..=1 << 40;
const USES: u64 = 1 << 40;
const QUEUE_SIZES: RangeInclusive<u64> = 1..=100_000_000;

const KNOWN: [&str; 39] = [
    "acquireTimeoutMs",
    "allowExitOnIdle",
    "applicationName",
    "cancelGraceMs",
    "channelBinding",
    "connectTimeoutMs",
    "connectionString",
    "database",
    "failFast",
    "failoverProbeMs",
    "host",
    "hosts",
    "idleInTransactionTimeoutMs",
    "idleTimeoutMs",
    "keepAlive",
    "keepAliveDelayMs",
    "livenessCheckMs",
    "loadBalance",
    "lockTimeoutMs",
    "maxLifetimeMs",
    "maxQueue",
    "maxResultBytes",
    "maxUses",
    "minIdle",
    "mode",
    "parameters",
    "password",
    "pipelining",
    "poolSize",
    "port",
    "queryTimeoutMs",
    "resetOnRelease",
    "roleCheck",
    "searchPath",
    "ssl",
    "statementCacheSize",
    "statementTimeoutMs",
    "tcpUserTimeoutMs",
    "user",
];

/// Options that are never passed down: `js/api/pool-options.cjs` handles them.
const OF_JAVASCRIPT: [&str; 8] =
    ["env", "logParameters", "logger", "longStackTraces", "lookup", "name", "slowQueryMs", "types"];

/// Reads a pool's options. A value that JSON can't express comes as `{"$given": "a function"}`.
pub fn from_json(options: &Value) -> Result<Config, Error> {
    draft(options)?.0.finish(options)
}

/// The files that the options name, and that must be read before [`from_json`].
pub fn wanted_from_json(options: &Value) -> Result<Wanted, Error> {
    let (draft, service) = draft(options)?;
    if service.is_some() {
        return Ok(Wanted { service, ..Wanted::default() });
    }
    let mut wanted = draft.tls.wanted()?;
    wanted.passfile = match draft.passfile {
        _ if draft.config.password.is_some() => None,
        Some(file) => Some(PassfileName::Given(file)),
        None => Some(PassfileName::Default),
    };
    wanted.warnings = draft.warnings;
    Ok(wanted)
}

/// The options, and the service whose file must be read first.
fn draft(options: &Value) -> Result<(Draft, Option<Service>), Error> {
    let object = match options {
        Value::Object(object) if !object.contains_key("$given") => object,
        other => return Err(refuse("the options", "an object", &kind(other))),
    };
    if object.contains_key("host") && object.contains_key("hosts") {
        return Err(error("options 'host' and 'hosts' say the same: give one of them"));
    }
    let mut draft = Draft::new();
    // The other options override the connection string, wherever it stands among them.
    let text = object.get("connectionString").map(|text| match text {
        Value::String(text) => Ok(text.as_str()),
        other => Err(refuse(&subject("connectionString"), "a string or a URL", &kind(other))),
    });
    let settings = Settings::collect(text.transpose()?, object)?;
    settings.apply(&mut draft, object)?;
    for (name, value) in object {
        apply(&mut draft, name, value)?;
    }
    // This comes after `parameters`, which must not set the same parameter.
    for (name, value) in object {
        apply_own_parameter(&mut draft, name, value)?;
    }
    Ok((draft, settings.service))
}

/// Reads another list of hosts for an existing pool, in the forms of the option `hosts`.
pub fn hosts_from_json(hosts: &Value, default_port: u16) -> Result<Vec<Host>, Error> {
    let addresses = hosts::from_option("the list of hosts", hosts)?;
    addresses.into_iter().map(|address| address.into_host(default_port)).collect()
}

fn apply(draft: &mut Draft, name: &str, value: &Value) -> Result<(), Error> {
    let config = &mut draft.config;
    match name {
        "connectionString" => {}
        "host" => {
            let text = Value::from(string(name, value, show)?);
            draft.addresses = hosts::from_option(&subject(name), &text)?;
        }
        "hosts" => draft.addresses = hosts::from_option(&subject(name), value)?,
        "port" => draft.port = port(name, value)?,
        "user" => config.user = filled(name, value)?,
        "password" => config.password = Secret::from_option(string(name, value, kind)?),
        "database" => config.database = filled(name, value)?,
        "mode" => draft.set_mode(&subject(name), string(name, value, show)?)?,
        "loadBalance" => draft.set_load_balance(&subject(name), string(name, value, show)?)?,
        "pipelining" => draft.set_pipelining(&subject(name), string(name, value, show)?)?,
        "roleCheck" => draft.set_role_check(&subject(name), string(name, value, show)?)?,
        "poolSize" => config.pool_size = size(name, value, POOL_SIZES)?,
        "connectTimeoutMs" => config.connect_timeout = duration(name, value, MILLISECONDS)?,
        "acquireTimeoutMs" => config.acquire_timeout = duration(name, value, MILLISECONDS)?,
        "failFast" => config.fail_fast = boolean(name, value)?,
        "minIdle" => config.min_idle = size(name, value, 0..=*POOL_SIZES.end())?,
        "idleTimeoutMs" => config.idle_timeout = limit(name, value)?,
        "maxLifetimeMs" => config.max_lifetime = limit(name, value)?,
        "maxUses" => {
            config.max_uses = Some(integer(name, value, 0..=USES)?).filter(|uses| *uses > 0);
        }
        "queryTimeoutMs" => config.query_timeout = limit(name, value)?,
        "cancelGraceMs" => config.cancel_grace = duration(name, value, MILLISECONDS)?,
        "failoverProbeMs" => config.failover_probe = duration(name, value, PROBE_MILLISECONDS)?,
        "livenessCheckMs" => config.liveness_check = duration(name, value, MILLISECONDS)?,
        "keepAlive" => config.keep_alive = boolean(name, value)?,
        "keepAliveDelayMs" => {
            config.keep_alive_delay = duration(name, value, KEEP_ALIVE_MILLISECONDS)?;
        }
        "tcpUserTimeoutMs" => {
            config.tcp_user_timeout = limit(name, value)?;
        }
        "statementCacheSize" => config.statement_cache_size = size(name, value, CACHE_SIZES)?,
        "applicationName" => {
            config.application_name = Some(string(name, value, show)?.to_owned());
        }
        "parameters" => apply_parameters(draft, name, value)?,
        "statementTimeoutMs" | "lockTimeoutMs" | "searchPath" => {}
        "idleInTransactionTimeoutMs" => {
            let timeout = duration(name, value, SERVER_MILLISECONDS)?;
            config.idle_in_transaction = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        "resetOnRelease" => config.reset_on_release = boolean(name, value)?,
        "allowExitOnIdle" => config.allow_exit_on_idle = boolean(name, value)?,
        "maxResultBytes" => config.max_result_bytes = size(name, value, RESULT_SIZES)?,
        "ssl" => draft.tls.set_option(value)?,
        "channelBinding" => {
            draft.tls.set_channel_binding(&subject(name), string(name, value, show)?)?;
        }
        CONTENTS | ENVIRONMENT | SERVICES | LOGIN_NAME | PASSFILE => {}
        "maxQueue" => config.max_queue = size(name, value, QUEUE_SIZES)?,
        _ => return Err(unknown_option(name)),
    }
    Ok(())
}

fn apply_parameters(draft: &mut Draft, name: &str, value: &Value) -> Result<(), Error> {
    let object = match value {
        Value::Object(object) if !object.contains_key("$given") => object,
        other => return Err(refuse(&subject(name), "an object of strings", &show(other))),
    };
    for (parameter, value) in object {
        let path = format!("{name}.{}", cut(parameter));
        // A parameter may contain a secret of the user's own extension.
        let text = string(&path, value, kind)?;
        draft.set_parameter(&subject(&path), parameter, text)?;
        draft.parameters.push(parameter.clone());
    }
    Ok(())
}

/// Sets the options that become run-time parameters of the sessions.
fn apply_own_parameter(draft: &mut Draft, name: &str, value: &Value) -> Result<(), Error> {
    let parameter = match name {
        "statementTimeoutMs" => "statement_timeout",
        "lockTimeoutMs" => "lock_timeout",
        "idleInTransactionTimeoutMs" => "idle_in_transaction_session_timeout",
        "searchPath" => {
            return draft.set_own_parameter(
                &subject(name),
                "search_path",
                &search_path(name, value)?,
            );
        }
        _ => return Ok(()),
    };
    let timeout = match integer(name, value, SERVER_MILLISECONDS)? {
        // The pool's own timer ends first, and knows whose transaction it was. The server's limit
        // is for a pool that is gone.
        limit if name == "idleInTransactionTimeoutMs" && limit > 0 => {
            limit.saturating_add(SERVER_IDLE_GRACE).min(*SERVER_MILLISECONDS.end())
        }
        limit => limit,
    };
    draft.set_own_parameter(&subject(name), parameter, &timeout.to_string())
}

/// A list in PostgreSQL's own form, or an array of schema names, which are quoted here.
fn search_path(name: &str, value: &Value) -> Result<String, Error> {
    let Value::Array(schemas) = value else {
        let Value::String(text) = value else {
            return Err(refuse(&subject(name), "a string or an array of strings", &show(value)));
        };
        return Ok(text.clone());
    };
    let schemas = schemas.iter().map(|schema| {
        let schema = filled(&format!("{name}[]"), schema)?;
        Ok(format!("\"{}\"", schema.replace('"', "\"\"")))
    });
    Ok(schemas.collect::<Result<Vec<_>, Error>>()?.join(", "))
}

/// The error for an unknown option. It knows the names that other clients use.
fn unknown_option(name: &str) -> Error {
    let ours = match name {
        "max" => "poolSize",
        "statement_timeout" => "statementTimeoutMs",
        "lock_timeout" => "lockTimeoutMs",
        "idle_in_transaction_session_timeout" => "idleInTransactionTimeoutMs",
        "application_name" => "applicationName",
        "connectionTimeoutMillis" => "acquireTimeoutMs",
        "keepAliveInitialDelayMillis" => "keepAliveDelayMs",
        "username" => "user",
        "url" | "uri" => "connectionString",
        "target_session_attrs" | "targetSessionAttrs" => "mode",
        _ => {
            let mut all = [&KNOWN[..], &OF_JAVASCRIPT].concat();
            all.sort_unstable();
            return unknown("option", name, &all);
        }
    };
    error(format!("unknown option '{name}': did you mean '{ours}'?"))
}

fn subject(name: &str) -> String {
    format!("option '{name}'")
}

/// `given` decides how much of a wrong value may be shown.
fn string<'a>(
    name: &str,
    value: &'a Value,
    given: impl Fn(&Value) -> String,
) -> Result<&'a str, Error> {
    let Value::String(text) = value else {
        return Err(refuse(&subject(name), "a string", &given(value)));
    };
    refuse_nul(&subject(name), text)?;
    Ok(text)
}

fn filled(name: &str, value: &Value) -> Result<String, Error> {
    match string(name, value, show)? {
        "" => Err(refuse(&subject(name), "a string with something in it", "an empty one")),
        text => Ok(text.to_owned()),
    }
}

fn boolean(name: &str, value: &Value) -> Result<bool, Error> {
    value.as_bool().ok_or_else(|| refuse(&subject(name), "true or false", &show(value)))
}

fn integer(name: &str, value: &Value, allowed: RangeInclusive<u64>) -> Result<u64, Error> {
    value.as_u64().filter(|number| allowed.contains(number)).ok_or_else(|| {
        let (from, to) = allowed.into_inner();
        refuse(&subject(name), &format!("an integer from {from} to {to}"), &show(value))
    })
}

fn size(name: &str, value: &Value, allowed: RangeInclusive<u64>) -> Result<usize, Error> {
    let number = integer(name, value, allowed)?;
    // Every allowed size fits, except a result larger than a 32-bit machine's memory.
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn port(name: &str, value: &Value) -> Result<u16, Error> {
    let number = integer(name, value, 1..=u64::from(u16::MAX))?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

fn duration(name: &str, value: &Value, allowed: RangeInclusive<u64>) -> Result<Duration, Error> {
    integer(name, value, allowed).map(Duration::from_millis)
}

/// A duration of which 0 means no limit.
fn limit(name: &str, value: &Value) -> Result<Option<Duration>, Error> {
    let duration = duration(name, value, 0..=*MILLISECONDS.end())?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{LoadBalance, Pipelining, RoleCheck};

    fn read(mut options: Value) -> Result<Config, Error> {
        if let Some(object) = options.as_object_mut() {
            object.entry("user").or_insert_with(|| json!("u"));
        }
        from_json(&options)
    }

    fn check(options: &Value, expect: &str) {
        let error = read(options.clone()).expect_err(&options.to_string());
        assert_eq!(error.message(), expect);
        assert_eq!(
            (error.code(), error.class().as_str()),
            ("HYPERION_CONFIGURATION", "ConfigurationError")
        );
    }

    #[test]
    fn a_role_is_all_that_must_be_said() {
        let config = from_json(&json!({ "user": "u" })).unwrap();
        assert_eq!(&*config.hosts[0].name, "localhost:5432");
        assert_eq!((config.hosts.len(), config.database.as_str()), (1, "u"));
        assert_eq!((config.pool_size, config.statement_cache_size), (10, 256));
        assert_eq!(config.connect_timeout, Duration::from_millis(2_000));
        assert_eq!(config.acquire_timeout, Duration::from_millis(5_000));
        assert_eq!(config.failover_probe, Duration::from_millis(25));
        assert_eq!(config.liveness_check, Duration::from_millis(2_000));
        assert_eq!(
            (config.load_balance, config.role_check, config.pipelining),
            (LoadBalance::Random, RoleCheck::Reported, Pipelining::Reads)
        );
        assert_eq!((config.query_timeout, config.cancel_grace), (None, Duration::from_secs(1)));
        assert_eq!(config.keep_alive_delay, Duration::from_secs(10));
        assert_eq!(config.tcp_user_timeout, Some(Duration::from_secs(30)));
        assert!(config.keep_alive && config.allow_exit_on_idle && config.fail_fast);
        assert!(config.password.is_none() && config.application_name.is_none());
        let missing = from_json(&json!({})).unwrap_err();
        assert!(missing.message().starts_with("option 'user' is missing"));
    }

    #[test]
    fn every_option_is_read() {
        let config = read(json!({
            "hosts": ["h1", "h2:1"], "port": 6000, "password": "hunter2", "database": "d",
            "mode": "prefer-standby", "loadBalance": "nearest", "roleCheck": "query", "livenessCheckMs": 7,
            "pipelining": "all",
            "poolSize": 1, "connectTimeoutMs": 1, "acquireTimeoutMs": 2,
            "failoverProbeMs": 3, "keepAlive": false, "keepAliveDelayMs": 4, "tcpUserTimeoutMs": 0,
            "statementCacheSize": 0, "applicationName": "a", "allowExitOnIdle": false, "maxQueue": 5,
            "maxResultBytes": 2048, "queryTimeoutMs": 6, "cancelGraceMs": 7, "minIdle": 1,
            "idleTimeoutMs": 8, "maxLifetimeMs": 9, "maxUses": 10,
            "parameters": { "search_path": "x", "options": "-c geqo=off" },
            "statementTimeoutMs": 6, "lockTimeoutMs": 0, "idleInTransactionTimeoutMs": 7,
            "resetOnRelease": false, "failFast": false,
        }))
        .unwrap();
        let names: Vec<&str> = config.hosts.iter().map(|host| &*host.name).collect();
        assert_eq!(names, ["h1:6000", "h2:1"]);
        assert_eq!(config.password.as_ref().unwrap().expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!((config.pool_size, config.max_queue, config.tcp_user_timeout), (1, 5, None));
        assert_eq!((config.max_result_bytes, config.fail_fast), (2048, false));
        assert_eq!(
            (config.mode.as_str(), config.load_balance),
            ("prefer-standby", LoadBalance::Nearest)
        );
        assert_eq!((config.role_check, config.pipelining), (RoleCheck::Query, Pipelining::All));
        assert_eq!(config.liveness_check, Duration::from_millis(7));
        assert_eq!(config.query_timeout, Some(Duration::from_millis(6)));
        assert_eq!(config.cancel_grace, Duration::from_millis(7));
        assert_eq!((config.min_idle, config.max_uses), (1, Some(10)));
        let milliseconds = |n| Some(Duration::from_millis(n));
        let (idle, life) = (config.idle_timeout, config.max_lifetime);
        assert_eq!((idle, life), (milliseconds(8), milliseconds(9)));
        let parameters = [
            ("options", "-c geqo=off"),
            ("search_path", "x"),
            ("idle_in_transaction_session_timeout", "1007"),
            ("lock_timeout", "0"),
            ("statement_timeout", "6"),
        ];
        assert_eq!(config.parameters, parameters.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(config.idle_in_transaction, Some(Duration::from_millis(7)));
        assert!(!config.reset_on_release);
        assert!(read(json!({ "password": "" })).unwrap().password.is_none());
    }

    #[test]
    fn every_known_option_is_one() {
        for name in KNOWN {
            let error = from_json(&json!({ name: { "$given": "a function" } })).unwrap_err();
            assert!(error.message().starts_with(&format!("option '{name}' must be ")), "{error}");
            assert!(error.message().contains(", not a function"), "{error}");
        }
    }

    #[test]
    fn an_unknown_option_is_told_all_that_there_are() {
        let error = from_json(&json!({ "what": 5 })).unwrap_err();
        for name in KNOWN.iter().chain(&OF_JAVASCRIPT) {
            assert!(error.message().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn wrong_options_are_refused_by_name() {
        let table = [
            (
                json!({ "poolSize": 0 }),
                "option 'poolSize' must be an integer from 1 to 10000, not 0",
            ),
            (
                json!({ "poolSize": 1.5 }),
                "option 'poolSize' must be an integer from 1 to 10000, not 1.5",
            ),
            (
                json!({ "poolSize": "10" }),
                "option 'poolSize' must be an integer from 1 to 10000, not \"10\"",
            ),
            (
                json!({ "poolSize": { "$given": "NaN" } }),
                "option 'poolSize' must be an integer from 1 to 10000, not NaN",
            ),
            (
                json!({ "port": 65_536 }),
                "option 'port' must be an integer from 1 to 65535, not 65536",
            ),
            (
                json!({ "connectTimeoutMs": -1 }),
                "option 'connectTimeoutMs' must be an integer from 1 to 2147483647, not -1",
            ),
            (
                json!({ "minIdle": 11 }),
                "option 'minIdle' must not be more than 'poolSize', 10, but is 11",
            ),
            (json!({ "keepAlive": 1 }), "option 'keepAlive' must be true or false, not 1"),
            (json!({ "password": 12_345 }), "option 'password' must be a string, not a number"),
            (json!({ "host": ["h"] }), "option 'host' must be a string, not an array"),
            (
                json!({ "host": "a", "hosts": "b" }),
                "options 'host' and 'hosts' say the same: give one of them",
            ),
            (
                json!({ "user": "" }),
                "option 'user' must be a string with something in it, not an empty one",
            ),
            (
                json!({ "database": "a\0b" }),
                "option 'database' must be a text without NUL characters",
            ),
            (json!({ "poolsize": 5 }), "unknown option \"poolsize\": did you mean 'poolSize'?"),
            (json!({ "lookUp": 5 }), "unknown option \"lookUp\": did you mean 'lookup'?"),
            (json!({ "max": 5 }), "unknown option 'max': did you mean 'poolSize'?"),
            (
                json!({ "mode": "rw" }),
                "option 'mode' must be one of read-write, read-only, primary, standby, prefer-standby, any, \
                 not \"rw\"",
            ),
            (
                json!({ "loadBalance": "round-robin" }),
                "option 'loadBalance' must be one of random, least-connections, nearest, not \"round-robin\"",
            ),
            (
                json!({ "pipelining": "writes" }),
                "option 'pipelining' must be one of reads, all, off, not \"writes\"",
            ),
            (json!({ "roleCheck": true }), "option 'roleCheck' must be a string, not true"),
        ];
        for (options, expect) in table {
            check(&options, expect);
        }
        for name in ["__proto__", "constructor", "toString", "", "$given2"] {
            let error = read(json!({ name: "x" })).unwrap_err();
            assert!(error.message().starts_with("unknown option "), "{error}");
        }
        for options in [json!(null), json!([]), json!("x"), json!({ "$given": "a Map" })] {
            assert!(from_json(&options).unwrap_err().message().starts_with("the options must be"));
        }
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        let table = [
            (
                json!({ "parameters": { "search_path": 1 } }),
                "option 'parameters.search_path' must be a string, not a number",
            ),
            (
                json!({ "parameters": { "Client_Encoding": "LATIN1" } }),
                "option 'parameters.Client_Encoding' can't be set here: it is always UTF8",
            ),
            (
                json!({ "parameters": { "a b": "x" } }),
                "option 'parameters.a b' does not have the name of a run-time parameter",
            ),
        ];
        for (options, expect) in table {
            check(&options, expect);
        }
    }

    #[test]
    fn a_search_path_is_a_list_of_names() {
        for (path, expect) in [
            (json!("app, \"$user\""), "app, \"$user\""),
            (json!(["a b", "c\"d"]), "\"a b\", \"c\"\"d\""),
        ] {
            let config = read(json!({ "searchPath": path })).unwrap();
            assert_eq!(config.parameters, [("search_path".to_owned(), expect.to_owned())]);
        }
        check(
            &json!({ "searchPath": 1 }),
            "option 'searchPath' must be a string or an array of strings, not 1",
        );
    }

    #[test]
    fn a_parameter_is_said_once() {
        for (option, value, parameter) in [
            ("statementTimeoutMs", json!(1), "statement_timeout"),
            ("idleInTransactionTimeoutMs", json!(1), "Idle_In_Transaction_Session_Timeout"),
            ("searchPath", json!("x"), "search_path"),
        ] {
            let error = read(json!({ option: value, "parameters": { parameter: "1" } }));
            let message = error.unwrap_err().message().to_owned();
            assert!(message.contains("say the same: give one of them"), "{message}");
        }
    }

    #[test]
    fn a_session_can_not_be_opened_through_a_fence() {
        let parameters = [
            ("default_transaction_read_only", "off"),
            ("Default_Transaction_Read_Only", "on"),
            ("options", "-c default_transaction_read_only=off"),
            ("OPTIONS", "-cgeqo=on --Default-Transaction-read-only=off"),
            ("options", "-c default\\_transaction_read_only=off"),
        ];
        for (name, value) in parameters {
            let error = read(json!({ "parameters": { name: value } })).unwrap_err();
            assert!(
                error.message().contains("must not set default_transaction_read_only"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_startup_message_has_a_limit() {
        let with = |length| read(json!({ "parameters": { "x.y": "v".repeat(length) } }));
        // The three names, the role twice, x.y and eight NULs take 41 bytes.
        assert!(with(9_500 - 41).is_ok());
        assert!(with(9_501 - 41).is_err());
    }

    #[test]
    fn options_override_the_connection_string() {
        let config = from_json(&json!({
            "applicationName": "mine",
            "connectionString": "postgres://u:p@h1:1,h2/d?application_name=x&connect_timeout=9",
            "database": "e",
            "port": 7,
        }))
        .unwrap();
        let names: Vec<&str> = config.hosts.iter().map(|host| &*host.name).collect();
        assert_eq!(names, ["h1:1", "h2:7"]);
        assert_eq!((config.user.as_str(), config.database.as_str()), ("u", "e"));
        assert_eq!(config.application_name.as_deref(), Some("mine"));
        assert_eq!(config.connect_timeout, Duration::from_secs(9));
    }
}
