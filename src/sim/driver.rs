//! The reactor's part, in virtual time: a driver runs the turns of a pool, passes on to the pool
//! what its connections receive, and carries out its outputs.
//!
//! [`World`](super::cluster::World) delivers everything at once, and a storm in any order. Both are
//! drivers, and each decides only when things happen, where bytes go, and what becomes of answers.

use super::names::{Names, address_of};
use crate::base::{Error, Instant, SystemFields};
use crate::connection::{Input, Peer, Security, StatementId};
use crate::pool::{ConnectionId, Output, Pool, PoolEvent, Response, Trace};

/// How many times in a row a deadline may be due again at once, in a loop that has nothing else to
/// do.
const BUSY_LOOP: usize = 20;

/// The result of a call.
pub(super) type Answer = Result<Response, Error>;

pub(super) trait Driver {
    fn pool(&mut self) -> &mut Pool;
    fn now(&self) -> Instant;
    fn names(&mut self) -> &mut Names;

    /// How many processor cores the servers share with the pool.
    fn cores(&self) -> Option<usize>;

    /// The pool attempts to connect, to the first of these hosts that can be reached.
    fn open(&mut self, connection: ConnectionId, hosts: Vec<usize>);

    /// The pool has bytes for a connection.
    fn write(&mut self, connection: ConnectionId);

    /// The pool closes a connection, with these bytes as the last ones.
    fn close(&mut self, connection: ConnectionId, terminate: &[u8]);

    /// The pool sends a CancelRequest.
    fn cancel(&mut self, connection: ConnectionId);

    /// The trace of a request comes in front of its answer.
    fn trace(&mut self, request: u32, trace: Trace);

    fn complete(&mut self, request: u32, result: Answer);

    /// The caller of a request hears the types of its parameters.
    fn tell_types(&mut self, request: u32);

    fn hear(&mut self, event: PoolEvent);

    /// Carries out the pool's outputs.
    fn take_outputs(&mut self) {
        while let Some(output) = self.pool().poll_output() {
            match output {
                Output::Open { connection, host, address, last } => {
                    let names = self.names();
                    names.lookups += usize::from(address.is_none());
                    let hosts = names.find(&host.name, address, &last);
                    self.open(connection, hosts);
                }
                Output::Write { connection } => self.write(connection),
                Output::Close { connection, terminate } => self.close(connection, &terminate),
                Output::Cancel { connection, .. } => self.cancel(connection),
                Output::Completed { request, result } => self.complete(request, result),
                Output::Types { request, .. } => self.tell_types(request),
                Output::Traced { request, trace } => self.trace(request, trace),
                Output::Event(event) => self.hear(event),
            }
        }
    }

    /// Sends the requests that came in this turn.
    fn flush(&mut self) {
        let now = self.now();
        self.pool().flush(now);
        self.take_outputs();
    }

    /// When the pool wants to be woken.
    fn next_deadline(&mut self) -> Instant {
        self.pool().poll_timeout().map_or(Instant::NEVER, |(at, _)| at)
    }

    /// Ends a turn of the loop, as the reactor does: with the deadlines that are due, and with the
    /// requests that came in this turn. Returns how often a deadline was due, or which one is due
    /// again and again.
    fn finish_turn(&mut self) -> Result<usize, String> {
        let now = self.now();
        let mut wakes = 0;
        for _ in 0..=BUSY_LOOP {
            if self.next_deadline() <= now {
                wakes += 1;
                self.pool().handle_timeout(now);
            }
            self.take_outputs();
            self.flush();
            if self.next_deadline() > now {
                return Ok(wakes);
            }
        }
        Err(format!("{:?} is due again and again", self.pool().poll_timeout()))
    }

    /// Takes some of the bytes that the pool has for a connection, as a socket does.
    fn take_outgoing(&mut self, connection: ConnectionId, count: usize) -> Vec<u8> {
        let bytes = self.pool().outgoing(connection).get(..count).unwrap_or_default().to_vec();
        self.pool().advance(connection, count);
        bytes
    }

    /// Asks something by a text that the pool then forgets.
    fn ask_once<R>(&mut self, sql: &str, ask: impl FnOnce(&mut Self, StatementId) -> R) -> R
    where
        Self: Sized,
    {
        let statement = self.pool().statement(sql);
        let asked = ask(self, statement);
        self.pool().forget(statement);
        asked
    }

    /// An attempt has reached a host. `others` are those that it did not try.
    fn reached(&mut self, id: ConnectionId, host: usize, others: &[usize], nonce: [u8; 18]) {
        let (now, cores) = (self.now(), self.cores());
        let others = others.iter().map(|host| address_of(*host)).collect();
        let pool = self.pool();
        pool.reached(id, address_of(host), others);
        if let Some(cores) = cores {
            pool.shares_cores(id, cores);
        }
        pool.handle_input(
            now,
            id,
            Input::Connected(Peer { nonce, local: true, security: Security::Plain }),
        );
    }

    /// No server listens where an attempt led.
    fn refused(&mut self, id: ConnectionId) {
        let now = self.now();
        let (syscall, address) = ("connect".into(), Some("10.0.0.1".to_owned()));
        let fields =
            SystemFields { errno: Some(-111), syscall, address, port: Some(5432), hostname: None };
        let cause = Error::system("ECONNREFUSED", "connect ECONNREFUSED".to_owned(), fields);
        let why = "ECONNREFUSED".to_owned();
        self.pool().handle_input(now, id, Input::Unreached { why, cause: Some(cause) });
    }

    /// Bytes of a server arrive.
    fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let now = self.now();
        self.pool().handle_input(now, id, Input::Received(bytes));
    }

    /// A connection has ended.
    fn ended(&mut self, id: ConnectionId, why: &str) {
        let now = self.now();
        self.pool().handle_input(now, id, Input::Closed { why: why.to_owned() });
    }
}
