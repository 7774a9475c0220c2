//! How one statement is written: Parse, Describe, Bind and Execute, in the order that its flight needs.

use bytes::BytesMut;

use super::Request;
use super::exchange::Flight;
use super::statement::{Description, Statement};
use crate::base::Error;
use crate::protocol::{Format, frontend};
use crate::types::ParameterType;

/// The description alone is asked for: nothing runs.
pub(super) fn describe(statement: &Statement, out: &mut BytesMut) -> Result<Flight, Error> {
    frontend::parse(out, "", &statement.sql, &[])?;
    frontend::describe_statement(out, "")?;
    Ok(Flight::Typing { parameter_types: Vec::new() })
}

/// Parameters and results travel as text, and the statement's description comes along.
pub(super) fn describe_and_run(
    request: &Request<'_>,
    statement: &Statement,
    out: &mut BytesMut,
) -> Result<Flight, Error> {
    frontend::parse(out, "", &statement.sql, &[])?;
    frontend::describe_statement(out, "")?;
    let params = request.params;
    let not_known = &ParameterType::NOT_KNOWN;
    let formats = (0..params.len()).map(|n| params.format(n, not_known));
    let encode = |n: usize, out: &mut BytesMut| params.encode(n, not_known, out);
    frontend::bind(out, "", "", formats, params.len(), encode, std::iter::empty::<Format>())?;
    frontend::execute(out, "", 0)?;
    Ok(Flight::Describing { parameter_types: Vec::new() })
}

pub(super) fn parse_and_run(
    out: &mut BytesMut,
    name: &str,
    request: &Request<'_>,
    statement: &Statement,
    description: &Description,
) -> Result<(), Error> {
    frontend::parse(out, name, &statement.sql, &description.parameter_types)?;
    bind(out, name, request, description)?;
    frontend::describe_portal(out, "")?;
    frontend::execute(out, "", 0)
}

pub(super) fn bind(
    out: &mut BytesMut,
    name: &str,
    request: &Request<'_>,
    description: &Description,
) -> Result<(), Error> {
    let (params, types) = (request.params, &description.fits);
    let not_known = &ParameterType::NOT_KNOWN;
    let type_of = |n: usize| types.get(n).unwrap_or(not_known);
    let formats = (0..params.len()).map(|n| params.format(n, type_of(n)));
    let encode = |n: usize, out: &mut BytesMut| params.encode(n, type_of(n), out);
    let columns = description.shape.as_deref().map_or(&[][..], |shape| shape.columns());
    let results = columns.iter().map(|column| column.field.format);
    frontend::bind(out, "", name, formats, params.len(), encode, results)
}
