//! The way to a session.
//!
//! Owns: the handshake, and the question for the role if the server does not report it. The tests
//! on servers are in `test/integration/auth.test.js` and `starting.test.js`.

pub(in crate::connection) mod handshake;
pub(in crate::connection) mod startup;
pub(in crate::connection) mod weakness;

use crate::base::{Error, Instant};
use crate::connection::introspection::role::check_encoding;
use crate::connection::login::handshake::{BackendKey, Handshake, Next};
use crate::connection::session::Session;
use crate::connection::{Connection, Event, Peer, Shared, State};
use crate::protocol::backend::BackendMessage;

impl Connection {
    pub(super) fn connected(&mut self, peer: Peer, shared: &Shared<'_>) -> Result<(), Error> {
        let State::Opening { deadline } = self.state else {
            return Err(Error::internal("a socket was connected twice"));
        };
        self.random = peer.digits();
        let password = self.password.take().or_else(|| shared.config.password.clone());
        let handshake = Handshake::start(peer, password, shared.config, &mut self.outbox)?;
        self.state = State::Handshake { deadline, handshake };
        Ok(())
    }

    pub(super) fn handshake_message(
        &mut self,
        now: Instant,
        message: BackendMessage<'_>,
        shared: &mut Shared<'_>,
    ) -> Result<(), Error> {
        let State::Handshake { deadline, handshake } =
            std::mem::replace(&mut self.state, State::Closed)
        else {
            return Err(Error::protocol("the server spoke before it was spoken to"));
        };
        let (next, weakness) =
            handshake.handle(message, &mut self.parameters, shared, &mut self.outbox)?;
        self.events.extend(weakness.map(Event::Weak));
        match next {
            Next::Handshake(handshake) => self.state = State::Handshake { deadline, handshake },
            Next::Done { key } => self.logged_in(now, deadline, key, shared)?,
        }
        Ok(())
    }

    fn logged_in(
        &mut self,
        now: Instant,
        deadline: Instant,
        key: Option<BackendKey>,
        shared: &Shared<'_>,
    ) -> Result<(), Error> {
        if let Some(encoding) = self.parameters.value("client_encoding") {
            check_encoding(encoding)?;
        }
        let mut session = Session::new(now, key, self.random, &self.parameters, shared.config);
        if self.distrusts_reports {
            session.forget_reports();
        }
        if let Some(role) = session.role() {
            self.events.push_back(Event::Ready { role });
            self.state = State::Session(session);
        } else {
            session.probe(now, self.written, &mut self.outbox)?;
            self.state = State::Asking { deadline, session };
        }
        Ok(())
    }

    /// A server that had to be asked for its role has answered.
    pub(super) fn asked(&mut self, now: Instant) -> Result<(), Error> {
        if let State::Asking { session, .. } = &mut self.state
            && session.depth() == 0
        {
            if session.must_ask_again() {
                self.events.clear();
                return session.probe(now, self.written, &mut self.outbox);
            }
            let Some(role) = session.role() else {
                return Err(Error::protocol("the server did not report its role"));
            };
            let State::Asking { session, .. } = std::mem::replace(&mut self.state, State::Closed)
            else {
                return Ok(());
            };
            self.state = State::Session(session);
            // The probe's own event has the same content.
            self.events.clear();
            self.events.push_back(Event::Ready { role });
        }
        Ok(())
    }
}
