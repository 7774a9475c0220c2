//! libuv's handles as types. Dropping a handle closes it, and its close callback frees its memory.
//!
//! libuv uses a handle's memory after `uv_close`, until it calls the close callback. Also, the
//! values that a callback owns must outlive the call in which the callback's handle is dropped. So
//! both belong to the handle's `Context`, which the close callback frees. JavaScript may run the
//! loop inside a callback, as `deasync` does, and the callback's own handle may be closed there.
//! Then the end of that callback frees the context. An owner that needs to know when the context is
//! freed puts a value with a `Drop` into the callback.
#![allow(unsafe_code)] // libuv is C. A comment at each call says why it is right.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;

use super::libuv_symbols::{HandleType, RawHandle, RawLoop, Symbols, WriteMessage, symbols};

pub(super) use super::libuv_symbols::Pollable;

pub(super) const READABLE: c_int = 1;
#[cfg(windows)]
pub(super) const WRITABLE: c_int = 2;
#[cfg(windows)]
pub(super) const DISCONNECT: c_int = 4;

/// More than the alignment of any member of a libuv handle.
const ALIGNMENT: usize = 16;

/// The function that libuv calls. It must turn the reactor and pass its events on, and must not
/// panic.
pub type Wake = Rc<dyn Fn()>;

/// A running event loop.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    raw: *mut RawLoop,
    symbols: &'static Symbols,
}

impl Loop {
    /// # Errors
    ///
    /// If the process has no libuv, or lacks one of its functions.
    ///
    /// # Safety
    ///
    /// `raw` must be the `uv_loop_t` of this thread, and outlive every handle that is made with it.
    pub unsafe fn from_raw(raw: *mut c_void) -> io::Result<Self> {
        let symbols = symbols().map_err(|name| {
            io::Error::new(io::ErrorKind::Unsupported, format!("this runtime has no {name}"))
        })?;
        Ok(Self { raw: raw.cast(), symbols })
    }
}

/// The memory and the callback of a handle. libuv holds a share of it from `Handle::new` to
/// `on_close`, and each running callback holds another.
struct Context {
    raw: NonNull<RawHandle>,
    layout: Layout,
    callback: Box<dyn Fn(c_int, c_int)>,
}

impl Context {
    /// # Safety
    ///
    /// `share` must be libuv's.
    unsafe fn run(share: *const Self, status: c_int, events: c_int) {
        // SAFETY: libuv's share came from `Rc::into_raw` and still exists. This makes another
        // share.
        let context = unsafe {
            Rc::increment_strong_count(share);
            Rc::from_raw(share)
        };
        // The callback catches its own panics. This catches a defect in that code, and a panic in a
        // destructor that runs here because this was the last share.
        let _ = catch_unwind(AssertUnwindSafe(move || (context.callback)(status, events)));
    }

    /// # Safety
    ///
    /// `share` must be libuv's, which gives it back.
    unsafe fn release(share: *const Self) {
        // SAFETY: the share came from `Rc::into_raw`, and this runs once for each.
        let context = unsafe { Rc::from_raw(share) };
        // Values that a callback owned may run code when they are dropped. A panic must not reach
        // libuv.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(context)));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout in `Handle::new`. libuv does not know
        // it (the initialisation failed) or has returned it (the close callback runs, or has run).
        unsafe { dealloc(self.raw.as_ptr().cast(), self.layout) };
    }
}

/// A handle of any kind that is initialised and not closed.
struct Handle {
    raw: NonNull<RawHandle>,
    symbols: &'static Symbols,
}

