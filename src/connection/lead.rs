//! How long a request has taken, also where it was heard together with the barrier in front of it.

use std::time::Duration;

use crate::base::Instant;

#[derive(Debug, Default)]
pub(super) struct Lead {
    /// What the last barrier took that was heard by itself: the way, and nothing to do for the server.
    way: Option<Duration>,
    /// How the last answer was heard, where that was a barrier's.
    heard: Option<Heard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Alone,
    /// Only when the request's answer had come too, or its time was up.
    Together,
}

impl Lead {
    /// The answer to a barrier has come after such a time. Returns that, where it tells how long the way is.
    pub(super) fn barrier(&mut self, took: Duration, together: bool) -> Option<Duration> {
        if together {
            self.heard = Some(Heard::Together);
            return None;
        }
        self.heard = Some(Heard::Alone);
        self.way = Some(took);
        self.way
    }

    /// An answer to a request that stands since `queued_at`, so long after the one before it: how long it took, and how
    /// long after its barrier's it came where that was heard by itself.
    pub(super) fn request(
        &mut self,
        now: Instant,
        queued_at: Instant,
        took: Duration,
    ) -> (Duration, Option<Duration>) {
        match self.heard.take() {
            None => (took, None),
            Some(Heard::Alone) => (took, Some(took)),
            Some(Heard::Together) => {
                let way = self.way.unwrap_or_default();
                (now.since(queued_at).saturating_sub(way), None)
            }
        }
    }

    /// Whether the time of what is heard with its barrier could be told.
    pub(super) fn knows_way(&self) -> bool {
        self.way.is_some()
    }

    /// An answer to something else.
    pub(super) fn other(&mut self, took: Duration) -> Duration {
        self.heard = None;
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_with_its_barrier_took_the_whole_time_but_for_the_way() {
        let micros = Duration::from_micros;
        let at = Instant::from_micros;
        let mut lead = Lead::default();
        assert_eq!(lead.request(at(100), at(0), micros(70)), (micros(70), None), "no barrier");
        assert!(!lead.knows_way());
        assert_eq!(lead.barrier(micros(30), false), Some(micros(30)));
        assert_eq!(lead.request(at(100), at(0), micros(70)), (micros(70), Some(micros(70))));
        assert_eq!(lead.barrier(micros(100), true), None);
        assert_eq!(lead.request(at(100), at(0), micros(0)), (micros(70), None));
        lead.barrier(micros(30), false);
        lead.other(micros(30));
        assert_eq!(lead.request(at(100), at(0), micros(50)), (micros(50), None));
    }
}
