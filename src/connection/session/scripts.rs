//! Scripts that run in steps. Nothing else may be sent until the last step is sent.

use bytes::BytesMut;

use super::{Cleanliness, Session};
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::connection::request::exchange::Flight;
use crate::connection::request::held::Held;
use crate::connection::request::pipeline::{Item, Kind};
use crate::connection::request::prelude::Prelude;
use crate::connection::request::steps::Steps;
use crate::connection::statement::script::Copied;
use crate::connection::statement::{Statement, Statements};
use crate::connection::{Request, Shared};
use crate::protocol::backend::TransactionStatus;
use crate::protocol::frontend;

impl Session {
    /// Writes a script as a single simple query. If text would not come as this client reads it,
    /// the script runs in steps, and [`Self::begin_steps`] sends the first of them. A statement
    /// that is to be held always does.
    pub(super) fn script(
        &self,
        request: &Request<'_>,
        statement: &Statement,
        statements: &Statements,
        out: &mut BytesMut,
    ) -> Result<(Flight, Prelude), Error> {
        if request.held {
            let steps = Steps::held(&statement.sql, Held::new(request));
            return Ok((Flight::Steps(Box::new(steps)), Prelude::default()));
        }
        let reads_text = self.style.reads_script(statement, statements);
        if !(reads_text || statement.is_plain_script)
            && let Some(steps) = Steps::of(statement, self.style.has_standard_strings())
        {
            if statement.may_respell() {
                return Err(respelled());
            }
            let prelude = steps.prelude();
            return Ok((Flight::Steps(Box::new(steps)), prelude));
        }
        frontend::query(out, &statement.sql)?;
        Ok((
            Flight::Script { reads_text: reads_text || !statement.is_plain_script },
            Prelude::default(),
        ))
    }

    /// Remembers that the session's role may not read types between the statements of a script. If
    /// the session's user has changed settings, it may be another role than the pool's own, and the
    /// refusal counts for this session only.
    pub(super) fn refuse_types(&mut self, shared: &mut Shared<'_>) {
        match self.tidiness == Cleanliness::Clean && self.style.is_untouched() {
            true => shared.statements.refuse_types(),
            false => self.refuses_types = true,
        }
    }

    /// Sends the first step of a script, once nothing unanswered stands in front of it.
    pub(super) fn begin_steps(&mut self, sent: u64, out: &mut BytesMut) -> Result<(), Error> {
        let is_in_block = self.status == TransactionStatus::InTransaction;
        if let Some(Item { kind: Kind::Request { exchange, .. }, start, .. }) =
            self.pipeline.front_mut()
            && let Flight::Steps(steps) = &mut exchange.flight
            && steps.is_waiting()
        {
            *start = sent + out.len() as u64;
            steps.begin(is_in_block, out)?;
        }
        Ok(())
    }

    /// Whether the server is ready for the way back from a question for types that it has refused
    /// between two statements.
    pub(super) fn undoes_question(
        &mut self,
        status: TransactionStatus,
        out: &mut BytesMut,
    ) -> Result<bool, Error> {
        match self.pipeline.front_mut().map(|item| &mut item.kind) {
            Some(Kind::Request { exchange, .. }) => exchange.undo_question(status, out),
            _ => Ok(false),
        }
    }

    /// Sends the next step after a statement of a script was described or refused.
    pub(super) fn go_on(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        if let Some(Item { kind: Kind::Request { exchange, .. }, .. }) = self.pipeline.front_mut() {
            exchange.go_on(out)?;
        }
        if !self.is_stepping() && std::mem::take(&mut self.place_is_due) {
            self.ask_place(now, sent, out)?;
        }
        Ok(())
    }

    /// Ends a COPY that waits for data. The server took a Sync that was sent before for data, so
    /// another one follows. A COPY in both directions has no CopyFail (PostgreSQL manual, 55.2.7).
    pub(super) fn refuse_copy(&mut self, copied: Copied, out: &mut BytesMut) -> Result<(), Error> {
        match copied {
            Copied::Both => frontend::copy_done(out)?,
            Copied::FromStdin | Copied::ToStdout => {
                frontend::copy_fail(out, "COPY FROM STDIN is not supported by this client")?;
            }
        }
        match self.pipeline.front().map(|item| &item.kind) {
            Some(Kind::Request { exchange, .. }) if exchange.has_synced() => frontend::sync(out),
            _ => Ok(()),
        }
    }
}

/// In steps, the server reads each statement by the settings that the statements before it left. In
/// the simple protocol it reads all of them by the settings at the time when it received the text.
fn respelled() -> Error {
    let message = "the text names standard_conforming_strings and has backslashes in it, and was not sent: its \
                   statements can't be sent together in a session whose settings for values are not the defaults. \
                   Send them one by one";
    Error::new(ErrorClass::Configuration, "HYPERION_STANDARD_STRINGS", message)
        .with_outcome(Outcome::NotSent)
}
