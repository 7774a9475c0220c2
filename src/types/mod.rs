//! Floor 1: values, from the server's bytes to cells of a row batch, and from JavaScript's values
//! to the server's bytes.
//!
//! Owns: what a type is (`oid`, `user_type`, `catalog`, `parameter_type`), how the server's bytes
//! are read (`decode`), how a parameter is written for the type that the server inferred
//! (`encode`), and the forms that both need (`datetime`, `float`, `numeric`). May import `base`,
//! `transfer` and `protocol`. Never frames a message, never allocates for a cell or a row, never
//! trusts a length or a count that the server claims, and never puts a parameter's value into an
//! error.

mod catalog;
mod datetime;
mod decode;
mod encode;
mod float;
mod numeric;
pub mod oid;
mod parameter_type;
mod user_type;

pub use catalog::Catalog;
pub use decode::{Column, DomainArrays, LONG_ROW, LongRow, RowPiece, Shape, Verbatim, write_row};
pub use encode::{Params, Piece, Pieces};
pub use oid::is_of_users;
pub use parameter_type::ParameterType;
pub use user_type::{ArrayOf, UserType};
