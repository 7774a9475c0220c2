//! What is known of the search for hosts beside the topology (`src/cluster/topology.rs`): since
//! when none serves, which addresses did not do, and which are silent. Nothing is opened or closed
//! here.

mod outage;
mod silences;
mod unfit;

pub(super) use outage::Found;
use outage::Outage;
use silences::Silences;
use unfit::Unfit;

use crate::base::Instant;

#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) outage: Outage,
    pub(super) unfit: Unfit,
    pub(super) silences: Silences,
}

impl Discovery {
    /// `is_warm`: hosts are looked for before anybody asks.
    pub(super) fn new(now: Instant, is_warm: bool) -> Self {
        Self {
            outage: Outage::new(now, is_warm),
            unfit: Unfit::default(),
            silences: Silences::default(),
        }
    }
}
