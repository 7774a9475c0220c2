//! A request, from its messages to its answer.
//!
//! Owns: what is written for a request, its position in the pipeline, and what comes back. The
//! tests on servers are in `test/integration/query.test.js`, `long-values.test.js` and
//! `steps.test.js`.

pub(in crate::connection) mod begin;
pub(in crate::connection) mod command;
pub(in crate::connection) mod ended;
pub(in crate::connection) mod exchange;
pub(in crate::connection) mod flight;
pub(in crate::connection) mod held;
pub(in crate::connection) mod outbox;
pub(in crate::connection) mod pipeline;
pub(in crate::connection) mod prelude;
pub(in crate::connection) mod rows;
pub(in crate::connection) mod step;
pub(in crate::connection) mod steps;
pub(in crate::connection) mod text_results;
pub(in crate::connection) mod wire;
