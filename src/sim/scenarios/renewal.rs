//! Hosts whose open sessions do not show what a new session would: a name or an address that leads
//! to another server by now, and settings that are read at the login.

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
/// By this time at the latest, a host has been asked on a new session and has answered.
const RENEWAL: Duration = Duration::from_millis(1300);

/// One name, which leads to the first of these servers.
fn named(roles: &[Role], options: serde_json::Value) -> World {
    World::new(config(1, options), roles)
}

/// Lets time pass while there is always a call that waits. Returns the last request.
fn wait_in_line(world: &mut World, sql: &str, duration: Duration) -> u32 {
    let end = world.now + duration;
    loop {
        let request = world.query(sql, None, NONE);
        if world.now >= end {
            return request;
        }
        world.pass(Duration::from_millis(100));
    }
}

fn fences(world: &World) -> usize {
    world.events.iter().filter(|event| matches!(event, PoolEvent::Fence { .. })).count()
}

#[test]
fn a_name_that_follows_the_primary_is_followed_though_the_old_server_goes_on_answering() {
    for left in [FENCED, STANDBY] {
        let mut world = named(&[PRIMARY, STANDBY], serde_json::json!({ "maxQueue": 500 }));
        world.query("SELECT", None, NONE);
        world.hosts[0].server.role = left;
        let waiting = wait_in_line(&mut world, "INSERT a", Duration::from_secs(3));
        assert!(!world.answers.contains_key(&waiting));
        world.hosts[1].server.role = PRIMARY;
        world.readdress(0, 1);
        let moved = wait_in_line(&mut world, "INSERT b", RENEWAL);
        assert_eq!(answered(&world, moved), "INSERT");
        assert_eq!(world.hosts[0].server.keys.len(), 0, "nothing is written behind the fence");
        assert_eq!(world.connections(0), 0);
        assert_eq!(fences(&world), 1);
    }
}

