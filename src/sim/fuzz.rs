//! The bodies of the fuzz targets. They are part of the crate, and `cargo test` replays their
//! corpora; `fuzz/` only calls them.

use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use serde_json::json;

use crate::base::{Body, Error, Instant};
use crate::config::{Config, from_json};
use crate::connection::{
    Answer, Begin, Connection, Description, DescriptionState, Event, Input, Peer, Request,
    RequestToken, RowCursor, Security, Settled, Shared, StatementId, Statements,
};
use crate::protocol::backend::{BackendMessage, parse};
use crate::protocol::data_row::check_data_row;
use crate::protocol::frame::{Limits, Phase, Split, split};
use crate::protocol::scram::KeyCache;
use crate::protocol::{Field, Format, frontend, scripted};
use crate::transfer::{Lane, RowBatch};
use crate::types::{
    ArrayOf, Catalog, LongRow, ParameterType, Params, Piece, Shape, UserType, Verbatim, write_row,
};

/// Bytes to decide by, one at a time. Once they are used up, each decision is zero.
struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) =
            self.rest.split_at(usize::from(self.byte()).min(most).min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }
}

/// Frames cover the input without a gap. A prefix of the input never gives another first frame than
/// the whole.
pub fn frames(data: &[u8]) {
    let limits = Limits::default();
    for phase in [Phase::Startup, Phase::Session] {
        let mut rest = data;
        while let Ok(Split::Frame(frame)) = split(rest, phase, &limits) {
            assert_eq!(frame.len, frame.body.len() + 5);
            assert_eq!(rest.first(), Some(&frame.tag));
            for cut in [0, 1, 4, frame.len - 1] {
                let cut = rest.get(..cut).unwrap_or_default();
                let begun = split(cut, phase, &limits);
                assert!(matches!(begun, Ok(Split::Begun { .. } | Split::Partial)), "{cut:?}");
            }
            rest = rest.get(frame.len..).unwrap_or_default();
        }
    }
}

/// Any frame is a message or an error. A row that passes its check can be written, or is an error.
pub fn backend_messages(data: &[u8]) {
    let mut shape: Option<Shape> = None;
    let (mut cells, mut nulls, mut text) = (vec![0; 4096], vec![0; 4096], Vec::new());
    let mut rest = data;
    while let Ok(Split::Frame(frame)) = split(rest, Phase::Session, &Limits::default()) {
        match parse(&frame) {
            Ok(BackendMessage::RowDescription(fields)) => shape = Some(Shape::new(fields)),
            Ok(BackendMessage::DataRow(body)) => {
                if let Some(shape) = &shape
                    && check_data_row(body, shape.columns().len()).is_ok()
                {
                    let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 1024);
                    let _ = write_row(body, shape, &mut batch);
                    assert!(batch.cells_used() <= 4096);
                }
            }
            Ok(message) => assert!(!message.name().is_empty()),
            Err(_) => {}
        }
        rest = rest.get(frame.len..).unwrap_or_default();
    }
}

/// The values of one type, as a row, in the format that the first byte chooses. A value is read or
/// refused, a refused one leaves the batch as it was, and JSON that comes out can be parsed.
fn values(data: &[u8], oids: &[u32]) {
    let mut choices = Choices { rest: data };
    let choice = choices.byte();
    let format = if choice & 1 == 0 { Format::Binary } else { Format::Text };
    let Some(&type_oid) = oids.get(usize::from(choice >> 1) % oids.len().max(1)) else { return };
    let field = Field {
        name: "v".to_owned(),
        table_oid: 0,
        column_number: 0,
        type_oid,
        type_size: -1,
        type_modifier: -1,
        format,
    };
    let shape = Shape::new(vec![field]);
    let mut body = vec![0, 1];
    body.extend(u32::try_from(choices.rest.len()).unwrap_or_default().to_be_bytes());
    body.extend_from_slice(choices.rest);
    let (mut cells, mut nulls, mut text) = ([0; 1], [0; 1], Vec::new());
    let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 1024);
    let read = write_row(&body, &shape, &mut batch);
    batch.close_joined();
    let (units, is_ascii) = (batch.text_units() as usize, batch.is_ascii());
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.encode_utf16().count(), units);
    assert!(text.is_ascii() || !is_ascii);
    // A numeric has the most text for its bytes, and an array has a comma for each element.
    assert!(text.len() <= choices.rest.len().saturating_mul(6 + 150_000 / 8) + 64);
    match read {
        Ok(_) if shape.columns().iter().any(|column| column.lane == Lane::Array) => {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            assert!(parsed.is_ok_and(|json| json.is_array()), "{text}");
        }
        Ok(_) => {}
        Err(_) => assert!(text.is_empty()),
    }
}

