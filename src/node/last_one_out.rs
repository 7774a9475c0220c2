//! Tells Node when the last of an environment's handles is closed.
#![allow(unsafe_code)] // Node-API is C; what makes each call right is said where it is.

use std::cell::Cell;

use napi_sys as sys;

/// Held by everything that Node must wait for when an environment ends.
#[derive(Debug, Default)]
pub(super) struct LastOneOut {
    hook: Cell<Option<sys::napi_async_cleanup_hook_handle>>,
}

impl Drop for LastOneOut {
    fn drop(&mut self) {
        if let Some(hook) = self.hook.take() {
            // SAFETY: Node gave this to the hook that it called, and waits to get it back, once.
            unsafe { sys::napi_remove_async_cleanup_hook(hook) };
        }
    }
}

impl LastOneOut {
    /// The environment ends: Node waits until this is given back.
    pub(super) fn tell(&self, hook: sys::napi_async_cleanup_hook_handle) {
        self.hook.set(Some(hook));
    }
}
