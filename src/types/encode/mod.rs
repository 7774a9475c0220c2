//! From JavaScript's values to the server's bytes.
//!
//! Owns: the parameters of a query, from the call into the addon until the query is done, the form
//! in which each parameter is sent, and which values are refused because they do not fit the type
//! that the server inferred. The values are kept in the addon's memory and written each time that
//! their query is sent.
//!
//! The unit tests are next to the code. `test/properties/parameters.rs` compares the forms with
//! what real servers read.

mod array;
mod parameter;
mod params;
mod plain_text;
mod scalar;
mod text_to_binary;
mod value;

pub use params::{Params, Piece, Pieces};
