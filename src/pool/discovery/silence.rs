//! The state of each address of the primary that has been asked whether it still answers, and of
//! the episode in which other hosts are asked in its place.
//!
//! ```text
//!          ─it owes an answer for `ask_after`, or a call finds it unheard─▶
//!     Calm                                                                 Asked
//!      ▲   ◀──────────────────any byte of the server──────────────────────   │
//!      │                                                                     │ no answer within
//!      └───────────────────any byte of the server──────────── Uneasy ◀───────┘ its patience
//! ```
//!
//! An address that has no entry here is calm. The topology has the other two states: the seat has
//! moved to a host that has proved a later timeline, or the host is suspected.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::Instant;
use crate::pool::connections::Site;

/// The shortest time after which a server is asked, and after which it should have answered.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest such time, unless the round trip itself is as long.
const LONGEST: Duration = Duration::from_millis(250);
/// The longest such time for any round trip.
const LONGEST_FAR: Duration = Duration::from_millis(600);
/// How long a login may take, beside its round trips.
const LOGIN: Duration = Duration::from_millis(250);
/// How many round trips a login with TLS and a password takes until the server has sent something.
const LOGIN_TRIPS: u32 = 5;
/// The pause between two questions to the same address.
pub(in crate::pool) const AGAIN: Duration = Duration::from_millis(250);
/// A host that no connection has heard for so long is asked before a call is sent there.
pub(in crate::pool) const STALE: Duration = Duration::from_secs(1);
/// For how long sessions to other hosts are kept once the primary answers again. A primary that
/// stutters must not cause logins.
pub(in crate::pool) const KEPT_FOR: Duration = Duration::from_secs(5);

/// The state of an address that was asked and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum AddressState {
    /// `holds_calls`: no connection had heard the server for [`STALE`], so calls wait for the
    /// answer.
    Asked { until: Instant, holds_calls: bool },
    /// It has not answered in time.
    Uneasy { since: Instant },
}

/// Other hosts are asked because the primary does not answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) enum Episode {
    /// Sessions are opened from `scout_at` on. Clients that fall into this together spread theirs.
    Uneasy { since: Instant, scout_at: Instant },
    /// The primary answers again.
    Over { keep_until: Instant },
}

/// The mean and the deviation of an address's round trip.
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    mean: Duration,
    deviation: Duration,
}

#[derive(Debug, Default)]
pub(in crate::pool) struct Silence {
    states: BTreeMap<Site, AddressState>,
    round_trips: BTreeMap<Site, RoundTrip>,
    /// When an address may be asked again.
    ask_at: BTreeMap<Site, Instant>,
    /// When the last login began by which an address was asked.
    login_at: BTreeMap<Site, Instant>,
    episode: Option<Episode>,
}

impl RoundTrip {
    fn new(sample: Duration) -> Self {
        Self { mean: sample, deviation: sample / 2 }
    }

    /// Takes a sample as TCP does (RFC 6298).
    fn take(&mut self, sample: Duration) {
        let off = self.mean.abs_diff(sample);
        self.deviation = (self.deviation * 3 + off) / 4;
        self.mean = (self.mean * 7 + sample) / 8;
    }

    fn patience(self) -> Duration {
        let adapted = (self.mean * 8 + self.deviation * 4).clamp(SHORTEST, LONGEST);
        adapted.max((self.mean * 2).min(LONGEST_FAR))
    }
}

impl Silence {
    /// A server there has answered a bare Sync after `sample`.
    pub(in crate::pool) fn measured(&mut self, site: Site, sample: Duration) {
        match self.round_trips.get_mut(&site) {
            Some(round_trip) => round_trip.take(sample),
            None => drop(self.round_trips.insert(site, RoundTrip::new(sample))),
        }
    }

    /// For how long the server may owe an answer before it is asked, and how long it may take to
    /// answer a bare Sync.
    pub(in crate::pool) fn patience(&self, site: Site) -> Duration {
        self.round_trips.get(&site).map_or(LONGEST, |round_trip| round_trip.patience())
    }

    /// The same if the question has to be a login.
    pub(in crate::pool) fn login_patience(&self, site: Site) -> Duration {
        let mean = self.round_trips.get(&site).map_or(Duration::ZERO, |it| it.mean);
        LOGIN + (mean * LOGIN_TRIPS).min(LONGEST_FAR)
    }

    pub(in crate::pool) fn state(&self, site: Site) -> Option<AddressState> {
        self.states.get(&site).copied()
    }

    pub(in crate::pool) fn states(&self) -> impl Iterator<Item = (Site, AddressState)> {
        self.states.iter().map(|(site, state)| (*site, *state))
    }

    pub(in crate::pool) fn is_calm(&self) -> bool {
        self.states.is_empty()
    }

