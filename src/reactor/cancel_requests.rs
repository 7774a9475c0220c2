//! Cancel requests: short connections that deliver one packet and wait until the server closes
//! them.
//!
//! The end of the stream is the answer: the server closes the connection once it has sent the
//! signal (PostgreSQL manual, 55.2.9). A cancel request goes to the address that its session has
//! reached. A host's name may lead to several servers, and only one of them knows the key. Bytes
//! from the server are discarded.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::time::Duration;

use super::socket::{Progress, Socket, Token};
use super::transport::{self, Secured, Transport};
use crate::base::Instant;
use crate::pool::ConnectionId;
use crate::tls::Negotiation;

/// How often one socket is read in one turn. A server sends nothing but the end of TLS.
const MOST_READS: usize = 4;

#[derive(Debug)]
struct CancelRequest {
    connection: ConnectionId,
    socket: Socket,
    /// The rest of the negotiation that leads to an encrypted connection.
    negotiation: Option<Negotiation>,
    transport: Transport,
    /// The bytes that are still to be written, or to be encrypted.
    packet: Vec<u8>,
    has_failed: bool,
    deadline: Instant,
}

/// The end of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) connection: ConnectionId,
    /// Whether the server took the packet and closed the connection.
    pub(super) reached: bool,
}

#[derive(Debug)]
pub(super) struct CancelRequests {
    underway: BTreeMap<Token, CancelRequest>,
    ended: VecDeque<Ended>,
    /// How long a cancel request may take as a whole.
    timeout: Duration,
}

impl CancelRequests {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { underway: BTreeMap::new(), ended: VecDeque::new(), timeout }
    }

    pub(super) fn begin(
        &mut self,
        now: Instant,
        token: Token,
        connection: ConnectionId,
        socket: Socket,
        negotiation: Option<Negotiation>,
        packet: Vec<u8>,
    ) {
        let request = CancelRequest {
            connection,
            socket,
            negotiation,
            transport: Transport::Plain,
            packet,
            has_failed: false,
            deadline: now + self.timeout,
        };
        self.underway.insert(token, request);
    }

    /// Whether the connection still has to be encrypted.
    pub(super) fn is_securing(&self, token: Token) -> bool {
        self.underway.get(&token).is_some_and(|request| request.negotiation.is_some())
    }

    /// Continues the negotiation. Returns whether there is more to do at once.
    pub(super) fn secure(&mut self, token: Token, buffer: &mut [u8]) -> bool {
        let Some(request) = self.underway.get_mut(&token) else { return false };
        let Some(negotiation) = &mut request.negotiation else { return false };
        match request.socket.progress() {
            Ok(Progress::Connecting) => return false,
            Ok(Progress::Connected) => {}
            Err(_) => {
                (request.negotiation, request.has_failed) = (None, true);
                return false;
            }
        }
        match transport::advance(&request.socket, negotiation, buffer) {
            Secured::Waiting { .. } => return false,
            Secured::Unfinished => return true,
            Secured::Encrypted(transport, _) => request.transport = transport,
            // The key of an encrypted session is never sent in plain text.
            Secured::Plain | Secured::Failed(_) => request.has_failed = true,
        }
        request.negotiation = None;
        false
    }

    pub(super) fn fail(&mut self, connection: ConnectionId) {
        self.ended.push_back(Ended { connection, reached: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.underway.is_empty()
    }

    pub(super) fn contains(&self, token: Token) -> bool {
        self.underway.contains_key(&token)
    }

    pub(super) fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.underway.values().map(|cancel_request| cancel_request.deadline).min()
    }

    /// The tokens of the sockets whose time limit has passed. The caller closes these, and calls
    /// [`Self::finish`].
    pub(super) fn overdue(&self, now: Instant) -> Vec<Token> {
        let overdue =
            self.underway.iter().filter(|(_, cancel_request)| cancel_request.deadline <= now);
        overdue.map(|(token, _)| *token).collect()
    }

    /// Continues as far as the socket allows. Once the request is over, returns whether the server
    /// closed the connection.
    pub(super) fn advance(&mut self, token: Token) -> Option<bool> {
        let cancel_request = self.underway.get_mut(&token)?;
        if cancel_request.has_failed {
            return Some(false);
        }
        if let Transport::Tls(sealed) = &mut cancel_request.transport {
            let packet = std::mem::take(&mut cancel_request.packet);
            if !packet.is_empty() && sealed.seal(&packet).is_err() {
                return Some(false);
            }
            match cancel_request.transport.flush(&cancel_request.socket) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(_) => return Some(false),
            }
        }
        if !cancel_request.packet.is_empty() {
            match cancel_request.socket.progress() {
                Ok(Progress::Connecting) => return None,
                Ok(Progress::Connected) => {}
                Err(_) => return Some(false),
            }
        }
        while !cancel_request.packet.is_empty() {
            match cancel_request.socket.write(&cancel_request.packet) {
                Ok(count) => {
                    drop(cancel_request.packet.drain(..count.min(cancel_request.packet.len())))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(false),
            }
        }
        let mut nothing = [0; 256];
        for _ in 0..MOST_READS {
            match cancel_request.socket.read(&mut nothing) {
                Ok(0) => return Some(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(false),
            }
        }
        Some(false)
    }

    pub(super) fn finish(&mut self, token: Token, reached: bool) {
        if let Some(CancelRequest { connection, .. }) = self.underway.remove(&token) {
            self.ended.push_back(Ended { connection, reached });
        }
    }

    pub(super) fn clear(&mut self) -> Vec<Token> {
        self.ended.clear();
        std::mem::take(&mut self.underway).into_keys().collect()
    }
}
