//! Transactions and dedicated connections in virtual time: what is sent when, what moves to another
//! host, what is reset, and what is taken back.

mod own_transactions;
mod rollbacks;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::base::Outcome;
use crate::config::from_json;
use crate::connection::{Role, StatementId};
use crate::pool::{EndOptions, PoolEvent, QueryFlags};
use crate::sim::cluster::World;
use crate::types::Params;

const NONE: QueryFlags = QueryFlags(0);
const TX: QueryFlags = QueryFlags::TRANSACTION;
const ROLLBACK: QueryFlags = QueryFlags(TX.0 | QueryFlags::END.0 | QueryFlags::RELEASE.0);
const COMMIT: QueryFlags = QueryFlags(ROLLBACK.0 | QueryFlags::COMMIT.0);
const READ_ONLY: QueryFlags = QueryFlags(TX.0 | QueryFlags::BEGIN_READ_ONLY.0);

fn world(roles: &[Role]) -> World {
    let hosts: Vec<_> = (0..roles.len()).map(|n| format!("h{n}")).collect();
    let options = serde_json::json!({
        "hosts": hosts, "user": "u", "poolSize": 2, "idleInTransactionTimeoutMs": 1000,
    });
    let mut world = World::new(from_json(&options).unwrap(), roles);
    world.query("SELECT", None, NONE);
    world
}

#[track_caller]
fn take(world: &mut World, flags: QueryFlags) -> Option<NonZeroU32> {
    let request = world.acquire(flags);
    world.answers[&request].as_ref().unwrap().lease
}

#[track_caller]
fn answered(world: &World, request: u32) -> &str {
    match world.answers.get(&request) {
        Some(Ok(response)) => response.results.first().map_or("", |result| result.command.name()),
        Some(Err(error)) => panic!("request {request} failed: {error}"),
        None => panic!("request {request} is unsettled"),
    }
}

#[track_caller]
fn failed(world: &World, request: u32) -> (&str, Option<Outcome>) {
    let error = world.answers[&request].as_ref().unwrap_err();
    (error.code(), error.outcome())
}

const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;

#[test]
fn a_transaction_of_which_the_server_knows_nothing_ends_without_it() {
    for flags in [COMMIT, ROLLBACK] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, TX);
        assert_eq!(world.pool.status().in_use, 1);
        let written = world.written;
        let end = world.query("COMMIT", lease, flags);
        assert_eq!(answered(&world, end), "");
        assert_eq!((world.pool.status().in_use, world.written), (0, written));
    }
}

#[test]
fn what_is_asked_together_runs_in_the_transaction_that_begins_with_the_first() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, TX);
    let inserts: Vec<_> = ["INSERT a", "INSERT b", "INSERT c"]
        .map(|sql| world.ask(sql, lease, TX, Params::new()))
        .to_vec();
    world.settle();
    for insert in inserts {
        assert_eq!(answered(&world, insert), "INSERT");
    }
    assert_eq!(world.hosts[0].server.keys, [""; 0]);
    world.query("COMMIT", lease, COMMIT);
    assert_eq!(world.hosts[0].server.keys, ["a", "b", "c"]);
}

#[test]
fn the_first_flight_moves_with_all_that_waits_behind_it() {
    let mut world = world(&[PRIMARY, STANDBY]);
    let lease = take(&mut world, TX);
    world.hosts[0].server.role = Role::ReadOnly;
    world.hosts[1].server.role = PRIMARY;
    let inserts = ["INSERT a", "INSERT b"].map(|sql| world.ask(sql, lease, TX, Params::new()));
    world.settle();
    for insert in inserts {
        assert_eq!(answered(&world, insert), "INSERT");
    }
    let commit = world.query("COMMIT", lease, COMMIT);
    assert_eq!(answered(&world, commit), "COMMIT");
    assert_eq!(world.hosts[0].server.keys, [""; 0]);
    assert_eq!(world.hosts[1].server.keys, ["a", "b"]);
}

#[test]
fn a_lease_that_nobody_used_survives_the_crash_of_its_host() {
    for flags in [TX, NONE] {
        let mut world = world(&[PRIMARY, STANDBY]);
        let lease = take(&mut world, flags);
        world.crash(0);
        world.settle();
        world.hosts[1].server.role = PRIMARY;
        let insert = world.query("INSERT a", lease, flags);
        world.pass(Duration::from_millis(50));
        assert_eq!(answered(&world, insert), "INSERT");
        if flags == TX {
            world.query("COMMIT", lease, COMMIT);
        }
        assert_eq!(world.hosts[1].server.keys, ["a"]);
    }
}

