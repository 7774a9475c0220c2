//! The DataRow messages of an answer: whether one is expected, and whether it is kept.

use super::Exchange;
use crate::base::Error;
use crate::base::body::NoMemory;
use crate::connection::request::flight::Flight;
use crate::connection::request::rows::{ROW_OVERHEAD, TooLarge};
use crate::connection::request::step::Step;
use crate::protocol::data_row::{check_data_row, check_long_row};

impl Exchange {
    /// A DataRow, by far the most frequent message.
    pub(in crate::connection) fn row(&mut self, body: &[u8]) -> Result<(), Error> {
        let columns = match (&self.shape, self.step) {
            (Some(shape), Step::Execute) => shape.columns().len(),
            _ => return self.other_row(body),
        };
        if self.keeps_row(body.len()) {
            check_data_row(body, columns)?;
            let pushed = self.rows.push(body);
            self.note(pushed);
        }
        Ok(())
    }

    /// A row that does not belong to the statement's result.
    #[cold]
    fn other_row(&mut self, body: &[u8]) -> Result<(), Error> {
        match (self.step, &mut self.flight) {
            (Step::Types, Flight::Steps(steps)) => {
                steps.row(body);
                Ok(())
            }
            (Step::Execute, _) if self.too_large.is_some() => Ok(()),
            _ => Err(self.unexpected("DataRow")),
        }
    }

    /// Begins a row that comes in parts. Returns whether the parts are needed.
    pub(in crate::connection) fn begin_row(&mut self, length: usize) -> Result<bool, Error> {
        if !self.takes_row(length)? {
            return Ok(false);
        }
        let begun = self.rows.begin();
        Ok(self.note(begun))
    }

    pub(in crate::connection) fn row_part(&mut self, part: &[u8], left: usize) -> bool {
        let extended = self.rows.extend(part, left);
        self.note(extended)
    }

    pub(in crate::connection) fn end_row(&mut self) -> Result<(), Error> {
        let columns = self.columns();
        check_long_row(self.rows.end(), columns)
    }

    fn columns(&self) -> usize {
        self.shape.as_ref().map_or(0, |shape| shape.columns().len())
    }

    fn takes_row(&mut self, length: usize) -> Result<bool, Error> {
        match (&self.shape, self.step) {
            (Some(_), Step::Execute) => Ok(self.keeps_row(length)),
            (None, Step::Execute) if self.too_large.is_some() => Ok(false),
            _ => Err(self.unexpected("DataRow")),
        }
    }

    /// Counts a row of the result, and returns whether it is kept.
    fn keeps_row(&mut self, length: usize) -> bool {
        self.too_large.is_none() && !self.drops_rows && self.hold(length + ROW_OVERHEAD)
    }

    pub(super) fn note(&mut self, kept: Result<(), NoMemory>) -> bool {
        if kept.is_err() {
            self.give_up(TooLarge::ForMemory);
        }
        kept.is_ok()
    }
}
