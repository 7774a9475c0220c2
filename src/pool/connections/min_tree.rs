//! The least of many values that change one by one: a tournament tree over places.
//!
//! A change costs the path from its place to the root, and no allocation. The least value is in the
//! root. If several values are equal, the first place wins.

/// At least this many places keep their memory.
const FEW: usize = 64;

/// A value for each place. A place without a value has `none`, which no value exceeds.
#[derive(Debug)]
pub(super) struct MinTree<T> {
    none: T,
    /// A power of two, or zero.
    places: usize,
    /// The root is the first node. The children of `n` are `2n` and `2n + 1`.
    nodes: Vec<T>,
}

impl<T: Copy + Ord> MinTree<T> {
    pub(super) const fn new(none: T) -> Self {
        Self { none, places: 0, nodes: Vec::new() }
    }

    /// Makes room for this many places.
    pub(super) fn make_room(&mut self, places: usize) {
        if places > self.places {
            self.rebuild(places.next_power_of_two());
        }
    }

    /// Frees the memory that is not needed for this many places. No place after them may have a
    /// value.
    pub(super) fn shrink(&mut self, places: usize) {
        let wanted = places.max(FEW).next_power_of_two();
        if self.places > 4 * wanted {
            self.rebuild(wanted);
        }
    }

    fn rebuild(&mut self, places: usize) {
        let values: Vec<_> = (0..self.places.min(places)).map(|place| self.get(place)).collect();
        let none = self.none;
        (self.places, self.nodes) = (places, vec![none; 2 * places]);
        for (place, value) in values.into_iter().enumerate().filter(|(_, value)| *value < none) {
            self.set(place, value);
        }
    }

    fn node(&self, node: usize) -> T {
        self.nodes.get(node).copied().unwrap_or(self.none)
    }

    pub(super) fn get(&self, place: usize) -> T {
        if place < self.places { self.node(self.places + place) } else { self.none }
    }

    pub(super) fn set(&mut self, place: usize, value: T) {
        if place >= self.places {
            if value >= self.none {
                return;
            }
            self.make_room(place + 1);
        }
        let mut node = self.places + place;
        match self.nodes.get_mut(node) {
            Some(leaf) if *leaf != value => *leaf = value,
            _ => return,
        }
        while node > 1 {
            let least = self.node(node).min(self.node(node ^ 1));
            node /= 2;
            match self.nodes.get_mut(node) {
                Some(parent) if *parent != least => *parent = least,
                _ => return,
            }
        }
    }

    /// The least value.
    pub(super) fn least(&self) -> Option<T> {
        Some(self.node(1)).filter(|least| *least < self.none)
    }

    /// The first place of the least value, with the value.
    pub(super) fn first_least(&self) -> Option<(usize, T)> {
        self.next_within(0, self.least()?)
    }

    /// The first place from `place` on whose value is at most `most`.
    pub(super) fn next_within(&self, place: usize, most: T) -> Option<(usize, T)> {
        if place >= self.places {
            return None;
        }
        let has = |node: usize| self.node(node) <= most && self.node(node) < self.none;
        let mut node = self.places + place;
        while !has(node) {
            // Continues to the right of the node, or of the first ancestor whose left part it is.
            node >>= node.trailing_ones();
            if node == 0 {
                return None;
            }
            node += 1;
        }
        while node < self.places {
            node *= 2;
            node += usize::from(!has(node));
        }
        Some((node - self.places, self.node(node)))
    }

    /// All places with values of at most `most`, in order.
    pub(super) fn within(&self, most: T) -> impl Iterator<Item = (usize, T)> {
        let next = move |place: usize| self.next_within(place, most);
        std::iter::successors(next(0), move |(place, _)| next(place + 1))
    }

    /// All places with values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, T)> {
        self.within(self.none)
    }

    /// The least of the values above `bound`.
    pub(super) fn least_above(&self, bound: T) -> Option<T> {
        self.above(1, bound).filter(|least| *least < self.none)
    }

    fn above(&self, node: usize, bound: T) -> Option<T> {
        let least = self.node(node);
        if least > bound {
            return Some(least);
        }
        if node >= self.places {
            return None;
        }
        let (left, right) = (self.above(2 * node, bound), self.above(2 * node + 1, bound));
        left.into_iter().chain(right).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Random;

    const NONE: u64 = u64::MAX;

    #[test]
    fn it_answers_as_a_scan_does() {
        let mut random = Random::from_seed(1);
        let (mut tree, mut values) = (MinTree::new(NONE), BTreeMap::new());
        for n in 0..20_000 {
            let most = if n < 10_000 { 700 } else { 5 };
            let place = usize::try_from(random.below(most)).unwrap();
            let value = random.below(20);
            match random.below(3) {
                0 => {
                    tree.set(place, NONE);
                    values.remove(&place);
                }
                _ => {
                    tree.set(place, value);
                    values.insert(place, value);
                }
            }
            if n == 10_000 {
                values.retain(|place, _| *place < 5);
                (5..700).for_each(|place| tree.set(place, NONE));
                tree.shrink(5);
                assert_eq!(tree.places, FEW);
            }
            assert_eq!(tree.least(), values.values().min().copied());
            let bound = random.below(20);
            let above = values.values().filter(|value| **value > bound).min();
            assert_eq!(tree.least_above(bound), above.copied());
            let from = usize::try_from(random.below(most)).unwrap();
            let next = values.range(from..).find(|(_, value)| **value <= bound);
            assert_eq!(tree.next_within(from, bound), next.map(|(place, value)| (*place, *value)));
            if n % 100 == 0 {
                assert!(tree.iter().eq(values.iter().map(|(place, value)| (*place, *value))));
                let within = values.iter().filter(|(_, value)| **value <= bound);
                assert!(tree.within(bound).eq(within.map(|(place, value)| (*place, *value))));
            }
        }
    }

    #[test]
    fn an_empty_one_has_nothing() {
        let mut tree = MinTree::new(NONE);
        assert_eq!((tree.least(), tree.first_least(), tree.iter().next()), (None, None, None));
        tree.set(3, 7);
        assert_eq!((tree.get(3), tree.get(2), tree.first_least()), (7, NONE, Some((3, 7))));
        assert_eq!((tree.next_within(4, 9), tree.least_above(7)), (None, None));
    }
}