#[test]
fn a_moved_lease_waits_no_longer_than_a_checkout_and_is_over_then() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, TX);
    world.crash(0);
    world.settle();
    let first = world.query("INSERT a", lease, TX);
    let second = world.query("INSERT b", lease, TX);
    world.pass(Duration::from_secs(6));
    assert_eq!(failed(&world, first), ("HYPERION_NO_PRIMARY", Some(Outcome::NotSent)));
    assert_eq!(failed(&world, second).0, "HYPERION_NO_PRIMARY");
    let rollback = world.query("ROLLBACK", lease, ROLLBACK);
    assert_eq!(answered(&world, rollback), "");
    let end = world.end();
    assert!(world.answers[&end].is_ok(), "no lease is left");
}

#[test]
fn a_lost_first_flight_is_sent_again_only_where_the_transaction_is_read_only() {
    for (flags, moves) in [(READ_ONLY, true), (TX, false)] {
        let mut world = world(&[PRIMARY, STANDBY]);
        let lease = take(&mut world, flags);
        world.hosts[0].server.hang_up_all();
        let select = world.query("SELECT", lease, flags);
        world.crash(0);
        world.hosts[1].server.role = PRIMARY;
        world.settle();
        world.pass(Duration::from_millis(50));
        if moves {
            assert_eq!(answered(&world, select), "SELECT");
        } else {
            let expect = ("HYPERION_CONNECTION_LOST", Some(Outcome::NotCommitted));
            assert_eq!(failed(&world, select), expect);
        }
    }
}

#[test]
fn a_commit_that_is_lost_is_unknown_unless_it_could_not_have_written() {
    for (mode, outcome) in [(TX, Outcome::Unknown), (READ_ONLY, Outcome::NotCommitted)] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, mode);
        world.query("SELECT", lease, mode);
        world.hosts[0].server.hang_up_all();
        let commit = world.query("COMMIT", lease, QueryFlags(COMMIT.0 | mode.0));
        world.crash(0);
        world.settle();
        assert_eq!(failed(&world, commit).1, Some(outcome));
    }
}

#[test]
fn a_write_that_is_refused_later_in_the_transaction_is_the_caller_s_to_repeat() {
    let mut world = world(&[PRIMARY, STANDBY]);
    let lease = take(&mut world, READ_ONLY);
    world.query("SELECT", lease, READ_ONLY);
    let insert = world.query("INSERT a", lease, READ_ONLY);
    assert_eq!(failed(&world, insert), ("25006", Some(Outcome::NotCommitted)));
    let commit = world.query("COMMIT", lease, QueryFlags(COMMIT.0 | READ_ONLY.0));
    assert_eq!(answered(&world, commit), "ROLLBACK");
    assert_eq!(world.pool.status().in_use, 0);
}

#[test]
fn a_transaction_that_begins_across_a_fence_begins_anew_elsewhere() {
    // The bytes of a bare Sync.
    const BARRIER: usize = 5;
    let mut world = world(&[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    let lease = take(&mut world, TX);
    world.stall(0);
    let select = world.ask("SELECT", lease, TX, Params::new());
    world.settle();
    world.trickle(0, BARRIER);
    world.hosts[0].server.role = Role::ReadOnly;
    world.hosts[1].server.role = PRIMARY;
    world.thaw(0);
    world.settle();
    world.pass(Duration::from_millis(100));
    assert_eq!(answered(&world, select), "SELECT");
    world.query("INSERT a", lease, TX);
    world.query("COMMIT", lease, COMMIT);
    assert_eq!(world.hosts[1].server.keys, ["a"]);
}

#[test]
fn a_transaction_that_begins_behind_a_fence_begins_anew_where_that_is_lifted() {
    // The bytes of a bare Sync.
    const END: usize = 5;
    let mut world = world(&[PRIMARY]);
    world.query("SELECT", None, NONE);
    let lease = take(&mut world, TX);
    world.stall(0);
    let written = world.written;
    let select = world.ask("SELECT", lease, TX, Params::new());
    world.settle();
    world.hosts[0].server.role = Role::ReadOnly;
    world.trickle(0, world.written - written - END);
    world.hosts[0].server.role = PRIMARY;
    world.thaw(0);
    world.settle();
    assert_eq!(answered(&world, select), "SELECT");
    let insert = world.query("INSERT a", lease, TX);
    assert_eq!(answered(&world, insert), "INSERT");
    world.query("COMMIT", lease, COMMIT);
    assert_eq!(world.hosts[0].server.keys, ["a"]);
}

#[test]
fn a_transaction_that_a_statement_ended_takes_no_more() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, TX);
    world.query("INSERT a", lease, TX);
    world.query("ROLLBACK", lease, TX);
    let late = world.query("INSERT b", lease, TX);
    assert_eq!(failed(&world, late), ("HYPERION_TRANSACTION_OVER", Some(Outcome::NotSent)));
    let commit = world.query("COMMIT", lease, COMMIT);
    assert_eq!(failed(&world, commit).0, "HYPERION_TRANSACTION_OVER");
    assert_eq!(world.hosts[0].server.keys, [""; 0]);
    assert_eq!(world.pool.status().in_use, 0);
}

