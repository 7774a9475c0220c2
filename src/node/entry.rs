//! The entry points that `js/native.cjs` calls, and the door that they share.
#![allow(unsafe_code)] // Node-API is C; what makes each call right is said where it is.

use std::ffi::{CStr, c_void};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use napi_sys as sys;
use serde_json::{Value, json};

use super::client::Client;
use super::deliver::list_oids;
use super::environment::Environment;
use super::error_json::error_to_json;
use super::event_json::host_value;
use super::params;
use super::slip::{Written, milliseconds};
use super::value::{Env, Fault, NOTHING, check};
use crate::base::memory::is_there_room_for;
use crate::base::{Error, ErrorClass, Outcome};
use crate::config;
use crate::connection::StatementId;
use crate::pool::{EndOptions, Query, QueryFlags, Status};
use crate::reactor::{Reactor, Unreached, lookup_error};
use crate::types::Verbatim;

/// The most that an entry point takes.
const ARGUMENTS: usize = 4;

/// One call from JavaScript.
struct Call {
    env: Env,
    environment: Rc<Environment>,
    /// Those that were not passed are `undefined`.
    arguments: [sys::napi_value; ARGUMENTS],
}

struct Entry {
    name: &'static CStr,
    run: fn(&Call) -> Result<sys::napi_value, Fault>,
}

/// In the order of a pool's life.
static ENTRIES: [Entry; 21] = [
    Entry { name: c"createPool", run: create_pool },
    Entry { name: c"statement", run: statement },
    Entry { name: c"parameterTypes", run: parameter_types },
    Entry { name: c"forget", run: forget },
    Entry { name: c"query", run: query },
    Entry { name: c"supply", run: supply },
    Entry { name: c"acquire", run: acquire },
    Entry { name: c"cancel", run: cancel },
    Entry { name: c"leaseHost", run: lease_host },
    Entry { name: c"leaseIsAlive", run: lease_is_alive },
    Entry { name: c"leaseIsInOwnTransaction", run: lease_is_in_own_transaction },
    Entry { name: c"cancelLease", run: cancel_lease },
    Entry { name: c"release", run: release },
    Entry { name: c"flush", run: flush },
    Entry { name: c"drain", run: drain },
    Entry { name: c"resolved", run: resolved },
    Entry { name: c"ready", run: ready },
    Entry { name: c"status", run: status },
    Entry { name: c"cluster", run: cluster },
    Entry { name: c"setHosts", run: set_hosts },
    Entry { name: c"end", run: end },
];

/// `createPool(optionsJson, deliver) -> { handle, slip, records, cells, nulls }`
fn create_pool(call: &Call) -> Result<sys::napi_value, Fault> {
    let [options, deliver, ..] = call.arguments;
    let options = serde_json::from_str(&call.string(options)?)
        .map_err(|error| Error::internal(format!("the options are no JSON: {error}")))?;
    let config = config::from_json(&options)?;
    let object = call.env.create_object()?;
    Client::open(call.env, &call.environment, config, deliver, object)?;
    Ok(object)
}

/// `statement(handle, sql, oids) -> id`; `oids` of the types that are wanted as text, separated by commas
fn statement(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let [_, sql, oids, ..] = call.arguments;
    let (sql, oids) = (call.string(sql)?, call.string(oids)?);
    if sql.contains('\0') {
        let message = "the query's text holds a NUL, which PostgreSQL's text can't";
        return Err(Error::new(ErrorClass::Configuration, "HYPERION_QUERY_TEXT", message).into());
    }
    // It is copied, and looked through in other copies.
    if !is_there_room_for(sql.len().saturating_mul(4)) {
        let message = "there is no memory left for the query's text";
        let error = Error::new(ErrorClass::Configuration, "HYPERION_OUT_OF_MEMORY", message);
        return Err(error.with_outcome(Outcome::NotSent).into());
    }
    let oids: Vec<u32> = oids.split(',').filter_map(|oid| oid.parse().ok()).collect();
    let verbatim = Verbatim::new(&oids);
    #[cfg(feature = "defects")]
    super::defect::strike(&client, &sql)?;
    let StatementId(id) = client.run(|reactor| reactor.statement(&sql, verbatim))?;
    call.env.create_u32(id)
}

