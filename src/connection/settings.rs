//! The settings that decide what values look like as text, which is how the first use of a statement and
//! several statements in one text bring their results.

use super::role::Parameters;
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

/// Whether they are as this client reads them, as far as the server reports them.
pub(super) fn are_ours(parameters: &Parameters) -> bool {
    parameters.value("DateStyle").is_none_or(|style| style.starts_with("ISO"))
        && parameters.value("IntervalStyle").is_none_or(|style| style == "postgres")
}

/// Whether the user's options may have set the one that the server does not report.
pub(super) fn may_be_overridden(config: &Config) -> bool {
    config.parameters.iter().any(|(name, _)| {
        ["extra_float_digits", "options"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}
