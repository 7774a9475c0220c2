//! Modes in which many hosts serve, and hosts that stop answering, in virtual time.

use std::time::Duration;

use super::{answered, config};
use crate::base::Outcome;
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::sim::cluster::{Reach, World};
use crate::types::Params;

const NONE: QueryFlags = QueryFlags(0);
const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;

fn world(roles: &[Role], options: serde_json::Value) -> World {
    World::new(config(roles.len(), options), roles)
}

fn counts(world: &World) -> Vec<usize> {
    (0..world.hosts.len()).map(|host| world.connections(host)).collect()
}

/// `count` calls at once.
fn burst(world: &mut World, count: usize) -> Vec<u32> {
    let requests = (0..count).map(|_| world.ask("SELECT", None, NONE, Params::new())).collect();
    world.settle();
    requests
}

/// A query now and then, as an application makes them.
fn use_for(world: &mut World, seconds: u64) {
    for _ in 0..seconds * 10 {
        world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(100));
    }
}

#[test]
fn each_mode_is_served_by_the_hosts_that_fit_and_by_no_other() {
    let roles = [PRIMARY, Role::ReadOnly, STANDBY, STANDBY];
    for (mode, expect) in [
        ("read-write", vec![0]),
        ("read-only", vec![1, 2, 3]),
        ("standby", vec![2, 3]),
        ("prefer-standby", vec![2, 3]),
        ("any", vec![0, 1, 2, 3]),
    ] {
        let mut world = world(&roles, serde_json::json!({ "mode": mode, "poolSize": 8 }));
        for request in burst(&mut world, 64) {
            assert_eq!(answered(&world, request), "SELECT", "{mode}");
        }
        let open: Vec<_> = (0..4).filter(|host| world.connections(*host) > 0).collect();
        assert_eq!(open, expect, "{mode}");
    }
}

#[test]
fn connections_are_spread_evenly_and_never_exceed_the_pool() {
    for balance in ["random", "least-connections", "nearest"] {
        let options = serde_json::json!({ "mode": "any", "poolSize": 6, "loadBalance": balance });
        let mut world = world(&[PRIMARY, STANDBY, STANDBY], options);
        world.query("SELECT", None, NONE);
        burst(&mut world, 200);
        assert_eq!(counts(&world), [2, 2, 2], "{balance}");
    }
}

#[test]
fn a_crowd_goes_to_every_host_that_is_meant_to_serve() {
    for (balance, hosts) in [("random", 3), ("least-connections", 3), ("random", 6)] {
        let options =
            serde_json::json!({ "mode": "any", "poolSize": 2 * hosts, "loadBalance": balance });
        let mut world = world(&vec![STANDBY; hosts], options);
        world.query("SELECT", None, NONE);
        burst(&mut world, 200);
        assert_eq!(counts(&world), vec![2; hosts]);
        let statement = world.pool.statement("SELECT");
        for _ in 0..30 {
            (0..hosts).for_each(|host| world.stall(host));
            for _ in 0..60 {
                world.ask_known(statement);
            }
            world.send();
            let unused = |host: &usize| {
                let mut sessions = world.sessions(*host);
                sessions.all(|id| !world.pool.waits_for(id))
            };
            let unused = (0..hosts).find(unused);
            assert_eq!(unused, None, "{balance} over {hosts} hosts");
            (0..hosts).for_each(|host| world.thaw(host));
            world.settle();
        }
    }
}

#[test]
fn a_near_host_that_was_far_for_a_while_is_the_nearest_again() {
    let options = serde_json::json!({ "mode": "standby", "poolSize": 4, "loadBalance": "nearest" });
    let mut world = world(&[STANDBY, STANDBY], options);
    world.hosts[0].round_trip = Duration::from_millis(60);
    world.hosts[1].round_trip = Duration::from_millis(20);
    use_for(&mut world, 5);
    burst(&mut world, 20);
    use_for(&mut world, 5);
    assert_eq!(counts(&world), [0, 4]);
    world.hosts[0].round_trip = Duration::ZERO;
    use_for(&mut world, 15);
    world.pass(Duration::from_secs(3));
    assert_eq!(counts(&world), [4, 0], "and whatever has measured the other one is gone");
}

