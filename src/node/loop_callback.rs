//! The one call from Node's loop into JavaScript.
#![allow(unsafe_code)] // Node-API is C; what makes each call right is said where it is.

use std::ptr::null_mut;

use napi_sys as sys;

use super::value::{Env, Fault, Reference, check};
use crate::base::Error;

/// A JavaScript function that is called from the loop, and not from JavaScript.
#[derive(Debug)]
pub(super) struct LoopCallback {
    function: Reference,
    context: sys::napi_async_context,
}

impl LoopCallback {
    pub(super) fn new(env: Env, function: sys::napi_value) -> Result<Self, Fault> {
        if env.type_of(function)? != sys::ValueType::napi_function {
            return Err(Error::internal("deliver is no function").into());
        }
        let name = env.create_string(b"HyperionPool", true)?;
        let function = Reference::new(env, function)?;
        let mut context = null_mut();
        // SAFETY: as all calls with an `Env`; without a resource, Node makes one.
        let status = unsafe { sys::napi_async_init(env.raw(), null_mut(), name, &mut context) };
        check(status, "an async context")?;
        Ok(Self { function, context })
    }

    /// Calls as Node itself calls back: the microtasks and `process.nextTick` run behind it, and
    /// what it throws is an uncaught exception. Nothing happens where JavaScript can't run any
    /// more.
    ///
    /// Leaves no exception pending. That is an invariant: where JavaScript has called, Node throws
    /// on what is left; here there is nobody, and it stays until the environment ends. napi's hook
    /// for that end (since 3.12.1) takes such an exception without a scope for its value, by which
    /// V8 ends the whole process. A worker that is terminated in the middle of the call leaves one
    /// each time.
    pub(super) fn call(&self, argument: sys::napi_value) -> Result<(), Fault> {
        let env = self.function.env();
        let function = self.function.value()?;
        let mut receiver = null_mut();
        // SAFETY: as all calls with an `Env`.
        check(unsafe { sys::napi_get_global(env.raw(), &mut receiver) }, "the global object")?;
        // SAFETY: one argument, of this scope; the result is not wanted.
        let status = unsafe {
            let (count, arguments, result) = (1, &raw const argument, null_mut());
            sys::napi_make_callback(
                env.raw(),
                self.context,
                receiver,
                function,
                count,
                arguments,
                result,
            )
        };
        if status != sys::Status::napi_ok {
            #[cfg(feature = "defects")]
            if super::defect::leaves_exceptions() {
                return Ok(());
            }
            report_exception(env);
        }
        Ok(())
    }
}

impl Drop for LoopCallback {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { sys::napi_async_destroy(self.function.env().raw(), self.context) };
    }
}

/// Hands an exception that nobody can catch to `process.on('uncaughtException')`.
fn report_exception(env: Env) {
    if let Some(exception) = take_exception(env) {
        // SAFETY: as all calls with an `Env`. In an environment that is being ended nothing is called.
        unsafe { sys::napi_fatal_exception(env.raw(), exception) };
        // That is JavaScript too, in the middle of which its environment may be ended.
        take_exception(env);
    }
}

fn take_exception(env: Env) -> Option<sys::napi_value> {
    let (mut pending, mut exception) = (false, null_mut());
    // SAFETY: as all calls with an `Env`.
    let status = unsafe {
        sys::napi_is_exception_pending(env.raw(), &mut pending);
        if !pending {
            return None;
        }
        sys::napi_get_and_clear_last_exception(env.raw(), &mut exception)
    };
    (status == sys::Status::napi_ok).then_some(exception)
}
