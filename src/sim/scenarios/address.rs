//! Names that lead to several servers, by one look-up or by look-ups one after the other.

use std::time::Duration;

use super::{answered, config};
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::sim::cluster::{Reach, World};
use crate::types::Params;

const NONE: QueryFlags = QueryFlags(0);
const PRIMARY: Role = Role::ReadWrite;
const FENCED: Role = Role::ReadOnly;
const STANDBY: Role = Role::Standby;

/// One name, which leads to all hosts.
fn named(roles: &[Role], options: serde_json::Value) -> World {
    let mut world = World::new(config(1, options), roles);
    world.spread(0, &(0..roles.len()).collect::<Vec<_>>());
    world
}

/// Makes several calls at once, and returns their requests.
fn burst(world: &mut World, sql: &str) -> Vec<u32> {
    let requests = (0..6).map(|_| world.ask(sql, None, NONE, Params::new())).collect();
    world.settle();
    requests
}

/// Lets time pass while there is always a call that waits.
fn wait_in_line(world: &mut World, duration: Duration) {
    let end = world.now + duration;
    while world.now < end {
        world.query("INSERT a", None, NONE);
        world.pass(Duration::from_millis(100));
    }
}

/// How many events announced a fence or the state of a host.
fn event_count(world: &World) -> usize {
    let is_news =
        |event: &&PoolEvent| matches!(event, PoolEvent::Fence { .. } | PoolEvent::Host { .. });
    world.events.iter().filter(is_news).count()
}

#[test]
fn the_addresses_of_a_look_up_are_tried_until_one_fits() {
    for other in [FENCED, STANDBY] {
        for roles in [[other, other, PRIMARY], [other, PRIMARY, other], [PRIMARY, other, other]] {
            let mut world = named(&roles, serde_json::json!({}));
            let write = world.query("INSERT a", None, NONE);
            assert_eq!(answered(&world, write), "INSERT", "{roles:?}");
            let primary = roles.iter().position(|role| *role == PRIMARY).unwrap();
            assert_eq!(world.attempts, (0..=primary).collect::<Vec<_>>());
            assert_eq!((0..3).map(|host| world.connections(host)).sum::<usize>(), 1);
            // Later sessions go to the host that fits.
            world.attempts.clear();
            let requests = burst(&mut world, "INSERT b");
            requests.iter().for_each(|request| assert_eq!(answered(&world, *request), "INSERT"));
            assert!(world.attempts.iter().all(|host| *host == primary), "{:?}", world.attempts);
        }
    }
}

#[test]
fn an_address_where_no_session_can_be_had_is_passed_over() {
    for reach in [Reach::Full, Reach::Denying, Reach::Refusing, Reach::BlackHole] {
        let mut world = named(&[PRIMARY, PRIMARY], serde_json::json!({}));
        world.hosts[0].reach = reach;
        let write = world.query("INSERT a", None, NONE);
        assert_eq!(answered(&world, write), "INSERT", "{reach:?}");
        assert_eq!(world.connections(1), 1);
    }
}

#[test]
fn one_that_is_silent_is_passed_over_after_its_time_and_comes_last_from_then_on() {
    let mut world = named(&[PRIMARY, PRIMARY], serde_json::json!({ "connectTimeoutMs": 500 }));
    world.hosts[0].reach = Reach::Silent;
    let write = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(501));
    assert_eq!(answered(&world, write), "INSERT");
    world.attempts.clear();
    burst(&mut world, "INSERT b");
    assert!(!world.attempts.is_empty() && world.attempts.iter().all(|host| *host == 1));
}

#[test]
fn what_no_waiting_heals_is_told_when_every_address_has_said_it() {
    let mut world = named(&[PRIMARY, PRIMARY], serde_json::json!({}));
    world.hosts[0].reach = Reach::Denying;
    world.hosts[1].reach = Reach::Denying;
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(world.answers[&write].as_ref().unwrap_err().code(), "28P01");
    assert_eq!(world.attempts, [0, 1]);
    // A server's error says more than an error that no server exists.
    let mut world = named(&[PRIMARY, PRIMARY], serde_json::json!({}));
    world.hosts[0].reach = Reach::Denying;
    world.hosts[1].reach = Reach::Refusing;
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(world.answers[&write].as_ref().unwrap_err().code(), "28P01");
}

#[test]
fn a_session_that_does_not_fit_at_another_address_says_nothing_of_those_that_serve() {
    for other in [FENCED, STANDBY] {
        let mut world = named(&[other, PRIMARY], serde_json::json!({ "poolSize": 4 }));
        world.spread(0, &[1]);
        world.query("INSERT a", None, NONE);
        let before = event_count(&world);
        // The look-ups lead to the two servers in turn.
        for round in 0..20 {
            world.spread(0, &[round % 2]);
            let requests = burst(&mut world, "INSERT b");
            world.pass(Duration::from_millis(100));
            requests.iter().for_each(|request| assert_eq!(answered(&world, *request), "INSERT"));
        }
        assert_eq!((event_count(&world), world.connections(0)), (before, 0), "{other:?}");
        assert!(world.connections(1) > 1, "the pool has grown");
    }
}