/// Arrays of numbers, text, bytes and times, and of a type that has only its text form.
pub fn arrays(data: &[u8]) {
    values(data, &[1007, 1009, 1016, 1001, 1021, 1185, 3807, 1231, 1041, 1020]);
}

/// Values of type numeric.
pub fn numerics(data: &[u8]) {
    values(data, &[1700]);
}

/// JSON, and the ranges that come as text.
pub fn jsons(data: &[u8]) {
    values(data, &[3802, 114, 199, 3904, 3910]);
}

/// Date, time, timestamp, timestamptz, interval, timetz.
pub fn timestamps(data: &[u8]) {
    values(data, &[1082, 1083, 1114, 1184, 1186, 1266]);
}

/// The other types with a decoder of their own: integers, floats, bool, bytea, uuid.
pub fn scalars(data: &[u8]) {
    values(data, &[20, 21, 23, 26, 5069, 700, 701, 16, 17, 2950, 25]);
}

/// A whole connection gets arbitrary bytes in arbitrary chunks, with requests in between. Every
/// request is settled at most once, and all are settled when the connection is closed.
pub fn connection(data: &[u8]) {
    let mut choices = Choices { rest: data };
    let mut driver = Driver::new(choices.byte());
    let welcome = scripted::welcome(&[]);
    while !choices.rest.is_empty() && !driver.closed {
        match choices.byte() % 8 {
            0 => driver.send(choices.byte()),
            1 => driver.connection.probe(driver.now),
            2 => driver.advance(usize::from(choices.byte())),
            3 => driver.input(Input::Received(&welcome)),
            4 => driver.pass(u64::from(choices.byte()) * 100_000),
            _ => driver.input(Input::Received(choices.bytes(255))),
        }
        driver.drain();
    }
    driver.input(Input::Closed { why: "the input has ended".to_owned() });
    driver.drain();
    assert!(driver.closed && driver.open.is_empty(), "unsettled: {:?}", driver.open);
}

struct Driver {
    now: Instant,
    connection: Connection,
    config: Config,
    statements: Statements,
    keys: KeyCache,
    known: Vec<StatementId>,
    /// Requests that are not settled.
    open: Vec<RequestToken>,
    next: u64,
    closed: bool,
}

impl Driver {
    fn new(cache: u8) -> Self {
        let options = json!({ "user": "u", "password": "p", "statementCacheSize": cache % 3 });
        // These options are right. If they become wrong, every input of the corpus shows it.
        let Ok(config) = from_json(&options) else { unreachable!("the fuzzer's own options") };
        let mut statements = Statements::default();
        let known = ["SELECT 1", "SELECT $1", "a; b", "SELECT 2"].map(|sql| statements.insert(sql));
        let deadline = Instant::from_micros(2_000_000);
        let mut driver = Self {
            now: Instant::ORIGIN,
            connection: Connection::new("h".into(), deadline),
            config,
            statements,
            keys: KeyCache::default(),
            known: known.to_vec(),
            open: Vec::new(),
            next: 0,
            closed: false,
        };
        driver.input(Input::Connected(Peer {
            nonce: [1; 18],
            local: true,
            security: Security::Plain,
        }));
        driver
    }

    fn input(&mut self, input: Input<'_>) {
        let mut shared =
            Shared { config: &self.config, statements: &mut self.statements, keys: &mut self.keys };
        self.connection.handle_input(self.now, input, &mut shared);
    }

