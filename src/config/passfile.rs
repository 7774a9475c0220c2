//! The password file, ~/.pgpass (PostgreSQL manual, 34.16).

use super::{Endpoint, Host, Secret};

/// The folders of sockets whose entries are written as `localhost`: PostgreSQL's own, and Debian's.
const DEFAULT_FOLDERS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// The lines of a password file. They are kept as they are, since hosts may be added later.
#[derive(Clone, Debug, Default)]
pub struct Passfile {
    lines: Vec<Secret>,
}

impl Passfile {
    pub(super) fn new(text: &str) -> Self {
        let is_entry = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let lines = text.lines().filter(is_entry).map(|line| Secret::new(line.to_owned()));
        Self { lines: lines.collect() }
    }

    /// The password of the first line that fits.
    pub(super) fn find(&self, host: &Host, database: &str, user: &str) -> Option<Secret> {
        if self.lines.is_empty() {
            return None;
        }
        let (name, port) = entry(host);
        let fields = [name.as_str(), port.as_str(), database, user];
        let found = self.lines.iter().find_map(|line| password(line.expose(), fields))?;
        (!found.is_empty()).then(|| Secret::new(found))
    }
}

/// The host's name as the file has it: the name that the user has given, even where an address was
/// given as well.
fn entry(host: &Host) -> (String, String) {
    let socket = |path: &str| {
        let (folder, port) = path.rsplit_once("/.s.PGSQL.").unwrap_or((path, ""));
        let is_default = DEFAULT_FOLDERS.contains(&folder);
        (if is_default { "localhost" } else { folder }.to_owned(), port.to_owned())
    };
    match &host.endpoint {
        Endpoint::Name { name, port } => (name.clone(), port.to_string()),
        Endpoint::Pinned { name, address } => (name.clone(), address.port().to_string()),
        Endpoint::Ip(address) => (address.ip().to_string(), address.port().to_string()),
        Endpoint::Unix { path } => socket(path),
        Endpoint::Abstract { name } => socket(&format!("@{}", String::from_utf8_lossy(name))),
    }
}

/// The password of a line whose four first fields fit.
fn password(line: &str, fields: [&str; 4]) -> Option<String> {
    let rest = fields.into_iter().try_fold(line, rest_behind)?;
    let mut password = String::with_capacity(rest.len());
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => password.extend(letters.next()),
            letter => password.push(letter),
        }
    }
    Some(password)
}

/// What follows a field that is a star, or that is this value with backslashes in front of some of
/// its letters.
fn rest_behind<'a>(line: &'a str, value: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut letters = line.chars();
    for wanted in value.chars() {
        let given = match letters.next()? {
            '\\' => letters.next()?,
            ':' => return None,
            given => given,
        };
        if given != wanted {
            return None;
        }
    }
    letters.as_str().strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::hosts_from_json;

    /// The password for a host, the database `d` and the user `u`.
    fn find(file: &str, host: &str) -> Option<String> {
        let hosts = hosts_from_json(&json!([host]), 5432).unwrap();
        let found = Passfile::new(file).find(hosts.first().unwrap(), "d", "u");
        found.map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let file = "# h1:5432:d:u:comment\nh1:5432:d:other:no\nh1:5433:d:u:no\n\nh1:5432:d:u:first\n*:*:*:*:last";
        assert_eq!(find(file, "h1").as_deref(), Some("first"));
        assert_eq!(find(file, "h2").as_deref(), Some("last"));
        assert_eq!(find("h1:5432:d:u:", "h1"), None, "an empty password is none");
        assert_eq!(find("h1:5432:d:u", "h1"), None);
        assert_eq!(find("h1:5432", "h1"), None);
        assert_eq!(find("", "h1"), None);
    }

    #[test]
    fn a_star_stands_for_a_whole_field_and_a_backslash_for_the_next_letter() {
        let table = [
            ("*:*:*:*:p", Some("p")),
            ("*1:5432:d:u:p", None),
            ("h*:5432:d:u:p", None),
            (r"h1:5432:d:u:a\:b\\c:d", Some(r"a:b\c:d")),
            (r"\h1:5432:\d:u:p", Some("p")),
            ("h1:5432:d:u:p ", Some("p ")),
            ("h1:5432:d:u:p\r\n", Some("p")),
            ("H1:5432:d:u:p", None),
            ("h1 :5432:d:u:p", None),
            ("h1x:5432:d:u:p", None),
            ("h:5432:d:u:p", None),
            ("h1:5432:d:u:é", Some("é")),
        ];
        for (line, expect) in table {
            assert_eq!(find(line, "h1").as_deref(), expect, "{line}");
        }
        assert_eq!(find(r"\:\:1:5432:d:u:p", "::1").as_deref(), Some("p"));
        assert_eq!(
            find("::1:5432:d:u:p", "::1"),
            None,
            "the colons of an address need backslashes"
        );
    }

    #[test]
    fn the_usual_folders_of_sockets_are_localhost() {
        let file = "localhost:5432:d:u:local\n/var/lib/x:5432:d:u:folder\n@x:5432:d:u:abstract";
        for folder in DEFAULT_FOLDERS {
            assert_eq!(find(file, folder).as_deref(), Some("local"));
        }
        assert_eq!(find(file, "localhost").as_deref(), Some("local"));
        assert_eq!(find(file, "/var/lib/x").as_deref(), Some("folder"));
        assert_eq!(find(file, "@x").as_deref(), Some("abstract"));
        assert_eq!(find(file, "127.0.0.1"), None);
    }

    #[test]
    fn nothing_of_the_file_is_shown() {
        let shown = format!("{:?}", Passfile::new("h:1:d:u:hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
