//! Events and hosts in the form that `js/` reads: JSON objects.

use std::time::Duration;

use serde_json::{Value, json};

use super::error_json::error_in_brief;
use crate::cluster::HostView;
use crate::connection::Role;
use crate::pool::{HostStatus, PoolEvent};
use crate::reactor::Facts;

pub(super) fn event_to_json(event: &PoolEvent) -> String {
    let value = match event {
        PoolEvent::Connect { host, address, role, took } => json!({
            "type": "connect",
            "host": &**host,
            "address": address.map(|address| address.ip().to_string()),
            "role": role.as_str(),
            "durationMs": milliseconds(*took),
        }),
        PoolEvent::Remove { host, reason, error, age } => json!({
            "type": "remove",
            "host": &**host,
            "reason": reason.as_str(),
            "error": error.as_ref().map(error_in_brief),
            "ageMs": milliseconds(*age),
        }),
        PoolEvent::Primary { host, previous, outage } => json!({
            "type": "primary",
            "host": &**host,
            "previous": previous.as_deref(),
            "outageMs": milliseconds(*outage),
        }),
        PoolEvent::Fence { host, role } => {
            json!({ "type": "fence", "host": &**host, "role": role })
        }
        PoolEvent::Rival { host, primary, timeline, primary_timeline, decision } => json!({
            "type": "rival",
            "host": &**host,
            "primary": &**primary,
            "timeline": timeline,
            "primaryTimeline": primary_timeline,
            "decision": decision.as_str(),
        }),
        PoolEvent::Rewound { host, timeline, previous_timeline } => json!({
            "type": "rewound",
            "host": &**host,
            "timeline": timeline,
            "previousTimeline": previous_timeline,
        }),
        PoolEvent::Reclaimed { lease, by_server } => {
            json!({ "type": "reclaimed", "lease": lease, "byServer": by_server })
        }
        PoolEvent::Host { host, state, previous, role, error } => json!({
            "type": "host",
            "host": &**host,
            "state": state,
            "previous": previous,
            "role": role.map(Role::as_str),
            "error": error.as_ref().map(error_in_brief),
        }),
        PoolEvent::Weak { host, weakness } => json!({
            "type": "weakness",
            "name": weakness.name(),
            "message": format!("{host} {weakness}"),
        }),
        PoolEvent::Notice { host, fields } => json!({
            "type": "notice",
            "host": &**host,
            "severity": fields.severity,
            "code": fields.code,
            "message": fields.message,
            "detail": fields.detail,
            "hint": fields.hint,
        }),
    };
    value.to_string()
}

pub(super) fn host_value(status: &HostStatus, encryption: Option<(&Facts, &str)>) -> Value {
    let HostStatus { view, age, ages, serves, open, busy } = status;
    let HostView { host, role, state, last_error, round_trip, lag, .. } = view;
    let known = |age: Option<Duration>| age.map(milliseconds);
    json!({
        "host": &**host,
        "role": role.map(Role::as_str),
        "state": state,
        "serves": serves,
        "tls": encryption.map(|(Facts { protocol, cipher, .. }, verified)| {
            json!({ "protocol": protocol, "cipher": cipher, "verified": verified })
        }),
        "ageMs": milliseconds(*age),
        "lastError": last_error.as_ref().map(error_in_brief),
        "roundTripMs": round_trip.map(milliseconds),
        "replicationLagMs": lag.map(milliseconds),
        "ages": {
            "stateMs": known(ages.state),
            "roleMs": known(ages.role),
            "roundTripMs": known(ages.round_trip),
            "replicationLagMs": known(ages.lag),
        },
        "connections": { "open": open, "busy": busy },
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