    pub(in crate::pool) fn uneasy_since(&self, site: Site) -> Option<Instant> {
        match self.state(site) {
            Some(AddressState::Uneasy { since }) => Some(since),
            Some(AddressState::Asked { .. }) | None => None,
        }
    }

    pub(in crate::pool) fn is_uneasy(&self, site: Site) -> bool {
        self.uneasy_since(site).is_some()
    }

    pub(in crate::pool) fn is_any_uneasy(&self) -> bool {
        self.states.values().any(|state| matches!(state, AddressState::Uneasy { .. }))
    }

    /// Whether calls wait until an address has answered a question.
    pub(in crate::pool) fn holds_calls(&self) -> bool {
        let holds =
            |state: &AddressState| matches!(state, AddressState::Asked { holds_calls: true, .. });
        self.states.values().any(holds)
    }

    /// When the address may be asked again.
    pub(in crate::pool) fn ask_at(&self, site: Site) -> Instant {
        self.ask_at.get(&site).copied().unwrap_or(Instant::ORIGIN)
    }

    pub(in crate::pool) fn wait_until(&mut self, site: Site, at: Instant) {
        self.ask_at.insert(site, at);
    }

    pub(in crate::pool) fn login_at(&self, site: Site) -> Option<Instant> {
        self.login_at.get(&site).copied()
    }

    pub(in crate::pool) fn logs_in(&mut self, now: Instant, site: Site) {
        self.login_at.insert(site, now);
    }

    /// The address is asked, and should have answered by `until`.
    pub(in crate::pool) fn asked(
        &mut self,
        now: Instant,
        site: Site,
        until: Instant,
        holds_calls: bool,
    ) {
        self.states.insert(site, AddressState::Asked { until, holds_calls });
        self.ask_at.insert(site, now + AGAIN);
    }

    /// The address has not answered in time. Other hosts are asked from now on, after a pause of
    /// `pause` if they have not been asked lately.
    pub(in crate::pool) fn becomes_uneasy(&mut self, now: Instant, site: Site, pause: Duration) {
        self.states.insert(site, AddressState::Uneasy { since: now });
        if !matches!(self.episode, Some(Episode::Uneasy { .. })) {
            self.episode = Some(Episode::Uneasy { since: now, scout_at: now + pause });
        }
    }

    /// A server there has sent something. Returns whether the address was uneasy.
    pub(in crate::pool) fn heard(&mut self, now: Instant, site: Site) -> bool {
        let was_uneasy = matches!(self.states.remove(&site), Some(AddressState::Uneasy { .. }));
        if was_uneasy && !self.is_any_uneasy() {
            self.episode = Some(Episode::Over { keep_until: now + KEPT_FOR });
        }
        was_uneasy
    }

    pub(in crate::pool) fn episode(&self) -> Option<Episode> {
        self.episode
    }

    /// Whether sessions to other hosts are kept.
    pub(in crate::pool) fn keeps_scouts(&self, now: Instant) -> bool {
        match self.episode {
            Some(Episode::Uneasy { .. }) => true,
            Some(Episode::Over { keep_until }) => now < keep_until,
            None => false,
        }
    }

    /// Forgets the episode, and returns whether there was one.
    pub(in crate::pool) fn end_episode(&mut self) -> bool {
        self.episode.take().is_some()
    }

    /// Another host is in the seat, or none is, or the primary can't be asked.
    pub(in crate::pool) fn forget_states(&mut self) {
        self.states.clear();
    }

    /// Forgets the addresses to which there is no connection.
    pub(in crate::pool) fn keep(&mut self, is_there: impl Fn(Site) -> bool) {
        self.round_trips.retain(|site, _| is_there(*site));
        self.ask_at.retain(|site, _| is_there(*site));
        self.login_at.retain(|site, _| is_there(*site));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience_of(samples: &[u64]) -> u64 {
        let mut round_trip: Option<RoundTrip> = None;
        for sample in samples.iter().copied().map(Duration::from_micros) {
            match &mut round_trip {
                Some(round_trip) => round_trip.take(sample),
                None => round_trip = Some(RoundTrip::new(sample)),
            }
        }
        let micros = round_trip.unwrap().patience().as_micros();
        u64::try_from(micros).unwrap()
    }

    #[test]
    fn patience_follows_the_round_trip_and_its_deviation() {
        assert_eq!(patience_of(&[100]), 50_000, "a near server");
        assert_eq!(patience_of(&[10_000]), 100_000, "the deviation is half of the first sample");
        assert_eq!(patience_of(&[10_000; 100]), 80_000, "a steady one");
        let steady = patience_of(&[10_000; 100]);
        assert!(patience_of(&[&[10_000_u64; 100][..], &[60_000]].concat()) > steady);
        assert_eq!(patience_of(&[60_000; 100]), 250_000);
        assert_eq!(patience_of(&[280_000; 100]), 560_000, "a server far away");
        assert_eq!(patience_of(&[3_000_000; 100]), 600_000);
    }
}
