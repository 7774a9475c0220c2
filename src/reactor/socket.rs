//! One non-blocking stream socket of any address family.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};

use crate::config::Config;

/// Names a socket. A token is never used twice, so a late event of a closed socket reaches no other
/// socket.
pub(super) type Token = usize;

/// The selector's report about a socket. It may be wrong: only the socket itself is certain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: Token,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// One direction of the stream has ended, or the socket has failed.
    pub(super) closed: bool,
}

/// The address to which a socket connects, with nothing left to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Ip(SocketAddr),
    /// The path of a Unix socket. A path that begins with a NUL is a name in Linux's abstract
    /// namespace.
    Unix(Vec<u8>),
}

impl Target {
    pub(super) fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the connection stays on this machine, so that nobody can listen on a network.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => match path.split_first() {
                Some((0, name)) => write!(f, "@{}", String::from_utf8_lossy(name)),
                _ => write!(f, "{}", String::from_utf8_lossy(path)),
            },
        }
    }
}

/// Sets those options of a TCP socket before it connects that differ by system: how long sent bytes
/// may stay unacknowledged, and that a host which refuses is not asked again.
pub type PrepareSocket = fn(Descriptor, Option<Duration>);

/// The options that all TCP sockets of a pool have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    keep_alive: Option<Duration>,
    probe_again: Duration,
    probes: Option<u32>,
    user_timeout: Option<Duration>,
    pub(super) prepare: Option<PrepareSocket>,
}

impl Options {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            keep_alive: config.keep_alive.then_some(config.keep_alive_delay),
            probe_again: config.keep_alive_interval.unwrap_or(PROBE_AGAIN),
            probes: config.keep_alive_count,
            user_timeout: config.tcp_user_timeout,
            prepare: None,
        }
    }
}

/// How far a connect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Connecting,
    Connected,
}

/// The system's type for a socket.
#[cfg(unix)]
pub type Descriptor = std::os::fd::RawFd;
#[cfg(windows)]
pub type Descriptor = std::os::windows::io::RawSocket;

/// Closed when dropped, and never inherited by a child process.
#[derive(Debug)]
pub(super) struct Socket {
    inner: socket2::Socket,
}

impl Socket {
    /// Begins to connect. Once the socket is writable, [`Self::progress`] returns the result.
    pub(super) fn connect(target: &Target, options: &Options) -> io::Result<(Self, Progress)> {
        let (domain, protocol, address) = match target {
            Target::Ip(address) => {
                (Domain::for_address(*address), Some(Protocol::TCP), SockAddr::from(*address))
            }
            Target::Unix(path) => (Domain::UNIX, None, unix_address(path)?),
        };
        let inner = socket2::Socket::new(domain, Type::STREAM, protocol)?;
        inner.set_nonblocking(true)?;
        if matches!(target, Target::Ip(_)) {
            set_tcp_options(&inner, options)?;
        }
        let socket = Self { inner };
        if let (Some(prepare), Target::Ip(_)) = (options.prepare, target) {
            prepare(socket.descriptor(), options.user_timeout);
        }
        let progress = match socket.inner.connect(&address) {
            Ok(()) => Progress::Connected,
            Err(error) if is_in_progress(&error) => Progress::Connecting,
            Err(error) => return Err(error),
        };
        Ok((socket, progress))
    }

    /// The state of a connect. The selector may wake without a cause, so success is certain only if
    /// the socket has a peer.
    pub(super) fn progress(&self) -> io::Result<Progress> {
        if let Some(error) = self.inner.take_error()? {
            return Err(error);
        }
        match self.inner.peer_addr() {
            Ok(_) => Ok(Progress::Connected),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(Progress::Connecting),
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.inner).read(buffer)
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.send_with_flags(bytes, NO_SIGNAL)
    }

