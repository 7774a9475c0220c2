//! A connection fed by hand: logins, and what a connection knows when it is over.

mod large;

use serde_json::json;

use crate::base::Outcome;
use crate::config::Config;
use crate::config::from_json;
use crate::connection::*;
use crate::protocol::scram::KeyCache;
use crate::protocol::scripted::{self, complete, message, ready};
use crate::types::Params;
use crate::types::Verbatim;

struct Setup {
    config: Config,
    statements: Statements,
    keys: KeyCache,
    connection: Connection,
    /// Each request has a barrier in front of it.
    is_guarded: bool,
}

impl Setup {
    fn new() -> Self {
        let config = from_json(&json!({ "user": "u", "password": "p" })).unwrap();
        let deadline = Instant::from_micros(2_000_000);
        let connection = Connection::new("h1:5432".into(), deadline);
        let (statements, keys) = (Statements::default(), KeyCache::default());
        let mut setup = Self { config, statements, keys, connection, is_guarded: false };
        setup.input(Input::Connected(Peer {
            nonce: [7; 18],
            local: false,
            security: Security::Plain,
        }));
        setup
    }

    fn input(&mut self, input: Input<'_>) {
        let mut shared =
            Shared { config: &self.config, statements: &mut self.statements, keys: &mut self.keys };
        self.connection.handle_input(Instant::ORIGIN, input, &mut shared);
    }

    fn receive(&mut self, messages: &[&[u8]]) -> Vec<Event> {
        self.input(Input::Received(&messages.concat()));
        self.events()
    }

    /// The events, without what a login over an open network shows.
    fn events(&mut self) -> Vec<Event> {
        let all = std::iter::from_fn(|| self.connection.poll_event());
        all.filter(|event| !matches!(event, Event::Weak(_))).collect()
    }

    fn ends_with(mut self, messages: &[&[u8]]) -> Error {
        match self.receive(messages).pop() {
            Some(Event::Closed { error, .. }) => error,
            other => panic!("{other:?} in place of the end"),
        }
    }
}

/// The requests that are lost, and what became of each.
fn lost(events: Vec<Event>) -> Vec<(u64, Outcome)> {
    let lost = |event| match event {
        Event::Lost { token, outcome, .. } => Some((token.0, outcome)),
        _ => None,
    };
    events.into_iter().filter_map(lost).collect()
}

fn ok() -> Vec<u8> {
    message(b'R', &[0, 0, 0, 0])
}

fn welcome(key: &[u8]) -> Vec<u8> {
    scripted::welcome(&[&[0, 0, 0, 9][..], key].concat())
}

#[test]
fn keys_of_4_to_256_bytes_come_back_in_the_cancel_request() {
    for length in [4, 32, 256] {
        let mut setup = Setup::new();
        let key = vec![5; length];
        let events = setup.receive(&[&welcome(&key)]);
        assert!(matches!(events[..], [Event::Ready { role: Role::ReadWrite }]), "{events:?}");
        let request = setup.connection.cancel_request().unwrap();
        assert_eq!(request.len(), 12 + length);
        assert_eq!(request[8..12], [0, 0, 0, 9]);
        assert_eq!(request[12..], key);
    }
    for length in [0, 3, 257] {
        let error = Setup::new().ends_with(&[&welcome(&vec![5; length])]);
        assert_eq!(error.class(), ErrorClass::Protocol);
    }
}

#[test]
fn a_server_without_keys_is_well_and_one_with_two_is_not() {
    let mut setup = Setup::new();
    let status = |text: &str| message(b'S', text.as_bytes());
    let reports =
        [status("in_hot_standby\0off\0"), status("default_transaction_read_only\0on\0")].concat();
    let events = setup.receive(&[&ok(), &reports, &ready()]);
    assert!(matches!(events[..], [Event::Ready { role: Role::ReadOnly }]), "{events:?}");
    assert_eq!(setup.connection.cancel_request(), None);
    let key = message(b'K', &[0; 8]);
    assert_eq!(Setup::new().ends_with(&[&ok(), &key, &key]).class(), ErrorClass::Protocol);
}

