//! The entry points that a query uses, and the registration of all entry points.
//!
//! These entry points use Node-API directly, since JavaScript calls them for each query and each
//! turn. The entry points in `seldom` are napi functions, which cost 0.1 µs more.
#![allow(unsafe_code)] // Node-API is C. A comment at each call says why it is right.

use std::ffi::{CStr, c_void};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ptr::{from_ref, null, null_mut};
use std::rc::Rc;
use std::time::Duration;

use napi::JsValue;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use napi_sys as sys;
use serde_json::Value;

use super::argument::thrown;
use super::client::Client;
use super::door::{defect, door};
use super::environment::Environment;
use super::params;
use super::request_buffer::{Written, milliseconds};
use super::seldom::SELDOM;
use super::value::{Env, Fault, NOTHING, check};
use crate::base::memory::is_there_room_for;
use crate::base::{Error, ErrorClass, Outcome};
use crate::connection::StatementId;
use crate::pool::{Query, QueryFlags};
use crate::reactor::{Reactor, Unreached, lookup_error};
use crate::types::Verbatim;

/// The most arguments that an entry point takes.
const ARGUMENTS: usize = 4;

/// One call from JavaScript.
struct Call {
    env: Env,
    environment: Rc<Environment>,
    /// Arguments that were not passed are `undefined`.
    arguments: [sys::napi_value; ARGUMENTS],
}

struct Entry {
    name: &'static CStr,
    run: fn(&Call) -> Result<sys::napi_value, Fault>,
}

static ENTRIES: [Entry; 9] = [
    Entry { name: c"statement", run: statement },
    Entry { name: c"query", run: query },
    Entry { name: c"supply", run: supply },
    Entry { name: c"acquire", run: acquire },
    Entry { name: c"cancel", run: cancel },
    Entry { name: c"release", run: release },
    Entry { name: c"flush", run: flush },
    Entry { name: c"drain", run: drain },
    Entry { name: c"resolved", run: resolved },
];

