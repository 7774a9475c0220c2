//! A small simulated PostgreSQL: one host with a role, sessions that log in without a password, and
//! a table of keys.
//!
//! It takes bytes and returns bytes. Its statements:
//! - `SELECT` returns one row.
//! - `SELECT keys` returns one row with all keys.
//! - `SELECT role` returns one row with the session's role, and the time when it got that.
//! - `SELECT mood` returns one row with a value of a user-made type.
//! - `SELECT open` leaves a transaction open, which its text does not show.
//! - `INSERT <key>` adds a key, or is refused with 25006 if the role forbids that. `SELECT
//!   write(<key>)` does the same by a function.
//! - `SET` leaves something behind that `DISCARD ALL` discards. So does `CALL`, which only the
//!   server's reports show.
//! - `SELECT pg_advisory_lock` fails, and leaves something behind nevertheless.
//! - A statement that ends with `slow` sleeps before it runs.
//!
//! A change of the role is reported as PostgreSQL does, in front of the next ReadyForQuery.

mod cancels;
mod pooler;
mod questions;
mod states;

use std::collections::BTreeMap;

use pooler::Pooler;
use questions::is_question;
use states::{Amid, Sleep};
pub use states::{Pause, Reports};

use super::messages::{
    complete, describe_parameters, error, first_value, message, report_role, row, row_description,
    text,
};
use crate::connection::Role;

/// The oid of the first user-made type.
const MOOD: u32 = 16_384;
const CANCELED: &str = "canceling statement due to user request";
const REFUSED: &str = "cannot execute INSERT in a read-only transaction";

/// One host. The caller numbers its sessions.
#[derive(Debug)]
pub struct Server {
    pub role: Role,
    /// The role of sessions that begin now, for as long as they last, by a setting of the database
    /// role or the database.
    pub role_at_login: Option<Role>,
    /// The system identifier, the start time of the server, and its timeline.
    pub lineage: (u64, u64, u32),
    /// Whether the server answers the question for these.
    pub answers_lineage: bool,
    /// Whether the server lets its database roles read what types there are.
    pub answers_types: bool,
    /// The name of the user-made type, its oid, and the oid of each parameter's type.
    pub mood: &'static str,
    pub mood_oid: u32,
    pub parameter_oid: u8,
    /// Whether that type, and the table that has it, are made anew behind each transaction.
    pub is_restless: bool,
    /// How often the server was asked for types.
    pub types_asked: usize,
    /// The server was asked for its role in a transaction that a user began by a statement.
    pub asked_in_transaction: bool,
    pub reports: Reports,
    /// A pooler in front sets what was named at the login, and a reset takes that away.
    /// Its keys look like a server's.
    pub is_pooled: bool,
    pub pooler: Pooler,
    /// A caller's statement has run without the settings that were named at the login.
    pub ran_unset: bool,
    /// The committed keys, in order.
    pub keys: Vec<String>,
    /// The time by the caller's own clock.
    pub clock: u32,
    sessions: BTreeMap<u64, Session>,
}

#[derive(Debug)]
struct Session {
    input: Vec<u8>,
    started: bool,
    /// The role that the session last reported.
    reported: Role,
    /// The role that its backend still has, since the signal of a reload has not reached it.
    deaf: Option<Role>,
    /// When its role last changed.
    changed_at: u32,
    /// Statements by name.
    statements: BTreeMap<String, String>,
    bound: String,
    /// The statements of a question of the pool's own.
    parts: Vec<String>,
    /// The oids of types as its tables had them when the session locked these.
    oids: (u32, u8),
    sleep: Sleep,
    /// An error occurred: everything up to the next Sync is skipped.
    skipping: bool,
    /// What it has received since the last Sync.
    amid: Amid,
    transaction: Transaction,
    /// A BEGIN began the transaction.
    is_said: bool,
    /// The transaction as it was at the savepoint in front of a question that was refused.
    savepoint: Option<Transaction>,
    /// `SET` has run, and `DISCARD ALL` has not run since.
    changed: bool,
    /// A setting that is reported when it changes.
    zone: &'static str,
    /// The value to which a reset returns.
    zone_at_reset: &'static str,
    reported_zone: &'static str,
    /// The keys that the implicit or explicit transaction has written.
    written: Vec<String>,
    /// A cancel hits it at the next question for its host's history.
    cancels_question: bool,
}

