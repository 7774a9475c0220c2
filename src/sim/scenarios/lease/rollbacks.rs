//! ROLLBACKs that no server answers, and ends of transactions that no server has.

use super::*;

const HURRIED: QueryFlags = QueryFlags(ROLLBACK.0 | QueryFlags::HURRIED.0);
const KEPT: QueryFlags = QueryFlags(HURRIED.0 & !QueryFlags::RELEASE.0);
/// `cancelGraceMs`, `livenessCheckMs`, and a little more for each.
const GRACE: Duration = Duration::from_millis(1_010);
const SILENCE: Duration = Duration::from_millis(2_010);

#[test]
fn a_rollback_on_a_silent_host_is_done_by_closing_its_connection() {
    for (flags, bound) in [(HURRIED, GRACE), (KEPT, GRACE), (ROLLBACK, SILENCE)] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, TX);
        let insert = world.query("INSERT a", lease, TX);
        assert_eq!(answered(&world, insert), "INSERT");
        world.freeze(0);
        let rollback = world.query("ROLLBACK", lease, flags);
        world.pass(bound - Duration::from_millis(50));
        assert!(!world.answers.contains_key(&rollback), "{flags:?}");
        world.pass(Duration::from_millis(50));
        assert_eq!(answered(&world, rollback), "", "{flags:?}");
        assert_eq!(world.pool.status().in_use, 0, "{flags:?}");
        world.thaw(0);
        world.settle();
        assert_eq!(world.hosts[0].server.keys, [""; 0]);
        let next = world.query("INSERT b", lease, TX);
        assert!(world.answers[&next].is_err(), "{flags:?}");
    }
}

#[test]
fn a_rollback_waits_for_what_its_caller_has_asked_before() {
    let mut world = world(&[PRIMARY]);
    let lease = take(&mut world, TX);
    world.query("SELECT", lease, TX);
    world.stall(0);
    let insert = world.query("INSERT a", lease, TX);
    let rollback = world.query("ROLLBACK", lease, ROLLBACK);
    world.pass(Duration::from_secs(20));
    assert!(!world.answers.contains_key(&insert) && !world.answers.contains_key(&rollback));
    world.thaw(0);
    world.settle();
    assert_eq!((answered(&world, insert), answered(&world, rollback)), ("INSERT", "ROLLBACK"));
    assert_eq!(world.hosts[0].server.keys, [""; 0]);
}

#[test]
fn the_end_of_a_transaction_that_is_on_no_server_waits_for_none() {
    for flags in [COMMIT, ROLLBACK, HURRIED, KEPT] {
        let mut world = world(&[PRIMARY]);
        let lease = take(&mut world, TX);
        world.crash(0);
        world.settle();
        let select = world.query("SELECT", lease, TX.with(QueryFlags::CANCELLABLE));
        world.pass(Duration::from_millis(100));
        assert!(!world.answers.contains_key(&select));
        // It stands behind the queued call, and does not queue by itself.
        let behind = flags.has(QueryFlags::HURRIED).then(|| world.query("ROLLBACK", lease, flags));
        world.pool.cancel(world.now, select);
        world.settle();
        assert_eq!(failed(&world, select), ("HYPERION_ABORTED", Some(Outcome::NotSent)));
        let end = behind.unwrap_or_else(|| world.query("END", lease, flags));
        assert_eq!(answered(&world, end), "", "{flags:?}");
    }
}
