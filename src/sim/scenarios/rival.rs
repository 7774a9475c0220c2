//! Two hosts that both claim to be the primary, in virtual time.

use std::time::Duration;

use super::{answered, config};
use crate::cluster::Decision;
use crate::connection::Role;
use crate::pool::{PoolEvent, QueryFlags};
use crate::sim::cluster::{Reach, World};

const NONE: QueryFlags = QueryFlags(0);
const PRIMARY: Role = Role::ReadWrite;
const STANDBY: Role = Role::Standby;
/// The bytes of a Sync.
const BARRIER: usize = 5;

/// Each host is a server of its own, with its own timeline.
fn world(hosts: &[(Role, u32)]) -> World {
    let roles: Vec<_> = hosts.iter().map(|(role, _)| *role).collect();
    let mut world = World::new(config(roles.len(), serde_json::json!({})), &roles);
    for ((host, (_, timeline)), started) in world.hosts.iter_mut().zip(hosts).zip(1..) {
        host.server.lineage = (7, started, *timeline);
    }
    world
}

fn decisions(world: &World) -> Vec<(String, Decision)> {
    let rival = |event: &PoolEvent| match event {
        PoolEvent::Rival { host, decision, .. } => Some((host.to_string(), *decision)),
        _ => None,
    };
    world.events.iter().filter_map(rival).collect()
}

fn keys(world: &World) -> Vec<Vec<String>> {
    world.hosts.iter().map(|host| host.server.keys.clone()).collect()
}

#[test]
fn the_higher_timeline_serves_whoever_answers_first() {
    for newer in 0..2 {
        let mut hosts = [(PRIMARY, 1); 2];
        hosts[newer].1 = 2;
        let mut world = world(&hosts);
        world.query("SELECT", None, NONE);
        let write = world.query("INSERT a", None, NONE);
        assert_eq!(answered(&world, write), "INSERT");
        assert_eq!(world.hosts[newer].server.keys, ["a"]);
        assert_eq!(world.connections(1 - newer), 0);
        let expect =
            if newer == 0 { ("h1:5432", Decision::Stays) } else { ("h1:5432", Decision::Taken) };
        assert_eq!(decisions(&world), [(expect.0.to_owned(), expect.1)]);
    }
}

#[test]
fn an_old_primary_that_comes_back_first_gets_nothing() {
    let mut world = world(&[(PRIMARY, 1), (STANDBY, 1)]);
    world.query("SELECT", None, NONE);
    world.crash(0);
    world.settle();
    world.hosts[1].server.role = PRIMARY;
    world.hosts[1].server.lineage.2 = 2;
    let moved = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(50));
    assert_eq!(answered(&world, moved), "INSERT");
    assert_eq!(decisions(&world), []);

    world.hosts[0].reach = Reach::Open;
    world.crash(1);
    world.settle();
    let waiting = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(4));
    assert!(!world.answers.contains_key(&waiting), "the old primary gets no write");
    assert_eq!(decisions(&world), [("h0:5432".to_owned(), Decision::Refused)]);
    world.hosts[1].reach = Reach::Open;
    world.pass(Duration::from_millis(600));
    assert_eq!(answered(&world, waiting), "INSERT");
    assert_eq!(keys(&world), [vec![], vec!["a".to_owned(), "b".to_owned()]]);
}

#[test]
fn two_that_were_promoted_side_by_side_get_nothing_until_one_gives_up() {
    let mut world = world(&[(PRIMARY, 2), (PRIMARY, 2)]);
    world.query("SELECT", None, NONE);
    let write = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(5_000));
    let error = world.answers[&write].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_SPLIT_BRAIN");
    assert_eq!(decisions(&world), [("h1:5432".to_owned(), Decision::Contested)]);
    let waiting = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_millis(500));
    world.hosts[0].server.role = STANDBY;
    world.pass(Duration::from_millis(500));
    assert_eq!(answered(&world, waiting), "INSERT");
    assert_eq!(keys(&world), [vec![], vec!["b".to_owned()]]);
}

#[test]
fn one_server_under_two_names_is_no_rival_of_itself() {
    let mut world = world(&[(PRIMARY, 1), (PRIMARY, 1)]);
    world.hosts[1].server.lineage = world.hosts[0].server.lineage;
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    world.pass(Duration::from_secs(5));
    assert_eq!(decisions(&world), []);
    assert_eq!(world.connections(0) + world.connections(1), 1);
}

