//! Which requests JavaScript waits for. When a defect ends the pool, each of them gets an error.
//! The pool's own state can't be trusted at that time.

use std::collections::BTreeSet;

/// JavaScript reuses the numbers of requests, so the numbers stay small, and one bit is enough for
/// each.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    words: Vec<u64>,
    /// Numbers that are too large for a bit.
    large: BTreeSet<u32>,
}

/// More requests than wait at the same time even in a very busy pool.
const SMALL: u32 = 1 << 20;

impl PendingRequests {
    pub(super) fn insert(&mut self, request: u32) {
        if request >= SMALL {
            self.large.insert(request);
            return;
        }
        let (word, bit) = place(request);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn remove(&mut self, request: u32) {
        if request >= SMALL {
            self.large.remove(&request);
            return;
        }
        let (word, bit) = place(request);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Removes any one of them.
    pub(super) fn pop(&mut self) -> Option<u32> {
        while let Some(word) = self.words.last_mut() {
            if *word == 0 {
                self.words.pop();
                continue;
            }
            let bit = word.trailing_zeros();
            *word &= *word - 1;
            let words_below = u32::try_from(self.words.len() - 1).unwrap_or(u32::MAX);
            return Some(words_below * u64::BITS + bit);
        }
        self.large.pop_first()
    }
}

fn place(request: u32) -> (usize, u64) {
    ((request / u64::BITS) as usize, 1 << (request % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_and_not_removed_comes_out_once() {
        let mut requests = PendingRequests::default();
        for request in [0, 1, 63, 64, 1000, SMALL - 1, SMALL, u32::MAX] {
            requests.insert(request);
            requests.insert(request);
        }
        for request in [1, 64, u32::MAX, 77, SMALL + 1] {
            requests.remove(request);
        }
        let mut left: Vec<u32> = std::iter::from_fn(|| requests.pop()).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 63, 1000, SMALL - 1, SMALL]);
        assert_eq!(requests.pop(), None);
    }
}
