//! libpq's keys: where they come from, and which of them counts.
//!
//! As in libpq, a key of the connection string overrides the same key of the service file, and that
//! one overrides the environment (PostgreSQL manual, 34.1.2, 34.15 and 34.17). This floor reads
//! neither files nor the environment: JavaScript passes their contents beside the options.

use serde_json::{Map, Value};

use super::draft::Draft;
use super::keys::{self, Hosts};
use super::source::{Pair, Setting, Source, VARIABLES};
use super::{Service, conninfo, service, tls};
use crate::base::Error;

/// An object with the variables of the environment whose names begin with `PG`.
pub(super) const ENVIRONMENT: &str = "$environment";
/// The contents of the service files that there are, in an array. The first one that defines the
/// service counts.
pub(super) const SERVICES: &str = "$services";

/// What the connection string, the service file and the environment say.
#[derive(Debug, Default)]
pub(super) struct Settings {
    list: Vec<Setting>,
    /// A service is named whose file was not passed yet.
    pub(super) service: Option<Service>,
}

impl Settings {
    pub(super) fn collect(text: Option<&str>, options: &Map<String, Value>) -> Result<Self, Error> {
        let given = text.map(conninfo::parse).transpose()?.unwrap_or_default();
        let environment = environment(options.get(ENVIRONMENT));
        let named = |key: &str| {
            let find = |pairs: &[Pair]| pairs.iter().rev().find(|(it, _)| it == key).cloned();
            let (_, value) = find(&given).or_else(|| find(&environment))?;
            (!value.is_empty()).then_some(value)
        };
        let mut settings = Self::default();
        let mut of_service = Vec::new();
        if let Some(name) = named("service") {
            match options.get(SERVICES).and_then(Value::as_array) {
                Some(files) => of_service = read_service(&name, files)?,
                None => settings.service = Some(Service { name, file: named("servicefile") }),
            }
        }
        for (source, pairs) in [
            (Source::Text, given),
            (Source::Service, of_service),
            (Source::Environment, environment),
        ] {
            settings.add(source, pairs);
        }
        Ok(settings)
    }

    /// Adds what no earlier source has said.
    fn add(&mut self, source: Source, pairs: Vec<Pair>) {
        let known: Vec<String> =
            self.list.iter().map(|setting| one_name(&setting.key).to_owned()).collect();
        let mut is_behind_password = false;
        for (key, value) in pairs {
            if known.iter().any(|known| known == one_name(&key)) {
                continue;
            }
            let is_password = key == "password";
            self.list.push(Setting { key, value, source, is_behind_password });
            is_behind_password |= is_password && source == Source::Text;
        }
    }

    fn last(&self, key: &str) -> Option<&Setting> {
        self.list.iter().rev().find(|setting| one_name(&setting.key) == key)
    }

    /// Sets what is said, beneath the options.
    pub(super) fn apply(
        &self,
        draft: &mut Draft,
        options: &Map<String, Value>,
    ) -> Result<(), Error> {
        let is_off = |text: &str| matches!(text, "disable" | "allow" | "false" | "0");
        let ssl = options.get("ssl");
        let has_no_tls = match ssl {
            Some(Value::Bool(is_on)) => !is_on,
            Some(Value::String(word)) => is_off(word),
            Some(_) => false,
            None => self.last("sslmode").is_some_and(|setting| is_off(&setting.value)),
        };
        let mut hosts = Hosts::default();
        for setting in &self.list {
            let is_of_tls = tls::KEYS.contains(&setting.key.as_str());
            let is_overridden = setting.source != Source::Text
                && is_of_tls
                && match one_name(&setting.key) {
                    "channel_binding" => options.contains_key("channelBinding"),
                    "sslmode" => ssl.is_some(),
                    _ => has_no_tls && setting.source == Source::Environment,
                };
            if !is_overridden {
                keys::apply(draft, &mut hosts, setting)?;
            }
        }
        let has = |name| options.contains_key(name);
        draft.tls.verify_strictly(ssl.is_some());
        hosts.finish(draft, has("host") || has("hosts"), has("port"))
    }
}

/// Keys that say the same have one name.
fn one_name(key: &str) -> &str {
    match key {
        "ssl" | "requiressl" => "sslmode",
        key => key,
    }
}

fn environment(variables: Option<&Value>) -> Vec<Pair> {
    let read = |(variable, key): &(&str, &str)| {
        let value = variables?.get(variable)?.as_str().filter(|value| !value.is_empty())?;
        Some(((*key).to_owned(), value.to_owned()))
    };
    VARIABLES.iter().filter_map(read).collect()
}

