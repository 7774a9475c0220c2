//! Servers that accept no bytes although their hosts are alive.
//!
//! A server that runs a long statement does not read. Once its host's buffer is full, its receive
//! window is closed. From then on `TCP_USER_TIMEOUT` counts, even though the host answers each
//! probe of the window, and would end the session of a server that is alive. So the option is
//! turned off while more bytes are in flight than a window certainly has room for. During this time
//! the kernel is asked each second what it has heard (`TCP_INFO`, tcp(7)). A host is given up only
//! if it has acknowledged nothing for the time that the option sets, although something waits for
//! an acknowledgement. Keepalive does not help here, since it pauses while bytes are
//! unacknowledged.
//!
//! If the system has no such report, the option stays as it is. If the system has no such option,
//! nothing is done.

use std::time::Duration;

use super::socket::{Descriptor, Token};
use super::sockets::Sockets;
use crate::base::Instant;

/// The kernel's report of the connection to a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpReport {
    /// How many bytes were written but not sent, because the window has no room for them.
    pub unsent: u32,
    /// How many segments were sent but not acknowledged.
    pub unacknowledged: u32,
    /// How many probes of a closed window were not answered.
    pub probes: u32,
    /// How long ago the peer acknowledged anything, including probes.
    pub last_heard: Duration,
}

/// The system calls for closed windows.
#[derive(Clone, Copy, Debug)]
pub struct TcpCalls {
    pub report: fn(Descriptor) -> Option<TcpReport>,
    /// Makes the kernel probe a closed window at least this often, if the system can. By default
    /// the time between two probes grows to two minutes.
    pub probe_every: fn(Descriptor, Duration),
}

/// How many bytes in flight certainly fit into a window.
const WORTH_WATCHING: usize = 32 * 1024;
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time after which a host is given up, even if the option is shorter. A host answers
/// a probe within this time. If two probes follow each other quickly, it may answer only one.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// The sockets with many bytes in flight.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) tcp: Option<TcpCalls>,
    /// The value of the option for sockets that are not watched.
    user_timeout: Option<Duration>,
    watched: Vec<Watched>,
    last_check: Instant,
    next_check: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    token: Token,
    /// In how many consecutive checks the host was silent. Each check counts as one second, since
    /// the process may have been busy for a long time between two checks.
    silent_checks: u32,
}

/// What a check has shown of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerState {
    /// The host has acknowledged everything that was written.
    HasAll,
    Alive,
    /// Something waits for an acknowledgement, and nothing was acknowledged since the last check.
    Silent,
}

impl TcpReport {
    fn peer_state(&self, since_last_check: Duration) -> PeerState {
        let awaits = self.unacknowledged > 0 || self.probes > 0;
        match (awaits, self.unsent) {
            (false, 0) => PeerState::HasAll,
            (true, _) if self.last_heard >= since_last_check => PeerState::Silent,
            _ => PeerState::Alive,
        }
    }
}

impl Windows {
    pub(super) fn new(user_timeout: Option<Duration>) -> Self {
        let (last_check, next_check) = (Instant::ORIGIN, None);
        Self { tcp: None, user_timeout, watched: Vec::new(), last_check, next_check }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_check
    }

    /// How long a host may be silent while something waits for its acknowledgement.
    fn patience(&self) -> Option<Duration> {
        self.user_timeout.map(|timeout| timeout.max(LEAST_PATIENCE))
    }

    /// Whether the host is given up. The first check covers less than a second, so it does not
    /// count.
    fn is_lost(&self, silent_checks: u32) -> bool {
        let silent = CHECK_EVERY * silent_checks.saturating_sub(1);
        self.patience().is_some_and(|patience| silent >= patience)
    }

    /// Watches a socket that was just written to, if the server has not answered many of its bytes,
    /// or the kernel accepts no more.
    pub(super) fn watch(&mut self, now: Instant, token: Token, sockets: &mut Sockets) {
        let Some(stream) = sockets.stream(token) else { return };
        let is_worth_it = stream.unanswered >= WORTH_WATCHING || stream.blocked;
        if !is_worth_it || stream.watched || !stream.is_tcp() {
            return;
        }
        let (Some(tcp), Some(patience)) = (self.tcp, self.patience()) else {
            return;
        };
        let descriptor = stream.socket.descriptor();
        if (tcp.report)(descriptor).is_none() || !stream.socket.set_user_timeout(None) {
            return;
        }
        (tcp.probe_every)(descriptor, patience / 3);
        stream.watched = true;
        self.watched.push(Watched { token, silent_checks: 0 });
        if self.next_check.is_none() {
            self.last_check = now;
            self.next_check = Some(now + CHECK_EVERY);
        }
    }

    /// Gives up the hosts that were silent for too long. Stops watching the hosts that have
    /// acknowledged everything.
    pub(super) fn check(&mut self, now: Instant, sockets: &mut Sockets) {
        let Some(tcp) = self.tcp else { return };
        if self.next_check.is_none_or(|at| at > now) {
            return;
        }
        let since = now.since(self.last_check);
        let watched = std::mem::take(&mut self.watched);
        for Watched { token, silent_checks } in watched {
            let Some(stream) = sockets.stream(token) else { continue };
            let state =
                (tcp.report)(stream.socket.descriptor()).map(|report| report.peer_state(since));
            let silent_checks = match state {
                Some(PeerState::Alive) => 0,
                Some(PeerState::HasAll) if stream.blocked => 0,
                Some(PeerState::Silent) => silent_checks + 1,
                Some(PeerState::HasAll) | None => {
                    stream.watched = false;
                    stream.socket.set_user_timeout(self.user_timeout);
                    continue;
                }
            };
            if self.is_lost(silent_checks) {
                let why = "the server's host has acknowledged nothing for too long (ETIMEDOUT)";
                stream.broken = Some(why.to_owned());
                sockets.list_unread(token, true);
            } else {
                self.watched.push(Watched { token, silent_checks });
            }
        }
        self.last_check = now;
        self.next_check = (!self.watched.is_empty()).then(|| now + CHECK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_silent_that_is_asked_and_acknowledges_nothing() {
        let second = Duration::from_secs(1);
        let check =
            |unsent: u32, unacknowledged: u32, probes: u32, millis: u64, state: PeerState| {
                let last_heard = Duration::from_millis(millis);
                let report = TcpReport { unsent, unacknowledged, probes, last_heard };
                assert_eq!(report.peer_state(second), state, "{report:?}");
            };
        check(0, 0, 0, 90_000, PeerState::HasAll);
        // The last probe was answered, and the next one is not due for a minute.
        check(1, 0, 0, 50_000, PeerState::Alive);
        check(1, 0, 1, 200, PeerState::Alive);
        check(1, 5, 0, 200, PeerState::Alive);
        check(1, 0, 1, 1000, PeerState::Silent);
        check(0, 5, 0, 1500, PeerState::Silent);
    }

    #[test]
    fn a_host_is_given_up_when_it_was_silent_for_as_long_as_the_option_says() {
        let check = |option: Option<u64>, checks: Option<u32>| {
            let windows = Windows::new(option.map(Duration::from_millis));
            assert_eq!((0..200).find(|checks| windows.is_lost(*checks)), checks, "{option:?}");
        };
        check(Some(30_000), Some(31));
        check(Some(3001), Some(5));
        check(Some(1), Some(3));
        check(None, None);
    }
}
