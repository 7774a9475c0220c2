//! The entry points that are called at most once for each pool, each lease or each second, as napi
//! functions.
//!
//! napi reads their arguments as the types of `argument`, and catches a panic while it does.
//! `door`, which all entry points share, throws later errors, so that JavaScript gets the same
//! errors from all of them.
#![allow(unsafe_code)] // napi-derive writes calls of Node-API.

use std::ffi::CStr;
use std::num::NonZeroU32;
use std::rc::Rc;

use napi::bindgen_prelude::{Either, Undefined};
use napi_derive::napi;
use napi_sys as sys;
use serde_json::{Value, json};

use super::argument::{Flag, Number, Text, Unread, thrown};
use super::deliver::list_oids;
use super::door::{defect, door};
use super::environment::Environment;
use super::event_json::host_value;
use super::request_buffer::milliseconds;
use super::status_json::status_to_json;
use super::value::{Env, Fault};
use crate::base::Error;
use crate::config::{self, PassfileName, Secret, Tls, Wanted};
use crate::connection::{self, StatementId};
use crate::pool::EndOptions;

/// In the order in which a pool uses them.
pub(super) static SELDOM: [(&CStr, sys::napi_callback); 17] = [
    (c"wantedFiles", Some(wanted_files_c_callback)),
    (c"createPool", Some(create_pool_c_callback)),
    (c"parameterTypes", Some(parameter_types_c_callback)),
    (c"forget", Some(forget_c_callback)),
    (c"summarize", Some(summarize_c_callback)),
    (c"sanitize", Some(sanitize_c_callback)),
    (c"leaseHost", Some(lease_host_c_callback)),
    (c"leaseIsAlive", Some(lease_is_alive_c_callback)),
    (c"leaseIsInOwnTransaction", Some(lease_is_in_own_transaction_c_callback)),
    (c"cancelLease", Some(cancel_lease_c_callback)),
    (c"ready", Some(ready_c_callback)),
    (c"status", Some(status_c_callback)),
    (c"cluster", Some(cluster_c_callback)),
    (c"answerSsl", Some(answer_ssl_c_callback)),
    (c"answerPassword", Some(answer_password_c_callback)),
    (c"setHosts", Some(set_hosts_c_callback)),
    (c"end", Some(end_c_callback)),
];

/// A text, or `undefined`.
type Perhaps = Either<String, Undefined>;

/// `wantedFiles(optionsJson) -> json`: the files that must be read before a pool can be created
/// with these options.
#[napi(catch_unwind, no_export)]
fn wanted_files(env: napi::Env, options: Text) -> napi::Result<String> {
    enter(env, |_, _| {
        let options = parse_options(&options.0)?;
        let Wanted { root_cert, cert, key, crl, password, system, service, passfile, warnings } =
            config::wanted_from_json(&options)?;
        let service = service.map(|it| json!({ "name": it.name, "file": it.file }));
        let passfile = match passfile {
            Some(PassfileName::Given(file)) => json!(file),
            Some(PassfileName::Default) => json!(true),
            None => json!(null),
        };
        let json = json!({
            "ca": root_cert,
            "cert": cert,
            "key": key,
            "crl": crl,
            "passphrase": password,
            "system": system,
            "service": service,
            "passfile": passfile,
            "warnings": warnings,
        });
        Ok(json.to_string())
    })
}

/// `createPool(optionsJson, deliver) -> { handle, database, requestBuffer, records, cells, nulls }`
#[napi(catch_unwind, no_export)]
fn create_pool(env: napi::Env, options: Text, deliver: Unread) -> napi::Result<sys::napi_value> {
    enter(env, |env, environment| {
        let config = config::from_json(&parse_options(&options.0)?)?;
        let object = env.create_object()?;
        environment.open(env, config, deliver.0, object)?;
        Ok(object)
    })
}

/// `parameterTypes(handle, id) -> oids`, separated by commas, or `undefined` if no server has
/// described the statement yet.
#[napi(catch_unwind, no_export)]
fn parameter_types(env: napi::Env, handle: Number, id: Number) -> napi::Result<Perhaps> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let oids =
            client.run(|reactor| reactor.parameter_types(StatementId(id.0)).map(list_oids))?;
        Ok(perhaps(oids))
    })
}

/// `forget(handle, id)`
#[napi(catch_unwind, no_export)]
fn forget(env: napi::Env, handle: Number, id: Number) -> napi::Result<()> {
    enter(env, |_, environment| {
        environment.late(handle.0, |reactor| reactor.forget(StatementId(id.0)));
        Ok(())
    })
}

/// `summarize(sql) -> summary`: the operations and tables in a text, for traces.
#[napi(catch_unwind, no_export)]
fn summarize(env: napi::Env, sql: Text) -> napi::Result<String> {
    enter(env, |_, _| Ok(connection::summarize(&sql.0)))
}

/// `sanitize(sql) -> text`: a text without its constants, for traces.
#[napi(catch_unwind, no_export)]
fn sanitize(env: napi::Env, sql: Text) -> napi::Result<String> {
    enter(env, |_, _| Ok(connection::sanitize(&sql.0)))
}

/// `leaseHost(handle, lease) -> host`, or `undefined` if the lease has no connection.
#[napi(catch_unwind, no_export)]
fn lease_host(env: napi::Env, handle: Number, lease: Number) -> napi::Result<Perhaps> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let Some(lease) = NonZeroU32::new(lease.0) else { return Ok(perhaps(None)) };
        let host = client.run(|reactor| reactor.lease_host(lease).map(str::to_owned))?;
        Ok(perhaps(host))
    })
}

