//! The connection string as a URI in libpq's form (PostgreSQL manual, 34.1.1.2).
//!
//! An error shows a part of the text only if no password can be in it: a `/` or `@` that was not
//! percent-encoded moves parts of the password into the host, the port or the database.

use super::refusal::{error, quote};
use super::source::{Pair, SUBJECT};
use crate::base::Error;

/// The parts of the text, still percent-encoded.
#[derive(Default)]
struct Parts<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
    /// `host:port,host:port`
    hosts: &'a str,
    database: Option<&'a str>,
    query: Option<&'a str>,
}

/// Reads what follows the scheme. As in libpq, a part that is empty is not given.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>, Error> {
    let parts = split(text)?;
    let mut pairs = Vec::new();
    for (key, text) in
        [("user", parts.user), ("password", parts.password), ("dbname", parts.database)]
    {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            pairs.push((key.to_owned(), decode(key, text)?));
        }
    }
    let (hosts, ports) = split_hosts(parts.hosts)?;
    for (key, list) in [("host", hosts), ("port", ports)] {
        if list.iter().any(|entry| !entry.is_empty()) {
            pairs.push((key.to_owned(), list.join(",")));
        }
    }
    for pair in parts.query.into_iter().flat_map(|query| query.split('&')) {
        if pair.is_empty() {
            continue;
        }
        // The pair is not shown: it may be the end of a password with an ampersand.
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| error(format!("{SUBJECT} has a query key without '='")))?;
        let key = decode("query key", key.trim_ascii())?;
        let value = decode(&key, value.trim_ascii())?;
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn split(rest: &str) -> Result<Parts<'_>, Error> {
    let mut parts = Parts::default();
    let mut rest = rest;
    // As in libpq, the text before the first '@' names the user, unless a '/' comes first.
    if let Some((user, behind)) = rest.split_once('@').filter(|(user, _)| !user.contains('/')) {
        rest = behind;
        match user.split_once(':') {
            Some((user, password)) => {
                parts.user = Some(user);
                parts.password = Some(password);
            }
            None => parts.user = Some(user),
        }
    }
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if path.contains('@') {
        return Err(error(format!(
            "{SUBJECT} has an '@' behind its user and password: an '@', ':', '/', '?' or '#' in them \
             must be percent-encoded"
        )));
    }
    parts.query = query;
    match path.split_once('/') {
        Some((hosts, database)) => {
            parts.hosts = hosts;
            parts.database = Some(database);
        }
        None => parts.hosts = path,
    }
    Ok(parts)
}

/// The hosts and the ports, as two lists of the same length.
fn split_hosts(text: &str) -> Result<(Vec<String>, Vec<String>), Error> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for (index, entry) in text.split(',').enumerate() {
        let (host, port) = match entry.strip_prefix('[') {
            Some(rest) => {
                let (inside, behind) = rest.split_once(']').ok_or_else(|| no_host(index))?;
                let is_v6 = inside.contains(':');
                let port = match behind.strip_prefix(':') {
                    Some(port) => port,
                    None if behind.is_empty() => "",
                    None => return Err(no_host(index)),
                };
                (is_v6.then_some(inside).ok_or_else(|| no_host(index))?, port)
            }
            None => entry.split_once(':').unwrap_or((entry, "")),
        };
        hosts.push(decode("host", host)?);
        ports.push(decode("port", port)?);
    }
    Ok((hosts, ports))
}

fn no_host(index: usize) -> Error {
    error(format!("{SUBJECT}: host {} is no host name, address or socket directory", index + 1))
}

