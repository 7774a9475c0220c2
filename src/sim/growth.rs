//! The cost of a query for a pool with many connections, and with many waiting calls. Each figure
//! must stay flat.
//!
//! The time includes the simulated servers, so compare the rows of a table with each other.

use super::cluster::World;
use crate::config::from_json;
use crate::connection::{Role, StatementId};
use crate::pool::QueryFlags;

/// A pool whose connections are all open, to one primary.
#[derive(Debug)]
pub struct Grown {
    world: World,
    statement: StatementId,
}

impl Grown {
    /// `None` if the pool does not open that many connections.
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

    /// Runs this many reads in one turn, until all are answered.
    pub fn read(&mut self, calls: usize) {
        for _ in 0..calls {
            self.world.ask_known(self.statement);
        }
        self.world.settle();
        self.world.pool.poll_timeout();
        self.world.answers.clear();
    }

    /// Has this many calls wait behind a silent server, each for a connection of its own.
    pub fn wait(&mut self, calls: usize) {
        self.world.stall(0);
        for _ in 0..calls {
            self.world.ask_acquire(QueryFlags::default());
        }
        self.world.settle();
    }

    /// Runs one turn while they wait: one more call comes, and the next deadline is looked for.
    pub fn turn(&mut self) {
        self.world.ask_acquire(QueryFlags::default());
        self.world.settle();
        self.world.pool.poll_timeout();
    }
}
