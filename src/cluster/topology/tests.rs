use super::*;
use crate::base::{ErrorClass, ServerFields};
use crate::config::Endpoint;

use TargetSessionAttrs as Mode;

pub(super) fn host(name: &str) -> Arc<Host> {
    let endpoint = Endpoint::Name { name: name.to_owned(), port: 5432 };
    Arc::new(Host { name: Arc::from(format!("{name}:5432")), endpoint })
}

fn topology(hosts: usize, mode: Mode) -> Topology {
    let hosts = (0..hosts).map(|n| host(&format!("h{n}"))).collect();
    Topology::new(hosts, mode, Instant::ORIGIN)
}

fn refused() -> Error {
    Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", "connection refused")
}

fn server(code: &str) -> Error {
    let (code, message) = (code.to_owned(), "no".to_owned());
    Error::database(ServerFields { code, message, ..ServerFields::default() })
}

fn reports(role: Role) -> Observation {
    Observation::RoleReported(role)
}

#[test]
fn where_one_host_serves_every_state_with_every_observation() {
    use Observation as O;
    let now = Instant::ORIGIN;
    let check = |host: usize, observation: fn() -> O, expect: [&str; 3]| {
        for (state, expect) in expect.into_iter().enumerate() {
            let mut topology = topology(2, Mode::ReadWrite);
            let ids = topology.order.clone();
            if state > 0 {
                topology.update(now, ids[0], &O::RoleReported(Role::ReadWrite));
            }
            if state == 2 {
                topology.update(now, ids[0], &O::SessionLost(refused()));
                assert_eq!(topology.primary(), Primary::Suspected(ids[0]));
            }
            let change = topology.update(now, ids[host], &observation());
            let named = match change {
                Change::Found(id) if id == ids[host] => "found",
                Change::Lost(id) if id == ids[host] => "lost",
                Change::Suspected(id) if id == ids[host] => "suspected",
                Change::Rival => "rival",
                Change::Nothing => "",
                other => panic!("{other:?} names another host"),
            };
            assert_eq!(named, expect, "state {state}, host {host}: {:?}", observation());
        }
    };
    const A: usize = 0;
    const B: usize = 1;
    check(A, || O::RoleReported(Role::ReadWrite), ["found", "", "found"]);
    check(B, || O::RoleReported(Role::ReadWrite), ["found", "rival", "found"]);
    check(A, || O::RoleReported(Role::ReadOnly), ["", "lost", "lost"]);
    check(A, || O::RoleReported(Role::Standby), ["", "lost", "lost"]);
    check(B, || O::RoleReported(Role::Standby), ["", "", ""]);
    check(A, || O::SessionLost(refused()), ["", "suspected", ""]);
    check(A, || O::SessionLost(server("57P01")), ["", "suspected", ""]);
    check(A, || O::SessionLost(server("57P05")), ["", "", ""]);
    check(B, || O::SessionLost(refused()), ["", "", ""]);
    check(A, || O::ConnectFailed(refused()), ["", "suspected", ""]);
    check(A, || O::ConnectFailed(server("53300")), ["", "", ""]);
    check(B, || O::ConnectFailed(refused()), ["", "", ""]);
}

#[test]
fn every_mode_is_served_by_the_hosts_that_libpq_would_take() {
    let roles = [Role::ReadWrite, Role::ReadOnly, Role::Standby];
    let check = |mode: Mode, expect: [Option<Rank>; 3]| {
        for (role, expect) in roles.into_iter().zip(expect) {
            let mut topology = topology(1, mode);
            let id = topology.order[0];
            topology.update(Instant::ORIGIN, id, &reports(role));
            assert_eq!(topology.rank(id), expect, "{mode:?}, {role:?}");
            assert_eq!(topology.is_served(), expect.is_some());
        }
    };
    let yes = Some(Rank::Preferred);
    check(Mode::ReadWrite, [yes, None, None]);
    check(Mode::ReadOnly, [None, yes, yes]);
    check(Mode::Primary, [yes, yes, None]);
    check(Mode::Standby, [None, None, yes]);
    check(Mode::PreferStandby, [yes, yes, yes]);
    check(Mode::Any, [yes, yes, yes]);
}

