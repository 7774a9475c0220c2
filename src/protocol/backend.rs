//! Messages from the server (PostgreSQL manual, 55.7).
//!
//! A small checked reader reads the frequent and simple messages in place, and `report` reads
//! errors and notices. Some authentication requests and row descriptions go through
//! `postgres-protocol`, as a frame of known length. Its size hints are not used, since they are
//! numbers from the peer.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;

use super::frame::Frame;
use super::report::ReportReader;
use crate::base::{Error, ServerFields};

/// The longest secret key, in bytes. No protocol version up to 3.2 has a longer one.
const LONGEST_SECRET_KEY: usize = 256;
const MOST_MECHANISMS: usize = 16;

#[derive(Debug)]
pub enum BackendMessage<'a> {
    AuthenticationOk,
    AuthenticationCleartextPassword,
    AuthenticationMd5Password {
        salt: [u8; 4],
    },
    AuthenticationSasl {
        mechanisms: Vec<String>,
    },
    AuthenticationSaslContinue(&'a [u8]),
    AuthenticationSaslFinal(&'a [u8]),
    /// A method that this client does not support.
    AuthenticationUnsupported {
        kind: &'static str,
    },
    /// The key has 4 to 256 bytes.
    BackendKeyData {
        process_id: i32,
        secret_key: &'a [u8],
    },
    NegotiateProtocolVersion {
        minor: u32,
        unsupported: Vec<String>,
    },
    ParameterStatus {
        name: &'a str,
        value: &'a str,
    },
    ReadyForQuery(TransactionStatus),
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    PortalSuspended,
    EmptyQueryResponse,
    ParameterDescription(Vec<u32>),
    RowDescription(Vec<Field>),
    /// The unchecked body. [`check_data_row`](super::data_row::check_data_row) checks it.
    DataRow(&'a [u8]),
    CommandComplete(&'a str),
    ErrorResponse(Box<ServerFields>),
    NoticeResponse(Box<ServerFields>),
    NotificationResponse {
        process_id: i32,
        channel: &'a str,
        payload: &'a str,
    },
    CopyInResponse,
    CopyOutResponse,
    CopyBothResponse,
    CopyData(&'a [u8]),
    CopyDone,
}

/// The state of the session's transaction block, as ReadyForQuery tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    /// The server refuses all statements until the transaction is rolled back.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

/// A column of a RowDescription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub table_oid: u32,
    pub column_number: i16,
    pub type_oid: u32,
    pub type_size: i16,
    pub type_modifier: i32,
    pub format: Format,
}

impl BackendMessage<'_> {
    /// The message's name in the manual.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AuthenticationOk => "AuthenticationOk",
            Self::AuthenticationCleartextPassword => "AuthenticationCleartextPassword",
            Self::AuthenticationMd5Password { .. } => "AuthenticationMD5Password",
            Self::AuthenticationSasl { .. } => "AuthenticationSASL",
            Self::AuthenticationSaslContinue(_) => "AuthenticationSASLContinue",
            Self::AuthenticationSaslFinal(_) => "AuthenticationSASLFinal",
            Self::AuthenticationUnsupported { .. } => "an authentication request",
            Self::BackendKeyData { .. } => "BackendKeyData",
            Self::NegotiateProtocolVersion { .. } => "NegotiateProtocolVersion",
            Self::ParameterStatus { .. } => "ParameterStatus",
            Self::ReadyForQuery(_) => "ReadyForQuery",
            Self::ParseComplete => "ParseComplete",
            Self::BindComplete => "BindComplete",
            Self::CloseComplete => "CloseComplete",
            Self::NoData => "NoData",
            Self::PortalSuspended => "PortalSuspended",
            Self::EmptyQueryResponse => "EmptyQueryResponse",
            Self::ParameterDescription(_) => "ParameterDescription",
            Self::RowDescription(_) => "RowDescription",
            Self::DataRow(_) => "DataRow",
            Self::CommandComplete(_) => "CommandComplete",
            Self::ErrorResponse(_) => "ErrorResponse",
            Self::NoticeResponse(_) => "NoticeResponse",
            Self::NotificationResponse { .. } => "NotificationResponse",
            Self::CopyInResponse => "CopyInResponse",
            Self::CopyOutResponse => "CopyOutResponse",
            Self::CopyBothResponse => "CopyBothResponse",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
        }
    }
}

