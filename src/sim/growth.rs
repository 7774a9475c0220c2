//! What a query costs a pool that has many connections, and many calls that wait: each figure is to
//! be flat.
//!
//! The simulated servers are part of what is timed: of the rows of a table the differences count.

use super::cluster::World;
use crate::config::from_json;
use crate::connection::{Role, StatementId};
use crate::pool::QueryFlags;

/// A pool whose connections are all open, on one primary.
#[derive(Debug)]
pub struct Grown {
    world: World,
    statement: StatementId,
}

impl Grown {
    /// `None` where so large a pool can't be had.
    pub fn new(connections: usize) -> Option<Self> {
        let options = serde_json::json!({
            "hosts": ["h0"], "user": "u", "poolSize": connections, "acquireTimeoutMs": 3_600_000,
        });
        let config = from_json(&options).ok()?;
        let mut world = World::new(config, &[Role::ReadWrite]);
        let requests: Vec<_> =
            (0..connections).map(|_| world.ask_acquire(QueryFlags::default())).collect();
        world.settle();
        let lease = |world: &World, request| world.answers.get(&request)?.as_ref().ok()?.lease;
        let leases: Option<Vec<_>> =
            requests.into_iter().map(|request| lease(&world, request)).collect();
        for lease in leases? {
            world.pool.release(world.now, lease, false);
        }
        world.settle();
        let statement = world.pool.statement("SELECT known");
        let mut grown = Self { world, statement };
        (0..8).for_each(|_| grown.read(1));
        (grown.world.connections(0) == connections).then_some(grown)
    }

    /// So many reads in one turn, until all are answered.
    pub fn read(&mut self, calls: usize) {
        for _ in 0..calls {
            self.world.ask_known(self.statement);
        }
        self.world.settle();
        self.world.pool.poll_timeout();
        self.world.answers.clear();
    }

    /// Has so many calls wait behind a server that says nothing, each for a connection to itself.
    pub fn wait(&mut self, calls: usize) {
        self.world.stall(0);
        for _ in 0..calls {
            self.world.ask_acquire(QueryFlags::default());
        }
        self.world.settle();
    }

    /// One turn while they wait: the next time-out is looked for, and one call comes.
    pub fn turn(&mut self) {
        self.world.ask_acquire(QueryFlags::default());
        self.world.settle();
        self.world.pool.poll_timeout();
    }
}
