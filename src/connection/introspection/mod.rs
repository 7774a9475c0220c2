//! What the pool asks a server on its own account: its role, its place in the history of the data,
//! its database, and the types that users made.

pub(in crate::connection) mod lineage;
pub(in crate::connection) mod realm;
pub(in crate::connection) mod role;
pub(in crate::connection) mod user_types;
