//! How a session came to its address.

use std::net::SocketAddr;

use crate::base::Error;

/// How a session came to its address.
#[derive(Debug, Default)]
pub(in crate::pool) struct Route {
    /// All addresses to which the host's name led, if the session was opened to the name.
    pub(in crate::pool) lookup: Option<Vec<SocketAddr>>,
    /// The addresses of the look-up that are tried next if this address does not help.
    pub(in crate::pool) untried: Vec<SocketAddr>,
    /// Why the earlier addresses did not help, if no session could be opened to them.
    pub(in crate::pool) failure: Option<Error>,
    /// The session goes to the address at which the host serves, because no address of its look-up
    /// helped.
    pub(in crate::pool) is_last: bool,
}
