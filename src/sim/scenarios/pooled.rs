//! Settings that were named at the login, behind a pooler that sets them by itself, and on a
//! server's own sessions.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::from_json;
use crate::connection::Role;
use crate::pool::QueryFlags;
use crate::sim::cluster::World;
use crate::types::Params;

const NONE: QueryFlags = QueryFlags(0);

fn world(is_pooled: bool) -> World {
    let parameters = serde_json::json!({ "TimeZone": "here" });
    let options = serde_json::json!({
        "hosts": ["h0"], "user": "u", "poolSize": 4, "parameters": parameters,
    });
    let mut world = World::new(from_json(&options).unwrap(), &[Role::ReadWrite]);
    world.hosts[0].server.is_pooled = is_pooled;
    world.query("SELECT", None, NONE);
    world
}

/// A caller takes a connection, changes its session, and gives it back.
fn visit(world: &mut World, statement: &str) {
    let request = world.acquire(NONE);
    let lease = world.answers[&request].as_ref().unwrap().lease;
    world.query(statement, lease, NONE);
    release(world, lease);
}

fn release(world: &mut World, lease: Option<NonZeroU32>) {
    let Some(lease) = lease else { panic!("no lease") };
    world.pool.release(world.now, lease, false);
}

#[track_caller]
fn is_served(world: &World, request: u32) {
    assert!(matches!(world.answers.get(&request), Some(Ok(_))), "request {request}");
}

#[test]
fn nobody_has_a_session_from_which_a_reset_has_taken_its_settings() {
    for is_pooled in [false, true] {
        let mut world = world(is_pooled);
        for _ in 0..5 {
            visit(&mut world, "CALL");
            // This call comes before the reset is answered. It waits for that, and not for another
            // connection.
            let next = world.ask("INSERT k", None, NONE, Params::new());
            world.settle();
            is_served(&world, next);
            assert_eq!(world.hosts[0].server.changed_sessions(), 0);
        }
        assert!(!world.hosts[0].server.ran_unset, "pooled: {is_pooled}");
        assert_eq!((world.connections(0), world.attempts.len()), (1, 1), "pooled: {is_pooled}");
    }
}

#[test]
fn a_server_that_was_seen_to_keep_them_is_asked_behind_the_reset() {
    for is_pooled in [false, true] {
        let mut world = world(is_pooled);
        // CALL changes a setting that was named at the login, and SET changes none of these.
        for (statement, is_known) in [("SET x", false), ("SET x", true), ("CALL", false)] {
            visit(&mut world, statement);
            let next = world.ask("INSERT k", None, NONE, Params::new());
            world.pool.flush(world.now);
            let is_sent = world.pool.status().waiting == 0;
            assert_eq!(is_sent, is_known && !is_pooled, "{statement}, pooled: {is_pooled}");
            world.settle();
            is_served(&world, next);
        }
        assert!(!world.hosts[0].server.ran_unset);
    }
}

#[test]
fn a_reset_that_takes_long_is_not_waited_for_where_a_connection_can_be_opened() {
    let mut world = world(true);
    let request = world.acquire(NONE);
    let lease = world.answers[&request].as_ref().unwrap().lease;
    world.query("CALL", lease, NONE);
    world.stall(0);
    release(&mut world, lease);
    let next = world.query("INSERT k", None, NONE);
    assert_eq!((world.attempts.len(), world.pool.status().waiting), (1, 1));
    world.pass(Duration::from_millis(15));
    assert_eq!(world.attempts.len(), 2);
    is_served(&world, next);
    world.thaw(0);
    world.settle();
    assert_eq!((world.connections(0), world.pool.status().available), (2, 2));
    assert!(!world.hosts[0].server.ran_unset);
}
