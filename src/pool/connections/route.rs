//! How a session came to its address.

use std::net::SocketAddr;

use crate::base::Error;

/// How a session came to its address.
#[derive(Debug, Default)]
pub(in crate::pool) struct Route {
    /// All that the host's name led to, where it was opened to the name.
    pub(in crate::pool) lookup: Option<Vec<SocketAddr>>,
    /// Those of its look-up that are to be tried where it does not do.
    pub(in crate::pool) untried: Vec<SocketAddr>,
    /// Why those before did not do, where no session could be had.
    pub(in crate::pool) failure: Option<Error>,
    /// It goes to the address where the host serves, because no address of its look-up did.
    pub(in crate::pool) is_last: bool,
}
