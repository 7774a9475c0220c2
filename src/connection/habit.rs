//! What a statement's answers were like lately: what pipelining and waking are decided by.

use std::time::Duration;

/// How long a statement has taken lately, and what its answers were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// A moving mean of the server's time and the way, in µs; `None` before the first answer.
    mean: Option<u64>,
    /// The same in ns, where a slow run weighs no more than a quick one: among many, how long each of them takes. Of
    /// several that are heard together, the first has taken all of the time and the others none.
    pace: u64,
    selects: bool,
    size: Size,
    parting: Parting,
}

/// How many answers the pace is a mean of.
const PACE_OVER: u64 = 32;

/// How much the rows of a statement's answers have taken lately.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// The least of them, in bytes, among those of the last generation and of this one.
    least: [Option<usize>; 2],
    /// Answers in this generation.
    count: u8,
}

/// After so many answers a generation is over.
const GENERATION: u8 = 8;

impl Size {
    fn learn(&mut self, bytes: usize) {
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

/// Whether answers come so long after those to the barriers in front of them that the loop would be woken for either.
#[derive(Clone, Copy, Debug, Default)]
struct Parting {
    /// Rises with each answer that came so, and falls twice as fast.
    evidence: u8,
    /// Answers since it was looked for.
    unseen: u8,
}

/// To be woken, and to sleep again, takes about as long.
const APART: Duration = Duration::from_micros(20);
const EVIDENCE: u8 = 4;
const MOST_EVIDENCE: u8 = 8;
/// One answer in so many is heard apart from its barrier's, to see whether that still comes long before it.
const LOOK_EACH: u8 = 16;

impl Habit {
    /// `size` is what the rows took, in bytes.
    pub fn learn(&mut self, took: Duration, selects: bool, size: usize) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // A slow run weighs in at once and is forgotten slowly; a stall of the loop is no slow run.
        let mean = self.mean.unwrap_or(took);
        let mean = if took > mean { mean + (took - mean) / 4 } else { mean - (mean - took) / 16 };
        self.pace = match self.mean {
            Some(_) => self.pace - self.pace / PACE_OVER + took.saturating_mul(1000) / PACE_OVER,
            None => took.saturating_mul(1000),
        };
        self.mean = Some(mean);
        self.selects = selects;
        self.size.learn(size);
    }

    pub fn is_quick(&self, bound: Duration) -> bool {
        self.mean.is_some_and(|mean| u128::from(mean) <= bound.as_micros())
    }

    /// How often it is expected to run within a time, one behind the other.
    pub fn runs_within(&self, time: Duration) -> Option<usize> {
        self.mean?;
        let runs = time.as_nanos() / u128::from(self.pace.max(1));
        Some(usize::try_from(runs).unwrap_or(usize::MAX))
    }

    /// What the rows of its next answer will take at least, in bytes, if it is like those before.
    pub fn expected_size(&self) -> usize {
        self.size.least()
    }

    /// Whether it answered as a SELECT the last time.
    pub fn selects(&self) -> bool {
        self.selects
    }

    /// An answer has come so long after its barrier's, which was heard by itself.
    pub fn learn_parting(&mut self, gap: Duration) {
        let Parting { evidence, .. } = &mut self.parting;
        *evidence = match gap >= APART {
            true => evidence.saturating_add(1).min(MOST_EVIDENCE),
            false => evidence.saturating_sub(2),
        };
    }

    /// Whether it is not worth waking up for the answer to the barrier in front of the next request, because its own comes
    /// much later.
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
        let mut habit = Habit::default();
        assert!(!habit.is_quick(bound));
        habit.learn(Duration::from_micros(200), true, 0);
        assert!(habit.is_quick(bound));
        habit.learn(Duration::from_secs(1), true, 0);
        assert!(!habit.is_quick(bound));
    }

    #[test]
    fn the_pace_is_the_same_however_many_answers_are_heard_together() {
        for together in [1, 4, 16] {
            let mut habit = Habit::default();
            for _ in 0..400 / together {
                habit.learn(Duration::from_micros(20 * together), true, 0);
                (1..together).for_each(|_| habit.learn(Duration::ZERO, true, 0));
            }
            let runs = habit.runs_within(Duration::from_millis(2)).unwrap();
            assert!((80..=130).contains(&runs), "{together}: {runs}");
        }
        assert_eq!(Habit::default().runs_within(Duration::MAX), None);
    }

    #[test]
    fn an_answer_is_expected_to_be_as_large_as_the_least_of_those_before_it() {
        let mut habit = Habit::default();
        let mut learn = |sizes: &[usize]| {
            sizes.iter().for_each(|size| habit.learn(Duration::ZERO, true, *size));
            habit.expected_size()
        };
        assert_eq!(learn(&[]), 0);
        assert_eq!(learn(&[900]), 900);
        assert_eq!(learn(&[1000, 800, 1000]), 800);
        // It is forgotten once there have been as many again behind its generation.
        assert_eq!(learn(&[1000; 12]), 800);
        assert_eq!(learn(&[1000]), 1000);
    }

    #[test]
    fn a_barrier_is_heard_with_its_request_where_that_takes_longer_than_a_wake() {
        let mut habit = Habit::default();
        let waits = |habit: &mut Habit| (0..32).filter(|_| habit.waits_for_answer()).count();
        for gap in [100, 0, 100, 0, 100, 0] {
            habit.learn_parting(Duration::from_micros(gap));
        }
        assert_eq!(waits(&mut habit), 0, "now and then is not often enough");
        (0..20).for_each(|_| habit.learn_parting(Duration::from_micros(100)));
        assert_eq!(waits(&mut habit), 30, "and two looks");
        (0..3).for_each(|_| habit.learn_parting(Duration::ZERO));
        assert_eq!(waits(&mut habit), 0, "three looks in a row have shown that it has changed");
    }
}
