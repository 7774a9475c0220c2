//! How many calls go to which connection, when another one is opened, and how long calls wait that
//! share a connection, in virtual time.

use std::time::Duration;

use super::{answered, config};
use crate::base::Outcome;
use crate::connection::{Role, StatementId};
use crate::pool::QueryFlags;
use crate::sim::cluster::World;

const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;

/// The bytes of a Sync.
const BARRIER: usize = 5;
/// The bytes of a ReadyForQuery.
const READY: usize = 6;

/// A pool with `open` connections to its primary, which knows how long a statement takes.
fn world(size: usize, open: usize, takes: Duration) -> (World, StatementId) {
    world_sharing(None, size, open, takes)
}

/// The same with servers that share `cores` processor cores with the pool.
fn world_sharing(
    cores: Option<usize>,
    size: usize,
    open: usize,
    takes: Duration,
) -> (World, StatementId) {
    let options = serde_json::json!({ "poolSize": size });
    let mut world = World::new(config(2, options), &[PRIMARY, STANDBY]);
    world.cores = cores;
    let leases: Vec<_> = (0..open).map(|_| world.acquire(QueryFlags::default())).collect();
    for request in leases {
        let lease = world.answers[&request].as_ref().unwrap().lease;
        // The first request of a session brings a question along.
        world.query("SELECT", lease, QueryFlags::default());
        world.pool.release(world.now, lease.unwrap(), false);
    }
    world.settle();
    let statement = world.pool.statement("SELECT known");
    for _ in 0..3 {
        world.stall(0);
        world.ask_known(statement);
        world.send();
        world.trickle(0, BARRIER);
        world.now = world.now + takes;
        world.thaw(0);
        world.settle();
    }
    assert_eq!(world.connections(0), open);
    (world, statement)
}

/// How many connections have work after this many calls in one turn, none of which waits.
#[track_caller]
fn at_work(world: &mut World, statement: StatementId, calls: usize) -> usize {
    let requests: Vec<_> = (0..calls).map(|_| world.ask_known(statement)).collect();
    world.send();
    let status = world.pool.status();
    assert_eq!(status.waiting, 0);
    world.settle();
    for request in requests {
        assert_eq!(answered(world, request), "SELECT");
    }
    status.in_use
}

#[test]
fn a_crowd_of_quick_calls_goes_out_in_runs_to_few_connections() {
    let (mut world, quick) = world(10, 10, Duration::from_micros(20));
    assert_eq!(at_work(&mut world, quick, 200), 4, "a quarter each");
    assert_eq!(at_work(&mut world, quick, 600), 10, "64 each at most");
}

#[test]
fn a_crowd_wakes_no_more_servers_than_share_their_cores_and_one() {
    for (cores, at_work) in [(1, 2), (2, 3), (20, 4)] {
        let (mut world, quick) = world_sharing(Some(cores), 10, 10, Duration::from_micros(20));
        assert_eq!(self::at_work(&mut world, quick, 200), at_work, "{cores} cores");
    }
    let (mut world, quick) = world_sharing(Some(2), 10, 10, Duration::from_micros(20));
    assert_eq!(at_work(&mut world, quick, 600), 10, "a larger one is for all");
    let (mut world, slow) = world_sharing(Some(2), 10, 10, Duration::from_micros(400));
    assert_eq!(at_work(&mut world, slow, 50), 10, "2 ms each");
}

