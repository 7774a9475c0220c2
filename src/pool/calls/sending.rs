//! A call is written to a connection.

use std::sync::Arc;

use super::{Calls, Context};
use crate::base::{Instant, Key, Mutation, Outcome};
use crate::connection::{Begin, Request, RequestToken, Sent, Shared};
use crate::pool::requests::Phase;
use crate::pool::{Call, ConnectionId, QueryFlags};

impl Calls {
    /// Writes a call to a connection. A parameter that does not fit is the call's own error: then
    /// nothing is sent.
    pub(super) fn send(
        &mut self,
        now: Instant,
        key: Key<Call>,
        id: ConnectionId,
        barrier: bool,
        begin: Option<Begin>,
        cx: &mut Context<'_>,
    ) -> Option<Sent> {
        let strange = self.is_strange(now, id, self.requests.get(key)?.statement?, cx);
        let (call, slot) = (self.requests.get_mut(key)?, cx.connections.get_mut(id)?);
        call.describe_again_on(id);
        self.statements.reform(call.statement?, call.description.get_mut());
        if call.lease.is_some() {
            self.statements.run_in_lease(call.statement?);
        }
        let free = match call.lease {
            None => true,
            Some(lease) => self.leases.get(lease).is_some_and(|lease| !lease.has_seen()),
        };
        let request = Request {
            token: RequestToken(key.to_bits()),
            statement: call.statement?,
            params: &call.params,
            begin,
            free,
            leased: call.lease.is_some(),
            barrier: barrier && !Mutation::ForgetBarrier.is_on(),
            prepare: !call.flags.has(QueryFlags::UNPREPARED),
            describe: call.flags.has(QueryFlags::VALUES_TO_COME),
            description: &call.description,
            strange,
            written: call.written(),
            held: call.is_held(&self.statements),
        };
        let mut shared =
            Shared { config: cx.config, statements: &mut self.statements, keys: &mut self.keys };
        match slot.connection.send(now, &request, &mut shared) {
            Ok(sent) => {
                call.phase = Phase::Sent { to: id, at: now };
                if let Some(trace) = &mut call.trace {
                    let runs = sent != Sent::Question;
                    trace.sent(now, Arc::clone(&slot.target.name), runs);
                }
                if call.lease.is_none() {
                    cx.connections.count_use(id, cx.config.max_uses);
                }
                cx.connections.mark_writing(id);
                Some(sent)
            }
            Err(error) => {
                self.requests.win(now, key);
                self.finish_call(key, Err(error.with_outcome(Outcome::NotSent)));
                None
            }
        }
    }
}
