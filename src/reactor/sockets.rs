//! The way from a host to a connected socket: look-ups, races of addresses, and which socket
//! belongs to which connection.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cancel_requests::{CancelRequests, Ended};
use super::clock::{self, Clock};
use super::libuv::{Loop, Wake};
use super::race::Race;
use super::readiness::Readiness;
use super::socket::{Options, PrepareSocket, Progress, Ready, Socket, Target, Token};
use super::system_error::{Unreached, not_started};
use super::transport::Transport;
use crate::base::{Error, Instant};
use crate::config::{Config, Endpoint, Host};
use crate::connection::Security;
use crate::pool::ConnectionId;
use crate::tls::{Facts, Negotiation, Trust};

mod asking;
mod securing;

use asking::Questions;

/// How long the handshakes of one turn may take together. The handshake that exceeds this time is
/// finished, and the others continue in the next turn, which follows at once.
const HANDSHAKES: Duration = Duration::from_millis(1);

/// A name that has to be looked up for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub token: u32,
    pub name: String,
}

/// The result of opening a connection.
#[derive(Debug)]
pub(super) enum Opened {
    /// `others` are the addresses of the look-up that have not failed.
    Connected {
        connection: ConnectionId,
        local: bool,
        others: Vec<SocketAddr>,
        security: Security,
    },
    Failed {
        connection: ConnectionId,
        unreached: Unreached,
    },
    /// The connection could not be encrypted as the options require.
    Insecure {
        connection: ConnectionId,
        why: String,
    },
}

/// A socket and what is known about it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: Socket,
    pub(super) transport: Transport,
    pub(super) connection: ConnectionId,
    target: Target,
    host: Arc<Host>,
    /// Whether the socket is in the list of sockets to read.
    listed: bool,
    /// The system has reported the end of the stream, so a short read does not mean that the socket
    /// is empty.
    pub(super) ending: bool,
    /// The kernel accepts no more bytes until it reports that the socket is writable.
    pub(super) blocked: bool,
    /// The kernel reports the socket as readable once it has this many bytes.
    pub(super) low_water: usize,
    /// The socket is read because its low-water mark was not reached in time.
    pub(super) overdue: bool,
    /// Many of the last bytes were messages that take more work than their size suggests.
    pub(super) brings_messages: bool,
    /// How many bytes were written since the server had last answered all requests.
    pub(super) unanswered: usize,
    /// Whether the kernel is asked each second if the server's host is alive (`closed_window`).
    pub(super) watched: bool,
    /// Why a write failed. The server's last messages are read first, since they tell more.
    pub(super) broken: Option<String>,
}

impl Stream {
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.target, Target::Ip(_))
    }
}

/// How far a connection has been opened.
#[derive(Debug)]
enum Opening {
    Resolving {
        lookup: u32,
        host: Arc<Host>,
        port: u16,
        last: Vec<SocketAddr>,
    },
    Racing {
        race: Race,
        host: Arc<Host>,
        attempts: Vec<(Token, Target)>,
    },
    /// The race is won. The function of the option `ssl` has not answered yet.
    Asking {
        token: Token,
        question: u32,
        others: Vec<SocketAddr>,
    },
    /// The race is won. The stream is being encrypted.
    Securing {
        token: Token,
        negotiation: Box<Negotiation>,
        others: Vec<SocketAddr>,
    },
}