/// `parameterTypes(handle, id) -> oids` separated by commas, or `undefined` where no server has told them yet
fn parameter_types(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let id = StatementId(call.u32(1)?);
    let oids = client.run(|reactor| reactor.parameter_types(id).map(list_oids))?;
    oids.map_or(Ok(NOTHING), |oids| call.env.create_string(oids.as_bytes(), true))
}

/// `forget(handle, id)`
fn forget(call: &Call) -> Result<sys::napi_value, Fault> {
    let id = StatementId(call.u32(1)?);
    call.late(|reactor| reactor.forget(id))
}

/// `query(handle[, values, captured | undefined]) -> true` where a `flush` has to follow, else `undefined`. All else is on the
/// slip, and the values too where they are not passed.
fn query(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let written = client.slip.read()?;
    let Written { request, lease, statement, flags, limit, is_transient, params } = written;
    let params = match params {
        Some(params) => params,
        None => {
            let [_, values, captured, ..] = call.arguments;
            params::read(call.env, values, captured)?
        }
    };
    let query = Query { request, lease, statement, params, flags };
    let must_flush = client.request(request, |reactor| {
        reactor.query(query);
        bound(reactor, request, limit);
        if is_transient {
            reactor.forget(statement);
        }
    })?;
    if must_flush { call.env.create_bool(true) } else { Ok(NOTHING) }
}

/// `supply(handle, request, values, captured | undefined)`: for a query that was made without its values
fn supply(call: &Call) -> Result<sys::napi_value, Fault> {
    let [_, _, values, captured, ..] = call.arguments;
    let request = call.u32(1)?;
    let params = params::read(call.env, values, captured)?;
    call.client()?.run(|reactor| reactor.supply(request, params))?;
    Ok(NOTHING)
}

/// `acquire(handle, request, flags, milliseconds)`: the answer names a lease; the largest number is no limit
fn acquire(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let (request, flags) = (call.u32(1)?, QueryFlags(call.u32(2)?));
    let limit = milliseconds(call.u32(3)?);
    client.request(request, |reactor| {
        reactor.acquire(request, flags);
        bound(reactor, request, limit);
    })?;
    Ok(NOTHING)
}

/// The limit of the call comes with the request, so that JavaScript has nothing left to do that could throw.
fn bound(reactor: &mut Reactor, request: u32, limit: Option<Duration>) {
    if let Some(after) = limit {
        reactor.limit(request, Some(after).filter(|after| !after.is_zero()));
    }
}

/// `cancel(handle, request)`
fn cancel(call: &Call) -> Result<sys::napi_value, Fault> {
    let request = call.u32(1)?;
    call.late(|reactor| reactor.cancel(request))
}

/// `leaseHost(handle, lease) -> host`, or `undefined` where it has no connection
fn lease_host(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let Some(lease) = NonZeroU32::new(call.u32(1)?) else { return Ok(NOTHING) };
    let host = client.run(|reactor| reactor.lease_host(lease).map(str::to_owned))?;
    host.map_or(Ok(NOTHING), |host| call.env.create_string(host.as_bytes(), host.is_ascii()))
}

/// `leaseIsAlive(handle, lease) -> boolean`: whether it has a connection, or a claim to another one
fn lease_is_alive(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let Some(lease) = NonZeroU32::new(call.u32(1)?) else { return call.env.create_bool(false) };
    call.env.create_bool(client.run(|reactor| reactor.lease_is_alive(lease))?)
}

/// `leaseIsInOwnTransaction(handle, lease) -> boolean`: whether its user has begun one by a statement
fn lease_is_in_own_transaction(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let Some(lease) = NonZeroU32::new(call.u32(1)?) else { return call.env.create_bool(false) };
    call.env.create_bool(client.run(|reactor| reactor.lease_is_in_own_transaction(lease))?)
}

/// `cancelLease(handle, lease)`: all that runs there, and what waits for that
fn cancel_lease(call: &Call) -> Result<sys::napi_value, Fault> {
    match NonZeroU32::new(call.u32(1)?) {
        Some(lease) => call.late(|reactor| reactor.cancel_lease(lease)),
        None => Ok(NOTHING),
    }
}

/// `release(handle, lease, destroy)`
fn release(call: &Call) -> Result<sys::napi_value, Fault> {
    let [_, _, destroy, ..] = call.arguments;
    let destroy = call.env.bool(destroy)?;
    match NonZeroU32::new(call.u32(1)?) {
        Some(lease) => call.late(|reactor| reactor.release(lease, destroy)),
        None => Ok(NOTHING),
    }
}

