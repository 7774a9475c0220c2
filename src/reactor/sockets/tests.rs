//! Real sockets on the loopback interface.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::json;

use super::super::clock::Clock;
use super::*;
use crate::base::Key;

struct Bench {
    sockets: Sockets,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        Self::with_ssl(&json!(false))
    }

    fn with_ssl(ssl: &serde_json::Value) -> Self {
        let options = json!({ "hosts": ["h"], "user": "u", "database": "d", "ssl": ssl });
        let config = crate::config::from_json(&options).unwrap();
        let clock = Clock::new();
        Self { sockets: Sockets::new(&config, clock).unwrap(), clock }
    }

    fn open(&mut self, connection: u64, endpoint: Endpoint) {
        let host = Arc::new(Host { name: Arc::from("h"), endpoint });
        self.sockets.open(self.clock.now(), Key::from_bits(connection), &host, None, Vec::new());
    }

    /// Turns until a connection is open or has failed, and returns which one and how.
    fn outcome(&mut self) -> (u64, Result<bool, String>) {
        loop {
            let mut ready = Vec::new();
            self.sockets.collect(&mut ready).unwrap();
            let now = self.clock.now();
            ready.iter().for_each(|event| {
                self.sockets.handle_opening(now, event.token, event.closed);
            });
            self.sockets.handle_timeout(now);
            match self.sockets.next_opened() {
                Some(Opened::Connected { connection, local, .. }) => {
                    return (connection.to_bits(), Ok(local));
                }
                Some(Opened::Failed { connection, unreached }) => {
                    return (connection.to_bits(), Err(unreached.why));
                }
                Some(Opened::Insecure { connection, why }) => {
                    return (connection.to_bits(), Err(why));
                }
                None => std::thread::yield_now(),
            }
        }
    }
}

/// A port at which connects are refused.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_connect_ends_with_a_socket_or_with_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new();
    bench.open(1, Endpoint::Ip(listener.local_addr().unwrap()));
    assert_eq!(bench.outcome(), (1, Ok(true)));
    bench.open(2, Endpoint::Ip(refusing()));
    let refused = "connection refused (ECONNREFUSED)".to_owned();
    assert_eq!(bench.outcome(), (2, Err(refused)));
    bench.open(3, Endpoint::Unix { path: "/nowhere/.s.PGSQL.5432".to_owned() });
    let absent = "no such file or directory (ENOENT)".to_owned();
    assert_eq!(bench.outcome(), (3, Err(absent)));
    assert_eq!(bench.sockets.streams.len(), 1);
}

#[test]
fn all_addresses_of_a_name_are_tried_and_the_losers_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut bench = Bench::new();
    bench.open(1, Endpoint::Name { name: "db".to_owned(), port });
    let lookup = bench.sockets.next_lookup().unwrap();
    assert_eq!(lookup.name, "db");
    // Nothing listens on the first address, and the last one is never needed.
    let ips = ["127.0.0.2", "127.0.0.1", "127.0.0.3"].map(|ip| format!("{ip}:0").parse().unwrap());
    bench.sockets.resolved(bench.clock.now(), lookup.token, Ok(ips.to_vec()));
    assert_eq!(bench.outcome(), (1, Ok(true)));
    assert_eq!((bench.sockets.streams.len(), bench.sockets.opening.len()), (1, 0));
}

#[test]
fn a_name_without_addresses_fails_and_a_late_answer_is_nobody_s() {
    let mut bench = Bench::new();
    let name = || Endpoint::Name { name: "db".to_owned(), port: 1 };
    bench.open(1, name());
    let first = bench.sockets.next_lookup().unwrap();
    bench.sockets.close(Key::from_bits(1), &[]);
    let late = Unreached { why: "late".to_owned(), cause: None };
    bench.sockets.resolved(bench.clock.now(), first.token, Err(late));
    bench.open(2, name());
    let second = bench.sockets.next_lookup().unwrap();
    bench.sockets.resolved(bench.clock.now(), second.token, Ok(Vec::new()));
    assert_eq!(bench.outcome(), (2, Err("the name has no addresses".to_owned())));
}