/// Parses a whole frame. Leftover bytes are an error.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<BackendMessage<'a>, Error> {
    use BackendMessage as M;
    let mut body = Reader { rest: frame.body, tag: frame.tag };
    let message = match frame.tag {
        b'1' => M::ParseComplete,
        b'2' => M::BindComplete,
        b'3' => M::CloseComplete,
        b'n' => M::NoData,
        b's' => M::PortalSuspended,
        b'I' => M::EmptyQueryResponse,
        b'c' => M::CopyDone,
        b'Z' => M::ReadyForQuery(match body.byte()? {
            b'I' => TransactionStatus::Idle,
            b'T' => TransactionStatus::InTransaction,
            b'E' => TransactionStatus::Failed,
            _ => return Err(body.broken("an unknown transaction status")),
        }),
        b'C' => M::CommandComplete(body.string()?),
        b'S' => M::ParameterStatus { name: body.string()?, value: body.string()? },
        b'A' => M::NotificationResponse {
            process_id: body.int()?,
            channel: body.string()?,
            payload: body.string()?,
        },
        b'K' => {
            let process_id = body.int()?;
            let secret_key = body.all();
            if !(4..=LONGEST_SECRET_KEY).contains(&secret_key.len()) {
                return Err(body.broken("a secret key of a length that no version has"));
            }
            M::BackendKeyData { process_id, secret_key }
        }
        b'v' => negotiate(&mut body)?,
        b'D' => M::DataRow(body.all()),
        b'd' => M::CopyData(body.all()),
        b't' => parameter_description(&mut body)?,
        b'R' => authentication(frame, &mut body)?,
        b'G' | b'H' | b'W' => {
            body.all();
            match frame.tag {
                b'G' => M::CopyInResponse,
                b'H' => M::CopyOutResponse,
                _ => M::CopyBothResponse,
            }
        }
        b'T' => {
            body.all();
            by_library(frame)?
        }
        b'E' => M::ErrorResponse(report(body.all())?),
        b'N' => M::NoticeResponse(report(body.all())?),
        _ => return Err(body.broken("a type that does not exist")),
    };
    if body.rest.is_empty() { Ok(message) } else { Err(body.broken("bytes behind its end")) }
}

/// Reads the fields of a body, never past the end of the body.
struct Reader<'a> {
    rest: &'a [u8],
    tag: u8,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| self.broken("no end"))?;
        self.rest = rest;
        Ok(*byte)
    }

    fn short(&mut self) -> Result<u16, Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.broken("no end"))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn int(&mut self) -> Result<i32, Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.broken("no end"))?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*bytes))
    }

    fn string(&mut self) -> Result<&'a str, Error> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| self.broken("a string without an end"))?;
        let (string, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        std::str::from_utf8(string).map_err(|_| self.broken("text that is not UTF-8"))
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn broken(&self, has: &str) -> Error {
        Error::protocol(format!("a message of type {:?} has {has}", char::from(self.tag)))
    }
}

fn negotiate<'a>(body: &mut Reader<'a>) -> Result<BackendMessage<'a>, Error> {
    let minor = body.int()?.cast_unsigned();
    let count = body.int()?;
    let mut unsupported = Vec::new();
    for _ in 0..count {
        // The server's count is not trusted: a count that is too large reaches the end of the body.
        unsupported.push(body.string()?.to_owned());
    }
    if count < 0 {
        return Err(body.broken("a negative count"));
    }
    Ok(BackendMessage::NegotiateProtocolVersion { minor, unsupported })
}

fn parameter_description<'a>(body: &mut Reader<'a>) -> Result<BackendMessage<'a>, Error> {
    let count = body.short()?;
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(body.int()?.cast_unsigned());
    }
    Ok(BackendMessage::ParameterDescription(types))
}

fn authentication<'a>(
    frame: &Frame<'a>,
    body: &mut Reader<'a>,
) -> Result<BackendMessage<'a>, Error> {
    use BackendMessage as M;
    let message = match body.int()? {
        0 => M::AuthenticationOk,
        3 => M::AuthenticationCleartextPassword,
        11 => M::AuthenticationSaslContinue(body.all()),
        12 => M::AuthenticationSaslFinal(body.all()),
        2 => M::AuthenticationUnsupported { kind: "Kerberos 5" },
        6 => M::AuthenticationUnsupported { kind: "SCM" },
        7 | 8 => {
            body.all();
            M::AuthenticationUnsupported { kind: "GSSAPI" }
        }
        9 => M::AuthenticationUnsupported { kind: "SSPI" },
        5 | 10 => {
            body.all();
            return by_library(frame);
        }
        _ => {
            body.all();
            M::AuthenticationUnsupported { kind: "an unknown kind of" }
        }
    };
    Ok(message)
}

