//! Calls whose values are supplied once their types are known, in virtual time: what waits for
//! them, and what becomes of them when their connection is lost, their caller gives up, or the pool
//! ends.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{answered, config};
use crate::base::Outcome;
use crate::connection::Role;
use crate::pool::{Query, QueryFlags};
use crate::sim::cluster::World;
use crate::types::Params;

const LATE: QueryFlags = QueryFlags::VALUES_TO_COME.with(QueryFlags::CANCELLABLE);
const TX: QueryFlags = QueryFlags::TRANSACTION;
const COMMIT: QueryFlags =
    TX.with(QueryFlags::END).with(QueryFlags::RELEASE).with(QueryFlags::COMMIT);
const PRIMARY: Role = Role::ReadWrite;

fn world(roles: &[Role]) -> World {
    let options = serde_json::json!({ "poolSize": 1 });
    let mut world = World::new(config(roles.len(), options), roles);
    world.query("SELECT", None, QueryFlags::default());
    world
}

fn lease(world: &mut World) -> Option<NonZeroU32> {
    let request = world.acquire(TX);
    world.answers[&request].as_ref().unwrap().lease
}

fn value(text: &str) -> Params {
    let mut params = Params::new();
    params.push_text(text).unwrap();
    params
}

#[test]
fn a_call_without_values_holds_no_connection_up() {
    let mut world = world(&[PRIMARY]);
    let late = world.query("INSERT $1", None, LATE);
    assert_eq!(world.typed, [late]);
    let other = world.query("INSERT b", None, QueryFlags::default());
    assert_eq!(answered(&world, other), "INSERT");
    world.supply(late, value("a"));
    assert_eq!(answered(&world, late), "INSERT");
    assert_eq!(world.hosts[0].server.keys, ["b", "a"]);
    // Values that are supplied a second time are ignored.
    world.supply(late, value("c"));
    assert_eq!((world.hosts[0].server.keys.len(), world.typed.len()), (2, 1));
}

#[test]
fn what_users_made_is_told_before_values_are_asked_for() {
    let mut world = world(&[PRIMARY]);
    let late = world.query("SELECT mood", None, LATE);
    assert_eq!((&world.typed[..], world.hosts[0].server.types_asked), (&[late][..], 1));
    world.supply(late, Params::new());
    assert_eq!(answered(&world, late), "SELECT");
    assert_eq!(world.hosts[0].server.types_asked, 1);
}

#[test]
fn values_are_sent_for_the_types_for_which_they_were_written() {
    let mut world = world(&[PRIMARY]);
    let late = world.query("INSERT $1", None, LATE);
    world.hosts[0].server.parameter_oid = 25;
    world.supply(late, value("a"));
    assert_eq!((&world.typed[..], world.hosts[0].server.keys.len()), (&[late, late][..], 0));
    world.supply(late, value("b"));
    assert_eq!(answered(&world, late), "INSERT");
    assert_eq!(world.hosts[0].server.keys, ["b"]);
}

#[test]
fn values_that_were_written_before_are_taken_where_they_fit_again() {
    let mut world = world(&[PRIMARY]);
    let late = world.query("INSERT $1", None, LATE);
    world.hosts[0].server.parameter_oid = 25;
    world.supply(late, value("a"));
    world.hosts[0].server.parameter_oid = 17;
    world.supply(late, value("b"));
    assert_eq!((answered(&world, late), world.typed.len()), ("INSERT".to_owned(), 2));
    assert_eq!(world.hosts[0].server.keys, ["a"]);
}

#[test]
fn values_that_came_with_their_call_are_asked_for_where_a_session_has_other_types() {
    let mut world = world(&[PRIMARY]);
    let statement = world.pool.statement("INSERT $1");
    let late = world.ask_flagged(statement, LATE);
    world.settle();
    world.supply(late, value("a"));
    let ask = |world: &mut World, request, text| {
        let (lease, params, flags) = (None, value(text), QueryFlags::VALUES_WRITTEN);
        world.pool.query(world.now, Query { request, lease, statement, params, flags });
        world.settle();
    };
    ask(&mut world, 1001, "b");
    ask(&mut world, 1002, "c");
    assert_eq!((&world.typed[..], answered(&world, 1002)), (&[late][..], "INSERT".to_owned()));
    world.hosts[0].server.parameter_oid = 25;
    world.cut(0, "ECONNRESET");
    world.settle();
    world.pass(Duration::from_secs(1));
    ask(&mut world, 1003, "d");
    assert_eq!(world.typed, [late, 1003]);
    world.supply(1003, value("e"));
    assert_eq!(answered(&world, 1003), "INSERT");
    assert_eq!(world.hosts[0].server.keys, ["a", "b", "c", "e"]);
}