#[test]
fn closing_a_connect_in_progress_closes_its_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new();
    bench.open(1, Endpoint::Ip(listener.local_addr().unwrap()));
    assert_eq!(bench.sockets.streams.len(), 1);
    bench.sockets.close(Key::from_bits(1), b"terminate");
    assert!(bench.sockets.streams.is_empty() && bench.sockets.connections().is_empty());
    assert!(bench.sockets.next_opened().is_none());
}

#[test]
fn handshakes_share_a_turn_and_each_turn_does_one_at_least() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::with_ssl(&json!("require"));
    bench.sockets.handshakes_may_take = Duration::ZERO;
    let address = listener.local_addr().unwrap();
    (1..=3).for_each(|connection| bench.open(connection, Endpoint::Ip(address)));
    while bench.sockets.handshakes.len() < 3 {
        let mut ready = Vec::new();
        bench.sockets.collect(&mut ready).unwrap();
        let now = bench.clock.now();
        ready.iter().for_each(|event| {
            bench.sockets.handle_opening(now, event.token, event.closed);
        });
    }
    let mut buffer = vec![0; 64 * 1024];
    for left in [2, 1, 0] {
        bench.sockets.shake(&mut buffer);
        assert_eq!(bench.sockets.handshakes.len(), left);
    }
    // A server that answers that it has no TLS.
    for _ in 0..3 {
        let (mut server, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        std::io::Read::read_exact(&mut server, &mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        std::io::Write::write_all(&mut server, b"N").unwrap();
    }
    bench.sockets.handshakes_may_take = Duration::from_secs(3600);
    let mut refused = Vec::new();
    while refused.len() < 3 {
        let mut ready = Vec::new();
        bench.sockets.collect(&mut ready).unwrap();
        let now = bench.clock.now();
        ready.iter().for_each(|event| {
            bench.sockets.handle_opening(now, event.token, event.closed);
        });
        bench.sockets.shake(&mut buffer);
        while let Some(Opened::Insecure { connection, why }) = bench.sockets.next_opened() {
            assert!(why.contains("ssl = off"), "{why}");
            refused.push(connection.to_bits());
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, [1, 2, 3]);
    assert!(bench.sockets.streams.is_empty() && bench.sockets.connections().is_empty());
}

/// The answer and the end of the stream come together, and the selector reports both in one event.
#[test]
fn an_end_that_is_reported_during_a_negotiation_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::with_ssl(&json!("prefer"));
    bench.open(1, Endpoint::Ip(listener.local_addr().unwrap()));
    let (mut server, _) = listener.accept().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut asked = false;
    let opened = loop {
        let mut ready = Vec::new();
        bench.sockets.collect(&mut ready).unwrap();
        let now = bench.clock.now();
        ready.iter().for_each(|event| {
            bench.sockets.handle_opening(now, event.token, event.closed);
        });
        // The negotiation continues after the end was reported.
        if !asked || ready.iter().any(|event| event.closed) {
            bench.sockets.shake(&mut buffer);
        }
        if !asked && bench.sockets.opening.len() == 1 && bench.sockets.handshakes.is_empty() {
            server.set_nonblocking(true).unwrap();
            let mut request = [0; 8];
            if std::io::Read::read_exact(&mut server, &mut request).is_ok() {
                asked = true;
                std::io::Write::write_all(&mut server, b"N").unwrap();
                server.shutdown(std::net::Shutdown::Both).unwrap();
            }
        }
        if let Some(opened) = bench.sockets.next_opened() {
            break opened;
        }
    };
    assert!(matches!(opened, Opened::Connected { security: Security::Plain, .. }), "{opened:?}");
    let token = bench.sockets.next_unread().expect("the end is to be read");
    assert!(bench.sockets.stream(token).unwrap().ending);
}
