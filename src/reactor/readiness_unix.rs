//! Which sockets are ready, on Unix: mio's selector, whose own descriptor libuv polls.
//!
//! Edge-triggered: what is said once is not said again until something changes.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::libuv::{Loop, PollHandle, READABLE, Wake};
use super::socket::Socket;
use super::socket::{Ready, Token};

/// Sockets that one look at the selector can name. What is left over wakes the loop again.
const EVENTS: usize = 256;

#[derive(Debug)]
pub(super) struct Readiness {
    /// Stands before the selector: it must be closed before the descriptor is.
    handle: Option<PollHandle>,
    poll: Poll,
    events: Events,
}

impl Readiness {
    /// Whether what it has to say of a socket is void once that has been read, although it was not
    /// asked: epoll looks again before it says so, kqueue does not.
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

    /// Watches a socket until it is closed, for both directions at first: it may have to connect.
    pub(super) fn watch(&mut self, socket: &Socket, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&socket.descriptor()), mio::Token(token), interest)
    }

    /// Must be called before the socket is closed, which here is all that it takes.
    pub(super) fn forget(&mut self, _token: Token) {}

    /// Most sockets are always writable, and would keep the selector readable once they were named
    /// and nobody asked.
    pub(super) fn want_write(&mut self, socket: &Socket, token: Token, wanted: bool) {
        let readable = Interest::READABLE;
        let interest = if wanted { readable.add(Interest::WRITABLE) } else { readable };
        let (registry, descriptor) = (self.poll.registry(), socket.descriptor());
        // It fails for want of memory alone. Then more is said than is asked for, or a deadline
        // ends what waits.
        let _ = registry.reregister(&mut SourceFd(&descriptor), mio::Token(token), interest);
    }

    /// Never waits.
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