/// The setting's value at the beginning of each session, and the server's own value.
const ZONE: &str = "here";
const ZONE_OF_SERVER: &str = "there";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    /// Whether it may write is decided when it begins.
    Open {
        writable: bool,
    },
    Failed,
}

impl Server {
    pub fn new(role: Role) -> Self {
        Self {
            role,
            role_at_login: None,
            lineage: (7, 0, 1),
            answers_lineage: true,
            mood: "mood",
            mood_oid: MOOD,
            parameter_oid: 17,
            is_restless: false,
            answers_types: true,
            types_asked: 0,
            asked_in_transaction: false,
            reports: Reports::Changes,
            is_pooled: false,
            pooler: Pooler::default(),
            ran_unset: false,
            keys: Vec::new(),
            clock: 0,
            sessions: BTreeMap::new(),
        }
    }

    pub fn accept(&mut self, session: u64) {
        let session_state = Session {
            input: Vec::new(),
            started: false,
            reported: self.role,
            deaf: self.role_at_login,
            changed_at: 0,
            statements: BTreeMap::new(),
            bound: String::new(),
            parts: Vec::new(),
            oids: (self.mood_oid, self.parameter_oid),
            sleep: Sleep::Awake,
            skipping: false,
            amid: Amid::Nothing,
            transaction: Transaction::None,
            is_said: false,
            changed: false,
            zone: ZONE,
            zone_at_reset: if self.is_pooled { ZONE_OF_SERVER } else { ZONE },
            reported_zone: "",
            written: Vec::new(),
            savepoint: None,
            cancels_question: false,
        };
        self.sessions.insert(session, session_state);
    }

    /// The session's socket is closed. Its uncommitted keys are forgotten.
    pub fn hang_up(&mut self, session: u64) {
        self.sessions.remove(&session);
    }

    pub fn hang_up_all(&mut self) {
        self.sessions.clear();
    }

    /// All sessions forget their prepared statements, as when a pooler replaces them by others.
    pub fn forget_statements(&mut self) {
        self.sessions.values_mut().for_each(|session| session.statements.clear());
    }

    /// Changes the role as a reload does: later sessions have the new role, and an open session
    /// gets it once its signal is delivered.
    pub fn reload(&mut self, role: Role) {
        for session in self.sessions.values_mut() {
            session.deaf.get_or_insert(self.role);
        }
        self.role = role;
    }

    /// Delivers the signal of a reload to one session.
    pub fn deliver_signal(&mut self, session: u64) {
        if let Some(session) = self.sessions.get_mut(&session)
            && session.deaf.take().is_some_and(|role| role != self.role)
        {
            session.changed_at = self.clock;
        }
    }

    /// Makes a standby the primary, with all of its sessions.
    pub fn promote(&mut self) {
        self.role = Role::ReadWrite;
        for session in self.sessions.values_mut().filter(|session| session.deaf.is_none()) {
            session.changed_at = self.clock;
        }
    }

    /// Whether a session still has a role that the server no longer has.
    pub fn has_deaf_sessions(&self) -> bool {
        self.sessions.values().any(|session| session.deaf.is_some())
    }

