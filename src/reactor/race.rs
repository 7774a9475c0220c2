//! Which addresses of a host are tried, and when: Happy Eyeballs (RFC 8305) without its look-ups.
//!
//! Addresses of the two families alternate, beginning with the first address in the system's order.
//! The next address is tried when the previous one has failed, or has been silent for [`STAGGER`].
//! The first address that connects wins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::socket::Target;
use super::system_error::{Unreached, connect_error, reason};
use crate::base::Instant;

/// RFC 8305 recommends 250 ms for distances on the web and allows 100 ms. Database servers are
/// near. If the next address is tried too early, that costs no more than a connection that the
/// server soon forgets.
const STAGGER: Duration = Duration::from_millis(50);

/// The most addresses that are tried, which is more than any host of a cluster has. Each refusal
/// costs a system call, and all addresses may refuse in one turn of the loop.
const MAX_TARGETS: usize = 256;

/// The race for one connection.
#[derive(Debug)]
pub(super) struct Race {
    waiting: VecDeque<Target>,
    next_at: Instant,
    failures: Vec<(Target, io::Error)>,
}

impl Race {
    /// Addresses in `last` are tried after all others, in that order.
    pub(super) fn new(targets: Vec<Target>, last: &[SocketAddr], now: Instant) -> Self {
        let mut waiting = in_turns(targets);
        let place = |target: &Target| {
            let ip = target.ip()?;
            last.iter().position(|address| *address == ip)
        };
        waiting.make_contiguous().sort_by_key(place);
        waiting.truncate(MAX_TARGETS);
        Self { waiting, next_at: now, failures: Vec::new() }
    }

    /// The next address, if its time has come.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<Target> {
        if now < self.next_at {
            return None;
        }
        let target = self.waiting.pop_front()?;
        self.next_at = now + STAGGER;
        Some(target)
    }

    /// The addresses that were not tried yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Target> {
        self.waiting.iter()
    }

    /// Records that an address has failed, so that the next address need not wait.
    pub(super) fn fail(&mut self, target: Target, error: io::Error, now: Instant) {
        self.failures.push((target, error));
        self.next_at = now;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next_at)
    }

    /// Why no address could be reached. The cause is the error of the first address at which a
    /// server may still appear, if there is one. With another cause, the pool would believe that
    /// the host has no server.
    pub(super) fn unreached(&self) -> Unreached {
        let why = match self.failures.as_slice() {
            [] => "the name has no addresses".to_owned(),
            [(_, error)] => reason(error),
            several => {
                let each =
                    several.iter().map(|(target, error)| format!("{target}: {}", reason(error)));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        let mut causes = self.failures.iter().map(|(target, error)| connect_error(target, error));
        let first = causes.clone().next();
        let cause = causes.find(|error| !error.names_no_server()).or(first);
        Unreached { why, cause }
    }
}

fn in_turns(targets: Vec<Target>) -> VecDeque<Target> {
    let is_v6 = |target: &Target| matches!(target, Target::Ip(address) if address.is_ipv6());
    let first_is_v6 = targets.first().is_some_and(is_v6);
    let (mut preferred, mut other): (VecDeque<_>, VecDeque<_>) =
        targets.into_iter().partition(|target| is_v6(target) == first_is_v6);
    let mut turns = VecDeque::with_capacity(preferred.len() + other.len());
    while let Some(target) = preferred.pop_front() {
        turns.push_back(target);
        turns.extend(other.pop_front());
    }
    turns.extend(other);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(list: &[&str]) -> Vec<Target> {
        list.iter().map(|text| Target::Ip(text.parse().unwrap())).collect()
    }

    #[test]
    fn families_take_turns() {
        let list = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"];
        let expect = targets(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(in_turns(targets(&list)), expect);
    }

    #[test]
    fn a_silent_address_delays_the_next_and_a_failed_one_does_not() {
        let now = Instant::from_micros(1);
        let mut race = Race::new(targets(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"]), &[], now);
        let first = race.start_next(now).unwrap();
        assert_eq!(race.start_next(now), None);
        assert_eq!(race.deadline(), Some(now + STAGGER));
        race.fail(first, io::ErrorKind::ConnectionRefused.into(), now);
        let second = race.start_next(now).unwrap();
        assert_eq!(race.start_next(now), None);
        assert!(race.start_next(now + STAGGER).is_some());
        assert_eq!(race.deadline(), None);
        let code = |race: &Race| race.unreached().cause.map(|cause| cause.code().to_owned());
        assert_eq!(race.unreached().why, "connection refused (ECONNREFUSED)");
        assert_eq!(code(&race).as_deref(), Some("ECONNREFUSED"));
        race.fail(second, io::ErrorKind::HostUnreachable.into(), now);
        let why = "1.1.1.1:1: connection refused (ECONNREFUSED); \
                   1.1.1.2:1: no route to host (EHOSTUNREACH)";
        assert_eq!(race.unreached().why, why);
        assert_eq!(code(&race).as_deref(), Some("EHOSTUNREACH"), "it may have one yet");
    }

    #[test]
    fn addresses_that_did_not_do_come_last_and_the_one_that_was_tried_longest_ago_first_of_them() {
        let list = targets(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1", "1.1.1.4:1"]);
        let last = ["1.1.1.3:1", "1.1.1.9:1", "1.1.1.1:1"].map(|text| text.parse().unwrap());
        let expect = targets(&["1.1.1.2:1", "1.1.1.4:1", "1.1.1.3:1", "1.1.1.1:1"]);
        assert_eq!(Race::new(list, &last, Instant::ORIGIN).waiting, expect);
    }

    #[test]
    fn there_is_a_cap_on_addresses() {
        let many: Vec<Target> = (0..999)
            .map(|n| targets(&[&format!("1.1.{}.{}:1", n / 250, n % 250)]).remove(0))
            .collect();
        assert_eq!(Race::new(many, &[], Instant::ORIGIN).waiting.len(), MAX_TARGETS);
    }
}
