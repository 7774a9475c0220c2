//! Floor 1: values, from the server's bytes to cells of a row batch, and from JavaScript's values
//! to the server's bytes.
//!
//! Owns: which types have a binary decoder, how a column is read, and how a parameter is fitted to
//! the type that the server inferred for it. May import `base` and `protocol`. Never frames a
//! message, never allocates for a cell or a row, never trusts a length or a count that the server
//! claims, and never puts a parameter's value into an error.

mod array;
mod bytes;
mod catalog;
mod datetime;
pub mod decode;
mod encode;
mod encode_array;
mod encode_scalar;
mod float;
mod interval;
mod long_row;
mod numeric;
pub mod oid;
mod parameter_type;
pub mod params;
mod plain;
mod scalar;
pub mod shape;
mod sure;
mod value;

pub use catalog::{ArrayOf, Catalog, UserType};
pub use decode::write_row;
pub use long_row::{LONG_ROW, LongRow, Piece as RowPiece};
pub use oid::is_of_users;
pub use parameter_type::ParameterType;
pub use params::{Params, Piece, Pieces};
pub use shape::{Column, DomainArrays, Shape, Verbatim};