    pub fn is_logged_in(&self, session: u64) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.started)
    }

    /// Whether the session is inside a transaction block.
    pub fn is_in_transaction(&self, session: u64) -> bool {
        self.sessions.get(&session).is_some_and(|s| s.transaction != Transaction::None)
    }

    /// Whether the session has answered everything, and is in no transaction.
    pub fn is_at_rest(&self, session: u64) -> bool {
        self.sessions.get(&session).is_some_and(|session| {
            let is_done = session.input.is_empty() && session.written.is_empty();
            session.started
                && is_done
                && session.amid == Amid::Nothing
                && session.transaction == Transaction::None
        })
    }

    /// How many sessions hold something that a user left behind.
    pub fn changed_sessions(&self) -> usize {
        self.sessions.values().filter(|session| session.changed).count()
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Takes the frontend's bytes, and returns the backend's answers at once.
    pub fn receive(&mut self, session: u64, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.take(session, bytes);
        loop {
            match self.work(session, &mut out) {
                Pause::Idle => return out,
                Pause::Ready | Pause::Committed => {}
                Pause::Asleep => self.wake(session),
            }
        }
    }

    /// Takes the frontend's bytes, without reading them yet.
    pub fn take(&mut self, session: u64, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.input.extend_from_slice(bytes);
        }
    }

    /// Ends the sleep of a slow statement.
    pub fn wake(&mut self, session: u64) {
        if let Some(session) = self.sessions.get_mut(&session)
            && session.sleep == Sleep::Asleep
        {
            session.sleep = Sleep::Over;
        }
    }

    /// The statement that the session last ran.
    pub fn last_statement(&self, session: u64) -> &str {
        self.sessions.get(&session).map_or("", |session| &session.bound)
    }

    /// Reads messages until there is a reason to pause. The bytes in `out` are sent when the
    /// session is ready.
    pub fn work(&mut self, session: u64, out: &mut Vec<u8>) -> Pause {
        let committed = self.keys.len();
        while let Some(state) = self.sessions.get_mut(&session) {
            let role = state.deaf.unwrap_or(self.role);
            if state.is_about_to_sleep() {
                state.sleep = Sleep::Asleep;
                return Pause::Asleep;
            }
            let Some((tag, body)) = state.next_message() else { break };
            if self.is_pooled {
                self.pooler.see(session, tag, &body);
            }
            state.sleep = Sleep::Awake;
            state.amid = state.amid.behind(tag);
            match tag {
                0 => state.welcome(role, self.reports, out),
                b'X' => {
                    self.sessions.remove(&session);
                    break;
                }
                b'H' => {}
                b'P' | b'B' | b'E' if state.is_part(tag, &body) => {}
                b'S' if !state.parts.is_empty() => {
                    let parts = std::mem::take(&mut state.parts);
                    self.answer(session, &parts.join("; "), role, out);
                    let Some(state) = self.sessions.get_mut(&session) else { break };
                    state.end_implicit_transaction(&mut self.keys);
                    state.skipping = false;
                    state.ready(role, self.reports, out);
                }
                b'E' if !state.skipping && is_question(&state.bound) => {
                    let sql = state.bound.clone();
                    self.answer(session, &sql, role, out);
                }
                b'S' => {
                    state.end_implicit_transaction(&mut self.keys);
                    state.skipping = false;
                    state.ready(role, self.reports, out);
                }
                b'Q' => {
                    let sql = text(&body).0.to_owned();
                    let is_question = self.answer(session, &sql, role, out);
                    let Some(state) = self.sessions.get_mut(&session) else { break };
                    if !is_question {
                        state.run(&sql, role, &mut self.keys, out);
                    }
                    state.end_implicit_transaction(&mut self.keys);
                    state.skipping = false;
                    state.ready(role, self.reports, out);
                }
                _ if state.skipping => {}
                b'P' => {
                    state.oids = (self.mood_oid, self.parameter_oid);
                    state.extended(tag, &body, role, &mut self.keys, out);
                }
                b'E' if state.runs_unset() => {
                    self.ran_unset = true;
                    state.extended(tag, &body, role, &mut self.keys, out);
                }
                tag => state.extended(tag, &body, role, &mut self.keys, out),
            }
            if self.keys.len() > committed {
                return Pause::Committed;
            }
            if matches!(tag, b'S' | b'Q') {
                self.make_types_anew();
                return Pause::Ready;
            }
        }
        Pause::Idle
    }
}

