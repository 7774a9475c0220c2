//! A request, from its messages to its answer: what is written for it, its position in the
//! pipeline, and what comes back.

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
