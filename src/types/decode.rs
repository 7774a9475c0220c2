//! From the fields of a DataRow to the cells of a batch.

use crate::base::Error;
use crate::base::batch::{Full, RowBatch};

use super::shape::Shape;

/// Writes one row. Where the batch is full or a value can't be read, the batch is as before.
pub fn write_row(
    body: &[u8],
    shape: &Shape,
    batch: &mut RowBatch<'_>,
) -> Result<Result<(), Full>, Error> {
    let _ = (body, shape.text_bound(body), batch);
    Err(Error::internal("not written yet"))
}
