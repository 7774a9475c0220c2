//! Low-water marks: how many bytes are worth waking the loop for.
//!
//! The answer to a barrier comes first, and says nothing that could not be heard with the answer
//! behind it. Where that comes much later, the loop would be woken twice for each query. So the
//! kernel is told to wait for more than a barrier's answer.
//!
//! The same holds for many small answers to a crowd, where the server is kept at work
//! (`pool::crowd`): they are heard in parts of several, as long as as many follow.
//!
//! A server sends 8 KiB at a time. Where nothing else keeps the loop busy, each of them wakes it,
//! and that costs more than to read them. So while the rest of an answer is expected to be large,
//! going by what its statement has answered before, the kernel is told to wait for more
//! (`SO_RCVLOWAT`). A mark stays below what is expected, so that the last bytes are told as soon as
//! they come; an answer that is shorter for once is read after [`PATIENCE`]. A server that has sent
//! nothing by then may be at it for long: each of its bytes is told again. Where the receive window
//! is smaller than a mark, the kernel speaks up when it is full.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use super::links::Links;
use super::socket::{Descriptor, Token};
use crate::base::Instant;
use crate::pool::{Awaited, Barrier, ConnectionId, Pool};

/// Sets the least number of bytes that make a socket readable, and returns whether that could be
/// done.
pub type SetLowWater = fn(Descriptor, usize) -> bool;

/// What answers a bare Sync is a ReadyForQuery of six bytes (PostgreSQL manual, 55.7), or longer,
/// where there is news.
const MORE_THAN_BARRIER: usize = 7;
/// A rest that is smaller is not worth a call to the system.
const LARGE: usize = 16 * 1024;
/// What one look at a socket reads (`io`): a mark of 128 KiB costs 9% more CPU for a result of 3
/// MiB.
const HIGHEST: usize = 512 * 1024;
/// So late is a result at most that is shorter than those before it.
const PATIENCE: Duration = Duration::from_millis(2);
/// Nobody waits for a barrier's answer, but when a server was last heard counts where it says
/// nothing more (`liveness`).
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The marks of all sockets.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    /// `None` where the system has no marks.
    pub(super) set: Option<SetLowWater>,
    /// How many processes the machine runs at once.
    pub(super) cores: Option<usize>,
    /// The sockets to servers that have something to answer, and that are not told of each byte.
    raised: Vec<Token>,
    /// When they are read all the same, for the sake of those with high marks.
    pub(super) until: Option<Instant>,
    /// And for the sake of the others. It stays when there are none any more, so that it need not
    /// be set for each request.
    look_at: Option<Instant>,
}

impl LowWater {
    pub(super) fn attach(&mut self, set: Option<SetLowWater>) {
        self.set = set;
        self.cores = available_parallelism().ok().map(NonZero::get);
    }

    /// Whether there may be bytes that nobody was told of.
    pub(super) fn holds_back(&self) -> bool {
        !self.raised.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.look_at).min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// Tells the pool whether the server of a new connection is on this machine, and its answers
    /// can be held back: on a Unix socket the kernel tells of each byte, whatever the mark.
    pub(super) fn share_cores(&self, connection: ConnectionId, links: &Links, pool: &mut Pool) {
        if let (Some(_), Some(cores)) = (self.set, self.cores)
            && links.is_loopback(connection)
        {
            pool.shares_cores(connection, cores);
        }
    }

    /// For a socket to which all was written: what comes back may be known to be large, and to come
    /// before it would be looked for all the same; or to come long after a barrier's answer.
    pub(super) fn expect_answer(
        &mut self,
        now: Instant,
        token: Token,
        links: &mut Links,
        pool: &mut Pool,
    ) {
        let (Some(_), Some(stream)) = (self.set, links.stream(token)) else {
            return;
        };
        let before = stream.low_water;
        let Awaited { rows, together, barrier } = pool.awaited(stream.connection, PATIENCE);
        let least = match barrier {
            Some(Barrier::HeardWithRequest) => MORE_THAN_BARRIER,
            Some(Barrier::HeardAlone) => 1,
            None => Self::least(token, links, pool),
        };
        let mark = mark(rows).max(least).max(together.min(HIGHEST));
        // What stands above that is for an answer which has begun to come.
        if is_low(before) || before < mark {
            self.set_mark(now, token, mark, links, pool);
        }
    }

    /// For a socket that has been read until it was empty; `moves`: something was there.
    pub(super) fn after_read(
        &mut self,
        now: Instant,
        token: Token,
        moves: bool,
        links: &mut Links,
        pool: &Pool,
    ) {
        let (Some(_), Some(stream)) = (self.set, links.stream(token)) else {
            return;
        };
        // The selector may name a socket whose bytes have been read meanwhile: that says nothing.
        let is_overdue = std::mem::take(&mut stream.overdue);
        let connection = stream.connection;
        let mark = match (moves, is_overdue) {
            (true, false) => {
                let rest =
                    mark(pool.expected_rest(connection)).max(Self::least(token, links, pool));
                rest.max(Self::mark_for_several(token, links, pool))
            }
            (true, true) => mark(pool.expected_rest(connection)),
            (false, true) => 1,
            (false, false) => return,
        };
        self.set_mark(now, token, mark, links, pool);
    }

    /// A mark above a barrier's answer stays, which spares calls to the system, as long as nothing
    /// is that short which may come next by itself: news of a server's own is not, and the
    /// beginning of an answer is followed by more.
    fn least(token: Token, links: &mut Links, pool: &Pool) -> usize {
        let stays = links.stream(token).is_some_and(|stream| {
            stream.low_water == MORE_THAN_BARRIER && pool.is_between_answers(stream.connection)
        });
        if stays { MORE_THAN_BARRIER } else { 1 }
    }

    /// What stands there already will do where it is not much less, which spares a call to the
    /// system.
    fn mark_for_several(token: Token, links: &mut Links, pool: &Pool) -> usize {
        let Some(stream) = links.stream(token) else { return 1 };
        let (before, connection) = (stream.low_water, stream.connection);
        let mark = pool.heard_together(connection).min(HIGHEST);
        if (mark / 2..=mark).contains(&before) { before } else { mark }
    }

    fn set_mark(
        &mut self,
        now: Instant,
        token: Token,
        mark: usize,
        links: &mut Links,
        pool: &Pool,
    ) {
        let (Some(set), Some(stream)) = (self.set, links.stream(token)) else {
            return;
        };
        if mark != stream.low_water && set(stream.socket.descriptor(), mark) {
            stream.low_water = mark;
        }
        let is_high = stream.low_water > MORE_THAN_BARRIER;
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
            until.get_or_insert(now + PATIENCE);
        } else {
            look_at.get_or_insert(now + LOOK_EVERY);
        }
    }

    /// Has the sockets read that may hold something which is below their marks.
    pub(super) fn look_below(&mut self, links: &mut Links) {
        (self.until, self.look_at) = (None, None);
        for token in std::mem::take(&mut self.raised) {
            if let Some(stream) = links.stream(token) {
                stream.overdue = true;
                links.list_unread(token, false);
            }
        }
    }
}

/// Whether a socket with such a mark is told of everything but barriers' answers.
pub(super) fn is_low(mark: usize) -> bool {
    mark <= MORE_THAN_BARRIER
}

/// What is worth waking for, where so many bytes are expected.
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
