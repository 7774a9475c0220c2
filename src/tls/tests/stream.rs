//! The encrypted stream, and servers that send what none sends.

use super::*;

#[test]
fn bytes_pass_whole_wherever_records_are_cut() {
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let mut server = Server::new(Setup { versions, ..SETUP });
        let (mut sealed, _) =
            run(begin(&full(CA), "localhost"), &mut server, |_| usize::MAX).unwrap();
        for cut in 0..100 {
            pass_cut(&mut sealed, &mut server, b"Z\0\0\0\x05I and some more", cut);
        }
        let large: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
        for cut in [1, 5, 16_000, 17_000, 100_000] {
            pass_cut(&mut sealed, &mut server, &large, cut);
        }
        // What a bare Sync is answered by is as long as the reactor takes it to be.
        server.send(b"Z\0\0\0\x05I");
        assert_eq!(server.out.len(), 6 + sealed.overhead());
    }
}

#[test]
fn bytes_are_sent_whatever_part_of_a_record_has_come() {
    let setup = Setup { tickets: 2, ..SETUP };
    for cut in 0..200 {
        let mut server = Server::new(setup);
        let (mut sealed, _) =
            run(begin(&full(CA), "localhost"), &mut server, |_| usize::MAX).unwrap();
        // The tickets come behind the handshake.
        let mut tickets = std::mem::take(&mut server.out);
        let mut buffer = vec![0; 64 * 1024];
        let rest = tickets.split_off(cut.min(tickets.len()));
        sealed.open(&mut tickets, |_| panic!("no content")).unwrap();
        sealed.seal(b"request").unwrap();
        server.take(sealed.outgoing());
        assert_eq!(server.read(), b"request", "{cut}");
        let at = sealed.put_rest(&mut buffer).unwrap();
        buffer[at..at + rest.len()].copy_from_slice(&rest);
        sealed.open(&mut buffer[..at + rest.len()], |_| panic!("no content")).unwrap();
        assert_eq!(sealed.kept(), 0);
    }
}

#[test]
fn an_error_at_any_byte_of_a_handshake_is_an_error() {
    let length = flights(&full(CA), SETUP);
    for at in 0..length {
        let mut server = Server::new(SETUP);
        let mut negotiation = begin(&full(CA), "localhost");
        let (mut buffer, mut come) = (vec![0; 64 * 1024], 0);
        loop {
            let out = negotiation.outgoing().to_vec();
            negotiation.advance(out.len());
            server.take(&out);
            let mut flight = std::mem::take(&mut server.out);
            if flight.is_empty() {
                break;
            }
            if let Some(byte) = at.checked_sub(come).and_then(|at| flight.get_mut(at)) {
                *byte ^= 0x41;
            }
            come += flight.len();
            let begin = negotiation.put_rest(&mut buffer).unwrap();
            buffer[begin..begin + flight.len()].copy_from_slice(&flight);
            match negotiation.receive(&mut buffer[..begin + flight.len()]) {
                Ok(Step::More) => {}
                // Versions in the headers of records are not looked at, nor is a compatible one.
                Ok(_) | Err(_) => break,
            }
        }
    }
}

#[test]
fn keys_are_renewed_and_the_end_is_heard() {
    let mut server = Server::new(SETUP);
    let (mut sealed, _) = run(begin(&full(CA), "localhost"), &mut server, |_| usize::MAX).unwrap();
    pass(&mut sealed, &mut server, b"before");
    server.connection.refresh_traffic_keys().unwrap();
    pass(&mut sealed, &mut server, b"behind");
    sealed.seal_end();
    server.take(sealed.outgoing());
    server.connection.send_close_notify();
    server.write();
    sealed.open(&mut std::mem::take(&mut server.out), |_| panic!("nothing more comes")).unwrap();
    assert!(sealed.has_ended());
    assert!(sealed.seal(b"late").is_err());
}

#[test]
fn a_changed_record_ends_the_stream_with_an_alert() {
    let mut server = Server::new(SETUP);
    let (mut sealed, _) = run(begin(&full(CA), "localhost"), &mut server, |_| usize::MAX).unwrap();
    server.send(b"answer");
    let last = server.out.len() - 1;
    server.out[last] ^= 1;
    let failure = sealed.open(&mut server.out.clone(), |_| panic!("it was changed")).unwrap_err();
    assert!(failure.why.contains("changed on its way"), "{failure:?}");
    assert!(!sealed.outgoing().is_empty(), "the alert");
}

#[test]
fn a_message_that_never_ends_fills_no_memory() {
    let mut negotiation = begin(&full(CA), "localhost");
    assert!(matches!(negotiation.receive(&mut b"S".to_vec()), Ok(Step::More)));
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..10 {
        let at = match negotiation.put_rest(&mut buffer) {
            Ok(at) => at,
            Err(_) => return,
        };
        // Records of a handshake message that claims 16 MiB.
        let record = [&[22, 3, 3, 0x40, 0][..], &[2, 0xff, 0xff, 0xff], &[0; 0x3ffc]].concat();
        let count = record.len().min(buffer.len() - at);
        buffer[at..at + count].copy_from_slice(&record[..count]);
        if negotiation.receive(&mut buffer[..at + count]).is_err() {
            return;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn a_long_message_behind_the_handshake_ends_the_stream_and_nothing_else() {
    for (ticket_length, is_taken) in [(2000, true), (40_000, false), (65_000, false)] {
        let mut server = Server::new(Setup { tickets: 1, ticket_length, ..SETUP });
        let (mut sealed, _) =
            run(begin(&full(CA), "localhost"), &mut server, |_| usize::MAX).unwrap();
        let come = std::mem::take(&mut server.out);
        let mut buffer = vec![0; 64 * 1024];
        let taken = come.chunks(1000).try_for_each(|piece| {
            let at = sealed.put_rest(&mut buffer).unwrap();
            buffer[at..at + piece.len()].copy_from_slice(piece);
            sealed.open(&mut buffer[..at + piece.len()], |_| panic!("no content"))
        });
        if is_taken {
            taken.unwrap();
            pass(&mut sealed, &mut server, b"and on");
            continue;
        }
        let failure = taken.unwrap_err();
        assert!(failure.why.contains("longer than any may be"), "{ticket_length} {failure:?}");
        // What was not kept is never asked for again.
        assert!(sealed.seal(b"late").is_err() && sealed.open(&mut [], |_| {}).is_err());
        sealed.seal_end();
    }
}
