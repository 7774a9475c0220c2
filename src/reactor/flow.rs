//! Bytes from and to the sockets, so many in one turn and no more.
//!
//! The selector is edge-triggered. A socket is readable until a read has found it empty, whatever
//! the selector says later; so one that the budget left undrained stays in the reactor's list, and
//! the next turn follows at once. The same holds for writing.

use std::io::ErrorKind;

use super::links::Token;
use super::system_error::reason;
use super::turn::Reactor;
use crate::base::Instant;
use crate::connection::Input;
use crate::pool::ConnectionId;

/// Bytes read in one turn, from all sockets: a few milliseconds of work.
const READ_BUDGET: usize = 2 * 1024 * 1024;
/// Bytes read from one socket before the others have their turn.
const READ_SHARE: usize = 512 * 1024;
/// What a message takes of these beside its bytes, where it is an answer's end or news that
/// somebody hears. So no more than some 2,000 of them come in one turn.
const MESSAGE: usize = 1024;
/// So much is read at once of a socket that brought many such messages before: all that was read is
/// taken in one turn.
const SMALL_READ: usize = 8 * 1024;

/// Bytes written to one socket in one turn. The kernel's buffer is smaller, unless the server reads
/// as fast as this writes.
const WRITE_SHARE: usize = 1024 * 1024;

/// How a socket was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing to do until the selector names it again.
    Drained,
    /// There is more.
    Unfinished,
    Closed,
}

impl Reactor {
    /// Reads the sockets that may have something, each at most once. Returns whether one had, or
    /// has ended.
    pub(super) fn read(&mut self, now: Instant) -> bool {
        let mut budget = READ_BUDGET;
        let mut ended = false;
        for _ in 0..self.unread.len() {
            if budget == 0 {
                break;
            }
            let Some(token) = self.unread.pop_front() else { break };
            let before = budget;
            let left = self.read_socket(now, token, &mut budget);
            ended |= left == Left::Closed;
            if let Some(stream) = self.links.stream(token) {
                stream.listed = left == Left::Unfinished;
                if stream.listed {
                    self.unread.push_back(token);
                }
            }
            self.settle(now);
            if left == Left::Drained {
                self.note_answered(token);
                self.set_low_water(now, token, budget < before);
            }
        }
        ended || budget < READ_BUDGET
    }

    fn read_socket(&mut self, now: Instant, token: Token, budget: &mut usize) -> Left {
        let mut share = READ_SHARE.min(*budget);
        while share > 0 {
            let Some(stream) = self.links.stream(token) else { return Left::Closed };
            let connection = stream.connection;
            let whole = self.buffer.len();
            let size = if stream.brings_messages { SMALL_READ.min(whole) } else { whole };
            let buffer = self.buffer.get_mut(..size).unwrap_or_default();
            match stream.socket.read(buffer) {
                Ok(0) => {
                    let why = stream.broken.take();
                    let why = why.unwrap_or_else(|| "the server closed the connection".to_owned());
                    return self.close(now, connection, why);
                }
                Ok(count) => {
                    let is_last = count < size && !stream.ending;
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    self.pool.handle_input(now, connection, Input::Received(bytes));
                    let labour = MESSAGE * self.pool.take_laborious(connection);
                    share = share.saturating_sub(count + labour);
                    *budget = budget.saturating_sub(count + labour);
                    if let Some(stream) = self.links.stream(token) {
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

    fn is_broken(&mut self, token: Token) -> bool {
        self.links.stream(token).is_some_and(|stream| stream.broken.is_some())
    }

    fn close(&mut self, now: Instant, connection: ConnectionId, why: String) -> Left {
        self.links.close(connection, &[]);
        self.pool.handle_input(now, connection, Input::Closed { why });
        Left::Closed
    }

    /// Writes to the sockets that have something to send and can take it, each at most once.
    pub(super) fn write(&mut self, now: Instant) {
        for _ in 0..self.unwritten.len() {
            let Some(token) = self.unwritten.pop_front() else { break };
            let left = self.write_socket(token);
            self.watch_window(now, token);
            match left {
                Left::Drained => self.expect_answer(now, token),
                Left::Unfinished => self.unwritten.push_back(token),
                Left::Closed => {}
            }
        }
    }

    fn write_socket(&mut self, token: Token) -> Left {
        let mut share = WRITE_SHARE;
        while share > 0 {
            let Some(stream) = self.links.stream(token) else { return Left::Closed };
            let bytes = self.pool.outgoing(stream.connection);
            if bytes.is_empty() || stream.blocked || stream.broken.is_some() {
                return Left::Drained;
            }
            let (connection, length) = (stream.connection, bytes.len());
            match stream.socket.write(bytes) {
                Ok(count) => {
                    self.pool.advance(connection, count);
                    stream.unanswered = stream.unanswered.saturating_add(count);
                    share = share.saturating_sub(count);
                    if count < length {
                        self.links.set_blocked(token, true);
                        return Left::Drained;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.links.set_blocked(token, true);
                    return Left::Drained;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    stream.broken = Some(reason(&error));
                    self.list_unread(token, true);
                    return Left::Closed;
                }
            }
        }
        Left::Unfinished
    }
}
