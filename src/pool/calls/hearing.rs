//! What connections report: answers, losses, and facts about their hosts. Also what follows from
//! the loss of a connection.

use std::sync::Arc;
use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome};
use crate::cluster::Observation;
use crate::connection::{Answer, Event, Input, Role, Settled, Shared};
use crate::pool::connections::{Closed, Duty};
use crate::pool::discovery::{self, Discovery, Failed};
use crate::pool::{Call, CloseReason, ConnectionId, Output, PoolEvent, Slot};

/// A session that ends this soon counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_millis(500);

impl Calls {
    /// Bytes have come on a connection, or it was closed.
    pub(in crate::pool) fn hear(
        &mut self,
        now: Instant,
        id: ConnectionId,
        input: Input<'_>,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        // The kernel of a frozen host completes a handshake: only a server's bytes are a sign of life.
        let is_life = matches!(input, Input::Received(_))
            || (matches!(input, Input::Connected(_)) && Mutation::HandshakeIsLife.is_on());
        if is_life {
            slot.heard_at = now;
            cx.discovery.heard(now, slot.site());
        }
        let (statements, keys) = (&mut self.statements, &mut self.keys);
        slot.connection.handle_input(
            now,
            input,
            &mut Shared { config: cx.config, statements, keys },
        );
        if let Some(round_trip) = slot.connection.take_round_trip() {
            cx.discovery.measured(now, slot.site(), round_trip);
        }
        self.drain(now, id, cx);
        self.discover(cx, |discovery, cx| discovery.end_backlog(cx));
    }

    /// Lets the connections do what is due.
    pub(in crate::pool) fn drive(&mut self, now: Instant, cx: &mut Context<'_>) {
        let due = |slot: &Slot| slot.connection.poll_timeout().is_some_and(|(at, _)| at <= now);
        let ids = cx.connections.those_apart(due);
        let deriving = cx.connections.next_to_derive(now);
        for id in ids {
            if let Some(slot) = cx.connections.get_mut(id) {
                if slot.connection.derivation_left(now).is_some() && deriving != Some(id) {
                    continue;
                }
                let (statements, keys) = (&mut self.statements, &mut self.keys);
                let mut shared = Shared { config: cx.config, statements, keys };
                slot.connection.handle_timeout(now, &mut shared);
                self.drain(now, id, cx);
            }
        }
    }

    /// Takes everything that a connection reports.
    pub(super) fn drain(&mut self, now: Instant, id: ConnectionId, cx: &mut Context<'_>) {
        let mut again = Vec::new();
        while let Some(event) = cx.connections.get_mut(id).and_then(|s| s.connection.poll_event()) {
            match event {
                Event::Ready { role } => {
                    self.tell_joined(now, id, role, cx);
                    self.discover(cx, |discovery, cx| discovery.joined(now, id, role, cx))
                }
                Event::Contradicted => {
                    self.discover(cx, |discovery, cx| discovery.distrust_reports(id, cx))
                }
                Event::Answered { role } => {
                    self.discover(cx, |discovery, cx| discovery.answered(now, id, role, cx))
                }
                Event::Typed { outcome, realm } => {
                    self.take_realm(id, realm, cx);
                    self.types_outcome(now, id, outcome, cx);
                }
                Event::Placed { place, role } => {
                    self.discover(cx, |discovery, cx| discovery.placed(now, id, place, role, cx))
                }
                Event::Closed { error, why, idle } => self.closed(now, id, error, &why, idle, cx),
                of_call => again.extend(self.hear_of_call(now, id, of_call, cx)),
            }
            self.follow_up(now, cx);
        }
        self.wait_again(now, again.into_iter(), cx);
        self.types.ask(now, id, cx.connections);
        cx.connections.mark_writing(id);
        // What its calls wait for may be an answer that is no news to anybody else.
        if let Some(Duty::Leased { lease }) = cx.connections.get(id).map(|slot| slot.duty)
            && !Mutation::StrandCalls.is_on()
        {
            self.resume_lease(now, lease, cx);
        }
        if self.requests.is_any_given_up()
            || cx.connections.get(id).is_some_and(|slot| slot.cancelling.is_some())
        {
            self.tend(now, id, cx);
        }
        cx.connections.retire_if_useless(id, cx.discovery.cluster.topology());
        cx.connections.clean(now, id);
        self.follow_up(now, cx);
    }