/// `flush(handle)`: once for all commands of a turn of the loop.
fn flush(call: &Call) -> Result<sys::napi_value, Fault> {
    call.late(Reactor::flush)
}

/// `drain(handle) -> text` of the next segment
fn drain(call: &Call) -> Result<sys::napi_value, Fault> {
    // Of a poisoned pool too: its last words are drained.
    call.environment.client(call.u32(0)?)?.drain()
}

/// `resolved(handle, token, addresses separated by commas, error as JSON)`; an empty text is no error
fn resolved(call: &Call) -> Result<sys::napi_value, Fault> {
    let [_, _, addresses, error, ..] = call.arguments;
    let token = call.u32(1)?;
    let error = call.string(error)?;
    let answer = match error.is_empty() {
        true => parse_addresses(&call.string(addresses)?),
        false => Err(parse_lookup_error(&error)),
    };
    call.late(|reactor| reactor.resolved(token, answer))
}

/// There is no cause where the look-up gave no code: an error of the caller's own function need not be of the system.
fn parse_lookup_error(error: &str) -> Unreached {
    let fields: Value = serde_json::from_str(error).unwrap_or_default();
    let text = |name: &str| fields.get(name)?.as_str().map(str::to_owned);
    let errno = fields.get("errno").and_then(Value::as_i64);
    let errno = errno.and_then(|errno| i32::try_from(errno).ok());
    let syscall = text("syscall").unwrap_or_else(|| "getaddrinfo".to_owned());
    let cause = text("code").zip(text("hostname"));
    let cause = cause.map(|(code, name)| lookup_error(code, errno, syscall, name));
    Unreached { why: text("message").unwrap_or_else(|| "the look-up failed".to_owned()), cause }
}

/// Addresses that can't be used (`fe80::1%eth0` names an interface) are left out while others can.
fn parse_addresses(addresses: &str) -> Result<Vec<IpAddr>, Unreached> {
    let usable: Vec<IpAddr> =
        addresses.split(',').filter_map(|ip| ip.trim().parse().ok()).collect();
    if usable.is_empty() && !addresses.is_empty() {
        let why = format!("no usable address in '{addresses}'");
        return Err(Unreached { why, cause: None });
    }
    Ok(usable)
}

/// `ready(handle, request)`
fn ready(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let request = call.u32(1)?;
    client.request(request, |reactor| reactor.ready(request))?;
    Ok(NOTHING)
}

/// `status(handle) -> json`
fn status(call: &Call) -> Result<sys::napi_value, Fault> {
    let status = call.client()?.run(|reactor| reactor.status())?;
    let Status { max_size, size, available, in_use, waiting } = status;
    let json = json!({
        "maxSize": max_size,
        "size": size,
        "available": available,
        "inUse": in_use,
        "waiting": waiting,
    });
    call.env.create_string(json.to_string().as_bytes(), true)
}

/// `cluster(handle) -> json`
fn cluster(call: &Call) -> Result<sys::napi_value, Fault> {
    let hosts = call.client()?.run(|reactor| reactor.cluster())?;
    let hosts: Vec<_> = hosts.iter().map(host_value).collect();
    call.env.create_string(json!(hosts).to_string().as_bytes(), false)
}

/// `setHosts(handle, hostsJson)`
fn set_hosts(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let [_, hosts, ..] = call.arguments;
    let hosts = serde_json::from_str(&call.string(hosts)?)
        .map_err(|error| Error::internal(format!("the hosts are no JSON: {error}")))?;
    client.run(|reactor| reactor.set_hosts(&hosts))??;
    Ok(NOTHING)
}

/// `end(handle, request, milliseconds, refuseWaiting)`: the largest number is no limit
fn end(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let [_, _, _, refuse_waiting, ..] = call.arguments;
    let (request, timeout) = (call.u32(1)?, milliseconds(call.u32(2)?));
    let options = EndOptions { timeout, refuse_waiting: call.env.bool(refuse_waiting)? };
    client.request(request, |reactor| reactor.end(request, options))?;
    Ok(NOTHING)
}

