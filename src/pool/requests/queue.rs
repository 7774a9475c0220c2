//! The queue: calls without a connection, first come, first served.
//!
//! A call that leaves from the middle is only marked, and skipped when it reaches the front. So a
//! thousand calls that are given up at once cost no more than a thousand calls that are served. The
//! deadline of the queue is known without looking at all calls.

use std::collections::{BTreeSet, VecDeque};

use super::call::Call;
use crate::base::{Error, ErrorClass, Instant, Key, Outcome};

#[derive(Debug, Default)]
pub(in crate::pool) struct Queue {
    /// Calls that were put at the front. Their deadlines are in no order.
    again: VecDeque<Waiting>,
    /// The deadlines of these calls. Some of the calls may have left the queue.
    again_due: BTreeSet<(Instant, Key<Call>)>,
    /// All other calls. A call that comes later has a later deadline.
    calls: VecDeque<Waiting>,
    /// Calls that have left the queue but are still in one of the two lists. The first and last
    /// call of a list is never one of them.
    struck: BTreeSet<Key<Call>>,
}

/// A call and its deadline.
type Waiting = (Key<Call>, Instant);

impl Queue {
    pub(in crate::pool) fn len(&self) -> usize {
        self.again.len() + self.calls.len() - self.struck.len()
    }

    pub(in crate::pool) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.calls.is_empty()
    }

    pub(in crate::pool) fn front(&self) -> Option<Key<Call>> {
        self.again.front().or_else(|| self.calls.front()).map(|(key, _)| *key)
    }

    /// The first deadline of all calls.
    pub(in crate::pool) fn deadline(&mut self) -> Option<Instant> {
        let first = self.calls.front().map(|(_, at)| *at);
        self.due_again().into_iter().chain(first).min()
    }

    /// The first deadline of the calls that were put at the front.
    fn due_again(&mut self) -> Option<Instant> {
        while let Some((at, key)) = self.again_due.first() {
            if !self.struck.contains(key) {
                return Some(*at);
            }
            self.again_due.pop_first();
        }
        None
    }

    pub(in crate::pool) fn push_back(&mut self, key: Key<Call>, deadline: Instant) {
        self.calls.push_back((key, deadline));
    }

    pub(in crate::pool) fn push_front(&mut self, key: Key<Call>, deadline: Instant) {
        self.again.push_front((key, deadline));
        self.again_due.insert((deadline, key));
    }

    pub(in crate::pool) fn pop_front(&mut self) -> Option<Key<Call>> {
        let key = match self.again.pop_front() {
            Some((key, deadline)) => {
                self.again_due.remove(&(deadline, key));
                Some(key)
            }
            None => self.calls.pop_front().map(|(key, _)| key),
        };
        self.trim();
        key
    }

    /// Removes the calls whose deadlines have passed, in their order.
    pub(in crate::pool) fn take_late(&mut self, now: Instant) -> Vec<Key<Call>> {
        let mut late = Vec::new();
        if self.due_again().is_some_and(|at| at <= now) {
            let (struck, due) = (&mut self.struck, &mut self.again_due);
            self.again.retain(|(key, at)| {
                let has_left = struck.remove(key);
                let goes = has_left || *at <= now;
                if goes {
                    due.remove(&(*at, *key));
                    late.extend((!has_left).then_some(*key));
                }
                !goes
            });
        }
        self.trim();
        while let Some((key, _)) = self.calls.front().copied().filter(|(_, at)| *at <= now) {
            late.push(key);
            self.calls.pop_front();
            self.trim();
        }
        late
    }

    /// Removes a call that is in the queue.
    pub(in crate::pool) fn strike(&mut self, key: Key<Call>) {
        self.struck.insert(key);
        self.trim();
    }

    #[cfg(feature = "sim")]
    pub(in crate::pool) fn all(&self) -> impl Iterator<Item = (Key<Call>, Instant)> {
        let all = self.again.iter().chain(&self.calls).copied();
        all.filter(|(key, _)| !self.struck.contains(key))
    }

    fn trim(&mut self) {
        if self.struck.is_empty() {
            return;
        }
        for part in [&mut self.again, &mut self.calls] {
            while let Some((key, at)) =
                part.front().copied().filter(|(key, _)| self.struck.remove(key))
            {
                self.again_due.remove(&(at, key));
                part.pop_front();
            }
            while let Some((key, at)) =
                part.back().copied().filter(|(key, _)| self.struck.remove(key))
            {
                self.again_due.remove(&(at, key));
                part.pop_back();
            }
        }
    }
}

pub(in crate::pool) fn full_queue(limit: usize) -> Error {
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

    fn at(n: u64) -> Instant {
        Instant::from_micros(n)
    }

    #[test]
    fn who_leaves_is_stepped_over_and_not_counted() {
        let mut queue = Queue::default();
        (0..6).for_each(|n| queue.push_back(key(n), at(10 + n)));
        for n in [2, 0, 5, 3] {
            queue.strike(key(n));
        }
        assert_eq!((queue.len(), queue.front(), queue.deadline()), (2, Some(key(1)), Some(at(11))));
        queue.push_front(key(9), at(3));
        queue.push_front(key(8), at(1));
        queue.push_front(key(7), at(2));
        assert_eq!(queue.deadline(), Some(at(1)));
        queue.strike(key(8));
        assert_eq!(queue.deadline(), Some(at(2)));
        let left: Vec<_> = std::iter::from_fn(|| queue.pop_front()).collect();
        assert_eq!(left, [key(7), key(9), key(1), key(4)]);
        assert!(queue.is_empty() && queue.struck.is_empty() && queue.again_due.is_empty());
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn those_that_are_late_are_taken_out_together() {
        let mut queue = Queue::default();
        (0..6).for_each(|n| queue.push_back(key(n), at(n)));
        let late = [15, 12, 11, 10];
        let due = |n: u64| if late.contains(&n) { at(2) } else { at(3 + n) };
        (10..16).for_each(|n| queue.push_front(key(n), due(n)));
        [12, 14, 1].iter().for_each(|n| queue.strike(key(*n)));
        assert_eq!(queue.take_late(at(1)), [0].map(key));
        assert_eq!(queue.take_late(at(2)), [15, 11, 10, 2].map(key));
        assert_eq!((queue.len(), queue.deadline()), (4, Some(at(3))));
        let left: Vec<_> = std::iter::from_fn(|| queue.pop_front()).collect();
        assert_eq!(left, [13, 3, 4, 5].map(key));
        assert!(queue.is_empty() && queue.struck.is_empty() && queue.again_due.is_empty());
    }
}
