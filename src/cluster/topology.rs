//! The cluster as a value: what each host last said, and who is the primary. It changes by observations
//! alone, and tells what each of them changed.

use std::sync::Arc;

use crate::base::{Error, HostReport};
use crate::config::{Host, TargetSessionAttrs};
use crate::connection::Role;

/// A host's place in the list that the user gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// What was last heard of a host.
#[derive(Clone, Debug)]
pub enum Standing {
    Unheard,
    Says(Role),
    Failed(Error),
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    Unknown,
    Known(HostId),
    /// A session on it broke. Its other sessions are asked, and so is everybody else.
    Suspected(HostId),
}

#[derive(Debug)]
pub enum Observation {
    /// A session of this host reported its role.
    Says(Role),
    ConnectFailed(Error),
    /// A session that had been established broke.
    SessionLost(Error),
}

/// What an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// The host serves from now on; whoever served before does no longer.
    Found(HostId),
    /// The host that served says that it no longer fits.
    Lost(HostId),
    /// The host that serves may be gone.
    Suspected(HostId),
    /// The host claims what another one, which serves, has not given up.
    Rival(HostId),
}

#[derive(Clone, Debug)]
pub struct Topology {
    hosts: Vec<(Arc<Host>, Standing)>,
    mode: TargetSessionAttrs,
    primary: Primary,
}

/// Whether a session with this role is what `target_session_attrs` asks for (PostgreSQL manual, 34.1.2).
pub const fn fits(mode: TargetSessionAttrs, role: Role) -> bool {
    use TargetSessionAttrs as Mode;
    match mode {
        Mode::ReadWrite => matches!(role, Role::ReadWrite),
        Mode::ReadOnly => matches!(role, Role::ReadOnly | Role::Standby),
        Mode::Primary => matches!(role, Role::ReadWrite | Role::ReadOnly),
        Mode::Standby => matches!(role, Role::Standby),
        Mode::PreferStandby | Mode::Any => true,
    }
}

impl Topology {
    pub fn new(hosts: Vec<Arc<Host>>, mode: TargetSessionAttrs) -> Self {
        let hosts = hosts.into_iter().map(|host| (host, Standing::Unheard)).collect();
        Self { hosts, mode, primary: Primary::Unknown }
    }

    pub fn primary(&self) -> Primary {
        self.primary
    }

    pub fn mode(&self) -> TargetSessionAttrs {
        self.mode
    }

    pub fn host_ids(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    pub fn host(&self, id: HostId) -> Option<&Arc<Host>> {
        self.hosts.get(id.0).map(|(host, _)| host)
    }

    /// Whether sessions of this host take new work.
    pub fn serves(&self, id: HostId) -> bool {
        matches!(self.primary, Primary::Known(h) | Primary::Suspected(h) if h == id)
    }

    pub fn update(&mut self, host: HostId, observation: Observation) -> Change {
        let change = match (&observation, self.primary) {
            (Observation::Says(role), primary) => self.said(host, *role, primary),
            (Observation::SessionLost(_), Primary::Known(known)) if known == host => {
                Change::Suspected(host)
            }
            // A host without a free place for one more session is well (53300).
            (Observation::ConnectFailed(error), Primary::Known(known))
                if known == host && error.code() != "53300" =>
            {
                Change::Suspected(host)
            }
            (Observation::SessionLost(_) | Observation::ConnectFailed(_), _) => Change::Nothing,
        };
        match change {
            Change::Found(host) => self.primary = Primary::Known(host),
            Change::Lost(_) => self.primary = Primary::Unknown,
            Change::Suspected(host) => self.primary = Primary::Suspected(host),
            Change::Nothing | Change::Rival(_) => {}
        }
        if let Some((_, standing)) = self.hosts.get_mut(host.0) {
            *standing = match observation {
                Observation::Says(role) => Standing::Says(role),
                Observation::ConnectFailed(error) | Observation::SessionLost(error) => {
                    Standing::Failed(error)
                }
            };
        }
        change
    }

    fn said(&self, host: HostId, role: Role, primary: Primary) -> Change {
        let fit = fits(self.mode, role);
        match primary {
            Primary::Known(known) if known == host && fit => Change::Nothing,
            Primary::Known(known) | Primary::Suspected(known) if known == host && !fit => {
                Change::Lost(host)
            }
            Primary::Known(_) if fit => Change::Rival(host),
            Primary::Unknown | Primary::Suspected(_) if fit => Change::Found(host),
            Primary::Unknown | Primary::Known(_) | Primary::Suspected(_) => Change::Nothing,
        }
    }

    pub fn reports(&self) -> Vec<HostReport> {
        let report = |(host, standing): &(Arc<Host>, Standing)| HostReport {
            host: Arc::clone(&host.name),
            why: match standing {
                Standing::Unheard => "no answer yet".to_owned(),
                Standing::Says(Role::ReadWrite) => "takes writes".to_owned(),
                Standing::Says(Role::ReadOnly) => {
                    "is read-only (default_transaction_read_only is on)".to_owned()
                }
                Standing::Says(Role::Standby) => "is a standby (in recovery)".to_owned(),
                Standing::Failed(error) => error.message().to_owned(),
            },
        };
        self.hosts.iter().map(report).collect()
    }

    /// An error that no waiting heals, where no host can still turn out to be the primary: each one has
    /// been heard, none of them speaks as a server that just has another role or is not ready yet.
    pub fn hopeless(&self) -> Option<&Error> {
        let mut found = None;
        for (_, standing) in &self.hosts {
            match standing {
                Standing::Failed(error) if is_permanent(error) => found = found.or(Some(error)),
                Standing::Failed(error) if error.server().is_none() => {}
                Standing::Unheard | Standing::Says(_) | Standing::Failed(_) => return None,
            }
        }
        found
    }
}

/// Wrong password, role, database or privilege, or an authentication that can't work: only a person can
/// heal these.
fn is_permanent(error: &Error) -> bool {
    matches!(error.code(), "28P01" | "28000" | "3D000" | "42501" | "HYPERION_AUTHENTICATION")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ErrorClass, ServerFields};
    use crate::config::Endpoint;

