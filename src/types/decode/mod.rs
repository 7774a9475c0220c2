//! From the server's bytes to cells of a row batch.
//!
//! Owns: which types have a binary decoder, in which format a column is asked for, and how its
//! values are read, as a cell or as an element of an array. The columns of a result are looked at
//! once; a value then costs one `match` and no allocation, but where it is long.
//!
//! Its tests stand beside the code; `test/properties/results.rs` holds both formats against the
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