impl Call {
    fn read(env: Env, info: sys::napi_callback_info) -> Result<(Self, &'static Entry), Fault> {
        let mut arguments = [NOTHING; ARGUMENTS];
        let (mut count, mut data) = (ARGUMENTS, null_mut());
        // SAFETY: Node fills as many arguments as there is room for, with `undefined` for those that
        // were not passed; `this` is not wanted.
        let status = unsafe {
            let (arguments, count) = (arguments.as_mut_ptr(), &mut count);
            sys::napi_get_cb_info(env.raw(), info, count, arguments, null_mut(), &mut data)
        };
        check(status, "the arguments")?;
        // SAFETY: `register` gave each function a reference to its entry.
        let entry = unsafe { &*data.cast::<Entry>().cast_const() };
        Ok((Self { env, environment: Environment::of(env)?, arguments }, entry))
    }

    fn u32(&self, index: usize) -> Result<u32, Fault> {
        self.env.u32(self.arguments.get(index).copied().unwrap_or(NOTHING))
    }

    fn string(&self, value: sys::napi_value) -> Result<String, Fault> {
        let (length, mut bytes) = (self.env.utf8_length(value)?, Vec::new());
        self.env.append_utf8(value, length, &mut bytes)?;
        if self.env.is_well_formed(value, &bytes)?
            && let Ok(text) = String::from_utf8(bytes)
        {
            return Ok(text);
        }
        let message = "the text holds half of a surrogate pair, which has no form in UTF-8";
        Err(Error::new(ErrorClass::Configuration, "HYPERION_QUERY_TEXT", message).into())
    }

    /// Runs what may come when the pool has gone meanwhile (an answer to a look-up, the flush behind the
    /// last command). Then there is nothing to do, and nobody to whom an error would say anything.
    fn late(&self, command: impl FnOnce(&mut Reactor)) -> Result<sys::napi_value, Fault> {
        let handle = self.u32(0)?;
        if let Ok(client) = self.environment.client(handle)
            && client.check_open().is_ok()
        {
            // An error says that a defect was found just now. The requests that it concerns are told.
            let _ = client.run(command);
        }
        Ok(NOTHING)
    }

    /// The pool that the first argument names.
    fn client(&self) -> Result<Rc<Client>, Fault> {
        let client = self.environment.client(self.u32(0)?)?;
        client.check_open()?;
        Ok(client)
    }
}

/// The door through which JavaScript comes in: what goes wrong behind it is thrown, a panic too.
unsafe extern "C" fn enter(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node calls with the environment of this thread.
    let env = unsafe { Env::from_raw(env) };
    let run = || {
        let (call, entry) = Call::read(env, info)?;
        (entry.run)(&call)
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return value,
        Ok(Err(Fault::Pending)) => {}
        Ok(Err(Fault::Own(error))) => env.throw(&error_to_json(&error)),
        Err(_) => {
            let error = Error::internal("a defect in hyperiondb-client was found in this call");
            env.throw(&error_to_json(&error));
        }
    }
    NOTHING
}

fn register(env: Env, exports: sys::napi_value) -> Result<(), Fault> {
    Environment::install(env)?;
    for entry in &ENTRIES {
        let data = std::ptr::from_ref(entry).cast::<c_void>();
        let function = env.create_function(entry.name, Some(enter), data)?;
        env.define(exports, entry.name, function)?;
    }
    Ok(())
}

/// Node calls this once for each environment that loads the addon.
///
/// # Safety
///
/// As Node-API says: an environment of this thread, and an object of it.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn napi_register_module_v1(
    env: sys::napi_env,
    exports: sys::napi_value,
) -> sys::napi_value {
    static FUNCTIONS: Once = Once::new();
    // SAFETY: writes the table of Node's functions before anything reads it. Workers that load the addon
    // at the same time wait here. The library that comes back is the process itself, and stays loaded.
    FUNCTIONS.call_once(|| std::mem::forget(unsafe { sys::setup() }));
    // SAFETY: Node calls with the environment of this thread.
    let env = unsafe { Env::from_raw(env) };
    match catch_unwind(AssertUnwindSafe(|| register(env, exports))) {
        Ok(Ok(()) | Err(Fault::Pending)) => {}
        Ok(Err(Fault::Own(error))) => env.throw(&error_to_json(&error)),
        Err(_) => env.throw("hyperiondb-client could not be loaded"),
    }
    exports
}