#[test]
fn a_pool_grows_where_it_is_served_as_long_as_the_name_leads_to_none_that_fits() {
    let mut world = named(&[STANDBY, PRIMARY], serde_json::json!({ "poolSize": 4 }));
    let lease = world.acquire(NONE);
    assert!(world.answers[&lease].is_ok());
    let before = event_count(&world);
    world.spread(0, &[0]);
    world.pass(Duration::from_secs(2));
    world.attempts.clear();
    let write = world.query("INSERT b", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!((world.attempts.as_slice(), event_count(&world)), ([0, 1].as_slice(), before));
    // The same if the server to which the name leads is silent, or refuses the login.
    for reach in [Reach::Silent, Reach::Denying] {
        world.hosts[0].reach = reach;
        let lease = world.acquire(NONE);
        world.pass(Duration::from_secs(3));
        assert!(world.answers[&lease].is_ok());
        assert_eq!(event_count(&world), before, "{reach:?}");
    }
    // The only session belongs to a caller, so no call asks on it. A new session at its address
    // shows the role.
    let mut world = named(&[STANDBY, PRIMARY], serde_json::json!({ "poolSize": 4 }));
    let lease = world.acquire(NONE);
    let lease = world.answers[&lease].as_ref().unwrap().lease;
    world.query("SELECT", lease, NONE);
    world.hosts[1].server.role = FENCED;
    world.spread(0, &[0]);
    let write = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(1));
    assert!(!world.answers.contains_key(&write));
    let fences = |event: &&PoolEvent| matches!(event, PoolEvent::Fence { .. });
    assert_eq!(world.events.iter().filter(fences).count(), 1);
}

#[test]
fn sessions_that_serve_are_told_of_their_own_fence_whatever_comes_from_another_address() {
    let mut world = named(&[STANDBY, PRIMARY], serde_json::json!({ "maxQueue": 500 }));
    world.query("INSERT a", None, NONE);
    let keys = world.hosts[1].server.keys.len();
    world.hosts[1].server.role = FENCED;
    let requests = burst(&mut world, "INSERT b");
    world.pass(Duration::from_secs(3));
    assert!(requests.iter().all(|request| !world.answers.contains_key(request)));
    assert_eq!(world.hosts[1].server.keys.len(), keys, "nothing is written behind the fence");
    // Whichever of the two servers becomes the primary, the sessions that ask find it.
    for (host, server) in [(0, PRIMARY), (1, PRIMARY)] {
        let mut world = named(&[STANDBY, FENCED], serde_json::json!({ "maxQueue": 500 }));
        let write = world.query("INSERT b", None, NONE);
        world.pass(Duration::from_millis(500));
        assert_eq!((world.connections(0), world.connections(1)), (1, 1));
        world.hosts[host].server.role = server;
        world.pass(Duration::from_millis(60));
        assert_eq!(answered(&world, write), "INSERT");
    }
}

#[test]
fn while_none_fits_each_address_is_asked_by_about_one_login_a_second() {
    let mut world = named(&[STANDBY, FENCED, STANDBY], serde_json::json!({ "maxQueue": 500 }));
    world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(100));
    world.attempts.clear();
    let before = event_count(&world);
    wait_in_line(&mut world, Duration::from_secs(10));
    for host in 0..3 {
        let logins = world.attempts.iter().filter(|of| **of == host).count();
        assert!((8..=10).contains(&logins), "{logins} logins to one address in 10 s");
        assert_eq!(world.connections(host), 1, "and one session that is asked");
    }
    assert_eq!(event_count(&world), before, "nothing changes");
    // The pool stops asking a server to which the name no longer leads.
    world.spread(0, &[2]);
    wait_in_line(&mut world, Duration::from_millis(1500));
    assert_eq!([0, 1, 2].map(|host| world.connections(host)), [0, 0, 1]);
}

#[test]
fn where_many_hosts_serve_a_name_is_gone_through_as_well() {
    for mode in ["standby", "read-only"] {
        let options = serde_json::json!({ "mode": mode, "poolSize": 4 });
        let mut world = named(&[PRIMARY, STANDBY], options);
        let read = world.query("SELECT", None, NONE);
        assert_eq!(answered(&world, read), "SELECT", "{mode}");
        let requests = burst(&mut world, "SELECT");
        world.pass(Duration::from_millis(300));
        requests.iter().for_each(|request| assert_eq!(answered(&world, *request), "SELECT"));
        assert_eq!(world.connections(0), 0);
    }
}

#[test]
fn an_old_primary_at_another_address_of_the_name_is_not_served_with_the_new_one() {
    for order in [[0, 2], [2, 0]] {
        let options = serde_json::json!({ "poolSize": 4, "maxQueue": 500 });
        let mut world = World::new(config(2, options), &[PRIMARY, STANDBY, PRIMARY]);
        world.hosts[0].server.lineage.2 = 2;
        (0..3).for_each(|n| world.hosts[n].server.lineage.1 = n as u64 + 1);
        world.query("INSERT a", None, NONE);
        world.hosts[0].server.role = FENCED;
        world.spread(0, &order);
        wait_in_line(&mut world, Duration::from_secs(3));
        assert!(world.connections(0) > 0, "the one that is fenced is asked");
        assert!(world.turns < 2_000, "{} turns: nobody is asked without a pause", world.turns);
        world.hosts[0].server.role = PRIMARY;
        wait_in_line(&mut world, Duration::from_millis(1500));
        let requests = burst(&mut world, "INSERT b");
        requests.iter().for_each(|request| assert_eq!(answered(&world, *request), "INSERT"));
        assert_eq!(world.hosts[2].server.keys.len(), 0, "{order:?}");
    }
}
