//! Failovers, fences and lost connections in virtual time.

mod absence;
mod address;
mod lease;
mod lifetime;
mod load;
mod mode;
mod overtaking;
mod pooled;
mod renewal;
mod report;
mod rival;
mod silence;
mod value;

use std::num::NonZeroU32;
use std::time::Duration;

use super::cluster::{Reach, TURN, World};
use crate::base::{ErrorClass, Instant, Outcome};
use crate::config::{Config, from_json};
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::types::Params;

const NONE: QueryFlags = QueryFlags(0);

pub(super) fn config(hosts: usize, options: serde_json::Value) -> Config {
    let hosts: Vec<_> = (0..hosts).map(|n| format!("h{n}")).collect();
    // No connection is closed for its age here. `lifetime` tests that.
    let mut all = serde_json::json!({
        "hosts": hosts, "user": "u", "poolSize": 3, "idleTimeoutMs": 0, "maxLifetimeMs": 0,
    });
    if let (Some(all), Some(options)) = (all.as_object_mut(), options.as_object()) {
        all.extend(options.clone());
    }
    from_json(&all).unwrap()
}

fn world(roles: &[Role]) -> World {
    World::new(config(roles.len(), serde_json::json!({})), roles)
}

const TX: QueryFlags = QueryFlags::TRANSACTION;
const ROLLBACK: QueryFlags = QueryFlags(TX.0 | QueryFlags::END.0 | QueryFlags::RELEASE.0);
const COMMIT: QueryFlags = QueryFlags(ROLLBACK.0 | QueryFlags::COMMIT.0);

const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;

/// Takes a connection for a transaction.
#[track_caller]
fn begin(world: &mut World) -> Option<NonZeroU32> {
    let request = world.acquire(TX);
    world.answers[&request].as_ref().unwrap().lease
}

#[track_caller]
pub(super) fn answered(world: &World, request: u32) -> String {
    match world.answers.get(&request) {
        Some(Ok(response)) => response
            .results
            .iter()
            .map(|result| result.command.name())
            .collect::<Vec<_>>()
            .join(";"),
        Some(Err(error)) => panic!("request {request} failed: {error}"),
        None => panic!("request {request} is unsettled"),
    }
}

#[test]
fn the_first_query_finds_the_primary_and_holds_no_session_elsewhere() {
    for primary in 0..3 {
        let mut roles = [STANDBY; 3];
        roles[primary] = PRIMARY;
        let mut world = world(&roles);
        let request = world.query("SELECT", None, NONE);
        assert_eq!(answered(&world, request), "SELECT");
        for host in 0..3 {
            assert_eq!(world.connections(host), usize::from(host == primary));
        }
        assert_eq!(world.attempts.len(), 3, "all hosts were raced");
    }
}

#[test]
fn silent_and_black_holed_hosts_cost_no_time_at_all() {
    for reach in [Reach::Silent, Reach::BlackHole, Reach::Refusing] {
        let mut world = world(&[PRIMARY, PRIMARY, PRIMARY]);
        world.hosts[0].reach = reach;
        world.hosts[1].reach = reach;
        let request = world.query("SELECT", None, NONE);
        assert_eq!(answered(&world, request), "SELECT");
        let began = Instant::ORIGIN;
        assert_eq!(world.now, began + TURN * world.turns, "no deadline had to pass");
        // These hosts might claim to be the primary too, so the pool listens to them as long as a
        // login may take.
        world.pass(Duration::from_secs(2));
        assert_eq!(world.connections(0) + world.connections(1), 0);
        assert_eq!(world.pool.poll_timeout(), None);
    }
}

#[test]
fn a_crash_is_followed_and_the_promoted_standby_serves_at_once() {
    let mut world = world(&[PRIMARY, STANDBY, STANDBY]);
    let first = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, first), "INSERT");
    world.crash(0);
    world.settle();
    let waiting = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_millis(500));
    assert!(!world.answers.contains_key(&waiting));
    assert_eq!((world.connections(1), world.connections(2)), (1, 1), "standbys are asked");

    world.hosts[2].server.role = PRIMARY;
    let attempts = world.attempts.iter().filter(|host| **host == 2).count();
    world.pass(Duration::from_millis(25));
    assert_eq!(answered(&world, waiting), "INSERT");
    assert_eq!(world.hosts[2].server.keys, ["b"]);
    assert_eq!(world.connections(1), 0);
    let later = world.attempts.iter().filter(|host| **host == 2).count();
    assert_eq!(attempts, later, "the session that was open already served");
    let is_failover = |event: &PoolEvent| {
        matches!(event, PoolEvent::Primary { host, previous: Some(previous), .. }
            if &**host == "h2:5432" && &**previous == "h0:5432")
    };
    assert!(world.events.iter().any(is_failover), "{:?}", world.events);
}

