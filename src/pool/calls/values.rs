//! Calls whose values come late: code of the caller's writes them, and needs to know the types of
//! the parameters.
//!
//! ```text
//! query (VALUES_TO_COME) ──▶ the statement is described ──▶ its users' types are told
//!                        ──▶ Output::Types ──▶ supply ──▶ as any other call
//! ```
//!
//! While its caller writes the values, a call of the pool has no connection, and a call of a lease
//! holds up the calls behind it. Its caller can give it up at any time. Where a connection is lost
//! meanwhile, the statement may be described once more on the next one. Values that a caller
//! supplies in between are taken.

use super::{Calls, Context};
use crate::base::Instant;
use crate::connection::Telling;
use crate::pool::QueryFlags;
use crate::types::Params;

impl Calls {
    /// The values of a request whose types were told.
    pub(in crate::pool) fn supply(
        &mut self,
        now: Instant,
        request: u32,
        params: Params,
        cx: &mut Context<'_>,
    ) {
        let Some(key) = self.requests.watches.call(request) else { return };
        let Some(call) = self.requests.get_mut(key) else { return };
        if !call.flags.has(QueryFlags::VALUES_TO_COME) {
            return;
        }
        call.flags = call.flags.without(QueryFlags::VALUES_TO_COME);
        call.params = params;
        // They were written for types of which the pool does not know yet what stands behind them.
        if let Telling::Done(told) = &call.telling
            && call.params.needs_told(&told.fits)
        {
            call.telling = Telling::Due;
        }
        self.take_up(now, key, cx);
    }
}