#[test]
fn values_whose_types_change_each_time_are_not_asked_for_without_end() {
    for in_transaction in [false, true] {
        let acquire_timeout = Duration::from_secs(2);
        let options = serde_json::json!({ "poolSize": 1, "acquireTimeoutMs": 2000 });
        let mut world = World::new(config(1, options), &[PRIMARY]);
        world.query("SELECT", None, QueryFlags::default());
        let lease = if in_transaction { lease(&mut world) } else { None };
        let flags = if in_transaction { TX.with(LATE) } else { LATE };
        let late = world.ask("INSERT $1", lease, flags, Params::new());
        world.settle();
        let change = |world: &mut World| {
            world.hosts[0].server.parameter_oid += 1;
            world.supply(late, value("a"));
        };
        let begun = world.now;
        // While no time passes, the call pauses after a few times.
        (0..100).for_each(|_| change(&mut world));
        assert!(world.typed.len() < 20 && !world.answers.contains_key(&late));
        while !world.answers.contains_key(&late) {
            assert!(world.typed.len() < 100);
            world.pass(Duration::from_millis(32));
            change(&mut world);
        }
        assert!(world.now.since(begun) >= acquire_timeout);
        let error = world.answers[&late].as_ref().unwrap_err();
        let told = (error.code(), error.outcome());
        assert_eq!(told, ("HYPERION_UNRESOLVED_TYPES", Some(Outcome::NotSent)));
        if in_transaction {
            let behind = world.query("INSERT b", lease, TX);
            assert_eq!(answered(&world, behind), "INSERT");
            world.query("COMMIT", lease, COMMIT);
        }
        assert_eq!(world.hosts[0].server.keys.len(), usize::from(in_transaction));
    }
}

#[test]
fn in_a_transaction_it_keeps_its_place() {
    let mut world = world(&[PRIMARY]);
    let lease = lease(&mut world);
    let before = world.ask("INSERT a", lease, TX, Params::new());
    let late = world.ask("INSERT $1", lease, TX.with(LATE), Params::new());
    let behind = world.ask("INSERT c", lease, TX, Params::new());
    let commit = world.ask("COMMIT", lease, COMMIT, Params::new());
    world.settle();
    assert_eq!(answered(&world, before), "INSERT");
    assert!([late, behind, commit].iter().all(|request| !world.answers.contains_key(request)));
    world.supply(late, value("b"));
    assert_eq!(answered(&world, commit), "COMMIT");
    assert_eq!(world.hosts[0].server.keys, ["a", "b", "c"]);
}

#[test]
fn a_failover_before_and_behind_the_types_is_not_noticed() {
    for typed_before in [false, true] {
        for in_transaction in [false, true] {
            let mut world = world(&[PRIMARY, Role::Standby]);
            let lease = if in_transaction { lease(&mut world) } else { None };
            let flags = if in_transaction { TX.with(LATE) } else { LATE };
            let late = world.ask("INSERT $1", lease, flags, Params::new());
            if typed_before {
                world.settle();
            } else {
                // The server takes the question, and dies before its answer arrives.
                world.hosts[0].server.hang_up_all();
                world.send();
            }
            assert_eq!(world.typed.len(), usize::from(typed_before));
            world.crash(0);
            world.hosts[1].server.role = PRIMARY;
            world.settle();
            world.pass(Duration::from_secs(1));
            let case = (typed_before, in_transaction);
            assert!(!world.answers.contains_key(&late), "{case:?}: {:?}", world.answers[&late]);
            assert!(!world.typed.is_empty(), "{case:?}");
            world.supply(late, value("a"));
            assert_eq!(answered(&world, late), "INSERT", "{case:?}");
            if in_transaction {
                world.query("COMMIT", lease, COMMIT);
            }
            assert_eq!(world.hosts[1].server.keys, ["a"], "{case:?}");
        }
    }
}

#[test]
fn it_can_be_given_up_and_those_behind_it_go_on() {
    let mut world = world(&[PRIMARY]);
    let late = world.query("INSERT $1", None, LATE);
    world.pool.cancel(world.now, late);
    world.settle();
    let error = world.answers[&late].as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("HYPERION_ABORTED", Some(Outcome::NotSent)));

    let lease = lease(&mut world);
    let late = world.ask("INSERT $1", lease, TX.with(LATE), Params::new());
    let behind = world.ask("INSERT b", lease, TX, Params::new());
    world.pool.limit(world.now, late, Some(Duration::from_millis(10)));
    world.settle();
    assert!(!world.answers.contains_key(&behind));
    world.pass(Duration::from_millis(10));
    let error = world.answers[&late].as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("HYPERION_QUERY_TIMEOUT", Some(Outcome::NotSent)));
    assert_eq!(answered(&world, behind), "INSERT");
    world.supply(late, value("a"));
    world.query("COMMIT", lease, COMMIT);
    assert_eq!(world.hosts[0].server.keys, ["b"]);
}

#[test]
fn a_pool_ends_when_it_is_done() {
    let mut world = world(&[PRIMARY]);
    let late = world.query("INSERT $1", None, LATE);
    let end = world.end();
    assert!(!world.answers.contains_key(&end) && world.pool.keeps_loop_alive());
    world.supply(late, value("a"));
    assert_eq!(answered(&world, late), "INSERT");
    assert!(world.answers[&end].is_ok() && world.pool.has_ended());
}

