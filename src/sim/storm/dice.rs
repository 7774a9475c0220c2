//! Random decisions, which the seed determines.

use std::time::Duration;

use crate::base::Random;

#[derive(Debug)]
pub(super) struct Dice(Random);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::from_seed(seed))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// True in `chance` of 100 cases.
    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        items.get(self.below(items.len())).copied()
    }

    /// A random time. Each doubling between the bounds is equally likely, so short times are as
    /// likely as long ones.
    pub(super) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_micros().max(1) as u64, most.as_micros().max(1) as u64);
        let doublings = (most / least).max(1).ilog2() as usize;
        let floor = least << self.below(doublings + 1);
        let micros = floor + self.0.below(floor);
        Duration::from_micros(micros.min(most))
    }

    /// A part of a number of bytes, and in most cases all of them.
    pub(super) fn part(&mut self, whole: usize) -> usize {
        if self.percent(70) { whole } else { (1 + self.below(whole)).min(whole) }
    }
}
