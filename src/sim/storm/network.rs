//! The network between the pool and the nodes: bytes on their way, and connections that end.

use crate::base::Instant;
use crate::pool::ConnectionId;

/// Why an idle connection has ended.
pub(super) const IDLE_CUT: &str = "it was idle for too long";

/// One connection, as the network sees it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    pub(super) node: usize,
    /// Nodes to try if `node` can't be reached.
    pub(super) others: Vec<usize>,
    pub(super) stage: Stage,
    pub(super) to_server: Vec<u8>,
    pub(super) to_pool: Vec<u8>,
    /// Bytes that the backend sends when its session is idle again.
    pub(super) unsent: Vec<u8>,
    /// The node has closed the connection. The pool hears of that after the last byte.
    pub(super) ending: Option<&'static str>,
    /// The pool has written to it since it was closed.
    pub(super) is_written_to: bool,
    /// The pool has closed it. Bytes that the pool sent before still arrive.
    pub(super) left: bool,
    /// Nothing arrives any more in either direction, without any notice.
    pub(super) lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    /// The node's kernel has accepted it.
    Accepted,
    Session(Backend),
}

/// The state of the process behind a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Idle,
    /// It has committed, and waits until a standby has this much of the log.
    Replicating {
        length: usize,
    },
    Asleep,
}

impl Link {
    pub(super) fn new(connection: ConnectionId, node: usize, others: Vec<usize>) -> Self {
        Self {
            connection,
            node,
            others,
            stage: Stage::Connecting,
            to_server: Vec::new(),
            to_pool: Vec::new(),
            unsent: Vec::new(),
            ending: None,
            is_written_to: false,
            left: false,
            lost: false,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Accepted | Stage::Session(Backend::Idle))
    }

    /// Whether no server has answered its login yet.
    pub(super) fn is_joining(&self) -> bool {
        let is_early = matches!(self.stage, Stage::Connecting | Stage::Accepted);
        is_early && self.ending.is_none() && !self.left
    }

    /// Whether nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        let empty = self.to_server.is_empty() && self.to_pool.is_empty();
        empty
            && self.ending.is_none()
            && !self.left
            && matches!(self.stage, Stage::Session(Backend::Idle))
    }

    /// The node closes the connection. `also` are its last bytes.
    pub(super) fn close(&mut self, why: &'static str, also: &[u8]) {
        self.to_server.clear();
        self.unsent.clear();
        self.to_pool.extend_from_slice(also);
        self.stage = Stage::Accepted;
        self.ending = Some(why);
    }
}

/// A CancelRequest on its way, on a connection of its own.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) link: u64,
    pub(super) connection: ConnectionId,
    pub(super) node: usize,
    pub(super) signalled: bool,
    pub(super) deadline: Instant,
}
