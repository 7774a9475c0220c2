//! Calls whose values come late: code of the caller's writes them, and needs to know the types of
//! the parameters.
//!
//! ```text
//! query (VALUES_TO_COME) ──▶ the statement is described ──▶ its users' types are told
//!                        ──▶ Output::Types ──▶ supply ──▶ as any other call
//! ```
//!
//! Values belong to the types that they were written for. So they go where a session has just told
//! these types: the statement is described once more, unless the connection has prepared it with
//! them. Where it is told other types, the caller is asked once more. The same holds for values
//! that were written when the query was called, by types that the pool knew (VALUES_WRITTEN).
//!
//! While its caller writes the values, a call of the pool has no connection, and a call of a lease
//! holds up the calls behind it. Its caller can give it up at any time. Where a connection is lost
//! meanwhile, the statement may be described once more on the next one. Values that a caller
//! supplies in between are taken.

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Outcome};
use crate::connection::{DescriptionState, StatementId};
use crate::pool::requests::Authored;
use crate::pool::type_lookup::UNRESOLVED_TYPES;
use crate::pool::verdict::Verdict;
use crate::pool::{Call, ConnectionId, QueryFlags};
use crate::types::Params;

impl Calls {
    /// What a new call's values were written for. Where the pool does not know the types any more
    /// for which its caller wrote them, they are to come.
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

    /// A call's statement may have been described for it.
    pub(super) fn take_description(
        &mut self,
        id: ConnectionId,
        key: Key<Call>,
        verdict: Verdict,
    ) -> Verdict {
        let Verdict::Described(Some(description)) = verdict else { return verdict };
        if let Some(call) = self.requests.get_mut(key)
            && !call.described(id, description)
            && call.authored.as_ref().is_some_and(|authored| authored.is_exhausted())
        {
            let message = "the types of its parameters have changed each time that its values \
                           were written";
            let error = Error::new(ErrorClass::Connection, UNRESOLVED_TYPES, message);
            return Verdict::Deliver(Err(error.with_outcome(Outcome::NotSent)));
        }
        Verdict::Described(None)
    }

    /// The values of a request whose parameter types its caller was given.
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
