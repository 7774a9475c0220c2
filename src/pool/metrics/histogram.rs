//! How long something took, counted so that percentiles can be told at any time.

use std::time::Duration;

/// Each octave of microseconds is divided into so many buckets of the same width: a bucket is at
/// most a sixteenth of its value wide.
const PER_OCTAVE: usize = 1 << SUB_BITS;
const SUB_BITS: u32 = 4;
/// Up to 2^36 µs, which is 19 hours. What took longer is counted in the last bucket.
const OCTAVES: u32 = 36;
const BUCKETS: usize = (OCTAVES - SUB_BITS + 1) as usize * PER_OCTAVE;

/// Takes 4 KiB, whatever is counted.
#[derive(Clone, Debug)]
pub(in crate::pool) struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

/// What a histogram says of all durations since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    pub count: u64,
    pub sum: Duration,
    /// The upper end of the bucket in which the percentile lies, and never more than `max`; zero if
    /// nothing was counted.
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// How many took no longer than each of [`BOUNDS_US`].
    pub at_most: [u64; BOUNDS_US.len()],
}

/// From 64 µs to 67 s, each four times the one before. They are bounds of buckets, so that the
/// numbers up to them are exact.
pub const BOUNDS_US: [u64; 11] = [
    1 << 6,
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
];

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum_us: 0, max_us: 0 }
    }
}

impl Histogram {
    #[inline]
    pub(in crate::pool) fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(place(us)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    pub(in crate::pool) fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *bucket += more;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(in crate::pool) fn read(&self) -> Durations {
        let mut at_most = [0; BOUNDS_US.len()];
        for (below, bound) in at_most.iter_mut().zip(BOUNDS_US) {
            *below = self.buckets.iter().take(place(bound) + 1).sum();
        }
        Durations {
            count: self.count,
            sum: Duration::from_micros(self.sum_us),
            p50: self.percentile(50),
            p90: self.percentile(90),
            p99: self.percentile(99),
            max: Duration::from_micros(self.max_us),
            at_most,
        }
    }

    fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank && rank > 0 {
                return Duration::from_micros(upper_end(place).min(self.max_us));
            }
        }
        Duration::from_micros(self.max_us)
    }
}

/// The bucket of a duration. Bucket `n` has what is above its lower end, and no more than its upper
/// end.
#[inline]
fn place(us: u64) -> usize {
    // A duration of a bound belongs below it.
    let us = us.saturating_sub(1);
    let octave = (us | 1).ilog2().max(SUB_BITS) - SUB_BITS;
    let within = (us >> octave) as usize;
    let place = octave as usize * PER_OCTAVE + within;
    place.min(BUCKETS - 1)
}

/// The longest duration that belongs to a bucket.
fn upper_end(place: usize) -> u64 {
    let octave = (place / PER_OCTAVE).saturating_sub(1);
    let within = place - octave * PER_OCTAVE;
    (within as u64 + 1) << octave
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        all.into_iter().for_each(|us| histogram.record(Duration::from_micros(us)));
        histogram
    }

    #[test]
    fn each_duration_is_in_a_bucket_that_is_at_most_a_sixteenth_wide() {
        let mut us = 1;
        while us < 1 << OCTAVES {
            for us in [us - 1, us, us + 1, us + us / 3] {
                let place = place(us);
                let below = place.checked_sub(1).map_or(0, upper_end);
                let end = upper_end(place);
                assert!(us <= end && (us > below || us == 0), "{us} is not in {below}..={end}");
                assert!(end - below <= 1 + below / 16, "{below}..={end}");
            }
            us *= 2;
        }
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let read = of(1..=1000).read();
        let near = |found: Duration, us: u64| {
            let found = u64::try_from(found.as_micros()).unwrap();
            assert!(found >= us && found <= us + us / 16 + 1, "{found} for {us}");
        };
        near(read.p50, 500);
        near(read.p90, 900);
        near(read.p99, 990);
        assert_eq!((read.count, read.max), (1000, Duration::from_millis(1)));
        assert_eq!(read.sum, Duration::from_micros(500_500));
    }

    #[test]
    fn numbers_up_to_a_bound_are_exact() {
        let mut all = Vec::new();
        for bound in BOUNDS_US {
            all.extend([bound - 1, bound, bound + 1]);
        }
        let read = of(all).read();
        let exact: Vec<u64> = (0..BOUNDS_US.len() as u64).map(|n| 3 * n + 2).collect();
        assert_eq!(read.at_most.to_vec(), exact);
    }

    #[test]
    fn nothing_and_what_takes_for_ever_have_percentiles_too() {
        assert_eq!(of([]).read(), Durations::default());
        let read = of([u64::MAX]).read();
        assert_eq!((read.count, read.p50 > Duration::from_secs(60_000)), (1, true));
        assert_eq!(of([3]).read().p99, Duration::from_micros(3));
    }

    #[test]
    fn histograms_can_be_added() {
        let mut sum = of(1..=500);
        sum.add(&of(501..=1000));
        assert_eq!(sum.read(), of(1..=1000).read());
    }
}