#[test]
fn a_forgotten_transaction_is_taken_back() {
    for used in [false, true] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, TX);
        if used {
            world.query("INSERT a", lease, TX);
        }
        world.pass(Duration::from_millis(999));
        assert_eq!(world.pool.status().in_use, 1);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.pool.status().in_use, 0);
        let reclaimed = |event: &PoolEvent| matches!(event, PoolEvent::Reclaimed { lease: taken, by_server: false } if Some(*taken) == lease);
        assert!(world.events.iter().any(reclaimed));
        let late = world.query("INSERT b", lease, TX);
        let expect = ("HYPERION_TRANSACTION_ABANDONED", Some(Outcome::NotCommitted));
        assert_eq!(failed(&world, late), expect);
        assert!(!world.pool.keeps_loop_alive());
    }
}

#[test]
fn a_dedicated_connection_may_be_idle_for_ever() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("INSERT a", lease, NONE);
    assert_eq!(world.hosts[0].server.keys, ["a"]);
    world.pass(Duration::from_secs(3600));
    let select = world.query("SELECT", lease, NONE);
    assert_eq!(answered(&world, select), "SELECT");
}

#[test]
fn a_dedicated_connection_is_reset_for_the_next_one_who_waits_no_longer_for_that() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("SET x", lease, NONE);
    world.query("SELECT prepared", lease, NONE);
    world.query("SELECT prepared", lease, NONE);
    assert_eq!(world.hosts[0].server.changed_sessions(), 1);
    let Some(lease) = lease else { panic!("no lease") };
    world.pool.release(world.now, lease, false);
    // It is sent behind the reset, in the same write.
    let next = world.ask("SELECT prepared", None, NONE, Params::new());
    world.settle();
    assert_eq!(answered(&world, next), "SELECT");
    assert_eq!(world.hosts[0].server.changed_sessions(), 0);
    assert_eq!((world.connections(0), world.pool.status().available), (1, 1));
}

#[test]
fn a_setting_that_a_query_changed_is_reset_and_set_local_is_not() {
    let mut world = world(&[PRIMARY]);
    let set = world.query("SET x", None, NONE);
    assert_eq!(answered(&world, set), "SET");
    assert_eq!(world.hosts[0].server.changed_sessions(), 0);
    let lease = take(&mut world, TX);
    world.query("SET LOCAL x", lease, TX);
    world.query("COMMIT", lease, COMMIT);
    assert_eq!(world.hosts[0].server.changed_sessions(), 1, "the server's SET LOCAL is a SET");
}

#[test]
fn a_connection_that_is_given_back_inside_a_transaction_is_closed() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("BEGIN", lease, NONE);
    let Some(lease) = lease else { panic!("no lease") };
    world.pool.release(world.now, lease, false);
    world.settle();
    assert_eq!((world.connections(0), world.pool.status().in_use), (0, 0));
}

#[test]
fn a_connection_that_is_given_back_at_work_leaves_no_call_without_an_answer() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, TX);
    world.query("INSERT a", lease, TX);
    world.query("ROLLBACK", lease, TX);
    let running = world.query("SELECT", lease, NONE);
    assert_eq!(answered(&world, running), "SELECT");
    let running = world.ask("SELECT", lease, NONE, Params::new());
    let commit = world.query("COMMIT", lease, COMMIT);
    assert_eq!(failed(&world, commit).0, "HYPERION_TRANSACTION_OVER");
    assert!(world.answers[&running].is_err());
    assert_eq!(world.pool.status().in_use, 0);
}

