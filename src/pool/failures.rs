//! What those are told who get no connection.

use super::Pool;
use super::connections::Slot;
use crate::base::{Error, ErrorClass, Mutation, Outcome};
use crate::cluster::fits;
use crate::config::TargetSessionAttrs;

impl Pool {
    pub(super) fn acquire_timeout(&mut self) -> Error {
        let after = self.config.acquire_timeout.as_millis();
        if self.discovery.cluster.topology().is_served() {
            let status = self.status();
            let message = format!(
                "no connection became free within {after}ms: {} of {} are in use",
                status.in_use, status.max_size
            );
            return Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
                .with_outcome(Outcome::NotSent)
                .with_hosts(self.discovery.cluster.reports());
        }
        let reports = self.discovery.cluster.reports();
        let each: Vec<_> = reports.iter().map(|r| format!("{}: {}", r.host, r.why)).collect();
        let (what, code) = match self.config.mode {
            _ if self.discovery.cluster.topology().contest().is_some() => {
                ("no host that is the primary beyond doubt", "HYPERION_SPLIT_BRAIN")
            }
            TargetSessionAttrs::ReadWrite => ("no writable primary", "HYPERION_NO_PRIMARY"),
            TargetSessionAttrs::Primary => ("no primary", "HYPERION_NO_PRIMARY"),
            TargetSessionAttrs::ReadOnly => ("no read-only host", "HYPERION_NO_HOST"),
            TargetSessionAttrs::Standby => ("no standby", "HYPERION_NO_HOST"),
            TargetSessionAttrs::PreferStandby | TargetSessionAttrs::Any => {
                ("no host", "HYPERION_NO_HOST")
            }
        };
        let message = format!("{what} available after {after}ms ({})", each.join("; "));
        Error::new(ErrorClass::PoolTimeout, code, message)
            .with_outcome(Outcome::NotSent)
            .with_hosts(reports)
    }

    /// What waiting calls fail with where no server has ever answered, each host has just refused
    /// an attempt outright, and no other attempt is under way. Who asks then waits for the next
    /// attempt, so that no caller fails more often than hosts are asked.
    pub(super) fn fast_failure(&mut self) -> Option<Error> {
        let is_nowhere = self.config.fail_fast && self.discovery.cluster.is_nowhere();
        if !is_nowhere || self.connections.apart().any(|(_, slot)| slot.is_joining()) {
            return None;
        }
        let reports = self.discovery.cluster.reports();
        let each: Vec<_> = reports.iter().map(|r| format!("{}: {}", r.host, r.why)).collect();
        let message = match reports.as_slice() {
            [only] => only.why.clone(),
            _ => format!("no host can be reached ({})", each.join("; ")),
        };
        let cause = reports.first().and_then(|report| report.cause.clone());
        let error = Error::new(ErrorClass::Connection, "HYPERION_UNREACHABLE", message)
            .with_outcome(Outcome::NotSent);
        let error = match reports.as_slice() {
            [only] => error.with_host(std::sync::Arc::clone(&only.host)),
            _ => error,
        };
        Some(cause.into_iter().fold(error, Error::with_cause).with_hosts(reports))
    }

    /// What waiting calls fail with where no waiting would help. Whatever new sessions are told,
    /// those that are open may serve callers that wait for them, and so may those that are on their
    /// way to a host that has refused for good: a person may have healed that since.
    pub(super) fn hopeless(&mut self) -> Option<Error> {
        let may_serve = |slot: &Slot| {
            let role = slot.connection.role();
            role.is_some_and(|role| fits(self.config.mode, role))
                && (slot.counts() || slot.asks_for(slot.host))
                && self.discovery.cluster.topology().host(slot.host).is_some()
        };
        // What a host that refuses for good has said before says nothing of what it says now.
        let is_asked_anew = |slot: &Slot| {
            slot.is_joining()
                && self.discovery.cluster.topology().refuses_for_good(slot.host)
                && !Mutation::BelieveOldRefusal.is_on()
        };
        let is_hoped_for = |slot: &Slot| may_serve(slot) || is_asked_anew(slot);
        if self.connections.iter().any(|(_, slot)| is_hoped_for(slot)) {
            return None;
        }
        self.discovery.cluster.hopeless().cloned().or_else(|| self.fast_failure())
    }

    pub(super) fn not_ready(&mut self) -> Error {
        if !self.discovery.cluster.topology().is_served() {
            return self.acquire_timeout();
        }
        let (open, wanted) =
            (self.discover(|discovery, cx| discovery.counted(cx)), self.config.min_idle.max(1));
        let after = self.config.acquire_timeout.as_millis();
        let message =
            format!("only {open} of {wanted} connections (minIdle) were open within {after}ms");
        Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
            .with_outcome(Outcome::NotSent)
            .with_hosts(self.discovery.cluster.reports())
    }
}
