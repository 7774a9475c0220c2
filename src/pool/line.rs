//! The waiting line: calls without a connection, first come first served.
//!
//! One that leaves from the middle is struck off where it stands, and stepped over when it comes to the
//! front: a thousand calls that are given up at once cost no more than a thousand that are served.

use std::collections::{BTreeSet, VecDeque};

use super::Call;
use crate::base::{Error, ErrorClass, Key, Outcome};

#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those that were put in front, whose deadlines are in no order.
    again: VecDeque<Key<Call>>,
    /// Everybody else: whoever comes later may wait until later.
    calls: VecDeque<Key<Call>>,
    /// Those that have left, and still stand in one of the two. Neither end of them is one of these.
    struck: BTreeSet<Key<Call>>,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.again.len() + self.calls.len() - self.struck.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.calls.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Key<Call>> {
        self.again.front().or_else(|| self.calls.front())
    }

    /// Among these is the one whose deadline is next.
    pub(super) fn heads(&self) -> impl Iterator<Item = Key<Call>> {
        let again = self.again.iter().filter(|key| !self.struck.contains(key));
        again.chain(self.calls.front()).copied()
    }

    pub(super) fn push_back(&mut self, key: Key<Call>) {
        self.calls.push_back(key);
    }

    pub(super) fn push_front(&mut self, key: Key<Call>) {
        self.again.push_front(key);
    }

    pub(super) fn pop_front(&mut self) -> Option<Key<Call>> {
        let key = self.again.pop_front().or_else(|| self.calls.pop_front());
        self.trim();
        key
    }

    /// Takes those out whose deadlines have passed, in their order. Each is looked at once.
    pub(super) fn take_late(&mut self, is_late: impl Fn(Key<Call>) -> bool) -> Vec<Key<Call>> {
        let (mut late, struck) = (Vec::new(), &mut self.struck);
        self.again.retain(|key| {
            if struck.remove(key) {
                return false;
            }
            let is_late = is_late(*key);
            late.extend(is_late.then_some(*key));
            !is_late
        });
        self.trim();
        while let Some(key) = self.calls.front().copied().filter(|key| is_late(*key)) {
            late.push(key);
            self.calls.pop_front();
            self.trim();
        }
        late
    }

    /// Takes a call out that stands in the line.
    pub(super) fn strike(&mut self, key: Key<Call>) {
        self.struck.insert(key);
        self.trim();
    }

    #[cfg(feature = "sim")]
    pub(super) fn keys(&self) -> impl Iterator<Item = Key<Call>> {
        let all = self.again.iter().chain(&self.calls).copied();
        all.filter(|key| !self.struck.contains(key))
    }

    fn trim(&mut self) {
        if self.struck.is_empty() {
            return;
        }
        for part in [&mut self.again, &mut self.calls] {
            while part.front().is_some_and(|key| self.struck.remove(key)) {
                part.pop_front();
            }
            while part.back().is_some_and(|key| self.struck.remove(key)) {
                part.pop_back();
            }
        }
    }
}

pub(super) fn full_queue(limit: usize) -> Error {
    let message = format!("{limit} queries wait for a connection already, which is maxQueue");
    Error::new(ErrorClass::PoolTimeout, "HYPERION_QUEUE_FULL", message)
        .with_outcome(Outcome::NotSent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key<Call> {
        Key::from_bits(n)
    }

    #[test]
    fn who_leaves_is_stepped_over_and_not_counted() {
        let mut line = Line::default();
        (0..6).for_each(|n| line.push_back(key(n)));
        for n in [2, 0, 5, 3] {
            line.strike(key(n));
        }
        assert_eq!((line.len(), line.front()), (2, Some(&key(1))));
        line.push_front(key(9));
        line.push_front(key(8));
        line.push_front(key(7));
        line.strike(key(8));
        assert_eq!(line.heads().collect::<Vec<_>>(), [key(7), key(9), key(1)]);
        let left: Vec<_> = std::iter::from_fn(|| line.pop_front()).collect();
        assert_eq!(left, [key(7), key(9), key(1), key(4)]);
        assert!(line.is_empty() && line.struck.is_empty());
    }

    #[test]
    fn those_that_are_late_are_taken_out_together_and_each_is_looked_at_once() {
        let mut line = Line::default();
        (0..6).for_each(|n| line.push_back(key(n)));
        (10..16).for_each(|n| line.push_front(key(n)));
        [12, 14, 1].iter().for_each(|n| line.strike(key(*n)));
        let looked = std::cell::Cell::new(0);
        let late = line.take_late(|call| {
            looked.set(looked.get() + 1);
            [15, 12, 11, 10, 0, 2, 4].contains(&call.to_bits())
        });
        assert_eq!(late, [15, 11, 10, 0, 2].map(key));
        assert_eq!((looked.get(), line.len()), (7, 4));
        let left: Vec<_> = std::iter::from_fn(|| line.pop_front()).collect();
        assert_eq!(left, [13, 3, 4, 5].map(key));
        assert!(line.is_empty() && line.struck.is_empty());
    }
}