/// Lets `postgres-protocol` read a copy of the message. These messages are rare.
fn by_library<'a>(frame: &Frame<'a>) -> Result<BackendMessage<'a>, Error> {
    use BackendMessage as M;
    let broken = || {
        let tag = char::from(frame.tag);
        Error::protocol(format!("a message of type {tag:?} is not what its type says"))
    };
    let length = u32::try_from(frame.len.saturating_sub(1)).map_err(|_| broken())?;
    let mut copy = BytesMut::with_capacity(frame.len);
    copy.extend_from_slice(&[frame.tag]);
    copy.extend_from_slice(&length.to_be_bytes());
    copy.extend_from_slice(frame.body);
    let message = Message::parse(&mut copy).map_err(|_| broken())?.ok_or_else(broken)?;
    match message {
        Message::AuthenticationMd5Password(body) => {
            Ok(M::AuthenticationMd5Password { salt: body.salt() })
        }
        Message::AuthenticationSasl(body) => {
            let (mut offered, mut mechanisms) = (body.mechanisms(), Vec::new());
            while let Some(mechanism) = offered.next().map_err(|_| broken())? {
                if mechanisms.len() == MOST_MECHANISMS {
                    return Err(broken());
                }
                mechanisms.push(mechanism.to_owned());
            }
            Ok(M::AuthenticationSasl { mechanisms })
        }
        Message::RowDescription(body) => {
            let (mut described, mut fields) = (body.fields(), Vec::new());
            while let Some(field) = described.next().map_err(|_| broken())? {
                fields.push(Field {
                    name: field.name().to_owned(),
                    table_oid: field.table_oid(),
                    column_number: field.column_id(),
                    type_oid: field.type_oid(),
                    type_size: field.type_size(),
                    type_modifier: field.type_modifier(),
                    format: match field.format() {
                        0 => Format::Text,
                        1 => Format::Binary,
                        _ => return Err(broken()),
                    },
                });
            }
            Ok(M::RowDescription(fields))
        }
        _ => Err(broken()),
    }
}

fn report(body: &[u8]) -> Result<Box<ServerFields>, Error> {
    let mut reader = ReportReader::default();
    reader.read(body)?;
    reader.finish()
}

#[cfg(test)]
mod tests {
    use super::super::report::LONGEST_FIELD;
    use super::*;

    fn read(tag: u8, body: &[u8]) -> Result<BackendMessage<'_>, Error> {
        parse(&Frame { tag, body, len: body.len().saturating_add(5) })
    }

    fn report_of(body: &[u8]) -> ServerFields {
        match read(b'E', body) {
            Ok(BackendMessage::ErrorResponse(fields)) => *fields,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whatever_an_error_says_is_bounded_text_with_a_code() {
        let whole = report_of(b"SFEHLER\0VERROR\0C23505\0Mno\0P7\0nkey\0?unknown\0\0");
        assert_eq!((whole.severity.as_str(), whole.code.as_str()), ("ERROR", "23505"));
        assert_eq!((whole.position, whole.constraint.as_deref()), (Some(7), Some("key")));
        let translated = report_of(b"SFEHLER\0Mno\0\0");
        assert_eq!((translated.severity.as_str(), translated.code.as_str()), ("FEHLER", "XX000"));
        for code in ["", "2350", "235055", "abcde", "2350\u{e9}", "'; --"] {
            let body = format!("C{code}\0\0");
            assert_eq!(report_of(body.as_bytes()).code, "XX000", "{code:?}");
        }
        for unit in [&b"x"[..], b"\xff", "\u{20ac}".as_bytes()] {
            let body = [b"M", &unit.repeat(1 << 20)[..], b"\0\0"].concat();
            assert!(report_of(&body).message.len() <= LONGEST_FIELD);
        }
        assert_eq!(report_of(b"Mcaf\xe9\0\0").message, "caf\u{fffd}");
        for broken in [&b""[..], b"M", b"Mno", b"Mno\0", b"Mno\0\0left over"] {
            assert!(read(b'E', broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn ready_for_query_has_one_byte_of_three() {
        for (body, valid) in [
            (&b"I"[..], true),
            (b"T", true),
            (b"E", true),
            (b"X", false),
            (b"", false),
            (b"II", false),
        ] {
            assert_eq!(read(b'Z', body).is_ok(), valid, "{body:?}");
        }
    }

    #[test]
    fn a_secret_key_has_4_to_256_bytes() {
        for (length, valid) in
            [(0, false), (3, false), (4, true), (32, true), (256, true), (257, false)]
        {
            let body = vec![1; 4 + length];
            assert_eq!(read(b'K', &body).is_ok(), valid, "{length}");
        }
        assert!(read(b'K', b"\0\0").is_err());
    }

    #[test]
    fn counts_that_lie_run_into_the_end_of_the_body() {
        let negotiate = |count: i32, options: &[u8]| {
            let body = [&0i32.to_be_bytes()[..], &count.to_be_bytes(), options].concat();
            read(b'v', &body).is_ok()
        };
        assert!(negotiate(0, b"") && negotiate(1, b"_pq_.x\0"));
        assert!(!negotiate(-1, b"") && !negotiate(i32::MAX, b"a\0b\0") && !negotiate(0, b"a\0"));
        assert!(read(b't', b"\xff\xff\0\0\0\x17").is_err());
        assert!(read(b't', b"\0\x01\0\0\0\x17").is_ok());
        assert!(read(b'T', b"\xff\xffname\0").is_err());
    }
}