#[test]
fn a_host_that_dies_leaves_the_others_as_they_are_and_gets_its_share_back() {
    let options = serde_json::json!({ "mode": "standby", "poolSize": 6 });
    let mut world = world(&[PRIMARY, STANDBY, STANDBY, STANDBY], options);
    world.query("SELECT", None, NONE);
    burst(&mut world, 200);
    assert_eq!(counts(&world), [0, 2, 2, 2]);
    world.crash(1);
    world.settle();
    assert_eq!(counts(&world), [0, 0, 2, 2], "nothing is reshuffled");
    burst(&mut world, 200);
    assert_eq!(counts(&world), [0, 0, 3, 3], "what is missing is opened");

    world.hosts[1].reach = Reach::Open;
    use_for(&mut world, 10);
    burst(&mut world, 200);
    assert_eq!(counts(&world), [0, 2, 2, 2]);
    assert!(world.answers.values().all(Result::is_ok));
}

#[test]
fn prefer_standby_settles_for_the_primary_and_moves_back_one_by_one() {
    let options = serde_json::json!({ "mode": "prefer-standby", "poolSize": 4 });
    let mut world = world(&[PRIMARY, STANDBY], options);
    world.hosts[1].reach = Reach::Refusing;
    world.query("SELECT", None, NONE);
    burst(&mut world, 100);
    assert_eq!(counts(&world), [4, 0]);
    world.hosts[1].reach = Reach::Open;
    let mut most = 0;
    for _ in 0..100 {
        let before = world.connections(1);
        world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(100));
        assert!(world.connections(1) <= before + 1, "one at a time");
        most = most.max(world.connections(0) + world.connections(1));
    }
    assert_eq!(counts(&world), [0, 4]);
    assert!(most <= 5, "poolSize and one that is to take a place: {most}");
    assert!(world.answers.values().all(Result::is_ok));
}

#[test]
fn prefer_standby_waits_for_a_silent_standby_for_a_moment_only() {
    for reach in [Reach::Silent, Reach::BlackHole] {
        let mut world = world(&[PRIMARY, STANDBY], serde_json::json!({ "mode": "prefer-standby" }));
        world.hosts[1].reach = reach;
        let request = world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(249));
        assert!(!world.answers.contains_key(&request), "a standby may still answer");
        world.pass(Duration::from_millis(1));
        assert_eq!(answered(&world, request), "SELECT");
    }
}

#[test]
fn a_standby_that_is_promoted_serves_readers_of_standbys_no_more() {
    let mut world = world(&[PRIMARY, STANDBY, STANDBY], serde_json::json!({ "mode": "standby" }));
    world.query("SELECT", None, NONE);
    burst(&mut world, 100);
    world.hosts[1].server.role = PRIMARY;
    for request in burst(&mut world, 100) {
        assert_eq!(answered(&world, request), "SELECT");
    }
    use_for(&mut world, 1);
    assert_eq!(world.connections(1), 0);
    assert_eq!(world.connections(0), 0);
}

#[test]
fn a_login_that_takes_long_keeps_nobody_waiting_where_another_host_serves() {
    let options = serde_json::json!({ "mode": "standby", "poolSize": 1, "maxUses": 1 });
    let mut world = world(&[STANDBY, STANDBY], options);
    for _ in 0..20 {
        let request = world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(300));
        assert_eq!(answered(&world, request), "SELECT");
        world.hosts[0].reach = Reach::BlackHole;
        assert!(world.pool.status().size <= 1);
    }
    assert!(world.attempts.contains(&0));
}

/// A pool for readers, with two busy connections on a host that accepts writes again, and one
/// connection on another host.
fn two_beside() -> World {
    let options = serde_json::json!({ "mode": "read-only", "poolSize": 4 });
    let mut world = world(&[Role::ReadOnly, STANDBY], options);
    world.hosts[1].reach = Reach::Refusing;
    let first = [(); 2].map(|()| world.acquire(NONE));
    world.hosts[0].server.role = PRIMARY;
    world.hosts[1].reach = Reach::Open;
    world.query("SELECT", None, NONE);
    world.pass(Duration::from_secs(2));
    assert_eq!(counts(&world), [2, 1], "{first:?} go on");
    world
}

#[test]
fn connections_at_work_on_a_host_that_serves_again_count() {
    let mut world = two_beside();
    burst(&mut world, 100);
    assert_eq!(counts(&world), [2, 4], "beside the pool");
    world.hosts[0].server.role = Role::ReadOnly;
    use_for(&mut world, 2);
    assert_eq!(counts(&world), [2, 2]);
}

