//! Callers that wait until the pool is ready: until a host serves, and `minIdle` connections are
//! open.

use super::{Calls, Context};
use crate::base::{Error, Instant};
use crate::pool::leases::nothing;

/// A caller that waits until the pool is warm.
#[derive(Debug)]
pub(super) struct Ready {
    request: u32,
    deadline: Instant,
}

impl Calls {
    /// Answers once a host serves and `minIdle` connections are open, or when `acquireTimeoutMs`
    /// are over.
    pub(in crate::pool) fn ready(&mut self, now: Instant, request: u32, cx: &mut Context<'_>) {
        let deadline = now + cx.config.acquire_timeout;
        self.ready.push_back(Ready { request, deadline });
    }

    pub(in crate::pool) fn settle_ready(&mut self, cx: &mut Context<'_>) {
        if self.ready.is_empty() {
            return;
        }
        if cx.discovery.cluster.topology().is_served()
            && self.discover(cx, |discovery, cx| discovery.counted(cx)) >= cx.config.min_idle.max(1)
        {
            while let Some(Ready { request, .. }) = self.ready.pop_front() {
                self.complete(request, Ok(nothing()));
            }
        }
    }

    pub(in crate::pool) fn refuse_ready(&mut self, error: &Error) {
        while let Some(Ready { request, .. }) = self.ready.pop_front() {
            self.complete(request, Err(error.clone()));
        }
    }

    pub(in crate::pool) fn expire_ready(&mut self, now: Instant, cx: &mut Context<'_>) {
        while self.ready.front().is_some_and(|ready| ready.deadline <= now) {
            let error = self.discover(cx, |discovery, cx| discovery.not_ready(cx));
            if let Some(Ready { request, .. }) = self.ready.pop_front() {
                self.complete(request, Err(error));
            }
        }
    }

    pub(in crate::pool) fn ready_timeout(&self) -> Option<(Instant, &'static str)> {
        self.ready.front().map(|ready| (ready.deadline, "ready"))
    }
}