#[test]
fn a_newer_minor_version_that_is_offered_is_let_go_by() {
    let mut setup = Setup::new();
    let negotiate = message(b'v', b"\0\x03\0\0\0\0\0\x01_pq_.x\0");
    let events = setup.receive(&[&negotiate, &welcome(&[1; 4])]);
    assert!(matches!(events[..], [Event::Ready { .. }]), "{events:?}");
    for broken in [&b"\0\x03\0\0\xff\xff\xff\xff"[..], b"\0\x03\0\0\x7f\xff\xff\xff"] {
        let error = Setup::new().ends_with(&[&message(b'v', broken)]);
        assert_eq!(error.class(), ErrorClass::Protocol);
    }
}

#[test]
fn a_password_is_not_sent_in_clear_to_a_remote_server() {
    let error = Setup::new().ends_with(&[&message(b'R', &[0, 0, 0, 3])]);
    assert_eq!(error.code(), "HYPERION_AUTHENTICATION");
    assert!(!format!("{error:?}").contains("\"p\""));
}

#[test]
fn one_authentication_message_is_answered_once() {
    let md5 = message(b'R', b"\0\0\0\x05salt");
    let error = Setup::new().ends_with(&[&md5, &md5]);
    assert_eq!(error.class(), ErrorClass::Protocol);
    assert!(error.message().contains("in answer to the password"), "{error}");
}

#[test]
fn a_deadline_covers_the_whole_login() {
    let mut setup = Setup::new();
    setup.receive(&[&ok()]);
    assert_eq!(setup.connection.poll_timeout().map(|(at, _)| at.as_micros()), Some(2_000_000));
    let mut shared =
        Shared { config: &setup.config, statements: &mut setup.statements, keys: &mut setup.keys };
    setup.connection.handle_timeout(Instant::from_micros(2_000_000), &mut shared);
    let Some(Event::Closed { error, .. }) = setup.connection.poll_event() else { panic!() };
    assert_eq!(error.code(), "HYPERION_CONNECT_TIMEOUT");
    assert_eq!(error.message(), "h1:5432: no answer within 2000 ms while logging in");
    assert_eq!(error.host().map(|host| &**host), Some("h1:5432"));
}

#[test]
fn another_client_encoding_ends_the_session() {
    let encoding = message(b'S', b"client_encoding\0LATIN1\0");
    let error = Setup::new().ends_with(&[&welcome(&[1; 4]), &encoding]);
    assert_eq!(error.class(), ErrorClass::Protocol);
}

impl Setup {
    fn send(&mut self, token: u64, sql: &str) -> Sent {
        let statement = self.statements.insert(sql);
        self.send_statement(token, statement)
    }

    fn described(&mut self, sql: &str) -> StatementId {
        let statement = self.statements.insert(sql);
        if let Some(known) = self.statements.get_mut(statement) {
            let description = Description::new(Vec::new(), None, &Verbatim::default());
            known.form = Form::Described(Arc::new(description));
        }
        statement
    }

    fn send_statement(&mut self, token: u64, statement: StatementId) -> Sent {
        self.send_with(token, statement, None)
    }

    fn send_with(&mut self, token: u64, statement: StatementId, begin: Option<Begin>) -> Sent {
        let (token, params) = (RequestToken(token), Params::new());
        let (prepare, barrier, describe) = (true, self.is_guarded, false);
        let params = &params;
        let request = Request {
            strange: false,
            held: false,
            written: None,
            token,
            statement,
            params,
            begin,
            free: true,
            leased: false,
            prepare,
            barrier,
            describe,
            description: &DescriptionState::Shared,
        };
        let mut shared =
            Shared { config: &self.config, statements: &mut self.statements, keys: &mut self.keys };
        self.connection.send(Instant::ORIGIN, &request, &mut shared).unwrap()
    }
}

