//! Opens sessions to a host, and handles a name that leads to several servers.
//!
//! The addresses of a name may belong to different servers: to the old and the new primary while
//! DNS still gives both, or to a primary and its standbys in turn. So the pool goes through the
//! addresses of a look-up, as libpq does with `target_session_attrs`. The first session is opened
//! to the name. If a session does not fit, or can't be opened, the next one is opened to the next
//! address. The last result counts as that of the host. While no host serves, one session at each
//! address goes on asking.
//!
//! If sessions serve at one address, a new session at another address that does not fit is closed.
//! It says nothing about the serving sessions: each of them notices a fence by itself, in front of
//! its next request. Addresses that did not fit come last in the next look-up, least recently tried
//! first, so that each address is tried in the end.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Context, Discovery};
use crate::base::{Error, Instant, Mutation};
use crate::cluster::{HostId, fits, more_conclusive};
use crate::connection::{Connection, Lineage, Role};
use crate::pool::ConnectionId;
use crate::pool::connections::{Duty, Route, Site, Slot};

impl Discovery {
    pub(in crate::pool) fn open(
        &mut self,
        now: Instant,
        host: HostId,
        duty: Duty,
        cx: &mut Context<'_>,
    ) {
        self.open_by(now, (host, None), duty, Route::default(), cx);
    }

    /// Opens a session to the server at this address, wherever the host's name leads now.
    pub(in crate::pool) fn open_at(
        &mut self,
        now: Instant,
        site: Site,
        duty: Duty,
        cx: &mut Context<'_>,
    ) {
        self.open_by(now, site, duty, Route::default(), cx);
    }

    fn open_by(
        &mut self,
        now: Instant,
        (host, address): Site,
        duty: Duty,
        route: Route,
        cx: &mut Context<'_>,
    ) {
        self.cluster.asked(now, host);
        if address.is_none() {
            self.cluster.renewed(now, host);
        }
        let listed = self.cluster.topology().host(host).cloned();
        let Some(target) = listed.or_else(|| cx.connections.target_of(host)) else { return };
        let deadline = now + cx.config.connect_timeout;
        let mut connection = Connection::new(Arc::clone(&target.name), deadline);
        connection.set_password(cx.config.password_for(&target));
        if self.cluster.topology().is_distrusted(host) {
            connection.distrust_reports();
        }
        let site = (host, address);
        let mut slot = Slot::new(now, connection, site, target, route, duty);
        slot.expires_at = self.expiry(now, cx);
        let last = if address.is_none() { self.unfit.of(host) } else { Vec::new() };
        cx.connections.open(slot, last);
    }

    /// The connection has reached this address. Its look-up gave the others as well, and they have
    /// not failed so far.
    pub(in crate::pool) fn reached(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        others: Vec<SocketAddr>,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        if slot.address.replace(address).is_some() {
            return;
        }
        let host = slot.host;
        let lookup: Vec<_> = std::iter::once(address).chain(others.iter().copied()).collect();
        let topology = self.cluster.topology();
        self.unfit.keep(host, &lookup, |host| topology.host(host).is_some());
        slot.route = Route { lookup: Some(lookup), untried: others, failure: None, is_last: false };
    }

    /// Takes the first answer of a new session's server.
    pub(in crate::pool) fn note_address(
        &mut self,
        now: Instant,
        id: ConnectionId,
        role: Role,
        cx: &mut Context<'_>,
    ) {
        let Some(site) = cx.connections.get(id).map(Slot::site) else { return };
        match fits(cx.config.mode, role) {
            true => self.unfit.remove(site),
            false => self.unfit.add(now, site, Some(role)),
        }
    }

    /// Whether a new session does not fit, while the host serves at another address.
    pub(in crate::pool) fn is_astray(
        &self,
        id: ConnectionId,
        role: Role,
        cx: &Context<'_>,
    ) -> bool {
        let Some(slot) = cx.connections.get(id) else { return false };
        let is_new = slot.reported.is_none() && !matches!(slot.duty, Duty::LivenessProbe { .. });
        let serves = self.cluster.topology().rank(slot.host).is_some();
        is_new
            && serves
            && !fits(cx.config.mode, role)
            && self.serves_elsewhere(slot.site(), cx).is_some()
    }

