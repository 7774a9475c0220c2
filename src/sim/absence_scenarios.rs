//! Pools whose hosts refuse every attempt outright: who is told at once, and who is waited for.

use std::time::Duration;

use super::cluster::{Reach, World};
use super::scenarios::config;
use crate::base::{ErrorClass, Outcome};
use crate::connection::Role;
use crate::pool::QueryFlags;

const NONE: QueryFlags = QueryFlags(0);
const ROLES: [Role; 2] = [Role::ReadWrite, Role::Standby];

fn world(hosts: usize, reach: Reach) -> World {
    let mut world = World::new(config(hosts, serde_json::json!({})), ROLES.get(..hosts).unwrap());
    world.hosts.iter_mut().for_each(|host| host.reach = reach);
    world
}

#[track_caller]
fn assert_unreachable(world: &World, request: u32) {
    let error = world.answers[&request].as_ref().err().unwrap();
    assert_eq!((error.class(), error.code()), (ErrorClass::Connection, "HYPERION_UNREACHABLE"));
    assert_eq!(error.outcome(), Some(Outcome::NotSent));
    assert_eq!(error.cause().unwrap().code(), "ECONNREFUSED");
    assert_eq!(error.hosts().len(), world.hosts.len());
    for report in error.hosts() {
        assert_eq!(report.cause.as_ref().unwrap().code(), "ECONNREFUSED");
    }
}

#[test]
fn where_every_host_refuses_a_new_pool_all_that_wait_are_told_after_one_round() {
    for hosts in 1..=2 {
        let mut world = world(hosts, Reach::Refusing);
        world.pool.ready(world.now, 1_000);
        let request = world.query("SELECT", None, NONE);
        [request, 1_000].iter().for_each(|request| assert_unreachable(&world, *request));
        assert_eq!(world.attempts.len(), hosts);
        let request = world.acquire(NONE);
        world.pass(Duration::from_millis(100));
        assert_unreachable(&world, request);
    }
}

#[test]
fn who_asks_again_waits_for_the_next_attempt_so_that_nobody_runs_a_host_over() {
    let mut world = world(1, Reach::Refusing);
    let (mut failed, began) = (0, world.now);
    while world.now.since(began) < Duration::from_secs(5) {
        let request = world.query("SELECT", None, NONE);
        while !world.answers.contains_key(&request) {
            world.pass(Duration::from_millis(1));
        }
        assert_unreachable(&world, request);
        failed += 1;
    }
    assert!((8..40).contains(&failed), "{failed} failures in 5 s");
    assert_eq!(world.attempts.len(), failed, "one attempt for each");
    // It is served as soon as there is a server.
    world.hosts[0].reach = Reach::Open;
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(500));
    assert!(world.answers[&request].is_ok());
}

/// Until `acquireTimeoutMs` is over.
fn assert_waits(world: &mut World) {
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(4_900));
    assert!(!world.answers.contains_key(&request), "{:?}", world.answers[&request]);
    world.pass(Duration::from_millis(200));
    let error = world.answers[&request].as_ref().err().unwrap();
    assert_eq!(error.class(), ErrorClass::PoolTimeout);
    assert_eq!(error.hosts()[0].cause.as_ref().unwrap().code(), "ECONNREFUSED");
}

#[test]
fn a_host_that_does_not_answer_may_yet_have_a_server() {
    for reach in [Reach::Silent, Reach::BlackHole] {
        let mut world = world(2, Reach::Refusing);
        world.hosts[1].reach = reach;
        assert_waits(&mut world);
    }
}

#[test]
fn a_server_that_has_answered_before_is_waited_for() {
    for first in [Reach::Open, Reach::Full] {
        let mut world = world(2, first);
        let request = world.query("SELECT", None, NONE);
        world.pass(Duration::from_secs(6));
        assert_eq!(world.answers[&request].is_ok(), first == Reach::Open);
        (0..2).for_each(|host| world.crash(host));
        world.settle();
        assert_waits(&mut world);
    }
}

#[test]
fn whoever_says_so_waits_for_servers_that_start_later() {
    let options = serde_json::json!({ "failFast": false });
    let mut world = World::new(config(1, options), &[Role::ReadWrite]);
    world.hosts[0].reach = Reach::Refusing;
    assert_waits(&mut world);
    let request = world.query("SELECT", None, NONE);
    world.hosts[0].reach = Reach::Open;
    world.pass(Duration::from_millis(500));
    assert!(world.answers[&request].is_ok());
}
