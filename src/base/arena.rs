//! Values that come and go. A key never names any value but its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Names one value of an [`Arena`]. The generation tells the value from a later value at the same
/// index, so a late message about a closed connection can't reach the connection that took its
/// place.
pub struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The index and the generation as one number, for the operating system's tokens and for
    /// JavaScript.
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The index of the value. Once this value is gone, a later value may have the same index.
    pub const fn place(self) -> usize {
        self.index as usize
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32, of: PhantomData }
    }
}

// A derive would demand the same traits of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values at stable indices, iterated in the order of their indices. A new value takes the first
/// vacant place. Vacant places at the end are removed, so that the memory of a burst is freed after
/// it.
pub struct Arena<T> {
    places: Vec<Place<T>>,
    /// The vacant places. Indices at or after the end of `places` have no meaning.
    vacant: BinaryHeap<Reverse<u32>>,
    count: usize,
    /// The generation for the next new place. No key with this generation exists for an index at or
    /// after the end of `places`, not even for a place that was removed.
    youngest: u32,
}

/// How many places keep their memory at any time.
const FEW: usize = 64;

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { places: Vec::new(), vacant: BinaryHeap::new(), count: 0, youngest: 0 }
    }
}

impl<T: fmt::Debug> fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> Arena<T> {
    pub fn insert(&mut self, value: T) -> Key<T> {
        self.count += 1;
        if let Some(&Reverse(index)) = self.vacant.peek()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            self.vacant.pop();
            place.value = Some(value);
            return Key { index, generation: place.generation, of: PhantomData };
        }
        // The remaining indices are past the end of `places`, and must not become valid when
        // `places` grows.
        self.vacant.clear();
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let generation = self.youngest;
        self.places.push(Place { generation, value: Some(value) });
        Key { index, generation, of: PhantomData }
    }

    pub fn get(&self, key: Key<T>) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.generation == key.generation { place.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.count -= 1;
        if key.index as usize + 1 < self.places.len() {
            self.vacant.push(Reverse(key.index));
        } else {
            self.trim();
        }
        Some(value)
    }

    /// Removes the vacant places at the end.
    fn trim(&mut self) {
        while let Some(Place { generation, value: None }) = self.places.last() {
            // Generations wrap around, so only their distance tells which of the two is younger.
            if generation.wrapping_sub(self.youngest) < u32::MAX / 2 {
                self.youngest = *generation;
            }
            self.places.pop();
        }
        let length = self.places.len();
        if self.places.capacity() > FEW.max(4 * length) {
            self.places.shrink_to(FEW.max(2 * length));
            self.vacant.retain(|Reverse(index)| (*index as usize) < length);
            self.vacant.shrink_to(length);
        }
    }

    /// The value in a place, with its key.
    pub fn at(&self, place: usize) -> Option<(Key<T>, &T)> {
        let Place { generation, value } = self.places.get(place)?;
        let index = u32::try_from(place).ok()?;
        let key = Key { index, generation: *generation, of: PhantomData };
        value.as_ref().map(|value| (key, value))
    }

    /// The number of places up to the last value.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    pub fn contains(&self, key: Key<T>) -> bool {
        self.get(key).is_some()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.places.iter().zip(0u32..).filter_map(|(place, index)| {
            let key = Key { index, generation: place.generation, of: PhantomData };
            place.value.as_ref().map(|value| (key, value))
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key<T>, &mut T)> {
        self.places.iter_mut().zip(0u32..).filter_map(|(place, index)| {
            let key = Key { index, generation: place.generation, of: PhantomData };
            place.value.as_mut().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_value_and_names_nothing_else() {
        let mut arena = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(Key::from_bits(second.to_bits()), second);
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn the_first_vacant_place_is_taken_and_those_at_the_end_are_given_up() {
        let mut arena = Arena::default();
        let burst: Vec<_> = (0..1000).map(|n| arena.insert(n)).collect();
        // One value in the middle stays. The next value must not be placed after it.
        let (left, stays) = (&burst[..600], burst[600]);
        burst
            .iter()
            .filter(|key| **key != stays)
            .for_each(|key| assert!(arena.remove(*key).is_some()));
        assert_eq!((arena.len(), arena.places.len()), (1, 601));
        let next = arena.insert(0);
        assert_eq!((next.index, arena.get(left[0])), (0, None));
        assert_eq!(arena.remove(stays), Some(600));
        assert_eq!((arena.len(), arena.places.len()), (1, 1));
        assert!(arena.places.capacity() <= FEW && arena.vacant.capacity() <= FEW);
    }

    #[test]
    fn no_key_is_given_twice_whatever_is_given_up_in_between() {
        for youngest in [0, u32::MAX - 20] {
            let mut arena = Arena { youngest, ..Arena::default() };
            let (mut given, mut kept) = (std::collections::BTreeSet::new(), Vec::new());
            let mut random = crate::base::Random::from_seed(1);
            for n in 0..10_000 {
                // Phases of insertion alternate with phases of removal.
                let grows = (n / 50) % 2 == 0;
                if kept.is_empty() || (random.below(10) < 7) == grows {
                    let key = arena.insert(n);
                    assert!(given.insert(key), "{key:?}");
                    kept.push((key, n));
                } else {
                    let at = usize::try_from(random.below(kept.len() as u64)).unwrap();
                    let (key, value) = kept.swap_remove(at);
                    assert_eq!(arena.remove(key), Some(value));
                }
                assert_eq!(arena.len(), kept.len());
            }
            let values = arena.iter().map(|(key, value)| (key, *value));
            kept.sort_unstable();
            assert!(values.eq(kept));
        }
    }
}
