//! Whether there is enough memory for a large value. An allocation that fails without such a check
//! aborts the process.

/// Smaller sizes, in bytes, are not checked. Without memory for them, the process could not
/// continue anyway.
pub const LARGE: usize = 64 * 1024;

/// Whether an allocation of this size would succeed now. Ask before an allocation that can't report
/// failure. True for every size below [`LARGE`].
pub fn is_there_room_for(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let is_there = bytes < LARGE || room.try_reserve_exact(bytes).is_ok();
    // Without this, the compiler would remove the unused allocation.
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
