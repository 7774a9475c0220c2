//! A script by the extended protocol: one statement after the other, each described before it runs, so that its results
//! come in binary. The simple protocol has text alone, which the settings of a session decide.
//!
//! A single Sync ends all of them, so that they are one implicit transaction, as in the simple protocol: what one
//! of them begins or commits holds for the others. A Flush behind each description makes the server send it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;

use super::lexer::statements;
use crate::base::Error;
use crate::protocol::{Format, frontend};
use crate::types::Shape;

#[derive(Debug)]
pub(super) struct Steps {
    sql: Arc<str>,
    /// The statements that were not sent.
    left: VecDeque<Range<usize>>,
    /// The Sync was sent.
    ended: bool,
}

impl Steps {
    /// `None` where the text can't be cut into statements beyond doubt.
    pub(super) fn of(sql: &Arc<str>, standard_strings: bool) -> Option<Self> {
        let left: VecDeque<_> = statements(sql, standard_strings)?.into();
        (!left.is_empty()).then(|| Self { sql: Arc::clone(sql), left, ended: false })
    }

    /// The description of the first statement is asked for.
    pub(super) fn begin(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let next = self.left.pop_front();
        let Some(sql) = next.and_then(|range| self.sql.get(range)) else { return self.end(out) };
        frontend::parse(out, "", sql, &[])?;
        frontend::describe_statement(out, "")?;
        frontend::flush(out)
    }

    /// The statement that was described is run, and the next one described.
    pub(super) fn run(&mut self, shape: Option<&Shape>, out: &mut BytesMut) -> Result<(), Error> {
        let columns = shape.map_or(&[][..], Shape::columns);
        let results = columns.iter().map(|column| column.field.format);
        let no_parameter =
            |_: usize, _: &mut BytesMut| Err(Error::internal("no parameter was counted"));
        frontend::bind(out, "", "", std::iter::empty::<Format>(), 0, no_parameter, results)?;
        frontend::execute(out, "", 0)?;
        self.begin(out)
    }

    /// Nothing more is run.
    pub(super) fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        self.left.clear();
        if std::mem::replace(&mut self.ended, true) { Ok(()) } else { frontend::sync(out) }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}