#[derive(Debug)]
pub(super) struct Sockets {
    readiness: Readiness,
    options: Options,
    opening: BTreeMap<ConnectionId, Opening>,
    open: BTreeMap<ConnectionId, Token>,
    streams: BTreeMap<Token, Stream>,
    cancel_requests: CancelRequests,
    /// Sockets that may hold unread bytes. The selector will not report them again.
    unread: VecDeque<Token>,
    opened: VecDeque<Opened>,
    lookups: VecDeque<Lookup>,
    /// `None` if TLS is never used, or before the function of the option `ssl` has answered.
    trust: Option<Trust>,
    /// `None` if the option `ssl` is not a function.
    questions: Option<Questions>,
    /// How the last session with TLS was encrypted, by the names of hosts. From then on, plain text
    /// is refused for that host.
    encrypted: BTreeMap<Arc<str>, Facts>,
    /// Sockets whose negotiation can continue.
    handshakes: VecDeque<Token>,
    /// How long the handshakes of one turn may take together.
    handshakes_may_take: Duration,
    clock: Clock,
    last_token: Token,
    last_lookup: u32,
}

impl Sockets {
    pub(super) fn new(config: &Config, clock: Clock) -> Result<Self, Error> {
        let readiness = Readiness::new().map_err(|error| not_started(&error))?;
        Ok(Self {
            readiness,
            options: Options::new(config),
            opening: BTreeMap::new(),
            open: BTreeMap::new(),
            streams: BTreeMap::new(),
            cancel_requests: CancelRequests::new(config.connect_timeout),
            unread: VecDeque::new(),
            opened: VecDeque::new(),
            lookups: VecDeque::new(),
            trust: match config.tls.is_asked {
                true => None,
                false => Trust::new(&config.tls, clock::of_certificates())?,
            },
            questions: config.tls.is_asked.then(Questions::default),
            encrypted: BTreeMap::new(),
            handshakes_may_take: HANDSHAKES,
            handshakes: VecDeque::new(),
            clock,
            last_token: 0,
            last_lookup: 0,
        })
    }

    pub(super) fn attach(
        &mut self,
        uv_loop: Loop,
        wake: &Wake,
        prepare: Option<PrepareSocket>,
    ) -> io::Result<()> {
        self.options.prepare = prepare;
        self.readiness.attach(uv_loop, wake)
    }

    pub(super) fn set_referenced(&mut self, referenced: bool) {
        self.readiness.set_referenced(referenced);
    }

    /// Never waits.
    pub(super) fn collect(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.readiness.collect(ready)
    }

    /// Begins to connect. An [`Opened`] reports the result, unless the connection is closed before.
    pub(super) fn open(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        host: &Arc<Host>,
        address: Option<SocketAddr>,
        last: Vec<SocketAddr>,
    ) {
        if let Some(address) = address {
            return self.start_race(now, connection, host, vec![Target::Ip(address)], &[]);
        }
        let target = match &host.endpoint {
            Endpoint::Ip(address) | Endpoint::Pinned { address, .. } => Target::Ip(*address),
            Endpoint::Unix { path } => Target::Unix(path.clone().into_bytes()),
            Endpoint::Abstract { name } => Target::Unix([b"\0", name.as_slice()].concat()),
            Endpoint::Name { name, port } => {
                self.last_lookup = self.last_lookup.wrapping_add(1);
                let (lookup, port, host) = (self.last_lookup, *port, Arc::clone(host));
                let resolving = Opening::Resolving { lookup, host, port, last };
                self.opening.insert(connection, resolving);
                self.lookups.push_back(Lookup { token: lookup, name: name.clone() });
                return;
            }
        };
        self.start_race(now, connection, host, vec![target], &[]);
    }

    /// Takes the answer to a [`Lookup`]. It has no effect if its connection no longer waits for it.
    pub(super) fn resolved(
        &mut self,
        now: Instant,
        token: u32,
        answer: Result<Vec<SocketAddr>, Unreached>,
    ) {
        let waiting = self.opening.iter_mut().find_map(|(connection, opening)| match opening {
            Opening::Resolving { lookup, host, port, last } if *lookup == token => {
                Some((*connection, Arc::clone(host), *port, std::mem::take(last)))
            }
            _ => None,
        });
        let Some((connection, host, port, last)) = waiting else { return };
        match answer {
            Ok(addresses) => {
                let target = |mut address: SocketAddr| {
                    address.set_port(port);
                    Target::Ip(address)
                };
                let targets = addresses.into_iter().map(target).collect();
                self.start_race(now, connection, &host, targets, &last);
            }
            Err(unreached) => self.fail(connection, unreached),
        }
    }