#[test]
fn an_orderly_shutdown_of_idle_sessions_fails_nothing() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.shut_down(0);
    world.hosts[1].server.role = PRIMARY;
    let request = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(50));
    assert_eq!(answered(&world, request), "INSERT");
    assert_eq!(world.hosts[1].server.keys, ["a"]);
}

#[test]
fn a_write_behind_a_fenced_barrier_goes_to_the_new_primary_once() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.hosts[0].server.role = Role::ReadOnly;
    world.hosts[1].server.role = PRIMARY;
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(world.hosts[0].server.keys, [""; 0]);
    assert_eq!(world.hosts[1].server.keys, ["a"]);
    assert!(world.events.iter().any(|event| matches!(event, PoolEvent::Fence { .. })));
}

#[test]
fn a_read_behind_a_fenced_barrier_is_thrown_away() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.hosts[0].server.role = Role::ReadOnly;
    let read = world.query("SELECT", None, NONE);
    assert!(!world.answers.contains_key(&read), "the fenced node's answer is not handed out");
    world.pass(Duration::from_secs(6));
    let error = world.answers[&read].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_NO_PRIMARY");
    assert_eq!(error.class(), ErrorClass::PoolTimeout);
    assert_eq!(
        error.message(),
        "no writable primary available after 5000ms (h0:5432: is read-only \
         (default_transaction_read_only is on: a fence, or a setting of this role or database); h1:5432: is a standby (in recovery))"
    );
}

#[test]
fn answers_that_come_in_one_read_with_a_fence_are_all_settled() {
    let mut world = World::new(config(1, serde_json::json!({ "poolSize": 2 })), &[PRIMARY]);
    let lease = begin(&mut world);
    world.query("SELECT", lease, TX);
    let select = world.pool.statement("SELECT");
    for _ in 0..2 {
        world.ask_known(select);
        world.settle();
    }
    assert_eq!(world.connections(0), 2);
    // The first connection will be idle when the second one hears of the fence.
    world.ask("COMMIT", lease, COMMIT, Params::new());
    world.send();
    let reads = [(); 3].map(|()| world.ask_known(select));
    world.hosts[0].server.role = Role::ReadOnly;
    world.send();
    assert_eq!(world.pool.status().waiting, 0, "all share one connection");
    world.settle();
    assert_eq!(world.pool.status().waiting, 3, "none was handed out, none was lost");
    world.hosts[0].server.role = PRIMARY;
    world.pass(Duration::from_millis(100));
    for read in reads {
        assert_eq!(answered(&world, read), "SELECT");
    }
}

#[test]
fn the_first_flight_of_a_transaction_moves_from_a_fenced_host_to_the_new_primary() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.hosts[0].server.role = Role::ReadOnly;
    world.hosts[1].server.role = PRIMARY;
    let lease = begin(&mut world);
    world.query("INSERT a", lease, TX);
    assert_eq!(world.hosts[1].server.keys, [""; 0], "nothing is visible before COMMIT");
    let commit = world.query("COMMIT", lease, COMMIT);
    assert_eq!(answered(&world, commit), "COMMIT");
    assert_eq!(world.hosts[1].server.keys, ["a"]);
    assert_eq!(world.pool.status().in_use, 0);
}

#[test]
fn a_lost_transaction_is_not_committed_and_a_lost_commit_is_unknown() {
    for (sql, flags, outcome, code) in [
        ("INSERT b", TX, Outcome::NotCommitted, "HYPERION_CONNECTION_LOST"),
        ("COMMIT", COMMIT, Outcome::Unknown, "40003"),
    ] {
        let mut world = world(&[PRIMARY]);
        let lease = begin(&mut world);
        world.query("INSERT a", lease, TX);
        // The server takes the statement, and dies before its answer arrives.
        world.hosts[0].server.hang_up_all();
        let lost = world.query(sql, lease, flags);
        world.crash(0);
        world.settle();
        let error = world.answers[&lost].as_ref().unwrap_err();
        assert_eq!((error.outcome(), error.code()), (Some(outcome), code), "{sql}");
        let after = world.query("SELECT", lease, TX);
        let error = world.answers[&after].as_ref().unwrap_err();
        // The COMMIT was the last call of its lease, even if it failed.
        let expect = if flags == TX { Outcome::NotCommitted } else { Outcome::NotSent };
        assert_eq!(error.outcome(), Some(expect));
    }
}

#[test]
fn a_lost_write_is_unknown_and_a_declared_read_is_sent_again() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.hosts[0].server.hang_up_all();
    let write = world.query("INSERT a", None, NONE);
    let read = world.query("SELECT", None, QueryFlags::READ_ONLY);
    world.crash(0);
    world.hosts[1].server.role = PRIMARY;
    world.settle();
    world.pass(Duration::from_millis(50));
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!((error.outcome(), error.code()), (Some(Outcome::Unknown), "40003"));
    assert_eq!(answered(&world, read), "SELECT");
    assert_eq!(world.hosts[1].server.keys, [""; 0], "an unknown write is not sent again");
}

