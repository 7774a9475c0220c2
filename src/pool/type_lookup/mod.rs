//! Types that users made: what the pool knows of them, and what waits until a server has described
//! them. The pool asks once for each type. An answer waits if it has values of such types, and a
//! call waits if its parameters can't be encoded before.
//!
//! The question is sent behind its request, on the same connection, because this very transaction
//! may have made the type. If a CancelRequest for the request is under way, the question waits for
//! its end, so that the cancel can't hit the question. In a transaction the question is alone in
//! flight, behind a savepoint, and further calls of the lease wait for it: whatever the server
//! refuses there is undone before any other statement of the caller runs. If the pool's own role is
//! refused the question outside of a transaction, the pool does not ask for these types again.
//!
//! Meanwhile an answered call is over for the pool. How long its answer waits is bounded by its
//! caller's limit, signal or transaction. The pool sends a read again if its types are gone by the
//! time of the question, or if its connection is lost. It does the same with a call that has not
//! run. For any other answer it asks another connection to the same server. Where no server
//! describes the types, the answer is an error that says so, since it would be chance whether
//! arrays in it are text, and a call whose values depend on the types is not sent. A server that a
//! lock, a cancel or a time limit keeps from answering is asked three times. Only if the role may
//! never ask do the values of an answer stay text, and a parameter is taken for whatever its value
//! fits. If servers do not answer the question within `connectTimeoutMs`, a read fails once it was
//! sent three times.
//!
//! [`TypeLookup`] asks on connections, but answers no caller: it returns what is to be done
//! ([`Next`]), and the calls do it (`super::calls`).

mod errors;
mod home;
mod known;
mod lost;
mod untyped;
mod waiting;

pub(super) use errors::{UNRESOLVED_TYPES, given_up_unresolved};
use home::Home;
pub(super) use known::Due;
use untyped::Untyped;
pub(super) use untyped::{Answered, Read, Waiter};
pub(super) use waiting::Released;

use super::Call;
use super::requests::Reason;
use crate::base::{Error, Key};
use crate::types::Catalog;

/// Owns what is known of types, and what waits for more.
#[derive(Debug, Default)]
pub(super) struct TypeLookup {
    /// The types that users made, and of which database they are.
    catalog: Catalog,
    home: Home,
    waiting: Vec<Untyped>,
    /// Reads whose connections were lost while they waited for types.
    unread: Vec<Read>,
}

/// What is to be done with what has waited for types on a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// An answer goes to its caller.
    HandOut(Answered),
    /// The same, to a caller that waits no longer: it is an error if its types are not known.
    HandOutEarly(Answered, Reason),
    /// An answer can't be read: its caller gets this error.
    Refuse(Answered, Error),
    /// An answer is thrown away, and its call is sent again.
    ReadAgain(Box<Read>),
    /// A call goes on with what is known.
    GoOn(Key<Call>),
    /// A call fails if its values depend on types that are not known. Otherwise it goes on.
    GoOnUnless(Key<Call>, Error),
    /// A call waits for another connection.
    TakeUp(Key<Call>),
}
