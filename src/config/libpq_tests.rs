//! What libpq reads from a URI, case by case. The cases are those of PostgreSQL's own test of libpq
//! (`src/interfaces/libpq/t/001_uri.pl`), in the form of this project.

use serde_json::json;

use super::{conninfo, from_json};

/// The keys that a text gives, sorted, as `key=value` with a space between them.
fn read(text: &str) -> Result<String, String> {
    let pairs = conninfo::parse(text).map_err(|error| error.message().to_owned())?;
    // Of a key that is given twice the last value counts.
    let last: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
    let shown: Vec<_> = last.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(shown.join(" "))
}

/// Whether a pool takes the text, if it names no role.
fn refusal(text: &str) -> Option<String> {
    let options = json!({ "connectionString": text, "$loginName": "login" });
    from_json(&options).err().map(|error| error.message().to_owned())
}

#[test]
fn what_libpq_takes_is_taken() {
    let table = [
        (
            "postgresql://role:pw@db:12345/app",
            "dbname=app host=db password=pw port=12345 user=role",
        ),
        ("postgresql://role@db:12345/app", "dbname=app host=db port=12345 user=role"),
        ("postgresql://role@db/app", "dbname=app host=db user=role"),
        ("postgresql://db:12345/app", "dbname=app host=db port=12345"),
        ("postgresql://db/app", "dbname=app host=db"),
        ("postgresql://role@db:12345/", "host=db port=12345 user=role"),
        ("postgresql://role@db/", "host=db user=role"),
        ("postgresql://role@", "user=role"),
        ("postgresql://db:12345/", "host=db port=12345"),
        ("postgresql://db:12345", "host=db port=12345"),
        ("postgresql://db/", "host=db"),
        ("postgresql://db", "host=db"),
        ("postgresql://", ""),
        ("postgresql://?hostaddr=127.0.0.1", "hostaddr=127.0.0.1"),
        ("postgresql://db.test?hostaddr=63.1.2.4", "host=db.test hostaddr=63.1.2.4"),
        ("postgresql://%64b/", "host=db"),
        ("postgresql://db/app?user=role", "dbname=app host=db user=role"),
        ("postgresql://db/app?user=role&port=12345", "dbname=app host=db port=12345 user=role"),
        ("postgresql://db/app?u%73er=role&port=12345", "dbname=app host=db port=12345 user=role"),
        ("postgresql://db:12345?user=role", "host=db port=12345 user=role"),
        ("postgresql://db?user=role", "host=db user=role"),
        // libpq takes spaces around keys and values from version 18 on.
        ("postgresql://db? user = role & port = 12345 ", "host=db port=12345 user=role"),
        ("postgresql://db?", "host=db"),
        ("postgresql://[::1]:12345/app", "dbname=app host=::1 port=12345"),
        ("postgresql://[::1]/app", "dbname=app host=::1"),
        ("postgresql://[2001:db8::1234]/", "host=2001:db8::1234"),
        ("postgresql://[::1]", "host=::1"),
        ("postgres://", ""),
        ("postgres:///", ""),
        ("postgres:///app", "dbname=app"),
        ("postgres://role@/app", "dbname=app user=role"),
        ("postgres://?host=/folder/of/socket", "host=/folder/of/socket"),
        ("postgres://@db", "host=db"),
        ("postgres://db:/", "host=db"),
        ("postgres://:12345/", "port=12345"),
        ("postgres://role@?host=/no/such/folder", "host=/no/such/folder user=role"),
        ("postgres://role@/?host=/no/such/folder", "host=/no/such/folder user=role"),
        ("postgres://role@:12345?host=/no/such", "host=/no/such port=12345 user=role"),
        (
            "postgres://role@:12345/app?host=/no/such",
            "dbname=app host=/no/such port=12345 user=role",
        ),
        ("postgres://:12345/app?host=/no/such", "dbname=app host=/no/such port=12345"),
        ("postgres://:12345?host=/no/such", "host=/no/such port=12345"),
        ("postgres://%2Fvar%2Flib%2Fsocket/app", "dbname=app host=/var/lib/socket"),
        ("postgresql://db?sslmode=disable", "host=db sslmode=disable"),
        ("postgresql://db?sslmode=prefer", "host=db sslmode=prefer"),
        ("postgresql://db?sslmode=verify-full", "host=db sslmode=verify-full"),
        // Not in that table.
        ("postgresql://h1:1,h2,[::1]:3/app", "dbname=app host=h1,h2,::1 port=1,,3"),
        ("postgresql://h1,h2/app", "dbname=app host=h1,h2"),
        ("postgresql://[fe80::1%25eth0]:5/", "host=fe80::1%eth0 port=5"),
        ("postgresql://role:a:b@db", "host=db password=a:b user=role"),
        ("postgresql://role:@db", "host=db user=role"),
    ];
    for (text, expect) in table {
        assert_eq!(read(text).as_deref(), Ok(expect), "{text}");
        assert_eq!(refusal(text), None, "{text}");
    }
    // libpq finds out that this is no address when it connects.
    let no_address = "postgresql://[200z:db8::1234]/";
    assert_eq!(read(no_address).as_deref(), Ok("host=200z:db8::1234"));
    assert!(refusal(no_address).is_some_and(|why| why.contains("host 1 is no host name")));
}

#[test]
fn what_libpq_refuses_is_refused() {
    let table = [
        (
            "postgresql://db/app?u%7aer=role&port=12345",
            r#"unknown key in the connection string "uzer""#,
        ),
        ("postgresql://db?uzer=", r#"unknown key in the connection string "uzer""#),
        ("postgresql://db?  role role  =  x  & port = 5", "unknown key"),
        ("postgresql://db?port=12345 12", "the port of host 1"),
        ("postgre://", "must begin with 'postgres://' or 'postgresql://'"),
        ("postgres://[::1", "host 1 is no host name"),
        ("postgres://[]", "host 1 is no host name"),
        ("postgres://[::1]z", "host 1 is no host name"),
        ("postgresql://db?zzz", "a query key without '='"),
        ("postgresql://db?value1&value2", "a query key without '='"),
        ("postgresql://db?  zzz ", "a query key without '='"),
        ("postgresql://db?key=key=value", r#"unknown key in the connection string "key""#),
        ("postgres://db?dbname=%XXapp", "not followed by two hexadecimal digits"),
        ("postgresql://a%00b", "a NUL character"),
        ("postgresql://%zz", "not followed by two hexadecimal digits"),
        ("postgresql://%1", "not followed by two hexadecimal digits"),
        ("postgresql://%", "not followed by two hexadecimal digits"),
    ];
    for (text, expect) in table {
        let why = refusal(text).expect(text);
        assert!(why.contains(expect), "{text}: {why}");
    }
}

#[test]
fn roots_of_the_system_from_the_environment_ask_for_verification() {
    let read = |query: &str| {
        from_json(&json!({
            "connectionString": format!("postgresql://role@db?{query}"),
            "$environment": { "PGSSLROOTCERT": "system" },
        }))
    };
    use crate::config::SslMode;
    assert_eq!(read("sslmode=disable").unwrap().tls.mode, SslMode::Disable);
    assert_eq!(read("sslmode=verify-full").unwrap().tls.mode, SslMode::VerifyFull);
    assert_eq!(read("").unwrap().tls.mode, SslMode::VerifyFull);
    // libpq says so when it connects.
    assert!(read("sslmode=prefer").unwrap_err().message().contains("needs sslmode=verify-full"));
}
