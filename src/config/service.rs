//! The connection service file, pg_service.conf (PostgreSQL manual, 34.17).

use super::refusal::{error, quote};
use super::source::Pair;
use crate::base::Error;

/// The keys and values of a service, in their order, or `None` if the file does not define it. The
/// first value of a key counts.
pub(super) fn section(text: &str, name: &str) -> Result<Option<Vec<Pair>>, Error> {
    let heading = format!("[{name}]");
    let mut pairs: Option<Vec<Pair>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            if pairs.is_some() {
                return Ok(pairs);
            }
            if line.starts_with(&heading) {
                pairs = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = &mut pairs else { continue };
        // The line is not shown: it may hold a password.
        let wrong = |why: &str| {
            error(format!("line {} of the service file {why}", number.saturating_add(1)))
        };
        if line.starts_with("ldap") {
            return Err(wrong("asks for LDAP, which is not supported"));
        }
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("has no '='"))?;
        if key == "service" || key == "servicefile" {
            return Err(wrong("names another service: services can't be nested"));
        }
        if !pairs.iter().any(|(known, _)| known == key) {
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(pairs)
}

pub(super) fn not_found(name: &str) -> Error {
    error(format!(
        "service {} is not defined: it belongs into ~/.pg_service.conf, or into the file that PGSERVICEFILE \
         names",
        quote(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
        # comment
        [a]
        host=h1,h2
        port=1
        host=other
        password=p=q #x
        [b]
        user = spaced
        [broken]
        hunter2
        [nested]
        service=a
        [of-ldap]
        ldap://x
        [a]
        dbname=never
    ";

    #[test]
    fn a_section_ends_where_the_next_begins_and_its_first_values_count() {
        let pairs = |name| section(FILE, name).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let a = [pair("host", "h1,h2"), pair("port", "1"), pair("password", "p=q #x")];
        assert_eq!(pairs("a"), Some(a.to_vec()));
        assert_eq!(pairs("b"), Some(vec![pair("user ", " spaced")]), "as libpq, which refuses it");
        assert_eq!(pairs("c"), None);
        assert_eq!(section("[c]", "c"), Ok(Some(Vec::new())));
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        for (name, why) in [("broken", "no '='"), ("nested", "nested"), ("of-ldap", "LDAP")] {
            let error = section(FILE, name).unwrap_err();
            assert!(error.message().contains(why), "{error}");
            assert!(!error.message().contains("hunter2"), "{error}");
        }
    }
}
