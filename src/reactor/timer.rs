//! Wakes the loop at a deadline, if no socket wakes it before.
//!
//! One timer serves all deadlines of a pool. It is stopped when there are no deadlines, so that an
//! idle pool costs nothing.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::libuv::{IdleHandle, Loop, TimerHandle, Wake};
use crate::base::Instant;

/// Does nothing until it is attached to a loop. Without a loop, the owner turns the reactor itself,
/// as tests do.
#[derive(Debug, Default)]
pub(super) struct Timer {
    handles: Option<Handles>,
    /// Whether the loop has to wake in its next turn.
    soon: bool,
}

#[derive(Debug)]
struct Handles {
    timer: TimerHandle,
    /// When the timer will fire. `None` once it has fired.
    timer_at: Rc<Cell<Option<Instant>>>,
    /// Runs while `Timer::soon` is true.
    idle: IdleHandle,
}

impl Timer {
    pub(super) fn attach(&mut self, uv_loop: Loop, wake: &Wake) -> io::Result<()> {
        let timer_at = Rc::new(Cell::new(None));
        let (fired, by_timer, by_idle) = (timer_at.clone(), wake.clone(), wake.clone());
        let on_timer = move || {
            fired.set(None);
            by_timer();
        };
        let timer = TimerHandle::new(uv_loop, Box::new(on_timer))?;
        let idle = IdleHandle::new(uv_loop, Box::new(move || by_idle()))?;
        *self = Self { handles: Some(Handles { timer, timer_at, idle }), soon: false };
        Ok(())
    }

    /// Wakes the loop at the deadline, or in its next turn if `soon` is true or the deadline has
    /// passed.
    pub(super) fn set(&mut self, now: Instant, deadline: Option<Instant>, soon: bool) {
        let soon = soon || deadline.is_some_and(|at| at <= now);
        let has_changed = std::mem::replace(&mut self.soon, soon) != soon;
        let Some(handles) = &mut self.handles else { return };
        if has_changed {
            if soon { handles.idle.start() } else { handles.idle.stop() }
        }
        match (deadline, handles.timer_at.get()) {
            (None, None) => {}
            (None, Some(_)) => {
                handles.timer_at.set(None);
                handles.timer.stop();
            }
            // If the timer is set too early, it fires once for nothing. That costs less than
            // setting it again for each query's deadline.
            (Some(at), Some(set)) if set <= at => {}
            (Some(at), _) if at <= now => {}
            (Some(at), _) => {
                handles.timer_at.set(Some(at));
                handles.timer.start(milliseconds_up(at.since(now)));
            }
        }
    }

    /// Wakes the loop in its next turn. The deadline stays as it is.
    pub(super) fn start_soon(&mut self) {
        if let Some(handles) = &self.handles
            && !self.soon
        {
            handles.idle.start();
        }
        self.soon = true;
    }

    #[cfg(test)]
    pub(super) fn is_soon(&self) -> bool {
        self.soon
    }

    pub(super) fn set_referenced(&self, referenced: bool) {
        if let Some(handles) = &self.handles {
            handles.timer.set_referenced(referenced);
            handles.idle.set_referenced(referenced);
        }
    }
}

/// Rounds up, so that a deadline is never handled too early.
fn milliseconds_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up() {
        let check = |micros, expect| {
            assert_eq!(milliseconds_up(Duration::from_micros(micros)), expect, "{micros} µs");
        };
        check(0, 0);
        check(1, 1);
        check(1000, 1);
        check(1001, 2);
    }
}
