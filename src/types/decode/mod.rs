//! From the server's bytes to the cells of a row batch.
//!
//! Owns: which types have a binary decoder, in which format the pool asks for a column, and how the
//! column's values are read, as cells or as elements of an array. The columns of a result are
//! examined once. After that a value costs one `match`, and no allocation unless it is long.
//!
//! The unit tests are next to the code. `test/properties/results.rs` compares both formats with the
//! text of real servers.

mod array;
mod bytes;
mod interval;
mod long_row;
mod row;
mod scalar;
mod shape;

pub use long_row::{LONG_ROW, LongRow, Piece as RowPiece};
pub use row::write_row;
pub use shape::{Column, DomainArrays, Shape, Verbatim};

#[cfg(test)]
pub(super) use array::tests::json_of_texts;