    /// Another address of a host where sessions serve, as far as they know.
    pub(in crate::pool) fn serves_elsewhere(
        &self,
        site: Site,
        cx: &Context<'_>,
    ) -> Option<SocketAddr> {
        let fits = |role: Role| fits(cx.config.mode, role);
        let serves = self.cluster.topology().serves(site.0) && !Mutation::BelieveStrays.is_on();
        if serves { cx.connections.serves_elsewhere(site, fits) } else { None }
    }

    /// Closes such a session. If no address of its look-up serves, a session is opened where the
    /// host serves. A host that serves there no longer says so to that session.
    pub(in crate::pool) fn leave_astray(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        let (site, route) = (slot.site(), std::mem::take(&mut slot.route));
        cx.connections.retire(id);
        if !self.try_next(now, site.0, route, cx) {
            self.open_where_it_serves(now, site, cx);
        }
    }

    /// A new session did not fit, or failed. If the host serves at another address, a session is
    /// opened there.
    fn open_where_it_serves(&mut self, now: Instant, site: Site, cx: &mut Context<'_>) -> bool {
        let Some(address) = self.serves_elsewhere(site, cx).filter(|_| !cx.demand.has_ended) else {
            return false;
        };
        let route = Route { is_last: true, ..Route::default() };
        self.open_by(now, (site.0, Some(address)), Duty::Joining, route, cx);
        true
    }

    /// A new session does not fit. Tries the next address of its look-up.
    pub(in crate::pool) fn try_beyond(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        if let Some(slot) = cx.connections.get_mut(id) {
            let route =
                Route { untried: std::mem::take(&mut slot.route.untried), ..Route::default() };
            let host = slot.host;
            self.try_next(now, host, route, cx);
        }
    }

    /// A server claims the seat, and must not have it. Tries the next address of its look-up.
    pub(in crate::pool) fn leave_refused(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get(id) else { return };
        let is_refused = self.cluster.topology().refuses(slot.host).is_some();
        if is_refused && slot.asks_for(slot.host) {
            self.unfit.add(now, slot.site(), None);
            self.try_beyond(now, id, cx);
        }
    }

    /// The answer of a session is about to give its host the seat. The sessions that ask at other
    /// addresses of the host's name lead to other servers, which may be old primaries. None of
    /// those may serve because this server does.
    pub(in crate::pool) fn leave_other_addresses(
        &mut self,
        id: ConnectionId,
        role: Role,
        cx: &mut Context<'_>,
    ) {
        let Some(site) = cx.connections.get(id).map(Slot::site) else { return };
        let topology = self.cluster.topology();
        let wins = topology.has_seat()
            && fits(cx.config.mode, role)
            && topology.rank(site.0).is_none()
            && topology.refuses(site.0).is_none();
        if !wins {
            return;
        }
        let others = cx.connections.asking_elsewhere(site);
        others.into_iter().for_each(|id| cx.connections.retire(id));
    }

    /// Whether a session that would serve is at another address than the serving ones, and has not
    /// shown its server's lineage. An old primary reports the same role as the new one.
    pub(in crate::pool) fn is_stranger(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
        let Some(slot) = cx.connections.get(id) else { return false };
        let joins =
            matches!(slot.duty, Duty::Joining | Duty::Scouting { .. } | Duty::Challenger { .. });
        let topology = self.cluster.topology();
        let is_known = topology.has_seat() && topology.timeline(slot.host).is_some();
        joins
            && is_known
            && !slot.vouched
            && topology.rank(slot.host).is_some()
            && self.serves_elsewhere(slot.site(), cx).is_some()
    }