    /// Takes what a connection reports about a call. Returns the call if it must be sent again.
    fn hear_of_call(
        &mut self,
        now: Instant,
        id: ConnectionId,
        event: Event,
        cx: &mut Context<'_>,
    ) -> Option<Key<Call>> {
        match event {
            Event::Settled(settled) => {
                self.record_stats(&settled);
                self.settle(now, id, settled, cx)
            }
            Event::Lost { token, outcome, in_transaction, why } => {
                let outcome = match in_transaction {
                    true => self.outcome_in_own_transaction(id, token, outcome, cx),
                    false => outcome,
                };
                self.lost(now, id, token, outcome, &why, cx)
            }
            Event::Notice(fields) => {
                if let Some(host) = cx.connections.host_name(id) {
                    let event = PoolEvent::Notice { host, fields };
                    self.outputs.push_back(Output::Event(event));
                }
                None
            }
            Event::Weak(weakness) => {
                if let Some(host) = cx.connections.host_name(id) {
                    let event = PoolEvent::Weak { host, weakness };
                    self.outputs.push_back(crate::pool::Output::Event(event));
                }
                None
            }
            Event::Ready { .. }
            | Event::Answered { .. }
            | Event::Contradicted
            | Event::Typed { .. }
            | Event::Placed { .. }
            | Event::Notification { .. }
            | Event::Closed { .. } => None,
        }
    }

    fn record_stats(&mut self, settled: &Settled) {
        if let Answer::Completed { results, .. } = &settled.answer
            && let Some(call) = self.requests.get(Key::from_bits(settled.token.0))
            && let Some(id) = call.statement
            && let Some(statement) = self.statements.get_mut(id)
        {
            let selects = results.first().is_some_and(|result| result.command.name() == "SELECT");
            let size = results.iter().map(|result| result.rows.size()).sum();
            statement.stats.record(settled.took, selects, size);
            if let Some(gap) = settled.parted {
                statement.stats.record_parting(gap);
            }
        }
    }