#[test]
fn a_host_of_another_cluster_never_takes_over() {
    let mut world = world(&[(PRIMARY, 1), (PRIMARY, 9)]);
    world.hosts[1].server.lineage.0 = 8;
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(decisions(&world), [("h1:5432".to_owned(), Decision::Stays)]);
    world.crash(0);
    world.settle();
    let lost = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(6));
    let error = world.answers[&lost].as_ref().unwrap_err();
    assert_eq!(error.code(), "HYPERION_NO_PRIMARY");
    assert!(error.message().contains("belongs to another cluster"), "{error}");
    assert!(world.hosts[1].server.keys.is_empty());
}

#[test]
fn a_host_that_does_not_tell_its_history_is_reported_and_waits_its_turn() {
    let mut world = world(&[(PRIMARY, 1), (PRIMARY, 1)]);
    world.hosts[1].server.answers_lineage = false;
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(decisions(&world), [("h1:5432".to_owned(), Decision::Stays)]);
    world.crash(0);
    world.settle();
    let next = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(answered(&world, next), "INSERT");
    assert_eq!(keys(&world), [vec!["a".to_owned()], vec!["b".to_owned()]]);
}

#[test]
fn a_question_for_the_history_that_a_cancel_hits_is_asked_again() {
    let options = serde_json::json!({
        "poolSize": 1, "connectTimeoutMs": 5_000, "livenessCheckMs": 1_000,
    });
    let mut world = World::new(config(2, options), &[PRIMARY, STANDBY]);
    world.query("SELECT", None, NONE);
    // The host's one session is busy and it accepts no others, so the pool takes it for dead. The
    // other host is promoted.
    world.stall(0);
    let slow = world.query("SELECT", None, NONE.with(QueryFlags::CANCELLABLE));
    world.trickle(0, BARRIER);
    world.hosts[0].reach = Reach::Refusing;
    world.freeze(1);
    world.hosts[1].server.role = PRIMARY;
    world.hosts[1].server.lineage = (7, 1, 2);
    world.pass(Duration::from_secs(2));
    // But the host lives, and is asked for its history behind the call.
    world.hosts[0].reach = Reach::Open;
    world.pass(Duration::from_millis(600));
    world.thaw(1);
    world.settle();
    assert_eq!(decisions(&world), []);
    world.pool.cancel(world.now, slow);
    world.settle();
    let [session] = world.cancels[..] else { panic!("{:?}", world.cancels) };
    world.hosts[0].server.cancel_question(session.to_bits());
    world.thaw(0);
    world.settle();
    world.pool.cancel_ended(world.now, session, true);
    world.settle();
    assert_eq!(decisions(&world), [("h1:5432".to_owned(), Decision::Taken)]);
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(keys(&world), [vec![], vec!["a".to_owned()]]);
}

#[test]
fn what_a_host_showed_before_it_was_a_standby_is_no_claim_however_late_it_comes() {
    let mut world = world(&[(STANDBY, 1), (PRIMARY, 2)]);
    world.delays_history = Some(1);
    world.query("SELECT", None, NONE);
    // The pool takes the host for dead. On a new session it answers as a standby.
    world.pass(Duration::from_secs(4));
    world.hosts[1].server.role = STANDBY;
    world.pass(Duration::from_millis(200));
    world.deliver_delayed();
    // The other host is promoted, and fenced.
    world.stall(1);
    world.pass(Duration::from_millis(50));
    world.hosts[0].server.promote();
    world.hosts[0].server.lineage.2 = 3;
    let next = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(100));
    assert_eq!(answered(&world, next), "INSERT");
    world.hosts[0].server.role = Role::ReadOnly;
    let moved = world.query("INSERT b", None, NONE);
    // Then the old primary is promoted again.
    world.hosts[1].server.promote();
    world.hosts[1].server.lineage.2 = 4;
    world.thaw(1);
    world.settle();
    world.pass(Duration::from_millis(100));
    assert_eq!(answered(&world, moved), "INSERT");
    assert_eq!(decisions(&world), []);
}

/// A cluster whose second host was promoted and served. Then both hosts were stopped.
fn promoted() -> World {
    let mut world = world(&[(PRIMARY, 1), (STANDBY, 1)]);
    world.query("SELECT", None, NONE);
    world.crash(0);
    world.settle();
    world.hosts[1].server.role = PRIMARY;
    world.hosts[1].server.lineage.2 = 2;
    let moved = world.query("INSERT a", None, NONE);
    world.pass(Duration::from_millis(100));
    assert_eq!(answered(&world, moved), "INSERT");
    world.crash(1);
    world.settle();
    world.hosts[0].reach = Reach::Open;
    world
}

