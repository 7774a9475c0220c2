//! Which connection a call should use: functions that return a choice.
//!
//! Owns: nothing. The functions send nothing, and their callers (`super::calls`) carry out the
//! choice.
//!
//! A call goes to an idle connection of the host that `balance` chooses, or after other calls on a
//! busy connection, if `sharing` allows it. `batches` places the calls of a turn one after the
//! other, by the rules of `burst` if there are many. `stuck` finds the calls that should be placed
//! again. The scenarios are in `src/sim/scenarios/load.rs` and `overtaking.rs`.

mod balance;
mod batches;
mod burst;
mod place;
mod sharing;
mod stuck;

pub(super) use balance::{Candidate, survey};
pub(super) use batches::{Batches, Place};
pub(super) use burst::heard_together;
pub(super) use place::place;
pub(super) use sharing::{BARRIER_AND_ONE, may_share, may_stay};
pub(super) use stuck::stuck_behind;

use super::connections::Connections;
use super::leases::Leases;
use super::requests::Requests;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::connection::Statements;

/// What a choice is based on.
pub(super) struct View<'a> {
    /// They update their counters when they are asked.
    pub(super) connections: &'a mut Connections,
    /// Draws among equal hosts.
    pub(super) cluster: &'a mut Cluster,
    pub(super) config: &'a Config,
    pub(super) requests: &'a Requests,
    pub(super) leases: &'a Leases,
    pub(super) statements: &'a Statements,
    /// Scratch memory for one choice.
    pub(super) candidates: &'a mut Vec<Candidate>,
}
