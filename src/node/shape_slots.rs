//! Which shapes JavaScript knows, so that the addon describes each shape once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Shape;

/// How many slots there are: most applications have fewer statements. `js/` keeps an array of as
/// many row builders.
pub(super) const SLOTS: usize = 1024;
/// The most bytes of memory for all shapes here. In JavaScript, the shapes take several times as
/// much.
const MOST_WEIGHT: usize = 8 * 1024 * 1024;

/// A slot keeps its shape alive, so that the shape's address identifies it. When there are too many
/// shapes, all slots are cleared, and shapes that are still in use are described again.
#[derive(Debug, Default)]
pub(super) struct ShapeSlots {
    slots: Vec<Arc<Shape>>,
    by_address: BTreeMap<usize, usize>,
    weight: usize,
}

impl ShapeSlots {
    pub(super) fn find(&self, shape: &Arc<Shape>) -> Option<usize> {
        self.by_address.get(&address(shape)).copied()
    }

    /// Gives the shape a slot. When slot 0 is assigned again, JavaScript forgets the shapes of all
    /// slots.
    pub(super) fn take(&mut self, shape: &Arc<Shape>) -> usize {
        let weight = shape.weight();
        if self.slots.len() >= SLOTS || self.weight.saturating_add(weight) > MOST_WEIGHT {
            *self = Self::default();
        }
        let slot = self.slots.len();
        self.slots.push(shape.clone());
        self.weight += weight;
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
    use crate::protocol::{Field, Format};

    fn check_that_all_are_forgotten_behind(count: usize, make: impl Fn() -> Shape) {
        let mut slots = ShapeSlots::default();
        let shapes: Vec<_> = (0..=count).map(|_| Arc::new(make())).collect();
        for (n, shape) in shapes.iter().enumerate().take(count) {
            assert_eq!((slots.find(shape), slots.take(shape)), (None, n));
        }
        assert!(shapes.iter().take(count).all(|shape| slots.find(shape).is_some()));
        assert_eq!(slots.take(&shapes[count]), 0);
        assert!(shapes.iter().take(count).all(|shape| slots.find(shape).is_none()));
        assert_eq!(slots.find(&shapes[count]), Some(0));
        assert_eq!(Arc::strong_count(&shapes[0]), 1);
    }

    #[test]
    fn when_there_are_too_many_all_are_forgotten() {
        check_that_all_are_forgotten_behind(SLOTS, Shape::default);
    }

    #[test]
    fn wide_shapes_are_too_many_when_they_take_too_much_memory() {
        let wide = || {
            let field = Field {
                name: "n".repeat(60),
                table_oid: 0,
                column_number: 0,
                type_oid: 25,
                type_size: -1,
                type_modifier: -1,
                format: Format::Text,
            };
            Shape::new(vec![field; 1500])
        };
        check_that_all_are_forgotten_behind(MOST_WEIGHT / wide().weight(), wide);
    }
}