    pub(super) fn next_lookup(&mut self) -> Option<Lookup> {
        self.lookups.pop_front()
    }

    pub(super) fn next_opened(&mut self) -> Option<Opened> {
        self.opened.pop_front()
    }

    /// When the next address of a race is due, or a cancel request reaches its time limit.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let racing = self.opening.values().filter_map(|opening| match opening {
            Opening::Racing { race, .. } => race.deadline(),
            Opening::Resolving { .. } | Opening::Asking { .. } | Opening::Securing { .. } => None,
        });
        racing.chain(self.cancel_requests.deadline()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let racing: Vec<_> = self.opening.keys().copied().collect();
        racing.into_iter().for_each(|connection| self.run_race(now, connection));
        for token in self.cancel_requests.overdue(now) {
            self.finish_cancel_request(token, false);
        }
    }

    /// Sends a packet on a connection of its own, to the address that `connection` has reached.
    /// [`Self::next_cancel_request`] reports the result.
    pub(super) fn send_cancel_request(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        packet: Vec<u8>,
    ) {
        let stream = self.token(connection).and_then(|token| self.streams.get(&token));
        let Some(stream) = stream else { return self.cancel_requests.fail(connection) };
        // A cancel request uses TLS if its session does, and checks that the server has the same
        // name.
        let negotiation = match &self.trust {
            Some(trust) if stream.transport.is_encrypted() => trust.again(&stream.host),
            _ => Ok(None),
        };
        let socket = Socket::connect(&stream.target, &self.options);
        let (Ok((socket, _)), Ok(negotiation)) = (socket, negotiation) else {
            return self.cancel_requests.fail(connection);
        };
        self.last_token = self.last_token.wrapping_add(1);
        let token = self.last_token;
        if self.readiness.watch(&socket, token).is_err() {
            return self.cancel_requests.fail(connection);
        }
        self.cancel_requests.begin(now, token, connection, socket, negotiation, packet);
        // If a connect succeeds at once, the selector does not report it.
        self.handle_cancel_request(token);
    }

    pub(super) fn is_cancel_request(&self, token: Token) -> bool {
        self.cancel_requests.contains(token)
    }

    /// A request whose connection still has to be encrypted waits until there is time in a turn.
    pub(super) fn handle_cancel_request(&mut self, token: Token) {
        if self.cancel_requests.is_securing(token) {
            return self.list_handshake(token);
        }
        if let Some(reached) = self.cancel_requests.advance(token) {
            self.finish_cancel_request(token, reached);
        }
    }

    pub(super) fn next_cancel_request(&mut self) -> Option<Ended> {
        self.cancel_requests.next_ended()
    }

    pub(super) fn drop_cancel_requests(&mut self) {
        for token in self.cancel_requests.clear() {
            self.readiness.forget(token);
        }
    }

    fn finish_cancel_request(&mut self, token: Token, reached: bool) {
        self.readiness.forget(token);
        self.cancel_requests.finish(token, reached);
    }

    /// Whether the socket belongs to a connection that is still being opened.
    pub(super) fn is_opening(&self, token: Token) -> bool {
        self.streams.get(&token).is_some_and(|stream| !self.is_open_for(stream.connection, token))
    }

    /// The only socket, if every wake must be for it, so that the selector need not be asked.
    pub(super) fn single_socket(&self) -> Option<Token> {
        let (token, stream) = self.streams.first_key_value()?;
        let is_alone = self.streams.len() == 1 && self.cancel_requests.is_empty();
        let is_meant = is_alone && self.is_open_for(stream.connection, *token);
        (Readiness::LOOKS_AGAIN && is_meant).then_some(*token)
    }

    pub(super) fn is_open(&self, token: Token) -> bool {
        self.streams.get(&token).is_some_and(|stream| self.is_open_for(stream.connection, token))
    }

    /// Handles progress in a socket's connect or negotiation. `ending` means that the system has
    /// reported the end of its stream, which it does only once.
    pub(super) fn handle_opening(&mut self, now: Instant, token: Token, ending: bool) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        stream.ending |= ending;
        let connection = stream.connection;
        let (race, attempts) = match self.opening.get_mut(&connection) {
            Some(Opening::Racing { race, attempts, .. }) => (race, attempts),
            Some(Opening::Securing { .. }) => return self.list_handshake(token),
            // The bytes that have arrived are read once the question is answered.
            Some(Opening::Resolving { .. } | Opening::Asking { .. }) | None => return,
        };
        let Some(place) = attempts.iter().position(|(attempt, _)| *attempt == token) else {
            return;
        };
        match stream.socket.progress() {
            Ok(Progress::Connecting) => {}
            Ok(Progress::Connected) => {
                let (_, target) = attempts.swap_remove(place);
                self.win(connection, token, &target);
            }
            Err(error) => {
                let (_, target) = attempts.swap_remove(place);
                race.fail(target, error, now);
                self.drop_stream(token);
                self.run_race(now, connection);
            }
        }
    }

    /// The socket of an open connection.
    pub(super) fn token(&self, connection: ConnectionId) -> Option<Token> {
        self.open.get(&connection).copied()
    }

    pub(super) fn stream(&mut self, token: Token) -> Option<&mut Stream> {
        self.streams.get_mut(&token)
    }

    /// Adds a socket that may hold bytes to the list for reading. `ending` means that the system
    /// has reported the end of its stream.
    pub(super) fn list_unread(&mut self, token: Token, ending: bool) {
        if let Some(stream) = self.streams.get_mut(&token) {
            stream.ending |= ending;
            if !stream.listed {
                stream.listed = true;
                self.unread.push_back(token);
            }
        }
    }

    pub(super) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// The next socket to read. Afterwards the caller calls [`Self::was_read`].
    pub(super) fn next_unread(&mut self) -> Option<Token> {
        self.unread.pop_front()
    }

    /// Notes that a socket was read. `more` means that it may hold more bytes.
    pub(super) fn was_read(&mut self, token: Token, more: bool) {
        if let Some(stream) = self.streams.get_mut(&token) {
            stream.listed = more;
            if more {
                self.unread.push_back(token);
            }
        }
    }

    pub(super) fn forget_unread(&mut self) {
        self.unread.clear();
    }

    /// Records whether the kernel accepts more bytes.
    pub(super) fn set_blocked(&mut self, token: Token, blocked: bool) {
        if let Some(stream) = self.streams.get_mut(&token)
            && stream.blocked != blocked
        {
            stream.blocked = blocked;
            self.readiness.want_write(&stream.socket, token, blocked);
        }
    }

    /// All connections, those being opened and those that are open.
    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        self.opening.keys().chain(self.open.keys()).copied().collect()
    }

    /// Closes a connection at any stage, with everything that was started for it.
    pub(super) fn close(&mut self, connection: ConnectionId, terminate: &[u8]) {
        match self.opening.remove(&connection) {
            Some(Opening::Racing { attempts, .. }) => {
                attempts.into_iter().for_each(|(token, _)| self.drop_stream(token));
            }
            Some(Opening::Asking { token, .. } | Opening::Securing { token, .. }) => {
                self.drop_stream(token);
            }
            Some(Opening::Resolving { .. }) | None => {}
        }
        if let Some(token) = self.open.remove(&connection) {
            if let Some(Stream { socket, transport, .. }) = self.streams.get_mut(&token)
                && !terminate.is_empty()
            {
                transport.write_last(socket, terminate);
            }
            self.drop_stream(token);
        }
    }

    fn is_open_for(&self, connection: ConnectionId, token: Token) -> bool {
        self.open.get(&connection) == Some(&token)
    }

    fn start_race(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        host: &Arc<Host>,
        targets: Vec<Target>,
        last: &[SocketAddr],
    ) {
        let race = Race::new(targets, last, now);
        let host = Arc::clone(host);
        self.opening.insert(connection, Opening::Racing { race, host, attempts: Vec::new() });
        self.run_race(now, connection);
    }

    /// Tries every address whose time has come, and ends a race that no address can win.
    fn run_race(&mut self, now: Instant, connection: ConnectionId) {
        loop {
            let Some(Opening::Racing { race, attempts, host }) = self.opening.get_mut(&connection)
            else {
                return;
            };
            let host = Arc::clone(host);
            let Some(target) = race.start_next(now) else {
                if attempts.is_empty() && race.deadline().is_none() {
                    let unreached = race.unreached();
                    self.fail(connection, unreached);
                }
                return;
            };
            match self.start(connection, host, &target) {
                Ok((token, Progress::Connected)) => self.win(connection, token, &target),
                Ok((token, Progress::Connecting)) => {
                    if let Some(Opening::Racing { attempts, .. }) =
                        self.opening.get_mut(&connection)
                    {
                        attempts.push((token, target));
                    }
                }
                Err(error) => {
                    if let Some(Opening::Racing { race, .. }) = self.opening.get_mut(&connection) {
                        race.fail(target, error, now);
                    }
                }
            }
        }
    }

    fn start(
        &mut self,
        connection: ConnectionId,
        host: Arc<Host>,
        target: &Target,
    ) -> io::Result<(Token, Progress)> {
        let (socket, progress) = Socket::connect(target, &self.options)?;
        self.last_token = self.last_token.wrapping_add(1);
        let token = self.last_token;
        self.readiness.watch(&socket, token)?;
        let stream = Stream {
            socket,
            transport: Transport::Plain,
            connection,
            target: target.clone(),
            host,
            listed: false,
            ending: false,
            blocked: true,
            low_water: 1,
            overdue: false,
            brings_messages: false,
            unanswered: 0,
            watched: false,
            broken: None,
        };
        self.streams.insert(token, stream);
        Ok((token, progress))
    }

    fn win(&mut self, connection: ConnectionId, token: Token, target: &Target) {
        let mut others = Vec::new();
        if let Some(Opening::Racing { race, attempts, .. }) = self.opening.remove(&connection) {
            let of = attempts.iter().map(|(_, target)| target).filter(|other| *other != target);
            others = of.chain(race.waiting()).filter_map(Target::ip).collect();
            attempts.into_iter().for_each(|(loser, _)| self.drop_stream(loser));
        }
        self.set_blocked(token, false);
        self.secure(connection, token, others);
    }

    /// The address that an open connection over TCP has reached.
    pub(super) fn address(&self, connection: ConnectionId) -> Option<SocketAddr> {
        let stream = self.open.get(&connection).and_then(|token| self.streams.get(token))?;
        stream.target.ip()
    }

    /// Whether the connection runs over TCP within this machine.
    pub(super) fn is_loopback(&self, connection: ConnectionId) -> bool {
        let stream = self.open.get(&connection).and_then(|token| self.streams.get(token));
        stream.is_some_and(|stream| stream.is_tcp() && stream.target.is_local())
    }

    fn fail(&mut self, connection: ConnectionId, unreached: Unreached) {
        self.opening.remove(&connection);
        self.opened.push_back(Opened::Failed { connection, unreached });
    }

    fn drop_stream(&mut self, token: Token) {
        self.readiness.forget(token);
        self.streams.remove(&token);
    }
}

// On Windows the loop polls the sockets, and a unit test has no loop.
#[cfg(test)]
#[cfg(unix)]
mod tests;
