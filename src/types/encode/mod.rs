//! From JavaScript's values to the server's bytes.
//!
//! Owns: a query's parameters from the call into the addon until the query is done, in which form
//! each of them travels, and which values are refused because they do not fit the type that the
//! server inferred. Each value is written from memory of the addon's, as often as its query is
//! sent.
//!
//! Its tests stand beside the code; `test/properties/parameters.rs` holds the forms against what
//! real servers read from them.

mod array;
mod parameter;
mod params;
mod plain_text;
mod scalar;
mod text_to_binary;
mod value;

pub use params::{Params, Piece, Pieces};