impl Handle {
    /// The new handle is not referenced: it does not keep the loop alive until it is referenced.
    fn new(
        uv_loop: Loop,
        kind: HandleType,
        callback: Box<dyn Fn(c_int, c_int)>,
        init: impl FnOnce(*mut RawLoop, *mut RawHandle) -> c_int,
    ) -> io::Result<Self> {
        let symbols = uv_loop.symbols;
        // SAFETY: a pure function of its argument, which is one of libuv's own constants.
        let size = unsafe { (symbols.handle_size)(kind) };
        let layout = Layout::from_size_align(size.max(1), ALIGNMENT).map_err(io::Error::other)?;
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(raw) = NonNull::new(memory.cast::<RawHandle>()) else {
            handle_alloc_error(layout)
        };
        let context = Rc::new(Context { raw, layout, callback });
        check(symbols, init(uv_loop.raw, raw.as_ptr()))?;
        // SAFETY: the handle is initialised. It gets a share of the context, which only `on_close`
        // takes back.
        unsafe {
            (symbols.handle_set_data)(raw.as_ptr(), Rc::into_raw(context).cast_mut().cast());
            (symbols.unref)(raw.as_ptr());
        }
        Ok(Self { raw, symbols })
    }

    fn set_referenced(&self, referenced: bool) {
        let change = if referenced { self.symbols.r#ref } else { self.symbols.unref };
        // SAFETY: the handle is initialised, and not closed as long as `self` lives.
        unsafe { change(self.raw.as_ptr()) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is initialised, and closed here once. libuv calls `on_close` later,
        // from the loop.
        unsafe { (self.symbols.close)(self.raw.as_ptr(), Some(on_close)) };
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:p}", self.raw)
    }
}

unsafe extern "C" fn on_close(raw: *mut RawHandle) {
    let Ok(symbols) = symbols() else { return };
    // SAFETY: `Handle::new` stored the share there, and this runs once for each handle.
    unsafe { Context::release((symbols.handle_get_data)(raw).cast::<Context>()) };
}

/// # Safety
///
/// `raw` must be a handle of [`Handle::new`] that is not closed.
unsafe fn call(raw: *mut RawHandle, status: c_int, events: c_int) {
    let Ok(symbols) = symbols() else { return };
    // SAFETY: `Handle::new` stored the share there, and libuv has it until `on_close`.
    unsafe { Context::run((symbols.handle_get_data)(raw).cast::<Context>(), status, events) };
}

unsafe extern "C" fn on_poll(raw: *mut RawHandle, status: c_int, events: c_int) {
    // SAFETY: libuv calls this with a handle that was started and is not closed.
    unsafe { call(raw, status, events) };
}

unsafe extern "C" fn on_fire(raw: *mut RawHandle) {
    // SAFETY: as above.
    unsafe { call(raw, 0, 0) };
}

/// More bytes than any name or message of libuv has.
const LONGEST_MESSAGE: usize = 128;

fn check(symbols: &Symbols, status: c_int) -> io::Result<()> {
    if status == 0 {
        return Ok(());
    }
    let text = |write: WriteMessage| {
        let mut bytes = [0_u8; LONGEST_MESSAGE];
        // SAFETY: libuv writes at most that many bytes, including a NUL, and cuts a longer text.
        unsafe { write(status, bytes.as_mut_ptr().cast(), bytes.len()) };
        let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
        text.to_string_lossy().into_owned()
    };
    let (name, message) = (text(symbols.err_name), text(symbols.strerror));
    Err(io::Error::other(format!("libuv refuses: {message} ({name}, {status})")))
}

/// Reports when a descriptor is ready. The descriptor must stay open as long as this lives.
#[derive(Debug)]
pub(super) struct PollHandle(Handle);

impl PollHandle {
    /// `callback` gets a status, which is negative for an error, and the events.
    pub(super) fn new(
        uv_loop: Loop,
        pollable: Pollable,
        callback: Box<dyn Fn(c_int, c_int)>,
    ) -> io::Result<Self> {
        let handle = Handle::new(uv_loop, HandleType::Poll, callback, |raw_loop, raw| {
            // SAFETY: the loop runs on this thread, and `raw` has the size of a poll handle.
            unsafe { (uv_loop.symbols.poll_init)(raw_loop, raw, pollable) }
        })?;
        Ok(Self(handle))
    }

    /// Polls for these events from now on, and for no others.
    pub(super) fn start(&self, events: c_int) -> io::Result<()> {
        let Handle { raw, symbols } = &self.0;
        // SAFETY: an initialised poll handle.
        check(symbols, unsafe { (symbols.poll_start)(raw.as_ptr(), events, Some(on_poll)) })
    }

