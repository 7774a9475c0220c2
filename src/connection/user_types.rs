//! The question for what stands behind the oids of types that users and extensions made.

use super::pipeline::unexpected;
use crate::base::Error;
use crate::protocol::backend::BackendMessage;
use crate::protocol::data_row::{check_data_row, fields};
use crate::types::{ArrayOf, UserType};

const COLUMNS: usize = 6;
/// `NAMEDATALEN` is 64; a server can send anything.
const LONGEST_NAME: usize = 256;

/// An array is what `array_in` reads, on every version. Domains are told with the type under them, and so are the
/// elements of arrays.
fn question(oids: &[u32]) -> String {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "WITH RECURSIVE asked AS (\
         SELECT t.oid, t.typname, t.oid AS base, t.typtype, t.typbasetype FROM pg_catalog.pg_type AS t \
         WHERE t.oid OPERATOR(pg_catalog.=) ANY (ARRAY[{list}]::pg_catalog.oid[]) \
         UNION ALL \
         SELECT a.oid, a.typname, b.oid, b.typtype, b.typbasetype FROM asked AS a \
         JOIN pg_catalog.pg_type AS b ON b.oid OPERATOR(pg_catalog.=) a.typbasetype \
         WHERE a.typtype OPERATOR(pg_catalog.=) 'd'), \
         known AS (\
         SELECT a.oid, a.typname, a.base, e.oid AS element, e.typdelim FROM asked AS a \
         JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.base \
         LEFT JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) t.typelem \
         AND t.typinput OPERATOR(pg_catalog.=) 'pg_catalog.array_in'::pg_catalog.regproc \
         WHERE a.typtype OPERATOR(pg_catalog.<>) 'd'), \
         under AS (\
         SELECT k.oid, e.oid AS base, e.typtype, e.typbasetype FROM known AS k \
         JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) k.element \
         UNION ALL \
         SELECT u.oid, b.oid, b.typtype, b.typbasetype FROM under AS u \
         JOIN pg_catalog.pg_type AS b ON b.oid OPERATOR(pg_catalog.=) u.typbasetype \
         WHERE u.typtype OPERATOR(pg_catalog.=) 'd') \
         SELECT k.oid, k.typname, k.base, k.element, k.typdelim, (SELECT u.base FROM under AS u \
         WHERE u.oid OPERATOR(pg_catalog.=) k.oid AND u.typtype OPERATOR(pg_catalog.<>) 'd') FROM known AS k"
    )
}

/// The question under way, with what has been answered so far.
#[derive(Debug)]
pub(super) struct TypesAsked {
    pub(super) oids: Vec<u32>,
    pub(super) told: Vec<(u32, UserType)>,
    /// The server had nothing to say: the transaction has failed, a pooler stands in between.
    pub(super) refused: bool,
}

impl TypesAsked {
    pub(super) fn new(oids: Vec<u32>) -> Self {
        Self { oids, told: Vec::new(), refused: false }
    }

    pub(super) fn question(&self) -> String {
        question(&self.oids)
    }

    /// A row of the answer. What makes no sense is let go by.
    pub(super) fn row(&mut self, body: &[u8]) {
        if self.told.len() < self.oids.len()
            && let Some(known) = read(body)
        {
            self.told.push(known);
        }
    }

    pub(super) fn message(&mut self, message: &BackendMessage<'_>) -> Result<(), Error> {
        use BackendMessage as M;
        match message {
            M::RowDescription(_) | M::CommandComplete(_) => Ok(()),
            M::ErrorResponse(_) => {
                self.refused = true;
                Ok(())
            }
            message => Err(unexpected(message.name())),
        }
    }
}

fn read(body: &[u8]) -> Option<(u32, UserType)> {
    check_data_row(body, COLUMNS).ok()?;
    let mut columns = fields(body).map(|field| field.map(std::str::from_utf8));
    let mut next = || columns.next().flatten()?.ok();
    let (oid, name, base) = (next()?, next()?, next()?);
    let (element, delimiter, element_base) = (next(), next(), next());
    if name.len() > LONGEST_NAME {
        return None;
    }
    let array = element.is_some().then(|| {
        let delimiter = delimiter?.as_bytes().first().copied()?;
        Some(ArrayOf { element: element_base?.parse().ok()?, delimiter })
    });
    let (oid, base) = (oid.parse().ok()?, base.parse().ok()?);
    Some((oid, UserType { name: name.into(), base, array: array.flatten() }))
}
