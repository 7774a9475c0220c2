//! What has happened to a call on the way to its answer, for callers that log or trace their
//! queries.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Instant;

/// Kept only for a call with [`QueryFlags::TRACED`](crate::pool::QueryFlags::TRACED).
#[derive(Debug)]
pub(in crate::pool) struct CallTrace {
    asked_at: Instant,
    sent_at: Option<Instant>,
    attempts: u32,
    host: Option<Arc<str>>,
    /// The host of the copy that the call has left in an older place.
    host_of_copy: Option<Arc<str>>,
}

/// The trace of an answered call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// How long the call waited until it was first sent. `None` if it was never sent.
    pub waited: Option<Duration>,
    /// How often the call was sent for execution.
    pub attempts: u32,
    /// The last host to which the call was sent, or the host that answered it.
    pub host: Option<Arc<str>>,
}

impl CallTrace {
    pub(in crate::pool) fn new(asked_at: Instant) -> Self {
        Self { asked_at, sent_at: None, attempts: 0, host: None, host_of_copy: None }
    }

    /// `runs` is false if only the question for the description was sent.
    pub(in crate::pool) fn sent(&mut self, now: Instant, host: Arc<str>, runs: bool) {
        self.sent_at.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(u32::from(runs));
        self.host = Some(host);
    }

    /// The call is sent again elsewhere, and its copy stays in flight here.
    pub(in crate::pool) fn left_copy(&mut self) {
        self.host_of_copy.clone_from(&self.host);
    }

    /// The copy's answer is the call's answer.
    pub(in crate::pool) fn answered_by_copy(&mut self) {
        if let Some(host) = self.host_of_copy.take() {
            self.host = Some(host);
        }
    }

    pub(in crate::pool) fn finish(self) -> Trace {
        let waited = self.sent_at.map(|sent_at| sent_at.since(self.asked_at));
        Trace { waited, attempts: self.attempts, host: self.host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_call_that_is_sent_again_has_waited_until_it_was_sent_first() {
        let mut trace = CallTrace::new(at(10));
        trace.sent(at(15), "a".into(), false);
        trace.sent(at(20), "a".into(), true);
        trace.sent(at(40), "b".into(), true);
        let waited = Some(Duration::from_millis(5));
        assert_eq!(trace.finish(), Trace { waited, attempts: 2, host: Some("b".into()) });
    }

    #[test]
    fn a_call_that_was_never_sent_has_no_host() {
        let trace = CallTrace::new(at(10)).finish();
        assert_eq!(trace, Trace { waited: None, attempts: 0, host: None });
    }

    #[test]
    fn an_answer_of_a_copy_is_that_of_its_host() {
        let mut trace = CallTrace::new(at(10));
        trace.sent(at(11), "a".into(), true);
        trace.left_copy();
        trace.sent(at(12), "b".into(), true);
        trace.answered_by_copy();
        assert_eq!(trace.finish().host.as_deref(), Some("a"));
    }
}
