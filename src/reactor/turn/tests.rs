//! A reactor that the test itself turns, mostly on Unix sockets.

mod bounds;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use serde_json::json;
use socket2::Socket;

use super::super::socket::Descriptor;
use super::*;
use crate::protocol::scripted::{self, complete, message, process, ready, row, row_description};

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

/// The server's side of a login at a primary. Whatever the client sends after it stays unanswered.
fn welcome(mut stream: impl Write) {
    stream.write_all(&scripted::welcome(&[0, 0, 0, 1, 0, 0, 0, 2])).unwrap();
}

fn ask(reactor: &mut Reactor, statement: StatementId, request: u32) {
    let (params, flags) = (Params::new(), QueryFlags::default());
    reactor.query(Query { request, lease: None, statement, params, flags });
}

/// A pool on a server that the test plays, with any number of connections.
struct Served {
    reactor: Reactor,
    statement: StatementId,
    listener: Socket,
    _sockets: Option<Sockets>,
}

impl Served {
    fn new(test: &str, size: u32, sql: &str) -> Self {
        let sockets = Sockets::new(test);
        let host = sockets.0.join("a").display().to_string();
        let listener = sockets.listen("a").into();
        Self { _sockets: Some(sockets), ..Self::at(host, listener, size, sql) }
    }

    fn over_tcp(size: u32, sql: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        Self::at(host, listener.into(), size, sql)
    }

    fn at(host: String, listener: Socket, size: u32, sql: &str) -> Self {
        let options = json!({ "hosts": [host], "user": "u", "database": "d", "poolSize": size });
        let mut reactor = Reactor::new(config::from_json(&options).unwrap()).unwrap();
        let statement = reactor.statement(sql, Verbatim::default());
        listener.set_nonblocking(true).unwrap();
        Self { reactor, statement, listener, _sockets: None }
    }

    fn ask(&mut self, request: u32) {
        ask(&mut self.reactor, self.statement, request);
    }

    fn turn_until(&mut self, done: impl Fn(&mut Reactor) -> bool) {
        while !done(&mut self.reactor) {
            self.reactor.turn();
            std::thread::yield_now();
        }
    }

    fn accept(&mut self) -> Socket {
        let size = self.reactor.status().size;
        let mut session = loop {
            match self.listener.accept() {
                Ok((session, _)) => break session,
                Err(_) => self.reactor.turn(),
            }
        };
        while received(&mut session).is_empty() {
            self.reactor.turn();
        }
        welcome(&session);
        self.turn_until(|reactor| reactor.status().size > size);
        // With the first request the pool asks for the server's process ID, which is in the key of
        // `welcome`. After this answer, the server still owes a ReadyForQuery, as for any barrier.
        session.write_all(&process("1")).unwrap();
        session
    }

    /// Answers until `requests` requests were answered.
    fn answer(&mut self, session: &mut Socket, requests: usize) {
        let mut unanswered = requests;
        while unanswered > 0 {
            match self.reactor.next_event() {
                Some(ReactorEvent::Completed { .. }) => unanswered -= 1,
                Some(_) => {}
                None => {
                    self.reactor.turn();
                    let asked = received(session);
                    session.write_all(&answer(&asked)).unwrap();
                }
            }
        }
    }

    /// Turns the reactor until `answers` requests are answered.
    fn hear(&mut self, answers: usize) {
        let mut heard = 0;
        while heard < answers {
            match self.reactor.next_event() {
                Some(ReactorEvent::Completed { result, .. }) => {
                    assert_eq!(result.err(), None);
                    heard += 1;
                }
                Some(_) => {}
                None => self.reactor.turn(),
            }
        }
    }
}

