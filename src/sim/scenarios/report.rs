//! Poolers that report a role which their servers no longer have, in virtual time.

use std::time::Duration;

use super::{answered, config};
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::sim::cluster::World;
use crate::sim::server::Reports;

const NONE: QueryFlags = QueryFlags(0);
const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;

fn world(roles: &[Role], heard: Role, mode: &str) -> World {
    let options = serde_json::json!({ "mode": mode });
    let mut world = World::new(config(roles.len(), options), roles);
    for (host, started) in world.hosts.iter_mut().zip(1..) {
        host.server.reports = Reports::Stale(heard);
        host.server.lineage = (7, started, 1);
    }
    world
}

fn fences(world: &World) -> usize {
    world.events.iter().filter(|event| matches!(event, PoolEvent::Fence { .. })).count()
}

#[test]
fn a_primary_that_is_said_to_be_a_standby_is_found() {
    for mode in ["read-write", "primary"] {
        let mut world = world(&[STANDBY, PRIMARY], STANDBY, mode);
        let write = world.query("INSERT a", None, NONE);
        world.pass(Duration::from_millis(100));
        assert_eq!(answered(&world, write), "INSERT");
        assert_eq!(world.hosts[1].server.keys, ["a"]);
        // From now on the host is asked for its role: a new session serves at once.
        world.pass(Duration::from_secs(2));
        world.cut(1, "ECONNRESET");
        world.settle();
        let again = world.query("INSERT b", None, NONE);
        assert_eq!(answered(&world, again), "INSERT");
        assert_eq!(fences(&world), 0);
    }
}

#[test]
fn a_write_that_a_hidden_standby_refuses_goes_to_the_primary() {
    let mut world = world(&[PRIMARY, STANDBY], PRIMARY, "read-write");
    world.hosts[1].server.reports = Reports::Changes;
    let first = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, first), "INSERT");
    // A switchover that the pooler in front of the host does not report.
    world.hosts[0].server.role = STANDBY;
    world.hosts[1].server.role = PRIMARY;
    world.hosts[1].server.lineage.2 = 2;
    let second = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_millis(500));
    assert_eq!(answered(&world, second), "INSERT");
    assert_eq!(world.hosts[1].server.keys, ["b"]);
    assert_eq!(fences(&world), 1);
    // A switchover back, which the pooler does not report either.
    world.hosts[0].server.role = PRIMARY;
    world.hosts[0].server.lineage.2 = 3;
    world.hosts[1].server.role = STANDBY;
    let third = world.query("INSERT c", None, NONE);
    world.pass(Duration::from_millis(500));
    assert_eq!(answered(&world, third), "INSERT");
    assert_eq!(world.hosts[0].server.keys, ["a", "c"]);
}

#[test]
fn what_a_statement_raises_by_itself_costs_a_question_and_nothing_else() {
    let mut world = World::new(config(1, serde_json::json!({ "poolSize": 1 })), &[PRIMARY]);
    world.query("SELECT", None, NONE);
    let lease = {
        let request = world.acquire(NONE);
        world.answers[&request].as_ref().unwrap().lease
    };
    for sql in ["BEGIN READ ONLY", "INSERT a", "ROLLBACK", "INSERT b"] {
        world.query(sql, lease, NONE);
    }
    assert_eq!(world.hosts[0].server.keys, ["b"]);
    assert!(!world.hosts[0].server.asked_in_transaction);
    let written = world.written;
    world.query("INSERT c", lease, NONE);
    // There is a Sync in front, as always: the pool believes the reports.
    let asked = world.written;
    world.query("INSERT d", lease, NONE);
    assert_eq!(world.written - asked, asked - written);
    assert_eq!(fences(&world), 0);
}

#[test]
fn a_refused_write_is_looked_into_however_lately_the_reports_were_right() {
    let mut world = world(&[STANDBY, PRIMARY], PRIMARY, "read-write");
    world.hosts[0].server.reports = Reports::Stale(STANDBY);
    // For a moment no host serves, and both are asked.
    world.hosts[1].server.role = Role::ReadOnly;
    world.hosts[1].server.reports = Reports::Changes;
    let first = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(100));
    world.hosts[1].server.role = PRIMARY;
    world.pass(Duration::from_millis(100));
    assert_eq!(answered(&world, first), "INSERT");
    world.hosts[1].server.reports = Reports::Stale(PRIMARY);
    world.hosts[1].server.role = STANDBY;
    world.hosts[0].server.role = PRIMARY;
    world.hosts[0].server.lineage.2 = 2;
    let second = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_millis(500));
    assert_eq!(answered(&world, second), "INSERT");
    assert_eq!(world.hosts[0].server.keys, ["b"]);
}
