//! The option `password` as a function: it is asked once a host is connected, for each login anew.

use std::collections::BTreeMap;

use crate::connection::Peer;
use crate::pool::ConnectionId;

#[derive(Debug, Default)]
pub(super) struct Passwords {
    /// The option is a function.
    pub(super) is_asked: bool,
    last: u32,
    /// By question, the connections whose login has not begun.
    waiting: BTreeMap<u32, (ConnectionId, Peer)>,
}

impl Passwords {
    pub(super) fn new(is_asked: bool) -> Self {
        Self { is_asked, ..Self::default() }
    }

    /// Returns the number of the question.
    pub(super) fn ask(&mut self, connection: ConnectionId, peer: Peer) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.waiting.insert(self.last, (connection, peer));
        self.last
    }

    pub(super) fn answered(&mut self, question: u32) -> Option<(ConnectionId, Peer)> {
        self.waiting.remove(&question)
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        if self.is_asked {
            self.waiting.retain(|_, (waiting, _)| *waiting != connection);
        }
    }
}
