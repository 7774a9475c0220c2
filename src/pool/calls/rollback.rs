//! How long a ROLLBACK is waited for. A connection that is closed rolls back as well, so that a
//! host which does not answer holds nobody up who wants no more than that.
//!
//! - Behind the limit of its transaction, and behind the timeout of the pool's end, it has
//!   `cancelGraceMs` from then on.
//! - Else it has `livenessCheckMs` from when the server came to it. What its caller has asked
//!   before comes first, and takes the time that it takes.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation};
use crate::connection::RequestToken;
use crate::pool::leases::{Lease, nothing};
use crate::pool::requests::Reason;
use crate::pool::{Call, QueryFlags};

impl Call {
    pub(super) fn rolls_back(&self) -> bool {
        self.flags.rolls_back() && self.lease.is_some()
    }
}

impl Calls {
    /// How long a call may take from now on, where anything bounds it.
    pub(super) fn bound_of(&self, flags: QueryFlags, cx: &Context<'_>) -> Option<Duration> {
        let limit = cx.config.query_timeout;
        if !flags.rolls_back() || Mutation::AwaitRollback.is_on() {
            return limit;
        }
        let bound = match flags.has(QueryFlags::HURRIED) {
            true => cx.config.cancel_grace,
            false => cx.config.liveness_check,
        };
        Some(limit.map_or(bound, |limit| limit.min(bound)))
    }

    /// The time of a ROLLBACK is over, or its caller has no more patience with it.
    pub(super) fn give_up_rollback(
        &mut self,
        now: Instant,
        key: Key<Call>,
        reason: Reason,
        cx: &mut Context<'_>,
    ) {
        let Some((number, request, flags)) =
            self.requests.get(key).and_then(|call| Some((call.lease?, call.request, call.flags)))
        else {
            return;
        };
        if !matches!(reason, Reason::TimedOut { .. }) {
            let at = cx.life.grace_ends(now, cx.config.cancel_grace);
            if let Some(call) = self.requests.get_mut(key) {
                call.flags = flags.with(QueryFlags::HURRIED);
            }
            if self.requests.watches.due(request).is_none_or(|(due, _)| due > at) {
                self.requests.watches.limit(now, request, Some(at.since(now)));
            }
        } else if let Some(at) = self.rollback_due(now, key, number, cx).filter(|at| *at > now) {
            self.requests.watches.limit(now, request, Some(at.since(now)));
        } else {
            self.close_to_roll_back(now, key, number, cx);
        }
    }

    /// When a ROLLBACK is given up that waits behind others, or has come to the server a moment
    /// ago.
    fn rollback_due(
        &self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        cx: &Context<'_>,
    ) -> Option<Instant> {
        let flags = self.requests.get(key)?.flags;
        if flags.has(QueryFlags::HURRIED) {
            return None;
        }
        let bound = self.bound_of(flags, cx)?;
        let Some(id) = self.leases.get(number)?.connection() else { return Some(now + bound) };
        let connection = &cx.connections.get(id)?.connection;
        match connection.first_request() {
            Some(token) if token != RequestToken(key.to_bits()) => Some(now + bound),
            // Where it is not sent yet, a question of the pool stands in front of it.
            Some(_) | None => connection.head_since().map(|since| since + bound),
        }
    }

    fn close_to_roll_back(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        let Some(flags) = self.requests.get(key).map(|call| call.flags) else { return };
        let message =
            "the connection was closed, because a ROLLBACK on it was not answered in time";
        let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        let id = self.leases.get(number).and_then(Lease::connection);
        // What stands behind is told that the connection is gone, and it itself that all is well.
        self.refuse_head(number, &why);
        self.lose_lease(number, why.clone());
        if flags.has(QueryFlags::RELEASE) {
            self.leases.remove(number);
        }
        self.finish_call(key, Ok(nothing()));
        let Some(id) = id else { return };
        let at_work = cx.connections.get(id).and_then(|slot| slot.connection.first_request());
        let is_given_up = |token: &RequestToken| {
            self.requests.get(Key::from_bits(token.0)).is_some_and(|call| call.given_up.is_some())
        };
        match at_work.filter(is_given_up) {
            Some(target) => self.give_up_connection(now, id, target, cx),
            None => cx.connections.drop_slot(id, why),
        }
    }
}