#[test]
fn a_host_does_not_serve_again_because_it_is_out_of_reach() {
    let mut world = two_beside();
    world.hosts[0].reach = Reach::Refusing;
    let state = |world: &World| world.pool.cluster(world.now).swap_remove(0).view.state;
    while state(&world) == "up" {
        world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(state(&world), "suspected");
    let attempts = world.attempts.len();
    for _ in 0..100 {
        world.ask("SELECT", None, NONE, Params::new());
    }
    world.send();
    let opened = world.attempts.split_off(attempts);
    assert_eq!(opened.iter().filter(|host| **host == 1).count(), 3, "there is room for them");
}

#[test]
fn a_host_that_does_not_answer_is_not_asked_again_and_again() {
    let mut world = world(&[PRIMARY, STANDBY], serde_json::json!({ "mode": "standby" }));
    world.hosts[1].reach = Reach::Silent;
    let request = world.query("SELECT", None, NONE);
    world.freeze(0);
    world.pass(Duration::from_millis(50));
    // About a second after the last attempt, the host is asked on a new session.
    let (at, why) = world.pool.poll_timeout().unwrap();
    assert!(why == "login" && at.since(world.now) > Duration::from_millis(900), "{why}");
    let attempts = world.attempts.len();
    world.pass(Duration::from_millis(1900));
    let anew = world.attempts.split_off(attempts);
    assert_eq!(anew, [0], "and not again while that one is on its way");
    world.thaw(0);
    world.hosts[0].server.role = STANDBY;
    world.settle();
    world.pass(Duration::from_millis(50));
    assert_eq!(answered(&world, request), "SELECT");
}

#[test]
fn no_host_that_fits_is_said_in_the_words_of_the_mode() {
    let mut world = world(&[PRIMARY], serde_json::json!({ "mode": "standby" }));
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_secs(6));
    let error = world.answers[&request].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_NO_HOST");
    assert_eq!(error.message(), "no standby available after 5000ms (h0:5432: takes writes)");
}

#[test]
fn an_idle_pool_of_readers_asks_nobody() {
    let mut world = world(&[PRIMARY, STANDBY, STANDBY], serde_json::json!({ "mode": "standby" }));
    world.hosts[2].reach = Reach::Refusing;
    burst(&mut world, 10);
    world.pass(Duration::from_secs(1));
    let attempts = world.attempts.len();
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.attempts.len(), attempts);
    assert_eq!(world.pool.poll_timeout(), None);
}

#[test]
fn a_dead_host_is_looked_at_about_once_a_second_while_others_serve() {
    let mut world = world(&[STANDBY, STANDBY], serde_json::json!({ "mode": "standby" }));
    world.hosts[1].reach = Reach::Refusing;
    use_for(&mut world, 30);
    let attempts = world.attempts.iter().filter(|host| **host == 1).count();
    assert!((25..=32).contains(&attempts), "{attempts} attempts in 30 s");
}

#[test]
fn a_frozen_primary_is_given_up_when_another_host_is_the_primary() {
    let frozen = |sql: &str, flags: QueryFlags| {
        let mut world = world(&[PRIMARY, STANDBY], serde_json::json!({}));
        // Without timelines nothing but the time shows that a silent primary is gone.
        world.hosts.iter_mut().for_each(|host| host.server.answers_lineage = false);
        world.query("SELECT", None, NONE);
        world.freeze(0);
        let request = world.query(sql, None, flags);
        world.pass(Duration::from_millis(3_999));
        assert_eq!(world.connections(1), 0, "nothing but a liveness probe has been sent");
        world.pass(Duration::from_millis(101));
        assert_eq!(world.connections(1), 1, "a new primary is looked for");
        assert!(!world.answers.contains_key(&request), "it may come back and answer");
        world.hosts[1].server.role = PRIMARY;
        world.pass(Duration::from_millis(50));
        let after = world.query("INSERT b", None, NONE);
        assert_eq!(answered(&world, after), "INSERT");
        world.pass(Duration::from_secs(3));
        assert_eq!(world.connections(0), 0, "nothing of the frozen host is kept");
        (world, request)
    };
    let (world, write) = frozen("INSERT a", NONE);
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!((error.outcome(), error.code()), (Some(Outcome::Unknown), "40003"));
    let (world, read) = frozen("SELECT", QueryFlags::READ_ONLY);
    assert_eq!(answered(&world, read), "SELECT", "it was sent again");
}

#[test]
fn a_frozen_host_that_is_taken_out_of_the_list_keeps_nobody_waiting() {
    let mut world = world(&[PRIMARY, PRIMARY], serde_json::json!({}));
    let take_out = |world: &mut World| {
        let mut hosts = config(2, serde_json::json!({})).hosts;
        hosts.remove(0);
        world.pool.set_hosts(world.now, hosts).unwrap();
    };
    world.hosts[1].reach = Reach::Refusing;
    world.query("SELECT", None, NONE);
    world.freeze(0);
    let write = world.query("INSERT a", None, NONE);
    take_out(&mut world);
    world.pass(Duration::from_millis(3_999));
    assert!(!world.answers.contains_key(&write), "a host that is well may take its time");
    world.pass(Duration::from_millis(1));
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!((error.outcome(), error.code()), (Some(Outcome::Unknown), "40003"));
    assert_eq!(world.connections(0), 0);
    let end = world.end();
    assert!(world.answers[&end].is_ok());
}

