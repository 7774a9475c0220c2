//! The option `ssl` as a function. It is called when a connection needs its answer, so that
//! certificates can be replaced while a pool runs.

use super::super::clock;
use super::super::socket::Token;
use super::{Opening, Sockets, Stream};
use crate::config::{Endpoint, Tls};
use crate::tls::{Failure, Trust};

#[derive(Debug, Default)]
pub(super) struct Questions {
    last: u32,
    /// The question that was not fetched yet. Connections that come before it is fetched share its
    /// answer.
    next: Option<u32>,
}

impl Questions {
    fn ask(&mut self) -> u32 {
        *self.next.get_or_insert_with(|| {
            self.last = self.last.wrapping_add(1);
            self.last
        })
    }
}

impl Sockets {
    /// The question for the connection of a socket, if the connection needs its answer.
    pub(super) fn question(&mut self, token: Token) -> Option<u32> {
        let Stream { host, .. } = self.streams.get(&token)?;
        match host.endpoint {
            // TLS is never used on a Unix socket.
            Endpoint::Unix { .. } | Endpoint::Abstract { .. } => None,
            Endpoint::Ip(_) | Endpoint::Name { .. } | Endpoint::Pinned { .. } => {
                self.questions.as_mut().map(Questions::ask)
            }
        }
    }

    pub(in crate::reactor) fn next_question(&mut self) -> Option<u32> {
        self.questions.as_mut()?.next.take()
    }

    /// Takes the answer to a question, or the reason why there is none. It has no effect if no
    /// connection waits for it any longer.
    pub(in crate::reactor) fn answer(&mut self, question: u32, answer: Result<Tls, String>) {
        let waits = |opening: &Opening| match opening {
            Opening::Asking { question: of, .. } => *of == question,
            _ => false,
        };
        let all = self.opening.iter();
        let waiting: Vec<_> = all.filter(|(_, it)| waits(it)).map(|(it, _)| *it).collect();
        if waiting.is_empty() {
            return;
        }
        let read = answer.and_then(|tls| {
            let trust = Trust::new(&tls, clock::of_certificates());
            trust.map_err(|error| error.message().to_owned())
        });
        let failure = match read {
            Ok(trust) => {
                self.trust = trust;
                None
            }
            // The next answer may be better.
            Err(why) => Some(Failure { is_final: false, why }),
        };
        for connection in waiting {
            let Some(Opening::Asking { token, others, .. }) = self.opening.remove(&connection)
            else {
                continue;
            };
            match failure.clone() {
                None => self.negotiate(connection, token, others),
                Some(failure) => self.insecure(connection, token, failure),
            }
        }
    }
}