    fn topology(hosts: usize) -> Topology {
        let host = |n: usize| {
            let endpoint = Endpoint::Name { name: format!("h{n}"), port: 5432 };
            Arc::new(Host { name: Arc::from(format!("h{n}:5432")), endpoint })
        };
        Topology::new((0..hosts).map(host).collect(), TargetSessionAttrs::ReadWrite)
    }

    fn refused() -> Error {
        Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", "connection refused")
    }

    fn server(code: &str) -> Error {
        let (code, message) = (code.to_owned(), "no".to_owned());
        Error::database(ServerFields { code, message, ..ServerFields::default() })
    }

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    #[test]
    fn every_state_with_every_observation() {
        use Observation as O;
        let states = [Primary::Unknown, Primary::Known(A), Primary::Suspected(A)];
        let check = |host: HostId, observation: fn() -> O, expect: [Change; 3]| {
            for (state, expect) in states.into_iter().zip(expect) {
                let mut topology = topology(2);
                topology.primary = state;
                let change = topology.update(host, observation());
                assert_eq!(change, expect, "{state:?}, {host:?}: {:?}", observation());
            }
        };
        let no = Change::Nothing;
        let found = Change::Found;
        check(A, || O::Says(Role::ReadWrite), [found(A), no, found(A)]);
        check(B, || O::Says(Role::ReadWrite), [found(B), Change::Rival(B), found(B)]);
        check(A, || O::Says(Role::ReadOnly), [no, Change::Lost(A), Change::Lost(A)]);
        check(A, || O::Says(Role::Standby), [no, Change::Lost(A), Change::Lost(A)]);
        check(B, || O::Says(Role::Standby), [no, no, no]);
        check(A, || O::SessionLost(refused()), [no, Change::Suspected(A), no]);
        check(B, || O::SessionLost(refused()), [no, no, no]);
        check(A, || O::ConnectFailed(refused()), [no, Change::Suspected(A), no]);
        check(A, || O::ConnectFailed(server("53300")), [no, no, no]);
        check(B, || O::ConnectFailed(refused()), [no, no, no]);
    }

    #[test]
    fn only_errors_that_no_waiting_heals_end_a_wait() {
        let check = |standings: &[fn() -> Observation], hopeless: bool| {
            let mut topology = topology(3);
            for (host, observation) in (0..).map(HostId).zip(standings) {
                topology.update(host, observation());
            }
            assert_eq!(topology.hopeless().is_some(), hopeless, "{:?}", topology.reports());
        };
        let wrong = || Observation::ConnectFailed(server("28P01"));
        let down = || Observation::ConnectFailed(refused());
        let starting = || Observation::ConnectFailed(server("57P03"));
        let standby = || Observation::Says(Role::Standby);
        check(&[wrong, wrong, wrong], true);
        check(&[wrong, down, down], true);
        check(&[wrong, down], false);
        check(&[wrong, starting, down], false);
        check(&[wrong, standby, down], false);
        check(&[down, down, down], false);
    }
}