    pub(super) fn set_referenced(&self, referenced: bool) {
        self.0.set_referenced(referenced);
    }
}

/// A timer that fires once for each start.
#[derive(Debug)]
pub(super) struct TimerHandle(Handle);

impl TimerHandle {
    pub(super) fn new(uv_loop: Loop, callback: Box<dyn Fn()>) -> io::Result<Self> {
        let callback = Box::new(move |_, _| callback());
        let handle = Handle::new(uv_loop, HandleType::Timer, callback, |raw_loop, raw| {
            // SAFETY: the loop runs on this thread, and `raw` has the size of a timer.
            unsafe { (uv_loop.symbols.timer_init)(raw_loop, raw) }
        })?;
        Ok(Self(handle))
    }

    pub(super) fn start(&self, milliseconds: u64) {
        let Handle { raw, symbols } = &self.0;
        // SAFETY: an initialised timer. It fails only for a closed handle or a missing callback.
        unsafe { (symbols.timer_start)(raw.as_ptr(), Some(on_fire), milliseconds, 0) };
    }

    pub(super) fn stop(&self) {
        // SAFETY: an initialised timer. Stopping a timer that is not running does nothing.
        unsafe { (self.0.symbols.timer_stop)(self.0.raw.as_ptr()) };
    }

    pub(super) fn set_referenced(&self, referenced: bool) {
        self.0.set_referenced(referenced);
    }
}

/// Fires in every turn of the loop until it is stopped, and keeps the loop from sleeping.
///
/// A timer that is due at once can't replace it: if a timer starts itself again, libuv before 1.49
/// would run it forever, and never look at any descriptor.
#[derive(Debug)]
pub(super) struct IdleHandle(Handle);

impl IdleHandle {
    pub(super) fn new(uv_loop: Loop, callback: Box<dyn Fn()>) -> io::Result<Self> {
        let callback = Box::new(move |_, _| callback());
        let handle = Handle::new(uv_loop, HandleType::Idle, callback, |raw_loop, raw| {
            // SAFETY: the loop runs on this thread, and `raw` has the size of an idle handle.
            unsafe { (uv_loop.symbols.idle_init)(raw_loop, raw) }
        })?;
        Ok(Self(handle))
    }

    pub(super) fn start(&self) {
        let Handle { raw, symbols } = &self.0;
        // SAFETY: an initialised idle handle. It fails only without a callback.
        unsafe { (symbols.idle_start)(raw.as_ptr(), Some(on_fire)) };
    }

    pub(super) fn stop(&self) {
        // SAFETY: an initialised idle handle. Stopping an idle handle that is not running does
        // nothing.
        unsafe { (self.0.symbols.idle_stop)(self.0.raw.as_ptr()) };
    }