#[test]
fn prefer_standby_takes_another_host_only_when_no_standby_can_be_had() {
    let now = Instant::ORIGIN;
    let mut topology = topology(3, Mode::PreferStandby);
    let [primary, standby, silent] = topology.order[..] else { panic!() };
    assert_eq!(topology.update(now, primary, &reports(Role::ReadWrite)), Change::Nothing);
    assert!(!topology.is_served(), "a standby may still answer");
    let found = topology.update(now, standby, &reports(Role::Standby));
    assert_eq!(found, Change::Found(standby));
    assert_eq!(topology.rank(primary), Some(Rank::Spare));

    let lost = Observation::SessionLost(refused());
    assert_eq!(topology.update(now, standby, &lost), Change::Suspected(standby));
    assert_eq!(topology.rank(primary), Some(Rank::Preferred), "nobody waits for it any more");
    let failed = Observation::ConnectFailed(refused());
    assert_eq!(topology.update(now, standby, &failed), Change::Lost(standby));
    assert_eq!(topology.update(now, silent, &failed), Change::Nothing);

    topology.update(now, standby, &reports(Role::Standby));
    assert_eq!(topology.rank(primary), Some(Rank::Spare));
}

#[test]
fn prefer_standby_settles_when_every_host_was_heard() {
    let mut topology = topology(2, Mode::PreferStandby);
    let [primary, down] = topology.order[..] else { panic!() };
    topology.update(Instant::ORIGIN, primary, &reports(Role::ReadWrite));
    let failed = Observation::ConnectFailed(refused());
    assert_eq!(topology.update(Instant::ORIGIN, down, &failed), Change::SpareAccepted);
    assert_eq!(topology.rank(primary), Some(Rank::Preferred));
}

#[test]
fn a_host_that_is_waited_for_in_vain_is_waited_for_once() {
    let mut topology = topology(2, Mode::PreferStandby);
    let primary = topology.order[0];
    topology.update(Instant::ORIGIN, primary, &reports(Role::ReadWrite));
    assert!(!topology.accepts_spare() && topology.accept_spare() && !topology.accept_spare());
    assert_eq!(topology.rank(primary), Some(Rank::Preferred));
}

#[test]
fn where_many_hosts_serve_each_stands_for_itself() {
    let now = Instant::ORIGIN;
    let mut topology = topology(2, Mode::Any);
    let [a, b] = topology.order[..] else { panic!() };
    assert_eq!(topology.update(now, a, &reports(Role::Standby)), Change::Found(a));
    assert_eq!(topology.update(now, b, &reports(Role::ReadWrite)), Change::Found(b));
    assert_eq!(topology.update(now, b, &reports(Role::ReadWrite)), Change::Nothing);
    let lost = || Observation::SessionLost(refused());
    assert_eq!(topology.update(now, a, &lost()), Change::Suspected(a));
    assert!(topology.serves(a) && topology.rank(a).is_none(), "its sessions are asked");
    assert_eq!(topology.update(now, a, &reports(Role::Standby)), Change::Found(a));
    topology.update(now, a, &lost());
    let failed = Observation::ConnectFailed(refused());
    assert_eq!(topology.update(now, a, &failed), Change::Lost(a));
    assert!(topology.is_served());
}

#[test]
fn only_errors_that_no_waiting_heals_end_a_wait() {
    let check = |standings: &[fn() -> Observation], is_permanent: bool| {
        let mut topology = topology(3, Mode::ReadWrite);
        let ids = topology.order.clone();
        for (host, observation) in ids.into_iter().zip(standings) {
            topology.update(Instant::ORIGIN, host, &observation());
        }
        assert_eq!(topology.permanent_error().is_some(), is_permanent, "{:?}", topology.reports());
    };
    let wrong = || Observation::ConnectFailed(server("28P01"));
    let down = || Observation::ConnectFailed(refused());
    let starting = || Observation::ConnectFailed(server("57P03"));
    let standby = || Observation::RoleReported(Role::Standby);
    check(&[wrong, wrong, wrong], true);
    check(&[wrong, down, down], true);
    check(&[wrong, down], false);
    check(&[wrong, starting, down], false);
    check(&[wrong, standby, down], false);
    check(&[down, down, down], false);
}

