//! The errors of callers that get no connection.

use super::{Context, Discovery};
use crate::base::{Error, ErrorClass, Mutation, Outcome};
use crate::cluster::{Primary, fits};
use crate::config::TargetSessionAttrs;
use crate::pool::Slot;

impl Discovery {
    pub(in crate::pool) fn acquire_timeout(&mut self, cx: &mut Context<'_>) -> Error {
        let after = cx.config.acquire_timeout.as_millis();
        let is_silent = matches!(self.cluster.topology().primary(), Primary::Silent(_));
        if self.cluster.topology().is_served() && !is_silent {
            let size = cx.connections.size();
            let in_use = size - cx.connections.available();
            let message = format!(
                "no connection became free within {after}ms: {} of {} are in use",
                in_use, cx.config.pool_size
            );
            return Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
                .with_outcome(Outcome::NotSent)
                .with_hosts(self.cluster.reports());
        }
        let reports = self.cluster.reports();
        let each: Vec<_> = reports.iter().map(|r| format!("{}: {}", r.host, r.why)).collect();
        let (what, code) = match cx.config.mode {
            _ if self.cluster.topology().contest().is_some() => {
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

    /// The error of waiting calls if no server has ever answered, each host has just refused an
    /// attempt outright, and no other attempt is under way. A later call waits for the next
    /// attempt, so that no call fails more often than hosts are asked.
    pub(in crate::pool) fn fast_failure(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        let no_server_exists = cx.config.fail_fast && self.cluster.no_server_exists();
        if !no_server_exists || cx.connections.apart().any(|(_, slot)| slot.is_joining()) {
            return None;
        }
        let reports = self.cluster.reports();
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

    /// The error of waiting calls if no waiting would help. Even if new sessions are refused for
    /// good, open sessions may still serve waiting calls. So may sessions under way to a host that
    /// has refused for good, since somebody may have mended that meanwhile.
    pub(in crate::pool) fn futile_wait_error(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        let may_serve = |slot: &Slot| {
            let role = slot.connection.role();
            role.is_some_and(|role| fits(cx.config.mode, role))
                && (slot.counts() || slot.asks_for(slot.host))
                && self.cluster.topology().host(slot.host).is_some()
        };
        // A host that refuses for good may have served before, which proves nothing now.
        let is_asked_anew = |slot: &Slot| {
            slot.is_joining()
                && self.cluster.topology().refuses_for_good(slot.host)
                && !Mutation::BelieveOldRefusal.is_on()
        };
        let is_hoped_for = |slot: &Slot| may_serve(slot) || is_asked_anew(slot);
        if cx.connections.iter().any(|(_, slot)| is_hoped_for(slot)) {
            return None;
        }
        self.cluster.permanent_error().cloned().or_else(|| self.fast_failure(cx))
    }

    pub(in crate::pool) fn not_ready(&mut self, cx: &mut Context<'_>) -> Error {
        if !self.cluster.topology().is_served() {
            return self.acquire_timeout(cx);
        }
        let (open, wanted) = (self.counted(cx), cx.config.min_idle.max(1));
        let after = cx.config.acquire_timeout.as_millis();
        let message =
            format!("only {open} of {wanted} connections (minIdle) were open within {after}ms");
        Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
            .with_outcome(Outcome::NotSent)
            .with_hosts(self.cluster.reports())
    }
}
