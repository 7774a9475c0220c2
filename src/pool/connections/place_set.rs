//! A set of places, whose first place is found at once however many there are: bits, and further
//! bits that say which words of the first have any bit set.

/// At least this many words of bits keep their memory.
const FEW: usize = 8;

#[derive(Debug)]
pub(super) struct PlaceSet {
    bits: Vec<u64>,
    /// One bit for each word of `bits` that is not zero.
    words: Vec<u64>,
    count: usize,
}

const fn split(place: usize) -> (usize, u64) {
    (place / 64, 1 << (place % 64))
}

impl PlaceSet {
    pub(super) const fn new() -> Self {
        Self { bits: Vec::new(), words: Vec::new(), count: 0 }
    }

    /// Makes room for this many places.
    pub(super) fn make_room(&mut self, places: usize) {
        let words = places.div_ceil(64);
        if words > self.bits.len() {
            self.bits.resize(words.next_power_of_two(), 0);
            self.words.resize(self.bits.len().div_ceil(64), 0);
        }
    }

    /// Frees the memory that is not needed for this many places. No place after them may be in the
    /// set.
    pub(super) fn shrink(&mut self, places: usize) {
        let wanted = places.div_ceil(64).max(FEW).next_power_of_two();
        if self.bits.len() > 4 * wanted {
            self.bits.truncate(wanted);
            self.bits.shrink_to_fit();
            self.words.truncate(wanted.div_ceil(64));
            self.words.shrink_to_fit();
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn put(&mut self, place: usize, is_in: bool) {
        let (word, bit) = split(place);
        if is_in {
            self.make_room(place + 1);
        }
        let Some(bits) = self.bits.get_mut(word) else { return };
        if (*bits & bit != 0) == is_in {
            return;
        }
        *bits ^= bit;
        let has_any = *bits != 0;
        self.count = if is_in { self.count + 1 } else { self.count - 1 };
        let (at, bit) = split(word);
        if let Some(words) = self.words.get_mut(at) {
            *words = if has_any { *words | bit } else { *words & !bit };
        }
    }

    pub(super) fn first(&self) -> Option<usize> {
        let lowest = |bits: u64| bits.trailing_zeros() as usize;
        let (at, words) = self.words.iter().enumerate().find(|(_, words)| **words != 0)?;
        let word = 64 * at + lowest(*words);
        Some(64 * word + lowest(*self.bits.get(word)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::Random;

    #[test]
    fn it_knows_its_first_place() {
        let mut random = Random::from_seed(2);
        let (mut set, mut places) = (PlaceSet::new(), BTreeSet::new());
        for n in 0..20_000 {
            let place = usize::try_from(random.below(if n < 10_000 { 9000 } else { 70 })).unwrap();
            let is_in = random.below(3) == 0;
            set.put(place, is_in);
            match is_in {
                true => places.insert(place),
                false => places.remove(&place),
            };
            if n == 10_000 {
                places.retain(|place| *place < 70);
                (70..9000).for_each(|place| set.put(place, false));
                set.shrink(70);
                assert_eq!((set.bits.len(), set.words.len()), (FEW, 1));
            }
            assert_eq!((set.first(), set.len()), (places.first().copied(), places.len()));
        }
    }
}
