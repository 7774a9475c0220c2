//! The settings that decide what values look like as text, which is how the first use of a
//! statement and several statements in one text bring their results.
//!
//! They decide as well how the server reads what users write, and what it makes of their casts to
//! text. So nothing is said of them at startup, and nothing later: what the server, the database,
//! the role and the user's own `parameters` say holds. Where results would come in another form
//! than this client reads, a statement is described before its first use, and they come in binary.

use super::Request;
use super::command::CommandTag;
use super::role::Parameters;
use super::statement::{Form, Statement, Statements};
use super::text_results::TextResults;
use super::traces::Traces;
use crate::config::Config;

/// Stands in front of a first use in the same flight, and fails where text would not be what this
/// client reads: `extra_float_digits` is reported by no server, a reload changes it in a session
/// that is open, and so does a function or a trigger that nobody sees. It gives no row. Every name
/// in it is qualified, and its error tells whoever reads the server's log.
pub(super) const CHECK: &str = "SELECT WHERE CASE \
    WHEN pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 OPERATOR(pg_catalog.>) 0 \
    AND pg_catalog.current_setting('IntervalStyle') OPERATOR(pg_catalog.=) 'postgres' \
    AND pg_catalog.\"left\"(pg_catalog.current_setting('DateStyle'), 3) OPERATOR(pg_catalog.=) 'ISO' \
    THEN '0' ELSE pg_catalog.concat('hyperiondb-client asks for binary results from now on: DateStyle is ', \
    pg_catalog.current_setting('DateStyle'), ', IntervalStyle ', pg_catalog.current_setting('IntervalStyle'), \
    ', extra_float_digits ', pg_catalog.current_setting('extra_float_digits')) END::pg_catalog.int4 \
    OPERATOR(pg_catalog.<>) 0";
/// `invalid_text_representation`, by which it fails.
pub(super) const CHECK_REFUSED: &str = "22P02";

/// How a statement is used for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstUse {
    Text,
    /// Behind [`CHECK`], in the same flight.
    CheckedText,
    /// It is described first, one round trip before.
    Described,
}

/// What is known of these settings in one session.
#[derive(Debug)]
pub(super) struct Style {
    /// The user's options may have set the one that the server does not report.
    overridden: bool,
    /// The server reports them as this client does not read them.
    foreign: bool,
    /// A backslash in a string is one.
    standard_strings: bool,
    /// It reports them at all, as every PostgreSQL does.
    is_reported: bool,
    touched: Touched,
    /// [`CHECK`] has passed here.
    has_passed: bool,
    /// A pooler may run each transaction in another session of the server's, whose settings nobody
    /// has checked.
    is_shared: bool,
}

/// What the session's users have done to its settings, as far as their statements show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    Never,
    /// By a statement that is under way, or until the end of the transaction.
    Passing,
    /// Until the session is reset.
    Lasting,
}

impl Style {
    pub(super) fn new(parameters: &Parameters, config: &Config, is_shared: bool) -> Self {
        let overrides = |name: &str| name.eq_ignore_ascii_case("extra_float_digits");
        let overridden = config.parameters.iter().any(|(name, _)| overrides(name));
        let is_reported = parameters.value("DateStyle").is_some();
        Self {
            overridden,
            foreign: !are_ours(parameters),
            is_reported,
            standard_strings: has_standard_strings(parameters),
            touched: Touched::Never,
            has_passed: false,
            is_shared,
        }
    }

    /// What one transaction has shown tells nothing of the next one.
    pub(super) fn share(&mut self) {
        self.is_shared = true;
    }

    /// Whether text comes as this client reads it, as far as that is seen.
    fn is_ours(&self) -> bool {
        !self.overridden && !self.foreign && self.touched == Touched::Never
    }

    /// Whether nobody has changed settings of the session, as far as statements show it.
    pub(super) fn is_untouched(&self) -> bool {
        self.touched == Touched::Never
    }

    /// How the request uses a statement that the pool does not know yet; `None` where it knows it.
    pub(super) fn first_use(
        &self,
        request: &Request<'_>,
        statement: &Statement,
        statements: &Statements,
    ) -> Option<FirstUse> {
        if matches!(statement.form, Form::Described(_)) && !request.strange {
            return None;
        }
        Some(match statement.text_results {
            _ if request.is_question() || request.params.needs_type() => FirstUse::Described,
            TextResults::Plain => FirstUse::Text,
            TextResults::Named => FirstUse::Described,
            TextResults::Styled if !self.is_ours() || statement.traces.may_change_settings() => {
                FirstUse::Described
            }
            // No PostgreSQL: its settings are its own.
            TextResults::Styled if !self.is_reported => FirstUse::Text,
            // A check that fails must change nothing for the caller.
            TextResults::Styled if request.free && !statements.describes_first => {
                FirstUse::CheckedText
            }
            TextResults::Styled => FirstUse::Described,
        })
    }

    /// Whether [`CHECK`] stands in front of a script, and the script waits for its answer.
    pub(super) fn checks_script(
        &self,
        request: &Request<'_>,
        statement: &Statement,
        statements: &Statements,
    ) -> bool {
        let may_pass = self.is_reported && self.is_ours() && !self.has_passed && !self.is_shared;
        may_pass
            && request.free
            && !statements.describes_first
            && !statement.restyles
            && !statement.is_plain_script
    }

    pub(super) fn has_standard_strings(&self) -> bool {
        self.standard_strings
    }

    pub(super) fn pass(&mut self) {
        self.has_passed = true;
    }

    /// Whether results come in text that this client reads.
    pub(super) fn reads_text(&self, statements: &Statements) -> bool {
        let has_passed = self.has_passed && !self.is_shared && !statements.describes_first;
        (has_passed || !self.is_reported) && self.is_ours()
    }

    /// The same for a script.
    pub(super) fn reads_script(&self, statement: &Statement, statements: &Statements) -> bool {
        self.reads_text(statements) && !statement.restyles
    }

    pub(super) fn report(&mut self, parameters: &Parameters) {
        self.foreign = !are_ours(parameters);
        self.standard_strings = has_standard_strings(parameters);
    }

    /// A statement is on its way.
    pub(super) fn ask(&mut self, traces: Traces) {
        if traces.may_change_settings() {
            self.touched = self.touched.max(Touched::Passing);
        }
    }

    /// A command has run.
    pub(super) fn ran(&mut self, traces: Traces, command: &CommandTag) {
        if traces.changed_settings(command) {
            self.touched = Touched::Lasting;
        }
    }

    /// A statement has ended, and nobody knows what ran of it.
    pub(super) fn ran_in_part(&mut self, traces: Traces) {
        if traces.may_change_settings() {
            self.touched = Touched::Lasting;
        }
    }

    /// Nothing is under way, and no transaction is open.
    pub(super) fn rest(&mut self) {
        if self.touched == Touched::Passing {
            self.touched = Touched::Never;
        }
    }

    /// All settings are as they were at startup.
    pub(super) fn reset(&mut self) {
        self.touched = Touched::Never;
    }
}

fn has_standard_strings(parameters: &Parameters) -> bool {
    parameters.value("standard_conforming_strings") == Some("on")
}

/// Whether they are as this client reads them, as far as the server reports them.
fn are_ours(parameters: &Parameters) -> bool {
    parameters.value("DateStyle").is_none_or(|style| style.starts_with("ISO"))
        && parameters.value("IntervalStyle").is_none_or(|style| style == "postgres")
}
