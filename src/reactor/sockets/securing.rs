//! From a connected socket to one that may be used: the negotiation of TLS, if the options ask for
//! it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::socket::Token;
use super::super::system_error::Unreached;
use super::super::transport::{self, Secured};
use super::{Opened, Opening, Sockets, Stream};
use crate::connection::Security;
use crate::pool::ConnectionId;
use crate::tls::{Facts, Failure, Trust};

impl Sockets {
    /// Begins to encrypt a connection, if the options ask for it.
    pub(super) fn secure(
        &mut self,
        connection: ConnectionId,
        token: Token,
        others: Vec<SocketAddr>,
    ) {
        match self.question(token) {
            Some(question) => {
                self.opening.insert(connection, Opening::Asking { token, question, others });
            }
            None => self.negotiate(connection, token, others),
        }
    }

    pub(super) fn negotiate(
        &mut self,
        connection: ConnectionId,
        token: Token,
        others: Vec<SocketAddr>,
    ) {
        let negotiation = match (&self.trust, self.streams.get(&token)) {
            (Some(trust), Some(Stream { host, target, .. })) => {
                trust.negotiate(host, target.is_local(), self.encrypted.contains_key(&host.name))
            }
            _ => Ok(None),
        };
        match negotiation {
            Ok(None) => self.opened(connection, token, others, Security::Plain),
            Ok(Some(negotiation)) => {
                let negotiation = Box::new(negotiation);
                let securing = Opening::Securing { token, negotiation, others };
                self.opening.insert(connection, securing);
                self.list_handshake(token);
            }
            Err(failure) => self.insecure(connection, token, failure),
        }
    }

    pub(super) fn opened(
        &mut self,
        connection: ConnectionId,
        token: Token,
        others: Vec<SocketAddr>,
        security: Security,
    ) {
        self.open.insert(connection, token);
        let local = self.streams.get(&token).is_some_and(|stream| stream.target.is_local());
        self.opened.push_back(Opened::Connected { connection, local, others, security });
    }

    pub(super) fn insecure(&mut self, connection: ConnectionId, token: Token, failure: Failure) {
        let Failure { is_final, why } = failure;
        self.drop_stream(token);
        if is_final {
            self.opening.remove(&connection);
            self.opened.push_back(Opened::Insecure { connection, why });
        } else {
            self.fail(connection, Unreached { why, cause: None });
        }
    }

    /// Lists a socket whose negotiation can continue, for [`Self::shake`].
    pub(super) fn list_handshake(&mut self, token: Token) {
        if !self.handshakes.contains(&token) {
            self.handshakes.push_back(token);
        }
    }

    /// Whether a negotiation was postponed to the next turn.
    pub(in crate::reactor) fn has_handshakes(&self) -> bool {
        !self.handshakes.is_empty()
    }

    /// Continues at least one negotiation, and more within the bound of a turn.
    pub(in crate::reactor) fn shake(&mut self, buffer: &mut [u8]) {
        let until = self.clock.now() + self.handshakes_may_take;
        for _ in 0..self.handshakes.len() {
            let Some(token) = self.handshakes.pop_front() else { return };
            if self.cancel_requests.contains(token) {
                self.shake_cancel_request(token, buffer);
            } else {
                self.shake_session(token, buffer);
            }
            if self.clock.now() >= until {
                return;
            }
        }
    }

    fn shake_cancel_request(&mut self, token: Token, buffer: &mut [u8]) {
        if self.cancel_requests.secure(token, buffer) {
            self.handshakes.push_back(token);
        } else if !self.cancel_requests.is_securing(token)
            && let Some(reached) = self.cancel_requests.advance(token)
        {
            self.finish_cancel_request(token, reached);
        }
    }

    fn shake_session(&mut self, token: Token, buffer: &mut [u8]) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        let connection = stream.connection;
        let Some(Opening::Securing { negotiation, others, .. }) = self.opening.get_mut(&connection)
        else {
            return;
        };
        // The selector will not report again what it has reported during the negotiation, so an
        // open connection is read at once.
        match transport::advance(&stream.socket, negotiation, buffer) {
            Secured::Waiting { blocked } => self.set_blocked(token, blocked),
            Secured::Unfinished => self.handshakes.push_back(token),
            Secured::Plain => {
                let others = std::mem::take(others);
                self.opening.remove(&connection);
                self.opened(connection, token, others, Security::Plain);
                self.list_unread(token, false);
            }
            Secured::Encrypted(transport, facts) => {
                let others = std::mem::take(others);
                stream.transport = transport;
                let is_verified = self.trust.as_ref().is_some_and(Trust::verifies);
                let end_point = facts.end_point.clone();
                let security = Security::Encrypted { end_point, is_verified };
                self.encrypted.insert(Arc::clone(&stream.host.name), facts);
                self.opening.remove(&connection);
                self.opened(connection, token, others, security);
                self.list_unread(token, false);
            }
            Secured::Failed(failure) => self.insecure(connection, token, failure),
        }
    }

    /// How a host's last session with TLS was encrypted, and how far the host was verified.
    pub(in crate::reactor) fn encryption(&self, host: &str) -> Option<(&Facts, &'static str)> {
        Some((self.encrypted.get(host)?, self.trust.as_ref()?.verified()))
    }
}
