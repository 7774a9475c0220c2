//! Low-water marks: how many bytes have to arrive before the kernel wakes the loop.
//!
//! The answer to a barrier comes first, and could just as well be read together with the answer to
//! the request after the barrier. If that second answer comes much later, the loop would be woken
//! twice for each query. So the kernel is asked to wait for more bytes than a barrier's answer has.
//!
//! The same holds for many small answers to a burst of requests, which keep the server busy
//! (`src/pool/placement/burst.rs`). As long as enough answers follow, they are read in groups of
//! several.
//!
//! A server sends 8 KiB at a time. If nothing else keeps the loop busy, each of these parts wakes
//! it, which costs more than reading them. So if the earlier answers of a statement were large, the
//! kernel is asked to wait for more bytes of the present answer too (`SO_RCVLOWAT`). A mark stays
//! below the expected size, so that the kernel reports the last bytes as soon as they come. An
//! answer that is shorter for once is read after [`MARK_HOLDS_FOR`]. A server that has sent nothing
//! by then may take long, so from then on the kernel reports each of its bytes. If the receive
//! window is smaller than a mark, the kernel reports a full window.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use super::socket::{Descriptor, Token};
use super::sockets::{Sockets, Stream};
use crate::base::Instant;
use crate::pool::{Awaited, Barrier, ConnectionId, Pool};

/// Sets the least number of bytes that makes a socket readable. Returns whether the system did it.
pub type SetLowWater = fn(Descriptor, usize) -> bool;

/// The answer to a bare Sync is a ReadyForQuery of six bytes (PostgreSQL manual, 55.7). It is
/// longer if the server has something to report.
const MORE_THAN_BARRIER: usize = 7;
/// If the rest of an answer is smaller, in bytes, a system call for it is not worthwhile.
const LARGE: usize = 16 * 1024;
/// The highest mark, in bytes: what one turn reads from a socket (`io`). A mark of 128 KiB costs 9%
/// more CPU for a result of 3 MiB.
const HIGHEST: usize = 512 * 1024;
/// The most by which a mark delays a result that is shorter than those before it.
const MARK_HOLDS_FOR: Duration = Duration::from_millis(2);
/// How long a barrier's answer may stay unread. No call waits for it. But if the server sends
/// nothing else, the time when it was last heard depends on it (`liveness`).
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The marks of all sockets.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    /// `None` if the system has no low-water marks.
    pub(super) set: Option<SetLowWater>,
    /// How many threads the machine can run at once.
    pub(super) cores: Option<usize>,
    /// The sockets of servers that have requests to answer, and for which the kernel does not
    /// report each byte.
    raised: Vec<Token>,
    /// When the sockets with high marks are read, even if the kernel has not reported them.
    pub(super) until: Option<Instant>,
    /// The same for the sockets with low marks. The time is kept when there are no such sockets any
    /// more, so that it need not be set for each request.
    look_at: Option<Instant>,
}

impl LowWater {
    pub(super) fn attach(&mut self, set: Option<SetLowWater>) {
        self.set = set;
        self.cores = available_parallelism().ok().map(NonZero::get);
    }

    /// Whether there may be bytes that the kernel has not reported.
    pub(super) fn holds_back(&self) -> bool {
        !self.raised.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.look_at).min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// Tells the pool whether the server of a new connection runs on this machine and the kernel
    /// can hold back its answers. On a Unix socket the kernel ignores the mark and reports each
    /// byte.
    pub(super) fn share_cores(&self, connection: ConnectionId, sockets: &Sockets, pool: &mut Pool) {
        if let (Some(_), Some(cores)) = (self.set, self.cores)
            && sockets.is_loopback(connection)
        {
            pool.shares_cores(connection, cores);
        }
    }

    /// Sets the mark of a socket on which everything was written. The next answer may be known
    /// to be large, to come soon enough to be read anyway, or to come long after its barrier's answer.
    pub(super) fn expect_answer(
        &mut self,
        now: Instant,
        token: Token,
        sockets: &mut Sockets,
        pool: &mut Pool,
    ) {
        let (Some(_), Some(stream)) = (self.set, sockets.stream(token)) else {
            return;
        };
        let before = stream.low_water;
        let Awaited { rows, together, barrier } = pool.awaited(stream.connection, MARK_HOLDS_FOR);
        let least = match barrier {
            Some(Barrier::HeardWithRequest) => more_than_barrier(stream),
            Some(Barrier::HeardAlone) => 1,
            None => Self::least(token, sockets, pool),
        };
        let mark = mark(rows).max(least).max(together.min(HIGHEST));
        // A higher mark is for an answer of which a part has arrived.
        if sockets.stream(token).is_some_and(|stream| is_low(stream)) || before < mark {
            self.set_mark(now, token, mark, sockets, pool);
        }
    }

