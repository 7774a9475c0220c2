//! The recent answers of a statement, by which the pool decides about pipelining and about waking
//! the loop.

use std::time::Duration;

/// How long a statement has taken lately, and what its answers were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// A moving mean of the server's time and the round trip, in µs. `None` before the first
    /// answer.
    mean: Option<u64>,
    /// A moving mean in ns, in which a slow execution has no more weight than a quick one: the time
    /// for each of many executions. If several answers are read together, the first gets the whole
    /// time, and the others get none.
    pace: u64,
    selects: bool,
    size: Size,
    parting: Parting,
}

/// The number of answers over which the pace is averaged.
const PACE_OVER: u64 = 32;

/// How many bytes the rows of a statement's recent answers took.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// The smallest answer, in bytes, of the last generation and of this one.
    least: [Option<usize>; 2],
    /// How many answers belong to this generation so far.
    count: u8,
}

/// How many answers make a generation.
const GENERATION: u8 = 8;

impl Size {
    fn record(&mut self, bytes: usize) {
        if self.count == GENERATION {
            let [_, young] = self.least;
            *self = Self { least: [young, None], count: 0 };
        }
        let [_, young] = &mut self.least;
        *young = Some(young.map_or(bytes, |least| least.min(bytes)));
        self.count += 1;
    }

    fn least(&self) -> usize {
        self.least.iter().flatten().copied().min().unwrap_or(0)
    }
}

/// Whether answers come so long after the answers to their barriers that the loop would be woken
/// for each.
#[derive(Clone, Copy, Debug, Default)]
struct Parting {
    /// Rises by 1 with each answer that comes late, and falls by 2 with each that does not.
    evidence: u8,
    /// How many answers have come since one was last read separately from its barrier's.
    unseen: u8,
}

/// About how long it takes to wake the loop and to let it sleep again.
const APART: Duration = Duration::from_micros(20);
const EVIDENCE: u8 = 4;
const MOST_EVIDENCE: u8 = 8;
/// One answer in this many is read separately from its barrier's, to see whether it still comes
/// much later.
const LOOK_EACH: u8 = 16;

impl Stats {
    /// Records an answer. `size` is how many bytes its rows took.
    pub fn record(&mut self, took: Duration, selects: bool, size: usize) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // A slow execution counts at once and is forgotten slowly. A stall of the event loop does
        // not count as a slow execution.
        let mean = self.mean.unwrap_or(took);
        let mean = if took > mean { mean + (took - mean) / 4 } else { mean - (mean - took) / 16 };
        self.pace = match self.mean {
            Some(_) => self.pace - self.pace / PACE_OVER + took.saturating_mul(1000) / PACE_OVER,
            None => took.saturating_mul(1000),
        };
        self.mean = Some(mean);
        self.selects = selects;
        self.size.record(size);
    }

    pub fn is_quick(&self, bound: Duration) -> bool {
        self.mean.is_some_and(|mean| u128::from(mean) <= bound.as_micros())
    }

    /// How often the statement can run within a time, one execution after the other.
    pub fn runs_within(&self, time: Duration) -> Option<usize> {
        self.mean?;
        let runs = time.as_nanos() / u128::from(self.pace.max(1));
        Some(usize::try_from(runs).unwrap_or(usize::MAX))
    }

    /// How many bytes the rows of its next answer will take at least, if it is like the last ones.
    pub fn expected_size(&self) -> usize {
        self.size.least()
    }

    /// Whether its last answer was that of a SELECT.
    pub fn selects(&self) -> bool {
        self.selects
    }

    /// Records how long after its barrier's answer an answer came, if the barrier's answer was read
    /// separately.
    pub fn record_parting(&mut self, gap: Duration) {
        let Parting { evidence, .. } = &mut self.parting;
        *evidence = match gap >= APART {
            true => evidence.saturating_add(1).min(MOST_EVIDENCE),
            false => evidence.saturating_sub(2),
        };
    }

    /// Whether the loop should not wake up for the answer to the next request's barrier, because
    /// the request's own answer comes much later.
    pub fn waits_for_answer(&mut self) -> bool {
        let Parting { evidence, unseen } = &mut self.parting;
        if *evidence < EVIDENCE {
            return false;
        }
        *unseen = (*unseen + 1) % LOOK_EACH;
        *unseen != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_run_ends_a_habit_of_being_quick() {
        let bound = Duration::from_millis(5);
        let mut stats = Stats::default();
        assert!(!stats.is_quick(bound));
        stats.record(Duration::from_micros(200), true, 0);
        assert!(stats.is_quick(bound));
        stats.record(Duration::from_secs(1), true, 0);
        assert!(!stats.is_quick(bound));
    }

    #[test]
    fn the_pace_is_the_same_however_many_answers_are_heard_together() {
        for together in [1, 4, 16] {
            let mut stats = Stats::default();
            for _ in 0..400 / together {
                stats.record(Duration::from_micros(20 * together), true, 0);
                (1..together).for_each(|_| stats.record(Duration::ZERO, true, 0));
            }
            let runs = stats.runs_within(Duration::from_millis(2)).unwrap();
            assert!((80..=130).contains(&runs), "{together}: {runs}");
        }
        assert_eq!(Stats::default().runs_within(Duration::MAX), None);
    }

    #[test]
    fn an_answer_is_expected_to_be_as_large_as_the_least_of_those_before_it() {
        let mut stats = Stats::default();
        let mut record = |sizes: &[usize]| {
            sizes.iter().for_each(|size| stats.record(Duration::ZERO, true, *size));
            stats.expected_size()
        };
        assert_eq!(record(&[]), 0);
        assert_eq!(record(&[900]), 900);
        assert_eq!(record(&[1000, 800, 1000]), 800);
        // The smallest size is forgotten after another generation of answers.
        assert_eq!(record(&[1000; 12]), 800);
        assert_eq!(record(&[1000]), 1000);
    }

    #[test]
    fn a_barrier_is_heard_with_its_request_where_that_takes_longer_than_a_wake() {
        let mut stats = Stats::default();
        let waits = |stats: &mut Stats| (0..32).filter(|_| stats.waits_for_answer()).count();
        for gap in [100, 0, 100, 0, 100, 0] {
            stats.record_parting(Duration::from_micros(gap));
        }
        assert_eq!(waits(&mut stats), 0, "now and then is not often enough");
        (0..20).for_each(|_| stats.record_parting(Duration::from_micros(100)));
        assert_eq!(waits(&mut stats), 30, "and two looks");
        (0..3).for_each(|_| stats.record_parting(Duration::ZERO));
        assert_eq!(waits(&mut stats), 0, "three looks in a row have shown that it has changed");
    }
}
