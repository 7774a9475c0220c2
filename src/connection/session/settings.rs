//! The settings that decide what values look like as text. A statement's first use, and a text of
//! several statements, bring their results as text.
//!
//! The same settings decide how the server reads users' values, and the results of their casts to
//! text. So this client sets none of them, at startup or later: those of the server, the database,
//! the role and the user's own `parameters` hold. If results would come in a form that this client
//! does not read, a statement is described before its first use, and its results come in binary.

use crate::config::Config;
use crate::connection::Request;
use crate::connection::far_end::FarEnd;
use crate::connection::introspection::role::Parameters;
use crate::connection::request::command::CommandTag;
use crate::connection::request::text_results::TextResults;
use crate::connection::statement::session_effects::SessionEffects;
use crate::connection::statement::staleness::INSUFFICIENT_PRIVILEGE;
use crate::connection::statement::{Form, Statement, Statements};

/// Stands in front of a first use in the same flight, and fails if text would not come as this
/// client reads it. Reports don't show that: no server reports `extra_float_digits`, and a reload,
/// a function or a trigger can change it in an open session. The check returns no row, and every
/// name in it is qualified. Its error says in the server's log why it was raised.
pub(in crate::connection) const CHECK: &str = "SELECT WHERE CASE \
    WHEN pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 OPERATOR(pg_catalog.>) 0 \
    AND pg_catalog.current_setting('IntervalStyle') OPERATOR(pg_catalog.=) 'postgres' \
    AND pg_catalog.\"left\"(pg_catalog.current_setting('DateStyle'), 3) OPERATOR(pg_catalog.=) 'ISO' \
    THEN '0' ELSE pg_catalog.concat('hyperiondb-client asks for binary results from now on: DateStyle is ', \
    pg_catalog.current_setting('DateStyle'), ', IntervalStyle ', pg_catalog.current_setting('IntervalStyle'), \
    ', extra_float_digits ', pg_catalog.current_setting('extra_float_digits')) END::pg_catalog.int4 \
    OPERATOR(pg_catalog.<>) 0";

/// Whether the check has failed by an error with this code: by `invalid_text_representation`, or
/// because the role may not ask, whose session is served as if its settings were others.
pub(in crate::connection) fn fails_check(code: &str) -> bool {
    code == "22P02" || code == INSUFFICIENT_PRIVILEGE
}

/// How a statement is used for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum FirstUse {
    Text,
    /// Text, with [`CHECK`] in front in the same flight.
    CheckedText,
    /// The statement is described first, which costs one round trip.
    Described,
}

/// The state of these settings in one session.
#[derive(Debug)]
pub(in crate::connection) struct TextFormat {
    /// The user's options may have set `extra_float_digits`, which the server does not report.
    overridden: bool,
    /// The server reports a form that this client does not read.
    foreign: bool,
    /// `standard_conforming_strings` is on: a backslash in a string is an ordinary character.
    standard_strings: bool,
    /// The server reports these settings at all, as every PostgreSQL does.
    is_reported: bool,
    touched: Touched,
    /// [`CHECK`] has passed in this session.
    has_passed: bool,
    /// A pooler may run each transaction on another server connection, whose settings were not
    /// checked.
    far_end: FarEnd,
}

/// How long changes hold that the session's users made to settings, as far as their statements show
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    Never,
    /// Until the statement that is under way, or the transaction, ends.
    Passing,
    /// Until the session is reset.
    Lasting,
}

