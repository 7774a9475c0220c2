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

    /// Calls as Node itself calls back: the microtasks and `process.nextTick` run behind it, and what it
    /// throws is an uncaught exception. Nothing happens where JavaScript can't run any more.
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
    let (mut pending, mut exception) = (false, null_mut());
    // SAFETY: as all calls with an `Env`. In an environment that is being ended there is none.
    unsafe {
        sys::napi_is_exception_pending(env.raw(), &mut pending);
        if pending
            && sys::napi_get_and_clear_last_exception(env.raw(), &mut exception)
                == sys::Status::napi_ok
        {
            sys::napi_fatal_exception(env.raw(), exception);
        }
    }
}
