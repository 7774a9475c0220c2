//! The waiting line: calls without a connection, first come first served.
//!
//! One that leaves from the middle is struck off where it stands, and stepped over when it comes to the
//! front: a thousand calls that are given up at once cost no more than a thousand that are served.

use std::collections::{BTreeSet, VecDeque};

use super::Call;
use crate::base::Key;

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
}
