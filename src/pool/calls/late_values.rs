//! Calls whose values come late, because the caller's code writes them and needs the types of the
//! parameters.
//!
//! ```text
//! query (VALUES_TO_COME) ──▶ the statement is described ──▶ its users' types are described
//!                        ──▶ Output::Types ──▶ supply ──▶ as for any other call
//! ```
//!
//! Values belong to the types for which they were written. So they are sent where a session has
//! just reported these types: the statement is described again, unless the connection has prepared
//! it with them. If the session reports other types, the caller is asked again. The same holds for
//! values that were written when the query was called, for types that the pool knew
//! (VALUES_WRITTEN).
//!
//! Another client may make the types anew all the time. The call is then tried again until
//! `acquireTimeoutMs` after the first change. After 16 descriptions the call pauses before each
//! further one, longer each time.
//!
//! While the caller writes the values, a call of the pool has no connection, and a call of a lease
//! delays the calls after it. The caller can give up the call at any time. If a connection is lost
//! meanwhile, the statement may be described again on the next connection. Values that the caller
//! supplies in between are accepted.

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Outcome};
use crate::connection::{DescriptionState, StatementId};
use crate::pool::requests::Authored;
use crate::pool::type_lookup::UNRESOLVED_TYPES;
use crate::pool::verdict::Verdict;
use crate::pool::{Call, ConnectionId, QueryFlags};
use crate::types::Params;

impl Calls {
    /// The types for which a new call's values were written. If the pool no longer knows the types
    /// for which the caller wrote them, the values have to be written again.
    pub(super) fn authored(
        &self,
        statement: StatementId,
        flags: QueryFlags,
        params: Params,
    ) -> (Option<Box<Authored>>, QueryFlags, Params) {
        let types = match flags.has(QueryFlags::VALUES_WRITTEN) {
            true => self.statements.parameter_types(statement),
            false if flags.has(QueryFlags::VALUES_TO_COME) => None,
            false => return (None, flags, params),
        };
        match types {
            Some(types) => (Some(Box::new(Authored::early(types.to_vec()))), flags, params),
            None => (Some(Box::default()), flags.with(QueryFlags::VALUES_TO_COME), Params::new()),
        }
    }

    /// The statement may have been described for this call.
    pub(super) fn take_description(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        verdict: Verdict,
        cx: &Context<'_>,
    ) -> Verdict {
        let within = cx.config.acquire_timeout;
        let Verdict::Described(Some(description)) = verdict else { return verdict };
        if let Some(call) = self.requests.get_mut(key)
            && !call.described(id, description)
            && call.authored.as_mut().is_some_and(|authored| authored.is_exhausted(now, within))
        {
            let message = "the types of its parameters have changed each time that its values \
                           were written";
            let error = Error::new(ErrorClass::Connection, UNRESOLVED_TYPES, message);
            return Verdict::Deliver(Err(error.with_outcome(Outcome::NotSent)));
        }
        Verdict::Described(None)
    }

    /// Calls whose pauses are over have their statements described again.
    pub(in crate::pool) fn end_pauses(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(key) = self.requests.take_paused(now) {
            self.take_up(now, key, cx);
        }
    }

    /// Takes the values of a request, for the parameter types that its caller was given.
    pub(in crate::pool) fn supply(
        &mut self,
        now: Instant,
        request: u32,
        params: Params,
        cx: &mut Context<'_>,
    ) {
        let Some(key) = self.requests.watches.call(request) else { return };
        let Some(call) = self.requests.get_mut(key) else { return };
        let is_due = call.authored.as_mut().is_some_and(|authored| authored.answer());
        if !is_due || !call.flags.has(QueryFlags::VALUES_TO_COME) {
            return;
        }
        call.flags = call.flags.without(QueryFlags::VALUES_TO_COME);
        call.params = params;
        // The caller's code has run since, and another connection may take the call.
        call.description = DescriptionState::Due;
        self.take_up(now, key, cx);
    }
}
