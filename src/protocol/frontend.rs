//! Messages to the server (PostgreSQL manual, 55.7), encoded by `postgres-protocol`.
//!
//! An encoder that fails leaves a part of its message in the buffer. In a buffer that several
//! requests share, the next request would then continue that message. So every message goes through
//! one wrapper, which removes the part again.

use std::io;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self as codec, BindError};

use super::Format;
use crate::base::{Error, ErrorClass};

/// Bind counts its parameters with 16 bits.
const MOST_PARAMETERS: usize = 65_535;
/// The longest message, in bytes. The server accepts no more (PQ_LARGE_MESSAGE_LIMIT is
/// MaxAllocSize).
const LONGEST_MESSAGE: usize = 0x3fff_ffff;

/// Appends one whole message, or nothing.
fn append(
    out: &mut BytesMut,
    encode: impl FnOnce(&mut BytesMut) -> Result<(), Error>,
) -> Result<(), Error> {
    let mark = out.len();
    let mut done = encode(out);
    if done.is_ok() && out.len().saturating_sub(mark) > LONGEST_MESSAGE {
        done = Err(configuration("HYPERION_MESSAGE_TOO_LONG", "a message is longer than 1 GiB"));
    }
    if done.is_err() {
        out.truncate(mark);
    }
    done
}

fn configuration(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Configuration, code, message)
}

/// An encoder's error: text with a NUL byte, or text too long for its length field.
fn refused(error: io::Error) -> Error {
    configuration("HYPERION_ENCODING", format!("this can't be sent to PostgreSQL: {error}"))
}

/// Appends a StartupMessage for protocol 3.0.
pub fn startup(out: &mut BytesMut, parameters: &[(&str, &str)]) -> Result<(), Error> {
    append(out, |out| codec::startup_message(parameters.iter().copied(), out).map_err(refused))
}

pub fn password(out: &mut BytesMut, password: &[u8]) -> Result<(), Error> {
    append(out, |out| codec::password_message(password, out).map_err(refused))
}

pub fn sasl_initial_response(
    out: &mut BytesMut,
    mechanism: &str,
    data: &[u8],
) -> Result<(), Error> {
    append(out, |out| codec::sasl_initial_response(mechanism, data, out).map_err(refused))
}

pub fn sasl_response(out: &mut BytesMut, data: &[u8]) -> Result<(), Error> {
    append(out, |out| codec::sasl_response(data, out).map_err(refused))
}

/// Appends a Parse. `types` may have fewer oids than the statement has parameters. For an oid of 0
/// the server infers the type.
pub fn parse(out: &mut BytesMut, name: &str, sql: &str, types: &[u32]) -> Result<(), Error> {
    append(out, |out| codec::parse(name, sql, types.iter().copied(), out).map_err(refused))
}

/// Appends a Bind. `encode` writes the value of one parameter. If there are no result formats,
/// every column comes as text.
pub fn bind<F>(
    out: &mut BytesMut,
    portal: &str,
    statement: &str,
    formats: impl ExactSizeIterator<Item = Format>,
    parameters: usize,
    mut encode: F,
    result_formats: impl ExactSizeIterator<Item = Format>,
) -> Result<(), Error>
where
    F: FnMut(usize, &mut BytesMut) -> Result<IsNull, Error>,
{
    if parameters > MOST_PARAMETERS {
        let message = format!(
            "{parameters} parameters were given, but PostgreSQL takes at most {MOST_PARAMETERS}"
        );
        return Err(configuration("HYPERION_TOO_MANY_PARAMETERS", message));
    }
    append(out, |out| {
        let begin = out.len();
        let serializer = |n: usize, out: &mut BytesMut| {
            // The parameters before this one may already exceed the longest message.
            if out.len().saturating_sub(begin) > LONGEST_MESSAGE {
                let message = "the parameters together are longer than 1 GiB";
                return Err(configuration("HYPERION_MESSAGE_TOO_LONG", message).into());
            }
            encode(n, out).map_err(Into::into)
        };
        let (formats, results) = (formats.map(format_code), result_formats.map(format_code));
        let bound =
            codec::bind(portal, statement, formats, 0..parameters, serializer, results, out);
        bound.map_err(|error| match error {
            BindError::Serialization(error) => refused(error),
            BindError::Conversion(error) => match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::internal(format!("a parameter could not be written: {error}")),
            },
        })
    })
}

const fn format_code(format: Format) -> i16 {
    match format {
        Format::Text => 0,
        Format::Binary => 1,
    }
}

pub fn describe_statement(out: &mut BytesMut, name: &str) -> Result<(), Error> {
    append(out, |out| codec::describe(b'S', name, out).map_err(refused))
}

pub fn describe_portal(out: &mut BytesMut, name: &str) -> Result<(), Error> {
    append(out, |out| codec::describe(b'P', name, out).map_err(refused))
}

