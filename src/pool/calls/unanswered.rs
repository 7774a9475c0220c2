//! Calls that were given up, and whose server has answered neither them nor a CancelRequest.

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Outcome};
use crate::cluster::Observation;
use crate::connection::RequestToken;
use crate::pool::connections::CancelState;
use crate::pool::requests::{GivenUp, given_up_error};
use crate::pool::{Call, ConnectionId, QueryFlags};

impl Calls {
    /// Answers the call, and closes its connection.
    pub(super) fn give_up_connection(
        &mut self,
        now: Instant,
        id: ConnectionId,
        target: RequestToken,
        cx: &mut Context<'_>,
    ) {
        let key: Key<Call> = Key::from_bits(target.0);
        let (grace, reached) = (cx.config.cancel_grace.as_millis(), self.was_reached(id, cx));
        let message = format!("a query that was given up was not answered within {grace} ms");
        let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        if let Some(call) = self.requests.get(key)
            && let Some(GivenUp { reason, .. }) = call.given_up
        {
            let is_own = self.is_at_work_in_own_transaction(id, target, cx);
            let outcome = match is_own || call.flags.begin().is_some() {
                true => self.outcome_in_transaction(id, call, Outcome::Unknown, cx),
                false => Outcome::Unknown,
            };
            let what = format!(
                "the server answered neither it nor a CancelRequest within {grace} ms \
                 (cancelGraceMs), and the connection was closed"
            );
            let (lease, releases) = (call.lease, call.flags.has(QueryFlags::RELEASE));
            let error = cx.connections.at_host(id, given_up_error(reason, outcome, &what));
            if let Some(lease) = lease {
                self.lose_lease(lease, why.clone());
                if releases {
                    self.leases.remove(lease);
                }
            }
            self.finish_call(key, Err(error));
        }
        let host = cx.connections.get(id).map(|slot| slot.host);
        cx.connections.drop_slot(id, why.clone());
        // A server that still takes CancelRequests is there, whatever keeps this session busy.
        if let Some(host) = host
            && !reached
        {
            self.discover(cx, |discovery, cx| {
                discovery.observe(now, host, Observation::SessionLost(why), cx)
            });
        }
    }

    fn was_reached(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
        let cancelling = cx.connections.get(id).and_then(|slot| slot.cancelling.as_ref());
        cancelling.is_some_and(|cancelling| matches!(cancelling.state, CancelState::Due { .. }))
    }
}