    /// Sets the mark of a socket that was read until it was empty. `moves` is true if there was
    /// something to read.
    pub(super) fn after_read(
        &mut self,
        now: Instant,
        token: Token,
        moves: bool,
        sockets: &mut Sockets,
        pool: &Pool,
    ) {
        let (Some(_), Some(stream)) = (self.set, sockets.stream(token)) else {
            return;
        };
        // The selector may report a socket whose bytes were read meanwhile. Such a report means
        // nothing.
        let is_overdue = std::mem::take(&mut stream.overdue);
        let connection = stream.connection;
        let mark = match (moves, is_overdue) {
            (true, false) => {
                let rest =
                    mark(pool.expected_rest(connection)).max(Self::least(token, sockets, pool));
                rest.max(Self::mark_for_several(token, sockets, pool))
            }
            (true, true) => mark(pool.expected_rest(connection)),
            (false, true) => 1,
            (false, false) => return,
        };
        self.set_mark(now, token, mark, sockets, pool);
    }

    /// Keeps a mark that is just above a barrier's answer, which saves system calls, unless the
    /// next bytes may be as short. A message that a server sends unasked is never that short, and
    /// more bytes follow the beginning of an answer.
    fn least(token: Token, sockets: &mut Sockets, pool: &Pool) -> usize {
        let stays = sockets.stream(token).is_some_and(|stream| {
            stream.low_water == more_than_barrier(stream)
                && stream.transport.kept() == 0
                && pool.is_between_answers(stream.connection)
        });
        if stays { sockets.stream(token).map_or(1, |stream| more_than_barrier(stream)) } else { 1 }
    }

    /// Keeps the present mark if it is not much lower than the wanted mark, which saves a system
    /// call.
    fn mark_for_several(token: Token, sockets: &mut Sockets, pool: &Pool) -> usize {
        let Some(stream) = sockets.stream(token) else { return 1 };
        let (before, connection) = (stream.low_water, stream.connection);
        let mark = pool.heard_together(connection).min(HIGHEST);
        if (mark / 2..=mark).contains(&before) { before } else { mark }
    }

    fn set_mark(
        &mut self,
        now: Instant,
        token: Token,
        mark: usize,
        sockets: &mut Sockets,
        pool: &Pool,
    ) {
        let (Some(set), Some(stream)) = (self.set, sockets.stream(token)) else {
            return;
        };
        // The kernel's buffer no longer has the beginning of this record.
        let mark = mark.saturating_sub(stream.transport.kept()).max(1);
        if mark != stream.low_water && set(stream.socket.descriptor(), mark) {
            stream.low_water = mark;
        }
        let is_high = !is_low(stream);
        let is_raised = stream.low_water > 1 && pool.waits_for(stream.connection);
        let LowWater { raised, until, look_at, .. } = self;
        match (raised.iter().position(|of| *of == token), is_raised) {
            (None, true) => raised.push(token),
            (Some(place), false) => drop(raised.swap_remove(place)),
            (None, false) | (Some(_), true) => {}
        }
        if raised.is_empty() {
            *until = None;
        } else if is_high {
            until.get_or_insert(now + MARK_HOLDS_FOR);
        } else {
            look_at.get_or_insert(now + LOOK_EVERY);
        }
    }

    /// Lists the sockets that may hold fewer bytes than their marks, so that they are read.
    pub(super) fn look_below(&mut self, sockets: &mut Sockets) {
        (self.until, self.look_at) = (None, None);
        for token in std::mem::take(&mut self.raised) {
            if let Some(stream) = sockets.stream(token) {
                stream.overdue = true;
                sockets.list_unread(token, false);
            }
        }
    }
}

/// Whether the kernel reports everything on a socket except barriers' answers.
pub(super) fn is_low(stream: &Stream) -> bool {
    stream.low_water <= more_than_barrier(stream)
}

/// The answer to a bare Sync is a TLS record of its own, since a server flushes at each
/// ReadyForQuery.
fn more_than_barrier(stream: &Stream) -> usize {
    MORE_THAN_BARRIER.saturating_add(stream.transport.overhead())
}

/// The mark for an answer of which `rest` bytes are expected.
fn mark(rest: usize) -> usize {
    if rest < LARGE { 1 } else { (rest - rest / 8 - LARGE / 4).min(HIGHEST) }
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
