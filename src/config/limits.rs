//! The bounds on options that are times, in milliseconds.

use std::ops::RangeInclusive;

use crate::transfer::contract::limits::LONGEST_TIMEOUT;

pub(super) const MILLISECONDS: RangeInclusive<u64> = 1..=LONGEST_TIMEOUT as u64;
/// Linux counts the delay in seconds, up to 32,767.
pub(super) const KEEP_ALIVE_MILLISECONDS: RangeInclusive<u64> = 1..=32_767_000;
/// The bounds on timeouts of the server. 0 turns one off.
pub(super) const SERVER_MILLISECONDS: RangeInclusive<u64> = 0..=2_147_483_647;
