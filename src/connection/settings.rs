//! The settings that decide what values look like as text, which is how the first use of a statement and
//! several statements in one text bring their results.

use super::command::CommandTag;
use super::role::Parameters;
use super::traces::Traces;
use crate::config::Config;

/// What the startup message asks for, so that no setting of a role or a database changes a result. What the
/// user's own `parameters` say comes behind it, and wins.
pub(super) fn at_startup(config: &Config) -> &'static [(&'static str, &'static str)] {
    const SETTINGS: [(&str, &str); 3] =
        [("DateStyle", "ISO, MDY"), ("IntervalStyle", "postgres"), ("extra_float_digits", "1")];
    // A transaction-mode pooler, for which a client turns prepared statements off, refuses startup parameters
    // that it does not track: of these it is sure to know DateStyle alone.
    let pooled = config.statement_cache_size == 0;
    if pooled { SETTINGS.get(..1).unwrap_or_default() } else { &SETTINGS }
}

/// What is known of these settings in one session.
#[derive(Debug)]
pub(super) struct Style {
    /// The user's options may have set the one that the server does not report.
    overridden: bool,
    /// The server reports them as this client does not read them.
    foreign: bool,
    touched: Touched,
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
    pub(super) fn new(parameters: &Parameters, config: &Config) -> Self {
        let known = ["extra_float_digits", "options"];
        let overrides = |name: &str| known.iter().any(|known| name.eq_ignore_ascii_case(known));
        let overridden = config.parameters.iter().any(|(name, _)| overrides(name));
        Self { overridden, foreign: !are_ours(parameters), touched: Touched::Never }
    }

    /// Whether text comes as this client reads it.
    pub(super) fn is_ours(&self) -> bool {
        !self.overridden && !self.foreign && self.touched == Touched::Never
    }

    pub(super) fn report(&mut self, parameters: &Parameters) {
        self.foreign = !are_ours(parameters);
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

/// Whether they are as this client reads them, as far as the server reports them.
fn are_ours(parameters: &Parameters) -> bool {
    parameters.value("DateStyle").is_none_or(|style| style.starts_with("ISO"))
        && parameters.value("IntervalStyle").is_none_or(|style| style == "postgres")
}