/// `leaseIsAlive(handle, lease) -> boolean`: whether the lease has a connection, or is entitled to
/// another one.
#[napi(catch_unwind, no_export)]
fn lease_is_alive(env: napi::Env, handle: Number, lease: Number) -> napi::Result<bool> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let Some(lease) = NonZeroU32::new(lease.0) else { return Ok(false) };
        Ok(client.run(|reactor| reactor.lease_is_alive(lease))?)
    })
}

/// `leaseIsInOwnTransaction(handle, lease) -> boolean`: whether a statement of the lease's user has
/// begun a transaction.
#[napi(catch_unwind, no_export)]
fn lease_is_in_own_transaction(
    env: napi::Env,
    handle: Number,
    lease: Number,
) -> napi::Result<bool> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let Some(lease) = NonZeroU32::new(lease.0) else { return Ok(false) };
        Ok(client.run(|reactor| reactor.lease_is_in_own_transaction(lease))?)
    })
}

/// `cancelLease(handle, lease)`: cancels all requests that run or wait on the lease.
#[napi(catch_unwind, no_export)]
fn cancel_lease(env: napi::Env, handle: Number, lease: Number) -> napi::Result<()> {
    enter(env, |_, environment| {
        if let Some(lease) = NonZeroU32::new(lease.0) {
            environment.late(handle.0, |reactor| reactor.cancel_lease(lease));
        }
        Ok(())
    })
}

/// `ready(handle, request)`
#[napi(catch_unwind, no_export)]
fn ready(env: napi::Env, handle: Number, request: Number) -> napi::Result<()> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        client.request(request.0, |reactor| reactor.ready(request.0))?;
        Ok(())
    })
}

/// `status(handle) -> json`
#[napi(catch_unwind, no_export)]
fn status(env: napi::Env, handle: Number) -> napi::Result<String> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let (status, metrics) = client.run(|reactor| (reactor.status(), reactor.metrics()))?;
        Ok(status_to_json(&status, &metrics))
    })
}

/// `cluster(handle) -> json`
#[napi(catch_unwind, no_export)]
fn cluster(env: napi::Env, handle: Number) -> napi::Result<String> {
    enter(env, |_, environment| {
        let hosts = environment.open_client(handle.0)?.run(|reactor| {
            let described = |status| host_value(status, reactor.encryption(&status.view.host));
            reactor.cluster().iter().map(described).collect::<Vec<_>>()
        })?;
        Ok(json!(hosts).to_string())
    })
}

/// `answerSsl(handle, question, optionsJson, why)`: the options with the answer of the function
/// `ssl` in place of the function, or why there is no answer. An empty `why` means that there is
/// one.
#[napi(catch_unwind, no_export)]
fn answer_ssl(
    env: napi::Env,
    handle: Number,
    question: Number,
    options: Text,
    why: Text,
) -> napi::Result<()> {
    enter(env, |_, environment| {
        let answer = match why.0.is_empty() {
            true => read_tls(&options.0).map_err(|error| error.message().to_owned()),
            false => Err(why.0),
        };
        environment.late(handle.0, |reactor| reactor.answer_ssl(question.0, answer));
        Ok(())
    })
}

/// `answerPassword(handle, question, password, why)`: the answer of the function `password`, or why
/// there is none. An empty text means that there is one.
#[napi(catch_unwind, no_export)]
fn answer_password(
    env: napi::Env,
    handle: Number,
    question: Number,
    password: Text,
    why: Text,
) -> napi::Result<()> {
    enter(env, |_, environment| {
        let answer = match why.0.is_empty() {
            true => Ok(Secret::new(password.0)),
            false => Err(why.0),
        };
        environment.late(handle.0, |reactor| reactor.answer_password(question.0, answer));
        Ok(())
    })
}

/// `setHosts(handle, hostsJson)`
#[napi(catch_unwind, no_export)]
fn set_hosts(env: napi::Env, handle: Number, hosts: Text) -> napi::Result<()> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let hosts = serde_json::from_str(&hosts.0)
            .map_err(|error| Error::internal(format!("the hosts are no JSON: {error}")))?;
        client.run(|reactor| reactor.set_hosts(&hosts))??;
        Ok(())
    })
}

/// `end(handle, request, milliseconds, refuseWaiting)`. The largest number of milliseconds means no
/// limit.
#[napi(catch_unwind, no_export)]
fn end(
    env: napi::Env,
    handle: Number,
    request: Number,
    limit: Number,
    refuse_waiting: Flag,
) -> napi::Result<()> {
    enter(env, |_, environment| {
        let client = environment.open_client(handle.0)?;
        let (timeout, refuse_waiting) = (milliseconds(limit.0), refuse_waiting.0);
        let options = EndOptions { timeout, refuse_waiting };
        client.request(request.0, |reactor| reactor.end(request.0, options))?;
        Ok(())
    })
}

fn parse_options(json: &str) -> Result<Value, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::internal(format!("the options are no JSON: {error}")))
}

fn read_tls(json: &str) -> Result<Tls, Error> {
    Ok(config::from_json(&parse_options(json)?)?.tls)
}

/// Runs `body` with the environment's state. Its errors and panics are thrown as exceptions.
fn enter<T>(
    env: napi::Env,
    body: impl FnOnce(Env, &Rc<Environment>) -> Result<T, Fault>,
) -> napi::Result<T> {
    // SAFETY: napi passes on the environment with which Node has called it.
    let env = unsafe { Env::from_raw(env.raw()) };
    let run = || {
        #[cfg(feature = "defects")]
        super::defect::strike_seldom();
        body(env, &Environment::of(env)?)
    };
    door(env, run, defect).ok_or_else(thrown)
}

fn perhaps(text: Option<String>) -> Perhaps {
    text.map_or(Either::B(()), Either::A)
}
