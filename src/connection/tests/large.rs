//! Answers that are larger than they may be, in parts as sockets bring them.

use crate::connection::tests::*;

const LIMIT: usize = 100_000;

/// A session with a text of two statements under way, which the simple protocol takes.
fn asked(sql: &str) -> Setup {
    let mut setup = Setup::new();
    setup.config.max_result_bytes = LIMIT;
    setup.receive(&[&welcome(&[5; 4])]);
    setup.send(1, sql);
    setup.connection.advance(usize::MAX);
    setup
}

fn row(size: usize) -> Vec<u8> {
    scripted::row(&[Some(&vec![b'x'; size])])
}

fn description(name_length: usize) -> Vec<u8> {
    scripted::row_description(&"n".repeat(name_length), 25)
}

fn done() -> Vec<u8> {
    [complete("SELECT 1"), ready()].concat()
}

/// What becomes of the request when this comes, in parts of a few KiB, none of which is kept.
fn answered(setup: &mut Setup, bytes: &[u8]) -> Answer {
    let mut events = Vec::new();
    for part in bytes.chunks(5000) {
        events.extend(setup.receive(&[part]));
        let held = setup.connection.intake.held();
        assert!(held <= 20_000, "{held} bytes of one message are held");
    }
    let settled = events.into_iter().find_map(|event| match event {
        Event::Settled(Settled { answer, .. }) => Some(answer),
        Event::Closed { error, .. } => panic!("{error}"),
        _ => None,
    });
    settled.expect("no answer")
}

fn refusal(answer: Answer) -> (String, Option<Outcome>) {
    match answer {
        Answer::Refused { error, .. } => (error.code().to_owned(), error.outcome()),
        other => panic!("{other:?}"),
    }
}

fn is_too_large(answer: Answer) {
    let expected = ("HYPERION_RESULT_TOO_LARGE".to_owned(), Some(Outcome::Unknown));
    assert_eq!(refusal(answer), expected);
}

#[test]
fn a_long_row_is_held_once_and_comes_whole() {
    let mut setup = asked("SELECT 1; SELECT 2");
    let (before, long, behind) = (row(3), row(90_000), row(4));
    let all = [description(3), before, long, behind, done()].concat();
    let Answer::Completed { results, .. } = answered(&mut setup, &all) else { panic!() };
    let mut cursor = RowCursor::default();
    let rows = &results[0].rows;
    let sizes: Vec<_> =
        std::iter::from_fn(|| rows.next_body(&mut cursor).map(|body| body.len() - 6)).collect();
    assert_eq!(sizes, [3, 90_000, 4]);
}

#[test]
fn a_row_beyond_the_limit_is_let_go_by_as_it_comes() {
    let mut setup = asked("SELECT 1; SELECT 2");
    is_too_large(answered(&mut setup, &[description(3), row(3_000_000), row(1), done()].concat()));
    // The session still works.
    setup.send(2, "SELECT 1; SELECT 2");
    setup.connection.advance(usize::MAX);
    let answer = answered(&mut setup, &[description(3), row(5), done()].concat());
    assert!(matches!(answer, Answer::Completed { .. }));
}

#[test]
fn a_broken_row_is_refused_in_parts_too() {
    let mut setup = asked("SELECT 1; SELECT 2");
    let mut broken = row(50_000);
    broken[8] = 1;
    let bytes = [description(3), broken].concat();
    let events: Vec<_> = bytes.chunks(5000).flat_map(|part| setup.receive(&[part])).collect();
    assert!(matches!(events.last(), Some(Event::Closed { .. })));
}

#[test]
fn a_description_that_no_server_has_is_let_go_by() {
    for sql in ["SELECT 1; SELECT 2", "SELECT 1"] {
        let mut setup = asked(sql);
        let front = [message(b'1', b""), message(b't', &[0; 2])].concat();
        let (front, bound) = match sql.contains(';') {
            true => (Vec::new(), Vec::new()),
            false => (front, message(b'2', b"")),
        };
        let all = [front, description(2_000_000), bound, row(1), row(1), done()].concat();
        is_too_large(answered(&mut setup, &all));
    }
}

#[test]
fn of_a_long_report_each_field_keeps_its_beginning() {
    let mut setup = asked("SELECT 1; SELECT 2");
    let text = "x".repeat(3_000_000);
    let fields = format!("SERROR\0VERROR\0C22000\0M{text}\0D{text}\0Rroutine\0\0");
    let (notice, error) = (message(b'N', fields.as_bytes()), message(b'E', fields.as_bytes()));
    let answer = answered(&mut setup, &[notice, error, ready()].concat());
    let Answer::Refused { error, .. } = answer else { panic!() };
    let server = error.server().unwrap();
    assert_eq!((error.code(), error.message().len()), ("22000", 8192));
    assert_eq!(server.detail.as_ref().map(String::len), Some(8192));
    assert_eq!(server.routine.as_deref(), Some("routine"));
}

#[test]
fn the_data_of_a_copy_is_let_go_by() {
    let mut setup = asked("SELECT 1; SELECT 2");
    let copied = [message(b'H', b"\0\0\0"), message(b'd', &vec![1; 3_000_000]), message(b'c', b"")];
    let answer = answered(&mut setup, &[copied.concat(), done()].concat());
    // It is refused as any other COPY is, and the session goes on.
    assert!(matches!(answer, Answer::Refused { .. }));
}

#[test]
fn a_script_that_answers_without_end_is_not_held_without_end() {
    let results = [
        complete("SELECT 1"),
        message(b'I', b""),
        [description(500), complete("SELECT 0")].concat(),
    ];
    for result in results {
        let mut setup = asked("SELECT 1; SELECT 2");
        is_too_large(answered(&mut setup, &[result.repeat(3000), done()].concat()));
        // A smaller number of them is accepted.
        setup.send(2, "SELECT 1; SELECT 2");
        setup.connection.advance(usize::MAX);
        let answer = answered(&mut setup, &[result.repeat(10), done()].concat());
        assert!(matches!(answer, Answer::Completed { results, .. } if results.len() == 11));
    }
}

#[test]
fn what_was_let_go_by_had_an_effect_where_a_later_statement_is_refused() {
    let mut setup = asked("SELECT 1; COMMIT; SELECT 2");
    let refused = message(b'E', b"SERROR\0VERROR\0C22012\0Mno\0\0");
    let all = [description(3), row(200_000), complete("SELECT 1"), complete("COMMIT"), refused];
    let answer = answered(&mut setup, &[all.concat(), ready()].concat());
    assert_eq!(refusal(answer), ("22012".to_owned(), Some(Outcome::Unknown)));
}
