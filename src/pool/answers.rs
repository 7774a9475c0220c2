//! What callers are told. Nothing else is done here.

use super::{Call, Output, Pool, Response};
use crate::base::{Error, Key};

impl Pool {
    pub(super) fn complete(&mut self, request: u32, result: Result<Response, Error>) {
        self.outputs.push_back(Output::Completed { request, result });
    }

    pub(super) fn finish_call(&mut self, key: Key<Call>, result: Result<Response, Error>) {
        if !self.requests.is_told(key) {
            self.answer(key, result);
        }
        self.forget_call(key);
    }

    /// The call is over; whoever waits for it is told elsewhere.
    pub(super) fn forget_call(&mut self, key: Key<Call>) {
        let statement = self.requests.remove(key).and_then(|call| call.statement);
        if let Some(statement) = statement {
            self.statements.let_go(statement);
        }
    }

    /// Tells the caller what became of its call. Nothing else ever will.
    pub(super) fn answer(&mut self, key: Key<Call>, result: Result<Response, Error>) {
        if let Some((request, result)) = self.requests.answer(key, result) {
            self.complete(request, result);
        }
    }
}
