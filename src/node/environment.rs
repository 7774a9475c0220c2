//! The state of one Node environment (the main thread, a worker, a vm context): its pools.
//!
//! When an environment ends, Node must wait until all of libuv's handles are closed: a handle that
//! is still open makes Node abort the whole process. Every handle's callback holds the
//! [`LastOneOut`], which lets Node continue when it is dropped.
#![allow(unsafe_code)] // Node-API is C. A comment at each call says why it is right.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::rc::Rc;

use napi_sys as sys;

use super::client::{Client, pool_is_closed};
use super::last_one_out::LastOneOut;
use super::value::{Env, Fault, check};
use crate::base::Error;
use crate::config::Config;
use crate::reactor::Reactor;

#[derive(Debug)]
pub(super) struct Environment {
    clients: RefCell<BTreeMap<u32, Rc<Client>>>,
    last_handle: Cell<u32>,
    /// `None` once the environment is ending.
    last_one_out: RefCell<Option<Rc<LastOneOut>>>,
}

impl Environment {
    /// Creates an environment's state, and stores it in the environment's instance data.
    pub(super) fn install(env: Env) -> Result<(), Fault> {
        let environment = Rc::new(Self {
            clients: RefCell::default(),
            last_handle: Cell::new(0),
            last_one_out: RefCell::new(Some(Rc::default())),
        });
        let for_hook = Rc::into_raw(environment.clone()).cast_mut().cast();
        // SAFETY: the hook takes its share of the environment back. Node calls it at most once.
        let status = unsafe {
            sys::napi_add_async_cleanup_hook(env.raw(), Some(on_cleanup), for_hook, null_mut())
        };
        check(status, "a cleanup hook")?;
        let data = Rc::into_raw(environment).cast_mut().cast();
        // SAFETY: `on_finalize` takes the share back, once.
        let status =
            unsafe { sys::napi_set_instance_data(env.raw(), data, Some(on_finalize), null_mut()) };
        check(status, "instance data")
    }

    pub(super) fn of(env: Env) -> Result<Rc<Self>, Fault> {
        let mut data = null_mut();
        // SAFETY: as for all calls with an `Env`.
        check(unsafe { sys::napi_get_instance_data(env.raw(), &mut data) }, "instance data")?;
        if data.is_null() {
            return Err(Error::internal("there is no instance data").into());
        }
        let data = data.cast::<Self>().cast_const();
        // SAFETY: `install` stored a share of an `Rc` there, which stays. This makes another share.
        unsafe {
            Rc::increment_strong_count(data);
            Ok(Rc::from_raw(data))
        }
    }

    /// Starts a pool, and puts its number and its buffers into `object`. An environment that is
    /// ending starts none.
    pub(super) fn open(
        self: &Rc<Self>,
        env: Env,
        config: Config,
        deliver: sys::napi_value,
        object: sys::napi_value,
    ) -> Result<(), Fault> {
        let last_one_out = self.last_one_out.borrow().clone();
        let last_one_out = last_one_out.ok_or_else(pool_is_closed)?;
        let handle = self.last_handle.get().wrapping_add(1);
        self.last_handle.set(handle);
        env.define(object, c"handle", env.create_u32(handle)?)?;
        let database = env.create_string(config.database.as_bytes(), false)?;
        env.define(object, c"database", database)?;
        let environment = Rc::downgrade(self);
        let on_end = Box::new(move || {
            if let Some(environment) = environment.upgrade() {
                environment.remove(handle);
            }
        });
        let client = Client::open(env, config, deliver, object, last_one_out, on_end)?;
        self.clients.borrow_mut().insert(handle, client);
        Ok(())
    }

    fn remove(&self, handle: u32) {
        let removed = self.clients.borrow_mut().remove(&handle);
        // Dropped here, after the borrow has ended.
        drop(removed);
    }

    pub(super) fn client(&self, handle: u32) -> Result<Rc<Client>, Error> {
        self.clients.borrow().get(&handle).cloned().ok_or_else(pool_is_closed)
    }

    /// The client of an open pool.
    pub(super) fn open_client(&self, handle: u32) -> Result<Rc<Client>, Error> {
        let client = self.client(handle)?;
        client.check_open()?;
        Ok(client)
    }

    /// Runs a command that may come after the pool is gone, such as the answer to a look-up, or the
    /// flush after the last command. If the pool is gone, there is nothing to do, and no caller
    /// that needs an error.
    pub(super) fn late(&self, handle: u32, command: impl FnOnce(&mut Reactor)) {
        if let Ok(client) = self.open_client(handle) {
            // An error means that a defect was found just now. The requests that it affects fail
            // with it.
            let _ = client.run(command);
        }
    }

    /// Closes everything. Requests in flight are never answered, since no JavaScript will run to
    /// get the answer.
    fn end(&self, hook: sys::napi_async_cleanup_hook_handle) {
        let last_one_out = self.last_one_out.take();
        if let Some(last_one_out) = &last_one_out {
            last_one_out.tell(hook);
        }
        let clients = self.clients.take();
        clients.values().for_each(|client| client.close());
        drop(clients);
        // If no handle was open, this ends the hook at once.
        drop(last_one_out);
    }
}

unsafe extern "C" fn on_cleanup(hook: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: this is the share that `install` made for this hook, taken back once.
    let environment = unsafe { Rc::from_raw(data.cast::<Environment>().cast_const()) };
    let end = std::panic::AssertUnwindSafe(|| environment.end(hook));
    // There is no caller left to tell. No panic may reach Node.
    let _ = std::panic::catch_unwind(end);
}

unsafe extern "C" fn on_finalize(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: this is the share that `install` stored in the instance data, taken back once.
    let environment = unsafe { Rc::from_raw(data.cast::<Environment>().cast_const()) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(environment)));
}
