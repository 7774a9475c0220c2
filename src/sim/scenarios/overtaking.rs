//! Which calls are sent behind others, and what becomes of reads that are stuck there, in virtual
//! time.

use std::time::Duration;

use super::{answered, config};
use crate::base::Outcome;
use crate::connection::{Role, StatementId};
use crate::pool::QueryFlags;
use crate::sim::cluster::World;

const PRIMARY: Role = Role::ReadWrite;
/// How long a request may run before the requests behind it are sent elsewhere.
const OVERDUE: Duration = Duration::from_millis(20);

struct Known {
    read: StatementId,
    write: StatementId,
}

/// A pool of at most `size` connections with `open` of them, which knows a read and a write as
/// quick.
fn world(pipelining: &str, size: usize, open: usize) -> (World, Known) {
    let options = serde_json::json!({ "poolSize": size, "pipelining": pipelining });
    let mut world = World::new(config(1, options), &[PRIMARY]);
    let leases: Vec<_> = (0..open).map(|_| world.acquire(QueryFlags::default())).collect();
    for request in leases {
        let lease = world.answers[&request].as_ref().unwrap().lease.unwrap();
        world.pool.release(world.now, lease, false);
    }
    world.settle();
    let read = world.pool.statement("SELECT known");
    let write = world.pool.statement("INSERT known");
    for statement in [read, write] {
        for _ in 0..3 {
            world.ask_known(statement);
            world.settle();
        }
    }
    assert_eq!(world.connections(0), open);
    (world, Known { read, write })
}

fn ask(world: &mut World, statement: StatementId, count: usize) -> Vec<u32> {
    let requests = (0..count).map(|_| world.ask_known(statement)).collect();
    world.send();
    requests
}

#[track_caller]
fn all_answered(world: &World, requests: &[u32]) {
    for request in requests {
        answered(world, *request);
    }
}

#[test]
fn only_reads_stand_behind_others() {
    for (pipelining, reads, writes) in [("reads", 0, 3), ("all", 0, 0), ("off", 3, 3)] {
        let (mut world, known) = world(pipelining, 2, 2);
        for (statement, waiting) in [(known.read, reads), (known.write, writes)] {
            let requests = ask(&mut world, statement, 5);
            assert_eq!(world.pool.status().waiting, waiting, "{pipelining}");
            world.settle();
            all_answered(&world, &requests);
        }
    }
}

#[test]
fn a_read_does_not_stand_behind_a_write() {
    let (mut world, known) = world("reads", 1, 1);
    world.stall(0);
    ask(&mut world, known.write, 1);
    ask(&mut world, known.read, 1);
    assert_eq!(world.pool.status().waiting, 1);
}

#[test]
fn reads_that_are_stuck_are_asked_again_where_something_is_free() {
    let (mut world, known) = world("reads", 2, 2);
    // All reads go out behind each other while no other call runs. Then one session becomes free.
    world.stall(0);
    let all = ask(&mut world, known.read, 10);
    let stuck = world.sessions(0).next().unwrap();
    for id in world.sessions(0).collect::<Vec<_>>() {
        if id != stuck {
            world.thaw_one(id);
        }
    }
    world.settle();
    let before: Vec<_> = all.iter().filter(|n| world.answers.contains_key(n)).copied().collect();
    assert!(!before.is_empty() && before.len() < all.len());
    world.pass(OVERDUE);
    let unanswered = all.iter().filter(|n| !world.answers.contains_key(n)).count();
    assert_eq!(unanswered, 1, "the one at work");
    // The late answers have no effect, since other answers came before.
    world.thaw(0);
    world.settle();
    all_answered(&world, &all);
    assert_eq!(world.pool.audit(world.now), Ok(()));
}

#[test]
fn a_connection_is_opened_for_reads_that_are_stuck() {
    let (mut world, known) = world("reads", 4, 1);
    world.stall(0);
    let all = ask(&mut world, known.read, 4);
    world.pass(OVERDUE);
    let unanswered = all.iter().filter(|n| !world.answers.contains_key(n)).count();
    assert_eq!(unanswered, 1, "the one at work");
    world.thaw(0);
    world.settle();
    all_answered(&world, &all);
    assert_eq!(world.pool.audit_rest(2), Ok(()));
}

