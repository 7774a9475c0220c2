//! How long what an option names may take.

use std::ops::RangeInclusive;

use crate::transfer::contract::limits::LONGEST_TIMEOUT;

pub(super) const MILLISECONDS: RangeInclusive<u64> = 1..=LONGEST_TIMEOUT as u64;
/// Linux counts the delay in seconds, and no more of them than these.
pub(super) const KEEP_ALIVE_MILLISECONDS: RangeInclusive<u64> = 1..=32_767_000;
/// What a timeout of the server can be; 0 turns it off.
pub(super) const SERVER_MILLISECONDS: RangeInclusive<u64> = 0..=2_147_483_647;