#[test]
fn what_was_not_written_is_withdrawn_and_the_others_keep_their_places() {
    let mut setup = Setup::new();
    setup.receive(&[&welcome(&[5; 4])]);
    setup.connection.advance(usize::MAX);
    for token in 1..=4 {
        setup.send(token, &format!("SELECT {token}"));
    }
    let length = setup.connection.outgoing().len();
    // One byte of the first is with the kernel: it can't be taken back.
    setup.connection.advance(1);
    assert!(!setup.connection.withdraw(RequestToken(1)));
    assert!(setup.connection.withdraw(RequestToken(2)));
    assert!(!setup.connection.withdraw(RequestToken(2)));
    assert!(setup.connection.withdraw(RequestToken(4)));
    assert_eq!(setup.connection.depth(), 2);
    let text = String::from_utf8_lossy(setup.connection.outgoing()).into_owned();
    assert!(text.contains("SELECT 1") && text.contains("SELECT 3"), "{text:?}");
    assert_eq!(setup.connection.outgoing().len(), length / 2 - 1);
    // The first alone is written: the third one never reached the server.
    setup.connection.advance(length / 4 - 1);
    setup.input(Input::Closed { why: "gone".to_owned() });
    let lost = lost(setup.events());
    assert_eq!(lost, [(1, Outcome::Unknown), (3, Outcome::NotSent)]);
}

#[test]
fn only_the_server_s_own_fatal_error_proves_that_it_looked_no_further() {
    for (routine, outcome) in
        [("Rdie\0", Outcome::NotSent), ("", Outcome::Unknown), ("Hx\0", Outcome::Unknown)]
    {
        let mut setup = Setup::new();
        setup.receive(&[&welcome(&[5; 4])]);
        for token in 1..=2 {
            setup.send(token, "SELECT 1");
        }
        setup.connection.advance(usize::MAX);
        let fields = format!("SFATAL\0VFATAL\0C08P01\0Mserver conn crashed?\0{routine}\0");
        let events = setup.receive(&[&message(b'E', fields.as_bytes())]);
        let lost = lost(events);
        assert_eq!(lost, [(1, Outcome::Unknown), (2, outcome)], "{routine}");
    }
}

#[test]
fn a_preparation_is_withdrawn_only_if_nothing_behind_builds_on_it() {
    let mut setup = Setup::new();
    setup.receive(&[&welcome(&[5; 4])]);
    setup.connection.advance(usize::MAX);
    let statement = setup.described("SELECT 1");
    setup.send_statement(1, statement);
    setup.send_statement(2, statement);
    assert!(
        !setup.connection.withdraw(RequestToken(1)),
        "the second one binds what the first one parses"
    );
    assert!(setup.connection.withdraw(RequestToken(2)));
    assert!(setup.connection.withdraw(RequestToken(1)));
    assert_eq!((setup.connection.outgoing(), setup.connection.depth()), (&[][..], 0));
    setup.send_statement(3, statement);
    let text = String::from_utf8_lossy(setup.connection.outgoing()).into_owned();
    assert!(text.contains("SELECT 1"), "it is parsed again: {text:?}");
}

#[test]
fn a_name_whose_close_was_skipped_is_closed_with_the_next_one() {
    let mut setup = Setup::new();
    setup.config.statement_cache_size = 1;
    setup.receive(&[&welcome(&[5; 4])]);
    let [first, second] = ["SELECT 1", "SELECT 2"].map(|sql| setup.described(sql));
    let answer = |messages: &[(u8, &[u8])]| -> Vec<u8> {
        messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect()
    };
    setup.send_statement(1, first);
    setup.connection.advance(usize::MAX);
    let done = [
        (b'1', &b""[..]),
        (b't', &[0, 0]),
        (b'n', b""),
        (b'2', b""),
        (b'C', b"SELECT 0\0"),
        (b'Z', b"I"),
    ];
    setup.receive(&[&answer(&done)]);
    // The first statement makes room for the second one, behind a BEGIN that is refused.
    setup.send_with(2, second, Some(Begin::default()));
    setup.connection.advance(usize::MAX);
    let refused = b"SERROR\0VERROR\0C0A000\0Mnot on a standby\0\0";
    let events = setup.receive(&[&answer(&[(b'E', refused), (b'Z', b"I")])]);
    assert!(matches!(events[..], [Event::Settled(Settled { answer: Answer::Refused { .. }, .. })]));
    setup.send_statement(3, second);
    let close = answer(&[(b'C', b"Sh0707070707070707_1\0")]);
    assert!(setup.connection.outgoing().starts_with(&close), "{:?}", setup.connection.outgoing());
}

