use serde_json::json;

use super::*;
use crate::config::{LoadBalance, Pipelining, RoleCheck};

fn read(mut options: Value) -> Result<Config, Error> {
    if let Some(object) = options.as_object_mut() {
        object.entry("user").or_insert_with(|| json!("u"));
    }
    from_json(&options)
}

fn check(options: &Value, expect: &str) {
    let error = read(options.clone()).expect_err(&options.to_string());
    assert_eq!(error.message(), expect);
    assert_eq!(
        (error.code(), error.class().as_str()),
        ("HYPERION_CONFIGURATION", "ConfigurationError")
    );
}

#[test]
fn a_role_is_all_that_must_be_said() {
    let config = from_json(&json!({ "user": "u" })).unwrap();
    assert_eq!(&*config.hosts[0].name, "localhost:5432");
    assert_eq!((config.hosts.len(), config.database.as_str()), (1, "u"));
    assert_eq!((config.pool_size, config.statement_cache_size), (10, 256));
    assert_eq!(config.connect_timeout, Duration::from_millis(2_000));
    assert_eq!(config.acquire_timeout, Duration::from_millis(5_000));
    assert_eq!(config.failover_probe, Duration::from_millis(25));
    assert_eq!(config.liveness_check, Duration::from_millis(2_000));
    assert_eq!(
        (config.load_balance, config.role_check, config.pipelining),
        (LoadBalance::Random, RoleCheck::Reported, Pipelining::Reads)
    );
    assert_eq!((config.query_timeout, config.cancel_grace), (None, Duration::from_secs(1)));
    assert_eq!(config.keep_alive_delay, Duration::from_secs(10));
    assert_eq!(config.tcp_user_timeout, Some(Duration::from_secs(30)));
    assert!(config.keep_alive && config.allow_exit_on_idle && config.fail_fast);
    assert!(config.password.is_none() && config.application_name.is_none());
    let missing = from_json(&json!({})).unwrap_err();
    assert!(missing.message().starts_with("option 'user' is missing"));
}

