//! Which shapes JavaScript knows, so that each is described to it once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Shape;

/// More statements than most applications have; `js/` keeps an array of as many row builders.
pub(super) const SLOTS: usize = 1024;

/// Slots are taken in rotation. A shape in a slot is kept alive, so that its address is its name.
#[derive(Debug, Default)]
pub(super) struct ShapeSlots {
    slots: Vec<Arc<Shape>>,
    by_address: BTreeMap<usize, usize>,
    next: usize,
}

impl ShapeSlots {
    pub(super) fn find(&self, shape: &Arc<Shape>) -> Option<usize> {
        self.by_address.get(&address(shape)).copied()
    }

    /// Gives the shape a slot, in which JavaScript forgets what was there.
    pub(super) fn take(&mut self, shape: &Arc<Shape>) -> usize {
        let slot = self.next;
        self.next = (slot + 1) % SLOTS;
        match self.slots.get_mut(slot) {
            Some(place) => {
                let forgotten = std::mem::replace(place, shape.clone());
                self.by_address.remove(&address(&forgotten));
            }
            None => self.slots.push(shape.clone()),
        }
        self.by_address.insert(address(shape), slot);
        slot
    }
}

fn address(shape: &Arc<Shape>) -> usize {
    Arc::as_ptr(shape).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_round_and_forget_the_oldest() {
        let mut slots = ShapeSlots::default();
        let shapes: Vec<_> = (0..=SLOTS).map(|_| Arc::new(Shape::default())).collect();
        let taken: Vec<_> = shapes.iter().map(|shape| slots.take(shape)).collect();
        assert_eq!((taken[0], taken[1], taken[SLOTS - 1], taken[SLOTS]), (0, 1, SLOTS - 1, 0));
        assert_eq!(slots.find(&shapes[0]), None);
        assert_eq!(slots.find(&shapes[1]), Some(1));
        assert_eq!(slots.find(&shapes[SLOTS]), Some(0));
    }
}
