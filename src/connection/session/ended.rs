//! The result of a request when the server is ready for the next one or the connection is over, and
//! its effects on the session.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Session;
use crate::base::{Error, ErrorClass, Mutation, Outcome, ServerFields};
use crate::connection::request::ended::StatementResult;
use crate::connection::request::exchange::{Ended, Flight};
use crate::connection::request::pipeline::{Kind, Pipeline, requests};
use crate::connection::request::rows::too_large;
use crate::connection::statement::script::{copied_error, is_end};
use crate::connection::statement::session_effects::{deallocates_all, resets_settings};
use crate::connection::statement::staleness::Staleness;
use crate::connection::statement::{Form, Statement, StatementId};
use crate::connection::{Answer, Event, Remedy, Shared};
use crate::protocol::backend::TransactionStatus;

/// `invalid_sql_statement_name`.
const NO_SUCH_STATEMENT: &str = "26000";
/// `in_failed_sql_transaction`.
const FAILED_TRANSACTION: &str = "25P02";

impl Session {
    pub(in crate::connection) fn pipeline_mut(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    pub(super) fn settle(
        &mut self,
        id: StatementId,
        name: Option<&Arc<str>>,
        parsing: bool,
        script: bool,
        ended: Ended,
        shared: &mut Shared<'_>,
    ) -> Answer {
        match ended {
            Ended::Described { description } => Answer::Described { description },
            Ended::Unreadable { is_text } => {
                // The description doesn't say yet what user-made types are. The pool asks for these
                // only after a statement was described before its first use.
                if is_text && let Some(statement) = shared.statements.get_mut(id) {
                    statement.form = Form::Undescribed;
                }
                let message = "the types of its columns have changed while it was asked for";
                let class = ErrorClass::Configuration;
                let error = Error::new(class, "HYPERION_BINARY_RESULT", message);
                let error = error.with_outcome(Outcome::NotCommitted);
                Answer::Refused { error, remedy: Remedy::DescribeFirst }
            }
            Ended::EncodeError { error } => {
                let error = error.with_outcome(Outcome::NotSent);
                Answer::Refused { error, remedy: Remedy::Nothing }
            }
            Ended::Untold { had_results } => {
                let error = untold(had_results);
                Answer::Refused { error, remedy: Remedy::Nothing }
            }
            Ended::TooLarge { why, has_run } => {
                // Its command tags were dropped with its rows.
                if let Some(Statement { session_effects, .. }) = shared.statements.get(id) {
                    self.style.ran_in_part(*session_effects);
                    if shared.config.reset_on_release && session_effects.is_likely() {
                        self.mark_dirty();
                    }
                }
                let error = too_large(why, has_run, self.max_result_bytes);
                Answer::Refused { error, remedy: Remedy::Nothing }
            }
            Ended::Copied { copied, is_undone } => {
                if let Some(Statement { session_effects, .. }) = shared.statements.get(id) {
                    self.style.ran_in_part(*session_effects);
                }
                if shared.config.reset_on_release {
                    self.mark_dirty();
                }
                let failed = self.status == TransactionStatus::Failed;
                let error = copied_error(copied, is_undone, failed);
                Answer::Refused { error, remedy: Remedy::Nothing }
            }
            Ended::Completed { results, unreplicated } => {
                let session_effects =
                    shared.statements.get(id).map(|statement| statement.session_effects);
                for StatementResult { command, .. } in &results {
                    if let Some(session_effects) = session_effects {
                        self.style.ran(session_effects, command);
                        if shared.config.reset_on_release && session_effects.were_left(command) {
                            self.mark_dirty();
                        }
                    }
                    if deallocates_all(command) {
                        self.prepared.clear();
                    }
                    if resets_settings(command) && self.pipeline.is_empty() {
                        self.style.reset();
                    }
                }
                Answer::Completed { results, unreplicated }
            }
            Ended::Refused {
                fields,
                staleness,
                check_failed,
                types_refused,
                question_refused,
                parsed,
                had_results,
                committed,
                began,
                begun,
            } => {
                if check_failed {
                    shared.statements.describes_first = true;
                }
                if types_refused {
                    self.refuse_types(shared);
                }
                let fields = self.refused(id, name, shared.statements.get(id), fields);
                // The server refused it because of another statement's error.
                let staleness = match fields.code == FAILED_TRANSACTION {
                    true => Staleness::No,
                    false => staleness,
                };
                match (staleness, name) {
                    (Staleness::NameTaken, Some(name)) => self.prepared.unparsed(id, name),
                    (Staleness::No, Some(name)) if parsing && !parsed => {
                        self.prepared.unparsed(id, name);
                    }
                    (Staleness::No, _) | (_, None) => {}
                    (_, Some(name)) => self.prepared.doom_name(id, name),
                }
                if staleness != Staleness::No {
                    self.prepared.forget(id);
                }
                if staleness == Staleness::Description
                    && let Some(statement) = shared.statements.get_mut(id)
                {
                    statement.form = Form::Undescribed;
                }
                let remedy = match staleness {
                    Staleness::No if check_failed || question_refused => Remedy::Anew,
                    Staleness::No => Remedy::Nothing,
                    Staleness::Types => Remedy::DescribeFirst,
                    _ => Remedy::Anew,
                };
                if script && had_results {
                    if let Some(Statement { session_effects, .. }) = shared.statements.get(id) {
                        self.style.ran_in_part(*session_effects);
                    }
                    if shared.config.reset_on_release {
                        self.mark_dirty();
                    }
                }
                if begun.is_some()
                    && let Some(Statement { session_effects, .. }) = shared.statements.get(id)
                    && session_effects.may_be_left_by_failing()
                {
                    self.style.ran_in_part(*session_effects);
                    if shared.config.reset_on_release {
                        self.mark_dirty();
                    }
                }
                // A script may have committed in its middle, and so may a procedure, unless it
                // failed in a transaction block that was open before. Any other statement that
                // fails has no effect.
                let statement = shared.statements.get(id);
                let halfway = (began || self.status == TransactionStatus::Idle)
                    && begun
                        .zip(statement)
                        .is_some_and(|(sent, of)| of.may_have_committed(sent, &fields));
                let outcome = match halfway || (script && committed) {
                    true => Outcome::Unknown,
                    false => Outcome::NotCommitted,
                };
                let error = Error::database(*fields).with_outcome(outcome);
                let error = if question_refused { error.with_hint(QUESTION) } else { error };
                Answer::Refused { error, remedy }
            }
        }
    }

    /// The error of a refused request, as its caller gets it. A failed transaction parses no
    /// statement, and the server looks for a prepared statement before it looks at the transaction.
    /// So it reports 26000, and this returns the transaction's own error in its place, unless the
    /// statement ends the transaction.
    fn refused(
        &mut self,
        id: StatementId,
        name: Option<&Arc<str>>,
        statement: Option<&Statement>,
        fields: Box<ServerFields>,
    ) -> Box<ServerFields> {
        if fields.code == FAILED_TRANSACTION {
            self.aborted = Some(fields.clone());
        }
        const FAILED: TransactionStatus = TransactionStatus::Failed;
        let had_failed = (self.status_before, self.status) == (FAILED, FAILED);
        match name {
            Some(name)
                if fields.code == NO_SUCH_STATEMENT
                    && had_failed
                    && !statement.is_some_and(|statement| is_end(&statement.sql)) =>
            {
                self.prepared.doom_name(id, name);
                self.aborted.clone().unwrap_or_else(aborted)
            }
            _ => fields,
        }
    }

    /// Whether the session ended while no request was in flight, and no server said why.
    pub(in crate::connection) fn is_cut_idle(&self, why: &Error) -> bool {
        let said_by_server = why.server().is_some_and(is_of_server);
        requests(&self.pipeline).next().is_none()
            && matches!(why.class(), ErrorClass::Connection | ErrorClass::Database)
            && !said_by_server
    }

    /// Whether a pooler still has something of this session under way, and the next byte would begin
    /// a message. `written` is how many bytes the kernel has taken.
    pub(in crate::connection) fn leaves_pooler_at_work(
        &self,
        written: u64,
        is_all_written: bool,
    ) -> bool {
        let is_between = is_all_written || self.pipeline.iter().any(|item| item.start == written);
        let is_at_work = self.pipeline.front().is_some_and(|item| item.start < written);
        self.far_end.may_be_pooler() && is_at_work && is_between
    }

    /// The connection is over: reports of each request whether it may have run. `written` is how
    /// many bytes the kernel has taken.
    pub(in crate::connection) fn abandon(
        &mut self,
        written: u64,
        why: &Error,
        events: &mut VecDeque<Event>,
    ) {
        let mut in_transaction = self.status != TransactionStatus::Idle;
        for (item, behind) in self.pipeline.drain(..).zip(0usize..) {
            let Kind::Request { token, exchange } = item.kind else { continue };
            // The server works in order: after a FATAL error it looked at no further request. A
            // description runs nothing.
            let untouched = item.start >= written
                || (self.never_handed_on && !Mutation::IgnoreDismissal.is_on())
                || matches!(exchange.flight, Flight::Describing { .. })
                || (self.fatal && behind > 0)
                || (self.skipped && behind == 0);
            let outcome = if untouched { Outcome::NotSent } else { Outcome::Unknown };
            events.push_back(Event::Lost { token, outcome, in_transaction, why: why.clone() });
            // The request may have ended the transaction.
            in_transaction = false;
        }
    }
}

/// The hint if a server has refused no statement of the caller's.
const QUESTION: &str = "the server refused the pool's own question for the users' types in the answer, which waits for \
                        no lock on pg_type for longer than 500 ms";

/// The error of a script whose next statement has results that can't be read for the moment.
fn untold(had_results: bool) -> Error {
    let message = "the answer can't be read, as a lock or a time limit kept the server each time from describing its \
                   types: the statement that returns it has not run";
    let outcome = if had_results { Outcome::Unknown } else { Outcome::NotCommitted };
    Error::new(ErrorClass::Protocol, "HYPERION_UNREADABLE_VALUE", message).with_outcome(outcome)
}

/// The error that a server gives to any statement in a failed transaction, for when it was not
/// asked.
fn aborted() -> Box<ServerFields> {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Box::new(ServerFields {
        severity: "ERROR".to_owned(),
        code: FAILED_TRANSACTION.to_owned(),
        message: message.to_owned(),
        ..ServerFields::default()
    })
}

pub(super) fn is_fatal(fields: &ServerFields) -> bool {
    matches!(fields.severity.as_str(), "FATAL" | "PANIC")
}

/// A pooler's error when all its server connections stayed in use. It says nothing of the server.
pub const QUERY_WAIT_TIMEOUT: &str = "query_wait_timeout";

/// Whether PgBouncer has handed nothing on: it gives these errors only to clients that still wait
/// for a server connection, so no server has seen their unanswered requests. From 1.24 on it
/// repeats the error that the server gave to PgBouncer's own login. Any other FATAL error of a
/// pooler may be about a server that was already working.
pub fn was_never_handed_on(fields: &ServerFields) -> bool {
    const PROTOCOL_VIOLATION: &str = "08P01";
    let waited = match fields.code.as_str() {
        PROTOCOL_VIOLATION => {
            fields.message == QUERY_WAIT_TIMEOUT
                || fields.message.starts_with("server login has been failing")
        }
        code => REFUSED_LOGIN.contains(&code),
    };
    is_fatal(fields) && !is_of_server(fields) && waited
}

/// The codes with which a server ends a login and never an established session: wrong
/// authorization, password or database, no privilege to connect, a database that accepts no
/// connections, too many connections, and a server that is starting or stopping.
const REFUSED_LOGIN: [&str; 7] = ["28000", "28P01", "3D000", "42501", "55000", "53300", "57P03"];

/// Whether PostgreSQL itself reports the error: it names the routine that raised it. A pooler names
/// none. Its FATAL error may be about a server that it has lost, and that may have run everything
/// that was handed on to it.
pub(super) fn is_of_server(fields: &ServerFields) -> bool {
    fields.routine.is_some()
}