#[test]
fn what_an_attempt_that_fails_at_once_leaves_to_do_is_done_in_the_next_turn() {
    let sockets = Sockets::new("at-once");
    let hosts = ["a", "b"].map(|host| sockets.0.join(host));
    let options = json!({ "hosts": hosts, "user": "u", "database": "d", "poolSize": 2 });
    let mut reactor = Reactor::new(config::from_json(&options).unwrap()).unwrap();
    let first = sockets.listen("a");
    let statement = reactor.statement("SELECT", Verbatim::default());
    ask(&mut reactor, statement, 1);
    reactor.flush();
    let (mut session, _) = first.accept().unwrap();
    assert_ne!(session.read(&mut [0; 1024]).unwrap(), 0);
    welcome(&session);
    let serves = |reactor: &Reactor| reactor.cluster().iter().any(|host| host.serves);
    while !serves(&reactor) {
        reactor.turn();
        std::thread::yield_now();
    }
    // The pool may ask the other host again by the time when the first host's socket is gone.
    let next = sockets.listen("b");
    let until = reactor.clock.now() + Duration::from_millis(60);
    while reactor.clock.now() < until {
        std::thread::yield_now();
    }
    reactor.turn();
    assert!(!reactor.timer.is_soon());
    std::fs::remove_file(sockets.socket("a")).unwrap();
    ask(&mut reactor, statement, 2);
    reactor.flush();
    assert!(reactor.timer.is_soon());
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

/// A server's answer to these bytes from a client, for a statement without parameters and results.
/// The question for the process ID was answered before ([`Served::accept`]).
fn answer(mut bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut is_of_process = false;
    while let [tag, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (body, left) = rest.split_at(length - 4);
        bytes = left;
        if *tag == b'P' {
            is_of_process = body.windows(14).any(|part| part == b"pg_backend_pid");
        }
        answer.extend(match tag {
            b'P' | b'B' | b'D' | b'E' if is_of_process => Vec::new(),
            b'P' => message(b'1', b""),
            b'B' => message(b'2', b""),
            b'C' => message(b'3', b""),
            b'D' if body[0] == b'S' => [message(b't', &[0; 2]), message(b'n', b"")].concat(),
            b'D' => message(b'n', b""),
            b'E' => complete("DO"),
            _ => ready(),
        });
    }
    answer
}

/// The bytes that have arrived from the client.
fn received(session: &mut Socket) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    session.set_nonblocking(true).unwrap();
    let count = session.read(&mut bytes).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

fn reply(session: &mut Socket) {
    let asked = received(session);
    assert!(!asked.is_empty());
    session.write_all(&answer(&asked)).unwrap();
}

#[test]
fn requests_made_while_events_are_delivered_go_out_behind_them() {
    let mut served = Served::new("behind", 1, "DO");
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    reply(&mut session);
    served.hear(1);
    for request in [2, 3] {
        served.ask(request);
        served.reactor.flush_by_rest();
        assert_eq!(received(&mut session), b"");
    }
    assert!(served.reactor.timer.is_soon(), "for a loop that runs before the rest");
    served.reactor.finish_turn();
    assert!(!served.reactor.timer.is_soon());
    for _ in [2, 3] {
        reply(&mut session);
        served.hear(1);
        served.reactor.finish_turn();
    }

    served.ask(4);
    served.reactor.flush_by_rest();
    served.reactor.turn();
    assert_ne!(received(&mut session), b"", "such a loop's turn has no news");
}

#[test]
fn what_an_idle_connection_says_is_heard_with_the_answer_of_another() {
    let mut served = Served::new("heard", 2, "DO");
    served.ask(1);
    served.ask(2);
    served.reactor.flush();
    let [mut a, mut b] = [served.accept(), served.accept()];
    while served.reactor.status().available < 2 {
        for session in [&mut a, &mut b] {
            let asked = received(session);
            session.write_all(&answer(&asked)).unwrap();
        }
        served.reactor.turn();
    }
    served.hear(2);
    served.reactor.finish_turn();

    served.ask(3);
    served.reactor.flush();
    let asked = received(&mut a);
    let (mut busy, idle, asked) = if asked.is_empty() {
        let asked = received(&mut b);
        (b, a, asked)
    } else {
        (a, b, asked)
    };
    busy.write_all(&answer(&asked)).unwrap();
    drop(idle);
    served.hear(1);
    assert_eq!(served.reactor.status().size, 1);
}

#[test]
fn the_end_of_the_only_connection_is_heard_behind_its_last_answer() {
    let mut served = Served::new("only", 1, "DO");
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    reply(&mut session);
    drop(session);
    served.hear(1);
    served.reactor.finish_turn();
    served.turn_until(|reactor| reactor.status().size == 0);
}

/// The answer to a statement in three parts: everything before its rows (beginning with the
/// barrier's answer), a hundred rows of about 1 KiB, and the end.
fn large_answer(front: &[Vec<u8>]) -> [Vec<u8>; 3] {
    let end = [complete("SELECT 100"), ready()].concat();
    let front = [&[ready()], front].concat();
    [front.concat(), row(&[Some(&[b'x'; 1024])]).repeat(100), end]
}

#[test]
fn not_every_part_of_an_answer_that_is_known_to_be_large_is_worth_a_turn() {
    let mut served = Served::new("large", 1, "SELECT");
    served.reactor.io.low_water.set = Some(note_mark);
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    let rows = row_description("x", 25);
    let [parsed, bound] = [b'1', b'2'].map(|tag| message(tag, b""));
    let types = message(b't', &[0; 2]);
    // The second use prepares the statement, so the server describes it again.
    let described = large_answer(&[parsed, types, rows, bound.clone()]).concat();
    for request in 1..=2 {
        if request == 2 {
            served.ask(request);
            served.reactor.flush();
        }
        session.write_all(&described).unwrap();
        served.hear(1);
    }

    // If an answer comes quickly, its beginning is not worth a turn either. A pause of the machine
    // may have made an earlier answer look slow.
    for request in 3.. {
        MARKS.with_borrow_mut(Vec::clear);
        served.ask(request);
        served.reactor.flush();
        if MARKS.with_borrow(|marks| marks.last().is_some_and(|mark| *mark > 30_000)) {
            break;
        }
        assert!(request < 200);
        session.write_all(&large_answer(std::slice::from_ref(&bound)).concat()).unwrap();
        served.hear(1);
    }
    let [front, rows, end] = large_answer(&[bound]);
    let (some, rest) = rows.split_at(30_000);
    session.write_all(&[&front, some].concat()).unwrap();
    served.reactor.turn();
    let mark = MARKS.with_borrow(|marks| *marks.last().unwrap());
    assert!(mark > 30_000 && mark < rest.len(), "{mark} of {}", rest.len());
    let until = served.reactor.io.low_water.until.unwrap();
    assert!(served.reactor.deadline().unwrap() <= until, "it is read all the same");
    while served.reactor.clock.now() < until {
        std::thread::yield_now();
    }
    served.reactor.turn();
    let last = || MARKS.with_borrow(|marks| *marks.last().unwrap());
    assert_eq!((last(), served.reactor.io.low_water.until), (1, None), "it may take long");
    let (more, rest) = rest.split_at(20_000);
    session.write_all(more).unwrap();
    served.reactor.turn();
    assert!(last() > 1, "it goes on");
    session.write_all(&[rest, &end].concat()).unwrap();
    served.hear(1);
    assert_eq!(MARKS.with_borrow(|marks| marks.last().copied()), Some(1));
    assert_eq!(served.reactor.io.low_water.until, None);
}

#[test]
fn a_barrier_is_not_heard_by_itself_in_front_of_a_statement_that_takes_much_longer() {
    let mut served = Served::new("parted", 1, "DO");
    served.reactor.io.low_water.set = Some(note_mark);
    let last = || MARKS.with_borrow(|marks| marks.last().copied());
    let mut session = None;
    // The answers, and where the answer to the barrier ends.
    let answers = |session: &mut Socket| {
        let answer = answer(&received(session));
        assert_eq!(&answer[..6], ready());
        answer
    };
    for request in 1.. {
        served.ask(request);
        served.reactor.flush();
        if last() == Some(7) {
            break;
        }
        assert!(request < 200);
        let Some(session) = &mut session else {
            let mut accepted = served.accept();
            reply(&mut accepted);
            served.hear(1);
            session = Some(accepted);
            continue;
        };
        let answer = answers(session);
        session.write_all(&answer[..6]).unwrap();
        served.reactor.turn();
        let until = served.reactor.clock.now() + Duration::from_micros(100);
        while served.reactor.clock.now() < until {
            std::thread::yield_now();
        }
        session.write_all(&answer[6..]).unwrap();
        served.hear(1);
    }
    let mut session = session.unwrap();
    assert!(served.reactor.io.low_water.holds_back());
    assert_eq!(served.reactor.io.low_water.until, None, "nobody waits for it");
    let answer = answers(&mut session);
    session.write_all(&answer[..answer.len() - 6]).unwrap();
    served.reactor.turn();
    assert_eq!(last(), Some(1), "the end may come alone");
    session.write_all(&answer[answer.len() - 6..]).unwrap();
    served.hear(1);
    assert!(!served.reactor.io.low_water.holds_back());

    // The mark stays for the next request of the same statement, and is removed for another
    // statement.
    MARKS.with_borrow_mut(Vec::clear);
    for request in [300, 301] {
        served.ask(request);
        served.reactor.flush();
        reply(&mut session);
        served.hear(1);
    }
    assert_eq!(MARKS.with_borrow(Vec::clone), [7]);
    // If a message came only in part, its end may be as short as a barrier's answer.
    served.ask(302);
    served.reactor.flush();
    let answer = answers(&mut session);
    for (part, mark) in [(0..6, 7), (6..9, 1)] {
        session.write_all(&answer[part]).unwrap();
        served.reactor.turn();
        assert_eq!(last(), Some(mark));
    }
    session.write_all(&answer[9..]).unwrap();
    served.hear(1);
    served.statement = served.reactor.statement("DO other", Verbatim::default());
    served.ask(303);
    served.reactor.flush();
    assert_eq!(last(), Some(1));
    reply(&mut session);
    served.hear(1);
    // One look follows the last answer, and no other.
    let at = served.reactor.io.low_water.deadline().unwrap();
    assert!(served.reactor.deadline().unwrap() <= at);
    while served.reactor.clock.now() < at {
        std::thread::yield_now();
    }
    served.reactor.turn();
    assert_eq!(served.reactor.io.low_water.deadline(), None);
}

#[test]
fn the_answers_to_a_crowd_are_heard_in_parts_while_as_many_follow() {
    let mut served = Served::new("crowd", 1, "SELECT");
    served.reactor.io.low_water.set = Some(note_mark);
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    reply(&mut session);
    served.hear(1);
    // The first use describes the statement. The second use prepares it.
    served.ask(2);
    served.reactor.flush();
    reply(&mut session);
    served.hear(1);
    let connection = served.reactor.io.sockets.stream(1).unwrap().connection;
    assert!(!served.reactor.io.sockets.is_loopback(connection), "it is none over TCP");
    served.reactor.io.pool.shares_cores(connection, 0);

    let last = || MARKS.with_borrow(|marks| marks.last().copied()).unwrap_or(1);
    let mut next = 3;
    // A pause of the machine may have made an answer look slow.
    let (asked, mark) = loop {
        for _ in 0..2 {
            for request in next..next + 16 {
                served.ask(request);
            }
            served.reactor.flush();
            next += 16;
        }
        let asked = received(&mut session);
        if last() > 7 && served.reactor.status().waiting == 0 {
            break (asked, last());
        }
        assert!(next < 5000);
        session.write_all(&answer(&asked)).unwrap();
        // Statements that are not known to be quick are not all sent at once.
        served.answer(&mut session, 32);
    };
    // A barrier precedes each batch.
    let answers = answer(&asked);
    let one = (answers.len() - 2 * 6) / 32;
    assert!((4 * one..=8 * one).contains(&mark), "{mark} for some of {one}");
    assert!(served.reactor.io.low_water.until.is_some(), "they are heard all the same");
    let (some, rest) = answers.split_at(2 * 6 + 20 * one);
    session.write_all(some).unwrap();
    served.turn_until(|reactor| reactor.io.events.len() == 20);
    assert!(last() <= 6 * one, "{} where 12 are left", last());
    let (some, rest) = rest.split_at(5 * one);
    session.write_all(some).unwrap();
    served.turn_until(|reactor| reactor.io.events.len() == 25);
    assert_eq!(last(), 1, "7 are left");
    session.write_all(rest).unwrap();
    served.hear(32);
    assert_eq!(served.reactor.io.low_water.until, None);
}

#[test]
fn a_server_on_this_machine_is_kept_at_work_over_tcp() {
    let mut served = Served::over_tcp(1, "SELECT");
    served.reactor.io.low_water.set = Some(note_mark);
    served.reactor.io.low_water.cores = Some(0);
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    served.answer(&mut session, 1);
    let is_raised = || MARKS.with_borrow(|marks| marks.iter().any(|mark| *mark > 7));
    // A pause of the machine may have made the statement look slow in the first burst.
    for crowd in 0.. {
        for request in 0..32 {
            served.ask(request);
            if request % 16 == 15 {
                served.reactor.flush();
            }
        }
        if is_raised() {
            break;
        }
        assert!(crowd < 200);
        served.answer(&mut session, 32);
    }
}
