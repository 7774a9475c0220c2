//! Pools whose hosts refuse every attempt, because no server exists or the pool's login is refused:
//! which calls fail at once, and which wait.

use std::time::Duration;

use super::config;
use crate::base::{Error, ErrorClass, Outcome};
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::sim::cluster::{Reach, World};

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
    // A call is served as soon as a server exists.
    world.hosts[0].reach = Reach::Open;
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(500));
    assert!(world.answers[&request].is_ok());
}

/// A call waits until `acquireTimeoutMs` has passed.
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
fn whoever_refuses_for_good_does_not_end_the_wait_for_a_server_that_has_served() {
    let mut world = world(2, Reach::Open);
    world.hosts[1].reach = Reach::Denying;
    let request = world.query("SELECT", None, NONE);
    assert!(world.answers[&request].is_ok());
    world.crash(0);
    world.settle();
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(300));
    assert!(!world.answers.contains_key(&request), "{:?}", world.answers[&request]);
    world.hosts[0].reach = Reach::Open;
    world.pass(Duration::from_secs(1));
    assert!(world.answers[&request].is_ok());
    // Once this host refuses as well, no waiting helps.
    world.hosts[0].reach = Reach::Denying;
    world.cut(0, "ECONNRESET");
    world.settle();
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.answers[&request].as_ref().err().map(Error::code), Some("28P01"));
}

#[test]
fn what_a_host_refused_before_does_not_end_a_wait_while_it_is_asked_anew() {
    let mut world = world(2, Reach::Refusing);
    world.hosts[0].reach = Reach::Denying;
    let request = world.query("SELECT", None, NONE);
    world.settle();
    assert_eq!(world.answers[&request].as_ref().err().map(Error::code), Some("28P01"));
    // The pool asks no host before the next call. The other host's answer comes first.
    world.pass(Duration::from_secs(10));
    world.hosts[0].reach = Reach::Silent;
    let healed = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(500));
    assert!(!world.answers.contains_key(&healed), "{:?}", world.answers[&healed]);
    world.hosts[0].reach = Reach::Open;
    world.pass(Duration::from_secs(3));
    assert!(world.answers[&healed].is_ok());
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

#[track_caller]
fn assert_left_waiting(world: &mut World, waiting: std::ops::Range<u32>) {
    world.pass(Duration::from_secs(2));
    for request in waiting {
        assert!(!world.answers.contains_key(&request), "{:?}", world.answers[&request]);
    }
    let is_reported = |event: &PoolEvent| match event {
        PoolEvent::Host { error: Some(error), .. } => error.code() == "28P01",
        _ => false,
    };
    assert!(world.events.iter().any(is_reported));
}

/// Once the pool has no session, it refuses calls at once.
#[track_caller]
fn assert_refused_without_sessions(world: &mut World) {
    world.cut(0, "ECONNRESET");
    world.settle();
    let request = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.answers[&request].as_ref().unwrap_err().code(), "28P01");
}

#[test]
fn who_waits_for_an_open_session_is_served_whatever_new_ones_are_told() {
    for mode in ["read-write", "any"] {
        let options = serde_json::json!({ "mode": mode, "livenessCheckMs": 60_000 });
        let mut world = World::new(config(1, options), &ROLES);
        world.query("SELECT", None, NONE);
        world.stall(0);
        world.hosts[0].reach = Reach::Denying;
        let first = world.query("INSERT a", None, NONE);
        (0..6).for_each(|_| assert!(world.query("INSERT a", None, NONE) > first));
        assert_left_waiting(&mut world, first..first + 7);
        world.thaw(0);
        world.settle();
        world.pass(Duration::from_millis(100));
        assert!((first..first + 7).all(|request| world.answers[&request].is_ok()), "{mode}");
        assert_refused_without_sessions(&mut world);
    }
}

#[test]
fn who_waits_for_a_session_that_its_user_gives_back_is_served_by_it() {
    let mut world = World::new(config(1, serde_json::json!({})), &ROLES);
    let lease = world.acquire(NONE);
    let lease = world.answers[&lease].as_ref().unwrap().lease.unwrap();
    world.hosts[0].reach = Reach::Denying;
    let first = world.query("INSERT a", None, NONE);
    assert_left_waiting(&mut world, first..first + 1);
    world.pool.release(world.now, lease, false);
    world.settle();
    world.pass(Duration::from_millis(100));
    assert!(world.answers[&first].is_ok());
    assert_refused_without_sessions(&mut world);
}
