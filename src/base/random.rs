//! Random numbers from a seed, so that a run can be repeated. Use them for jitter and choices,
//! never for secrets.

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, full period, good enough for jitter.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`, or 0 if `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product needs no division. Its bias is too small to matter for
        // jitter.
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_bounds_hold() {
        let (mut a, mut b) = (Random::from_seed(7), Random::from_seed(7));
        for bound in 0..1000 {
            let n = a.below(bound);
            assert_eq!(n, b.below(bound));
            assert!(n < bound || bound == 0);
        }
    }
}
