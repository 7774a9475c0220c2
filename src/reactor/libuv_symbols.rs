//! libuv's functions, looked up in the running process.
//!
//! Node exports these functions, and nothing is linked, so tests and fuzz targets of this crate run
//! without Node.
#![allow(unsafe_code)] // Functions of another language, found by name.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

/// `uv_handle_t` and all types that begin like it. Only libuv knows its size.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RawHandle {
    _private: [u8; 0],
}

/// `uv_loop_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RawLoop {
    _private: [u8; 0],
}

pub(super) type OnClose = unsafe extern "C" fn(*mut RawHandle);
pub(super) type OnFire = unsafe extern "C" fn(*mut RawHandle);
pub(super) type OnPoll = unsafe extern "C" fn(*mut RawHandle, status: c_int, events: c_int);

/// `uv_err_name_r` and `uv_strerror_r`.
pub(super) type WriteMessage = unsafe extern "C" fn(c_int, *mut c_char, usize) -> *mut c_char;

/// The argument of `uv_poll_init` on Unix, and of `uv_poll_init_socket` on Windows.
#[cfg(unix)]
pub(super) type Pollable = std::os::fd::RawFd;
#[cfg(windows)]
pub(super) type Pollable = std::os::windows::io::RawSocket;

/// The numbers of `uv_handle_type`, which are part of libuv's stable interface.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) enum HandleType {
    Idle = 6,
    Poll = 8,
    Timer = 13,
}

macro_rules! symbols {
    ($($(#[$attribute:meta])* $field:ident = $name:literal : fn($($argument:ty),*) $(-> $result:ty)?;)+) => {
        /// One field for each function, named as in libuv but without `uv_`.
        #[derive(Debug)]
        pub(super) struct Symbols {
            $($(#[$attribute])* pub(super) $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)+
        }

        impl Symbols {
            fn find(libraries: &[libloading::Library]) -> Result<Self, &'static str> {
                Ok(Self {
                    $($(#[$attribute])* $field: {
                        // SAFETY: libuv keeps the signatures of its functions within version 1.
                        let found = libraries.iter().find_map(|library| unsafe {
                            library.get(concat!($name, "\0").as_bytes()).ok().map(|symbol| *symbol)
                        });
                        found.ok_or($name)?
                    },)+
                })
            }
        }
    };
}

symbols! {
    handle_size = "uv_handle_size": fn(HandleType) -> usize;
    handle_get_data = "uv_handle_get_data": fn(*const RawHandle) -> *mut c_void;
    handle_set_data = "uv_handle_set_data": fn(*mut RawHandle, *mut c_void);
    err_name = "uv_err_name_r": fn(c_int, *mut c_char, usize) -> *mut c_char;
    strerror = "uv_strerror_r": fn(c_int, *mut c_char, usize) -> *mut c_char;
    close = "uv_close": fn(*mut RawHandle, Option<OnClose>);
    r#ref = "uv_ref": fn(*mut RawHandle);
    unref = "uv_unref": fn(*mut RawHandle);
    #[cfg(unix)]
    poll_init = "uv_poll_init": fn(*mut RawLoop, *mut RawHandle, Pollable) -> c_int;
    #[cfg(windows)]
    poll_init = "uv_poll_init_socket": fn(*mut RawLoop, *mut RawHandle, Pollable) -> c_int;
    poll_start = "uv_poll_start": fn(*mut RawHandle, c_int, Option<OnPoll>) -> c_int;
    timer_init = "uv_timer_init": fn(*mut RawLoop, *mut RawHandle) -> c_int;
    timer_start = "uv_timer_start": fn(*mut RawHandle, Option<OnFire>, u64, u64) -> c_int;
    timer_stop = "uv_timer_stop": fn(*mut RawHandle) -> c_int;
    idle_init = "uv_idle_init": fn(*mut RawLoop, *mut RawHandle) -> c_int;
    idle_start = "uv_idle_start": fn(*mut RawHandle, Option<OnFire>) -> c_int;
    idle_stop = "uv_idle_stop": fn(*mut RawHandle) -> c_int;
}

/// The table of functions, or the name of a function that this process lacks. All threads get the
/// same result.
pub(super) fn symbols() -> Result<&'static Symbols, &'static str> {
    static SYMBOLS: OnceLock<Result<Symbols, &'static str>> = OnceLock::new();
    match SYMBOLS.get_or_init(|| Symbols::find(&libraries())) {
        Ok(symbols) => Ok(symbols),
        Err(name) => Err(name),
    }
}

/// These values may be dropped: the library is the process itself, which stays loaded.
#[cfg(unix)]
fn libraries() -> Vec<libloading::Library> {
    vec![libloading::os::unix::Library::this().into()]
}

/// Node's own executable, or the library with which a program embeds Node.
#[cfg(windows)]
fn libraries() -> Vec<libloading::Library> {
    use libloading::os::windows::Library;
    let loaded = |name| Library::open_already_loaded(name).ok();
    let found = [Library::this().ok(), loaded("libnode"), loaded("node")];
    found.into_iter().flatten().map(Into::into).collect()
}