#[test]
fn a_host_that_has_served_and_is_down_is_waited_for_whoever_else_refuses_for_good() {
    let wrong = || Observation::ConnectFailed(server("28000"));
    let gone = |topology: &mut Topology, host| {
        topology.update(Instant::ORIGIN, host, &Observation::SessionLost(refused()));
        topology.update(Instant::ORIGIN, host, &Observation::ConnectFailed(refused()));
    };
    for role in [Role::ReadWrite, Role::Standby] {
        let mut topology = topology(2, Mode::ReadWrite);
        let [a, b] = topology.order[..] else { panic!() };
        topology.update(Instant::ORIGIN, a, &reports(role));
        topology.update(Instant::ORIGIN, b, &wrong());
        gone(&mut topology, a);
        assert!(topology.permanent_error().is_none(), "{:?}", topology.reports());
        // The host has come back, and refuses as well.
        topology.update(Instant::ORIGIN, a, &wrong());
        assert_eq!(topology.permanent_error().map(Error::code), Some("28000"));
    }
}

#[test]
fn what_is_said_before_tls_ends_no_wait_for_a_host_that_has_served() {
    let insecure =
        || Observation::ConnectFailed(Error::new(ErrorClass::Connection, "HYPERION_TLS", "no"));
    let mut topology = topology(1, Mode::ReadWrite);
    let [a] = topology.order[..] else { panic!() };
    topology.update(Instant::ORIGIN, a, &insecure());
    assert!(topology.permanent_error().is_some() && topology.refuses_for_good(a));
    topology.update(Instant::ORIGIN, a, &reports(Role::ReadWrite));
    topology.update(Instant::ORIGIN, a, &Observation::SessionLost(refused()));
    topology.update(Instant::ORIGIN, a, &insecure());
    assert!(topology.permanent_error().is_none() && !topology.refuses_for_good(a));
}

#[test]
fn a_silent_primary_serves_until_it_is_heard_or_suspected() {
    let now = Instant::ORIGIN;
    let mut topology = topology(2, Mode::ReadWrite);
    let [a, b] = topology.order[..] else { panic!() };
    let silent = Observation::FellSilent;
    assert_eq!(topology.update(now, a, &silent), Change::Nothing);
    assert_eq!(topology.primary(), Primary::Unknown, "it has no seat");
    topology.update(now, a, &reports(Role::ReadWrite));
    topology.update(now, b, &silent);
    assert_eq!(topology.primary(), Primary::Known(a), "another host is silent");

    assert_eq!(topology.update(now, a, &silent), Change::Nothing);
    assert_eq!(topology.primary(), Primary::Silent(a));
    assert!(topology.is_served() && topology.serves(a) && topology.knows(a, Role::ReadWrite));
    assert_eq!(topology.update(now, b, &reports(Role::ReadWrite)), Change::Rival);
    assert_eq!(topology.update(now, a, &Observation::Heard), Change::Nothing);
    assert_eq!(topology.primary(), Primary::Known(a));

    topology.update(now, a, &silent);
    let failed = Observation::ConnectFailed(refused());
    assert_eq!(topology.update(now, a, &failed), Change::Suspected(a));
    assert_eq!(topology.primary(), Primary::Suspected(a));
    assert_eq!(topology.update(now, a, &reports(Role::ReadWrite)), Change::Found(a));
    assert_eq!(topology.primary(), Primary::Known(a), "it was heard");

    topology.update(now, a, &silent);
    assert_eq!(topology.update(now, a, &reports(Role::ReadOnly)), Change::Lost(a));
    assert_eq!(topology.primary(), Primary::Unknown);
}

#[test]
fn a_host_that_gets_the_seat_of_a_silent_one_is_not_silent() {
    let now = Instant::ORIGIN;
    let mut topology = topology(2, Mode::ReadWrite);
    let [a, b] = topology.order[..] else { panic!() };
    topology.update(now, a, &reports(Role::ReadWrite));
    topology.update(now, a, &Observation::FellSilent);
    topology.update(now, a, &Observation::SessionLost(refused()));
    assert_eq!(topology.update(now, b, &reports(Role::ReadWrite)), Change::Found(b));
    assert_eq!(topology.primary(), Primary::Known(b));
    assert_eq!(topology.set_hosts(now, vec![host("h1")]), [a]);
    assert_eq!(topology.primary(), Primary::Known(b));
}

#[test]
fn where_many_hosts_serve_no_primary_is_silent() {
    let now = Instant::ORIGIN;
    let mut topology = topology(1, Mode::Any);
    let id = topology.order[0];
    topology.update(now, id, &reports(Role::ReadWrite));
    assert_eq!(topology.update(now, id, &Observation::FellSilent), Change::Nothing);
    assert_eq!((topology.primary(), topology.is_served()), (Primary::Unknown, true));
}
