//! Transactions that the user of a dedicated connection begins by statements.

use super::*;

#[test]
fn nothing_begins_inside_of_a_transaction_that_was_begun_by_a_statement() {
    const KEPT_COMMIT: QueryFlags = QueryFlags(COMMIT.0 & !QueryFlags::RELEASE.0);
    let refused = ("HYPERION_TRANSACTION_OPEN", Some(Outcome::NotSent));
    for is_under_way in [false, true] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, NONE);
        // The lease's first answer is seen here, since it would hold all other calls back.
        world.query("SELECT", lease, NONE);
        if is_under_way {
            world.stall(0);
        }
        world.ask("BEGIN", lease, NONE, Params::new());
        world.ask("INSERT a", lease, NONE, Params::new());
        let insert = world.ask("INSERT b", lease, TX, Params::new());
        let commit = world.ask("COMMIT", lease, KEPT_COMMIT, Params::new());
        world.settle();
        world.thaw(0);
        world.settle();
        assert_eq!(failed(&world, insert), refused, "{is_under_way}");
        assert_eq!(failed(&world, commit), refused, "{is_under_way}");
        assert_eq!(world.hosts[0].server.keys, [""; 0]);
        let own = world.query("COMMIT", lease, NONE);
        assert_eq!(answered(&world, own), "COMMIT");
        world.query("INSERT c", lease, TX);
        world.query("COMMIT", lease, KEPT_COMMIT);
        assert_eq!(world.hosts[0].server.keys, ["a", "c"]);
    }
}

#[test]
fn none_is_begun_by_a_statement_behind_a_fence() {
    let unfit = ("HYPERION_UNFIT_HOST", Some(Outcome::NotCommitted));
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, NONE);
    world.query("SELECT", lease, NONE);
    world.hosts[0].server.role = Role::ReadOnly;
    let begin = world.query("BEGIN", lease, NONE);
    assert_eq!(failed(&world, begin), unfit);
    let rollback = world.query("ROLLBACK", lease, NONE);
    assert_eq!(answered(&world, rollback), "ROLLBACK");
}

#[test]
fn a_statement_in_one_whose_connection_is_lost_is_not_committed() {
    let not_committed = ("HYPERION_CONNECTION_LOST", Some(Outcome::NotCommitted));
    let unknown = ("40003", Some(Outcome::Unknown));
    for (ends, outcome) in [(None, not_committed), (Some("COMMIT"), unknown)] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, NONE);
        world.query("BEGIN", lease, NONE);
        world.stall(0);
        let insert = world.ask("INSERT a", lease, NONE, Params::new());
        if let Some(end) = ends {
            world.ask(end, lease, NONE, Params::new());
        }
        world.settle();
        world.crash(0);
        world.settle();
        assert_eq!(failed(&world, insert), outcome, "{ends:?}");
    }
}

#[test]
fn the_limit_of_a_transaction_gives_up_nothing_in_front_of_it() {
    const KEPT: QueryFlags = QueryFlags(ROLLBACK.0 & !QueryFlags::RELEASE.0);
    for flags in [KEPT, KEPT.with(QueryFlags::HURRIED)] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, NONE);
        world.query("SELECT", lease, NONE);
        world.stall(0);
        let insert = world.query("INSERT a", lease, NONE);
        let behind = world.query("INSERT b", lease, NONE);
        let begins = world.query("INSERT c", lease, TX);
        world.pool.cancel_lease(world.now, lease.unwrap());
        world.settle();
        assert_eq!(failed(&world, begins), ("HYPERION_ABORTED", Some(Outcome::NotSent)));
        // Nothing of it was sent.
        let rollback = world.query("ROLLBACK", lease, flags);
        assert_eq!(answered(&world, rollback), "");
        world.pass(Duration::from_secs(20));
        assert!(!world.answers.contains_key(&insert) && !world.answers.contains_key(&behind));
        world.thaw(0);
        world.settle();
        assert_eq!((answered(&world, insert), answered(&world, behind)), ("INSERT", "INSERT"));
        let next = world.query("INSERT d", lease, TX);
        assert_eq!(answered(&world, next), "INSERT");
        let commit = world.query("COMMIT", lease, QueryFlags(COMMIT.0 & !QueryFlags::RELEASE.0));
        assert_eq!(answered(&world, commit), "COMMIT");
        assert_eq!(world.hosts[0].server.keys, ["a", "b", "d"]);
    }
}