#[test]
fn every_option_is_read() {
    let config = read(json!({
        "hosts": ["h1", "h2:1"], "port": 6000, "password": "hunter2", "database": "d",
        "mode": "prefer-standby", "loadBalance": "nearest", "roleCheck": "query", "livenessCheckMs": 7,
        "pipelining": "all",
        "poolSize": 1, "connectTimeoutMs": 1, "acquireTimeoutMs": 2,
        "failoverProbeMs": 3, "keepAlive": false, "keepAliveDelayMs": 4, "tcpUserTimeoutMs": 0,
        "statementCacheSize": 0, "applicationName": "a", "allowExitOnIdle": false, "maxQueue": 5,
        "maxResultBytes": 2048, "queryTimeoutMs": 6, "cancelGraceMs": 7, "minIdle": 1,
        "idleTimeoutMs": 8, "maxLifetimeMs": 9, "maxUses": 10,
        "parameters": { "search_path": "x", "options": "-c geqo=off" },
        "statementTimeoutMs": 6, "lockTimeoutMs": 0, "idleInTransactionTimeoutMs": 7,
        "resetOnRelease": false, "failFast": false,
    }))
    .unwrap();
    let names: Vec<&str> = config.hosts.iter().map(|host| &*host.name).collect();
    assert_eq!(names, ["h1:6000", "h2:1"]);
    assert_eq!(config.password.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!((config.pool_size, config.max_queue, config.tcp_user_timeout), (1, 5, None));
    assert_eq!((config.max_result_bytes, config.fail_fast), (2048, false));
    assert_eq!(
        (config.mode.as_str(), config.load_balance),
        ("prefer-standby", LoadBalance::Nearest)
    );
    assert_eq!((config.role_check, config.pipelining), (RoleCheck::Query, Pipelining::All));
    assert_eq!(config.liveness_check, Duration::from_millis(7));
    assert_eq!(config.query_timeout, Some(Duration::from_millis(6)));
    assert_eq!(config.cancel_grace, Duration::from_millis(7));
    assert_eq!((config.min_idle, config.max_uses), (1, Some(10)));
    let milliseconds = |n| Some(Duration::from_millis(n));
    let (idle, life) = (config.idle_timeout, config.max_lifetime);
    assert_eq!((idle, life), (milliseconds(8), milliseconds(9)));
    let parameters = [
        ("options", "-c geqo=off"),
        ("search_path", "x"),
        ("idle_in_transaction_session_timeout", "1007"),
        ("lock_timeout", "0"),
        ("statement_timeout", "6"),
    ];
    assert_eq!(config.parameters, parameters.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(config.idle_in_transaction, Some(Duration::from_millis(7)));
    assert!(!config.reset_on_release);
    assert!(read(json!({ "password": "" })).unwrap().password.is_none());
}

#[test]
fn every_known_option_is_one() {
    for name in KNOWN {
        let error = from_json(&json!({ name: { "$given": "a function" } })).unwrap_err();
        assert!(error.message().starts_with(&format!("option '{name}' must be ")), "{error}");
        assert!(error.message().contains(", not a function"), "{error}");
    }
}

#[test]
fn an_unknown_option_is_told_all_that_there_are() {
    let error = from_json(&json!({ "what": 5 })).unwrap_err();
    for name in KNOWN.iter().chain(&OF_JAVASCRIPT) {
        assert!(error.message().contains(name), "{name}: {error}");
    }
}

#[test]
fn wrong_options_are_refused_by_name() {
    let table = [
        (json!({ "poolSize": 0 }), "option 'poolSize' must be an integer from 1 to 10000, not 0"),
        (
            json!({ "poolSize": 1.5 }),
            "option 'poolSize' must be an integer from 1 to 10000, not 1.5",
        ),
        (
            json!({ "poolSize": "10" }),
            "option 'poolSize' must be an integer from 1 to 10000, not \"10\"",
        ),
        (
            json!({ "poolSize": { "$given": "NaN" } }),
            "option 'poolSize' must be an integer from 1 to 10000, not NaN",
        ),
        (json!({ "port": 65_536 }), "option 'port' must be an integer from 1 to 65535, not 65536"),
        (
            json!({ "connectTimeoutMs": -1 }),
            "option 'connectTimeoutMs' must be an integer from 1 to 2147483647, not -1",
        ),
        (
            json!({ "minIdle": 11 }),
            "option 'minIdle' must not be more than 'poolSize', 10, but is 11",
        ),
        (json!({ "keepAlive": 1 }), "option 'keepAlive' must be true or false, not 1"),
        (
            json!({ "password": 12_345 }),
            "option 'password' must be a string or a function, not a number",
        ),
        (json!({ "host": ["h"] }), "option 'host' must be a string, not an array"),
        (
            json!({ "host": "a", "hosts": "b" }),
            "options 'host' and 'hosts' say the same: give one of them",
        ),
        (
            json!({ "user": "" }),
            "option 'user' must be a string with something in it, not an empty one",
        ),
        (json!({ "database": "a\0b" }), "option 'database' must be a text without NUL characters"),
        (json!({ "poolsize": 5 }), "unknown option \"poolsize\": did you mean 'poolSize'?"),
        (json!({ "lookUp": 5 }), "unknown option \"lookUp\": did you mean 'lookup'?"),
        (json!({ "max": 5 }), "unknown option 'max': did you mean 'poolSize'?"),
        (
            json!({ "mode": "rw" }),
            "option 'mode' must be one of read-write, read-only, primary, standby, prefer-standby, any, \
             not \"rw\"",
        ),
        (
            json!({ "loadBalance": "round-robin" }),
            "option 'loadBalance' must be one of random, least-connections, nearest, not \"round-robin\"",
        ),
        (
            json!({ "pipelining": "writes" }),
            "option 'pipelining' must be one of reads, all, off, not \"writes\"",
        ),
        (json!({ "roleCheck": true }), "option 'roleCheck' must be a string, not true"),
    ];
    for (options, expect) in table {
        check(&options, expect);
    }
    for name in ["__proto__", "constructor", "toString", "", "$given2"] {
        let error = read(json!({ name: "x" })).unwrap_err();
        assert!(error.message().starts_with("unknown option "), "{error}");
    }
    for options in [json!(null), json!([]), json!("x"), json!({ "$given": "a Map" })] {
        assert!(from_json(&options).unwrap_err().message().starts_with("the options must be"));
    }
}

#[test]
fn wrong_parameters_are_refused_by_name() {
    let table = [
        (
            json!({ "parameters": { "search_path": 1 } }),
            "option 'parameters.search_path' must be a string, not a number",
        ),
        (
            json!({ "parameters": { "Client_Encoding": "LATIN1" } }),
            "option 'parameters.Client_Encoding' can't be set here: it is always UTF8",
        ),
        (
            json!({ "parameters": { "a b": "x" } }),
            "option 'parameters.a b' does not have the name of a run-time parameter",
        ),
    ];
    for (options, expect) in table {
        check(&options, expect);
    }
}

#[test]
fn a_search_path_is_a_list_of_names() {
    for (path, expect) in [
        (json!("app, \"$user\""), "app, \"$user\""),
        (json!(["a b", "c\"d"]), "\"a b\", \"c\"\"d\""),
    ] {
        let config = read(json!({ "searchPath": path })).unwrap();
        assert_eq!(config.parameters, [("search_path".to_owned(), expect.to_owned())]);
    }
    check(
        &json!({ "searchPath": 1 }),
        "option 'searchPath' must be a string or an array of strings, not 1",
    );
}

#[test]
fn a_parameter_is_said_once() {
    for (option, value, parameter) in [
        ("statementTimeoutMs", json!(1), "statement_timeout"),
        ("idleInTransactionTimeoutMs", json!(1), "Idle_In_Transaction_Session_Timeout"),
        ("searchPath", json!("x"), "search_path"),
    ] {
        let error = read(json!({ option: value, "parameters": { parameter: "1" } }));
        let message = error.unwrap_err().message().to_owned();
        assert!(message.contains("say the same: give one of them"), "{message}");
    }
}

#[test]
fn a_session_can_not_be_opened_through_a_fence() {
    let parameters = [
        ("default_transaction_read_only", "off"),
        ("Default_Transaction_Read_Only", "on"),
        ("options", "-c default_transaction_read_only=off"),
        ("OPTIONS", "-cgeqo=on --Default-Transaction-read-only=off"),
        ("options", "-c default\\_transaction_read_only=off"),
    ];
    for (name, value) in parameters {
        let error = read(json!({ "parameters": { name: value } })).unwrap_err();
        assert!(error.message().contains("must not set default_transaction_read_only"), "{error}");
    }
}

#[test]
fn a_startup_message_has_a_limit() {
    let with = |length| read(json!({ "parameters": { "x.y": "v".repeat(length) } }));
    // The three names, the role twice, x.y and eight NULs take 41 bytes.
    assert!(with(9_500 - 41).is_ok());
    assert!(with(9_501 - 41).is_err());
}

#[test]
fn options_override_the_connection_string() {
    let config = from_json(&json!({
        "applicationName": "mine",
        "connectionString": "postgres://u:p@h1:1,h2/d?application_name=x&connect_timeout=9",
        "database": "e",
        "port": 7,
    }))
    .unwrap();
    let names: Vec<&str> = config.hosts.iter().map(|host| &*host.name).collect();
    assert_eq!(names, ["h1:1", "h2:7"]);
    assert_eq!((config.user.as_str(), config.database.as_str()), ("u", "e"));
    assert_eq!(config.application_name.as_deref(), Some("mine"));
    assert_eq!(config.connect_timeout, Duration::from_secs(9));
}