#[test]
fn all_hosts_down_is_asked_at_a_bounded_rate_and_healed() {
    let options = serde_json::json!({ "failFast": false });
    let mut world = World::new(config(3, options), &[PRIMARY, STANDBY, STANDBY]);
    for host in &mut world.hosts {
        host.reach = Reach::Refusing;
    }
    let request = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(4_900));
    assert!(!world.answers.contains_key(&request));
    assert!(world.attempts.len() < 3 * 40, "{} attempts in 5 s", world.attempts.len());
    world.hosts[0].reach = Reach::Open;
    let waiting = world.query("SELECT", None, NONE);
    world.pass(Duration::from_millis(600));
    assert!(world.answers[&request].is_err(), "its time was over");
    assert_eq!(answered(&world, waiting), "SELECT");
}

#[test]
fn an_outage_lasts_while_a_host_is_looked_for_and_not_while_nobody_asks() {
    let mut world = world(&[PRIMARY, STANDBY]);
    let outages = |world: &World| {
        let outage = |event: &PoolEvent| match event {
            PoolEvent::Primary { outage, .. } => Some(*outage),
            _ => None,
        };
        world.events.iter().filter_map(outage).collect::<Vec<_>>()
    };
    world.pass(Duration::from_secs(3600));
    world.query("SELECT", None, NONE);
    assert_eq!(outages(&world), [TURN * 2], "a login");
    world.crash(0);
    world.settle();
    world.pass(Duration::from_secs(1));
    world.hosts[1].server.role = PRIMARY;
    world.pass(Duration::from_millis(50));
    let outages = outages(&world);
    let [_, outage] = outages.as_slice() else { panic!("{outages:?}") };
    assert!((1000..=1050).contains(&outage.as_millis()), "{outage:?}");
}

#[test]
fn an_idle_pool_has_no_deadline() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    assert_eq!(world.pool.poll_timeout(), None);
    world.crash(0);
    world.settle();
    // The pool looks for the new primary for a while, and then asks no host any more.
    assert!(world.pool.poll_timeout().is_some());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.pool.poll_timeout(), None);
    assert_eq!(world.connections(1), 0);
}

#[test]
fn end_drains_and_closes_everything() {
    let mut world = world(&[PRIMARY, STANDBY]);
    let lease = begin(&mut world);
    let end = world.end();
    assert!(!world.answers.contains_key(&end), "a transaction is open");
    let refused = world.query("SELECT", None, NONE);
    assert_eq!(world.answers[&refused].as_ref().unwrap_err().code(), "HYPERION_POOL_CLOSED");
    world.query("SELECT", lease, TX);
    let rollback = world.query("ROLLBACK", lease, ROLLBACK);
    assert_eq!(answered(&world, rollback), "ROLLBACK");
    assert!(world.answers[&end].is_ok());
    assert_eq!(world.hosts[0].server.session_count(), 0);
    assert!(!world.pool.keeps_loop_alive());
}

#[test]
fn a_parameter_that_needs_its_type_keeps_its_place_in_a_transaction() {
    let mut world = world(&[PRIMARY]);
    let lease = begin(&mut world);
    let (mut bytes, none) = (Params::new(), Params::new());
    bytes.push_bytes(b"x").unwrap();
    let first = world.ask("INSERT $1", lease, TX, bytes);
    let second = world.ask("INSERT b", lease, TX, none);
    world.settle();
    assert_eq!(answered(&world, first), "INSERT");
    assert_eq!(answered(&world, second), "INSERT");
    world.query("COMMIT", lease, COMMIT);
    assert_eq!(world.hosts[0].server.keys, ["x", "b"]);
}

#[test]
fn a_read_that_ran_for_long_waits_for_the_next_primary_as_long_as_any_other() {
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    world.stall(0);
    let read = world.query("SELECT", None, QueryFlags::READ_ONLY);
    world.pass(Duration::from_secs(10));
    world.crash(0);
    world.settle();
    world.pass(Duration::from_millis(4_900));
    world.hosts[1].server.role = PRIMARY;
    world.pass(Duration::from_millis(90));
    assert_eq!(answered(&world, read), "SELECT");

    world.stall(1);
    let read = world.query("SELECT", None, QueryFlags::READ_ONLY);
    world.crash(1);
    world.settle();
    world.pass(Duration::from_millis(5_010));
    let error = world.answers[&read].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_NO_PRIMARY");
    assert_eq!(
        error.outcome(),
        Some(Outcome::NotCommitted),
        "it may have run, and changes nothing"
    );
}

