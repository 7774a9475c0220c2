//! The types in which napi reads the arguments of its functions. A wrong argument gives the addon's
//! own error instead of napi's.
#![allow(unsafe_code)] // Node-API is C. A comment at each call says why it is right.

use napi::bindgen_prelude::FromNapiValue;
use napi_sys as sys;

use super::door::{defect, door};
use super::value::{Env, Fault};

/// The number of a pool, a request, a lease or a statement, or a number of milliseconds.
#[derive(Debug)]
pub(super) struct Number(pub(super) u32);

#[derive(Debug)]
pub(super) struct Text(pub(super) String);

#[derive(Debug)]
pub(super) struct Flag(pub(super) bool);

/// A value that JavaScript passed.
#[derive(Debug)]
pub(super) struct Unread(pub(super) sys::napi_value);

impl FromNapiValue for Number {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: `env` is the caller's, of this thread.
        unsafe { read(env, |env| env.u32(value).map(Self)) }
    }
}

impl FromNapiValue for Text {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: `env` is the caller's, of this thread.
        unsafe { read(env, |env| env.string(value).map(Self)) }
    }
}

impl FromNapiValue for Flag {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: `env` is the caller's, of this thread.
        unsafe { read(env, |env| env.bool(value).map(Self)) }
    }
}

impl FromNapiValue for Unread {
    unsafe fn from_napi_value(_: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        Ok(Self(value))
    }
}

/// # Safety
///
/// `env` must be an environment of this thread.
unsafe fn read<T>(
    env: sys::napi_env,
    read: impl FnOnce(Env) -> Result<T, Fault>,
) -> napi::Result<T> {
    // SAFETY: `env` is an environment of this thread, by this function's own contract.
    let env = unsafe { Env::from_raw(env) };
    door(env, || read(env), defect).ok_or_else(thrown)
}

/// The error to return to napi when an exception is pending. napi leaves the exception as it is.
pub(super) fn thrown() -> napi::Error {
    napi::Error::new(napi::Status::PendingException, String::new())
}
