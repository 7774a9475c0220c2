//! What a request has come to when the server is ready for the next one.

use bytes::BytesMut;

use super::{Copied, Ended, Exchange, Flight};
use crate::base::Error;
use crate::connection::request::held::{Held, Unrun};
use crate::connection::request::step::{Sending, Step};
use crate::connection::statement::staleness::{
    INSUFFICIENT_PRIVILEGE, QUERY_CANCELED, Relies, staleness,
};
use crate::protocol::backend::TransactionStatus;

impl Exchange {
    /// Rolls back to the savepoint in front of a question for types that the server has refused, so
    /// that the transaction goes on. Returns whether more answers follow.
    pub(in crate::connection) fn undo_question(
        &mut self,
        status: TransactionStatus,
        out: &mut BytesMut,
    ) -> Result<bool, Error> {
        let (Step::Undoing, Flight::Steps(steps)) = (self.step, &mut self.flight) else {
            return Ok(false);
        };
        if status != TransactionStatus::Failed {
            steps.stop();
            (self.step, self.refused_at) = (Step::Refused, Step::Types);
            return Ok(false);
        }
        self.refusal = None;
        self.step = Step::Types;
        steps.undo(out)?;
        Ok(true)
    }

    /// Returns the result of the request, now that ReadyForQuery has come. This does not move the
    /// exchange, because it is the largest value in the pipeline.
    pub(in crate::connection) fn finish(&mut self) -> Ended {
        let is_refused = self.refusal.is_some();
        if let Some(copied) = self.copied
            && (copied != Copied::ToStdout || !is_refused)
        {
            let may_have_committed = matches!(self.begun, Some(Sending::Steps { has_left: true }));
            let is_undone = is_refused && !self.committed && !may_have_committed;
            return Ended::Copied { copied, is_undone };
        }
        if let Some(fields) = self.refusal.take() {
            let relies = match &self.flight {
                Flight::Parsing(parsing) => parsing.relies,
                Flight::Prepared { relies, .. } => *relies,
                Flight::Steps(steps) => steps.relies(),
                Flight::Describing { .. } | Flight::Script { .. } | Flight::Prelude => Relies::No,
            };
            return Ended::Refused {
                staleness: staleness(&fields, self.refused_at, relies),
                check_failed: self.check_failed,
                types_refused: self.refused_at == Step::Types
                    && fields.code == INSUFFICIENT_PRIVILEGE,
                question_refused: self.refused_at == Step::Types && fields.code != QUERY_CANCELED,
                parsed: !matches!(self.refused_at, Step::Close | Step::Parse),
                had_results: self.has_completed,
                committed: self.committed,
                began: self.began,
                begun: self.begun,
                fields,
            };
        }
        if let Some(why) = self.too_large.take() {
            let has_run = !matches!(self.flight, Flight::Describing { .. });
            return Ended::TooLarge { why, has_run };
        }
        match &mut self.flight {
            Flight::Describing { description, .. } => {
                return Ended::Described { description: description.take() };
            }
            Flight::Prelude => return Ended::Described { description: None },
            Flight::Steps(steps) if steps.is_untold() => {
                return Ended::Untold { had_results: self.has_completed };
            }
            Flight::Steps(steps) => match steps.held_mut().and_then(Held::take_unrun) {
                Some(Unrun::LacksType) => return Ended::Unreadable { is_text: false },
                Some(Unrun::EncodeError(error)) => return Ended::EncodeError { error },
                None => {}
            },
            _ => {}
        }
        if self.guesses
            && let (Some(shape), Some(asked)) = (&self.shape, self.flight.asked_like())
        {
            let is_text = !self.reads_text && shape.has_text_unlike(asked);
            if is_text || shape.is_unreadable() {
                return Ended::Unreadable { is_text };
            }
        }
        Ended::Completed {
            results: std::mem::take(&mut self.results),
            unreplicated: self.unreplicated,
        }
    }
}