/// The answer to a NOTIFY that is parsed, described and run.
fn notified() -> Vec<u8> {
    let (parsed, bound) = (message(b'1', b""), message(b'2', b""));
    let described = [message(b't', &[0, 0]), message(b'n', b"")].concat();
    let done = [complete("NOTIFY"), ready()].concat();
    [parsed, described, bound, done].concat()
}

#[test]
fn a_script_in_steps_waits_for_what_stands_in_front_of_it() {
    let mut setup = Setup::new();
    setup.receive(&[&welcome(&[5; 4])]);
    setup.connection.advance(usize::MAX);
    setup.send(1, "NOTIFY a");
    assert_eq!(setup.send(2, "SELECT 1; RESET ALL"), Sent::Steps);
    let begins =
        |setup: &Setup| String::from_utf8_lossy(setup.connection.outgoing()).contains("UNLISTEN");
    assert!(!begins(&setup));
    assert!(!setup.connection.withdraw(RequestToken(1)), "its answer has the script begin");
    setup.connection.advance(usize::MAX);
    let events = setup.receive(&[&notified()]);
    assert!(
        matches!(events[..], [Event::Settled(Settled { token: RequestToken(1), .. })]),
        "{events:?}"
    );
    assert!(begins(&setup));
    let mut lost = |written: usize| {
        setup.connection.advance(written);
        setup.input(Input::Closed { why: "gone".to_owned() });
        setup.connection.poll_event()
    };
    let event = lost(1);
    let is_unknown = matches!(
        event,
        Some(Event::Lost { outcome: Outcome::Unknown, token: RequestToken(2), .. })
    );
    assert!(is_unknown, "{event:?}");
}

#[test]
fn a_script_in_steps_that_waited_was_not_sent() {
    let mut setup = Setup::new();
    setup.receive(&[&welcome(&[5; 4])]);
    setup.connection.advance(usize::MAX);
    for (token, sql) in [(1, "NOTIFY a"), (2, "SELECT 1; RESET ALL")] {
        setup.send(token, sql);
    }
    setup.connection.advance(usize::MAX);
    setup.input(Input::Closed { why: "gone".to_owned() });
    let lost = lost(setup.events());
    assert_eq!(lost, [(1, Outcome::Unknown), (2, Outcome::NotSent)]);
}

/// A session whose cancellation key is a pooler's.
fn pooled() -> Setup {
    let mut setup = Setup::new();
    setup.receive(&[&scripted::welcome(&[0x7f, 0, 0, 1, 0, 0, 0, 2])]);
    setup.connection.advance(usize::MAX);
    setup
}

#[test]
fn a_pooler_is_sent_nothing_long_behind_what_is_unanswered() {
    let long = format!("NOTIFY a, '{}'", "x".repeat(2000));
    let mut setup = pooled();
    setup.send(1, "NOTIFY a");
    let first = setup.connection.outgoing().len();
    setup.send(2, &long);
    setup.send(3, "NOTIFY b");
    assert_eq!(setup.connection.outgoing().len(), first);
    // The short request behind the long one can be taken back, and so can the long one.
    assert!(
        setup.connection.withdraw(RequestToken(3)) && setup.connection.withdraw(RequestToken(2))
    );
    assert_eq!(setup.connection.outgoing().len(), first);
    setup.send(4, &long);
    setup.connection.advance(first);
    assert!(setup.connection.outgoing().is_empty());
    let events = setup.receive(&[&notified()]);
    assert!(
        matches!(events[..], [Event::Settled(Settled { token: RequestToken(1), .. })]),
        "{events:?}"
    );
    assert!(setup.connection.outgoing().len() > 2000);
}

/// The answer to the question for the process, which is 9 by the key of `welcome`.
fn process(number: &str) -> Vec<u8> {
    [scripted::process(number), ready()].concat()
}

