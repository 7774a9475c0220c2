//! A reactor on Unix sockets, which somebody else turns.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use serde_json::json;

use super::super::socket::Descriptor;
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

thread_local! {
    static MARKS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn note_mark(_: Descriptor, mark: usize) -> bool {
    MARKS.with_borrow_mut(|marks| marks.push(mark));
    true
}

/// The answer to a statement's use in three parts: what stands in front of its rows (the barrier's first), a hundred rows of
/// about 1 KiB, and the end.
fn large_answer(front: &[Vec<u8>]) -> [Vec<u8>; 3] {
    let row = [&1_u16.to_be_bytes()[..], &1024_u32.to_be_bytes(), &[b'x'; 1024]].concat();
    let end = [message(b'C', b"SELECT 100\0"), message(b'Z', b"I")].concat();
    let front = [&[message(b'Z', b"I")], front].concat();
    [front.concat(), message(b'D', &row).repeat(100), end]
}

#[test]
fn not_every_part_of_an_answer_that_is_known_to_be_large_is_worth_a_turn() {
    let sockets = Sockets::new("large");
    let options = json!({ "hosts": [sockets.0.join("a")], "user": "u", "database": "d" });
    let mut reactor = Reactor::new(config::from_json(&options).unwrap()).unwrap();
    reactor.low_water.set = Some(note_mark);
    let listener = sockets.listen("a");
    let statement = reactor.statement("SELECT", Verbatim::default());
    let ask = |reactor: &mut Reactor, request| {
        let (params, flags) = (Params::new(), QueryFlags::default());
        reactor.query(Query { request, lease: None, statement, params, flags });
        reactor.flush();
    };
    let completes = |reactor: &mut Reactor| {
        loop {
            match reactor.next_news() {
                Some(News::Completed { result, .. }) => break assert_eq!(result.err(), None),
                Some(_) => {}
                None => reactor.turn(),
            }
        }
    };
    ask(&mut reactor, 1);
    let (mut session, _) = listener.accept().unwrap();
    welcome(&session);
    while reactor.status().in_use == 0 {
        reactor.turn();
    }
    let column = [&b"x\0"[..], &[0; 6], &25_u32.to_be_bytes(), &[0xff; 6], &[0; 2]].concat();
    let rows = message(b'T', &[&1_u16.to_be_bytes()[..], &column].concat());
    let [parsed, bound] = [b'1', b'2'].map(|tag| message(tag, b""));
    let types = message(b't', &[0; 2]);
    let described = large_answer(&[parsed.clone(), types, rows.clone(), bound.clone()]);
    session.write_all(&described.concat()).unwrap();
    completes(&mut reactor);
    ask(&mut reactor, 2);
    session.write_all(&large_answer(&[parsed, bound.clone(), rows]).concat()).unwrap();
    completes(&mut reactor);
    MARKS.with_borrow_mut(Vec::clear);

    ask(&mut reactor, 3);
    let [front, rows, end] = large_answer(&[bound]);
    let (some, rest) = rows.split_at(30_000);
    session.write_all(&[&front, some].concat()).unwrap();
    reactor.turn();
    let mark = MARKS.with_borrow(|marks| *marks.last().unwrap());
    assert!(mark > 30_000 && mark < rest.len(), "{mark} of {}", rest.len());
    let until = reactor.low_water.until.unwrap();
    assert!(reactor.deadline().unwrap() <= until, "it is read all the same");
    while reactor.clock.now() < until {
        std::thread::yield_now();
    }
    reactor.turn();
    let last = || MARKS.with_borrow(|marks| *marks.last().unwrap());
    assert_eq!((last(), reactor.low_water.until), (1, None), "it may take long");
    let (more, rest) = rest.split_at(20_000);
    session.write_all(more).unwrap();
    reactor.turn();
    assert!(last() > 1, "it goes on");
    session.write_all(&[rest, &end].concat()).unwrap();
    completes(&mut reactor);
    assert_eq!(MARKS.with_borrow(|marks| marks.last().copied()), Some(1));
    assert_eq!(reactor.low_water.until, None);
}