    /// Sets `TCP_USER_TIMEOUT`. Returns whether the system has the option and set it.
    pub(super) fn set_user_timeout(&self, timeout: Option<Duration>) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.inner.set_tcp_user_timeout(timeout).is_ok();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = timeout;
            false
        }
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn user_timeout(&self) -> Option<Duration> {
        self.inner.tcp_user_timeout().ok().flatten()
    }

    #[cfg(unix)]
    pub(super) fn descriptor(&self) -> Descriptor {
        std::os::fd::AsRawFd::as_raw_fd(&self.inner)
    }

    #[cfg(windows)]
    pub(super) fn descriptor(&self) -> Descriptor {
        std::os::windows::io::AsRawSocket::as_raw_socket(&self.inner)
    }
}

/// The time between unanswered keepalive probes. With the system's default of 75 seconds, a dead
/// connection would seem idle for that long.
const PROBE_AGAIN: Duration = Duration::from_secs(5);

fn set_tcp_options(socket: &socket2::Socket, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(delay) = options.keep_alive {
        let keep_alive = TcpKeepalive::new().with_time(delay);
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", windows))]
        let keep_alive = keep_alive.with_interval(options.probe_again);
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", windows))]
        let keep_alive = match options.probes {
            Some(count) => keep_alive.with_retries(count),
            None => keep_alive,
        };
        socket.set_tcp_keepalive(&keep_alive)?;
    }
    // Set before the connect, since it also limits how long the handshake's packets stay
    // unacknowledged.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

#[cfg(unix)]
fn unix_address(path: &[u8]) -> io::Result<SockAddr> {
    SockAddr::unix(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path))
}

#[cfg(windows)]
fn unix_address(_path: &[u8]) -> io::Result<SockAddr> {
    let message = "PostgreSQL's Unix sockets can't be used on this system";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// On a Unix socket, EAGAIN means that the server's queue is full. This is an error, since the
/// socket will not become writable later.
#[cfg(unix)]
fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

#[cfg(windows)]
fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Node ignores SIGPIPE, but a program that embeds Node may not. On Apple's systems an option of
/// the socket has the same effect.
#[cfg(all(unix, not(target_vendor = "apple")))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(any(windows, target_vendor = "apple"))]
const NO_SIGNAL: i32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_sockets_have_the_options_of_the_pool() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Ip(listener.local_addr().unwrap());
        let check = |keep_alive: Option<Duration>, user_timeout: Option<Duration>| {
            let (probe_again, probes) = (PROBE_AGAIN, Some(3));
            let options = Options { keep_alive, probe_again, probes, user_timeout, prepare: None };
            let Socket { inner } = Socket::connect(&target, &options).unwrap().0;
            assert!(inner.tcp_nodelay().unwrap());
            assert_eq!(inner.keepalive().unwrap(), keep_alive.is_some());
            #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
            if let Some(delay) = keep_alive {
                assert_eq!(inner.tcp_keepalive_time().unwrap(), delay);
                assert_eq!(inner.tcp_keepalive_interval().unwrap(), PROBE_AGAIN);
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            assert_eq!(inner.tcp_user_timeout().unwrap(), user_timeout);
        };
        check(Some(Duration::from_secs(45)), Some(Duration::from_secs(7)));
        check(None, None);
    }

    #[test]
    fn targets_say_who_can_listen() {
        let check = |target: Target, local: bool, shown: &str| {
            assert_eq!((target.is_local(), target.to_string().as_str()), (local, shown));
        };
        let ip = |text: &str| Target::Ip(text.parse().unwrap());
        check(ip("127.0.0.9:1"), true, "127.0.0.9:1");
        check(ip("[::1]:1"), true, "[::1]:1");
        check(ip("[::ffff:127.0.0.1]:1"), true, "[::ffff:127.0.0.1]:1");
        check(ip("10.0.0.1:1"), false, "10.0.0.1:1");
        check(Target::Unix(b"/tmp/x".to_vec()), true, "/tmp/x");
        check(Target::Unix(b"\0pg/x".to_vec()), true, "@pg/x");
    }
}