    fn send(&mut self, choice: u8) {
        let Some(statement) = self.known.get(usize::from(choice) % self.known.len()) else {
            return;
        };
        let mut params = Params::new();
        if choice & 0x40 != 0 {
            let _ = params.push_number(f64::from(choice));
        }
        let token = RequestToken(self.next);
        self.next += 1;
        let barrier = choice & 0x80 != 0;
        let begin = (choice & 0x20 != 0).then(Begin::default);
        if choice & 0x10 != 0 {
            self.connection.mark_dirty();
            self.connection.reset(self.now);
        }
        let (statement, params, prepare) = (*statement, &params, choice & 0x08 == 0);
        let describe = choice & 0x04 != 0;
        let description = match choice & 0x03 {
            0 | 1 => DescriptionState::Shared,
            2 => DescriptionState::Due,
            _ => DescriptionState::Done(Arc::new(Description::new(
                Vec::new(),
                None,
                &Verbatim::default(),
            ))),
        };
        let request = Request {
            written: None,
            strange: false,
            held: begin.is_none() && !describe && self.next.is_multiple_of(5),
            token,
            statement,
            params,
            begin,
            free: true,
            leased: false,
            prepare,
            barrier,
            describe,
            description: &description,
        };
        let mut shared =
            Shared { config: &self.config, statements: &mut self.statements, keys: &mut self.keys };
        let before = self.connection.outgoing().len();
        match self.connection.send(self.now, &request, &mut shared) {
            Ok(_) => self.open.push(token),
            Err(_) => {
                assert_eq!(self.connection.outgoing().len(), before, "half a request is left")
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.connection.advance(count);
    }

    fn pass(&mut self, micros: u64) {
        self.now = Instant::from_micros(self.now.as_micros() + micros);
        let mut shared =
            Shared { config: &self.config, statements: &mut self.statements, keys: &mut self.keys };
        self.connection.handle_timeout(self.now, &mut shared);
    }

    fn drain(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(!self.closed, "an event behind the end: {event:?}");
            match event {
                Event::Settled(Settled { token, answer, .. }) => {
                    self.settle(token);
                    read_rows(&answer);
                }
                Event::Lost { token, .. } => self.settle(token),
                Event::Closed { .. } => self.closed = true,
                Event::Ready { .. }
                | Event::Answered { .. }
                | Event::Contradicted
                | Event::Placed { .. }
                | Event::Typed { .. }
                | Event::Notice(_)
                | Event::Weak(_)
                | Event::Notification { .. } => {}
            }
        }
    }

    fn settle(&mut self, token: RequestToken) {
        let place = self.open.iter().position(|open| *open == token);
        let place = place.filter(|place| *place < self.open.len());
        assert!(place.is_some(), "{token:?} was settled twice");
        self.open.retain(|open| *open != token);
    }
}

fn read_rows(answer: &Answer) {
    let Answer::Completed { results, .. } = answer else { return };
    let (mut cells, mut nulls, mut text) = (vec![0; 64], vec![0; 64], Vec::new());
    for result in results {
        let mut cursor = RowCursor::default();
        let mut count = 0;
        while let Some(body) = result.rows.next_body(&mut cursor) {
            count += 1;
            if let Some(shape) = &result.shape {
                let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 64);
                let _ = match body {
                    Body::Whole(body) => write_row(body, shape, &mut batch),
                    Body::Parts(_) => LongRow::new(body, shape).write_row(body, shape, &mut batch),
                };
            }
        }
        assert_eq!(count, result.rows.count());
    }
}

/// The output buffer always holds whole messages, even after the encoding of one has failed.
pub fn output_buffer(data: &[u8]) {
    let mut choices = Choices { rest: data };
    let mut out = BytesMut::new();
    let mut messages = 0;
    while !choices.rest.is_empty() {
        let before = out.len();
        match encode(&mut choices, &mut out) {
            Ok(()) => messages += 1,
            Err(_) => assert_eq!(out.len(), before, "half a message is left"),
        }
    }
    assert_eq!(count_messages(&out), Some(messages));
}

fn encode(choices: &mut Choices<'_>, out: &mut BytesMut) -> Result<(), Error> {
    let none = std::iter::empty::<Format>;
    match choices.byte() % 12 {
        11 => bind_values(choices, out),
        0 => frontend::parse(out, &choices.text(9), &choices.text(40), &[23, 0]),
        1 => {
            let failing = usize::from(choices.byte());
            let value = choices.bytes(30);
            let write = |n: usize, out: &mut BytesMut| {
                out.extend_from_slice(value);
                if n == failing {
                    return Err(Error::internal("a parameter that fails"));
                }
                Ok(if n.is_multiple_of(2) { IsNull::No } else { IsNull::Yes })
            };
            let count = usize::from(choices.byte()) % 8;
            let formats = [Format::Binary, Format::Text].into_iter();
            frontend::bind(out, "", &choices.text(9), formats, count, write, none())
        }
        2 => frontend::describe_portal(out, &choices.text(9)),
        3 => frontend::describe_statement(out, &choices.text(9)),
        4 => frontend::execute(out, &choices.text(9), i32::from(choices.byte())),
        5 => frontend::close_statement(out, &choices.text(9)),
        6 => frontend::query(out, &choices.text(40)),
        7 => frontend::password(out, choices.bytes(40)),
        8 => frontend::sasl_initial_response(out, &choices.text(9), choices.bytes(40)),
        9 => frontend::sync(out),
        _ => frontend::terminate(out),
    }
}

/// Types that take, refuse or ask for each kind of value: array types, json, user-made types, and
/// no type at all.
const PARAMETER_TYPES: [u32; 16] =
    [0, 16, 17, 20, 23, 25, 114, 701, 1082, 1184, 1700, 1001, 1007, 1009, 3807, 16_400];