#[test]
fn what_a_pooler_has_never_handed_on_is_sent_again_while_there_is_time() {
    for said in [
        ("08P01", "query_wait_timeout"),
        ("08P01", "server login has been failing, cached error: x"),
        ("28000", "role \"u\" is not permitted to log in"),
        ("28P01", "password authentication failed for user \"u\""),
        ("55000", "database \"u\" is not currently accepting connections"),
    ] {
        let mut world = world(&[PRIMARY]);
        world.query("SELECT", None, NONE);
        world.stall(0);
        let write = world.query("INSERT a", None, NONE);
        world.pass(Duration::from_millis(1_000));
        world.dismiss(0, said);
        world.settle();
        world.pass(Duration::from_millis(1_000));
        assert_eq!(answered(&world, write), "INSERT");
        assert_eq!(world.hosts[0].server.keys, ["a"]);
    }
}

#[test]
fn the_time_in_a_pooler_s_line_is_time_in_line() {
    let mut world =
        World::new(config(1, serde_json::json!({ "acquireTimeoutMs": 800 })), &[PRIMARY]);
    world.query("SELECT", None, NONE);
    world.stall(0);
    let write = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(1_000));
    assert!(!world.answers.contains_key(&write));
    world.dismiss(0, ("08P01", "query_wait_timeout"));
    world.settle();
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!(error.outcome(), Some(Outcome::NotSent));
    assert_eq!(error.code(), "HYPERION_CONNECTION_LOST");
    assert_eq!(error.cause().map(|cause| cause.message()), Some("query_wait_timeout"));
    assert!(world.hosts[0].server.keys.is_empty());
}

#[test]
fn what_a_pooler_says_of_a_server_that_was_at_work_proves_nothing() {
    for said in [
        ("08P01", "query_timeout"),
        ("08P01", "server conn crashed?"),
        ("08P01", "database removed"),
        ("57P01", "terminating connection due to administrator command"),
    ] {
        let mut world = world(&[PRIMARY]);
        world.query("SELECT", None, NONE);
        world.stall(0);
        let write = world.query("INSERT a", None, NONE);
        world.dismiss(0, said);
        world.settle();
        let error = world.answers[&write].as_ref().unwrap_err();
        assert_eq!((error.code(), error.outcome()), ("40003", Some(Outcome::Unknown)));
    }
}

#[test]
fn a_name_that_leads_to_another_server_vouches_for_none_that_is_silent() {
    // The name's server is frozen during a call, and then the name leads to the server that was
    // promoted in its place.
    let options = serde_json::json!({ "poolSize": 4 });
    let mut world = World::new(config(1, options), &[PRIMARY, PRIMARY]);
    world.query("SELECT", None, NONE);
    world.query("INSERT a", None, NONE);
    world.freeze(0);
    let stuck = world.query("INSERT b", None, NONE);
    world.readdress(0, 1);
    let moved = world.query("INSERT c", None, NONE);
    for _ in 0..20 {
        world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(300));
    }
    let error = world.answers.get(&stuck).expect("it is told").as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("40003", Some(Outcome::Unknown)));
    assert_eq!(answered(&world, moved), "INSERT");
    assert_eq!(world.connections(0), 0, "nothing more is given to the silent one");
    let next = world.query("INSERT d", None, NONE);
    assert_eq!(answered(&world, next), "INSERT");
}

#[test]
fn a_silent_session_is_given_up_where_the_pool_has_no_room_for_another_one() {
    let mut world = World::new(config(1, serde_json::json!({ "poolSize": 1 })), &[PRIMARY; 2]);
    world.query("INSERT a", None, NONE);
    world.freeze(0);
    let stuck = world.query("INSERT b", None, NONE);
    world.readdress(0, 1);
    let next = world.query("INSERT c", None, NONE);
    world.pass(Duration::from_secs(10));
    let error = world.answers.get(&stuck).expect("it is told").as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("40003", Some(Outcome::Unknown)));
    let after = world.query("INSERT d", None, NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(answered(&world, after), "INSERT");
    assert!(world.answers.contains_key(&next));
}

#[test]
fn a_long_call_on_a_server_that_lives_is_left_alone_though_its_name_leads_elsewhere() {
    let mut world = World::new(config(1, serde_json::json!({ "poolSize": 4 })), &[PRIMARY; 2]);
    world.query("SELECT", None, NONE);
    world.stall(0);
    let long = world.query("SELECT", None, NONE);
    world.readdress(0, 1);
    for _ in 0..40 {
        world.query("SELECT", None, NONE);
        world.pass(Duration::from_millis(500));
    }
    assert!(!world.answers.contains_key(&long));
    world.thaw(0);
    world.settle();
    assert_eq!(answered(&world, long), "SELECT");
}
