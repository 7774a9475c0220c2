//! How long a request has taken, even if its answer was read together with that of the barrier in
//! front of it.

use std::time::Duration;

use crate::base::Instant;

#[derive(Debug, Default)]
pub(in crate::connection) struct Latency {
    /// The round trip: how long the last barrier took whose answer was read by itself, with nothing
    /// for the server to do.
    way: Option<Duration>,
    /// How the last answer was read, if it was a barrier's.
    heard: Option<Heard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Alone,
    /// Together with the request's answer, or when the time to wait for that answer was over.
    Together,
}

impl Latency {
    /// Takes how long a barrier's answer took. Returns it if it measures the round trip.
    pub(in crate::connection) fn barrier(
        &mut self,
        took: Duration,
        together: bool,
    ) -> Option<Duration> {
        if together {
            self.heard = Some(Heard::Together);
            return None;
        }
        self.heard = Some(Heard::Alone);
        self.way = Some(took);
        self.way
    }

    /// Takes an answer to a request that was queued at `queued_at`, and that came `took` after the
    /// answer before it. Returns how long the request took, and how long after its barrier's answer
    /// it came if that was read by itself.
    pub(in crate::connection) fn request(
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

    /// Whether the duration of a request is known that is read together with its barrier.
    pub(in crate::connection) fn knows_way(&self) -> bool {
        self.way.is_some()
    }

    /// Takes an answer to anything else.
    pub(in crate::connection) fn other(&mut self, took: Duration) -> Duration {
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
        let mut lead = Latency::default();
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
