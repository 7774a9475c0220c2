//! What the pool asks a server for its own purposes.
//!
//! Owns: the questions for the server's role, its lineage, its database, and users' types, with the
//! reading of their answers. The scenarios are in `src/sim/scenarios/report.rs` and `rival.rs`, the
//! tests on servers in `test/integration/role-question.test.js` and `types-question.test.js`.

pub(in crate::connection) mod lineage;
pub(in crate::connection) mod realm;
pub(in crate::connection) mod role;
pub(in crate::connection) mod user_types;
