//! Hosts in the forms that users write: names, addresses, socket directories.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde_json::Value;

use super::refusal::{error, quote, refuse, refuse_nul, show};
use super::{Endpoint, Host, MAX_HOSTS};
use crate::base::Error;

pub(super) const DEFAULT_PORT: u16 = 5432;

/// The longest name of a Unix socket that the system accepts, in bytes, without the NUL at its end.
const MAX_SOCKET_NAME: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The longest name in the Domain Name System, in bytes.
const MAX_NAME: usize = 253;

const FORMS: &str = "'host', 'host:port', an IPv4 or IPv6 address, '[v6]:port', '/socket/directory' or \
                     '@abstract-socket-directory'";

/// One host, before the default port is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Name(String),
    Ip(IpAddr),
    /// A link-local address, with the number of its interface.
    Scoped(Ipv6Addr, u32),
    /// A link-local address, with the name of its interface, which Node looks up.
    Zoned(String),
    /// A name whose address is given. The port of the address means nothing.
    Pinned(String, SocketAddr),
    Directory(String),
    Abstract(String),
}

impl Place {
    /// Reads a host without a port, and an IPv6 address without brackets. `None` if the text is no
    /// host.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::Directory(text.to_owned()));
        }
        if let Some(name) = text.strip_prefix('@') {
            return (!name.is_empty()).then(|| Self::Abstract(name.to_owned()));
        }
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(ip));
        }
        if text.contains(':') {
            let (ip, zone) = text.split_once('%')?;
            let ip: Ipv6Addr = ip.parse().ok()?;
            if let Ok(scope) = zone.parse() {
                return Some(Self::Scoped(ip, scope));
            }
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
            let is_name = !zone.is_empty() && zone.bytes().all(plain);
            return is_name.then(|| Self::Zoned(text.to_owned()));
        }
        let wrong = |letter: char| {
            letter.is_whitespace() || letter.is_control() || "/@,?#[]%\\\"'".contains(letter)
        };
        let is_name = !text.is_empty() && text.len() <= MAX_NAME && !text.contains(wrong);
        is_name.then(|| Self::Name(text.to_owned()))
    }
}

impl Address {
    /// Reads a host that may have a port. `None` if either is not valid.
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, behind) = rest.split_once(']')?;
            let place = Place::parse(inside)?;
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if behind.is_empty() => None,
                None => return None,
            };
            return matches!(place, Place::Ip(IpAddr::V6(_)) | Place::Scoped(..) | Place::Zoned(_))
                .then_some(Self { place, port });
        }
        let is_socket = text.starts_with(['/', '@']);
        match text.split_once(':') {
            // A text with more than one colon is an IPv6 address without brackets, which can't have
            // a port.
            Some((host, port)) if !is_socket && !port.contains(':') => {
                Some(Self { place: Place::parse(host)?, port: Some(parse_port(port)?) })
            }
            Some(_) | None => Some(Self { place: Place::parse(text)?, port: None }),
        }
    }

    pub(super) fn into_host(self, default_port: u16) -> Result<Host, Error> {
        let port = self.port.unwrap_or(default_port);
        let (name, endpoint) = match self.place {
            Place::Name(name) => (format!("{name}:{port}"), Endpoint::Name { name, port }),
            Place::Ip(ip) => {
                let address = SocketAddr::new(ip, port);
                (address.to_string(), Endpoint::Ip(address))
            }
            Place::Scoped(ip, scope) => {
                let address = SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope));
                (address.to_string(), Endpoint::Ip(address))
            }
            Place::Zoned(name) => (format!("[{name}]:{port}"), Endpoint::Name { name, port }),
            Place::Pinned(name, mut address) => {
                address.set_port(port);
                (format!("{name}({}):{port}", address.ip()), Endpoint::Pinned { name, address })
            }
            Place::Directory(directory) => {
                let path = socket_name(&directory, port)?;
                (shown_socket(directory, port), Endpoint::Unix { path })
            }
            Place::Abstract(directory) => {
                let name = socket_name(&directory, port)?.into_bytes();
                (shown_socket(format!("@{directory}"), port), Endpoint::Abstract { name })
            }
        };
        Ok(Host { name: name.into(), endpoint })
    }
}

/// The name of a socket's host for errors. Two servers of one machine may share the directory, and
/// then have different ports.
fn shown_socket(directory: String, port: u16) -> String {
    if port == DEFAULT_PORT { directory } else { format!("{directory}:{port}") }
}

fn socket_name(directory: &str, port: u16) -> Result<String, Error> {
    let name = format!("{directory}/.s.PGSQL.{port}");
    if name.len() > MAX_SOCKET_NAME {
        let given = format!("one of {}", name.len());
        let allowed = format!("a name of at most {MAX_SOCKET_NAME} bytes");
        return Err(refuse("the socket of a host", &allowed, &given));
    }
    Ok(name)
}

/// Accepts only digits: Rust would accept a plus sign too.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| is_digits && port > 0)
}