fn rewound(world: &World) -> Vec<(String, u32, u32)> {
    let rewound = |event: &PoolEvent| match event {
        PoolEvent::Rewound { host, timeline, previous_timeline } => {
            Some((host.to_string(), *timeline, *previous_timeline))
        }
        _ => None,
    };
    world.events.iter().filter_map(rewound).collect()
}

/// Whether a write is served, within the time that the pool takes to be sure that a cluster has
/// gone back.
fn is_served(world: &mut World) -> bool {
    (0..3).any(|_| {
        let write = world.query("INSERT b", None, NONE);
        world.pass(Duration::from_secs(5));
        world.answers.get(&write).is_some_and(Result::is_ok)
    })
}

#[test]
fn a_cluster_that_has_gone_back_to_an_older_timeline_is_served_again() {
    let mut world = promoted();
    let early = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(4));
    assert!(!world.answers.contains_key(&early), "the other one may have it still");
    world.hosts[1].server.role = STANDBY;
    world.hosts[1].server.lineage = (7, 9, 1);
    world.hosts[1].reach = Reach::Open;
    let sure = world.now + Duration::from_secs(5);
    world.pass(Duration::from_millis(4_900));
    let write = world.query("INSERT c", None, NONE);
    assert!(world.now < sure && !world.answers.contains_key(&write), "for five seconds on end");
    world.pass(Duration::from_secs(1));
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(rewound(&world), [("h0:5432".to_owned(), 1, 2)]);
    // The next promoted host is newer than that, and is not refused as too old.
    world.crash(0);
    world.settle();
    world.hosts[1].server.promote();
    world.hosts[1].server.lineage.2 = 2;
    let next = world.query("INSERT d", None, NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(answered(&world, next), "INSERT");
}

#[test]
fn a_host_that_follows_the_newest_timeline_or_is_not_heard_keeps_the_older_ones_out() {
    for timeline in [None, Some(2)] {
        let mut world = promoted();
        if let Some(timeline) = timeline {
            world.hosts[1].server.role = STANDBY;
            world.hosts[1].server.lineage.2 = timeline;
            world.hosts[1].reach = Reach::Open;
        }
        assert!(!is_served(&mut world));
        assert_eq!(rewound(&world), []);
        assert!(world.hosts[0].server.keys.is_empty());
    }
}

#[test]
fn five_seconds_on_end_begin_anew_when_a_host_is_gone_for_a_moment() {
    let mut world = promoted();
    world.hosts[1].server.role = STANDBY;
    world.hosts[1].server.lineage = (7, 9, 1);
    world.hosts[1].reach = Reach::Open;
    world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(4));
    world.crash(1);
    world.settle();
    let write = world.query("INSERT c", None, NONE);
    world.pass(Duration::from_secs(1));
    world.hosts[1].reach = Reach::Open;
    world.pass(Duration::from_millis(3_900));
    assert!(!world.answers.contains_key(&write));
    assert!(is_served(&mut world));
}

#[test]
fn the_primary_itself_may_come_back_on_an_older_timeline() {
    let mut world = promoted();
    world.hosts[0].reach = Reach::Refusing;
    // The pool finds the host down, and then the host comes back.
    world.pass(Duration::from_secs(1));
    world.hosts[1].reach = Reach::Open;
    world.hosts[1].server.lineage = (7, 9, 1);
    let write = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(answered(&world, write), "INSERT");
    assert_eq!(rewound(&world), [("h1:5432".to_owned(), 1, 2)]);
}

#[test]
fn one_server_under_two_names_is_one_when_it_was_started_anew() {
    let mut world = world(&[(PRIMARY, 2), (STANDBY, 2)]);
    let write = world.query("INSERT a", None, NONE);
    assert_eq!(answered(&world, write), "INSERT");
    world.pass(Duration::from_secs(5));
    world.readdress(1, 0);
    world.hosts[0].server.lineage.1 = 9;
    world.cut(0, "ECONNRESET");
    world.settle();
    let again = world.query("INSERT b", None, NONE);
    world.pass(Duration::from_secs(2));
    assert_eq!(answered(&world, again), "INSERT");
    assert_eq!(decisions(&world), []);
}