    fn closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: Error,
        why: &Error,
        idle: bool,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        let route = std::mem::take(&mut slot.route);
        let (host, joining) = (slot.host, slot.is_joining());
        let (site, duty) = (slot.site(), slot.duty);
        let is_liveness_probe = matches!(duty, Duty::LivenessProbe { .. });
        let short_lived = now.since(slot.opened_at) < SHORT_LIFE;
        if let Duty::Leased { lease } = slot.duty {
            let error = self.lost_error(id, Outcome::NotSent, false, why, cx);
            self.vacate(lease, error);
        }
        cx.connections.close(id, CloseReason::Lost, Some(error.clone()));
        let observation = if joining {
            self.discover(cx, |discovery, cx| discovery.judge_unlisted(now, host, &error, cx));
            let says_nothing = |discovery: &mut Discovery, cx: &mut discovery::Context<'_>| {
                discovery.is_too_early(now, site, cx)
                    || discovery.address_unreachable(site, &error, cx)
            };
            if is_liveness_probe && self.discover(cx, says_nothing) {
                return;
            }
            let failed = Failed { site, duty, route };
            let Some(error) =
                self.discover(cx, |discovery, cx| discovery.failed_at(now, failed, error, cx))
            else {
                return;
            };
            Observation::ConnectFailed(error)
        } else {
            // If a host ends sessions as soon as they are open, the pool must not open many.
            if short_lived {
                cx.discovery.cluster.back_off(now, host);
            }
            match idle && !Mutation::SuspectIdleCut.is_on() {
                true => Observation::IdleCut(error),
                false => Observation::SessionLost(error),
            }
        };
        self.discover(cx, |discovery, cx| discovery.observe(now, host, observation, cx));
        self.discover(cx, |discovery, cx| discovery.decide_rivals(now, cx));
        cx.discovery.waits_may_be_futile = true;
    }

    /// Does what the last step has left: closes the connections that were dropped, settles the
    /// calls in flight on them, and releases what waits in a failed transaction.
    #[inline]
    pub(in crate::pool) fn follow_up(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.types.is_anything_waiting() || !cx.connections.is_all_followed_up() {
            self.follow_up_all(now, cx);
        }
    }

    #[cold]
    fn follow_up_all(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.release_failed_transactions(now, cx);
        loop {
            while let Some(closed) = cx.connections.next_closed() {
                self.leave(now, closed, cx);
            }
            let Some((id, error)) = cx.connections.next_dropped() else { return };
            self.close_dropped(now, id, &error, cx);
            self.release_failed_transactions(now, cx);
        }
    }

    /// A connection was closed. Its calls and its lease continue without it.
    fn leave(&mut self, now: Instant, closed: Closed, cx: &mut Context<'_>) {
        if let Some(lease) = closed.lease {
            let message = "the connection was closed by the pool";
            let code = "HYPERION_CONNECTION_LOST";
            self.vacate(lease, Error::new(ErrorClass::Connection, code, message));
        }
        if closed.has_moved_names {
            self.statements.names_moved();
        }
        if let Some(then) = closed.role_reported_at {
            cx.discovery.cluster.confirmed_until(closed.host, then);
        }
        if let Some(joined_at) = closed.joined_at
            && !Mutation::ForgetRemoval.is_on()
        {
            let Closed { host, name, reason, error, .. } = &closed;
            cx.metrics.closed(*host, name, *reason);
            let (host, error) = (Arc::clone(name), error.clone());
            let age = now.since(joined_at);
            let event = PoolEvent::Remove { host, reason: *reason, error, age };
            self.outputs.push_back(Output::Event(event));
        }
        self.release_untyped_of(now, closed.id, cx);
    }

    /// A host has logged a session in.
    fn tell_joined(&mut self, now: Instant, id: ConnectionId, role: Role, cx: &mut Context<'_>) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        slot.joined_at = Some(now);
        let (host, address) = (Arc::clone(&slot.target.name), slot.address);
        cx.metrics.created(slot.host, &host);
        let took = now.since(slot.opened_at);
        let event = PoolEvent::Connect { host, address, role, took };
        self.outputs.push_back(Output::Event(event));
    }

    fn close_dropped(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: &Error,
        cx: &mut Context<'_>,
    ) {
        if let Some(slot) = cx.connections.get_mut(id) {
            let mut shared = Shared {
                config: cx.config,
                statements: &mut self.statements,
                keys: &mut self.keys,
            };
            let why = error.message().to_owned();
            slot.connection.handle_input(now, Input::Closed { why }, &mut shared);
            self.settle_lost(now, id, cx);
            if let Some(Duty::Leased { lease }) = cx.connections.get(id).map(|slot| slot.duty) {
                let error = self.lost_error(id, Outcome::NotSent, false, error, cx);
                self.vacate(lease, error);
            }
            cx.connections.close(id, CloseReason::Dropped, Some(error.clone()));
        }
    }

    /// Settles the calls in flight on a connection that the pool itself gives up, and the answers
    /// that their callers have not received yet. What the connection reports about its host is
    /// outdated.
    fn settle_lost(&mut self, now: Instant, id: ConnectionId, cx: &mut Context<'_>) {
        let mut again = Vec::new();
        while let Some(event) = cx.connections.get_mut(id).and_then(|s| s.connection.poll_event()) {
            again.extend(self.hear_of_call(now, id, event, cx));
        }
        self.wait_again(now, again.into_iter(), cx);
    }
}
