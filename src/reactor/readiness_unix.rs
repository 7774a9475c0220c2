//! Which sockets are ready, on Unix: mio's selector, whose own descriptor libuv polls.
//!
//! Edge-triggered: readiness is reported once, and not again until something changes.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::libuv::{Loop, PollHandle, READABLE, Wake};
use super::socket::Socket;
use super::socket::{Ready, Token};

/// How many sockets one call of the selector can report. The loop is woken again for the others.
const EVENTS: usize = 256;

#[derive(Debug)]
pub(super) struct Readiness {
    /// Declared before the selector, so that it is closed before the selector's descriptor.
    handle: Option<PollHandle>,
    poll: Poll,
    events: Events,
}

impl Readiness {
    /// Whether a pending report disappears if its socket is read before the report is collected.
    /// epoll checks the socket before it reports it, kqueue does not.
    pub(super) const LOOKS_AGAIN: bool = cfg!(any(target_os = "linux", target_os = "android"));

    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { handle: None, poll: Poll::new()?, events: Events::with_capacity(EVENTS) })
    }

    pub(super) fn attach(&mut self, uv_loop: Loop, wake: &Wake) -> io::Result<()> {
        let wake = wake.clone();
        let callback = Box::new(move |_, _| wake());
        let handle = PollHandle::new(uv_loop, self.poll.as_raw_fd(), callback)?;
        handle.start(READABLE)?;
        self.handle = Some(handle);
        Ok(())
    }

    /// Watches a socket until it is closed. At first it is watched for reading and writing, since
    /// it may still have to connect.
    pub(super) fn watch(&mut self, socket: &Socket, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&socket.descriptor()), mio::Token(token), interest)
    }

    /// Must be called before the socket is closed. On this system, closing the socket is enough.
    pub(super) fn forget(&mut self, _token: Token) {}

    /// Watches for writability only if `wanted`. Most sockets are always writable, and a report
    /// that is not collected would keep the selector readable.
    pub(super) fn want_write(&mut self, socket: &Socket, token: Token, wanted: bool) {
        let readable = Interest::READABLE;
        let interest = if wanted { readable.add(Interest::WRITABLE) } else { readable };
        let (registry, descriptor) = (self.poll.registry(), socket.descriptor());
        // This fails only if there is no memory. Then the selector reports more than was asked for,
        // or the waiting call fails at its deadline.
        let _ = registry.reregister(&mut SourceFd(&descriptor), mio::Token(token), interest);
    }

    /// Collects the sockets that are ready, without waiting.
    pub(super) fn collect(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        ready.extend(self.events.iter().map(|event| Ready {
            token: event.token().0,
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed() || event.is_write_closed() || event.is_error(),
        }));
        Ok(())
    }

    pub(super) fn set_referenced(&mut self, referenced: bool) {
        if let Some(handle) = &self.handle {
            handle.set_referenced(referenced);
        }
    }
}