#[test]
fn servers_are_kept_at_work_and_heard_in_parts_of_several_answers() {
    let (mut world, quick) = world_sharing(Some(1), 10, 10, Duration::from_micros(20));
    let before = world.said;
    assert_eq!(at_work(&mut world, quick, 1), 1);
    let answer = world.said - before - READY;
    let sessions: Vec<_> = world.sessions(0).collect();
    let heard_of = |world: &World| {
        let heard = sessions.iter().map(|id| world.pool.heard_together(*id));
        heard.filter(|bytes| *bytes > 0).collect::<Vec<_>>()
    };

    world.stall(0);
    let first: Vec<_> = (0..80).map(|_| world.ask_known(quick)).collect();
    world.send();
    assert_eq!(
        (world.pool.status().in_use, heard_of(&world)),
        (2, vec![]),
        "woken, and not kept at work yet"
    );
    // While these connections have work, further calls go to one of them too, behind a barrier of
    // their own.
    world.pass(Duration::from_micros(10));
    let written = world.written;
    let mut more: Vec<_> = (0..20).map(|_| world.ask_known(quick)).collect();
    world.send();
    let written = world.written - written;
    let one = (written - BARRIER) / more.len();
    assert_eq!((written, world.pool.status().in_use), (BARRIER + 20 * one, 2));
    let [mark] = heard_of(&world)[..] else { panic!("not one connection got all of them") };
    assert!((6 * answer..=8 * answer).contains(&mark), "{mark} for eight of {answer}");
    // The mark falls with the answers that are left, down to four, part of which has come.
    let mut marks = vec![mark];
    for _ in 0..60 {
        world.trickle(0, one);
        marks.extend(heard_of(&world).first().filter(|mark| marks.last() != Some(mark)));
    }
    assert!(marks.iter().all(|below| *below <= mark), "{marks:?}");
    assert!((2 * answer..4 * answer).contains(marks.last().unwrap()), "{marks:?}");
    world.thaw(0);
    world.settle();
    assert!(heard_of(&world).is_empty());
    more.extend(first);
    for request in more {
        assert_eq!(answered(&world, request), "SELECT");
    }
}

#[test]
fn a_server_that_is_kept_at_work_is_given_no_more_behind_what_takes_long() {
    let (mut world, quick) = world_sharing(Some(1), 10, 10, Duration::from_micros(20));
    world.stall(0);
    for _ in 0..80 {
        world.ask_known(quick);
    }
    world.send();
    assert_eq!(world.pool.status().in_use, 2);
    world.pass(Duration::from_millis(20));
    for _ in 0..20 {
        world.ask_known(quick);
    }
    world.send();
    assert_eq!(world.pool.status().in_use, 10, "nor is what it was given left to it");
}

#[test]
fn servers_that_are_kept_at_work_are_no_reason_to_open_connections() {
    let (mut world, quick) = world_sharing(Some(0), 10, 1, Duration::from_micros(20));
    for _ in 0..100 {
        world.stall(0);
        for _ in 0..2 {
            for _ in 0..20 {
                world.ask_known(quick);
            }
            world.send();
        }
        world.pass(Duration::from_millis(15));
        world.thaw(0);
        world.settle();
    }
    assert_eq!(world.connections(0), 1);
}

#[test]
fn a_few_calls_are_spread_however_quick_they_are() {
    let (mut world, quick) = world(10, 10, Duration::from_micros(20));
    for calls in [1, 4, 10] {
        assert_eq!(at_work(&mut world, quick, calls), calls);
    }
    assert_eq!(at_work(&mut world, quick, 39), 10);
}

#[test]
fn a_run_of_a_crowd_is_as_long_as_its_calls_are_quick() {
    for (takes, at_work) in [(20, 4), (200, 10), (1000, 10)] {
        let (mut world, statement) = world(10, 10, Duration::from_micros(takes));
        assert_eq!(self::at_work(&mut world, statement, 100), at_work, "{takes} µs each");
    }
}

#[test]
fn calls_behind_others_that_are_done_soon_open_no_connection() {
    let (mut world, quick) = world(10, 1, Duration::from_micros(20));
    for _ in 0..100 {
        assert_eq!(at_work(&mut world, quick, 20), 1);
        world.pass(Duration::from_millis(1));
    }
    assert_eq!(world.connections(0), 1);
}

#[test]
fn calls_behind_others_open_connections_where_that_lasts() {
    let (mut world, quick) = world(10, 1, Duration::from_micros(20));
    world.stall(0);
    for _ in 0..6 {
        world.ask_known(quick);
    }
    world.send();
    assert_eq!(world.connections(0), 1);
    world.pass(Duration::from_millis(10));
    world.send();
    world.settle();
    assert_eq!(world.connections(0), 6, "one for each that is behind");
    world.thaw(0);
    world.settle();
}