/// `statement(handle, sql, oids) -> id`. `oids` are the types whose values are wanted as text,
/// separated by commas.
fn statement(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let [_, sql, oids, ..] = call.arguments;
    let (sql, oids) = (call.env.string(sql)?, call.env.string(oids)?);
    if sql.contains('\0') {
        let message = "the query's text holds a NUL, which PostgreSQL's text can't";
        return Err(Error::new(ErrorClass::Configuration, "HYPERION_QUERY_TEXT", message).into());
    }
    // The text is copied. Examining it takes further copies.
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

/// `query(handle[, values, captured | undefined]) -> true` if a `flush` has to follow, and
/// otherwise `undefined`. The request buffer has everything else, also the values unless they are
/// passed here.
fn query(call: &Call) -> Result<sys::napi_value, Fault> {
    let client = call.client()?;
    let written = client.request_buffer.read()?;
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

/// `supply(handle, request, values, captured | undefined)`: the values of a query that was made
/// without them.
fn supply(call: &Call) -> Result<sys::napi_value, Fault> {
    let [_, _, values, captured, ..] = call.arguments;
    let request = call.u32(1)?;
    let params = params::read(call.env, values, captured)?;
    call.client()?.run(|reactor| reactor.supply(request, params))?;
    Ok(NOTHING)
}

/// `acquire(handle, request, flags, milliseconds)`. The answer names a lease. The largest number of
/// milliseconds means no limit.
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

/// Sets the call's time limit together with the request, so that JavaScript has nothing left to do
/// that could throw.
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

/// `release(handle, lease, destroy)`
fn release(call: &Call) -> Result<sys::napi_value, Fault> {
    let [_, _, destroy, ..] = call.arguments;
    let destroy = call.env.bool(destroy)?;
    match NonZeroU32::new(call.u32(1)?) {
        Some(lease) => call.late(|reactor| reactor.release(lease, destroy)),
        None => Ok(NOTHING),
    }
}

/// `flush(handle)`, once for all commands of a turn of the loop.
fn flush(call: &Call) -> Result<sys::napi_value, Fault> {
    call.late(Reactor::flush)
}

/// `drain(handle) -> text` of the next segment
fn drain(call: &Call) -> Result<sys::napi_value, Fault> {
    // This serves a poisoned pool too, whose last events are drained.
    call.environment.client(call.u32(0)?)?.drain()
}

/// `resolved(handle, token, addresses separated by commas, error as JSON)`. An empty text means
/// that there is no error.
fn resolved(call: &Call) -> Result<sys::napi_value, Fault> {
    let [_, _, addresses, error, ..] = call.arguments;
    let token = call.u32(1)?;
    let error = call.env.string(error)?;
    let answer = match error.is_empty() {
        true => parse_addresses(&call.env.string(addresses)?),
        false => Err(parse_lookup_error(&error)),
    };
    call.late(|reactor| reactor.resolved(token, answer))
}

/// Without a code there is no cause: an error of the caller's own function may not come from the
/// operating system.
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

/// Drops addresses that can't be used (`fe80::1%eth0` names an interface), unless all are such. All
/// have the port 0.
fn parse_addresses(addresses: &str) -> Result<Vec<SocketAddr>, Unreached> {
    let parse = |ip: &str| match ip.contains('%') {
        true => format!("[{ip}]:0").parse().ok(),
        false => Some(SocketAddr::new(ip.parse().ok()?, 0)),
    };
    let usable: Vec<SocketAddr> = addresses.split(',').filter_map(|ip| parse(ip.trim())).collect();
    if usable.is_empty() && !addresses.is_empty() {
        let why = format!("no usable address in '{addresses}'");
        return Err(Unreached { why, cause: None });
    }
    Ok(usable)
}

impl Call {
    fn read(env: Env, info: sys::napi_callback_info) -> Result<(Self, &'static Entry), Fault> {
        let mut arguments = [NOTHING; ARGUMENTS];
        let (mut count, mut data) = (ARGUMENTS, null_mut());
        // SAFETY: Node fills at most as many arguments as there is room for. Arguments that were
        // not passed become `undefined`. `this` is not requested.
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

    /// Runs a command that may come after the pool is gone.
    fn late(&self, command: impl FnOnce(&mut Reactor)) -> Result<sys::napi_value, Fault> {
        self.environment.late(self.u32(0)?, command);
        Ok(NOTHING)
    }

    /// The pool that the first argument names.
    fn client(&self) -> Result<Rc<Client>, Fault> {
        Ok(self.environment.open_client(self.u32(0)?)?)
    }
}

unsafe extern "C" fn enter(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node calls this with the environment of this thread.
    let env = unsafe { Env::from_raw(env) };
    let run = || {
        let (call, entry) = Call::read(env, info)?;
        (entry.run)(&call)
    };
    door(env, run, defect).unwrap_or(NOTHING)
}

/// napi calls this once for each environment that loads the addon, and does not catch a panic here.
#[napi(module_exports)]
fn init(exports: Object, env: napi::Env) -> napi::Result<()> {
    // SAFETY: napi passes on the environment with which Node has called it.
    let env = unsafe { Env::from_raw(env.raw()) };
    let panicked = || "hyperiondb-client could not be loaded".to_owned();
    door(env, || register(env, exports.raw()), panicked).ok_or_else(thrown)
}

/// Identifies the sources from which the addon was built. `scripts/sources.js` sets it, and
/// searches the built file for it. A build by cargo alone leaves it unknown.
const SOURCES: &str = match option_env!("HYPERIONDB_SOURCES") {
    Some(said) => said,
    None => "unknown",
};

/// napi's functions are registered here too, each as a defined property. napi itself would assign
/// them, and a setter on `Object.prototype` could take one of them.
fn register(env: Env, exports: sys::napi_value) -> Result<(), Fault> {
    #[cfg(feature = "defects")]
    super::defect::strike_loading();
    Environment::install(env)?;
    let entries = ENTRIES.iter().map(|entry| {
        let (enter, data): (sys::napi_callback, _) = (Some(enter), from_ref(entry));
        (entry.name, enter, data.cast::<c_void>())
    });
    let seldom = SELDOM.iter().map(|(name, callback)| (*name, *callback, null()));
    for (name, callback, data) in entries.chain(seldom) {
        env.define(exports, name, env.create_function(name, callback, data)?)?;
    }
    // JavaScript checks that this version is its own, because the two share memory.
    let version = env.create_string(env!("CARGO_PKG_VERSION").as_bytes(), true)?;
    env.define(exports, c"version", version)?;
    env.define(exports, c"sources", env.create_string(SOURCES.as_bytes(), true)?)
}
