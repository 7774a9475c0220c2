//! The settings that this client named at the login, as far as the server reports them, and whether
//! they survive a DISCARD ALL.
//!
//! In a session of PostgreSQL they do: DISCARD ALL and RESET return to the values of the
//! StartupMessage. A pooler such as PgBouncer keeps the StartupMessage for itself, and SETs the
//! values once on the server connection that it links to its client. A DISCARD ALL takes them away
//! there, and values would be read and written differently from then on. Only the server's reports
//! after a DISCARD ALL tell the two apart, on each connection anew. Lost settings are set again
//! before another caller gets the session.

use crate::base::Error;
use crate::config::Config;
use crate::connection::introspection::role::{Parameters, check_encoding};
use crate::connection::statement::script::is_utf8_by_name;

const ENCODING: &str = "client_encoding";
const APPLICATION_NAME: &str = "application_name";

/// A value that both an application_name and a search_path may have.
const OTHER: &str = "pg_catalog";

#[derive(Debug)]
pub(in crate::connection) struct StartupSettings {
    settings: Vec<Setting>,
    outlast: Outlast,
}

#[derive(Debug)]
struct Setting {
    /// Its name, as the server reports it.
    name: String,
    /// The value that the server reported at the login.
    wanted: String,
    /// The value that the server reports while `wanted` holds. A server may spell it differently
    /// from a pooler, which repeats the client's spelling.
    expected: String,
    /// The value that the server reported last.
    reported: String,
    /// Whether the form of values depends on it.
    decides: bool,
}

/// Whether a DISCARD ALL was seen to keep the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlast {
    Unknown,
    Kept,
    Lost,
}

impl StartupSettings {
    pub(in crate::connection) fn new(parameters: &Parameters, config: &Config) -> Self {
        // Sessions of a database in UTF-8 use UTF-8 by default too.
        let is_utf8 = parameters.value("server_encoding").is_some_and(is_utf8_by_name);
        let settings = parameters.iter().filter(|(name, _)| is_named(name, config));
        let settings = settings.map(|(name, value)| Setting {
            name: name.to_owned(),
            wanted: value.to_owned(),
            expected: value.to_owned(),
            reported: value.to_owned(),
            decides: name != APPLICATION_NAME && !(name == ENCODING && is_utf8),
        });
        Self { settings: settings.collect(), outlast: Outlast::Unknown }
    }

    /// Takes a setting that the server reports. Returns whether it no longer has the value that
    /// this client named.
    pub(in crate::connection) fn report(&mut self, name: &str, value: &str) -> bool {
        let Some(setting) = self.settings.iter_mut().find(|setting| setting.name == name) else {
            return false;
        };
        value.clone_into(&mut setting.reported);
        setting.is_lost()
    }

    pub(in crate::connection) fn are_lost(&self) -> bool {
        self.settings.iter().any(Setting::is_lost)
    }

    /// A DISCARD ALL is complete, and the server has reported all changes.
    pub(in crate::connection) fn were_reset(&mut self) {
        self.outlast = match (self.are_lost(), self.outlast) {
            (false, Outlast::Unknown | Outlast::Kept) => Outlast::Kept,
            (_, _) => Outlast::Lost,
        };
    }

    /// The settings have changed although no user changed them.
    pub(in crate::connection) fn vanished(&mut self) {
        self.outlast = Outlast::Lost;
    }

    /// Whether requests behind an unanswered DISCARD ALL run with those of the settings that values
    /// depend on. Their present value does not prove that: a user may have set it, or a reload,
    /// which changes all settings except those of a StartupMessage.
    pub(in crate::connection) fn outlast_reset(&self) -> bool {
        let mut deciding = self.settings.iter().filter(|setting| setting.decides);
        match self.outlast {
            Outlast::Kept => !deciding.any(Setting::is_lost),
            Outlast::Unknown => deciding.next().is_none(),
            Outlast::Lost => false,
        }
    }

    /// The statements that set the lost settings again. A setting that a pooler never set is not
    /// lost. PgBouncer does not pass on a setting whose last report was empty, and may run these
    /// statements on another server connection than the one that answered the reset. If that one
    /// still has the wanted value, setting it changes nothing, the server reports nothing, and
    /// PgBouncer does not notice it. So a setting that was reported as empty is set to another
    /// value first.
    pub(in crate::connection) fn restore(&self) -> Vec<String> {
        let lost = || self.settings.iter().filter(|setting| setting.is_lost());
        let empty = lost().filter(|setting| setting.reported.is_empty());
        let first = set(empty.map(|setting| (setting.name.as_str(), OTHER)));
        let second = set(lost().map(|setting| (setting.name.as_str(), setting.wanted.as_str())));
        [first, second].into_iter().flatten().collect()
    }

    /// The server has set them again.
    pub(in crate::connection) fn were_restored(&mut self) -> Result<(), Error> {
        self.check_encoding()?;
        self.settings.iter_mut().for_each(|setting| setting.expected.clone_from(&setting.reported));
        Ok(())
    }