#[test]
fn after_a_failover_the_first_connection_serves_before_others_are_opened() {
    let (mut world, quick) = world(4, 4, Duration::from_micros(20));
    world.crash(0);
    world.settle();
    let waiting: Vec<_> = (0..4).map(|_| world.ask_known(quick)).collect();
    world.pass(Duration::from_millis(200));
    assert_eq!(world.connections(1), 1, "a scout");
    world.hosts[1].server.role = PRIMARY;
    world.pass(Duration::from_millis(100));
    for request in waiting {
        assert_eq!(answered(&world, request), "SELECT");
    }
    assert_eq!(world.connections(1), 1, "nobody waits for a second one");
}

#[test]
fn a_call_that_is_given_up_waits_no_longer_because_another_one_is_cancelled_first() {
    let (mut world, quick) = world(1, 1, Duration::from_micros(20));
    world.stall(0);
    let [first, second] = [10, 100].map(|after| {
        let request = world.ask_flagged(quick, QueryFlags::CANCELLABLE);
        world.pool.limit(world.now, request, Some(Duration::from_millis(after)));
        request
    });
    world.send();
    world.trickle(0, BARRIER);
    world.pass(Duration::from_millis(50));
    let [session] = world.cancels[..] else { panic!("{:?}", world.cancels) };
    while !world.answers.contains_key(&first) {
        world.trickle(0, 1);
    }
    assert_eq!(answered(&world, first), "SELECT", "it was faster");
    // The server is slow to close the connection that brought the CancelRequest.
    world.pass(Duration::from_millis(700));
    world.pool.cancel_ended(world.now, session, true);
    world.settle();
    assert_eq!(world.cancels, [session, session]);
    world.pass(Duration::from_millis(349));
    assert!(!world.answers.contains_key(&second));
    world.pass(Duration::from_millis(1));
    let error = world.answers[&second].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_QUERY_TIMEOUT", "after 100 ms and cancelGraceMs");
}

#[test]
fn a_call_that_is_given_up_is_at_work_when_those_in_front_are_taken_back() {
    let (mut world, quick) = world(1, 1, Duration::from_micros(20));
    let other = world.pool.statement("SELECT other");
    for _ in 0..3 {
        world.ask_known(other);
        world.settle();
    }
    // The next session has not prepared the statement.
    world.cut(0, "ECONNRESET");
    world.settle();
    world.ask_known(quick);
    world.pass(Duration::from_secs(1));
    let [first, second] =
        [quick, other].map(|statement| world.ask_flagged(statement, QueryFlags::CANCELLABLE));
    let third = world.ask_known(other);
    world.pool.flush(world.now);
    // A call that prepares a statement for later calls can't be taken back.
    world.pool.cancel(world.now, second);
    world.pool.cancel(world.now, first);
    world.stall(0);
    world.send();
    let outcomes =
        [first, second].map(|request| world.answers[&request].as_ref().unwrap_err().outcome());
    assert_eq!(outcomes, [Some(Outcome::NotSent), Some(Outcome::Unknown)]);
    // The server gets no more time for this call than for any that is running.
    world.pass(Duration::from_millis(1000));
    let error = world.answers[&third].as_ref().unwrap_err();
    assert_eq!(error.code(), "40003", "its connection was closed");
}

#[test]
fn sessions_that_go_down_one_by_one_are_one_loss_of_a_read() {
    let (mut world, quick) = world(6, 6, Duration::from_micros(20));
    world.stall(0);
    let read = world.ask_flagged(quick, QueryFlags::READ_ONLY);
    world.send();
    for _ in 0..5 {
        let at_it = world.sessions(0).find(|id| world.pool.waits_for(*id));
        world.lose(at_it.unwrap());
        // The other sessions answer that they are in order.
        world.trickle(0, BARRIER);
    }
    assert!(!world.answers.contains_key(&read));
    world.thaw(0);
    world.settle();
    assert_eq!(answered(&world, read), "SELECT");
}
