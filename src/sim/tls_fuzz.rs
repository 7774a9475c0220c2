//! The bodies of the fuzz targets of TLS: certificates, and what comes instead of a handshake.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use serde_json::json;

use crate::config::from_json;
use crate::tls::{Clock, Step, Trust, read_certificate};

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_893_456_000)))
    }
}

/// A certificate is read, or refused, and nothing else happens.
pub(super) fn certificates(data: &[u8]) {
    read_certificate(data);
}

/// Bytes in pieces: the first byte says how TLS begins, and the second one how long the pieces are.
/// Nothing that is not a whole handshake ends with an encrypted stream.
pub(super) fn negotiation(data: &[u8]) {
    let Some((&[how, length], data)) = data.split_first_chunk() else { return };
    let direct = if how & 1 == 0 { "postgres" } else { "direct" };
    let mode = if how & 2 == 0 || direct == "direct" { "require" } else { "prefer" };
    let string = format!("postgres://u@h/?sslmode={mode}&sslnegotiation={direct}");
    let Ok(config) = from_json(&json!({ "connectionString": string })) else { return };
    let Ok(Some(trust)) = Trust::new(&config.tls, Arc::new(Still)) else { return };
    let Some(host) = config.hosts.first() else { return };
    let Ok(Some(mut negotiation)) = trust.negotiate(host, false, false) else { return };
    let mut buffer = vec![0; 64 * 1024];
    for piece in data.chunks(usize::from(length).max(1)) {
        negotiation.advance(negotiation.outgoing().len());
        let Ok(at) = negotiation.put_rest(&mut buffer) else { return };
        let Some(place) = buffer.get_mut(at..at + piece.len()) else { return };
        place.copy_from_slice(piece);
        let bytes = buffer.get_mut(..at + piece.len()).unwrap_or_default();
        match negotiation.receive(bytes) {
            Ok(Step::More) => {}
            Ok(Step::Plain) => return assert_eq!((mode, piece), ("prefer", &b"N"[..])),
            Ok(Step::Secured(..)) => unreachable!("nobody has shaken hands"),
            Err(_) => return,
        }
    }
}
