//! How bytes travel on a connected socket, and how a connection becomes ready for them.
//!
//! Sessions and cancel requests are encrypted in the same way: [`advance`] moves bytes between the
//! socket and the negotiation of `tls` until neither has any more.

use std::io::ErrorKind;

use super::socket::Socket;
use super::system_error::reason;
use crate::tls::{Facts, Failure, Negotiation, Sealed, Step};

/// How many plain bytes may be encrypted before the kernel accepts them.
const SEALED_AHEAD: usize = 64 * 1024;
/// How often one negotiation reads before other sockets are served. A handshake takes two or three
/// reads.
const MOST_READS: usize = 8;

#[derive(Debug)]
pub(super) enum Transport {
    Plain,
    Tls(Box<Sealed>),
}

impl Transport {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// How many bytes of an incomplete record are here, and no longer in the kernel's buffer.
    pub(super) fn kept(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Tls(sealed) => sealed.kept(),
        }
    }

    /// By how many bytes a single message is longer on the wire.
    pub(super) fn overhead(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Tls(sealed) => sealed.overhead(),
        }
    }

    /// Copies the kept bytes to the beginning of the buffer. Returns where the next bytes belong, or
    /// `None` if the buffer has no room for any.
    pub(super) fn put_rest(&self, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Self::Plain => Some(0),
            Self::Tls(sealed) => sealed.put_rest(buffer),
        }
    }

    /// Takes bytes from the socket, after those of [`Self::put_rest`]. `take` gets the bytes as the
    /// server wrote them. Returns whether the server has announced the end of its stream.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<bool, Failure> {
        match self {
            Self::Plain => {
                take(bytes);
                Ok(false)
            }
            Self::Tls(sealed) => {
                sealed.open(bytes, take)?;
                Ok(sealed.has_ended())
            }
        }
    }

    /// Writes what was encrypted before. Returns whether all of it is written, or the socket's
    /// error.
    pub(super) fn flush(&mut self, socket: &Socket) -> Result<bool, String> {
        let Self::Tls(sealed) = self else { return Ok(true) };
        while !sealed.outgoing().is_empty() {
            match socket.write(sealed.outgoing()) {
                Ok(count) => sealed.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(reason(&error)),
            }
        }
        Ok(true)
    }

    /// Encrypts a part of the bytes, for [`Self::flush`]. Returns how many bytes it took. They
    /// count as written, since a record can't be taken back.
    pub(super) fn seal(sealed: &mut Sealed, plain: &[u8]) -> Result<usize, String> {
        let part = plain.get(..SEALED_AHEAD.min(plain.len())).unwrap_or_default();
        sealed.seal(part).map_err(|failure| failure.why)?;
        Ok(part.len())
    }

    /// Writes the last message of a session, as far as the kernel accepts it at once.
    pub(super) fn write_last(&mut self, socket: &Socket, message: &[u8]) {
        // This is a courtesy: without it, the closed socket tells the server.
        match self {
            Self::Plain => drop(socket.write(message)),
            Self::Tls(sealed) => {
                if !message.is_empty() && sealed.seal(message).is_err() {
                    return;
                }
                sealed.seal_end();
                drop(socket.write(sealed.outgoing()));
            }
        }
    }
}

/// The result of continuing a negotiation.
#[derive(Debug)]
pub(super) enum Secured {
    /// The socket has no more bytes, or accepts none (`blocked`).
    Waiting {
        blocked: bool,
    },
    /// There may be more to read.
    Unfinished,
    /// The server has no TLS, and plain text is allowed.
    Plain,
    Encrypted(Transport, Facts),
    Failed(Failure),
}

/// Moves bytes between a socket and a negotiation.
pub(super) fn advance(
    socket: &Socket,
    negotiation: &mut Negotiation,
    buffer: &mut [u8],
) -> Secured {
    for _ in 0..MOST_READS {
        match write(socket, negotiation) {
            Ok(true) => {}
            Ok(false) => return Secured::Waiting { blocked: true },
            Err(failure) => return Secured::Failed(failure),
        }
        let begin = match negotiation.put_rest(buffer) {
            Ok(begin) => begin,
            Err(failure) => return Secured::Failed(failure),
        };
        let count = match socket.read(buffer.get_mut(begin..).unwrap_or_default()) {
            Ok(0) => return Secured::Failed(negotiation.ended()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Secured::Waiting { blocked: false };
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Secured::Failed(of_socket(reason(&error))),
        };
        let bytes = buffer.get_mut(..begin.saturating_add(count)).unwrap_or_default();
        match negotiation.receive(bytes) {
            Ok(Step::More) => {}
            Ok(Step::Plain) => return Secured::Plain,
            Ok(Step::Secured(sealed, facts)) => {
                return Secured::Encrypted(Transport::Tls(sealed), facts);
            }
            Err(failure) => {
                // The TLS alert, which the server's log shows.
                drop(write(socket, negotiation));
                return Secured::Failed(failure);
            }
        }
    }
    Secured::Unfinished
}

/// Returns whether the kernel accepted everything.
fn write(socket: &Socket, negotiation: &mut Negotiation) -> Result<bool, Failure> {
    while !negotiation.outgoing().is_empty() {
        match socket.write(negotiation.outgoing()) {
            Ok(count) => negotiation.advance(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(of_socket(reason(&error))),
        }
    }
    Ok(true)
}

fn of_socket(why: String) -> Failure {
    Failure { is_final: false, why }
}
