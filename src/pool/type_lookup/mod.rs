//! Types that users made: what is known of them, and what waits until a server has told of them,
//! once for each type and pool. Answers wait that have such values, and calls with parameters that
//! can't be fitted to such types before.
//!
//! The question goes behind its request on the same connection, because the type may have been made
//! in this very transaction; not before a CancelRequest for the request is over, which would hit
//! the question. In a transaction it goes alone, behind a savepoint, and a lease's further calls
//! wait for it: what a server refuses there is undone before anything else of the user's runs. What
//! the pool's own role is refused outside of a transaction is not asked again.
//!
//! A call that was answered is over for the pool meanwhile; its caller's limit, signal or
//! transaction bounds what it waits. A read whose types are gone by the time of the question, or
//! whose connection is lost, is sent again, and so is a call that has not run. For any other answer
//! another connection to the same server is asked. Where nothing tells, the answer is an error that
//! says so: its arrays would be text by chance. A call whose values depend on the types is not sent
//! then. A server that is kept from telling, by a lock, a cancel or a limit, is asked three times.
//! Only where the role may never ask, the values of an answer are left the text that they came as,
//! and a parameter's type is taken for whatever its value fits. Where servers do not answer the
//! question at all, each within `connectTimeoutMs`, a read is an error once it was sent three times.
//!
//! [`TypeLookup`] asks on connections, and tells no caller: it returns what is to be done (`Next`),
//! which the calls do (`super::calls`).

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
    /// Of types that users made, and where they are that.
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
    /// The same, to a caller that waits no longer: it is an error where its types are not known.
    HandOutEarly(Answered, Reason),
    /// An answer can't be read: its caller is told why.
    Refuse(Answered, Error),
    /// An answer is thrown away, and its call is sent again.
    ReadAgain(Box<Read>),
    /// A call goes on with what is known.
    GoOn(Key<Call>),
    /// A call fails where its values depend on what is not known, and goes on else.
    GoOnUnless(Key<Call>, Error),
    /// A call waits for another connection.
    TakeUp(Key<Call>),
}
