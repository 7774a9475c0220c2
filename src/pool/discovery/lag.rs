//! How far the standbys that serve are behind. Servers do not report it by themselves. The pool
//! asks each standby about once a second while the pool is in use, on a session that is open
//! already.

use std::time::Duration;

use super::{Context, Discovery};
use crate::base::Instant;
use crate::cluster::{Health, HostId};
use crate::connection::Role;
use crate::pool::connections::{Duty, Slot};

const EVERY: Duration = Duration::from_secs(1);

impl Discovery {
    pub(in crate::pool) fn ask_for_lag(&mut self, now: Instant, cx: &mut Context<'_>) {
        if now < self.lag_due {
            return;
        }
        self.lag_due = now + EVERY;
        let topology = self.cluster.topology();
        let is_standby =
            |id: &HostId| matches!(topology.health(*id), Some(Health::Up(Role::Standby)));
        let standbys: Vec<_> = topology.host_ids().iter().copied().filter(is_standby).collect();
        for host in standbys {
            let may_ask = |slot: &Slot| {
                slot.host == host
                    && slot.duty == Duty::Serving
                    && slot.takes_calls()
                    && !slot.connection.refuses_place()
            };
            if let Some(id) = cx.connections.freest(may_ask) {
                cx.connections.ask_place(now, id);
            }
        }
    }
}