#[test]
fn the_first_answer_counts_wherever_it_comes_from() {
    let (mut world, known) = world("reads", 2, 1);
    world.stall(0);
    let all = ask(&mut world, known.read, 4);
    let stuck: Vec<_> = world.sessions(0).collect();
    world.pool.flush(world.now);
    world.now = world.now + OVERDUE;
    // The second session is as slow as the first.
    world.hosts[0].reach = crate::sim::cluster::Reach::Silent;
    world.pass(OVERDUE);
    world.thaw_one(stuck[0]);
    world.settle();
    all_answered(&world, &all);
    assert_eq!(world.pool.audit(world.now), Ok(()));
}

#[test]
fn a_read_is_lost_only_with_both_of_its_connections() {
    for lost_first in [0, 1] {
        let (mut world, known) = world("reads", 3, 3);
        world.stall(0);
        let at_work = ask(&mut world, known.read, 4);
        let sessions: Vec<_> = world.sessions(0).collect();
        // Two reads are stuck behind each other on the first session. The other sessions answer,
        // and then get stuck with the reads that are sent again.
        world.thaw_one(sessions[1]);
        world.thaw_one(sessions[2]);
        world.settle();
        world.stall(0);
        world.pass(OVERDUE);
        let left: Vec<_> =
            at_work.iter().filter(|n| !world.answers.contains_key(n)).copied().collect();
        assert_eq!(left.len(), 2);
        let second = sessions.iter().skip(1).find(|id| world.pool.waits_for(**id)).copied();
        let of_read = [sessions[0], second.unwrap()];
        world.lose(of_read[lost_first]);
        world.thaw(0);
        world.settle();
        let lost = left.iter().filter(|n| world.answers[n].is_err()).count();
        assert_eq!(lost, usize::from(lost_first == 0), "the one that was at work alone");
        assert_eq!(world.pool.audit(world.now), Ok(()));
    }
}

#[test]
fn what_is_given_up_in_two_places_is_told_once() {
    let (mut world, known) = world("reads", 2, 2);
    world.stall(0);
    let flags = QueryFlags::CANCELLABLE;
    let all: Vec<_> = (0..3).map(|_| world.ask_flagged(known.read, flags)).collect();
    world.send();
    let sessions: Vec<_> = world.sessions(0).collect();
    world.thaw_one(sessions[1]);
    world.settle();
    world.stall(0);
    world.pass(OVERDUE);
    let left: Vec<_> = all.iter().filter(|n| !world.answers.contains_key(n)).copied().collect();
    assert_eq!(left.len(), 2);
    for request in &left {
        world.pool.cancel(world.now, *request);
    }
    world.settle();
    assert_eq!(world.pool.audit(world.now), Ok(()));
    world.thaw(0);
    world.settle();
    for request in left {
        let known = match &world.answers[&request] {
            Ok(_) => true,
            Err(error) => error.outcome() == Some(Outcome::Unknown),
        };
        assert!(known, "{:?}", world.answers[&request]);
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(world.pool.audit_rest(2), Ok(()));
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_is_cancelled_where_it_takes_long() {
    let (mut world, known) = world("reads", 2, 2);
    world.stall(0);
    let all = ask(&mut world, known.read, 3);
    let sessions: Vec<_> = world.sessions(0).collect();
    world.thaw_one(sessions[1]);
    world.settle();
    world.pass(OVERDUE);
    assert_eq!(all.iter().filter(|n| !world.answers.contains_key(n)).count(), 1);
    // The server has answered the first of the two, and runs the second now.
    while !all.iter().all(|n| world.answers.contains_key(n)) {
        world.trickle(0, 1);
    }
    assert_eq!(world.cancels, []);
    world.pass(OVERDUE);
    assert_eq!(world.cancels, [sessions[0]]);
}