/// Decodes percent-encoding. `part` names the part in errors, and the text itself is never shown.
fn decode(part: &str, text: &str) -> Result<String, Error> {
    let wrong = |why: &str| error(format!("{SUBJECT}: {why} in its {}", quote(part)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let byte = piece.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| wrong("a '%' is not followed by two hexadecimal digits"))?);
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    if bytes.contains(&0) {
        return Err(wrong("there is a NUL character"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("the percent-encoded bytes are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::{Config, Secret, from_json};

    fn read(text: &str) -> Result<Config, Error> {
        from_json(&json!({ "connectionString": text }))
    }

    /// `expect` is `user password database host,host`.
    fn check(text: &str, expect: &str) {
        let config = read(text).expect(text);
        let password = config.password.as_ref().map_or("-", Secret::expose);
        let hosts: Vec<&str> = config.hosts.iter().map(|host| &*host.name).collect();
        let read = format!("{} {password} {} {}", config.user, config.database, hosts.join(","));
        assert_eq!(read, expect, "{text}");
    }

    #[test]
    fn the_forms_of_libpq_are_read() {
        check("postgres://u@", "u - u localhost:5432");
        check("postgresql://u@h", "u - u h:5432");
        check("postgres://u:p@h/", "u p u h:5432");
        check("postgres://u:@h/d", "u - d h:5432");
        check("postgres://u:p:q@h:1/d", "u p:q d h:1");
        check("postgres://u:p?q@h/d", "u p?q d h:5432");
        check("postgres://u%40x:p%2F%3A%25%C3%A9@h/d%20e", "u@x p/:%é d e h:5432");
        check("postgres://u@h1:1,h2,[::1]:2/d", "u - d h1:1,h2:5432,[::1]:2");
        check("postgres://u@,h2:/d", "u - d localhost:5432,h2:5432");
        check("postgres://u@[fe80::1%252]/d", "u - d [fe80::1%2]:5432");
        check("postgres://u@%2Fvar%2Frun:6/d", "u - d /var/run:6");
        check("postgres://u@%40abstract/d", "u - d @abstract");
        check("postgres:///d?user=u&host=/tmp", "u - d /tmp");
        check("postgres://a:b@h/d?user=u&password=p&dbname=e&&", "u p e h:5432");
        check("postgres://?user=u&host=h1,::1&port=7", "u - u h1:7,[::1]:7");
        check("postgres://?user=u&host=h1,h2&port=7,", "u - u h1:7,h2:5432");
        check("postgres://u@h1:1,h2:2?port=3,4", "u - u h1:3,h2:4");
    }

    #[test]
    fn the_query_sets_options() {
        let config = read(
            "postgres://u@h?target_session_attrs=read-write&application_name=a%20b&connect_timeout=2\
             &options=-c%20geqo%3Doff&keepalives=0&keepalives_idle=7&tcp_user_timeout=0&sslmode=prefer",
        )
        .unwrap();
        assert_eq!(config.application_name.as_deref(), Some("a b"));
        assert_eq!(config.connect_timeout, Duration::from_secs(2));
        assert_eq!(config.parameters, [("options".to_owned(), "-c geqo=off".to_owned())]);
        assert_eq!(config.keep_alive_delay, Duration::from_secs(7));
        assert!(!config.keep_alive && config.tcp_user_timeout.is_none());
        let config = read("postgres://u@h?keepalives_idle=0").unwrap();
        assert_eq!(config.keep_alive_delay, Duration::from_secs(10));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        let in_string = "in the connection string";
        let table = [
            ("mysql://u:hunter2@h", "must begin with 'postgres://' or 'postgresql://'".to_owned()),
            ("hunter2", "must begin with".to_owned()),
            ("postgres://h/d", "option 'user' is missing".to_owned()),
            ("postgres://u:hun@ter2@h/d", "must be percent-encoded".to_owned()),
            ("postgres://u:1/hunter2@h/d", "must be percent-encoded".to_owned()),
            ("postgres://u:hunter2/x", "the port of host 1 must be an integer".to_owned()),
            ("postgres://u:p@h1,h 2/d", "host 2 is no host name".to_owned()),
            ("postgres://u:p@[::1/d", "host 1 is no host name".to_owned()),
            ("postgres://u:p@[h]/d", "host 1 is no host name".to_owned()),
            ("postgres://u:p@h:0/d", "the port of host 1".to_owned()),
            ("postgres://u:hunter2%@h", "a '%' is not followed".to_owned()),
            ("postgres://u:hunter2%+1@h", "a '%' is not followed".to_owned()),
            (
                "postgres://u:hunter2%00@h",
                "there is a NUL character in its \"password\"".to_owned(),
            ),
            ("postgres://u:%FF@h", "are not UTF-8 in its \"password\"".to_owned()),
            ("postgres://u@h?password=a&hunter2", "a query key without '='".to_owned()),
            ("postgres://u@h?__proto__=x", format!("unknown key {in_string} \"__proto__\"")),
            ("postgres://u@h?sslkeys=/etc/x", format!("unknown key {in_string} \"sslkeys\"")),
            ("postgres://u@h?dbnam=x", "did you mean 'dbname'?".to_owned()),
            ("postgres://u@h?sslmode=on", "must be one of disable, allow, prefer".to_owned()),
            ("postgres://u@h?connect_timeout=x", "an integer from 0 to 2147483".to_owned()),
            ("postgres://u@h?connect_timeout=+1", "an integer from".to_owned()),
            (
                "postgres://u@h?load_balance_hosts=x",
                "must be one of disable, random, not \"x\"".to_owned(),
            ),
            ("postgres://u@h?target_session_attrs=x", "one of read-write, ".to_owned()),
            ("postgres://u@h?options=-cdefault_transaction_read_only=0", "must not set".to_owned()),
            (
                "postgres://u@h1,h2,h3?port=1,2",
                "must be one, or one for each of its 3 hosts".to_owned(),
            ),
        ];
        for (text, expect) in table {
            let error = read(text).expect_err(text);
            assert!(error.message().contains(&expect), "{text}: {error}");
            assert!(!error.message().contains("hunter2"), "{text}: {error}");
        }
        let many = format!("postgres://u@{}", vec!["h"; 10_000].join(","));
        let error = read(&many).unwrap_err();
        assert_eq!(error.message(), "the connection string must name 1 to 64 hosts, not 10000");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(postgres://)?[a-z0-9:/@,?&=%\\[\\]é]{0,40}") {
            let _ = read(&text);
        }

        #[test]
        fn any_password_survives_its_encoding(password in "[^\0]{1,20}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let config = read(&format!("postgres://u:{encoded}@h/d")).unwrap();
            prop_assert_eq!(config.password.as_ref().map(Secret::expose), Some(password.as_str()));
        }
    }
}