pub fn close_statement(out: &mut BytesMut, name: &str) -> Result<(), Error> {
    append(out, |out| codec::close(b'S', name, out).map_err(refused))
}

/// Appends an Execute. A `most_rows` of 0 sets no limit.
pub fn execute(out: &mut BytesMut, portal: &str, most_rows: i32) -> Result<(), Error> {
    append(out, |out| codec::execute(portal, most_rows, out).map_err(refused))
}

/// Appends a Flush: the server sends the answers that it has so far.
pub fn flush(out: &mut BytesMut) -> Result<(), Error> {
    append(out, |out| {
        codec::flush(out);
        Ok(())
    })
}

pub fn sync(out: &mut BytesMut) -> Result<(), Error> {
    append(out, |out| {
        codec::sync(out);
        Ok(())
    })
}

/// Appends a Query of the simple protocol: one or several statements without parameters.
pub fn query(out: &mut BytesMut, sql: &str) -> Result<(), Error> {
    append(out, |out| codec::query(sql, out).map_err(refused))
}

/// Appends a CopyFail, which ends a COPY FROM STDIN. The server then fails the COPY with the
/// message `why`.
pub fn copy_fail(out: &mut BytesMut, why: &str) -> Result<(), Error> {
    append(out, |out| codec::copy_fail(why, out).map_err(refused))
}

/// Appends a CopyDone, which ends this side of a COPY.
pub fn copy_done(out: &mut BytesMut) -> Result<(), Error> {
    append(out, |out| {
        codec::copy_done(out);
        Ok(())
    })
}

pub fn terminate(out: &mut BytesMut) -> Result<(), Error> {
    append(out, |out| {
        codec::terminate(out);
        Ok(())
    })
}

/// Appends a CancelRequest, which needs a connection of its own (PostgreSQL manual, 55.2.8). It is
/// encoded here because `postgres-protocol` supports only keys of four bytes. Protocol 3.2 has keys
/// of up to 256 bytes.
pub fn cancel_request(out: &mut BytesMut, process_id: i32, secret_key: &[u8]) -> Result<(), Error> {
    const CODE: i32 = 80_877_102;
    append(out, |out| {
        let length = secret_key.len().checked_add(12).and_then(|length| i32::try_from(length).ok());
        let length = length.filter(|_| secret_key.len() <= 256);
        let length = length.ok_or_else(|| Error::internal("a cancel key is too long"))?;
        for word in [length, CODE, process_id] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(secret_key);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer() -> BytesMut {
        BytesMut::from(&b"earlier"[..])
    }

    #[test]
    fn a_message_that_fails_leaves_the_buffer_as_it_was() {
        let none = || std::iter::empty::<Format>();
        let check = |name: &str, encode: &dyn Fn(&mut BytesMut) -> Result<(), Error>| {
            let mut out = buffer();
            assert!(encode(&mut out).is_err(), "{name}");
            assert_eq!(out, buffer(), "{name}");
        };
        check("query", &|out| query(out, "SELECT \0"));
        check("parse", &|out| parse(out, "", "SELECT \0", &[]));
        check("parse name", &|out| parse(out, "\0", "SELECT 1", &[]));
        check("startup", &|out| startup(out, &[("user", "a\0b")]));
        check("password", &|out| password(out, b"a\0b"));
        check("bind", &|out| {
            let value = |n: usize, out: &mut BytesMut| {
                out.extend_from_slice(b"user bytes");
                if n == 1 { Err(Error::internal("$2")) } else { Ok(IsNull::No) }
            };
            bind(out, "", "", none(), 3, value, none())
        });
        check("long key", &|out| cancel_request(out, 1, &[0; 257]));
    }

    #[test]
    fn a_bind_takes_65535_parameters_and_no_more() {
        let none = || std::iter::empty::<Format>();
        let null = |_: usize, _: &mut BytesMut| Ok(IsNull::Yes);
        let mut out = BytesMut::new();
        assert_eq!(bind(&mut out, "", "", none(), 65_535, null, none()), Ok(()));
        let mut out = buffer();
        let error = bind(&mut out, "", "", none(), 65_536, null, none()).unwrap_err();
        assert_eq!(error.code(), "HYPERION_TOO_MANY_PARAMETERS");
        assert_eq!(out, buffer());
    }

    #[test]
    fn the_error_of_a_parameter_comes_through() {
        let none = || std::iter::empty::<Format>();
        let fails = |_: usize, _: &mut BytesMut| {
            Err(Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", "$1 is wrong"))
        };
        let error = bind(&mut buffer(), "", "", none(), 1, fails, none()).unwrap_err();
        assert_eq!((error.code(), error.message()), ("HYPERION_PARAMETER", "$1 is wrong"));
    }

    #[test]
    fn a_cancel_request_carries_keys_of_any_length() {
        let mut out = BytesMut::new();
        cancel_request(&mut out, 7, &[1, 2, 3, 4]).unwrap();
        assert_eq!(&out[..], [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 7, 1, 2, 3, 4]);
    }
}
