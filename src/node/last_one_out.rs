//! Tells Node when the last of an environment's handles is closed.
#![allow(unsafe_code)] // Node-API is C. A comment at each call says why it is right.

use std::cell::Cell;

use napi_sys as sys;

/// Every object for which Node must wait when an environment ends holds a share of this.
#[derive(Debug, Default)]
pub(super) struct LastOneOut {
    hook: Cell<Option<sys::napi_async_cleanup_hook_handle>>,
}

impl Drop for LastOneOut {
    fn drop(&mut self) {
        if let Some(hook) = self.hook.take() {
            // SAFETY: Node gave this handle to the cleanup hook, and waits until it is removed. It
            // is removed once.
            unsafe { sys::napi_remove_async_cleanup_hook(hook) };
        }
    }
}

impl LastOneOut {
    /// The environment is ending: Node waits until this value is dropped.
    pub(super) fn tell(&self, hook: sys::napi_async_cleanup_hook_handle) {
        self.hook.set(Some(hook));
    }
}
