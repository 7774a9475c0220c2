//! Calls that may be given up, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::call::Call;
use crate::base::{Instant, Key, Mutation};

/// The calls that may be given up, by the numbers of their requests.
#[derive(Debug, Default)]
pub(in crate::pool) struct Watches {
    calls: BTreeMap<u32, Watch>,
    deadlines: BTreeSet<(Instant, u32)>,
}

#[derive(Debug)]
struct Watch {
    call: Key<Call>,
    limit: Option<(Instant, Duration)>,
}

impl Watches {
    pub(in crate::pool) fn insert(&mut self, request: u32, call: Key<Call>) {
        self.calls.insert(request, Watch { call, limit: None });
    }

    pub(in crate::pool) fn call(&self, request: u32) -> Option<Key<Call>> {
        self.calls.get(&request).map(|watch| watch.call)
    }

    /// A request continues as another call.
    pub(in crate::pool) fn follow(&mut self, request: u32, call: Key<Call>) {
        if let Some(watch) = self.calls.get_mut(&request) {
            watch.call = call;
        }
    }

    /// Sets the limit of a request. `None` removes an earlier limit.
    pub(in crate::pool) fn limit(&mut self, now: Instant, request: u32, after: Option<Duration>) {
        let Some(watch) = self.calls.get_mut(&request) else { return };
        if let Some((at, _)) = watch.limit.take() {
            self.deadlines.remove(&(at, request));
        }
        if let Some(after) = after {
            watch.limit = Some((now + after, after));
            self.deadlines.insert((now + after, request));
        }
    }

    /// The limit of a request continues that had been taken out of the pool for a while.
    pub(in crate::pool) fn go_on(&mut self, request: u32, limit: (Instant, Duration)) {
        let Some(watch) = self.calls.get_mut(&request) else { return };
        if let Some((at, _)) = watch.limit.replace(limit) {
            self.deadlines.remove(&(at, request));
        }
        self.deadlines.insert((limit.0, request));
    }

    /// When the limit of a request passes, and how long the limit was.
    pub(in crate::pool) fn due(&self, request: u32) -> Option<(Instant, Duration)> {
        self.calls.get(&request)?.limit
    }

    pub(in crate::pool) fn remove(&mut self, request: u32) {
        if let Some(Watch { limit: Some((at, _)), .. }) = self.calls.remove(&request) {
            self.deadlines.remove(&(at, request));
        }
    }

    pub(in crate::pool) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let first = self.deadlines.first().filter(|_| !Mutation::ForgetLimit.is_on());
        first.map(|(at, _)| (*at, "query timeout"))
    }

    /// Removes and returns a call whose limit has passed.
    pub(in crate::pool) fn take_due(&mut self, now: Instant) -> Option<(Key<Call>, Duration)> {
        let (at, request) = self.deadlines.first().copied()?;
        if at > now || Mutation::ForgetLimit.is_on() {
            return None;
        }
        self.deadlines.remove(&(at, request));
        let watch = self.calls.get_mut(&request)?;
        let (_, after) = watch.limit.take()?;
        Some((watch.call, after))
    }
}