/// A user-made type over another one: an array of it, a domain over it, or neither.
fn user_type(base: u32, kind: u8) -> ParameterType {
    let (base, array) = match kind % 3 {
        0 => {
            let array = ArrayOf { delimiter: kind, is_textual: kind > 127, ..ArrayOf::plain(base) };
            (16_400, Some(array))
        }
        1 => (base, None),
        _ => (16_400, None),
    };
    let mut catalog = Catalog::default();
    catalog.add(&[16_401], vec![(16_401, UserType { name: "made".into(), base, array })]);
    catalog.parameter_type(16_401)
}

/// Binds values as JavaScript captures them, for types that they may fit or not.
fn bind_values(choices: &mut Choices<'_>, out: &mut BytesMut) -> Result<(), Error> {
    let mut params = Params::new();
    let type_oid = usize::from(choices.byte()) % PARAMETER_TYPES.len();
    let type_oid = PARAMETER_TYPES.get(type_oid).copied().unwrap_or_default();
    let of = match choices.byte() % 4 {
        0 => user_type(type_oid, choices.byte()),
        _ => ParameterType::inferred(type_oid),
    };
    for _ in 0..choices.byte() % 32 {
        push_value(choices, &mut params)?;
    }
    while params.has_open_array() {
        params.close_array()?;
    }
    let formats: Vec<_> = (0..params.len()).map(|n| params.format(n, &of)).collect();
    let encode = |n: usize, out: &mut BytesMut| params.encode(n, &of, out);
    let none = std::iter::empty::<Format>();
    frontend::bind(out, "", "", formats.into_iter(), params.len(), encode, none)
}

fn push_value(choices: &mut Choices<'_>, params: &mut Params) -> Result<(), Error> {
    let is_nested = params.has_open_array();
    match choices.byte() % 12 {
        0 => params.push_null(),
        1 => params.push_bool(true),
        2 => params.push_number(f64::from(choices.byte()) - 100.0),
        3 => params.push_number(f64::from_bits(u64::from(choices.byte()) << 56)),
        4 => params.push_date(f64::from(choices.byte()) * 1e14 - 1e16),
        5 => params.push_bigint(choices.byte() < 128, &[u64::MAX; 3]),
        6 => params.push_text(&choices.text(9)),
        7 => params.push_bytes(choices.bytes(9)),
        8 | 9 => {
            params.open_array();
            Ok(())
        }
        10 if is_nested => params.close_array(),
        _ => {
            let text = choices.text(20);
            let mut pieces = params.append_pieces_with(text.len(), |out| {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            })?;
            let units = usize::from(choices.byte()) % 12;
            let kind = [Piece::Text, Piece::Json].into_iter().nth(units % 2);
            params.push_piece(kind.unwrap_or(Piece::Text), &mut pieces, units)
        }
    }
}

pub fn certificates(data: &[u8]) {
    super::tls_fuzz::certificates(data);
}

pub fn negotiation(data: &[u8]) {
    super::tls_fuzz::negotiation(data);
}

/// How many messages a buffer holds; `None` if the last one is not whole.
fn count_messages(mut bytes: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some((_, rest)) = bytes.split_first() {
        let length = rest.first_chunk::<4>()?;
        bytes = rest.get(usize::try_from(i32::from_be_bytes(*length)).ok()?..)?;
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    type Target = (&'static str, fn(&[u8]));
    const TARGETS: [Target; 11] = [
        ("certificates", certificates),
        ("negotiation", negotiation),
        ("arrays", arrays),
        ("numerics", numerics),
        ("jsons", jsons),
        ("timestamps", timestamps),
        ("scalars", scalars),
        ("frames", frames),
        ("backend_messages", backend_messages),
        ("connection", connection),
        ("output_buffer", output_buffer),
    ];

    #[test]
    fn the_corpora_are_replayed() {
        for (name, target) in TARGETS {
            let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
            let mut count = 0;
            for entry in entries {
                target(&std::fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{folder} is empty");
        }
    }

    /// A fuzzer without coverage, for machines without a nightly toolchain: thousands of inputs,
    /// half of which begin with a login.
    #[test]
    fn seeded_inputs_find_nothing() {
        let mut random = Random::from_seed(20_260_101);
        for _ in 0..20_000 {
            let length = random.below(200);
            let mut data: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
            if random.below(2) == 0 {
                // The login comes first, so that the rest meets a session.
                data.splice(0..data.len().min(2), [1, 3, 2, 255]);
            }
            TARGETS.iter().for_each(|(_, target)| target(&data));
        }
    }
}