#[test]
fn an_ended_pool_does_not_wait_for_a_lease_that_has_lost_its_connection() {
    let mut world = world(&[PRIMARY, STANDBY]);
    let lease = take(&mut world, TX);
    world.crash(0);
    world.settle();
    let end = 1_000_000;
    let timeout = Some(Duration::from_millis(100));
    world.pool.end(world.now, end, EndOptions { timeout, ..EndOptions::default() });
    world.settle();
    assert!(!world.answers.contains_key(&end), "its user may still come");
    world.pass(Duration::from_millis(100));
    assert!(world.answers[&end].is_ok());
    let late = world.query("SELECT", lease, TX);
    assert_eq!(failed(&world, late).0, "HYPERION_POOL_CLOSED");
}

#[test]
fn what_is_answered_behind_the_call_that_gives_a_connection_back_is_told() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("SELECT", lease, NONE);
    // One read brings all answers: the session is in a transaction before the pool looks at the
    // first.
    let first = world.ask("SELECT", lease, QueryFlags::RELEASE, Params::new());
    let behind = ["BEGIN", "INSERT a"].map(|sql| world.ask(sql, lease, NONE, Params::new()));
    world.settle();
    assert_eq!(answered(&world, first), "SELECT");
    assert_eq!(behind.map(|request| answered(&world, request)), ["BEGIN", "INSERT"]);
    assert_eq!(world.connections(0), 0);
}

#[test]
fn a_spent_connection_that_is_given_back_tells_the_types_that_it_was_asked_for() {
    let options = serde_json::json!({ "hosts": ["h0"], "user": "u", "poolSize": 1, "maxUses": 1 });
    let mut world = World::new(from_json(&options).unwrap(), &[PRIMARY]);
    let lease = take(&mut world, TX);
    world.query("SELECT", lease, TX);
    let typed = world.ask("SELECT mood", lease, TX, Params::new());
    world.ask("COMMIT", lease, COMMIT, Params::new());
    world.settle();
    let answer = world.answers[&typed].as_ref().unwrap();
    let shape = answer.results.first().and_then(|result| result.shape.as_ref()).unwrap();
    let shape = shape.to_json();
    assert!(shape.contains(r#""typeName":"mood""#), "{shape}");
    assert_eq!(world.connections(0), 0);
}

#[test]
fn a_refused_question_for_types_ends_no_transaction() {
    let mut world = world(&[PRIMARY]);
    world.hosts[0].server.answers_types = false;
    let lease = take(&mut world, TX);
    world.query("INSERT a", lease, TX);
    for sql in ["SELECT mood", "INSERT b", "SELECT mood"] {
        let request = world.query(sql, lease, TX);
        assert_eq!(Some(answered(&world, request)), sql.split(' ').next());
    }
    assert_eq!(world.hosts[0].server.types_asked, 2);
    // The question waits until the calls in flight have shown how they leave the transaction.
    let calls = ["SELECT mood", "INSERT c"].map(|sql| world.ask(sql, lease, TX, Params::new()));
    world.settle();
    assert_eq!(calls.map(|request| answered(&world, request)), ["SELECT", "INSERT"]);
    let commit = world.query("COMMIT", lease, COMMIT);
    assert_eq!(answered(&world, commit), "COMMIT");
    assert_eq!(world.hosts[0].server.keys, ["a", "b", "c"]);
    // Outside a transaction the session has the pool's own role, which is asked once.
    let before = world.hosts[0].server.types_asked;
    for _ in 0..3 {
        let request = world.query("SELECT mood", None, NONE);
        assert_eq!(answered(&world, request), "SELECT");
    }
    assert_eq!(world.hosts[0].server.types_asked, before + 1);
}

#[test]
fn a_lost_connection_is_said_to_be_lost_once() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("SELECT", lease, NONE);
    world.stall(0);
    let mut told = Vec::new();
    let unsure = world.query("INSERT a", lease, NONE);
    world.cut(0, "ECONNRESET");
    world.settle();
    told.push(unsure);
    told.push(world.query("SELECT", lease, NONE));
    world.pass(Duration::from_secs(1));
    // The connection is idle when it breaks.
    let lease = take(&mut world, NONE);
    world.query("SELECT", lease, NONE);
    world.cut(0, "ECONNRESET");
    world.settle();
    told.push(world.query("SELECT", lease, NONE));
    // The connection is given back in the middle of its work.
    world.pass(Duration::from_secs(1));
    let lease = take(&mut world, NONE);
    world.query("SELECT", lease, NONE);
    world.stall(0);
    told.push(world.query("SELECT", lease, NONE));
    world.pool.release(world.now, lease.unwrap(), false);
    world.settle();
    let told = told.iter().map(|request| world.answers[request].as_ref().unwrap_err().message());
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "the connection to h0:5432 was lost before it answered, and the statement may or may not have been \
             applied: ECONNRESET",
            "the connection to h0:5432 was lost: ECONNRESET",
            "the connection to h0:5432 was lost: ECONNRESET",
            "the connection to h0:5432 was lost before it answered, and the statement may or may not have been \
             applied: the connection was given back while its session was at work",
        ]
    );
}

