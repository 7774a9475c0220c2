//! The pool and its sockets: moves bytes between them, within a bound for each turn, and carries
//! out the pool's commands.
//!
//! The selector is edge-triggered: it reports once that a socket is readable, and not again before
//! a read has found the socket empty. So a socket that the budget left unread stays in the
//! reactor's list, and the next turn follows at once. Writing works in the same way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::closed_window::{TcpCalls, Windows};
use super::libuv::{Loop, Wake};
use super::low_water::{LowWater, SetLowWater, is_low};
use super::passwords::Passwords;
use super::socket::{PrepareSocket, Ready, Token};
use super::sockets::{Lookup, Opened, Sockets, Stream};
use super::system_error::{Unreached, reason};
use super::transport::Transport;
use crate::base::{Error, Instant};
use crate::config::Secret;
use crate::connection::{Input, Peer};
use crate::pool::{ConnectionId, Output, Pool, PoolEvent, Response, Trace};
use crate::tls::Failure;

/// How many bytes one turn reads from all sockets: a few milliseconds of work.
const READ_BUDGET: usize = 2 * 1024 * 1024;
/// How many bytes are read from one socket before other sockets are read.
const READ_SHARE: usize = 512 * 1024;
/// How many bytes of these budgets a message takes in addition to its own bytes, if it ends an
/// answer or becomes an event. So one turn handles at most some 2,000 messages of this kind.
const MESSAGE: usize = 1024;
/// How many bytes one read takes from a socket that has brought many such messages before. All
/// bytes of a read are handled in one turn.
const SMALL_READ: usize = 8 * 1024;

/// How many bytes are written to one socket in one turn. The kernel's buffer is smaller, unless the
/// server reads as fast as this client writes.
const WRITE_SHARE: usize = 1024 * 1024;

/// The most bytes that one read takes. Most answers are smaller.
const BUFFER: usize = 64 * 1024;

/// System calls that socket2 lacks. `None` for each call that the system may not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemCalls {
    pub low_water: Option<SetLowWater>,
    pub tcp: Option<TcpCalls>,
    pub prepare: Option<PrepareSocket>,
}

/// What the reactor has to report to `node`.
#[derive(Debug)]
pub enum ReactorEvent {
    Completed {
        request: u32,
        result: Result<Response, Error>,
    },
    Traced {
        request: u32,
        trace: Trace,
    },
    Types {
        request: u32,
        oids: Vec<u32>,
    },
    Event(PoolEvent),
    Lookup(Lookup),
    /// JavaScript is to call the function of the option `ssl`.
    Ssl {
        question: u32,
    },
    /// The function of the option `password` is to be asked, for a login at this host.
    Password {
        question: u32,
        host: Arc<str>,
    },
    /// A defect was found during some work. The reactor does nothing more, and all requests without
    /// an answer have failed.
    Poisoned(Error),
}

/// The pool, its sockets, and events that `node` has not taken yet.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) pool: Pool,
    pub(super) sockets: Sockets,
    passwords: Passwords,
    /// Sockets whose connections have bytes to write.
    unwritten: VecDeque<Token>,
    /// All sockets are read into this one buffer. The pool copies the bytes that it keeps.
    buffer: Box<[u8]>,
    pub(super) low_water: LowWater,
    pub(super) windows: Windows,
    ready: Vec<Ready>,
    pub(super) events: VecDeque<ReactorEvent>,
}

/// The state of a socket after it was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing to do until the selector reports the socket again.
    Drained,
    /// There is more to read or to write.
    Unfinished,
    Closed,
}

