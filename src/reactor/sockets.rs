//! The way from a host to a connected socket: look-ups, races of addresses, and which socket
//! belongs to which connection.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::cancel_requests::{Ended, Errands};
use super::libuv::{Loop, Wake};
use super::race::Race;
use super::readiness::Readiness;
use super::socket::{Options, PrepareSocket, Progress, Ready, Socket, Target, Token};
use super::system_error::Unreached;
use crate::base::Instant;
use crate::config::{Config, Endpoint, Host};
use crate::pool::ConnectionId;

/// A name for whose addresses a connection waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub token: u32,
    pub name: String,
}

/// The result of opening a connection.
#[derive(Debug)]
pub(super) enum Opened {
    /// `others`: the addresses of the look-up that have not failed.
    Connected {
        connection: ConnectionId,
        local: bool,
        others: Vec<SocketAddr>,
    },
    Failed {
        connection: ConnectionId,
        unreached: Unreached,
    },
}

/// A socket and its state.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: Socket,
    pub(super) connection: ConnectionId,
    target: Target,
    /// The socket is in the list of those to read.
    listed: bool,
    /// The system has reported the end of the stream, so a short read is not the last one.
    pub(super) ending: bool,
    /// The kernel takes no more bytes until it reports that the socket is writable.
    pub(super) blocked: bool,
    /// The kernel reports the socket as readable from this many bytes on.
    pub(super) low_water: usize,
    /// The socket is read because its low-water mark was not reached in time.
    pub(super) overdue: bool,
    /// Many of the last bytes were messages that take more work than their bytes suggest.
    pub(super) brings_messages: bool,
    /// How many bytes were written since the server had last answered everything.
    pub(super) unanswered: usize,
    /// The kernel is asked each second whether the server's host is alive (`closed_window`).
    pub(super) watched: bool,
    /// Why a write failed. The server's last messages are read first, since they say more.
    pub(super) broken: Option<String>,
}

impl Stream {
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.target, Target::Ip(_))
    }
}

/// How far the opening of a connection is.
#[derive(Debug)]
enum Opening {
    Resolving { lookup: u32, port: u16, last: Vec<SocketAddr> },
    Racing { race: Race, runners: Vec<(Token, Target)> },
}

#[derive(Debug)]
pub(super) struct Sockets {
    readiness: Readiness,
    options: Options,
    opening: BTreeMap<ConnectionId, Opening>,
    open: BTreeMap<ConnectionId, Token>,
    streams: BTreeMap<Token, Stream>,
    cancel_requests: Errands,
    /// Sockets that may hold unread bytes. The selector will not report them again.
    unread: VecDeque<Token>,
    opened: VecDeque<Opened>,
    lookups: VecDeque<Lookup>,
    last_token: Token,
    last_lookup: u32,
}