#[test]
fn a_lease_that_goes_on_asking_does_not_hold_up_the_end_of_the_pool() {
    for (sql, flags) in [("INSERT b", TX), ("COMMIT", COMMIT), ("ROLLBACK", ROLLBACK)] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, TX);
        world.query("INSERT a", lease, TX);
        world.stall(0);
        let running = world.ask("SELECT slow", lease, TX, Params::new());
        world.settle();
        let end = 1_000_000;
        let timeout = Some(Duration::from_millis(100));
        world.pool.end(world.now, end, EndOptions { timeout, ..EndOptions::default() });
        world.pass(Duration::from_millis(100));
        let late = world.query(sql, lease, flags);
        match flags {
            ROLLBACK => assert_eq!(answered(&world, late), ""),
            _ => {
                let refused = ("HYPERION_POOL_CLOSED", Some(Outcome::NotCommitted));
                assert_eq!(failed(&world, late), refused, "{sql}");
            }
        }
        // A call that gives the connection back with itself is not waited for.
        assert_eq!(world.answers.contains_key(&end), flags != TX, "{sql}");
        world.pass(Duration::from_secs(1));
        assert!(world.answers[&end].is_ok() && world.answers[&running].is_err(), "{sql}");
        assert_eq!(world.hosts[0].server.keys, [""; 0], "{sql}");
    }
}

#[test]
fn what_begins_behind_a_commit_waits_for_its_answer() {
    const KEPT_COMMIT: QueryFlags = QueryFlags(COMMIT.0 & !QueryFlags::RELEASE.0);
    const KEPT_ROLLBACK: QueryFlags = QueryFlags(ROLLBACK.0 & !QueryFlags::RELEASE.0);
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("INSERT a", lease, TX);
    world.stall(0);
    let commit = world.ask("COMMIT", lease, KEPT_COMMIT, Params::new());
    let insert = world.ask("INSERT b", lease, TX, Params::new());
    let rollback = world.ask("ROLLBACK", lease, KEPT_ROLLBACK, Params::new());
    world.settle();
    assert!(!world.answers.contains_key(&insert));
    world.thaw(0);
    world.settle();
    for (request, command) in [(commit, "COMMIT"), (insert, "INSERT"), (rollback, "ROLLBACK")] {
        assert_eq!(answered(&world, request), command);
    }
    assert_eq!(world.hosts[0].server.keys, ["a"]);
}

#[test]
fn nothing_but_a_rollback_follows_an_end_that_was_not_sent() {
    const KEPT_COMMIT: QueryFlags = QueryFlags(COMMIT.0 & !QueryFlags::RELEASE.0);
    const KEPT_ROLLBACK: QueryFlags = QueryFlags(ROLLBACK.0 & !QueryFlags::RELEASE.0);
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.stall(0);
    // The first flight holds all other calls back.
    let insert = world.ask("INSERT a", lease, TX, Params::new());
    let cancellable = KEPT_COMMIT.with(QueryFlags::CANCELLABLE);
    let commit = world.ask("COMMIT", lease, cancellable, Params::new());
    world.pool.cancel(world.now, commit);
    world.thaw(0);
    world.settle();
    assert_eq!(answered(&world, insert), "INSERT");
    assert_eq!(failed(&world, commit), ("HYPERION_ABORTED", Some(Outcome::NotSent)));
    let next = world.query("INSERT b", lease, TX);
    assert_eq!(failed(&world, next), ("HYPERION_TRANSACTION_OVER", Some(Outcome::NotSent)));
    world.query("ROLLBACK", lease, KEPT_ROLLBACK);
    world.query("INSERT c", lease, TX);
    world.query("COMMIT", lease, KEPT_COMMIT);
    assert_eq!(world.hosts[0].server.keys, ["c"]);
}

