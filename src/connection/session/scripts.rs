//! Scripts that are run in steps: until the last one is sent, nothing else may be.

use bytes::BytesMut;

use super::{Session, Tidiness};
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::connection::Shared;
use crate::connection::exchange::Flight;
use crate::connection::pipeline::{Entry, Work};
use crate::connection::prelude::Prelude;
use crate::connection::script::Copied;
use crate::connection::statement::{Statement, Statements};
use crate::connection::steps::Steps;
use crate::protocol::frontend;

impl Session {
    /// Writes a script as it is. Where text would not come as this client reads it, it is run in
    /// steps, and [`Self::begin_steps`] sends the first one.
    pub(super) fn script(
        &self,
        statement: &Statement,
        statements: &Statements,
        out: &mut BytesMut,
    ) -> Result<(Flight, Prelude), Error> {
        let reads_text = self.style.reads_script(statement, statements);
        if !(reads_text || statement.is_plain_script)
            && let Some(steps) = Steps::of(&statement.sql, self.style.has_standard_strings())
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

    /// The session's role may not be told of types between the statements of a script. It may be
    /// another one than the pool's own, where the session's user has changed settings.
    pub(super) fn refuse_types(&mut self, shared: &mut Shared<'_>) {
        match self.tidiness == Tidiness::Clean && self.style.is_untouched() {
            true => shared.statements.refuse_types(),
            false => self.refuses_types = true,
        }
    }

    /// Sends the first step of a script, once nothing stands in front of it.
    pub(super) fn begin_steps(&mut self, sent: u64, out: &mut BytesMut) -> Result<(), Error> {
        if let Some(Entry { work: Work::Request { exchange, .. }, start, .. }) =
            self.pipeline.front_mut()
            && let Flight::Steps(steps) = &mut exchange.flight
            && steps.is_waiting()
        {
            *start = sent + out.len() as u64;
            steps.begin(out)?;
        }
        Ok(())
    }

    /// A statement of a script was described, or refused.
    pub(super) fn go_on(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        if let Some(Entry { work: Work::Request { exchange, .. }, .. }) = self.pipeline.front_mut()
        {
            exchange.go_on(out)?;
        }
        if !self.is_stepping() && std::mem::take(&mut self.place_is_due) {
            self.ask_place(now, sent, out)?;
        }
        Ok(())
    }

    /// Ends a COPY that waits for data. A Sync behind it was taken for data too. One in both
    /// directions knows no CopyFail (PostgreSQL manual, 55.2.7).
    pub(super) fn refuse_copy(&mut self, copied: Copied, out: &mut BytesMut) -> Result<(), Error> {
        match copied {
            Copied::Both => frontend::copy_done(out)?,
            Copied::FromStdin | Copied::ToStdout => {
                frontend::copy_fail(out, "COPY FROM STDIN is not supported by this client")?;
            }
        }
        match self.pipeline.front().map(|entry| &entry.work) {
            Some(Work::Request { exchange, .. }) if exchange.has_synced() => frontend::sync(out),
            _ => Ok(()),
        }
    }
}

/// In steps, each statement would be read as the ones before it have set it; in the simple
/// protocol, all of them as the session was when it took the text.
fn respelled() -> Error {
    let message = "the text names standard_conforming_strings and has backslashes in it, and was not sent: its \
                   statements can't be sent together in a session whose settings for values are not the defaults. \
                   Send them one by one";
    Error::new(ErrorClass::Configuration, "HYPERION_STANDARD_STRINGS", message)
        .with_outcome(Outcome::NotSent)
}
