//! The bound on one turn, and how long the reactor waits for a server that accepts no bytes.

use super::super::super::closed_window::TcpReport;
use super::*;
use crate::pool::PoolEvent;
use crate::reactor::closed_window::TcpCalls;

/// The most events of a turn while many such messages come on an idle connection.
fn most_in_a_turn(message: &[u8], count: usize) -> usize {
    let mut served = Served::over_tcp(1, "SELECT 1");
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    served.answer(&mut session, 1);
    session.set_nonblocking(true).unwrap();
    let flood = message.repeat(count);
    let (mut sent, mut heard, mut most) = (0, 0, 0);
    while heard < count {
        // Writes as much as the socket accepts, so that each turn finds as much as it can read.
        while let Ok(written) = session.write(&flood[sent..]) {
            sent += written;
            if written == 0 {
                break;
            }
        }
        served.reactor.turn();
        let mut events = 0;
        while let Some(event) = served.reactor.next_event() {
            events += usize::from(matches!(event, ReactorEvent::Event(PoolEvent::Notice { .. })));
        }
        served.reactor.finish_turn();
        heard += events;
        most = most.max(events);
    }
    most
}

#[test]
fn a_turn_takes_some_thousand_small_messages_and_not_all_that_have_come() {
    let small = message(b'N', b"SNOTICE\0C00000\0Mx\0\0");
    let most = most_in_a_turn(&small, 30_000);
    assert!((100..=3000).contains(&most), "{most} notices in one turn");
    // For large messages, the number of bytes is what counts.
    let text = "x".repeat(8000);
    let large = message(b'N', format!("SNOTICE\0C00000\0M{text}\0\0").as_bytes());
    let most = most_in_a_turn(&large, 300);
    assert!((10..=80).contains(&most), "{most} large notices in one turn");
}

thread_local! {
    static REPORTED: std::cell::Cell<TcpReport> = const { std::cell::Cell::new(TcpReport {
        unsent: 0, unacknowledged: 0, probes: 0, last_heard: Duration::ZERO,
    }) };
}

fn report(unsent: u32, probes: u32, heard_before: u64) {
    let last_heard = Duration::from_millis(heard_before);
    REPORTED.set(TcpReport { unsent, unacknowledged: 0, probes, last_heard });
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_takes_nothing_is_kept_for_as_long_as_its_host_answers() {
    let sql = format!("SELECT 1 /* {} */", "x".repeat(40_000));
    let mut served = Served::over_tcp(1, &sql);
    let report_it = |_| Some(REPORTED.get());
    served.reactor.io.windows.tcp = Some(TcpCalls { report: report_it, probe_every: |_, _| {} });
    served.ask(1);
    served.reactor.flush();
    let mut session = served.accept();
    // Nothing long is sent after the question for the process ID, until its answer has come.
    while received(&mut session).is_empty() {
        served.reactor.turn();
    }
    session.write_all(&ready()).unwrap();
    served.turn_until(|reactor| reactor.io.windows.deadline().is_some());
    let token = served.reactor.io.sockets.single_socket().unwrap();
    let is_on = |served: &mut Served| {
        let stream = served.reactor.io.sockets.stream(token).unwrap();
        stream.socket.user_timeout().is_some()
    };
    assert!(!is_on(&mut served));
    let mut now = served.reactor.clock.now();
    let mut look = |served: &mut Served| {
        now = now + Duration::from_secs(1);
        let Io { windows, sockets, .. } = &mut served.reactor.io;
        windows.check(now, sockets);
        served.reactor.io.sockets.stream(token).unwrap().broken.is_some()
    };
    for _ in 0..100 {
        // The number of unanswered probes changes from one look to the next.
        report(9, 1, 1000);
        assert!((0..30).all(|_| !look(&mut served)));
        report(9, 1, 10);
        assert!(!look(&mut served));
        report(9, 0, 50_000);
        assert!((0..50).all(|_| !look(&mut served)));
    }
    // The host has acknowledged everything, so the kernel's own option is in force again until as
    // many bytes are in flight once more.
    report(0, 0, 1);
    assert!(!look(&mut served) && served.reactor.io.windows.deadline().is_none());
    assert!(is_on(&mut served));
    let mut asked = Vec::new();
    while asked.len() < sql.len() || !asked.ends_with(&message(b'S', b"")) {
        served.reactor.turn();
        asked.extend(received(&mut session));
    }
    session.write_all(&answer(&asked)).unwrap();
    served.hear(1);
    served.ask(2);
    served.reactor.flush();
    assert!(!is_on(&mut served));
    report(9, 1, 1000);
    // The first of these looks comes hours after the one before.
    assert!((0..31).all(|_| !look(&mut served)) && look(&mut served));
    served.turn_until(|reactor| reactor.status().size == 0);
}
