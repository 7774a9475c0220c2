//! The time in which no host serves: when it began, until when hosts are asked although no caller
//! waits, and until when a preferred host is waited for.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Instant, Mutation};

/// How long hosts are asked after the last one was lost, while no caller waits. After that the next
/// call starts the search.
const SEARCH_LINGER: Duration = Duration::from_secs(30);

/// Which host served last, and since when none does.
#[derive(Debug)]
pub(in crate::pool) struct Outage {
    /// `None` while no caller has needed a host: then the outage begins with the next search.
    since: Option<Instant>,
    last: Option<Arc<str>>,
    /// While no host serves, others are asked until then even if no caller waits.
    search_until: Instant,
    /// Until when an acceptable host is held back for a preferred one.
    patient_until: Option<Instant>,
}

/// Another host serves than before the outage.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) struct Found {
    pub(in crate::pool) previous: Option<Arc<str>>,
    pub(in crate::pool) outage: Duration,
}

impl Outage {
    pub(super) fn new(now: Instant, is_warm: bool) -> Self {
        let search_until = if is_warm { now + SEARCH_LINGER } else { now };
        Self { since: None, last: None, search_until, patient_until: None }
    }

    pub(in crate::pool) fn last(&self) -> Option<Arc<str>> {
        self.last.clone()
    }

    /// The last host was lost.
    pub(in crate::pool) fn begin(&mut self, now: Instant) {
        self.miss(now);
        self.search_until = now + SEARCH_LINGER;
    }

    /// The pool needs a host, and none serves.
    pub(in crate::pool) fn miss(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The pool needs no host any more.
    pub(in crate::pool) fn stop_search(&mut self) {
        self.since = None;
    }

    /// A host serves. Returns the outage that this ends, if it is another host than before.
    pub(in crate::pool) fn end(&mut self, now: Instant, name: Option<&Arc<str>>) -> Option<Found> {
        let since = self.since.take();
        let name = name?;
        if self.last.as_ref() == Some(name) && !Mutation::RepeatPrimary.is_on() {
            return None;
        }
        let previous = self.last.replace(Arc::clone(name));
        let outage = since.map_or(Duration::ZERO, |since| now.since(since));
        Some(Found { previous, outage })
    }

    /// Whether hosts are asked at that time although no caller waits.
    pub(in crate::pool) fn is_searching(&self, at: Instant) -> bool {
        at < self.search_until
    }

    pub(in crate::pool) fn search_until(&mut self, at: Instant) {
        self.search_until = self.search_until.max(at);
    }

    /// Begins to wait for a preferred host, unless that has begun already.
    pub(in crate::pool) fn be_patient(&mut self, until: Instant) {
        self.patient_until.get_or_insert(until);
    }

    pub(in crate::pool) const fn patient_until(&self) -> Option<Instant> {
        self.patient_until
    }

    /// Whether that wait is over now. Returns true once.
    pub(in crate::pool) fn is_patience_over(&mut self, now: Instant) -> bool {
        self.patient_until.take_if(|until| *until <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_is_told_where_another_host_ends_it() {
        let mut outage = Outage::new(at(0), false);
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
        outage.miss(at(1));
        outage.miss(at(2));
        let found = |previous: Option<&Arc<str>>, seconds| {
            let outage = Duration::from_secs(seconds);
            Some(Found { previous: previous.cloned(), outage })
        };
        assert_eq!(outage.end(at(3), Some(&a)), found(None, 2));
        outage.begin(at(5));
        assert_eq!(outage.end(at(6), Some(&a)), None);
        outage.begin(at(7));
        assert_eq!((outage.is_searching(at(36)), outage.is_searching(at(37))), (true, false));
        assert_eq!(outage.end(at(9), Some(&b)), found(Some(&a), 2));
        assert_eq!(outage.last(), Some(b));
        // No caller has needed a host since.
        outage.begin(at(10));
        outage.stop_search();
        assert_eq!(outage.end(at(20), Some(&a)).map(|found| found.outage), Some(Duration::ZERO));
    }

    #[test]
    fn patience_ends_once() {
        let mut outage = Outage::new(at(0), true);
        outage.be_patient(at(2));
        outage.be_patient(at(9));
        assert_eq!(outage.patient_until(), Some(at(2)));
        let over = [at(1), at(2), at(3)].map(|now| outage.is_patience_over(now));
        assert_eq!(over, [false, true, false]);
    }
}