#[test]
fn a_session_counts_as_a_pooler_s_until_it_is_known_to_be_a_server_s() {
    let long = format!("NOTIFY a, '{}'", "x".repeat(2000));
    for (number, is_server) in [("9", true), ("8", false), ("x", false)] {
        let mut setup = Setup::new();
        setup.receive(&[&welcome(&[5; 4])]);
        setup.connection.advance(usize::MAX);
        let statement = setup.statements.insert("NOTIFY a");
        setup.is_guarded = true;
        setup.send_statement(1, statement);
        setup.is_guarded = false;
        let first = setup.connection.outgoing().len();
        setup.send(2, &long);
        assert_eq!(setup.connection.outgoing().len(), first, "not known yet");
        setup.connection.advance(first);
        setup.receive(&[&process(number)]);
        assert_eq!(setup.connection.is_pooled(), !is_server, "{number}");
        // A server is sent both at once.
        assert_eq!(setup.connection.outgoing().len() > 2000, is_server, "{number}");
        setup.receive(&[&notified()]);
        assert!(setup.connection.outgoing().len() > 2000);
        // It is asked once.
        setup.is_guarded = true;
        let before = setup.connection.outgoing().len();
        setup.connection.advance(before);
        setup.receive(&[&notified()]);
        setup.send_statement(3, statement);
        let sent = String::from_utf8_lossy(setup.connection.outgoing());
        assert!(!sent.contains("pg_backend_pid"), "{number}");
    }
}

#[test]
fn what_a_pooler_was_not_sent_yet_has_not_run() {
    let mut setup = pooled();
    setup.send(1, "NOTIFY a");
    setup.send(2, &format!("NOTIFY a, '{}'", "x".repeat(2000)));
    setup.connection.advance(setup.connection.outgoing().len());
    setup.input(Input::Closed { why: "gone".to_owned() });
    let lost = lost(setup.events());
    assert_eq!(lost, [(1, Outcome::Unknown), (2, Outcome::NotSent)]);
}

#[test]
fn a_pooler_that_is_left_at_work_is_told_so_behind_a_flush() {
    let parting = [&b"H\0\0\0\x04"[..], b"X\0\0\0\x04"].concat();
    let mut setup = pooled();
    setup.is_guarded = true;
    setup.send(1, "NOTIFY a");
    assert_eq!(setup.connection.terminate(), b"", "nothing was written");
    setup.connection.advance(3);
    assert_eq!(setup.connection.terminate(), b"", "it would land in the middle of a message");
    setup.connection.advance(usize::MAX);
    assert_eq!(setup.connection.terminate(), parting);
    setup.receive(&[&ready()]);
    assert_eq!(setup.connection.terminate(), parting, "the barrier's answer is not the request's");
    setup.input(Input::Received(&message(b'2', b"")));
    assert!(matches!(setup.events().pop(), Some(Event::Closed { .. })));
    assert_eq!(setup.connection.terminate(), parting, "the session ended by an error");
}

#[test]
fn neither_a_server_nor_an_idle_pooler_is_sent_a_flush_at_the_end() {
    let mut setup = pooled();
    assert_eq!(setup.connection.terminate(), b"X\0\0\0\x04");
    setup.send(1, "NOTIFY a");
    setup.connection.advance(usize::MAX);
    setup.receive(&[&notified()]);
    assert_eq!(setup.connection.terminate(), b"X\0\0\0\x04");
    let mut setup = Setup::new();
    setup.receive(&[&welcome(&[5; 4])]);
    setup.is_guarded = true;
    setup.connection.advance(usize::MAX);
    setup.send(1, "NOTIFY a");
    setup.connection.advance(usize::MAX);
    setup.receive(&[&process("9")]);
    assert!(!setup.connection.is_pooled() && !setup.connection.is_idle());
    assert_eq!(setup.connection.terminate(), b"");
}

#[test]
fn the_end_of_another_client_s_answer_is_no_answer_to_the_question_for_the_process() {
    let discarded = [complete("DISCARD ALL"), ready()].concat();
    let half = [message(b'1', b""), ready()].concat();
    let twice = [scripted::process("9"), scripted::process("9")].concat();
    for strange in [discarded, ready(), half, twice] {
        let mut setup = Setup::new();
        setup.receive(&[&welcome(&[5; 4])]);
        setup.is_guarded = true;
        setup.send(1, "NOTIFY a");
        setup.connection.advance(usize::MAX);
        let error = setup.ends_with(&[&strange]);
        assert_eq!(error.class(), ErrorClass::Protocol);
        assert!(error.message().contains("which nothing asked for"), "{error}");
    }
}
