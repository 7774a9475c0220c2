//! Scripts that are run in steps: until the last one is sent, nothing else may be.

use bytes::BytesMut;

use super::Session;
use crate::base::{Error, Instant};
use crate::connection::exchange::{Exchange, Flight};
use crate::connection::pipeline::{Entry, Work};
use crate::connection::statement::{Statement, Statements};
use crate::connection::steps::Steps;
use crate::protocol::frontend;

impl Session {
    /// Writes a script: as it is, or its first step where text would not come as this client reads it.
    pub(super) fn script(
        &self,
        statement: &Statement,
        statements: &Statements,
        out: &mut BytesMut,
    ) -> Result<Flight, Error> {
        if !self.style.reads_script(statement, statements)
            && let Some(mut steps) = Steps::of(&statement.sql, self.style.has_standard_strings())
        {
            steps.begin(out)?;
            return Ok(Flight::Steps(steps));
        }
        frontend::query(out, &statement.sql)?;
        Ok(Flight::Script)
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

    /// Ends a COPY that waits for data. A Sync behind it was taken for data too.
    pub(super) fn refuse_copy(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        frontend::copy_fail(out, "COPY FROM STDIN is not supported by this client")?;
        match self.pipeline.front().map(|entry| &entry.work) {
            Some(Work::Request { exchange, .. }) if exchange.has_synced() => frontend::sync(out),
            _ => Ok(()),
        }
    }

    pub(super) fn is_stepping(&self) -> bool {
        let steps = |entry: &Entry| matches!(&entry.work, Work::Request { exchange, .. } if Exchange::has_steps_left(exchange));
        self.pipeline.back().is_some_and(steps)
    }
}
