//! An error in the form that `js/api/errors.cjs` reads: one JSON object, without empty fields.

use serde_json::{Map, Value};

use crate::base::{Error, Outcome, ServerFields, SystemFields};

pub(super) fn error_to_json(error: &Error) -> String {
    error_value(error).to_string()
}

/// A short form of an error, for events and hosts, where it belongs to no single request. It
/// includes the operating system's fields.
pub(super) fn error_in_brief(error: &Error) -> Value {
    let mut fields = Fields(Map::new());
    fields.text("code", Some(error.code()));
    fields.text("message", Some(error.message()));
    let system = error.system_fields().or_else(|| error.cause().and_then(Error::system_fields));
    if let Some(system) = system {
        fields.system(system);
    }
    Value::Object(fields.0)
}

fn error_value(error: &Error) -> Value {
    let mut fields = Fields(Map::new());
    fields.text("class", Some(error.class().as_str()));
    fields.text("code", Some(error.code()));
    fields.text("message", Some(error.message()));
    fields.text("outcome", error.outcome().map(Outcome::as_str));
    fields.text("host", error.host().map(|host| &**host));
    if !error.hosts().is_empty() {
        let hosts = error.hosts().iter().map(|report| {
            let mut fields = Fields(Map::new());
            fields.text("host", Some(&report.host));
            fields.text("why", Some(&report.why));
            fields.error("cause", report.cause.as_ref());
            Value::Object(fields.0)
        });
        fields.0.insert("hosts".to_owned(), hosts.collect());
    }
    if let Some(server) = error.server() {
        fields.server(server);
    }
    if error.has_failed_transaction() {
        fields.0.insert("transactionFailed".to_owned(), true.into());
    }
    if error.has_open_transaction() {
        fields.0.insert("transactionOpen".to_owned(), true.into());
    }
    if let Some(system) = error.system_fields() {
        fields.system(system);
    }
    fields.error("cause", error.cause());
    Value::Object(fields.0)
}

struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn number(&mut self, name: &str, value: Option<u32>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn error(&mut self, name: &str, error: Option<&Error>) {
        if let Some(error) = error {
            self.0.insert(name.to_owned(), error_value(error));
        }
    }

    fn system(&mut self, system: &SystemFields) {
        if let Some(errno) = system.errno {
            self.0.insert("errno".to_owned(), errno.into());
        }
        self.text("syscall", Some(&system.syscall));
        self.text("address", system.address.as_deref());
        self.number("port", system.port.map(u32::from));
        self.text("hostname", system.hostname.as_deref());
    }

    /// `code` and `message` are already the error's own.
    fn server(&mut self, server: &ServerFields) {
        self.text("severity", Some(&server.severity));
        self.text("detail", server.detail.as_deref());
        self.text("hint", server.hint.as_deref());
        self.number("position", server.position);
        self.number("internalPosition", server.internal_position);
        self.text("internalQuery", server.internal_query.as_deref());
        self.text("where", server.where_.as_deref());
        self.text("schema", server.schema.as_deref());
        self.text("table", server.table.as_deref());
        self.text("column", server.column.as_deref());
        self.text("dataType", server.data_type.as_deref());
        self.text("constraint", server.constraint.as_deref());
        self.text("file", server.file.as_deref());
        self.number("line", server.line);
        self.text("routine", server.routine.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::{ErrorClass, HostReport};

    fn check(error: &Error, expect: &Value) {
        let json: Value = serde_json::from_str(&error_to_json(error)).unwrap();
        assert_eq!(&json, expect);
    }

    #[test]
    fn empty_fields_are_left_out() {
        let error = Error::new(ErrorClass::PoolTimeout, "HYPERION_X", "too \"late\"");
        let expect = json!({
            "class": "PoolTimeoutError", "code": "HYPERION_X", "message": "too \"late\"",
        });
        check(&error, &expect);
        let hosts = vec![HostReport { host: "h1".into(), why: "silent".to_owned(), cause: None }];
        let error = error.with_hosts(hosts).with_outcome(Outcome::NotSent);
        let mut expect = expect;
        expect["outcome"] = json!("not-sent");
        expect["hosts"] = json!([{ "host": "h1", "why": "silent" }]);
        check(&error, &expect);
    }

    #[test]
    fn what_the_system_said_is_the_cause_and_each_host_has_its_own() {
        let fields = SystemFields {
            errno: Some(-111),
            syscall: "connect".into(),
            address: Some("127.0.0.1".to_owned()),
            port: Some(1),
            hostname: None,
        };
        let message = "connect ECONNREFUSED 127.0.0.1:1".to_owned();
        let cause = Error::system("ECONNREFUSED", message, fields);
        let said = json!({
            "class": "SystemError", "code": "ECONNREFUSED", "message": "connect ECONNREFUSED 127.0.0.1:1",
            "errno": -111, "syscall": "connect", "address": "127.0.0.1", "port": 1,
        });
        let (host, why) = ("h1".into(), "refused".to_owned());
        let report = HostReport { host, why, cause: Some(cause.clone()) };
        let error = Error::new(ErrorClass::Connection, "HYPERION_X", "refused");
        let expect = json!({
            "class": "ConnectionError", "code": "HYPERION_X", "message": "refused", "cause": said,
            "hosts": [{ "host": "h1", "why": "refused", "cause": said }],
        });
        check(&error.with_hosts(vec![report]).with_cause(cause), &expect);
    }

    #[test]
    fn a_server_s_refusal_brings_its_fields() {
        let fields = ServerFields {
            severity: "ERROR".to_owned(),
            code: "23505".to_owned(),
            message: "duplicate".to_owned(),
            constraint: Some("t_pkey".to_owned()),
            position: Some(7),
            ..ServerFields::default()
        };
        let expect = json!({
            "class": "DatabaseError", "code": "23505", "message": "duplicate", "severity": "ERROR",
            "constraint": "t_pkey", "position": 7, "host": "h1",
        });
        let error = Error::database(fields).with_host("h1".into());
        check(&error, &expect);
        let lost = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", "lost");
        let expect = json!({
            "class": "ConnectionError", "code": "HYPERION_CONNECTION_LOST", "message": "lost",
            "cause": expect,
        });
        check(&lost.with_cause(error), &expect);
    }
}
