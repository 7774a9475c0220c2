//! Answers callers, and does nothing else.

use super::Calls;
use crate::base::{Error, Instant, Key};
use crate::connection::DescriptionState;
use crate::pool::{Call, Output, QueryFlags, Response};

impl Calls {
    pub(in crate::pool) fn complete(&mut self, request: u32, result: Result<Response, Error>) {
        self.outputs.push_back(Output::Completed { request, result });
    }

    pub(super) fn finish_call(&mut self, key: Key<Call>, result: Result<Response, Error>) {
        if !self.requests.is_answered(key) {
            self.answer(key, result);
        }
        self.forget_call(key);
    }

    /// The call is over, and its caller is answered elsewhere.
    pub(super) fn forget_call(&mut self, key: Key<Call>) {
        let statement = self.requests.remove(key).and_then(|call| call.statement);
        if let Some(statement) = statement {
            self.statements.let_go(statement);
        }
    }

    /// Answers the call's caller. This is the only answer.
    pub(super) fn answer(&mut self, key: Key<Call>, result: Result<Response, Error>) {
        self.tell_trace(key);
        if let Some((request, result)) = self.requests.answer(key, result) {
            self.complete(request, result);
        }
    }

    /// Gives the caller of an answered call the call's trace, if the caller wants it.
    pub(super) fn tell_trace(&mut self, key: Key<Call>) {
        if let Some((request, trace)) = self.requests.take_trace(key) {
            self.outputs.push_back(Output::Traced { request, trace });
        }
    }

    /// Whether the caller of a statement that is now described has to write its values first.
    pub(super) fn ask_for_values(&mut self, now: Instant, key: Key<Call>) -> bool {
        let Some(call) = self.requests.get_mut(key) else { return false };
        if !call.flags.has(QueryFlags::VALUES_TO_COME) || call.given_up.is_some() {
            return false;
        }
        call.set_aside(now);
        let statement = call.statement.and_then(|id| self.statements.get(id));
        let oids = match &call.description {
            DescriptionState::Done(description) => Some(&description.parameter_types[..]),
            DescriptionState::Shared | DescriptionState::Due => {
                statement.and_then(|it| it.parameter_types())
            }
        };
        let (request, oids) = (call.request, oids.unwrap_or_default().to_vec());
        call.authored.get_or_insert_default().ask(oids.clone());
        if !call.flags.has(QueryFlags::CANCELLABLE) {
            call.flags = call.flags.with(QueryFlags::CANCELLABLE);
            self.requests.watches.insert(request, key);
        }
        self.outputs.push_back(Output::Types { request, oids });
        true
    }
}