    pub(super) fn set_referenced(&self, referenced: bool) {
        self.0.set_referenced(referenced);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Noting(Rc<Cell<bool>>);

    impl Drop for Noting {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn a_callback_whose_handle_is_closed_under_it_keeps_what_it_owns_to_its_end() {
        let layout = Layout::from_size_align(64, ALIGNMENT).unwrap();
        // SAFETY: the layout is not empty.
        let raw = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<RawHandle>()).unwrap();
        let (is_dropped, ran) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let share = Rc::new(Cell::new(std::ptr::null::<Context>()));
        let (noting, runs, closing) = (Noting(is_dropped.clone()), ran.clone(), share.clone());
        let callback = Box::new(move |_, _| {
            // A loop that runs here closes the handle.
            // SAFETY: this is libuv's share, and it is given back once.
            unsafe { Context::release(closing.get()) };
            runs.set(!noting.0.get());
        });
        share.set(Rc::into_raw(Rc::new(Context { raw, layout, callback })));
        // SAFETY: this is libuv's share.
        unsafe { Context::run(share.get(), 0, 0) };
        assert!(ran.get() && is_dropped.get());
    }

    /// A libuv that does nothing, except record whether a poll handle's descriptor was still open
    /// when the handle was closed.
    #[cfg(unix)]
    mod noting_libuv {
        use std::cell::Cell;
        use std::ffi::c_char;

        use super::super::super::libuv_symbols::{OnClose, OnFire, OnPoll};
        use super::*;

        thread_local! {
            static POLLED: Cell<Pollable> = const { Cell::new(-1) };
            pub(super) static DATA: Cell<*mut c_void> = const { Cell::new(std::ptr::null_mut()) };
            pub(super) static OPEN_AT_CLOSE: Cell<Option<bool>> = const { Cell::new(None) };
        }

        pub(super) static SYMBOLS: Symbols = Symbols {
            handle_size: size,
            handle_get_data: get_data,
            handle_set_data: set_data,
            err_name: write_message,
            strerror: write_message,
            close,
            r#ref: nothing,
            unref: nothing,
            poll_init,
            poll_start,
            timer_init: init,
            timer_start,
            timer_stop: stop,
            idle_init: init,
            idle_start,
            idle_stop: stop,
        };

        pub(super) fn is_open(descriptor: Pollable) -> bool {
            // SAFETY: this asks for the flags of a descriptor, and any number is allowed.
            unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
        }

        unsafe extern "C" fn size(_: HandleType) -> usize {
            64
        }
        unsafe extern "C" fn get_data(_: *const RawHandle) -> *mut c_void {
            DATA.get()
        }
        unsafe extern "C" fn set_data(_: *mut RawHandle, data: *mut c_void) {
            DATA.set(data);
        }
        unsafe extern "C" fn close(_: *mut RawHandle, _: Option<OnClose>) {
            OPEN_AT_CLOSE.set(Some(is_open(POLLED.get())));
        }
        /// Like the real functions, cuts the text to the room that there is, and ends it with a
        /// NUL.
        unsafe extern "C" fn write_message(
            status: c_int,
            into: *mut c_char,
            room: usize,
        ) -> *mut c_char {
            let text = format!("E{}", -status);
            let length = text.len().min(room - 1);
            // SAFETY: there is room for the text and a NUL.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr(), into.cast(), length);
                *into.add(length) = 0;
            }
            into
        }
        unsafe extern "C" fn nothing(_: *mut RawHandle) {}
        unsafe extern "C" fn stop(_: *mut RawHandle) -> c_int {
            0
        }
        unsafe extern "C" fn init(_: *mut RawLoop, _: *mut RawHandle) -> c_int {
            0
        }
        unsafe extern "C" fn poll_init(
            _: *mut RawLoop,
            _: *mut RawHandle,
            polled: Pollable,
        ) -> c_int {
            POLLED.set(polled);
            0
        }
        unsafe extern "C" fn poll_start(_: *mut RawHandle, _: c_int, _: Option<OnPoll>) -> c_int {
            0
        }
        unsafe extern "C" fn timer_start(
            _: *mut RawHandle,
            _: Option<OnFire>,
            _: u64,
            _: u64,
        ) -> c_int {
            0
        }
        unsafe extern "C" fn idle_start(_: *mut RawHandle, _: Option<OnFire>) -> c_int {
            0
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_error_of_libuv_is_told_by_its_name() {
        let error = check(&noting_libuv::SYMBOLS, -17).unwrap_err();
        assert_eq!(error.to_string(), "libuv refuses: E17 (E17, -17)");
        assert!(check(&noting_libuv::SYMBOLS, 0).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_handle_is_closed_before_its_descriptor_and_its_memory_stays() {
        use super::super::readiness::Readiness;

        let uv_loop = Loop { raw: std::ptr::null_mut(), symbols: &noting_libuv::SYMBOLS };
        let wake: super::Wake = Rc::new(|| {});
        let mut readiness = Readiness::new().unwrap();
        readiness.attach(uv_loop, &wake).unwrap();
        assert_eq!(Rc::strong_count(&wake), 2);
        drop(readiness);
        assert_eq!(
            noting_libuv::OPEN_AT_CLOSE.get(),
            Some(true),
            "no other file had its number yet"
        );
        assert_eq!(Rc::strong_count(&wake), 2, "the callback may still be called");
        // SAFETY: done once, as in `on_close`.
        unsafe { Context::release(noting_libuv::DATA.get().cast()) };
        assert_eq!(Rc::strong_count(&wake), 1);
    }
}
