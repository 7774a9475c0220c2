//! An encrypted stream without a buffer of its own for input: records are opened where they lie,
//! in the one buffer into which all sockets are read. Only the beginning of a record whose rest has
//! not come yet is kept.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CipherSuite, ClientConfig, ProtocolVersion};

use super::failure::Failure;

/// The most bytes of one record's content (RFC 8446, 5.1).
const MOST_IN_RECORD: usize = 16 * 1024;
/// More than the header, the nonce, the padding and the tag of one record of any cipher suite.
const MOST_AROUND_RECORD: usize = 64;

/// The most bytes that are kept once TLS is established: more than one record has. Tickets, which are
/// all that may come in pieces then, are far shorter.
const MOST_KEPT: usize = 32 * 1024;

pub struct Sealed {
    connection: UnbufferedClientConnection,
    /// What is to be written to the socket, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The beginning of a record, or of a message of the handshake, whose rest has not come.
    rest: Vec<u8>,
    is_established: bool,
    has_ended: bool,
    /// rustls counts on being shown again what it has seen, which was not kept.
    is_broken: bool,
    /// By how many bytes a record is longer than its content.
    overhead: usize,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_established, has_ended, .. } = self;
        write!(f, "Sealed {{ is_established: {is_established}, has_ended: {has_ended} }}")
    }
}

impl Sealed {
    /// Writes the ClientHello.
    pub(super) fn new(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Failure> {
        let connection = UnbufferedClientConnection::new(Arc::clone(config), name)
            .map_err(|error| Failure::of(&error))?;
        let mut sealed = Self {
            connection,
            out: Vec::new(),
            written: 0,
            rest: Vec::new(),
            is_established: false,
            has_ended: false,
            is_broken: false,
            overhead: 0,
        };
        sealed.open(&mut [], |_| {})?;
        Ok(sealed)
    }

    /// What is to be written to the socket.
    pub fn outgoing(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    pub fn advance(&mut self, count: usize) {
        self.written = self.written.saturating_add(count);
        if self.written >= self.out.len() {
            self.written = 0;
            // A large burst must not keep its memory for the life of the connection.
            if self.out.capacity() > 2 * MOST_IN_RECORD {
                self.out = Vec::new();
            }
            self.out.clear();
        }
    }

    /// Copies what was kept to the front of the buffer. Returns where the next bytes belong, or
    /// `None` if the buffer has no room for any.
    pub fn put_rest(&self, buffer: &mut [u8]) -> Option<usize> {
        let kept = self.rest.len();
        if kept >= buffer.len() {
            return None;
        }
        buffer.get_mut(..kept)?.copy_from_slice(&self.rest);
        Some(kept)
    }

    /// How many bytes lie here of a record whose rest has not come.
    pub fn kept(&self) -> usize {
        self.rest.len()
    }

    /// By how many bytes a record is longer than its content.
    pub fn overhead(&self) -> usize {
        self.overhead
    }

    pub(super) fn is_established(&self) -> bool {
        self.is_established
    }

    /// The server has said that it sends nothing more.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    pub(super) fn application_protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.connection.protocol_version()
    }

    pub(super) fn cipher(&self) -> Option<CipherSuite> {
        self.connection.negotiated_cipher_suite().map(|suite| suite.suite())
    }

    /// Opens the records in `bytes`, which begin with what [`Self::put_rest`] has put there. `take`
    /// gets their contents. After an error [`Self::outgoing`] ends with the alert that tells the
    /// server.
    pub fn open(&mut self, bytes: &mut [u8], mut take: impl FnMut(&[u8])) -> Result<(), Failure> {
        if self.is_broken {
            return Err(Failure::too_long());
        }
        let mut used = 0;
        loop {
            let unread = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(unread);
            let mut goes_on = true;
            match state {
                Err(error) => {
                    used = used.saturating_add(discard);
                    self.keep(bytes.get(used..).unwrap_or_default())?;
                    self.write_alert();
                    return Err(Failure::of(&error));
                }
                Ok(ConnectionState::ReadTraffic(mut records)) => {
                    while let Some(record) = records.next_record() {
                        let record = match record {
                            Ok(record) => record,
                            Err(error) => {
                                self.is_broken = true;
                                return Err(Failure::of(&error));
                            }
                        };
                        discard = discard.saturating_add(record.discard);
                        if !record.payload.is_empty() {
                            take(record.payload);
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut flight)) => {
                    append(&mut self.out, |out| match flight.encode(out) {
                        Ok(count) => Ok(Ok(count)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size)),
                        Err(EncodeError::AlreadyEncoded) => Err(Failure::defect()),
                    })?;
                }
                // The flight lies in `out`, and nothing is written before it.
                Ok(ConnectionState::TransmitTlsData(flight)) => flight.done(),
                Ok(ConnectionState::BlockedHandshake) => goes_on = false,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.is_established = true;
                    goes_on = false;
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.has_ended = true;
                    goes_on = false;
                }
                // Early data was not asked for.
                Ok(_) => return Err(Failure::defect()),
            }
            used = used.saturating_add(discard);
            if !goes_on {
                break;
            }
        }
        if self.is_established && self.overhead == 0 {
            self.overhead = self.measure_overhead();
        }
        let rest = if self.has_ended { &[] } else { bytes.get(used..).unwrap_or_default() };
        self.keep(rest)
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), Failure> {
        self.rest.clear();
        if rest.is_empty() {
            // A connection at rest keeps no memory for this.
            self.rest = Vec::new();
            return Ok(());
        }
        if self.is_established && rest.len() > MOST_KEPT {
            self.is_broken = true;
            return Err(Failure::too_long());
        }
        if self.rest.try_reserve_exact(rest.len()).is_err() {
            self.is_broken = true;
            return Err(Failure::no_memory());
        }
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    /// rustls has one alert to send after an error, if any.
    fn write_alert(&mut self) {
        let Self { connection, out, rest, .. } = self;
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) =
            connection.process_tls_records(rest).state
        {
            let written = append(out, |out| match alert.encode(out) {
                Ok(count) => Ok(Ok(count)),
                Err(EncodeError::InsufficientSize(size)) => Ok(Err(size)),
                Err(EncodeError::AlreadyEncoded) => Err(Failure::defect()),
            });
            // Without the alert the server learns of the end from the closed socket.
            drop(written);
        }
    }