impl TextFormat {
    pub(in crate::connection) fn new(
        parameters: &Parameters,
        config: &Config,
        far_end: FarEnd,
    ) -> Self {
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
            far_end,
        }
    }

    /// Takes what is known of the session by now: on a pooler's, what one transaction has shown
    /// says nothing about the next one.
    pub(in crate::connection) fn share(&mut self, far_end: FarEnd) {
        self.far_end = far_end;
    }

    /// Whether text comes as this client reads it, as far as reports and statements show it.
    fn is_ours(&self) -> bool {
        !self.overridden && !self.foreign && self.touched == Touched::Never
    }

    /// Whether the session's users have changed no settings, as far as their statements show it.
    pub(in crate::connection) fn is_untouched(&self) -> bool {
        self.touched == Touched::Never
    }

    /// How the request uses a statement that the pool does not know yet; `None` for a known one.
    pub(in crate::connection) fn first_use(
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
            TextResults::Styled
                if !self.is_ours() || statement.session_effects.may_change_settings() =>
            {
                FirstUse::Described
            }
            // The server is not PostgreSQL, and has settings of its own.
            TextResults::Styled if !self.is_reported => FirstUse::Text,
            // A check that fails must have no effect for the caller.
            TextResults::Styled if request.free && !statements.describes_first => {
                FirstUse::CheckedText
            }
            TextResults::Styled => FirstUse::Described,
        })
    }

    /// Whether [`CHECK`] is sent in front of a script, which then waits for its answer. By then it
    /// is known what the session leads to.
    pub(in crate::connection) fn checks_script(
        &self,
        request: &Request<'_>,
        statement: &Statement,
        statements: &Statements,
    ) -> bool {
        let may_pass = self.is_reported && self.is_ours() && !self.has_passed;
        may_pass
            && self.far_end != FarEnd::Pooler
            && !request.held
            && request.free
            && !statements.describes_first
            && !statement.restyles
            && !statement.is_plain_script
    }

    pub(in crate::connection) fn has_standard_strings(&self) -> bool {
        self.standard_strings
    }

    pub(in crate::connection) fn pass(&mut self) {
        self.has_passed = true;
    }

    /// Whether results come as text that this client reads.
    pub(in crate::connection) fn reads_text(&self, statements: &Statements) -> bool {
        let has_passed =
            self.has_passed && !self.far_end.may_be_pooler() && !statements.describes_first;
        (has_passed || !self.is_reported) && self.is_ours()
    }

    /// The same for a script.
    pub(in crate::connection) fn reads_script(
        &self,
        statement: &Statement,
        statements: &Statements,
    ) -> bool {
        self.reads_text(statements) && !statement.restyles
    }

    pub(in crate::connection) fn report(&mut self, parameters: &Parameters) {
        self.foreign = !are_ours(parameters);
        self.standard_strings = has_standard_strings(parameters);
    }

    /// A statement is being sent.
    pub(in crate::connection) fn ask(&mut self, session_effects: SessionEffects) {
        if session_effects.may_change_settings() {
            self.touched = self.touched.max(Touched::Passing);
        }
    }

    /// A command has run.
    pub(in crate::connection) fn ran(
        &mut self,
        session_effects: SessionEffects,
        command: &CommandTag,
    ) {
        if session_effects.changed_settings(command) {
            self.touched = Touched::Lasting;
        }
    }

    /// A statement has ended, and it is not known which parts of it ran.
    pub(in crate::connection) fn ran_in_part(&mut self, session_effects: SessionEffects) {
        if session_effects.may_change_settings() {
            self.touched = Touched::Lasting;
        }
    }

    /// The session is at rest: nothing is under way, and no transaction is open.
    pub(in crate::connection) fn on_idle(&mut self) {
        if self.touched == Touched::Passing {
            self.touched = Touched::Never;
        }
    }

    /// All settings are as they were at startup again.
    pub(in crate::connection) fn reset(&mut self) {
        self.touched = Touched::Never;
    }
}

fn has_standard_strings(parameters: &Parameters) -> bool {
    parameters.value("standard_conforming_strings") == Some("on")
}

/// Whether the settings are as this client reads them, as far as the server reports them.
fn are_ours(parameters: &Parameters) -> bool {
    parameters.value("DateStyle").is_none_or(|style| style.starts_with("ISO"))
        && parameters.value("IntervalStyle").is_none_or(|style| style == "postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_fails_by_what_the_settings_are_or_where_the_role_may_not_ask() {
        assert!(["22P02", "42501"].into_iter().all(fails_check));
        assert!(!["57014", "42883", "25P02"].into_iter().any(fails_check));
    }
}