/// A dedicated connection on which INSERT a is prepared, and whose session has forgotten that.
/// Returns the statement too.
#[track_caller]
fn take_forgetful(world: &mut World) -> (Option<NonZeroU32>, StatementId) {
    let lease = take(world, NONE);
    let insert = world.pool.statement("INSERT a");
    for _ in 0..3 {
        world.ask_known_on(lease, insert, NONE);
        world.settle();
    }
    world.hosts[0].server.forget_statements();
    (lease, insert)
}

#[test]
fn what_a_session_has_forgotten_is_not_sent_again_behind_what_was_asked_later() {
    const KEPT_ROLLBACK: QueryFlags = QueryFlags(ROLLBACK.0 & !QueryFlags::RELEASE.0);
    for flags in [TX, NONE] {
        let mut world = world(&[PRIMARY]);
        let (lease, insert) = take_forgetful(&mut world);
        // One read brings the answers to both, so nothing is in flight when the pool looks at the
        // first.
        let stale = world.ask_known_on(lease, insert, NONE);
        let behind = world.ask("INSERT b", lease, flags, Params::new());
        world.settle();
        // A call that begins a transaction waits for all earlier calls.
        match flags {
            TX => assert_eq!(answered(&world, stale), "INSERT"),
            _ => assert_eq!(failed(&world, stale), ("26000", Some(Outcome::NotCommitted))),
        }
        assert_eq!(answered(&world, behind), "INSERT");
        world.query("ROLLBACK", lease, KEPT_ROLLBACK);
        let last = if flags == TX { "a" } else { "b" };
        assert_eq!(world.hosts[0].server.keys, ["a", "a", "a", last]);
    }
}

#[test]
fn what_a_session_has_forgotten_is_sent_again_before_what_waits_behind_it() {
    let mut world = world(&[PRIMARY]);
    let (lease, insert) = take_forgetful(&mut world);
    // A call that can be cancelled waits until it is alone, and one read brings the answers to both
    // calls before it.
    let first = world.ask("INSERT c", lease, NONE, Params::new());
    let stale = world.ask_known_on(lease, insert, NONE);
    let held = world.ask("INSERT b", lease, QueryFlags::CANCELLABLE, Params::new());
    world.settle();
    assert_eq!([first, stale, held].map(|request| answered(&world, request)), ["INSERT"; 3]);
    assert_eq!(world.hosts[0].server.keys, ["a", "a", "a", "c", "a", "b"]);
}

#[test]
fn a_server_is_not_asked_for_its_role_in_a_transaction_that_its_user_has_said() {
    const STATEMENTS: [&str; 3] = ["BEGIN READ ONLY", "SELECT", "INSERT a"];
    let options = serde_json::json!({
        "hosts": ["h0"], "user": "u", "poolSize": 1, "roleCheck": "query",
    });
    for together in [false, true] {
        let mut world = World::new(from_json(&options).unwrap(), &[PRIMARY]);
        world.query("SELECT", None, NONE);
        let lease = take(&mut world, NONE);
        let mut requests = Vec::new();
        for sql in STATEMENTS.iter().chain(&["ROLLBACK", "INSERT b"]) {
            requests.push(world.ask(sql, lease, NONE, Params::new()));
            if !together {
                world.settle();
            }
        }
        world.settle();
        for (request, command) in requests.iter().zip(["BEGIN", "SELECT", "", "ROLLBACK", "INSERT"])
        {
            match command {
                "" => assert_eq!(failed(&world, *request).0, "25006"),
                _ => assert_eq!(answered(&world, *request), command),
            }
        }
        assert!(!world.events.iter().any(|event| matches!(event, PoolEvent::Fence { .. })));
        assert_eq!(world.hosts[0].server.keys, ["b"]);
    }
}