fn read_service(name: &str, files: &[Value]) -> Result<Vec<Pair>, Error> {
    for text in files.iter().filter_map(Value::as_str) {
        if let Some(pairs) = service::section(text, name)? {
            return Ok(pairs);
        }
    }
    Err(service::not_found(name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::{Config, PassfileName, Secret, from_json, wanted_from_json};

    const SERVICE: &str = "[s]\nhost=of-service\nuser=of-service\ndbname=of-service\napplication_name=of-service\n\
                           sslmode=disable\nconnect_timeout=3\n";

    fn read(text: &str, environment: &Value, more: &Value) -> Result<Config, Error> {
        let mut options = json!({
            "connectionString": text, ENVIRONMENT: environment, SERVICES: [SERVICE],
        });
        if let (Some(options), Some(more)) = (options.as_object_mut(), more.as_object()) {
            options.extend(more.clone());
        }
        from_json(&options)
    }

    /// Host, user, database, application and the seconds of the timeout.
    fn check(text: &str, environment: Value, more: Value, expect: &str) {
        let config =
            read(text, &environment, &more).unwrap_or_else(|error| panic!("{text}: {error}"));
        let hosts: Vec<&str> = config.hosts.iter().map(|host| &*host.name).collect();
        let application = config.application_name.as_deref().unwrap_or("-");
        let seconds = config.connect_timeout.as_secs();
        let (hosts, user, database) = (hosts.join(","), &config.user, &config.database);
        let given = format!("{hosts} {user} {database} {application} {seconds}");
        assert_eq!(given, expect, "{text} {environment} {more}");
    }

    #[test]
    fn an_option_comes_before_the_string_the_service_and_the_environment() {
        let all = || {
            json!({ "PGHOST": "of-env", "PGUSER": "of-env", "PGDATABASE": "of-env", "PGAPPNAME": "of-env",
                    "PGCONNECT_TIMEOUT": "4", "PGPORT": "7" })
        };
        let none = || json!({});
        check("", all(), none(), "of-env:7 of-env of-env of-env 4");
        check("service=s", all(), none(), "of-service:7 of-service of-service of-service 3");
        let text = "postgres://u@h:1/d?application_name=a&connect_timeout=2&service=s";
        check(text, all(), none(), "h:1 u d a 2");
        check("postgres://u@h?service=s", all(), none(), "h:7 u of-service of-service 3");
        let options = json!({ "user": "o", "host": "o", "port": 8, "database": "o", "applicationName": "o",
                              "connectTimeoutMs": 1000 });
        check(text, all(), options.clone(), "o:8 o o o 1");
        check("", all(), options, "o:8 o o o 1");
        check(
            "",
            json!({ "PGSERVICE": "s", "PGUSER": "u" }),
            none(),
            "of-service:5432 of-service of-service of-service 3",
        );
        // An empty variable is none.
        check(
            "user=u",
            json!({ "PGHOST": "", "PGDATABASE": "" }),
            none(),
            "localhost:5432 u u - 2",
        );
        check("user=u fallback_application_name=f", none(), none(), "localhost:5432 u u f 2");
        check(
            "user=u fallback_application_name=f application_name=a",
            none(),
            none(),
            "localhost:5432 u u a 2",
        );
        check(
            "user=u fallback_application_name=f",
            json!({ "PGAPPNAME": "e" }),
            none(),
            "localhost:5432 u u e 2",
        );
    }

    #[test]
    fn a_port_belongs_to_the_hosts_beside_it() {
        let port = || json!({ "PGPORT": "7" });
        let hosts = || json!({ "hosts": ["o1", "o2:3"] });
        check("user=u", port(), hosts(), "o1:7,o2:3 u u - 2");
        check("user=u host=h port=9", port(), hosts(), "o1:5432,o2:3 u u - 2");
        check("user=u port=9", port(), hosts(), "o1:5432,o2:3 u u - 2");
        check("user=u host=h1,h2", port(), json!({}), "h1:7,h2:7 u u - 2");
        check("user=u host=h1,h2", port(), json!({ "port": 8 }), "h1:8,h2:8 u u - 2");
        check("user=u host=h1,h2", json!({ "PGPORT": "7,9" }), json!({}), "h1:7,h2:9 u u - 2");
    }

    #[test]
    fn addresses_stand_in_for_names() {
        let none = || json!({});
        check(
            "user=u host=a,b hostaddr=1.2.3.4,::1 port=1,2",
            none(),
            none(),
            "a(1.2.3.4):1,b(::1):2 u u - 2",
        );
        check("user=u hostaddr=1.2.3.4,::1", none(), none(), "1.2.3.4:5432,[::1]:5432 u u - 2");
        check(
            "user=u host=a,b hostaddr=,1.2.3.4",
            none(),
            none(),
            "a:5432,b(1.2.3.4):5432 u u - 2",
        );
        check("user=u", json!({ "PGHOSTADDR": "1.2.3.4" }), none(), "1.2.3.4:5432 u u - 2");
        check("user=u hostaddr=fe80::1%eth0", none(), none(), "[fe80::1%eth0]:5432 u u - 2");
        for (text, why) in [
            ("user=u host=a,b hostaddr=1.2.3.4", "one for each of its 2 hosts"),
            ("user=u host=a hostaddr=b", "an IPv4 or IPv6 address"),
            ("user=u host=a hostaddr=fe80::1%eth0", "an IPv4 or IPv6 address"),
        ] {
            let error = read(text, &none(), &none()).expect_err(text);
            assert!(error.message().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_turns_tls_off_turns_off_what_the_environment_says_of_it() {
        use crate::config::SslMode;
        let variables = json!({ "PGSSLMODE": "verify-full", "PGSSLCERT": "c", "PGSSLKEY": "k", "PGSSLROOTCERT": "r" });
        let mode = |text: &str, more: Value| read(text, &variables, &more).map(|it| it.tls.mode);
        assert_eq!(mode("user=u sslmode=disable", json!({})), Ok(SslMode::Disable));
        assert_eq!(mode("user=u ssl=false", json!({})), Ok(SslMode::Disable));
        assert_eq!(mode("user=u service=s", json!({})), Ok(SslMode::Disable));
        assert_eq!(mode("user=u", json!({ "ssl": false })), Ok(SslMode::Disable));
        assert_eq!(mode("user=u", json!({ "ssl": "disable" })), Ok(SslMode::Disable));
        let contents = json!({ "ca": "CA", "cert": "C", "key": "K" });
        let mode = |ssl: Value| {
            let mut more = json!({ "$tls": contents });
            if !ssl.is_null() {
                more["ssl"] = ssl;
            }
            read("user=u", &variables, &more).map(|config| config.tls.mode)
        };
        assert_eq!(mode(json!(null)), Ok(SslMode::VerifyFull));
        assert_eq!(mode(json!("require")), Ok(SslMode::Require), "the option comes first");
    }

    #[test]
    fn files_are_asked_for_one_after_the_other() {
        let wanted = |options: Value| wanted_from_json(&options).unwrap();
        let service = |name: &str, file: Option<&str>| {
            Some(Service { name: name.to_owned(), file: file.map(str::to_owned) })
        };
        let given = json!({ "connectionString": "service=s sslrootcert=system" });
        let first = wanted(given);
        assert_eq!(
            (first.service, first.passfile, first.system),
            (service("s", None), None, false)
        );
        let variables = json!({ ENVIRONMENT: { "PGSERVICE": "s", "PGSERVICEFILE": "f" } });
        assert_eq!(wanted(variables).service, service("s", Some("f")));

        let passfile = |options: Value| wanted(options).passfile;
        let named = |file: &str| Some(PassfileName::Given(file.to_owned()));
        assert_eq!(passfile(json!({})), Some(PassfileName::Default));
        assert_eq!(passfile(json!({ "connectionString": "passfile=f" })), named("f"));
        assert_eq!(passfile(json!({ ENVIRONMENT: { "PGPASSFILE": "e" } })), named("e"));
        let of_service =
            json!({ "connectionString": "service=s", SERVICES: ["", "[s]\npassfile=p"] });
        assert_eq!(passfile(of_service), named("p"));
        for given in [
            json!({ "password": "p" }),
            json!({ "connectionString": "password=p passfile=f" }),
            json!({ ENVIRONMENT: { "PGPASSWORD": "p" } }),
        ] {
            assert_eq!(passfile(given), None);
        }
        let missing = from_json(&json!({ "connectionString": "service=x", SERVICES: [SERVICE] }));
        assert!(missing.unwrap_err().message().contains("service \"x\" is not defined"));
    }

    #[test]
    fn a_host_has_the_password_of_its_entry() {
        let config = from_json(&json!({
            "connectionString": "user=u dbname=d host=h1,h2,h3 hostaddr=,1.2.3.4,",
            "$passfile": "h1:5432:d:u:one\nh2:5432:d:u:two\n",
        }));
        let config = config.unwrap();
        let passwords: Vec<_> = config.hosts.iter().map(|host| config.password_for(host)).collect();
        let shown: Vec<_> = passwords.iter().map(|it| it.as_ref().map(Secret::expose)).collect();
        assert_eq!(shown, [Some("one"), Some("two"), None]);
    }

    #[test]
    fn the_name_of_the_login_is_the_last_resort() {
        let user = |options: Value| from_json(&options).unwrap().user;
        assert_eq!(user(json!({ "$loginName": "l" })), "l");
        assert_eq!(user(json!({ "$loginName": "l", ENVIRONMENT: { "PGUSER": "e" } })), "e");
    }

    #[test]
    fn what_others_add_is_understood_or_named() {
        let read = |query: &str| {
            let options = json!({ "connectionString": format!("postgres://u@h/d?{query}") });
            (from_json(&options).unwrap(), wanted_from_json(&options).unwrap().warnings)
        };
        let (config, warnings) = read(
            "schema=app&pgbouncer=true&connection_limit=3&pool_timeout=0&statement_cache_size=0&sslaccept=strict\
             &uselibpqcompat=true&sslmode=require&statement_timeout=5&gssencmode=prefer&client_encoding=utf-8\
             &connect_timeout=0&keepalives_interval=3&keepalives_count=4&krbsrvname=x&load_balance_hosts=random\
             &max_protocol_version=latest&min_protocol_version=3.0",
        );
        assert_eq!(warnings, Vec::<String>::new());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            config.parameters,
            [pair("search_path", "\"app\""), pair("statement_timeout", "5")]
        );
        assert_eq!(config.role_check, crate::config::RoleCheck::Query);
        assert_eq!((config.pool_size, config.statement_cache_size), (3, 0));
        let ever = Duration::from_millis(2_147_483_647);
        assert_eq!((config.acquire_timeout, config.connect_timeout), (ever, ever));
        assert_eq!(config.tls.mode, crate::config::SslMode::VerifyFull);
        let interval = Some(Duration::from_secs(3));
        assert_eq!((config.keep_alive_interval, config.keep_alive_count), (interval, Some(4)));
        assert_eq!(read("schema=public").0.parameters, []);
        assert_eq!(read("connect_timeout=-1").0.connect_timeout, ever);

        for query in
            ["reconnect=true", "uselibpqcompat=false", "load_balance_hosts=disable", "max="]
        {
            let key = query.split('=').next().unwrap();
            let (_, warnings) = read(query);
            assert_eq!(warnings.len(), 1, "{query}");
            let named = format!("'{key}' in the connection string is ignored");
            assert!(warnings.iter().all(|warning| warning.starts_with(&named)), "{warnings:?}");
        }
        for (query, why) in [
            ("gssencmode=require", "not supported"),
            ("requirepeer=postgres", "not supported"),
            ("replication=database", "not supported"),
            ("min_protocol_version=3.2", "protocol 3.2 is not supported"),
            ("max_protocol_version=2.0", "one of 3.0, 3.2, latest"),
            ("client_encoding=LATIN1", "UTF8, which is always used"),
            ("sslca=x", "unknown key"),
            ("password=a&hunter2=x", "it is not shown"),
        ] {
            let text = format!("postgres://u@h/d?{query}");
            let error = from_json(&json!({ "connectionString": text })).expect_err(query);
            assert!(error.message().contains(why), "{query}: {error}");
            assert!(!error.message().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_variable() {
        let table = [
            ("PGPORT", "x", "the environment: the port of host 1"),
            ("PGCONNECT_TIMEOUT", "x", "'PGCONNECT_TIMEOUT' in the environment must be"),
            ("PGSSLMODE", "x", "'PGSSLMODE' in the environment must be"),
            (
                "PGOPTIONS",
                "-c default_transaction_read_only=off",
                "'PGOPTIONS' in the environment must not",
            ),
        ];
        for (variable, value, why) in table {
            let error =
                read("user=u", &json!({ variable: value }), &json!({})).expect_err(variable);
            assert!(error.message().contains(why), "{error}");
        }
        let latin = read("user=u", &json!({ "PGCLIENTENCODING": "LATIN1" }), &json!({}));
        assert!(latin.is_ok(), "psql's, and no reason to fail");
    }
}
