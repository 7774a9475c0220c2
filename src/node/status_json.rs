//! The state of a pool and what it has done, in the form that `js/` reads: a JSON object.

use std::time::Duration;

use serde_json::{Value, json};

use crate::pool::{BOUNDS_US, CloseReason, Closed, Counters, Durations, Snapshot, Status};

pub(super) fn status_to_json(status: &Status, metrics: &Snapshot) -> String {
    let Status { max_size, size, available, in_use, waiting } = status;
    let Counters {
        failed,
        acquire_timeouts,
        query_timeouts,
        resent,
        cancelled,
        failovers,
        fences,
        rivals,
        rewinds,
        created,
        closed,
    } = &metrics.counters;
    let hosts = metrics.hosts.iter().map(|on| {
        json!({
            "host": &*on.host,
            "created": on.created,
            "closed": by_reason(&on.closed),
            "wait": durations(&on.wait),
            "query": durations(&on.query),
        })
    });
    let json = json!({
        "maxSize": max_size,
        "size": size,
        "available": available,
        "inUse": in_use,
        "waiting": waiting,
        "failed": failed,
        "timeouts": { "acquire": acquire_timeouts, "query": query_timeouts },
        "resent": resent,
        "cancelled": cancelled,
        "failovers": failovers,
        "fences": fences,
        "rivals": rivals,
        "rewinds": rewinds,
        "created": created,
        "closed": by_reason(closed),
        "wait": durations(&metrics.wait),
        "query": durations(&metrics.query),
        "hosts": hosts.collect::<Vec<_>>(),
        "bounds": BOUNDS_US.map(|us| seconds(Duration::from_micros(us))),
    });
    json.to_string()
}

fn by_reason(closed: &Closed) -> Value {
    let pair = |(reason, count): (CloseReason, &u64)| (reason.as_str().to_owned(), json!(count));
    Value::Object(CloseReason::ALL.into_iter().zip(closed).map(pair).collect())
}

fn durations(of: &Durations) -> Value {
    json!({
        "count": of.count,
        "sum": seconds(of.sum),
        "p50": seconds(of.p50),
        "p90": seconds(of.p90),
        "p99": seconds(of.p99),
        "max": seconds(of.max),
        "atMost": of.at_most,
    })
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
