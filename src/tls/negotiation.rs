//! From a connected socket to an encrypted stream (PostgreSQL manual, 55.2.10), without the socket.
//!
//! ```text
//! Asked ──'S'──▶ Shaking ──▶ Secured          direct: Shaking ──▶ Secured
//!    └──'N'──▶ Plain, where that is allowed
//! ```

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::binding::end_point;
use super::failure::Failure;
use super::sealed::Sealed;

/// A message of eight bytes, with a code where a version would stand.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub(super) const PROTOCOL: &[u8] = b"postgresql";

/// Whether a server that has no TLS is spoken to in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Allowed,
    /// The options ask for TLS.
    Refused,
    /// This host had TLS before.
    RefusedNow,
}

/// What has come of the bytes.
#[derive(Debug)]
pub enum Step {
    More,
    /// The server has no TLS, and plain text is allowed.
    Plain,
    /// The stream may still have to write the last bytes of the handshake.
    Secured(Box<Sealed>, Facts),
}

/// What is known of an encrypted stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The hash of the server's certificate for `tls-server-end-point`, if the certificate has one.
    pub end_point: Option<Vec<u8>>,
    /// As Node names it: `TLSv1.3`.
    pub protocol: &'static str,
    pub cipher: String,
}

#[derive(Debug)]
enum State {
    Asked { written: usize },
    Shaking(Box<Sealed>),
    Over,
}

#[derive(Debug)]
pub struct Negotiation {
    state: State,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    plain: Plain,
    is_direct: bool,
}

impl Negotiation {
    /// Writes the SSLRequest, or the ClientHello if TLS is `direct`.
    pub(super) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        plain: Plain,
        is_direct: bool,
    ) -> Result<Self, Failure> {
        let state = if is_direct {
            State::Shaking(Box::new(Sealed::new(&config, name.clone())?))
        } else {
            State::Asked { written: 0 }
        };
        Ok(Self { state, config, name, plain, is_direct })
    }

    /// What is to be written to the socket.
    pub fn outgoing(&self) -> &[u8] {
        match &self.state {
            State::Asked { written } => SSL_REQUEST.get(*written..).unwrap_or_default(),
            State::Shaking(sealed) => sealed.outgoing(),
            State::Over => &[],
        }
    }

    pub fn advance(&mut self, count: usize) {
        match &mut self.state {
            State::Asked { written } => *written = written.saturating_add(count),
            State::Shaking(sealed) => sealed.advance(count),
            State::Over => {}
        }
    }

    /// Copies what was kept to the front of the buffer, and returns where the next bytes belong.
    pub fn put_rest(&self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match &self.state {
            State::Shaking(sealed) => sealed.put_rest(buffer).ok_or_else(|| {
                Failure::lost("a message of the server's TLS handshake is longer than any may be")
            }),
            State::Asked { .. } | State::Over => Ok(0),
        }
    }

    /// Takes bytes, which begin with what [`Self::put_rest`] has put there.
    pub fn receive(&mut self, bytes: &mut [u8]) -> Result<Step, Failure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asked { written } => self.answered(written, bytes),
            State::Shaking(sealed) => self.shake(sealed, bytes),
            State::Over => Err(Failure::defect()),
        }
    }

    /// The end of the stream came before that of the negotiation.
    pub fn ended(&self) -> Failure {
        Failure::lost(match &self.state {
            State::Asked { .. } => {
                "the server closed the connection in answer to the request for TLS (SSLRequest)"
            }
            State::Shaking(_) | State::Over if self.is_direct => {
                "the server closed the connection in the TLS handshake (sslnegotiation=direct needs \
                 PostgreSQL 17 or newer)"
            }
            State::Shaking(_) | State::Over => {
                "the server closed the connection in the TLS handshake"
            }
        })
    }

    fn answered(&mut self, written: usize, bytes: &[u8]) -> Result<Step, Failure> {
        let Some((answer, rest)) = bytes.split_first() else {
            self.state = State::Asked { written };
            return Ok(Step::More);
        };
        // A server waits now. Bytes that follow in the clear were put there by someone in between,
        // and would be taken for the server's (CVE-2021-23222). The next attempt may reach the
        // server itself.
        if matches!(answer, b'S' | b'N') && !rest.is_empty() {
            return Err(Failure::lost(
                "data came in the clear behind the answer to the request for TLS",
            ));
        }
        match answer {
            b'S' => {
                let sealed = Sealed::new(&self.config, self.name.clone())?;
                self.state = State::Shaking(Box::new(sealed));
                Ok(Step::More)
            }
            b'N' => match self.plain {
                Plain::Allowed => Ok(Step::Plain),
                Plain::Refused => Err(Failure::refused(
                    "the server has no TLS (ssl = off in postgresql.conf), for which the options ask: turn it \
                     on there, or give ssl: false (sslmode=disable) if the network is trusted",
                )),
                Plain::RefusedNow => Err(Failure::lost(
                    "the server says that it has no TLS, but this pool had TLS with it before: someone in \
                     between may have said so. A new pool begins anew",
                )),
            },
            // An ErrorResponse that nothing vouches for is not shown (CVE-2024-10977). Most often
            // the server has too many clients.
            b'E' => Err(Failure::lost(
                "the server answered the request for TLS (SSLRequest) with an error, which its log shows",
            )),
            _ => Err(Failure::lost(
                "the answer to the request for TLS (SSLRequest) is not that of a PostgreSQL server",
            )),
        }
    }

    fn shake(&mut self, mut sealed: Box<Sealed>, bytes: &mut [u8]) -> Result<Step, Failure> {
        let mut spoke = false;
        let opened = sealed.open(bytes, |_| spoke = true);
        if let Err(failure) = opened {
            // The alert is still to be written.
            self.state = State::Shaking(sealed);
            return Err(failure);
        }
        if spoke {
            return Err(Failure::lost("the server spoke before it was spoken to"));
        }
        if sealed.has_ended() {
            return Err(self.ended());
        }
        if !sealed.is_established() {
            self.state = State::Shaking(sealed);
            return Ok(Step::More);
        }
        // Without it, another protocol's server could be made to answer (RFC 7301, ALPACA).
        if self.is_direct && sealed.application_protocol() != Some(PROTOCOL) {
            return Err(Failure::refused(
                "the server did not agree to speak PostgreSQL's protocol (ALPN), as sslnegotiation=direct needs",
            ));
        }
        let facts = Facts {
            end_point: sealed.certificate().and_then(|certificate| end_point(certificate)),
            protocol: match sealed.version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: sealed
                .cipher()
                .and_then(|suite| suite.as_str())
                .unwrap_or("unknown")
                .replace("TLS13_", "TLS_"),
        };
        Ok(Step::Secured(sealed, facts))
    }
}