impl Sockets {
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        Ok(Self {
            readiness: Readiness::new()?,
            options: Options::new(config),
            opening: BTreeMap::new(),
            open: BTreeMap::new(),
            streams: BTreeMap::new(),
            cancel_requests: Errands::new(config.connect_timeout),
            unread: VecDeque::new(),
            opened: VecDeque::new(),
            lookups: VecDeque::new(),
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

    /// Begins to connect. An [`Opened`] says how that ended, unless the connection is closed
    /// before.
    pub(super) fn open(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        host: &Host,
        address: Option<SocketAddr>,
        last: Vec<SocketAddr>,
    ) {
        if let Some(address) = address {
            return self.start_race(now, connection, vec![Target::Ip(address)], &[]);
        }
        let target = match &host.endpoint {
            Endpoint::Ip(address) => Target::Ip(*address),
            Endpoint::Unix { path } => Target::Unix(path.clone().into_bytes()),
            Endpoint::Abstract { name } => Target::Unix([b"\0", name.as_slice()].concat()),
            Endpoint::Name { name, port } => {
                self.last_lookup = self.last_lookup.wrapping_add(1);
                let lookup = self.last_lookup;
                self.opening.insert(connection, Opening::Resolving { lookup, port: *port, last });
                self.lookups.push_back(Lookup { token: lookup, name: name.clone() });
                return;
            }
        };
        self.start_race(now, connection, vec![target], &[]);
    }

    /// Takes the answer to a [`Lookup`]. It has no effect if its connection waits no longer.
    pub(super) fn resolved(
        &mut self,
        now: Instant,
        token: u32,
        answer: Result<Vec<IpAddr>, Unreached>,
    ) {
        let waiting = self.opening.iter_mut().find_map(|(connection, opening)| match opening {
            Opening::Resolving { lookup, port, last } if *lookup == token => {
                Some((*connection, *port, std::mem::take(last)))
            }
            Opening::Resolving { .. } | Opening::Racing { .. } => None,
        });
        let Some((connection, port, last)) = waiting else { return };
        match answer {
            Ok(ips) => {
                let target = |ip| Target::Ip(SocketAddr::new(ip, port));
                self.start_race(now, connection, ips.into_iter().map(target).collect(), &last);
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

    /// When the next address of a race is due, or a cancel request has run out of time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let racing = self.opening.values().filter_map(|opening| match opening {
            Opening::Racing { race, .. } => race.deadline(),
            Opening::Resolving { .. } => None,
        });
        racing.chain(self.cancel_requests.deadline()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let racing: Vec<_> = self.opening.keys().copied().collect();
        racing.into_iter().for_each(|connection| self.run_race(now, connection));
        for token in self.cancel_requests.overdue(now) {
            self.finish_errand(token, false);
        }
    }

    /// Sends a packet on a connection of its own, to the address that `connection` has reached.
    /// [`Self::next_cancel_request`] says how that ended.
    pub(super) fn run_errand(&mut self, now: Instant, connection: ConnectionId, packet: Vec<u8>) {
        let stream = self.token(connection).and_then(|token| self.streams.get(&token));
        let socket = stream.map(|stream| Socket::connect(&stream.target, &self.options));
        let Some(Ok((socket, _))) = socket else { return self.cancel_requests.fail(connection) };
        self.last_token = self.last_token.wrapping_add(1);
        let token = self.last_token;
        if self.readiness.watch(&socket, token).is_err() {
            return self.cancel_requests.fail(connection);
        }
        self.cancel_requests.begin(now, token, connection, socket, packet);
        // The selector does not report a connect that has succeeded at once.
        self.handle_errand(token);
    }

    pub(super) fn is_errand(&self, token: Token) -> bool {
        self.cancel_requests.contains(token)
    }

    pub(super) fn handle_errand(&mut self, token: Token) {
        if let Some(reached) = self.cancel_requests.advance(token) {
            self.finish_errand(token, reached);
        }
    }

    pub(super) fn next_cancel_request(&mut self) -> Option<Ended> {
        self.cancel_requests.next_ended()
    }

    pub(super) fn drop_errands(&mut self) {
        for token in self.cancel_requests.clear() {
            self.readiness.forget(token);
        }
    }

    fn finish_errand(&mut self, token: Token, reached: bool) {
        self.readiness.forget(token);
        self.cancel_requests.finish(token, reached);
    }

    /// Whether the socket's connect is still under way.
    pub(super) fn is_runner(&self, token: Token) -> bool {
        self.streams.get(&token).is_some_and(|stream| !self.is_open_for(stream.connection, token))
    }

    /// The only socket, if any wake must be for it and the selector need not be asked.
    pub(super) fn single_socket(&self) -> Option<Token> {
        let (token, stream) = self.streams.first_key_value()?;
        let is_alone = self.streams.len() == 1 && self.cancel_requests.is_empty();
        let is_meant = is_alone && self.is_open_for(stream.connection, *token);
        (Readiness::LOOKS_AGAIN && is_meant).then_some(*token)
    }

    pub(super) fn is_open(&self, token: Token) -> bool {
        self.streams.get(&token).is_some_and(|stream| self.is_open_for(stream.connection, token))
    }

    /// Handles the progress of a socket's connect.
    pub(super) fn handle_runner(&mut self, now: Instant, token: Token) {
        let Some(stream) = self.streams.get(&token) else { return };
        let connection = stream.connection;
        let Some(Opening::Racing { race, runners }) = self.opening.get_mut(&connection) else {
            return;
        };
        let Some(place) = runners.iter().position(|(runner, _)| *runner == token) else { return };
        match stream.socket.progress() {
            Ok(Progress::Connecting) => {}
            Ok(Progress::Connected) => {
                let (_, target) = runners.swap_remove(place);
                self.win(connection, token, &target);
            }
            Err(error) => {
                let (_, target) = runners.swap_remove(place);
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

    /// Lists a socket that may hold bytes for reading. `ending`: the system has reported the end of
    /// its stream.
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

    /// The next socket to read. The caller reports to [`Self::was_read`].
    pub(super) fn next_unread(&mut self) -> Option<Token> {
        self.unread.pop_front()
    }

    /// Takes note that a socket was read. `more`: it may hold more bytes.
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

    /// Records that the kernel did not take all bytes, or that it takes bytes again.
    pub(super) fn set_blocked(&mut self, token: Token, blocked: bool) {
        if let Some(stream) = self.streams.get_mut(&token)
            && stream.blocked != blocked
        {
            stream.blocked = blocked;
            self.readiness.want_write(&stream.socket, token, blocked);
        }
    }

    /// All connections, opening and open.
    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        self.opening.keys().chain(self.open.keys()).copied().collect()
    }

    /// Closes a connection at any stage, with everything that was started for it.
    pub(super) fn close(&mut self, connection: ConnectionId, terminate: &[u8]) {
        if let Some(Opening::Racing { runners, .. }) = self.opening.remove(&connection) {
            runners.into_iter().for_each(|(token, _)| self.drop_stream(token));
        }
        if let Some(token) = self.open.remove(&connection) {
            if let Some(stream) = self.streams.get(&token)
                && !terminate.is_empty()
            {
                // This is a courtesy: without it, the server notices the end by the closed socket.
                let _ = stream.socket.write(terminate);
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
        targets: Vec<Target>,
        last: &[SocketAddr],
    ) {
        let race = Race::new(targets, last, now);
        self.opening.insert(connection, Opening::Racing { race, runners: Vec::new() });
        self.run_race(now, connection);
    }

    /// Starts every address that is due, and ends a race that no address can win.
    fn run_race(&mut self, now: Instant, connection: ConnectionId) {
        loop {
            let Some(Opening::Racing { race, runners }) = self.opening.get_mut(&connection) else {
                return;
            };
            let Some(target) = race.start_next(now) else {
                if runners.is_empty() && race.deadline().is_none() {
                    let unreached = race.unreached();
                    self.fail(connection, unreached);
                }
                return;
            };
            match self.start(connection, &target) {
                Ok((token, Progress::Connected)) => self.win(connection, token, &target),
                Ok((token, Progress::Connecting)) => {
                    if let Some(Opening::Racing { runners, .. }) = self.opening.get_mut(&connection)
                    {
                        runners.push((token, target));
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
        target: &Target,
    ) -> io::Result<(Token, Progress)> {
        let (socket, progress) = Socket::connect(target, &self.options)?;
        self.last_token = self.last_token.wrapping_add(1);
        let token = self.last_token;
        self.readiness.watch(&socket, token)?;
        let stream = Stream {
            socket,
            connection,
            target: target.clone(),
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
        if let Some(Opening::Racing { race, runners }) = self.opening.remove(&connection) {
            let of = runners.iter().map(|(_, target)| target).filter(|other| *other != target);
            others = of.chain(race.waiting()).filter_map(Target::ip).collect();
            runners.into_iter().for_each(|(loser, _)| self.drop_stream(loser));
        }
        self.open.insert(connection, token);
        self.set_blocked(token, false);
        let local = target.is_local();
        self.opened.push_back(Opened::Connected { connection, local, others });
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

// On Windows a loop polls the sockets, and a unit test has none.
#[cfg(test)]
#[cfg(unix)]
mod tests;
