//! The operating system's errors of a failed connect or look-up, in the words that users search
//! for, and with the fields of Node's own errors.

use std::io::{self, ErrorKind as Kind};

use super::socket::Target;
use crate::base::{Error, ErrorClass, SystemFields};

/// Why a host could not be reached.
#[derive(Debug)]
pub struct Unreached {
    pub why: String,
    pub cause: Option<Error>,
}

/// For each kind of error: its text, its name, and libuv's number for systems that have no number
/// of their own.
const KNOWN: [(Kind, &str, &str, i32); 11] = [
    (Kind::ConnectionRefused, "connection refused", "ECONNREFUSED", -4078),
    (Kind::ConnectionReset, "connection reset by peer", "ECONNRESET", -4077),
    (Kind::ConnectionAborted, "connection aborted", "ECONNABORTED", -4079),
    (Kind::BrokenPipe, "the server has closed the connection", "EPIPE", -4047),
    (Kind::TimedOut, "connection timed out", "ETIMEDOUT", -4039),
    (Kind::HostUnreachable, "no route to host", "EHOSTUNREACH", -4060),
    (Kind::NetworkUnreachable, "network is unreachable", "ENETUNREACH", -4062),
    (Kind::AddrNotAvailable, "address not available", "EADDRNOTAVAIL", -4090),
    (Kind::NotFound, "no such file or directory", "ENOENT", -4058),
    (Kind::PermissionDenied, "permission denied", "EACCES", -4092),
    (Kind::WouldBlock, "the server's queue of connections is full", "EAGAIN", -4088),
];

/// The names of errors that have no kind in Rust.
#[cfg(unix)]
const OTHERS: [(i32, &str); 8] = [
    (libc::EPERM, "EPERM"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENFILE, "ENFILE"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENETDOWN, "ENETDOWN"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EINVAL, "EINVAL"),
];

/// The text of an error of the operating system, in the words that users search for.
pub(super) fn reason(error: &io::Error) -> String {
    match KNOWN.iter().find(|(kind, ..)| *kind == error.kind()) {
        Some((_, words, code, _)) => format!("{words} ({code})"),
        None => error.to_string(),
    }
}

/// The error that Node would report for a failed connect.
pub(super) fn connect_error(target: &Target, error: &io::Error) -> Error {
    let (code, errno) = code_of(error);
    let (address, port) = match target {
        Target::Ip(address) => (address.ip().to_string(), Some(address.port())),
        Target::Unix(_) => (target.to_string(), None),
    };
    let place = port.map_or_else(|| address.clone(), |port| format!("{address}:{port}"));
    let message = format!("connect {code} {place}");
    let syscall = "connect".into();
    let fields = SystemFields { errno, syscall, address: Some(address), port, hostname: None };
    Error::system(code, message, fields)
}

/// The error of a failed look-up, with the fields that Node or the caller's own function has set.
pub fn lookup_error(code: String, errno: Option<i32>, syscall: String, hostname: String) -> Error {
    let message = format!("{syscall} {code} {hostname}");
    let hostname = Some(hostname);
    let syscall = syscall.into();
    Error::system(
        code,
        message,
        SystemFields { errno, syscall, address: None, port: None, hostname },
    )
}

/// The error for a pool that can't start, because the system has no selector, handle or random
/// numbers for it.
pub fn not_started(error: &io::Error) -> Error {
    let message = format!("the pool can't be started: {error}");
    Error::new(ErrorClass::Connection, "HYPERION_NOT_STARTED", message)
}

#[cfg(unix)]
fn code_of(error: &io::Error) -> (&'static str, Option<i32>) {
    let errno = error.raw_os_error();
    let other = OTHERS.iter().find(|(of, _)| Some(*of) == errno).map(|(_, code)| *code);
    (other.unwrap_or_else(|| code_of_kind(error).0), errno.map(|errno| -errno))
}

#[cfg(windows)]
fn code_of(error: &io::Error) -> (&'static str, Option<i32>) {
    code_of_kind(error)
}

fn code_of_kind(error: &io::Error) -> (&'static str, Option<i32>) {
    match KNOWN.iter().find(|(kind, ..)| *kind == error.kind()) {
        Some((_, _, code, errno)) => (code, Some(*errno)),
        None => ("UNKNOWN", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &io::Error, target: &Target, expect: (&str, &str, Option<u16>)) {
        let made = connect_error(target, error);
        let fields = made.system_fields().unwrap();
        assert_eq!((made.code(), made.message(), fields.port), expect);
        assert_eq!(fields.errno, error.raw_os_error().map(|errno| -errno));
    }

    #[test]
    #[cfg(unix)]
    fn errors_are_those_that_node_would_make() {
        let ip = Target::Ip("[::1]:5432".parse().unwrap());
        let unix = Target::Unix(b"/tmp/x".to_vec());
        let os = io::Error::from_raw_os_error;
        let refused = ("ECONNREFUSED", "connect ECONNREFUSED ::1:5432", Some(5432));
        check(&os(libc::ECONNREFUSED), &ip, refused);
        check(&os(libc::ENOENT), &unix, ("ENOENT", "connect ENOENT /tmp/x", None));
        check(&os(libc::EPERM), &unix, ("EPERM", "connect EPERM /tmp/x", None));
        check(&os(libc::EDOM), &unix, ("UNKNOWN", "connect UNKNOWN /tmp/x", None));
        assert_eq!(reason(&os(libc::ENOENT)), "no such file or directory (ENOENT)");
    }
}
