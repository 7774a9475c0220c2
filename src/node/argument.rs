//! What napi reads the arguments of its functions as. What is wrong with one is told as everywhere
//! in the addon, and not in words of napi's.
#![allow(unsafe_code)] // Node-API is C; what makes each call right is said where it is.

use napi::bindgen_prelude::FromNapiValue;
use napi_sys as sys;

use super::door::{defect, door};
use super::value::{Env, Fault};

/// Of a pool, a request, a lease, a statement, or of milliseconds.
#[derive(Debug)]
pub(super) struct Number(pub(super) u32);

#[derive(Debug)]
pub(super) struct Text(pub(super) String);

#[derive(Debug)]
pub(super) struct Flag(pub(super) bool);

/// A value as it was passed.
#[derive(Debug)]
pub(super) struct Unread(pub(super) sys::napi_value);

impl FromNapiValue for Number {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: as the caller says.
        unsafe { read(env, |env| env.u32(value).map(Self)) }
    }
}

impl FromNapiValue for Text {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: as the caller says.
        unsafe { read(env, |env| env.string(value).map(Self)) }
    }
}

impl FromNapiValue for Flag {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: as the caller says.
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
/// An environment of this thread.
unsafe fn read<T>(
    env: sys::napi_env,
    read: impl FnOnce(Env) -> Result<T, Fault>,
) -> napi::Result<T> {
    // SAFETY: as the caller says.
    let env = unsafe { Env::from_raw(env) };
    door(env, || read(env), defect).ok_or_else(thrown)
}

/// Says to napi that an exception is pending, which it then leaves as it is.
pub(super) fn thrown() -> napi::Error {
    napi::Error::new(napi::Status::PendingException, String::new())
}