#[test]
fn what_types_are_called_is_not_taken_over_to_another_cluster() {
    let options = serde_json::json!({ "poolSize": 2, "mode": "any" });
    let mut world = World::new(config(1, options), &[PRIMARY]);
    let name = |world: &World, request| {
        let results = &world.answers[&request].as_ref().unwrap().results;
        let shape = results[0].shape.as_ref().unwrap().to_json();
        let at = shape.find("\"typeName\":\"").unwrap() + 12;
        shape[at..].split('"').next().unwrap().to_owned()
    };
    let ask = |world: &mut World| {
        let request = world.query("SELECT mood", None, QueryFlags::default());
        name(world, request)
    };
    assert_eq!((ask(&mut world), ask(&mut world)), ("mood".to_owned(), "mood".to_owned()));
    assert_eq!(world.hosts[0].server.types_asked, 1);
    let expire = |world: &mut World, system, mood| {
        world.cut(0, "ECONNRESET");
        let server = &mut world.hosts[0].server;
        (server.lineage.0, server.mood, server.types_asked) = (system, mood, 0);
        world.settle();
        world.pass(Duration::from_secs(1));
    };
    // A new session of the same database asks only which database it is in.
    expire(&mut world, 7, "mood");
    assert_eq!((ask(&mut world), world.hosts[0].server.types_asked), ("mood".to_owned(), 0));
    expire(&mut world, 8, "size");
    assert_eq!((ask(&mut world), world.hosts[0].server.types_asked), ("size".to_owned(), 1));
    // The same in a transaction.
    expire(&mut world, 9, "color");
    let lease = lease(&mut world);
    let request = world.query("SELECT mood", lease, TX);
    assert_eq!(name(&world, request), "color");
    world.query("COMMIT", lease, COMMIT);
    // If a role may not ask for the cluster, the refusal ends no transaction, and the known types
    // stay.
    world.hosts[0].server.answers_lineage = false;
    expire(&mut world, 9, "color");
    assert_eq!((ask(&mut world), world.hosts[0].server.types_asked), ("color".to_owned(), 0));
}

#[test]
fn what_types_are_called_is_not_taken_over_to_a_cluster_that_has_lost_some() {
    let name = |world: &mut World| {
        let request = world.query("SELECT mood", None, QueryFlags::default());
        let results = &world.answers[&request].as_ref().unwrap().results;
        let shape = results[0].shape.as_ref().unwrap().to_json();
        let at = shape.find("\"typeName\":\"").unwrap() + 12;
        shape[at..].split('"').next().unwrap().to_owned()
    };
    // Another host serves, which lacks the newest types.
    let mut world = World::new(config(2, serde_json::json!({})), &[PRIMARY, Role::Standby]);
    assert_eq!(name(&mut world), "mood");
    world.crash(0);
    world.settle();
    world.hosts[1].server.mood = "size";
    world.hosts[1].server.role = PRIMARY;
    world.pass(Duration::from_secs(1));
    assert_eq!(name(&mut world), "size");
    // The server was restored from a backup, and the pool has not noticed.
    let mut world = World::new(config(1, serde_json::json!({})), &[PRIMARY]);
    assert_eq!(name(&mut world), "mood");
    world.cut(0, "ECONNRESET");
    let server = &mut world.hosts[0].server;
    (server.lineage.1, server.mood) = (1, "size");
    world.settle();
    world.pass(Duration::from_secs(1));
    assert_eq!(name(&mut world), "size");
}

#[test]
fn a_refused_question_for_the_cluster_ends_no_transaction() {
    let mut world = world(&[PRIMARY]);
    world.hosts[0].server.answers_lineage = false;
    let lease = lease(&mut world);
    world.query("INSERT a", lease, TX);
    for _ in 0..2 {
        let request = world.query("SELECT mood", lease, TX);
        let results = &world.answers[&request].as_ref().unwrap().results;
        let shape = results[0].shape.as_ref().unwrap().to_json();
        assert!(shape.contains(r#""typeName":"mood""#), "{shape}");
    }
    let commit = world.query("COMMIT", lease, COMMIT);
    assert_eq!(answered(&world, commit), "COMMIT");
    assert_eq!((world.hosts[0].server.keys.len(), world.hosts[0].server.types_asked), (1, 1));
}

#[test]
fn a_read_is_right_however_often_its_table_is_made_anew() {
    for (statement, params) in [("SELECT mood", Params::new()), ("SELECT $1 mood", value("a"))] {
        let mut world = World::new(config(1, serde_json::json!({})), &[PRIMARY]);
        world.hosts[0].server.is_restless = true;
        for _ in 0..3 {
            let request = world.ask(statement, None, QueryFlags::default(), params.clone());
            world.settle();
            let results = &world.answers[&request].as_ref().unwrap().results;
            let shape = results[0].shape.as_ref().unwrap().to_json();
            assert!(shape.contains(r#""typeName":"mood""#), "{statement}: {shape}");
        }
    }
}
