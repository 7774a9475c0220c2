//! A pool, as JavaScript sees it: its reactor, its segments, and the one place that calls back into
//! JavaScript.
//!
//! ```text
//! libuv ──▶ wake: turn the reactor ─▶ fill a segment ─▶ deliver(text) ─▶ drain() until it is empty
//! ```
//!
//! The reactor is borrowed for a turn or a command, and never while JavaScript runs. So code that
//! `deliver` calls can borrow it. An event that a command causes is not delivered inside the
//! command: the client asks the loop to wake it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use napi_sys as sys;

use super::deliver::Delivery;
use super::last_one_out::LastOneOut;
use super::loop_callback::LoopCallback;
use super::request_buffer::RequestBuffer;
use super::segment::Segment;
use super::segment_writer::SegmentMut;
use super::socket_calls;
use super::value::{Env, Fault};
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::config::Config;
use crate::reactor::libuv::Loop;
use crate::reactor::{Reactor, Wake, not_started, poisoned};

/// How long a wake may take, except for the last two segments that it delivers. Each of these takes
/// up to half a millisecond. After that, the loop continues with other work. If reading took long,
/// delivering may still take half of this time.
const WAKE: Duration = Duration::from_millis(3);

pub(super) struct Client {
    env: Env,
    /// Called when the pool has ended by itself.
    on_end: Box<dyn Fn()>,
    callback: LoopCallback,
    pub(super) request_buffer: RequestBuffer,
    /// `None` once the pool is closed.
    state: RefCell<Option<State>>,
    /// JavaScript is reading a segment, which must not be written meanwhile.
    delivering: Cell<bool>,
    /// When the present wake has to end.
    until: Cell<Instant>,
    poisoned: Cell<bool>,
    #[cfg(feature = "defects")]
    pub(super) panic_in_turn: Cell<bool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    reactor: Reactor,
    delivery: Delivery,
    segment: Segment,
}

impl State {
    fn has_events(&self) -> bool {
        self.delivery.has_rest() || self.reactor.has_events()
    }
}

impl Client {
    /// Starts a pool, and puts its buffers into `object`. Each of its libuv handles holds
    /// `last_one_out`.
    pub(super) fn open(
        env: Env,
        config: Config,
        deliver: sys::napi_value,
        object: sys::napi_value,
        last_one_out: Rc<LastOneOut>,
        on_end: Box<dyn Fn()>,
    ) -> Result<Rc<Self>, Fault> {
        let reactor = Reactor::new(config)?;
        let segment = Segment::new(env)?;
        segment.share(env, object)?;
        let request_buffer = RequestBuffer::new(env)?;
        request_buffer.share(env, object)?;
        let client = Rc::new(Self {
            env,
            on_end,
            callback: LoopCallback::new(env, deliver)?,
            request_buffer,
            state: RefCell::new(Some(State { reactor, delivery: Delivery::default(), segment })),
            delivering: Cell::new(false),
            until: Cell::new(Instant::ORIGIN),
            poisoned: Cell::new(false),
            #[cfg(feature = "defects")]
            panic_in_turn: Cell::default(),
        });
        let wake = client.wake_callback(last_one_out);
        let uv_loop = event_loop(env)?;
        client
            .run(|reactor| reactor.attach(uv_loop, &wake, socket_calls::CALLS))?
            .map_err(|error| not_started(&error))?;
        Ok(client)
    }

    /// The handles do not keep the client alive: it may be dropped while they are being closed.
    fn wake_callback(self: &Rc<Self>, last_one_out: Rc<LastOneOut>) -> Wake {
        let client = Rc::downgrade(self);
        Rc::new(move || {
            let _held_until_the_handle_is_closed = &last_one_out;
            if let Some(client) = client.upgrade() {
                client.wake();
            }
        })
    }

    /// Runs a command on the reactor. Events that the command causes are delivered in the loop's
    /// next turn.
    pub(super) fn run<T>(&self, command: impl FnOnce(&mut Reactor) -> T) -> Result<T, Error> {
        let result = self.guard(|state| {
            let result = command(&mut state.reactor);
            if state.has_events() && !self.delivering.get() {
                state.reactor.wake_soon();
            }
            result
        });
        result.ok_or_else(|| self.refusal())
    }

    /// Runs a command whose answer JavaScript waits for, unless this returns an error. Returns
    /// whether JavaScript has to [flush](Reactor::flush) its queued requests. It need not while it
    /// is taking events, since the wake ends with a flush.
    pub(super) fn request(
        &self,
        request: u32,
        command: impl FnOnce(&mut Reactor),
    ) -> Result<bool, Error> {
        let rests = self.delivering.get();
        let done = self.guard(|state| {
            command(&mut state.reactor);
            state.delivery.expect(request);
            if rests {
                state.reactor.flush_by_rest();
            } else if state.has_events() {
                state.reactor.wake_soon();
            }
        });
        done.map(|()| !rests).ok_or_else(|| self.refusal())
    }