/// Reads the option `hosts` or `host`: an array of strings, or one string with commas.
pub(super) fn from_option(subject: &str, value: &Value) -> Result<Vec<Address>, Error> {
    let entries: Vec<&str> = match value {
        Value::String(list) => list.split(',').map(str::trim).collect(),
        Value::Array(entries) => {
            let text = |entry: &'_ Value| match entry {
                Value::String(_) => Ok(()),
                other => Err(refuse(subject, "an array of strings", &in_array(other))),
            };
            entries.iter().try_for_each(text)?;
            entries.iter().filter_map(Value::as_str).collect()
        }
        other => return Err(refuse(subject, "a string or an array of strings", &show(other))),
    };
    check_count(subject, entries.len())?;
    let parse = |text: &str| {
        refuse_nul(subject, text)?;
        Address::parse(text).ok_or_else(|| refuse(subject, FORMS, &quote(text)))
    };
    entries.into_iter().map(parse).collect()
}

fn in_array(entry: &Value) -> String {
    format!("an array with {} in it", show(entry))
}

pub(super) fn check_count(subject: &str, count: usize) -> Result<(), Error> {
    if (1..=MAX_HOSTS).contains(&count) {
        return Ok(());
    }
    Err(error(format!("{subject} must name 1 to {MAX_HOSTS} hosts, not {count}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hosts(value: &Value) -> Result<Vec<Host>, Error> {
        let addresses = from_option("option 'hosts'", value)?;
        addresses.into_iter().map(|address| address.into_host(5433)).collect()
    }

    fn check(text: &str, name: &str, endpoint: Endpoint) {
        let expect = vec![Host { name: name.into(), endpoint }];
        assert_eq!(hosts(&json!([text])), Ok(expect.clone()), "{text}");
        assert_eq!(hosts(&json!(text)), Ok(expect), "{text}");
    }

    #[test]
    fn every_form_of_a_host_is_read() {
        let name = |name: &str, port| Endpoint::Name { name: name.to_owned(), port };
        let ip = |text: &str| Endpoint::Ip(text.parse().unwrap());
        let unix = |path: &str| Endpoint::Unix { path: path.to_owned() };
        check("h1", "h1:5433", name("h1", 5433));
        check("db_1.example.com:1", "db_1.example.com:1", name("db_1.example.com", 1));
        check("bücher.example", "bücher.example:5433", name("bücher.example", 5433));
        check("127.0.0.1", "127.0.0.1:5433", ip("127.0.0.1:5433"));
        check("127.0.0.1:65535", "127.0.0.1:65535", ip("127.0.0.1:65535"));
        check("::1", "[::1]:5433", ip("[::1]:5433"));
        check("[::1]", "[::1]:5433", ip("[::1]:5433"));
        check("[2001:DB8::1]:6000", "[2001:db8::1]:6000", ip("[2001:db8::1]:6000"));
        check("[fe80::1%2]:6000", "[fe80::1%2]:6000", ip("[fe80::1%2]:6000"));
        let zoned = name("fe80::1%eth0", 5433);
        check("fe80::1%eth0", "[fe80::1%eth0]:5433", zoned);
        check("[fe80::1%eth0]:1", "[fe80::1%eth0]:1", name("fe80::1%eth0", 1));
        check("/tmp", "/tmp:5433", unix("/tmp/.s.PGSQL.5433"));
        check("/a:b/c", "/a:b/c:5433", unix("/a:b/c/.s.PGSQL.5433"));
        let name = b"pg/.s.PGSQL.5433".to_vec();
        check("@pg", "@pg:5433", Endpoint::Abstract { name });

        let socket = Address::parse("/tmp").unwrap().into_host(DEFAULT_PORT).unwrap();
        assert_eq!(&*socket.name, "/tmp");
        let list = hosts(&json!("h1:1, h2 ,[::1]:3")).unwrap();
        let names: Vec<&str> = list.iter().map(|host| &*host.name).collect();
        assert_eq!(names, ["h1:1", "h2:5433", "[::1]:3"]);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let wrong = [
            "",
            " ",
            ",",
            "h1,",
            "h1:",
            "h1:0",
            "h1:65536",
            "h1:+1",
            "h1:1:2",
            ":5432",
            "[::1",
            "[h1]:1",
            "[::1]1",
            "[::1]:",
            "[1.2.3.4]:1",
            "fe80::1%",
            "fe80::1%a/b",
            "h%eth0",
            "h 1",
            "h\0",
            "a/b",
            "u@h",
            "@",
            "postgres://u:hunter2@h/db",
            "u:hunter2@h",
        ];
        for text in wrong {
            let error = hosts(&json!([text])).unwrap_err();
            assert!(error.message().starts_with("option 'hosts' must "), "{text}: {error}");
            assert!(!error.message().contains("hunter2"), "{error}");
        }
        for value in [json!(1), json!([]), json!([null]), json!({}), json!({"$given": "a Map"})] {
            assert!(hosts(&value).is_err(), "{value}");
        }
        let long = format!("/{}", "d".repeat(MAX_SOCKET_NAME));
        assert!(hosts(&json!([long])).is_err());
    }

    #[test]
    fn hosts_are_counted_before_they_are_raced() {
        assert_eq!(hosts(&json!(vec!["h"; MAX_HOSTS])).unwrap().len(), MAX_HOSTS);
        let error = hosts(&json!(vec!["h"; MAX_HOSTS + 1])).unwrap_err();
        assert_eq!(error.message(), "option 'hosts' must name 1 to 64 hosts, not 65");
    }
}
