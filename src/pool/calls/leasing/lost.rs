//! A lease that is over, or has lost its connection: what becomes of the calls that wait for it.

use std::num::NonZeroU32;

use crate::base::{Error, ErrorKind, Key};
use crate::pool::calls::{Calls, Context};
use crate::pool::leases::Vacated;
use crate::pool::{Call, ConnectionId, Output, PoolEvent};

impl Calls {
    /// The connection is closed. A lease that its caller has not used yet takes another one, all
    /// others are over.
    pub(in crate::pool::calls) fn vacate(&mut self, number: NonZeroU32, error: Error) {
        match self.leases.vacate(number) {
            Some(Vacated::Lost) => {
                if error.kind() == ErrorKind::TransactionAbandoned {
                    self.emit_reclaimed(number, true);
                }
                self.lose_lease(number, error);
            }
            Some(Vacated::Unseen) => self.stand_in_line(number),
            None => {}
        }
    }

    /// Nothing more can be done here: calls that wait are told why, and so are later calls.
    pub(in crate::pool::calls) fn lose_lease(&mut self, number: NonZeroU32, error: Error) {
        for key in self.leases.lose(number, error.clone()) {
            self.refuse_gone(key, &error);
        }
    }

    /// The first flight of a lease had no effect: it gives up its connection, and its call waits
    /// for another one.
    pub(in crate::pool::calls) fn unseat_lease(
        &mut self,
        id: ConnectionId,
        key: Key<Call>,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        self.leases.give_up_place(number, key);
        cx.connections.free_slot(id);
    }

    /// No caller may be waiting for an error of it.
    pub(in crate::pool::calls) fn emit_reclaimed(&mut self, lease: NonZeroU32, by_server: bool) {
        self.outputs.push_back(Output::Event(PoolEvent::Reclaimed { lease, by_server }));
    }
}
