//! The messages for one statement: Parse, Describe, Bind and Execute, in the order that its flight
//! needs.

use bytes::BytesMut;

use crate::base::Error;
use crate::connection::Request;
use crate::protocol::{Format, frontend};
use crate::types::{ParameterType, Params, Shape};

/// How the values of a request are written.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) enum Values<'a> {
    /// As text that is right for any type that the server infers. Contains the types of the last
    /// description.
    Plain(&'a [ParameterType]),
    /// Encoded for these types.
    Encoded(&'a [ParameterType]),
}

/// Parses, describes and runs a statement. `types` are declared to the server. If there are none,
/// the server infers them. Results come in the formats of the shape `results`, or as text.
pub(in crate::connection) fn parse_and_run(
    out: &mut BytesMut,
    (name, sql): (&str, &str),
    request: &Request<'_>,
    types: &[u32],
    values: Values<'_>,
    results: Option<&Shape>,
) -> Result<(), Error> {
    frontend::parse(out, name, sql, types)?;
    frontend::describe_statement(out, name)?;
    bind_and_run(out, name, request.params, values, results)
}

/// Asks one of the client's own questions, which has no parameters and whose results come as text.
/// A pooler may refuse the simple protocol (PgBouncer's `disable_pqexec`).
pub(in crate::connection) fn ask(out: &mut BytesMut, sql: &str) -> Result<(), Error> {
    frontend::parse(out, "", sql, &[])?;
    bind_and_run(out, "", &Params::new(), Values::Plain(&[]), None)
}

pub(in crate::connection) fn bind_and_run(
    out: &mut BytesMut,
    name: &str,
    params: &Params,
    values: Values<'_>,
    results: Option<&Shape>,
) -> Result<(), Error> {
    let (Values::Plain(types) | Values::Encoded(types)) = values;
    let not_known = &ParameterType::NOT_KNOWN;
    let type_of = |n: usize| types.get(n).unwrap_or(not_known);
    let format_of = |n: usize| match values {
        Values::Plain(_) => Format::Text,
        Values::Encoded(_) => params.format(n, type_of(n)),
    };
    let encode = |n: usize, out: &mut BytesMut| match values {
        Values::Plain(_) => params.encode_plain(n, type_of(n), out),
        Values::Encoded(_) => params.encode(n, type_of(n), out),
    };
    let columns = results.map_or(&[][..], Shape::columns);
    let results = columns.iter().map(|column| column.field.format);
    let formats = (0..params.len()).map(format_of);
    frontend::bind(out, "", name, formats, params.len(), encode, results)?;
    frontend::execute(out, "", 0)
}
