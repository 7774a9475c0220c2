//! The pool's own questions: where the host stands, what types there are, and which role it has.
//! Also how the pool sets again what was named at the login.

use super::states::Amid;
use super::{CANCELED, Server, Session, Transaction, ZONE};
use crate::connection::Role;
use crate::sim::messages::{complete, message, row_of, write_realm, write_role};

/// Whether it is asked in the extended protocol too.
pub(super) fn is_question(sql: &str) -> bool {
    const OTHERS: [&str; 4] =
        ["pg_backend_pid()", "pg_is_in_recovery()", "set_config(E'TimeZone'", "SHOW lock_timeout"];
    let asks_types = sql.contains("pg_catalog.pg_type");
    OTHERS.iter().any(|other| sql.contains(other))
        || asks_types && !sql.contains("FROM pg_catalog.pg_database")
}

impl Server {
    /// A table and its type are made anew, unless a session has the table locked.
    pub(super) fn make_types_anew(&mut self) {
        let has_table = |session: &Session| {
            session.amid != Amid::Nothing || session.transaction != Transaction::None
        };
        if self.is_restless && !self.sessions.values().any(has_table) {
            self.mood_oid += 1;
        }
    }

    /// Answers a question of the pool's own. False if the statement is none.
    pub(super) fn answer(
        &mut self,
        session: u64,
        sql: &str,
        role: Role,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(state) = self.sessions.get_mut(&session) else { return false };
        let system = self.answers_lineage.then_some(self.lineage.0);
        let started = self.lineage.1;
        let asks_realm = sql.contains("FROM pg_catalog.pg_database");
        let asks = sql.contains("pg_control_system()");
        let asks_types = sql.contains("FROM pg_catalog.pg_type");
        let rolls_back = sql.starts_with("ROLLBACK TO SAVEPOINT hyperion_types");
        self.types_asked += usize::from(asks_types);
        if sql.contains("set_config('lock_timeout'") {
            complete("SELECT 1", out);
        }
        if sql.contains("pg_backend_pid()") {
            // A pooler makes up the number in its key, which is 1.
            row_of(&[Some(if self.is_pooled { "2" } else { "1" })], out);
            complete("SELECT 1", out);
        } else if sql == "SHOW lock_timeout" {
            row_of(&[Some("0")], out);
            complete("SHOW", out);
        } else if sql.contains("has_table_privilege") {
            row_of(&[Some(if self.answers_types { "t" } else { "f" })], out);
            complete("SELECT 1", out);
        } else if asks_types && !self.answers_types {
            let has_savepoint = sql.starts_with("SAVEPOINT hyperion_types");
            state.savepoint = has_savepoint.then_some(state.transaction);
            state.error("42501", "permission denied for table pg_type", out);
        } else if rolls_back && let Some(at) = state.savepoint.take() {
            state.transaction = at;
            complete("ROLLBACK", out);
        } else if asks_types {
            let (oid, at) = (self.mood_oid.to_string(), state.transaction);
            if sql.contains(&format!("[{oid}]")) {
                let (oid, name) = (Some(oid.as_str()), Some(self.mood));
                row_of(&[oid, name, oid, None, None, None, None], out);
            }
            complete("SELECT 1", out);
            if asks_realm && !write_realm(system, started, out) {
                state.savepoint = Some(at);
                state.error("42501", "permission denied", out);
            }
        } else if asks_realm {
            if !write_realm(system, started, out) {
                state.error("42501", "permission denied", out);
            }
        } else if asks && std::mem::take(&mut state.cancels_question) {
            state.error("57014", CANCELED, out);
        } else if asks && !self.answers_lineage {
            state.error("42501", "permission denied", out);
        } else if asks {
            let (system, started, timeline) = self.lineage;
            let (digits, number) = (format!("{timeline:08X}"), timeline.to_string());
            let is_standby = role == Role::Standby;
            let timeline = (!is_standby).then_some(digits.as_str());
            let follows = is_standby.then_some(number.as_str());
            let (system, started) = (system.to_string(), started.to_string());
            row_of(&[Some(&system), Some(&started), timeline, None, follows], out);
            complete("SELECT 1", out);
        } else if sql.contains("pg_is_in_recovery()") {
            self.asked_in_transaction |= state.is_said && state.transaction != Transaction::None;
            if state.is_refused(sql) {
                state.error("25P02", "current transaction is aborted", out);
            } else {
                let begun = state.transaction == Transaction::Open { writable: false };
                write_role(role, begun, out);
            }
        } else if sql.contains("set_config(E'TimeZone', E'here', false)") {
            state.zone = ZONE;
            message(b'T', &[0, 0], out);
            complete("SELECT 0", out);
        } else {
            return false;
        }
        true
    }
}
