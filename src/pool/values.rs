//! Calls whose values come late: their caller writes them by code of its own, which needs to know the parameters'
//! types.
//!
//! ```text
//! query (VALUES_TO_COME) ──▶ the statement is described ──▶ Output::Types ──▶ supply ──▶ as any other call
//! ```
//!
//! While its caller writes, a call of the pool's has no connection, and one of a lease holds up those behind it. It
//! can be given up at any time. Where a connection is lost meanwhile, it may be described once more on the next
//! one; whoever supplies in between is heard.

use super::{Call, Output, Pool, QueryFlags};
use crate::base::{Instant, Key};
use crate::types::Params;

impl Pool {
    /// The values of a request whose types were told.
    pub fn supply(&mut self, now: Instant, request: u32, params: Params) {
        let Some(key) = self.requests.watches.call(request) else { return };
        let Some(call) = self.requests.get_mut(key) else { return };
        if !call.flags.has(QueryFlags::VALUES_TO_COME) {
            return;
        }
        call.flags = call.flags.without(QueryFlags::VALUES_TO_COME);
        call.params = params;
        self.take_up(now, key);
    }

    /// Nothing keeps a call aside any more.
    pub(super) fn take_up(&mut self, now: Instant, key: Key<Call>) {
        self.requests.take_up_unless_leased(key);
        if let Some(lease) = self.requests.get(key).and_then(|call| call.lease) {
            self.resume_lease(now, lease);
        }
    }

    /// Whether the caller of a statement that is described now has to write its values first.
    pub(super) fn ask_for_values(&mut self, now: Instant, key: Key<Call>) -> bool {
        let Some(call) = self.requests.get_mut(key) else { return false };
        if !call.flags.has(QueryFlags::VALUES_TO_COME) || call.given_up.is_some() {
            return false;
        }
        call.set_aside(now);
        let statement = call.statement.and_then(|id| self.statements.get(id));
        let oids = statement.and_then(|statement| statement.parameter_types());
        let (request, oids) = (call.request, oids.unwrap_or_default().to_vec());
        self.outputs.push_back(Output::Types { request, oids });
        true
    }
}