    /// Fills the next segment, when JavaScript has learned that there is more.
    pub(super) fn drain(&self) -> Result<sys::napi_value, Fault> {
        self.fill()?.ok_or_else(|| Fault::Own(self.refusal()))
    }

    /// Closes handles and sockets, and forgets everything in flight.
    pub(super) fn close(&self) {
        let state = self.state.take();
        // A defect may have left the state broken, in which case dropping the reactor panics too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
    }

    /// libuv calls this to wake the client.
    fn wake(self: &Rc<Self>) {
        self.guard(|state| {
            #[cfg(feature = "defects")]
            assert!(!self.panic_in_turn.take(), "asked for");
            let begun = state.reactor.now();
            state.reactor.turn();
            if self.delivering.get() {
                // The loop runs inside JavaScript's own turn, as under a debugger. That turn may
                // take long.
                state.reactor.flush();
            } else {
                self.until.set((begun + WAKE).max(state.reactor.now() + WAKE / 2));
            }
        });
        let delivered = self.env.with_scope(|| self.deliver());
        if !matches!(delivered, Ok(Ok(()))) {
            // JavaScript has no memory left, or is being ended.
            self.poison();
        }
        self.finish_wake();
    }

    /// Calls into JavaScript once, with all events that there are.
    fn deliver(&self) -> Result<(), Fault> {
        // If the loop runs inside JavaScript's own turn, the segment may be in use.
        if self.delivering.get() || !self.has_events() {
            return Ok(());
        }
        let Some(text) = self.fill()? else { return Ok(()) };
        self.delivering.set(true);
        let called = self.callback.call(text);
        self.delivering.set(false);
        called
    }

    /// Ends a wake: leaves the remaining events to the next wake, and closes a pool that has ended.
    fn finish_wake(&self) {
        if self.delivering.get() {
            return;
        }
        let is_over = self.guard(|state| {
            if !state.has_events() {
                // Finishing the reactor's turn may cause new events.
                state.reactor.finish_turn();
            }
            if state.has_events() {
                state.reactor.wake_soon();
                return false;
            }
            state.reactor.has_ended()
        });
        if is_over == Some(true) {
            self.close();
            // A pool that a defect has ended stays known, so that calls to it can report the
            // defect.
            if !self.poisoned.get() {
                (self.on_end)();
            }
        }
    }

    fn has_events(&self) -> bool {
        self.guard(|state| state.has_events()).unwrap_or(false)
    }

    /// Fills a segment, and returns its text; `None` if the pool is closed.
    fn fill(&self) -> Result<Option<sys::napi_value>, Fault> {
        let filled = self.guard(|State { reactor, delivery, segment }| {
            let reactor = RefCell::new(reactor);
            let fill = |room: SegmentMut<'_>| {
                let may_go_on = || reactor.borrow().now() < self.until.get();
                delivery.fill(room, || reactor.borrow_mut().next_event(), may_go_on)
            };
            let text = segment.fill(self.env, fill)?;
            delivery.hand_over();
            Ok(text)
        });
        filled.transpose()
    }

    /// Runs `body` unless the pool is closed. A panic ends the pool, and not the process.
    fn guard<T>(&self, body: impl FnOnce(&mut State) -> T) -> Option<T> {
        let run = || self.state.borrow_mut().as_mut().map(body);
        if let Ok(result) = catch_unwind(AssertUnwindSafe(run)) {
            return result;
        }
        self.poison();
        None
    }

    fn poison(&self) {
        let give_up = || {
            if let Some(state) = self.state.borrow_mut().as_mut() {
                state.delivery.give_up();
                state.reactor.poison();
            }
        };
        let is_first = !self.poisoned.replace(true);
        if !is_first || catch_unwind(AssertUnwindSafe(give_up)).is_err() {
            self.close();
        }
    }

    fn refusal(&self) -> Error {
        if self.poisoned.get() { poisoned() } else { pool_is_closed() }
    }

    /// Whether the pool takes commands.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.poisoned.get() { Err(poisoned()) } else { Ok(()) }
    }
}

#[allow(unsafe_code)] // The loop comes from Node.
fn event_loop(env: Env) -> Result<Loop, Fault> {
    let mut raw = std::ptr::null_mut();
    // SAFETY: as for all calls with an `Env`.
    let status = unsafe { sys::napi_get_uv_event_loop(env.raw(), &mut raw) };
    super::value::check(status, "the event loop")?;
    // SAFETY: this is Node's loop of this thread. It outlives the environment, which waits for all
    // handles.
    let uv_loop = unsafe { Loop::from_raw(raw.cast()) };
    uv_loop.map_err(|error| Fault::Own(not_started(&error)))
}

pub(super) fn pool_is_closed() -> Error {
    let message = "the pool is closed: pool.end() was called";
    Error::new(ErrorClass::Configuration, "HYPERION_POOL_CLOSED", message)
        .with_outcome(Outcome::NotSent)
}
