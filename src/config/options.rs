//! The options as one JSON object, in the form in which JavaScript passes them down.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::draft::{Draft, LOGIN_NAME, PASSFILE};
use super::limits::{KEEP_ALIVE_MILLISECONDS, MILLISECONDS, SERVER_MILLISECONDS};
use super::refusal::{cut, error, kind, refuse, refuse_nul, show, unknown};
use super::settings::{ENVIRONMENT, SERVICES, Settings};
use super::tls::CONTENTS;
use super::{Config, Host, PassfileName, RequiredAuth, Secret, Service, Wanted, hosts};
use crate::base::Error;

/// How many milliseconds the server waits longer for an idle transaction than the pool.
const SERVER_IDLE_GRACE: u64 = 1000;
const PROBE_MILLISECONDS: RangeInclusive<u64> = 1..=60_000;
const POOL_SIZES: RangeInclusive<u64> = 1..=10_000;
const CACHE_SIZES: RangeInclusive<u64> = 0..=10_000;
const RESULT_SIZES: RangeInclusive<u64> = 1024..=1 << 40;
const USES: u64 = 1 << 40;
const QUEUE_SIZES: RangeInclusive<u64> = 1..=100_000_000;

const KNOWN: [&str; 40] = [
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
    "requireAuth",
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
        _ if draft.config.password.is_some() || draft.config.asks_password => None,
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
        // In place of a function, JavaScript writes this.
        "password" if value.get("$asked").is_some() => {
            (config.asks_password, config.password) = (true, None);
        }
        "password" => match value {
            Value::String(text) => {
                refuse_nul(&subject(name), text)?;
                config.password = Secret::from_option(text);
            }
            other => {
                return Err(refuse(&subject(name), "a string or a function", &kind(other)));
            }
        },
        "requireAuth" => {
            config.require_auth = Some(RequiredAuth::from_option(&subject(name), value)?);
        }
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
mod tests;
