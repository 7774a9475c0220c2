//! Whether there is memory for something large. Where an allocation fails that nobody looks at, the
//! process ends.

/// What is smaller is not asked for: without memory for that the process could not go on anyway.
pub const LARGE: usize = 64 * 1024;

/// For what follows at once and can't fail itself. True for what is not large.
pub fn is_there_room_for(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let is_there = bytes < LARGE || room.try_reserve_exact(bytes).is_ok();
    // Else the allocation would be optimized away, being of no use.
    std::hint::black_box(&room);
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_memory_has_room_for_is_told() {
        assert!(is_there_room_for(0) && is_there_room_for(1024 * 1024));
        assert!(!is_there_room_for(usize::MAX / 4));
    }
}
