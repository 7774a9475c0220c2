//! How many connections a pool keeps, and for how long, in virtual time.

use std::time::Duration;

use crate::config::from_json;
use crate::connection::Role;
use crate::pool::QueryFlags;
use crate::sim::cluster::{Reach, World};

const NONE: QueryFlags = QueryFlags(0);
const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;

fn world(roles: &[Role], mut options: serde_json::Value) -> World {
    let hosts: Vec<_> = (0..roles.len()).map(|n| format!("h{n}")).collect();
    if let Some(options) = options.as_object_mut() {
        options.extend([("hosts".to_owned(), hosts.into()), ("user".to_owned(), "u".into())]);
    }
    World::new(from_json(&options).unwrap(), roles)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Opens several connections: each lease has one.
fn open(world: &mut World, count: usize) {
    let leases: Vec<_> = (0..count).map(|_| world.acquire(NONE)).collect();
    for request in leases {
        let lease = world.answers[&request].as_ref().unwrap().lease.unwrap();
        world.pool.release(world.now, lease, false);
    }
    world.settle();
}

#[test]
fn free_connections_are_closed_and_then_nothing_is_due() {
    let options = serde_json::json!({ "idleTimeoutMs": 10_000, "minIdle": 0 });
    let mut world = world(&[PRIMARY], options);
    open(&mut world, 5);
    assert_eq!(world.connections(0), 5);
    world.pass(seconds(9));
    // One of them is used, so its idle time starts again.
    world.query("SELECT", None, NONE);
    world.pass(seconds(2));
    assert_eq!(world.connections(0), 1);
    world.pass(seconds(8));
    assert_eq!(world.connections(0), 0);
    assert_eq!(world.pool.poll_timeout(), None);
    let request = world.query("SELECT", None, NONE);
    assert!(world.answers[&request].is_ok());
}

#[test]
fn as_many_as_min_idle_stay_and_are_opened_again() {
    let options = serde_json::json!({ "idleTimeoutMs": 1_000, "minIdle": 2, "maxLifetimeMs": 0 });
    let mut world = world(&[PRIMARY], options);
    world.settle();
    assert_eq!(world.connections(0), 2, "before anybody asked");
    open(&mut world, 5);
    world.pass(seconds(60));
    assert_eq!(world.connections(0), 2);
    assert_eq!(world.pool.poll_timeout(), None, "nothing is left to be closed");
    world.cut(0, "ECONNRESET");
    world.settle();
    world.pass(seconds(1));
    assert_eq!(world.connections(0), 2);
}

#[test]
fn after_a_failover_the_pool_refills_a_few_logins_at_a_time() {
    let options = serde_json::json!({ "poolSize": 20, "minIdle": 20 });
    let mut world = world(&[PRIMARY, STANDBY], options);
    world.settle();
    assert_eq!(world.connections(0), 20);
    world.hosts[1].server.role = PRIMARY;
    world.hosts[1].reach = Reach::Silent;
    world.crash(0);
    world.settle();
    // A host that is slow with logins gets no more than these at once.
    assert!(world.connections(1) <= 4, "{} logins at once", world.connections(1));
    world.hosts[1].reach = Reach::Open;
    world.pass(seconds(5));
    assert_eq!(world.connections(1), 20);
}

#[test]
fn a_pool_that_is_to_be_warm_looks_for_a_host_as_long_as_for_lost_ones() {
    let mut world = world(&[STANDBY], serde_json::json!({ "minIdle": 2 }));
    world.settle();
    world.pass(seconds(20));
    assert_eq!(world.connections(0), 1, "it is asked");
    world.pass(seconds(20));
    assert_eq!((world.connections(0), world.pool.poll_timeout()), (0, None));
    world.hosts[0].server.role = PRIMARY;
    world.query("SELECT", None, NONE);
    // Two were free in addition to the one that was busy.
    assert_eq!(world.connections(0), 3);
    world.pass(seconds(40));
    assert_eq!(world.connections(0), 2);
}

#[test]
fn lifetimes_end_one_after_the_other_and_never_in_the_middle_of_work() {
    let options = serde_json::json!({
        "maxLifetimeMs": 100_000, "idleTimeoutMs": 0, "minIdle": 8, "poolSize": 9,
    });
    let mut world = world(&[PRIMARY], options);
    world.settle();
    let request = world.acquire(NONE);
    let lease = world.answers[&request].as_ref().unwrap().lease.unwrap();
    world.settle();
    let mut opened = world.attempts.len();
    let (mut moments, mut most) = (0, 0);
    for _ in 0..110 {
        world.pass(seconds(1));
        let now = world.attempts.len();
        moments += usize::from(now > opened);
        most = most.max(now - opened);
        opened = now;
    }
    assert!(moments >= 4 && most <= 4, "{moments} moments, {most} at once");
    assert_eq!(world.pool.status().available, 8);
    assert_eq!(world.pool.status().size, 9, "the one in use is as old as the others were");
    let attempts = world.attempts.len();
    world.pool.release(world.now, lease, false);
    world.settle();
    assert_eq!(world.pool.status().size, 8, "it went when it was free");
    assert_eq!(world.attempts.len(), attempts);
}

#[test]
fn a_connection_is_used_so_often_and_no_more() {
    let options = serde_json::json!({ "maxUses": 3, "poolSize": 1 });
    let mut world = world(&[PRIMARY], options);
    for n in 0..9 {
        let request = world.query("SELECT", None, NONE);
        assert!(world.answers[&request].is_ok());
        assert_eq!(world.attempts.len(), n / 3 + 1);
    }
}

#[test]
fn ready_waits_for_a_fit_host_and_for_min_idle() {
    let mut world = world(&[STANDBY, STANDBY], serde_json::json!({ "minIdle": 3 }));
    let late = world.ready();
    world.pass(seconds(2));
    assert!(!world.answers.contains_key(&late));
    let ready = world.ready();
    world.pass(seconds(4));
    let error = world.answers[&late].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_NO_PRIMARY");
    assert_eq!(error.hosts().len(), 2);
    world.hosts[1].server.role = PRIMARY;
    world.pass(Duration::from_millis(500));
    assert!(world.answers[&ready].is_ok());
    assert_eq!(world.connections(1), 3);
    let again = world.ready();
    assert!(world.answers[&again].is_ok());
}

#[test]
fn ready_connects_a_pool_that_keeps_nothing_warm() {
    let mut world = world(&[PRIMARY], serde_json::json!({}));
    world.settle();
    assert_eq!(world.connections(0), 0);
    let ready = world.ready();
    assert!(world.answers[&ready].is_ok());
    assert_eq!(world.connections(0), 1);
    let waiting = world.ready();
    assert!(world.answers[&waiting].is_ok());
    world.end();
    let late = world.ready();
    assert_eq!(world.answers[&late].as_ref().unwrap_err().code(), "HYPERION_POOL_CLOSED");
}

#[test]
fn a_reset_that_is_not_answered_holds_nobody_up() {
    let options =
        serde_json::json!({ "poolSize": 1, "livenessCheckMs": 500, "cancelGraceMs": 100 });
    for wait in [200, 600] {
        let mut world = world(&[PRIMARY], options.clone());
        let request = world.acquire(NONE);
        let lease = world.answers[&request].as_ref().unwrap().lease;
        world.query("SET x", lease, NONE);
        world.stall(0);
        world.pool.release(world.now, lease.unwrap(), false);
        world.settle();
        world.pass(Duration::from_millis(wait));
        // Its host is well, and nothing of a caller's was lost.
        let available = usize::from(wait < 500);
        assert_eq!(world.pool.status().size, available, "{wait}");
        let query = world.query("INSERT a", None, NONE);
        world.pass(Duration::from_millis(500));
        assert!(world.answers[&query].is_ok(), "{wait}");
        assert_eq!(world.hosts[0].server.keys, ["a"]);
        assert_eq!(world.pool.status().available, 1);
    }
}
