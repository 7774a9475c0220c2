//! A backend's messages as bytes, and how it reads a frontend's.

use crate::connection::Role;
use crate::protocol::scripted;
pub(super) use crate::protocol::scripted::append as message;

/// The ErrorResponse of a server that refuses a session.
pub(super) fn error(severity: &str, code: &str, text: &str, out: &mut Vec<u8>) {
    let body = format!("S{severity}\0V{severity}\0C{code}\0M{text}\0Rroutine\0\0");
    message(b'E', body.as_bytes(), out);
}

/// The FATAL error of a server that has no room for another session.
pub(super) fn too_many_clients(out: &mut Vec<u8>) {
    error("FATAL", "53300", "sorry, too many clients already", out);
}

/// The last words of a server that shuts down.
pub(super) fn shut_down(out: &mut Vec<u8>) {
    error("FATAL", "57P01", "terminating connection due to administrator command", out);
}

/// PgBouncer's error to a client that never had a server connection. It names no routine.
pub(super) fn dismissal((code, text): (&str, &str), out: &mut Vec<u8>) {
    let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    message(b'E', body.as_bytes(), out);
}

/// A server's warning for a commit whose wait for synchronous standbys was cancelled. It comes in
/// front of the ReadyForQuery that the server was about to send.
pub(super) fn unreplicated(out: &mut Vec<u8>) {
    const READY: usize = 6;
    let text = "canceling wait for synchronous replication due to user request";
    let is_ready = out.len() >= READY && out.get(out.len() - READY) == Some(&b'Z');
    let ready = if is_ready { out.split_off(out.len() - READY) } else { Vec::new() };
    warning("01000", text, "SyncRepWaitForLSN", out);
    out.extend_from_slice(&ready);
}

/// A backend's warning when another backend has crashed. Only the end of the stream follows it.
pub(super) fn quick_death(out: &mut Vec<u8>) {
    let text = "terminating connection because of crash of another server process";
    warning("57P02", text, "quickdie", out);
}

fn warning(code: &str, text: &str, routine: &str, out: &mut Vec<u8>) {
    let body = format!("SWARNING\0VWARNING\0C{code}\0M{text}\0R{routine}\0\0");
    message(b'N', body.as_bytes(), out);
}

pub(super) fn report_role(role: Role, out: &mut Vec<u8>) {
    let (standby, read_only) = match role {
        Role::ReadWrite => ("off", "off"),
        Role::ReadOnly => ("off", "on"),
        Role::Standby => ("on", "off"),
    };
    message(b'S', format!("in_hot_standby\0{standby}\0").as_bytes(), out);
    message(b'S', format!("default_transaction_read_only\0{read_only}\0").as_bytes(), out);
}

/// Describes the parameters: a statement with `$1` in it has one, a bytea.
pub(super) fn describe_parameters(sql: &str, oid: u8, out: &mut Vec<u8>) {
    match sql.contains("$1") {
        true => message(b't', &[0, 1, 0, 0, 0, oid], out),
        false => message(b't', &[0, 0], out),
    }
}

/// The first value of a Bind, whose values follow the codes of their formats. Both forms of a bytea
/// are read.
pub(super) fn first_value(body: &[u8]) -> String {
    let number = |at: usize| {
        let bytes = body.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    let formats = number(0).unwrap_or(0);
    let is_text = formats == 0 || number(2) == Some(0);
    let values = body.get(2 + 2 * formats + 2..).unwrap_or_default();
    let length = values.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let value = values.get(4..4 + length).unwrap_or_default();
    let value = std::str::from_utf8(value).unwrap_or("");
    match value.strip_prefix("\\x").filter(|_| is_text) {
        Some(hex) => {
            let digits = |at: usize| hex.get(at..at + 2);
            let bytes = (0..hex.len()).step_by(2).filter_map(digits);
            let bytes = bytes.filter_map(|byte| u8::from_str_radix(byte, 16).ok());
            String::from_utf8(bytes.collect()).unwrap_or_default()
        }
        None => value.to_owned(),
    }
}

/// Describes one column named `v`, as text.
pub(super) fn row_description(type_oid: u32, out: &mut Vec<u8>) {
    out.extend(scripted::row_description("v", type_oid));
}

pub(super) fn row(value: &str, out: &mut Vec<u8>) {
    row_of(&[Some(value)], out);
}

pub(super) fn row_of(values: &[Option<&str>], out: &mut Vec<u8>) {
    let values: Vec<_> = values.iter().map(|value| value.map(str::as_bytes)).collect();
    out.extend(scripted::row(&values));
}

pub(super) fn complete(tag: &str, out: &mut Vec<u8>) {
    out.extend(scripted::complete(tag));
}

/// A string up to its NUL, and the bytes after it.
pub(super) fn text(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let string = bytes.get(..end).unwrap_or_default();
    (std::str::from_utf8(string).unwrap_or(""), bytes.get(end + 1..).unwrap_or_default())
}

/// Answers which database this is. False if the last statement has to be refused.
pub(super) fn write_realm(system: Option<u64>, started: u64, out: &mut Vec<u8>) -> bool {
    row_of(&[None, Some("16384"), None], out);
    complete("SELECT 1", out);
    row_of(&[None, None, Some(&started.to_string())], out);
    complete("SELECT 1", out);
    let Some(system) = system else { return false };
    row_of(&[Some(&system.to_string()), None, None], out);
    complete("SELECT 1", out);
    true
}

/// Answers the question for the role. `begun_read_only`: it was asked in a transaction that began
/// as read-only.
pub(super) fn write_role(role: Role, begun_read_only: bool, out: &mut Vec<u8>) {
    let answer = match role {
        Role::Standby => "standby",
        Role::ReadWrite if !begun_read_only => "off",
        Role::ReadWrite | Role::ReadOnly => "on",
    };
    row_description(25, out);
    row(answer, out);
    complete("SELECT 1", out);
}