impl Io {
    pub(super) fn new(
        pool: Pool,
        sockets: Sockets,
        passwords: Passwords,
        windows: Windows,
    ) -> Self {
        Self {
            pool,
            sockets,
            passwords,
            unwritten: VecDeque::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            low_water: LowWater::default(),
            windows,
            ready: Vec::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn attach(
        &mut self,
        uv_loop: Loop,
        wake: &Wake,
        calls: SystemCalls,
    ) -> io::Result<()> {
        self.low_water.attach(calls.low_water);
        self.windows.tcp = calls.tcp;
        self.sockets.attach(uv_loop, wake, calls.prepare)
    }

    /// Whether every socket was read until it was empty.
    pub(super) fn is_read(&self) -> bool {
        self.sockets.unread() == 0 && !self.sockets.has_handshakes()
    }

    /// Whether a socket may hold bytes to read, or has bytes to write.
    pub(super) fn has_work(&self) -> bool {
        !self.is_read() || !self.unwritten.is_empty()
    }

    /// Closes all sockets, and forgets what was left to do with them.
    pub(super) fn close_all(&mut self) {
        let connections: Vec<_> = self.sockets.connections();
        connections.into_iter().for_each(|connection| self.sockets.close(connection, &[]));
        self.sockets.drop_cancel_requests();
        self.sockets.forget_unread();
        self.unwritten.clear();
    }

    pub(super) fn deadline(&mut self) -> Option<Instant> {
        let pool = self.pool.poll_timeout().map(|(at, _)| at);
        let sockets = self.low_water.deadline().into_iter().chain(self.windows.deadline());
        pool.into_iter().chain(self.sockets.deadline()).chain(sockets).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.sockets.handle_timeout(now);
        self.windows.check(now, &mut self.sockets);
        self.pool.handle_timeout(now);
    }

    /// Handles the bytes that have come since the last read, within bounds. With `wholly`, this
    /// includes bytes that the kernel holds back below a low-water mark, and sockets that were not
    /// reported yet.
    pub(super) fn catch_up(&mut self, now: Instant, wholly: bool, is_due: bool) {
        let counts = wholly || is_due;
        if self.low_water.is_due(now) || (counts && self.low_water.holds_back()) {
            self.low_water.look_below(&mut self.sockets);
        }
        if wholly || !self.read_single_socket(now) {
            self.look(now);
            self.carry(now);
            self.read(now);
            self.shake(now);
        }
    }

    /// Continues the TLS handshakes, after the sockets of sessions.
    fn shake(&mut self, now: Instant) {
        if self.sockets.has_handshakes() {
            self.sockets.shake(&mut self.buffer);
            self.carry(now);
        }
    }

    /// With a single socket, most wakes are for an answer on it, so it is read without asking the
    /// selector. Returns whether there was anything to read.
    fn read_single_socket(&mut self, now: Instant) -> bool {
        let Some(token) = self.sockets.single_socket() else { return false };
        let is_lowered = |stream: &mut Stream| is_low(stream) && !stream.blocked;
        if !self.sockets.stream(token).is_some_and(is_lowered) {
            return false;
        }
        self.sockets.list_unread(token, false);
        self.read(now)
    }

    /// Asks the selector which sockets are ready.
    pub(super) fn look(&mut self, now: Instant) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        // Only a defect can make the selector's own descriptor fail. The waiting calls then fail at
        // their deadlines.
        let looked = self.sockets.collect(&mut ready);
        debug_assert!(looked.is_ok(), "{looked:?}");
        for event in &ready {
            if self.sockets.is_cancel_request(event.token) {
                self.sockets.handle_cancel_request(event.token);
                continue;
            }
            if self.sockets.is_opening(event.token) {
                self.sockets.handle_opening(now, event.token, event.closed);
                // The selector will not report this readiness a second time.
                if self.sockets.is_open(event.token) {
                    self.sockets.list_unread(event.token, event.closed);
                }
                continue;
            }
            if event.writable {
                self.sockets.set_blocked(event.token, false);
                self.unwritten.push_back(event.token);
            }
            if event.readable || event.closed {
                self.sockets.list_unread(event.token, event.closed);
            }
        }
        self.ready = ready;
    }

    /// Moves messages between the pool and its sockets until neither has any. Returns whether the
    /// pool has learned that an attempt to connect or to cancel is over, so that it may have more
    /// to do.
    pub(super) fn carry(&mut self, now: Instant) -> bool {
        let mut has_heard = false;
        loop {
            while let Some(output) = self.pool.poll_output() {
                self.handle_output(now, output);
            }
            if let Some(cancel_request) = self.sockets.next_cancel_request() {
                has_heard = true;
                self.pool.cancel_ended(now, cancel_request.connection, cancel_request.reached);
            } else if let Some(opened) = self.sockets.next_opened() {
                has_heard |= !matches!(opened, Opened::Connected { .. });
                self.handle_opened(now, opened);
            } else {
                break;
            }
        }
        while let Some(lookup) = self.sockets.next_lookup() {
            self.events.push_back(ReactorEvent::Lookup(lookup));
        }
        if let Some(question) = self.sockets.next_question() {
            self.events.push_back(ReactorEvent::Ssl { question });
        }
        has_heard
    }

    fn handle_output(&mut self, now: Instant, output: Output) {
        match output {
            Output::Open { connection, host, address, last } => {
                self.sockets.open(now, connection, &host, address, last);
            }
            Output::Write { connection } => self.unwritten.extend(self.sockets.token(connection)),
            Output::Close { connection, terminate } => {
                self.passwords.forget(connection);
                self.sockets.close(connection, &terminate);
            }
            Output::Cancel { connection, packet } => {
                self.sockets.send_cancel_request(now, connection, packet);
            }
            Output::Completed { request, result } => {
                self.events.push_back(ReactorEvent::Completed { request, result });
            }
            Output::Traced { request, trace } => {
                self.events.push_back(ReactorEvent::Traced { request, trace });
            }
            Output::Types { request, oids } => {
                self.events.push_back(ReactorEvent::Types { request, oids })
            }
            Output::Event(event) => self.events.push_back(ReactorEvent::Event(event)),
        }
    }

    fn handle_opened(&mut self, now: Instant, opened: Opened) {
        let (connection, input) = match opened {
            Opened::Connected { connection, local, others, security } => {
                self.low_water.share_cores(connection, &self.sockets, &mut self.pool);
                if let Some(address) = self.sockets.address(connection) {
                    self.pool.reached(connection, address, others);
                }
                let mut nonce = [0; 18];
                match getrandom::fill(&mut nonce) {
                    Ok(()) => {
                        let peer = Peer { nonce, local, security };
                        if self.passwords.is_asked {
                            return self.ask_password(connection, peer);
                        }
                        (connection, Input::Connected(peer))
                    }
                    Err(error) => {
                        self.sockets.close(connection, &[]);
                        let why = format!("the system gives no random numbers: {error}");
                        (connection, Input::Closed { why })
                    }
                }
            }
            Opened::Failed { connection, unreached: Unreached { why, cause } } => {
                (connection, Input::Unreached { why, cause })
            }
            Opened::Insecure { connection, why } => (connection, Input::Insecure { why }),
        };
        self.pool.handle_input(now, connection, input);
    }

    /// Lets a login wait for its password. Its deadline holds meanwhile.
    fn ask_password(&mut self, connection: ConnectionId, peer: Peer) {
        if let Some(host) = self.pool.host_of(connection) {
            let question = self.passwords.ask(connection, peer);
            self.events.push_back(ReactorEvent::Password { question, host });
        }
    }

    /// Takes the answer to a [`ReactorEvent::Password`], or why there is none. It has no effect if
    /// nobody waits for it any longer.
    pub(super) fn answer_password(
        &mut self,
        now: Instant,
        question: u32,
        answer: Result<Secret, String>,
    ) {
        let Some((connection, peer)) = self.passwords.answered(question) else { return };
        let input = match answer {
            Ok(password) => {
                self.pool.set_password(connection, password);
                Input::Connected(peer)
            }
            Err(why) => Input::NoPassword { why },
        };
        self.pool.handle_input(now, connection, input);
    }

    /// Reads the sockets that may have bytes, each at most once. Returns whether any socket had
    /// bytes or has ended.
    pub(super) fn read(&mut self, now: Instant) -> bool {
        let mut budget = READ_BUDGET;
        let mut ended = false;
        for _ in 0..self.sockets.unread() {
            if budget == 0 {
                break;
            }
            let Some(token) = self.sockets.next_unread() else { break };
            let before = budget;
            let left = self.read_socket(now, token, &mut budget);
            ended |= left == Left::Closed;
            self.sockets.was_read(token, left == Left::Unfinished);
            self.carry(now);
            if left == Left::Drained {
                self.note_answered(token);
                let moves = budget < before;
                self.low_water.after_read(now, token, moves, &mut self.sockets, &self.pool);
            }
        }
        ended || budget < READ_BUDGET
    }

    fn read_socket(&mut self, now: Instant, token: Token, budget: &mut usize) -> Left {
        let mut share = READ_SHARE.min(*budget);
        while share > 0 {
            let Some(stream) = self.sockets.stream(token) else { return Left::Closed };
            let connection = stream.connection;
            let whole = self.buffer.len();
            let size = if stream.brings_messages { SMALL_READ.min(whole) } else { whole };
            let Some(begin) = stream.transport.put_rest(&mut self.buffer) else {
                return self.close(now, connection, "a record of TLS is too long".to_owned());
            };
            // The bound applies to what is read now. The rest of a record must not be read in small
            // pieces.
            let size = begin.saturating_add(size).min(whole);
            let buffer = self.buffer.get_mut(begin..size).unwrap_or_default();
            let room = buffer.len();
            match stream.socket.read(buffer) {
                Ok(0) => {
                    let why = stream.broken.take();
                    let why = why.unwrap_or_else(|| "the server closed the connection".to_owned());
                    return self.close(now, connection, why);
                }
                Ok(count) => {
                    let is_last = count < room && !stream.ending;
                    let bytes = self.buffer.get_mut(..begin + count).unwrap_or_default();
                    let pool = &mut self.pool;
                    let received = stream.transport.receive(bytes, |bytes| {
                        pool.handle_input(now, connection, Input::Received(bytes));
                    });
                    match received {
                        Ok(false) => {}
                        Ok(true) => {
                            let why = "the server closed the connection".to_owned();
                            return self.close(now, connection, why);
                        }
                        Err(failure) => {
                            // The TLS alert, which the server's log shows.
                            drop(stream.transport.flush(&stream.socket));
                            let Failure { is_final, why } = failure;
                            let input = match is_final {
                                true => Input::Insecure { why },
                                false => Input::Closed { why },
                            };
                            return self.end(now, connection, input);
                        }
                    }
                    let labour = MESSAGE * self.pool.take_laborious(connection);
                    share = share.saturating_sub(count + labour);
                    *budget = budget.saturating_sub(count + labour);
                    if let Some(stream) = self.sockets.stream(token) {
                        stream.brings_messages = labour > READ_SHARE / 2
                            || (stream.brings_messages && labour > READ_SHARE / 16);
                    }
                    if is_last && !self.is_broken(token) {
                        return Left::Drained;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return match stream.broken.take() {
                        Some(why) => self.close(now, connection, why),
                        None => Left::Drained,
                    };
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.close(now, connection, reason(&error)),
            }
        }
        Left::Unfinished
    }

    /// Notes that all requests on a socket are answered. Called for a socket that was read until it
    /// was empty.
    fn note_answered(&mut self, token: Token) {
        if let Some(stream) = self.sockets.stream(token)
            && stream.unanswered > 0
            && !self.pool.waits_for(stream.connection)
        {
            stream.unanswered = 0;
        }
    }

    fn is_broken(&mut self, token: Token) -> bool {
        self.sockets.stream(token).is_some_and(|stream| stream.broken.is_some())
    }

    fn close(&mut self, now: Instant, connection: ConnectionId, why: String) -> Left {
        self.end(now, connection, Input::Closed { why })
    }

    fn end(&mut self, now: Instant, connection: ConnectionId, input: Input<'_>) -> Left {
        self.sockets.close(connection, &[]);
        self.pool.handle_input(now, connection, input);
        Left::Closed
    }

    /// Writes to the sockets that accept bytes and have bytes to send, each at most once.
    pub(super) fn write(&mut self, now: Instant) {
        for _ in 0..self.unwritten.len() {
            let Some(token) = self.unwritten.pop_front() else { break };
            let left = self.write_socket(token);
            self.windows.watch(now, token, &mut self.sockets);
            match left {
                Left::Drained => {
                    self.low_water.expect_answer(now, token, &mut self.sockets, &mut self.pool);
                }
                Left::Unfinished => self.unwritten.push_back(token),
                Left::Closed => {}
            }
        }
    }

    fn write_socket(&mut self, token: Token) -> Left {
        let mut share = WRITE_SHARE;
        while share > 0 {
            let Some(stream) = self.sockets.stream(token) else { return Left::Closed };
            if stream.blocked || stream.broken.is_some() {
                return Left::Drained;
            }
            match stream.transport.flush(&stream.socket) {
                Ok(true) => {}
                Ok(false) => {
                    self.sockets.set_blocked(token, true);
                    return Left::Drained;
                }
                Err(why) => return self.broke(token, why),
            }
            let bytes = self.pool.outgoing(stream.connection);
            if bytes.is_empty() {
                return Left::Drained;
            }
            let (connection, length) = (stream.connection, bytes.len());
            if let Transport::Tls(sealed) = &mut stream.transport {
                match Transport::seal(sealed, bytes) {
                    Ok(count) => {
                        self.pool.advance(connection, count);
                        stream.unanswered = stream.unanswered.saturating_add(count);
                        share = share.saturating_sub(count);
                    }
                    Err(why) => return self.broke(token, why),
                }
                continue;
            }
            match stream.socket.write(bytes) {
                Ok(count) => {
                    self.pool.advance(connection, count);
                    stream.unanswered = stream.unanswered.saturating_add(count);
                    share = share.saturating_sub(count);
                    if count < length {
                        self.sockets.set_blocked(token, true);
                        return Left::Drained;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.sockets.set_blocked(token, true);
                    return Left::Drained;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.broke(token, reason(&error)),
            }
        }
        Left::Unfinished
    }

    /// Notes that the socket accepts no more bytes. The server's last messages are read first.
    fn broke(&mut self, token: Token, why: String) -> Left {
        if let Some(stream) = self.sockets.stream(token) {
            stream.broken = Some(why);
        }
        self.sockets.list_unread(token, true);
        Left::Closed
    }
}
