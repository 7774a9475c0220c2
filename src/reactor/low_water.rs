//! Low-water marks: how many bytes of a large result are worth waking the loop for.
//!
//! A server sends 8 KiB at a time. Where nothing else keeps the loop busy, each of them wakes it, and that costs
//! more than to read them. So while the rest of an answer is expected to be large, going by what its statement
//! has answered before, the kernel is told to wait for more (`SO_RCVLOWAT`). A mark stays below what is expected,
//! so that the last bytes are told as soon as they come; an answer that is shorter for once is read after
//! [`PATIENCE`]. A server that has sent nothing by then may be at it for long: each of its bytes is told again.
//! Where the receive window is smaller than a mark, the kernel speaks up when it is full.

use std::time::Duration;

use super::links::Token;
use super::socket::Descriptor;
use super::turn::Reactor;
use crate::base::Instant;

/// Sets the least number of bytes that make a socket readable, and returns whether that could be done.
pub type SetLowWater = fn(Descriptor, usize) -> bool;

/// A rest that is smaller is not worth a call to the system.
const LARGE: usize = 16 * 1024;
/// What one look at a socket reads (`flow`): a mark of 128 KiB costs 9% more CPU for a result of 3 MiB.
const HIGHEST: usize = 512 * 1024;
/// So late is a result at most that is shorter than those before it.
const PATIENCE: Duration = Duration::from_millis(2);

/// The marks of all sockets.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    /// `None` where the system has no marks.
    pub(super) set: Option<SetLowWater>,
    /// The sockets that are not told of each byte.
    raised: Vec<Token>,
    /// When they are read all the same.
    pub(super) until: Option<Instant>,
}

/// What is worth waking for, where so many bytes are expected.
fn mark(rest: usize) -> usize {
    if rest < LARGE { 1 } else { (rest - rest / 8 - LARGE / 4).min(HIGHEST) }
}

impl Reactor {
    /// For a socket to which all was written: what comes back from an idle server may be known to be large, and to come
    /// before it would be looked for all the same.
    pub(super) fn expect_answer(&mut self, now: Instant, token: Token) {
        let (Some(_), Some(stream)) = (self.low_water.set, self.links.stream(token)) else {
            return;
        };
        let mark = mark(self.pool.expected_answer(stream.connection, PATIENCE));
        if stream.low_water < mark {
            self.set_mark(now, token, mark);
        }
    }

    /// For a socket that has been read until it was empty; `moves`: something was there.
    pub(super) fn set_low_water(&mut self, now: Instant, token: Token, moves: bool) {
        let (Some(_), Some(stream)) = (self.low_water.set, self.links.stream(token)) else {
            return;
        };
        // The selector may name a socket whose bytes have been read meanwhile: that says nothing.
        let is_overdue = std::mem::take(&mut stream.overdue);
        let mark = match (moves, is_overdue) {
            (true, _) => mark(self.pool.expected_rest(stream.connection)),
            (false, true) => 1,
            (false, false) => return,
        };
        self.set_mark(now, token, mark);
    }

    fn set_mark(&mut self, now: Instant, token: Token, mark: usize) {
        let (Some(set), Some(stream)) = (self.low_water.set, self.links.stream(token)) else {
            return;
        };
        if mark != stream.low_water && set(stream.socket.descriptor(), mark) {
            stream.low_water = mark;
        }
        let is_raised = stream.low_water > 1;
        let LowWater { raised, until, .. } = &mut self.low_water;
        match (raised.iter().position(|of| *of == token), is_raised) {
            (None, true) => raised.push(token),
            (Some(place), false) => drop(raised.swap_remove(place)),
            (None, false) | (Some(_), true) => {}
        }
        *until = if raised.is_empty() { None } else { until.or(Some(now + PATIENCE)) };
    }

    /// Has the sockets read that may hold something which is below their marks.
    pub(super) fn look_below_marks(&mut self) {
        self.low_water.until = None;
        for token in std::mem::take(&mut self.low_water.raised) {
            if let Some(stream) = self.links.stream(token) {
                stream.overdue = true;
                self.list_unread(token, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_below_what_is_expected() {
        assert_eq!([0, 1, LARGE - 1].map(mark), [1; 3]);
        for rest in [LARGE, 20_000, 100_000, 1 << 20, usize::MAX] {
            let mark = mark(rest);
            assert!(mark > LARGE / 2 && mark <= HIGHEST && mark < rest, "{rest}: {mark}");
        }
    }
}