    /// Such a session has shown its lineage. It stays if that is the lineage of the serving
    /// sessions, or a later one, and is closed otherwise. Returns whether its lineage is the
    /// host's.
    pub(in crate::pool) fn meet_stranger(
        &mut self,
        now: Instant,
        id: ConnectionId,
        shown: Option<&Lineage>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(slot) = cx.connections.get_mut(id) else { return false };
        slot.vouched = true;
        let site = slot.site();
        let known = self.cluster.topology().lineage(site.0);
        let (is_same, is_later) = match (known, shown) {
            (Some(known), Some(shown)) => {
                let is_later = shown.timeline > known.timeline;
                (shown.is_same_server(known), shown.system == known.system && is_later)
            }
            // The server may refuse to show it.
            _ => (true, false),
        };
        if is_later {
            // Requests in flight to the old server are answered, and no new ones are sent there.
            cx.connections.on_host_mut(site.0, |other| other.expired |= other.is_elsewhere(site));
        } else if !is_same {
            self.unfit.add(now, site, None);
            self.leave_astray(now, id, cx);
        }
        is_later
    }

    /// No session could be opened at the address of this slot, which is gone. Returns the error of
    /// the host if no session could be opened at any of its addresses.
    pub(in crate::pool) fn failed_at(
        &mut self,
        now: Instant,
        slot: Failed,
        error: Error,
        cx: &mut Context<'_>,
    ) -> Option<Error> {
        let Failed { site, duty, mut route } = slot;
        if duty != Duty::Joining {
            return Some(error);
        }
        if site.1.is_some() {
            self.unfit.add(now, site, None);
        }
        let is_next = site.1.is_some() && route.lookup.is_none();
        let is_last = route.is_last;
        let failure = match route.failure.take() {
            Some(earlier) => more_conclusive(earlier, error),
            None => error,
        };
        route.failure = Some(failure.clone());
        if self.try_next(now, site.0, route, cx) {
            return None;
        }
        let serves = self.cluster.topology().rank(site.0).is_some();
        if serves && site.1.is_some() && !is_last && self.open_where_it_serves(now, site, cx) {
            return None;
        }
        // The session at the address before speaks for the host.
        if is_next && !is_last && cx.connections.has_role_elsewhere(site) {
            self.cluster.back_off(now, site.0);
            return None;
        }
        Some(failure)
    }

    fn try_next(
        &mut self,
        now: Instant,
        host: HostId,
        mut route: Route,
        cx: &mut Context<'_>,
    ) -> bool {
        let topology = self.cluster.topology();
        let is_wanted = match topology.has_seat() {
            true => {
                let is_primary = |primary| primary == host;
                self.silence.episode().is_some()
                    || self.cluster.known_primary().is_none_or(is_primary)
            }
            false => true,
        };
        if !is_wanted
            || route.untried.is_empty()
            || topology.host(host).is_none()
            || cx.demand.has_ended
            || Mutation::TryOneAddress.is_on()
        {
            return false;
        }
        let next = route.untried.remove(0);
        route.lookup = None;
        self.open_by(now, (host, Some(next)), Duty::Joining, route, cx);
        true
    }

    /// Whether the role that a session goes on reporting changes nothing: what is known of its host
    /// is what a session at another address goes on reporting. Neither role fits.
    pub(in crate::pool) fn is_known_elsewhere(
        &self,
        id: ConnectionId,
        role: Role,
        cx: &Context<'_>,
    ) -> bool {
        let Some(slot) = cx.connections.get(id) else { return false };
        let Some(known) =
            self.cluster.topology().reported_role(slot.host).filter(|reported| *reported != role)
        else {
            return false;
        };
        !fits(cx.config.mode, role) && cx.connections.is_reported_elsewhere(slot.site(), known)
    }

    /// The last role that the server at the session's address reported, if it did not fit.
    pub(in crate::pool) fn said_before(&self, id: ConnectionId, cx: &Context<'_>) -> Option<Role> {
        self.unfit.said(cx.connections.get(id)?.site())
    }
}

/// A session that could not be opened.
pub(in crate::pool) struct Failed {
    pub(in crate::pool) site: Site,
    pub(in crate::pool) duty: Duty,
    pub(in crate::pool) route: Route,
}