    pub(in crate::connection) fn check_encoding(&self) -> Result<(), Error> {
        let encoding = self.settings.iter().find(|setting| setting.name == ENCODING);
        encoding.map_or(Ok(()), |encoding| check_encoding(&encoding.reported))
    }
}

impl Setting {
    fn is_lost(&self) -> bool {
        self.reported != self.expected
    }
}

/// Whether the StartupMessage names a setting, directly or in `options`.
fn is_named(name: &str, config: &Config) -> bool {
    let in_options = |options: &str| {
        let options = options.to_ascii_lowercase().replace('-', "_");
        options.contains(&name.to_ascii_lowercase())
    };
    let says = |(given, value): &(String, String)| {
        given.eq_ignore_ascii_case(name)
            || (given.eq_ignore_ascii_case("options") && in_options(value))
    };
    name == ENCODING
        || (name == APPLICATION_NAME && config.application_name.is_some())
        || config.parameters.iter().any(says)
}

/// Sets values as the StartupMessage does: SET would take a list of schemas for the name of one
/// schema. The statement returns no row.
fn set<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut sql = String::from("SELECT WHERE pg_catalog.concat(''");
    let before = sql.len();
    for (name, value) in settings {
        sql.push_str(", pg_catalog.set_config(");
        push_literal(&mut sql, name);
        sql.push_str(", ");
        push_literal(&mut sql, value);
        sql.push_str(", false)");
    }
    let sets = sql.len() > before;
    sql.push_str(") IS NULL");
    sets.then_some(sql)
}

/// Escapes in this form mean the same under any `standard_conforming_strings`.
fn push_literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for character in value.chars() {
        if matches!(character, '\'' | '\\') {
            sql.push(character);
        }
        sql.push(character);
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_json;

    fn settings(reported: &[(&str, &str)]) -> StartupSettings {
        let options = serde_json::json!({
            "hosts": ["h1"], "user": "u", "applicationName": "a'b",
            "parameters": { "timezone": "asia/tokyo", "options": "--intervalstyle=sql_standard" },
        });
        let Ok(config) = from_json(&options) else { panic!("the options are right") };
        let mut parameters = Parameters::default();
        reported.iter().for_each(|(name, value)| parameters.set(name, value));
        StartupSettings::new(&parameters, &config)
    }

    const REPORTED: [(&str, &str); 6] = [
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("application_name", "a'b"),
        ("TimeZone", "asia/tokyo"),
        ("IntervalStyle", "sql_standard"),
        ("DateStyle", "ISO, MDY"),
    ];

    #[test]
    fn what_was_named_and_is_lost_is_set_again_and_nothing_else() {
        let mut settings = settings(&REPORTED);
        assert!(!settings.outlast_reset(), "nobody knows that yet");
        assert!(!settings.report("DateStyle", "German, DMY"), "that was not named");
        assert!(settings.report("TimeZone", "UTC") && settings.report("application_name", ""));
        settings.were_reset();
        assert!(settings.are_lost() && !settings.outlast_reset());
        let [first, second] = &settings.restore()[..] else {
            panic!("what is empty is set to something else first")
        };
        let sets = |sql: &str, what: &[&str]| {
            let has = |what: &&str| sql.contains(&format!("pg_catalog.set_config({what}, false)"));
            what.iter().all(has) && sql.matches("set_config").count() == what.len()
        };
        assert!(sets(first, &["E'application_name', E'pg_catalog'"]), "{first}");
        let both = ["E'TimeZone', E'asia/tokyo'", "E'application_name', E'a''b'"];
        assert!(sets(second, &both), "{second}");
        // The server spells the value in its own way.
        settings.report("TimeZone", "Asia/Tokyo");
        settings.report("application_name", "a'b");
        assert!(settings.were_restored().is_ok() && !settings.are_lost());
        assert!(!settings.outlast_reset(), "the next one takes them away as well");
    }

    #[test]
    fn a_server_that_has_kept_them_once_keeps_them() {
        let mut settings = settings(&REPORTED);
        settings.were_reset();
        assert!(settings.outlast_reset());
        settings.report("application_name", "");
        assert!(settings.outlast_reset(), "no value depends on it");
        settings.report("IntervalStyle", "postgres");
        assert!(!settings.outlast_reset(), "that may be what a reset goes back to by now");
        settings.report("IntervalStyle", "sql_standard");
        assert!(settings.outlast_reset());
        settings.report("IntervalStyle", "postgres");
        settings.vanished();
        settings.report("IntervalStyle", "sql_standard");
        settings.were_reset();
        assert!(!settings.outlast_reset(), "a pooler whose server had the same by itself, once");
    }

    #[test]
    fn what_no_value_depends_on_holds_nobody_up() {
        let named = |encoding| {
            settings(&[
                ("client_encoding", "UTF8"),
                ("server_encoding", encoding),
                ("application_name", "a'b"),
                ("DateStyle", "ISO, MDY"),
            ])
        };
        assert!(named("UTF8").outlast_reset());
        let mut other = named("LATIN1");
        assert!(!other.outlast_reset());
        other.report("client_encoding", "LATIN1");
        assert!(other.were_restored().is_err());
    }
}
