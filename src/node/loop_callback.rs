//! The one call from Node's loop into JavaScript.
#![allow(unsafe_code)] // Node-API is C. A comment at each call says why it is right.

use std::ptr::null_mut;

use napi_sys as sys;

use super::value::{Env, Fault, Reference, check};
use crate::base::Error;

/// A JavaScript function that is called from the loop, with no JavaScript caller.
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
        // SAFETY: as for all calls with an `Env`. Without a resource, Node makes one.
        let status = unsafe { sys::napi_async_init(env.raw(), null_mut(), name, &mut context) };
        check(status, "an async context")?;
        Ok(Self { function, context })
    }

    /// Calls the function as Node itself calls back: microtasks and `process.nextTick` run after
    /// it, and an exception in it is an uncaught exception. If JavaScript can't run any more,
    /// nothing happens.
    ///
    /// Leaves no exception pending. If JavaScript had called the addon, Node would throw the
    /// exception there. Here there is no such caller, and the exception would stay until the
    /// environment ends. napi's hook for that moment (since 3.12.1) takes such an exception without
    /// a scope for its value, and V8 then aborts the whole process. A worker that is terminated in
    /// the middle of the call leaves an exception each time.
    pub(super) fn call(&self, argument: sys::napi_value) -> Result<(), Fault> {
        let env = self.function.env();
        let function = self.function.value()?;
        let mut receiver = null_mut();
        // SAFETY: as for all calls with an `Env`.
        check(unsafe { sys::napi_get_global(env.raw(), &mut receiver) }, "the global object")?;
        // SAFETY: there is one argument, from this scope. The result is not requested.
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
        // SAFETY: `new` made the context, and this destroys it once.
        unsafe { sys::napi_async_destroy(self.function.env().raw(), self.context) };
    }
}

/// Hands an exception without a JavaScript caller to `process.on('uncaughtException')`.
fn report_exception(env: Env) {
    if let Some(exception) = take_exception(env) {
        // SAFETY: as for all calls with an `Env`. In an environment that is ending, this calls
        // nothing.
        unsafe { sys::napi_fatal_exception(env.raw(), exception) };
        // The handler is JavaScript too, and its environment may end in the middle of it.
        take_exception(env);
    }
}

fn take_exception(env: Env) -> Option<sys::napi_value> {
    let (mut pending, mut exception) = (false, null_mut());
    // SAFETY: as for all calls with an `Env`.
    let status = unsafe {
        sys::napi_is_exception_pending(env.raw(), &mut pending);
        if !pending {
            return None;
        }
        sys::napi_get_and_clear_last_exception(env.raw(), &mut exception)
    };
    (status == sys::Status::napi_ok).then_some(exception)
}