    /// Seals bytes behind what is to be written already.
    pub fn seal(&mut self, plain: &[u8]) -> Result<(), Failure> {
        if self.is_broken {
            return Err(Failure::too_long());
        }
        let Self { connection, out, rest, .. } = self;
        // rustls remembers how much of what was kept it has seen, and must be shown it each time.
        match connection.process_tls_records(rest).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let records = plain.len() / MOST_IN_RECORD + 1;
                let room = plain.len().saturating_add(records.saturating_mul(MOST_AROUND_RECORD));
                append_within(out, room, |out| match traffic.encrypt(plain, out) {
                    Ok(count) => Ok(Ok(count)),
                    Err(EncryptError::InsufficientSize(size)) => Ok(Err(size)),
                    Err(EncryptError::EncryptExhausted) => Err(Failure::exhausted()),
                })
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(Failure::ended()),
            Ok(_) => Err(Failure::defect()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Says that nothing more follows.
    pub fn seal_end(&mut self) {
        if self.is_broken {
            return;
        }
        let Self { connection, out, rest, .. } = self;
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            connection.process_tls_records(rest).state
        {
            let end = append(out, |out| match traffic.queue_close_notify(out) {
                Ok(count) => Ok(Ok(count)),
                Err(EncryptError::InsufficientSize(size)) => Ok(Err(size)),
                Err(EncryptError::EncryptExhausted) => Err(Failure::exhausted()),
            });
            // It is a courtesy: without it the server learns of the end from the closed socket.
            drop(end);
        }
    }

    /// What is around a record's content: a header of 5 bytes, a tag of 16, and what the version
    /// and the cipher suite add.
    fn measure_overhead(&self) -> usize {
        let is_chacha = |suite| {
            matches!(
                suite,
                CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            )
        };
        5 + 16
            + match self.version() {
                // The type of the content.
                Some(ProtocolVersion::TLSv1_3) => 1,
                // The nonce, which CHACHA20 does not send.
                _ if self.cipher().is_some_and(is_chacha) => 0,
                _ => 8,
            }
    }
}

type Written = Result<Result<usize, InsufficientSizeError>, Failure>;

/// Appends what `write` writes, and gives it as much room as it asks for.
fn append(out: &mut Vec<u8>, write: impl FnMut(&mut [u8]) -> Written) -> Result<(), Failure> {
    append_within(out, MOST_AROUND_RECORD, write)
}

fn append_within(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Written,
) -> Result<(), Failure> {
    let at = out.len();
    let mut room = room;
    // The second attempt has all the room that the first one asked for.
    for _ in 0..2 {
        out.try_reserve(room).map_err(|_| Failure::no_memory())?;
        out.resize(at.saturating_add(room), 0);
        match write(out.get_mut(at..).unwrap_or_default()) {
            Ok(Ok(count)) => {
                out.truncate(at.saturating_add(count));
                return Ok(());
            }
            Ok(Err(InsufficientSizeError { required_size })) => room = required_size,
            Err(failure) => {
                out.truncate(at);
                return Err(failure);
            }
        }
    }
    out.truncate(at);
    Err(Failure::defect())
}
