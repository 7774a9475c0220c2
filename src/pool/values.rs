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

use super::{Pool, QueryFlags};
use crate::base::Instant;
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
}