#[test]
fn a_long_query_on_a_host_that_is_taken_out_of_the_list_is_left_alone() {
    for reach in [Reach::Open, Reach::Full] {
        let mut world = world(&[PRIMARY, PRIMARY], serde_json::json!({ "poolSize": 1 }));
        world.hosts[1].reach = Reach::Refusing;
        world.query("SELECT", None, NONE);
        world.stall(0);
        let long = world.query("SELECT", None, NONE);
        let mut hosts = config(2, serde_json::json!({})).hosts;
        hosts.remove(0);
        world.pool.set_hosts(world.now, hosts).unwrap();
        world.hosts[0].reach = reach;
        world.pass(Duration::from_secs(600));
        assert!(!world.answers.contains_key(&long));
        world.thaw(0);
        world.settle();
        assert_eq!(answered(&world, long), "SELECT");
        world.pass(Duration::from_secs(3));
        assert_eq!(world.connections(0), 0);
    }
}

#[test]
fn a_frozen_primary_that_comes_back_answers_what_was_asked() {
    let mut world = world(&[PRIMARY, STANDBY], serde_json::json!({}));
    world.query("SELECT", None, NONE);
    world.freeze(0);
    let write = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_secs(6));
    world.thaw(0);
    world.settle();
    world.pass(Duration::from_secs(1));
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(world.hosts[0].server.keys, ["a"]);
    assert_eq!(world.connections(1), 0);
}

#[test]
fn a_long_query_on_a_host_that_lives_is_left_alone() {
    let mut world = world(&[PRIMARY, STANDBY], serde_json::json!({ "poolSize": 1 }));
    world.query("SELECT", None, NONE);
    world.stall(0);
    let long = world.query("SELECT", None, NONE);
    world.pass(Duration::from_secs(600));
    let (logins, total) = (world.attempts.len(), world.connections(0));
    assert_eq!((logins, total), (3, 2), "one liveness probe, and no other attempt");
    assert!(!world.answers.contains_key(&long));
    world.thaw(0);
    world.settle();
    assert_eq!(answered(&world, long), "SELECT");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.connections(0), 1, "the liveness probe goes when nobody waits");
    assert_eq!(world.pool.poll_timeout(), None);
}

/// The state of each event about a host, in order.
fn states(world: &World) -> Vec<&'static str> {
    let state = |event: &PoolEvent| match event {
        PoolEvent::Host { state, .. } => Some(*state),
        _ => None,
    };
    world.events.iter().filter_map(state).collect()
}

/// A pool whose sessions on both hosts have been idle for a while.
fn rested(mode: &str) -> World {
    let mut world = world(&[PRIMARY, STANDBY], serde_json::json!({ "mode": mode }));
    for _ in 0..6 {
        world.ask("SELECT", None, NONE, Params::new());
    }
    world.settle();
    world.pass(Duration::from_secs(5));
    world
}

#[test]
fn idle_sessions_that_are_cut_say_nothing_against_their_host() {
    for mode in ["read-write", "any"] {
        let mut world = rested(mode);
        let earlier = states(&world).len();
        for host in [0, 1] {
            // All of them are cut at once, as by a proxy.
            world.cut(host, "ECONNRESET");
            world.settle();
            world.pass(Duration::from_secs(5));
            assert_eq!(states(&world).split_off(earlier), [""; 0], "{mode}");
            let views = world.pool.cluster(world.now);
            assert!(views.iter().all(|host| host.view.state == "up"), "{mode}");
        }
        let request = world.query("SELECT", None, NONE);
        assert_eq!(answered(&world, request), "SELECT");
    }
}

#[test]
fn a_host_that_dies_while_the_pool_is_idle_is_told_all_the_same() {
    for mode in ["read-write", "any"] {
        let mut world = rested(mode);
        let earlier = states(&world).len();
        world.crash(0);
        world.settle();
        world.pass(Duration::from_millis(10));
        assert_eq!(states(&world).split_off(earlier), ["down"], "{mode}");
    }
}

#[test]
fn a_session_that_is_lost_at_work_is_told_at_once() {
    let mut world = world(&[PRIMARY], serde_json::json!({ "poolSize": 1 }));
    world.query("SELECT", None, NONE);
    world.pass(Duration::from_secs(5));
    world.stall(0);
    world.query("INSERT a", None, NONE);
    world.cut(0, "ECONNRESET");
    world.settle();
    assert_eq!(states(&world), ["up", "suspected", "up"]);
}
