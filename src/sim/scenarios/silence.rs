//! Primaries that fall silent and close nothing, in virtual time.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{answered, config};
use crate::base::Outcome;
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::sim::cluster::World;

const NONE: QueryFlags = QueryFlags(0);
const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;
/// Longer than all questions take, and far less than `livenessCheckMs`.
const SOON: Duration = Duration::from_millis(700);

/// A primary and two standbys, with so many connections to the primary.
fn world(connections: usize, options: serde_json::Value) -> World {
    let mut world = World::new(config(3, options), &[PRIMARY, STANDBY, STANDBY]);
    for (host, started) in world.hosts.iter_mut().zip(1..) {
        host.server.lineage = (7, started, 1);
    }
    let leases: Vec<_> = (0..connections).map(|_| world.acquire(NONE)).collect();
    for lease in leases {
        let lease = world.answers[&lease].as_ref().unwrap().lease.unwrap();
        world.pool.release(world.now, lease, false);
    }
    world.settle();
    // A host gets one login a second.
    world.pass(Duration::from_secs(2));
    world.query("INSERT a", None, NONE);
    assert_eq!(world.connections(0), connections);
    world
}

fn promote(world: &mut World, host: usize) {
    world.hosts[host].server.role = PRIMARY;
    world.hosts[host].server.lineage.2 = 2;
}

fn has_news(world: &World) -> bool {
    let is_news = |event: &PoolEvent| match event {
        PoolEvent::Host { previous, .. } => *previous != "unknown",
        PoolEvent::Primary { previous, .. } => previous.is_some(),
        // Probes come and go.
        PoolEvent::Connect { .. } => false,
        PoolEvent::Remove { error, .. } => error.is_some(),
        _ => true,
    };
    world.events.iter().any(is_news)
}

#[test]
fn a_call_that_finds_a_silent_primary_waits_and_is_served_by_the_promoted_host() {
    let mut world = world(2, serde_json::json!({}));
    world.pass(Duration::from_secs(5));
    world.freeze(0);
    promote(&mut world, 1);
    let write = world.query("INSERT b", None, NONE);
    world.pass(SOON);
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(world.hosts[1].server.keys, ["b"]);
    world.thaw(0);
    world.settle();
    assert!(!world.hosts[0].server.keys.contains(&"b".to_owned()), "it was never sent there");
}

#[test]
fn what_is_in_flight_on_a_silent_primary_is_unknown_once_another_host_has_proved_its_timeline() {
    let mut world = world(2, serde_json::json!({}));
    world.freeze(0);
    let write = world.query("INSERT b", None, NONE);
    world.pass(SOON);
    assert!(!world.answers.contains_key(&write));
    promote(&mut world, 2);
    world.pass(SOON);
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("40003", Some(Outcome::Unknown)));
    let next = world.query("INSERT c", None, NONE);
    assert_eq!(answered(&world, next), "INSERT");
    assert_eq!(world.hosts[2].server.keys, ["c"]);
}

#[test]
fn without_a_promotion_a_silent_primary_keeps_its_seat_and_all_that_is_in_flight() {
    let mut world = world(2, serde_json::json!({}));
    world.freeze(0);
    let sent = world.query("INSERT b", None, NONE);
    world.pass(SOON);
    let held = world.query("INSERT c", None, NONE);
    world.pass(SOON);
    assert_eq!(world.connections(1) + world.connections(2), 2, "each standby is asked");
    world.thaw(0);
    world.settle();
    assert_eq!(
        (answered(&world, sent), answered(&world, held)),
        ("INSERT".into(), "INSERT".into())
    );
    assert!(!has_news(&world), "{:?}", world.events);
    // A host that stutters causes no more logins.
    let logins = world.attempts.len();
    for _ in 0..3 {
        world.freeze(0);
        let sent = world.query("INSERT d", None, NONE);
        world.pass(SOON);
        world.thaw(0);
        world.settle();
        assert_eq!(answered(&world, sent), "INSERT");
    }
    assert_eq!(world.attempts.len(), logins);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.connections(1) + world.connections(2), 0);
    assert_eq!(world.pool.poll_timeout(), None);
}

#[test]
fn a_long_query_on_a_primary_that_answers_is_no_reason_to_ask_others() {
    let mut world = world(2, serde_json::json!({}));
    let logins = world.attempts.len();
    let long = world.sessions(0).next().unwrap();
    // A second connection is free.
    let lease = world.acquire(NONE);
    let lease = world.answers[&lease].as_ref().unwrap().lease;
    world.stall_one(long);
    let query = world.query("SELECT", lease, NONE);
    world.pass(Duration::from_secs(10));
    assert!(!world.answers.contains_key(&query));
    assert_eq!(world.attempts.len(), logins, "no login anywhere");
    world.thaw_one(long);
    world.settle();
    assert_eq!(answered(&world, query), "SELECT");
    assert!(!has_news(&world), "{:?}", world.events);
}

#[test]
fn an_idle_lease_is_asked_where_no_other_connection_is_free() {
    let mut world = world(1, serde_json::json!({ "poolSize": 1 }));
    let lease: Option<NonZeroU32> = {
        let lease = world.acquire(NONE);
        world.answers[&lease].as_ref().unwrap().lease
    };
    world.pass(Duration::from_secs(2));
    world.freeze(0);
    promote(&mut world, 1);
    let write = world.query("INSERT b", None, NONE);
    world.pass(SOON);
    assert_eq!(answered(&world, write), "INSERT");
    // Its caller gets another connection.
    let read = world.query("SELECT", lease, NONE);
    assert_eq!(answered(&world, read), "SELECT");
    assert_eq!(world.hosts[1].server.keys, ["b"]);
}

#[test]
fn a_primary_that_does_not_tell_its_timeline_is_only_suspected_after_its_time() {
    let mut world = World::new(config(2, serde_json::json!({})), &[PRIMARY, STANDBY]);
    world.hosts.iter_mut().for_each(|host| host.server.answers_lineage = false);
    world.query("INSERT a", None, NONE);
    world.pass(Duration::from_secs(5));
    world.freeze(0);
    world.hosts[1].server.role = PRIMARY;
    let first = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.connections(1), 0, "no other host is asked");
    world.pass(Duration::from_secs(5));
    let error = world.answers[&first].as_ref().unwrap_err();
    assert_eq!(error.outcome(), Some(Outcome::Unknown));
    let next = world.query("INSERT d", None, NONE);
    assert_eq!(answered(&world, next), "INSERT");
}

#[test]
fn a_call_that_waits_for_a_silent_primary_in_vain_is_told_so_and_was_not_sent() {
    let mut world = world(2, serde_json::json!({ "acquireTimeoutMs": 800 }));
    world.pass(Duration::from_secs(5));
    world.freeze(0);
    let write = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(1));
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("HYPERION_NO_PRIMARY", Some(Outcome::NotSent)));
    assert!(error.hosts()[0].why.contains("has not answered"), "{:?}", error.hosts());
}