impl Session {
    /// Whether the next message begins a slow statement that has not slept yet.
    fn is_about_to_sleep(&self) -> bool {
        let is_execute = self.started && self.input.first() == Some(&b'E');
        let slow = is_execute && !self.skipping && self.bound.ends_with(" slow");
        slow && self.sleep != Sleep::Over
    }

    /// Whether the session is about to run a caller's statement without the settings of the login.
    fn runs_unset(&self) -> bool {
        let verb = self.bound.split(' ').next().unwrap_or("");
        self.zone == ZONE_OF_SERVER && matches!(verb, "SELECT" | "INSERT" | "SET" | "CALL")
    }

    /// The next message and its tag. Tag 0 is the StartupMessage.
    fn next_message(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = usize::from(self.started);
        let length = self.input.get(header..)?.first_chunk::<4>()?;
        let end = header + usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let body = self.input.get(header + 4..end)?.to_vec();
        let tag = if self.started { *self.input.first()? } else { 0 };
        self.started = true;
        self.input.drain(..end);
        Some((tag, body))
    }

    fn welcome(&mut self, role: Role, reports: Reports, out: &mut Vec<u8>) {
        message(b'R', &0u32.to_be_bytes(), out);
        self.reported = role;
        match reports {
            Reports::Changes => report_role(role, out),
            Reports::Stale(heard) => report_role(heard, out),
            Reports::Nothing => {}
        }
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2], out);
        self.ready(role, reports, out);
    }

    fn ready(&mut self, role: Role, reports: Reports, out: &mut Vec<u8>) {
        if self.reported != role && reports == Reports::Changes {
            report_role(role, out);
            self.reported = role;
        }
        if self.reported_zone != self.zone {
            message(b'S', format!("TimeZone\0{}\0", self.zone).as_bytes(), out);
            self.reported_zone = self.zone;
        }
        let status = match self.transaction {
            Transaction::None => b'I',
            Transaction::Open { .. } => b'T',
            Transaction::Failed => b'E',
        };
        message(b'Z', &[status], out);
    }

    fn extended(
        &mut self,
        tag: u8,
        body: &[u8],
        role: Role,
        keys: &mut Vec<String>,
        out: &mut Vec<u8>,
    ) {
        match tag {
            b'P' => {
                let (name, rest) = text(body);
                // A comment makes the text unknown to poolers.
                let (sql, _) = text(rest);
                let sql = sql.split_once(" /*").map_or(sql, |(before, _)| before);
                if self.is_refused(sql) {
                    self.error("25P02", "current transaction is aborted", out);
                } else if !name.is_empty() && self.statements.contains_key(name) {
                    self.error("42P05", "this prepared statement exists", out);
                } else {
                    self.statements.insert(name.to_owned(), sql.to_owned());
                    message(b'1', &[], out);
                }
            }
            b'B' => {
                let (_, rest) = text(body);
                let (name, values) = text(rest);
                match self.statements.get(name) {
                    Some(sql) if self.is_refused(sql) => {
                        self.error("25P02", "current transaction is aborted", out);
                    }
                    Some(sql) => {
                        self.bound = sql.replace("$1", &first_value(values));
                        message(b'2', &[], out);
                    }
                    None => self.error("26000", "no such prepared statement", out),
                }
            }
            b'D' => {
                let name = text(body.get(1..).unwrap_or_default()).0;
                let of_statement = body.first() == Some(&b'S');
                let by_name = self.statements.get(name).filter(|_| of_statement);
                let sql = by_name.unwrap_or(&self.bound);
                if of_statement {
                    describe_parameters(sql, self.oids.1, out);
                }
                if sql.starts_with("SELECT") {
                    row_description(if sql.ends_with(" mood") { self.oids.0 } else { 25 }, out);
                } else {
                    message(b'n', &[], out);
                }
            }
            b'E' => {
                let sql = self.bound.clone();
                self.run(&sql, role, keys, out);
            }
            b'C' => {
                self.statements.remove(text(body.get(1..).unwrap_or_default()).0);
                message(b'3', &[], out);
            }
            _ => self.error("08P01", "unknown message", out),
        }
    }

    /// Whether a statement is refused because its transaction has failed. Such a transaction parses
    /// and binds nothing but its end.
    fn is_refused(&self, sql: &str) -> bool {
        self.transaction == Transaction::Failed && sql != "ROLLBACK" && sql != "COMMIT"
    }

    fn run(&mut self, sql: &str, role: Role, keys: &mut Vec<String>, out: &mut Vec<u8>) {
        let writable = match self.transaction {
            Transaction::Failed if sql != "ROLLBACK" && sql != "COMMIT" => {
                return self.error("25P02", "current transaction is aborted", out);
            }
            Transaction::Open { writable } => writable,
            Transaction::None | Transaction::Failed => role == Role::ReadWrite,
        };
        let (verb, rest) = sql.split_once(' ').unwrap_or((sql, ""));
        let rest = [" slow", " mood"].iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest);
        let tag = match verb {
            "SELECT" if rest == "keys" => {
                let own = self.written.iter();
                let all: Vec<_> = keys.iter().chain(own).map(String::as_str).collect();
                row(&all.join(","), out);
                "SELECT 1"
            }
            "SELECT" if rest == "role" => {
                row(&format!("{} {}", role.as_str(), self.changed_at), out);
                "SELECT 1"
            }
            "SELECT" if rest == "changed" => {
                row(if self.changed { "yes" } else { "no" }, out);
                "SELECT 1"
            }
            "SELECT" if rest == "pg_advisory_lock" => {
                self.changed = true;
                return self.error("22012", "division by zero", out);
            }
            "SELECT" if rest == "open" => {
                if self.transaction == Transaction::None {
                    self.transaction = Transaction::Open { writable };
                    self.is_said = false;
                }
                row("1", out);
                "SELECT 1"
            }
            "SELECT" if rest.starts_with("write(") && writable => {
                let key = rest.trim_start_matches("write(").trim_end_matches(')');
                self.written.push(key.to_owned());
                row("1", out);
                "SELECT 1"
            }
            "SELECT" if rest.starts_with("write(") => return self.error("25006", REFUSED, out),
            "SELECT" => {
                row("1", out);
                "SELECT 1"
            }
            "INSERT" if writable => {
                self.written.push(rest.to_owned());
                "INSERT 0 1"
            }
            "INSERT" => return self.error("25006", REFUSED, out),
            "BEGIN" => {
                let writable = writable && !rest.contains("READ ONLY");
                self.transaction = Transaction::Open { writable };
                self.is_said = true;
                "BEGIN"
            }
            "SET" => {
                self.changed = true;
                "SET"
            }
            "CALL" => {
                self.changed = true;
                self.zone = "elsewhere";
                "CALL"
            }
            "DISCARD" if self.transaction == Transaction::None => {
                self.changed = false;
                self.zone = self.zone_at_reset;
                self.statements.clear();
                "DISCARD ALL"
            }
            "COMMIT" if matches!(self.transaction, Transaction::Open { .. }) => {
                self.transaction = Transaction::None;
                keys.append(&mut self.written);
                "COMMIT"
            }
            // Without a transaction there is a warning besides.
            "COMMIT" if self.transaction == Transaction::None => "COMMIT",
            "COMMIT" | "ROLLBACK" => {
                self.transaction = Transaction::None;
                self.written.clear();
                "ROLLBACK"
            }
            _ => return self.error("42601", "an unknown statement", out),
        };
        complete(tag, out);
    }

    /// Outside a transaction block, a Sync commits what was written.
    fn end_implicit_transaction(&mut self, keys: &mut Vec<String>) {
        if self.transaction == Transaction::None {
            if self.skipping {
                self.written.clear();
            }
            keys.append(&mut self.written);
        }
    }

    fn error(&mut self, code: &str, text: &str, out: &mut Vec<u8>) {
        error("ERROR", code, text, out);
        self.skipping = true;
        if matches!(self.transaction, Transaction::Open { .. }) {
            self.transaction = Transaction::Failed;
        }
    }
}
