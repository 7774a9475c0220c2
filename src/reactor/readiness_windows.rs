//! Which sockets are ready, on Windows: libuv polls each of them, because there is no single
//! descriptor that represents all sockets.
//!
//! Level-triggered: readiness is reported again until it ends. Writability is watched only while
//! there are bytes to write. Each ready socket wakes the reactor by itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::libuv::{DISCONNECT, Loop, PollHandle, READABLE, WRITABLE, Wake};
use super::socket::Socket;
use super::socket::{Ready, Token};

#[derive(Debug)]
pub(super) struct Readiness {
    attached: Option<Attached>,
    handles: BTreeMap<Token, PollHandle>,
    said: Rc<RefCell<Vec<Ready>>>,
    referenced: bool,
}

struct Attached {
    uv_loop: Loop,
    wake: Wake,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uv_loop.fmt(f)
    }
}

impl Readiness {
    /// Pending reports are kept here until they are collected.
    pub(super) const LOOKS_AGAIN: bool = false;

    pub(super) fn new() -> io::Result<Self> {
        let said = Rc::new(RefCell::new(Vec::new()));
        Ok(Self { attached: None, handles: BTreeMap::new(), said, referenced: false })
    }

    pub(super) fn attach(&mut self, uv_loop: Loop, wake: &Wake) -> io::Result<()> {
        self.attached = Some(Attached { uv_loop, wake: wake.clone() });
        Ok(())
    }

    /// Watches a socket until [`Self::forget`]. Writability is watched too, because the socket is
    /// about to connect.
    pub(super) fn watch(&mut self, socket: &Socket, token: Token) -> io::Result<()> {
        let Some(Attached { uv_loop, wake }) = &self.attached else {
            return Err(io::Error::other("there is no loop to poll the socket"));
        };
        let (said, wake) = (self.said.clone(), wake.clone());
        let callback = Box::new(move |status, events: i32| {
            // The next read or write finds the error.
            let failed = status < 0;
            said.borrow_mut().push(Ready {
                token,
                readable: failed || events & READABLE != 0,
                writable: failed || events & WRITABLE != 0,
                closed: failed || events & DISCONNECT != 0,
            });
            wake();
        });
        let handle = PollHandle::new(*uv_loop, socket.descriptor(), callback)?;
        handle.start(READABLE | WRITABLE | DISCONNECT)?;
        handle.set_referenced(self.referenced);
        self.handles.insert(token, handle);
        Ok(())
    }

    /// Must be called before the socket is closed.
    pub(super) fn forget(&mut self, token: Token) {
        self.handles.remove(&token);
    }

    pub(super) fn want_write(&mut self, _socket: &Socket, token: Token, wanted: bool) {
        let Some(handle) = self.handles.get(&token) else { return };
        let events = READABLE | DISCONNECT | if wanted { WRITABLE } else { 0 };
        if handle.start(events).is_err()
            && let Some(Attached { wake, .. }) = &self.attached
        {
            // This socket will get no further report, so its stream is read now, to the end.
            let ready = Ready { token, readable: true, writable: true, closed: true };
            self.said.borrow_mut().push(ready);
            wake();
        }
    }

    /// Collects the sockets that are ready, without waiting.
    pub(super) fn collect(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.append(&mut self.said.borrow_mut());
        Ok(())
    }

    pub(super) fn set_referenced(&mut self, referenced: bool) {
        self.referenced = referenced;
        self.handles.values().for_each(|handle| handle.set_referenced(referenced));
    }
}