#[test]
fn while_none_serves_each_host_is_asked_by_about_one_login_a_second() {
    let options = serde_json::json!({ "maxQueue": 500 });
    let mut world = World::new(config(2, options), &[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.hosts[0].server.role = FENCED;
    wait_in_line(&mut world, "INSERT a", Duration::from_millis(100));
    world.attempts.clear();
    wait_in_line(&mut world, "INSERT a", Duration::from_secs(10));
    for host in 0..2 {
        let logins = world.attempts.iter().filter(|of| **of == host).count();
        assert!((8..=10).contains(&logins), "{logins} logins to one host in 10 s");
        assert_eq!(world.connections(host), 1, "and one session that is asked");
    }
    // A host that is asked every 25 ms shows at once that its fence is lifted.
    world.hosts[0].server.role = PRIMARY;
    let write = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_millis(30));
    assert_eq!(answered(&world, write), "INSERT");
}

#[test]
fn a_host_where_no_new_session_can_be_had_is_asked_on_the_one_that_is_open() {
    for reach in [Reach::Refusing, Reach::Full, Reach::Silent, Reach::BlackHole] {
        let mut world = named(&[PRIMARY], serde_json::json!({ "maxQueue": 500 }));
        world.query("SELECT", None, NONE);
        world.hosts[0].server.role = FENCED;
        world.hosts[0].reach = reach;
        wait_in_line(&mut world, "INSERT a", Duration::from_secs(4));
        assert!(world.connections(0) >= 1);
        world.hosts[0].server.role = PRIMARY;
        let write = world.query("INSERT b", None, NONE);
        world.pass(Duration::from_millis(60));
        assert_eq!(answered(&world, write), "INSERT", "{reach:?}");
    }
}

#[test]
fn a_setting_that_is_read_at_the_login_is_seen_to_be_gone() {
    let mut world = named(&[PRIMARY], serde_json::json!({ "maxQueue": 500 }));
    world.hosts[0].server.role_at_login = Some(FENCED);
    let waiting = wait_in_line(&mut world, "INSERT a", Duration::from_secs(3));
    assert!(!world.answers.contains_key(&waiting));
    world.hosts[0].server.role_at_login = None;
    let write = wait_in_line(&mut world, "INSERT b", RENEWAL);
    assert_eq!(answered(&world, write), "INSERT");
}

#[test]
fn an_older_session_that_such_a_setting_does_not_reach_is_no_reason_to_log_in_again_and_again() {
    let mut world = named(&[PRIMARY], serde_json::json!({ "maxQueue": 500 }));
    let lease = world.acquire(NONE);
    let lease = world.answers[&lease].as_ref().unwrap().lease;
    world.hosts[0].server.role_at_login = Some(FENCED);
    wait_in_line(&mut world, "INSERT a", Duration::from_millis(100));
    world.attempts.clear();
    let end = world.now + Duration::from_secs(10);
    while world.now < end {
        world.query("INSERT a", None, NONE);
        world.query("SELECT", lease, NONE);
        world.pass(Duration::from_millis(50));
    }
    let logins = world.attempts.len();
    assert!((8..=10).contains(&logins), "{logins} logins in 10 s");
    assert!(fences(&world) <= 1, "{} fences", fences(&world));
    world.hosts[0].server.role_at_login = None;
    let write = wait_in_line(&mut world, "INSERT b", RENEWAL);
    assert_eq!(answered(&world, write), "INSERT");
}

#[test]
fn what_a_caller_keeps_on_the_server_that_a_name_has_left_says_nothing_of_the_name() {
    let mut world = named(&[PRIMARY, STANDBY], serde_json::json!({ "maxQueue": 500 }));
    let lease = world.acquire(NONE);
    let lease = world.answers[&lease].as_ref().unwrap().lease;
    // After an answer that its caller has seen, the lease stays on its server.
    world.query("SELECT", lease, NONE);
    world.query("SELECT", None, NONE);
    world.hosts[0].server.role = FENCED;
    world.query("SELECT", lease, NONE);
    world.hosts[1].server.role = PRIMARY;
    world.readdress(0, 1);
    let moved = wait_in_line(&mut world, "INSERT a", RENEWAL);
    assert_eq!(answered(&world, moved), "INSERT");
    let attempts = world.attempts.len();
    for _ in 0..20 {
        world.query("SELECT", lease, NONE);
        let write = world.query("INSERT b", None, NONE);
        assert_eq!(answered(&world, write), "INSERT");
    }
    assert_eq!((fences(&world), world.attempts.len()), (1, attempts));
    assert_eq!(world.connections(0), 1);
    world.pool.release(world.now, lease.unwrap(), false);
    world.settle();
    assert_eq!(world.connections(0), 0, "it goes when its caller is done with it");
}

#[test]
fn where_many_hosts_serve_a_name_whose_server_does_not_fit_is_looked_up_anew() {
    let roles = [PRIMARY, STANDBY, STANDBY];
    for mode in ["standby", "read-only"] {
        // No host fits.
        let options = serde_json::json!({ "mode": mode, "maxQueue": 500 });
        let mut world = World::new(config(1, options.clone()), &roles);
        wait_in_line(&mut world, "SELECT", Duration::from_secs(2));
        world.readdress(0, 1);
        let read = wait_in_line(&mut world, "SELECT", RENEWAL);
        assert_eq!(answered(&world, read), "SELECT");
        // Another host fits.
        let mut world = World::new(config(2, options), &roles);
        wait_in_line(&mut world, "SELECT", Duration::from_secs(2));
        assert_eq!(world.connections(0), 0);
        world.readdress(0, 2);
        for _ in 0..30 {
            for _ in 0..4 {
                world.ask("SELECT", None, NONE, Params::new());
            }
            world.settle();
            world.pass(Duration::from_millis(100));
        }
        assert!(world.connections(2) > 0, "{mode}");
    }
}

#[test]
fn failed_logins_to_where_a_name_leads_now_end_no_query_where_it_led_before() {
    let options = serde_json::json!({ "poolSize": 2 });
    let mut world = World::new(config(2, options), &[STANDBY, STANDBY, PRIMARY]);
    world.readdress(0, 2);
    world.query("SELECT", None, NONE);
    world.stall(2);
    let long = world.query("SELECT", None, NONE);
    world.hosts[0].reach = Reach::BlackHole;
    world.readdress(0, 0);
    world.readdress(1, 2);
    world.query("INSERT a", None, NONE);
    world.pass(Duration::from_secs(20));
    let is_primary = |event: &PoolEvent| matches!(event, PoolEvent::Primary { .. });
    assert_eq!(world.events.iter().filter(|event| is_primary(event)).count(), 2);
    assert!(!world.answers.contains_key(&long));
    world.thaw(2);
    world.settle();
    assert_eq!(answered(&world, long), "SELECT");
}
