//! A PostgreSQL connection pool over the hosts of a cluster, polled on Node's own event loop.
//!
//! This page is for those who work on the addon; the README is for those who use the package from
//! npm, and docs/ARCHITECTURE.md tells the way of a query and of a failover.
//!
//! # The floors
//!
//! The crate is a house of floors. A floor imports only the floors under it, which
//! `test/unit/floors.test.js` checks: calls go down, and values are drained upwards.
//!
//! ```text
//!  7  js/           pools, rows and errors, as users of the package see them
//!     ───────────────────────────── Node-API ──────────────────────────────
//!  6  node          parameters in, row batches and errors out
//!  5  reactor       sockets, the only clock, libuv's handles            ▲
//!     ──────── no I/O, no clock and no randomness below this line ──────│──
//!  4  pool          connections over all hosts, the queue, leases       │
//!  3  cluster       the topology: which host is the primary             │
//!  2  connection    one connection: login, pipeline, statements         │
//!  1  protocol   messages    types   values    config   options    tls   │
//!  0  base          Instant, arenas, seeded random numbers, errors      │
//!     transfer      what crosses into JavaScript: the contract, rows   │
//!                                                                       │
//!     sim           a simulated PostgreSQL and cluster, in place of ────┘
//! ```
//!
//! | floor | modules | feature |
//! |---|---|---|
//! | 6 | `node` | `node`, the default |
//! | 5 | `reactor` | `reactor`, which `node` implies |
//! | 4 | [`pool`] | |
//! | 3 | [`cluster`] | |
//! | 2 | [`connection`] | |
//! | 1 | [`protocol`], [`types`], [`config`], [`tls`] | |
//! | 0 | [`base`], [`transfer`] | |
//! | beside | `sim` | `sim` |
//!
//! # Without sockets and without waiting
//!
//! Below the reactor, time and bytes are arguments and all effects are values, so that a test
//! decides what the network does and when. Here no host ever answers, and the five seconds of
//! `acquireTimeoutMs` take no time at all:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use hyperiondb_client::base::{Error, Instant, Outcome};
//! use hyperiondb_client::config;
//! use hyperiondb_client::pool::{Output, Pool, Query, QueryFlags};
//! use hyperiondb_client::types::Params;
//!
//! # fn main() -> Result<(), Error> {
//! let options = serde_json::json!({ "hosts": ["db1", "db2", "db3"], "user": "app" });
//! let (seed, mut now) = (42, Instant::ORIGIN);
//! let mut pool = Pool::new(Arc::new(config::from_json(&options)?), seed, now);
//!
//! let statement = pool.statement("INSERT INTO orders VALUES ($1)");
//! let (params, flags) = (Params::new(), QueryFlags::default());
//! pool.query(now, Query { request: 1, lease: None, statement, params, flags });
//! pool.flush(now);
//!
//! // No host is known to be the primary: the pool wants a connection to each of them at once.
//! let mut opened = Vec::new();
//! while let Some(output) = pool.poll_output() {
//!     if let Output::Open { host, .. } = output {
//!         opened.push(host.name.to_string());
//!     }
//! }
//! opened.sort();
//! assert_eq!(opened, ["db1:5432", "db2:5432", "db3:5432"]);
//!
//! // The clock jumps from one deadline to the next, until the request is settled.
//! let error = 'settled: loop {
//!     (now, _) = pool.poll_timeout().expect("the request has a deadline");
//!     pool.handle_timeout(now);
//!     pool.flush(now);
//!     while let Some(output) = pool.poll_output() {
//!         if let Output::Completed { request: 1, result } = output {
//!             break 'settled result.expect_err("no host has answered");
//!         }
//!     }
//! };
//! assert_eq!(error.outcome(), Some(Outcome::NotSent));
//! assert_eq!(now.since(Instant::ORIGIN), Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod base;
pub mod cluster;
pub mod config;
pub mod connection;
#[cfg(feature = "node")]
pub mod node;
pub mod pool;
pub mod protocol;
#[cfg(feature = "reactor")]
pub mod reactor;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tls;
pub mod transfer;
pub mod types;
