//! A reactor on Unix sockets, which somebody else turns.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use serde_json::json;

use super::*;

/// A directory for the sockets of one test.
struct Sockets(PathBuf);

impl Sockets {
    fn new(test: &str) -> Self {
        let name = format!("hyperiondb-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for host in ["a", "b"] {
            std::fs::create_dir_all(folder.join(host)).unwrap();
        }
        Self(folder)
    }

    fn socket(&self, host: &str) -> PathBuf {
        self.0.join(host).join(".s.PGSQL.5432")
    }

    fn listen(&self, host: &str) -> UnixListener {
        let listener = UnixListener::bind(self.socket(host)).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A login of a primary. Nothing is answered behind it.
fn welcome(mut stream: &UnixStream) {
    let reports = [&b"in_hot_standby\0off\0"[..], b"default_transaction_read_only\0off\0"];
    let [standby, read_only] = reports.map(|report| message(b'S', report));
    let ready = message(b'Z', b"I");
    let key = message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]);
    let all = [message(b'R', &[0; 4]), standby, read_only, key, ready].concat();
    stream.set_nonblocking(false).unwrap();
    let _ = stream.read(&mut [0; 1024]).unwrap();
    stream.write_all(&all).unwrap();
}

fn query(reactor: &mut Reactor, request: u32) {
    let statement = reactor.statement("SELECT", Verbatim::default());
    let (params, flags) = (Params::new(), QueryFlags::default());
    reactor.query(Query { request, lease: None, statement, params, flags });
    reactor.flush();
}

#[test]
fn what_an_attempt_that_fails_at_once_leaves_to_do_is_done_in_the_next_turn() {
    let sockets = Sockets::new("at-once");
    let hosts = ["a", "b"].map(|host| sockets.0.join(host));
    let options = json!({ "hosts": hosts, "user": "u", "database": "d", "poolSize": 2 });
    let mut reactor = Reactor::new(config::from_json(&options).unwrap()).unwrap();
    let first = sockets.listen("a");
    query(&mut reactor, 1);
    let (session, _) = first.accept().unwrap();
    welcome(&session);
    let serves = |reactor: &Reactor| reactor.cluster().iter().any(|host| host.serves);
    while !serves(&reactor) {
        reactor.turn();
        std::thread::yield_now();
    }
    // The other host may be asked again, when the first one is gone with its socket.
    let next = sockets.listen("b");
    let until = reactor.clock.now() + Duration::from_millis(60);
    while reactor.clock.now() < until {
        std::thread::yield_now();
    }
    reactor.turn();
    assert!(!reactor.alarm.is_soon());
    std::fs::remove_file(sockets.socket("a")).unwrap();
    query(&mut reactor, 2);
    assert!(reactor.alarm.is_soon());
    assert!(next.accept().is_err());
    reactor.turn();
    assert!(next.accept().is_ok());
}
