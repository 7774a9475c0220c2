//! A reader of segments, like `js/transfer/records.cjs`, and what it must read.

use super::super::segment_writer::TEXT_LIMIT;
use super::*;
use crate::connection::{CommandTag, Rows};
use crate::protocol::backend::{Field, Format};
use crate::transfer::contract::cells::CUT;
use crate::transfer::contract::commands::COMMANDS;
use crate::transfer::contract::piece_flags::{BYTES, LAST_PIECE};
use crate::transfer::contract::records::{
    ErrorWords, PieceWords, ResultWords, SegmentWords, ShapeWords,
};

/// What was read, in order.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Rows(u32, Vec<Vec<String>>),
    /// A row with values that came in pieces. The columns of these values are left out. Each value
    /// comes with the number of its pieces.
    Long(u32, Vec<String>, Vec<(Vec<u8>, usize)>),
    /// A command that came as its number begins with `#`.
    Done(u32, String, Option<u64>),
    Error(u32),
    Segment,
}

/// The text of a segment, which is consumed from the front.
struct Text {
    units: Vec<u16>,
    at: usize,
}

impl Text {
    fn take(&mut self, units: i32) -> String {
        self.take_to(self.at as i32 + units)
    }

    /// Takes text in which each unit is one byte.
    fn take_bytes(&mut self, units: i32) -> Vec<u8> {
        let begin = self.at;
        self.at += units as usize;
        self.units[begin..self.at].iter().map(|unit| u8::try_from(*unit).unwrap()).collect()
    }

    fn take_to(&mut self, end: i32) -> String {
        let begin = std::mem::replace(&mut self.at, end as usize);
        String::from_utf16(&self.units[begin..self.at]).unwrap()
    }
}

struct Reader {
    delivery: Delivery,
    records: Vec<i32>,
    cells: Vec<u64>,
    nulls: Vec<u8>,
    text: Vec<u8>,
    /// The number of columns of each slot.
    shapes: Vec<usize>,
    /// The values of a long row, each with the number of its pieces so far.
    pieces: Vec<(Vec<u8>, usize)>,
    seen: Vec<Seen>,
    /// The bytes of text of each segment.
    lengths: Vec<usize>,
}

impl Reader {
    fn new(words: usize, cells: usize) -> Self {
        Self {
            delivery: Delivery::default(),
            records: vec![0; words],
            cells: vec![0; cells],
            nulls: vec![0; cells],
            text: Vec::new(),
            shapes: vec![0; 8],
            pieces: vec![(Vec::new(), 0)],
            seen: Vec::new(),
            lengths: Vec::new(),
        }
    }

    fn read(&mut self, events: Vec<ReactorEvent>) -> Vec<Seen> {
        let mut events = VecDeque::from(events);
        loop {
            let Self { records, cells, nulls, text, .. } = self;
            let room = SegmentMut { records, cells, nulls, text };
            let is_latin1 = self.delivery.fill(room, || events.pop_front(), || true);
            self.delivery.hand_over();
            self.lengths.push(self.text.len());
            self.read_segment(is_latin1);
            self.seen.push(Seen::Segment);
            let header = SegmentWords::of(self.words(0));
            assert_eq!(self.delivery.has_rest(), header.more == 1);
            if header.more == 0 {
                return std::mem::take(&mut self.seen);
            }
        }
    }

    /// The words of the record at `at`.
    fn words<const N: usize>(&self, at: usize) -> [i32; N] {
        *self.records[at..].first_chunk().unwrap()
    }

    fn read_segment(&mut self, is_latin1: bool) {
        let units = match is_latin1 {
            true => self.text.iter().map(|byte| u16::from(*byte)).collect(),
            false => String::from_utf8(self.text.clone()).unwrap().encode_utf16().collect(),
        };
        let mut text = Text { units, at: 0 };
        let (mut at, mut cell) = (SegmentWords::WORDS, 0);
        let end = SegmentWords::of(self.words(0)).used as usize;
        while at < end {
            at += match self.records[at] {
                ResultWords::TAG => {
                    let record = ResultWords::of(self.words(at));
                    let request = record.request as u32;
                    let command = match record.command {
                        NONE => text.take(record.command_units),
                        number => format!("#{}", COMMANDS[number as usize]),
                    };
                    let mut rows = Vec::new();
                    for _ in 0..record.rows {
                        let columns = self.shapes[record.slot as usize];
                        rows.push(
                            (0..columns)
                                .filter_map(|_| {
                                    let (end, mark) = (self.cells[cell] as i32, self.nulls[cell]);
                                    cell += 1;
                                    let kept = text.take_to(end);
                                    if mark == CUT { None } else { Some(kept) }
                                })
                                .collect(),
                        );
                    }
                    if record.flags & result_flags::LONG_ROW != 0 {
                        assert_eq!(self.pieces.pop(), Some((Vec::new(), 0)));
                        let values = std::mem::replace(&mut self.pieces, vec![(Vec::new(), 0)]);
                        self.seen.push(Seen::Long(request, rows.remove(0), values));
                    }
                    if !rows.is_empty() {
                        self.seen.push(Seen::Rows(request, rows));
                    }
                    if record.flags & RESULT_COMPLETE != 0 {
                        let count = (record.count_high >= 0).then_some(record.count_low as u64);
                        self.seen.push(Seen::Done(request, command, count));
                    }
                    // These results have no joined JSON documents.
                    assert_eq!(record.joined_units, 0);
                    ResultWords::WORDS
                }
                ErrorWords::TAG => {
                    let ErrorWords { request, units } = ErrorWords::of(self.words(at));
                    text.take(units);
                    self.seen.push(Seen::Error(request as u32));
                    ErrorWords::WORDS
                }
                ShapeWords::TAG => {
                    let ShapeWords { slot, units } = ShapeWords::of(self.words(at));
                    let columns: serde_json::Value =
                        serde_json::from_str(&text.take(units)).unwrap();
                    self.shapes[slot as usize] = columns.as_array().unwrap().len();
                    ShapeWords::WORDS
                }
                PieceWords::TAG => {
                    let PieceWords { units, size, flags, .. } = PieceWords::of(self.words(at));
                    let piece = match flags & BYTES {
                        0 => text.take(units).into_bytes(),
                        _ => text.take_bytes(units),
                    };
                    let (value, count) = self.pieces.last_mut().unwrap();
                    value.extend(piece);
                    *count += 1;
                    if flags & LAST_PIECE != 0 {
                        assert_eq!(value.len(), size as usize);
                        self.pieces.push((Vec::new(), 0));
                    }
                    PieceWords::WORDS
                }
                tag => panic!("record {tag}"),
            };
        }
        assert_eq!((at, text.at), (end, text.units.len()));
    }
}

fn shape(columns: usize) -> Arc<Shape> {
    shape_of(&vec![25; columns])
}

fn shape_of(oids: &[u32]) -> Arc<Shape> {
    let field = |(n, type_oid): (usize, &u32)| Field {
        name: format!("c{n}"),
        table_oid: 0,
        column_number: 0,
        type_oid: *type_oid,
        type_size: -1,
        type_modifier: -1,
        format: Format::Text,
    };
    Arc::new(Shape::new(oids.iter().enumerate().map(field).collect()))
}

/// The body of a DataRow (PostgreSQL manual, 55.7).
fn body(fields: &[&str]) -> Vec<u8> {
    let mut body = (fields.len() as u16).to_be_bytes().to_vec();
    for field in fields {
        body.extend((field.len() as u32).to_be_bytes());
        body.extend(field.as_bytes());
    }
    body
}

fn result(shape: Option<&Arc<Shape>>, rows: &[&[&str]], tag: &str) -> StatementResult {
    let mut held = Rows::default();
    rows.iter().for_each(|row| held.push(&body(row)).unwrap());
    StatementResult { shape: shape.cloned(), rows: held, command: CommandTag::parse(tag) }
}

fn completed(request: u32, results: Vec<StatementResult>) -> ReactorEvent {
    ReactorEvent::Completed { request, result: Ok(Response { results, lease: None }) }
}

fn rows(request: u32, rows: &[&[&str]]) -> Seen {
    let owned = rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect());
    Seen::Rows(request, owned.collect())
}

fn done(request: u32, command: &str, count: Option<u64>) -> Seen {
    Seen::Done(request, command.to_owned(), count)
}

#[test]
fn results_come_in_order_with_their_text() {
    let mut reader = Reader::new(4096, 64);
    let (one, two) = (shape(1), shape(2));
    let seen = reader.read(vec![
        completed(7, vec![result(Some(&two), &[&["é", "😀"], &["", "x"]], "SELECT 2")]),
        completed(
            8,
            vec![
                result(None, &[], "CREATE EXTENSION"),
                result(Some(&one), &[&["y"]], "SELECT 1"),
                result(None, &[], "INSERT 0 5"),
            ],
        ),
        ReactorEvent::Completed { request: 9, result: Err(Error::internal("no")) },
        completed(10, Vec::new()),
    ]);
    let expect = [
        rows(7, &[&["é", "😀"], &["", "x"]]),
        done(7, "#SELECT", Some(2)),
        done(8, "CREATE EXTENSION", None),
        rows(8, &[&["y"]]),
        done(8, "#SELECT", Some(1)),
        done(8, "#INSERT", Some(5)),
        Seen::Error(9),
        done(10, "#", None),
        Seen::Segment,
    ];
    assert_eq!(seen, expect);
}

#[test]
fn a_result_that_does_not_fit_goes_on_in_the_next_segment() {
    let mut reader = Reader::new(4096, 5);
    let two = shape(2);
    let many: [&[&str]; 5] = [&["a", "b"], &["c", "d"], &["e", "f"], &["g", "h"], &["i", "j"]];
    let seen = reader.read(vec![completed(1, vec![result(Some(&two), &many, "SELECT 5")])]);
    let expect = [
        rows(1, &many[..2]),
        Seen::Segment,
        rows(1, &many[2..4]),
        Seen::Segment,
        rows(1, &many[4..]),
        done(1, "#SELECT", Some(5)),
        Seen::Segment,
    ];
    assert_eq!(seen, expect);
}

#[test]
fn a_row_of_any_length_finds_room_behind_a_shape_and_in_front_of_a_nameless_command() {
    let mut reader = Reader::new(4096, 8);
    let one = shape(1);
    let long = "x".repeat(3 * TEXT_LIMIT);
    let row: [&[&str]; 2] = [&[&long], &[&long]];
    let seen = reader.read(vec![completed(1, vec![result(Some(&one), &row, "NEW THING 2")])]);
    let expect = [
        Seen::Segment,
        rows(1, &row[..1]),
        Seen::Segment,
        rows(1, &row[1..]),
        Seen::Segment,
        done(1, "NEW THING", Some(2)),
        Seen::Segment,
    ];
    assert_eq!(seen, expect);
}

#[test]
fn a_row_that_can_t_be_read_or_is_too_wide_fails_its_request_alone() {
    let mut reader = Reader::new(4096, 8);
    let (two, nine) = (shape(2), shape(9));
    let good: &[&str] = &["a", "b"];
    let seen = reader.read(vec![
        completed(1, vec![result(Some(&two), &[good, &["one field"]], "SELECT 2")]),
        completed(2, vec![result(Some(&nine), &[&["x"; 9]], "SELECT 1")]),
        completed(3, vec![result(Some(&two), &[good], "SELECT 1")]),
    ]);
    let expect = [
        Seen::Error(1),
        Seen::Error(2),
        rows(3, &[good]),
        done(3, "#SELECT", Some(1)),
        Seen::Segment,
    ];
    assert_eq!(seen, expect);
}

#[test]
fn records_that_do_not_fit_wait_for_the_next_segment() {
    let words = SegmentWords::WORDS + ShapeWords::WORDS + 3 * ResultWords::WORDS;
    let mut reader = Reader::new(words, 8);
    let events = (0..5).map(|n| completed(n, vec![result(None, &[], "BEGIN")])).collect();
    let seen = reader.read(events);
    let expect = [0, 1, u32::MAX, 2, 3, u32::MAX, 4, u32::MAX].map(|n| match n {
        u32::MAX => Seen::Segment,
        n => done(n, "#BEGIN", None),
    });
    assert_eq!(seen, expect);
}

#[test]
fn a_defect_answers_everyone_who_waits_and_nobody_twice() {
    let mut reader = Reader::new(12, 8);
    (0..5).for_each(|request| reader.delivery.expect(request));
    reader.read(vec![ReactorEvent::Completed { request: 3, result: Err(Error::internal("no")) }]);
    // This is written into a segment that JavaScript never reads.
    let lost = ReactorEvent::Completed { request: 4, result: Err(Error::internal("no")) };
    let Reader { delivery, records, cells, nulls, text, .. } = &mut reader;
    let mut lost = Some(lost);
    delivery.fill(SegmentMut { records, cells, nulls, text }, || lost.take(), || true);
    delivery.give_up();
    let mut seen = reader.read(vec![ReactorEvent::Poisoned(Error::internal("defect"))]);
    seen.retain(|seen| *seen != Seen::Segment);
    assert_eq!(seen, [0, 1, 2, 4].map(Seen::Error));
}

/// The most text of a segment: a piece, and the text before it.
const LONGEST_SEGMENT: usize = LONG_ROW + TEXT_LIMIT;

#[test]
fn a_long_value_comes_in_pieces_that_are_no_longer_than_any_segment() {
    let mut reader = Reader::new(4096, 16);
    let shape = shape_of(&[25, 25, 17, 25]);
    let long = "é√😀x".repeat(500_000);
    let hex = format!("\\x{}", "e9".repeat(1_000_000));
    let short: &[&str] = &["a", "b", "\\x", "é"];
    let rows: [&[&str]; 3] = [short, &["é", &long, &hex, "c"], short];
    let events = vec![
        completed(1, vec![result(Some(&shape), &rows, "SELECT 3")]),
        completed(2, vec![result(Some(&shape), &rows[..1], "SELECT 1")]),
    ];
    let mut seen = reader.read(events);
    assert!(reader.lengths.iter().all(|length| *length <= LONGEST_SEGMENT));
    let segments = seen.iter().filter(|seen| **seen == Seen::Segment).count();
    // One segment for the first row, then 5 MB of text and 1 MB of bytes, and one segment for the
    // long row and the last row.
    assert_eq!(segments, 1 + 20 + 16 + 1);
    seen.retain(|seen| *seen != Seen::Segment);
    let values = vec![(long.into_bytes(), 20), (vec![0xe9; 1_000_000], 16)];
    let kept = ["é", "c"].map(str::to_owned).to_vec();
    let short: &[&[&str]] = &[&["a", "b", "", "é"]];
    let expect = [
        self::rows(1, short),
        Seen::Long(1, kept, values),
        self::rows(1, short),
        done(1, "#SELECT", Some(3)),
        self::rows(2, short),
        done(2, "#SELECT", Some(1)),
    ];
    assert_eq!(seen, expect);
}

#[test]
fn rows_of_many_values_that_are_long_together_come_in_segments_like_any_other() {
    let mut reader = Reader::new(4096, 1700);
    let value = "x".repeat(10_000);
    let row: &[&str] = &[value.as_str(); 1600];
    let result = result(Some(&shape(1600)), &[row, row], "NEW THING 2");
    let seen = reader.read(vec![completed(1, vec![result])]);
    // Only the text of the shape may be longer than a segment's usual text.
    assert!(reader.lengths.iter().skip(1).all(|length| *length <= LONGEST_SEGMENT));
    let long = seen.iter().filter_map(|seen| match seen {
        Seen::Long(1, kept, values) => Some((kept.len(), values.len())),
        _ => None,
    });
    assert_eq!(long.collect::<Vec<_>>(), [(3, 1597); 2]);
    assert!(seen.contains(&done(1, "NEW THING", Some(2))));
}

#[test]
fn a_long_value_that_can_t_be_read_fails_its_request_in_the_middle_of_its_pieces() {
    let mut reader = Reader::new(4096, 8);
    let one = shape(1);
    let mut wrong = "é".repeat(500_000).into_bytes();
    wrong[900_000] = b'x';
    let mut held = Rows::default();
    let length = (wrong.len() as u32).to_be_bytes();
    held.push(&[&[0, 1][..], &length, &wrong].concat()).unwrap();
    let broken =
        StatementResult { shape: Some(one.clone()), rows: held, command: CommandTag::parse("x") };
    let good: &[&[&str]] = &[&["a"]];
    let mut seen = reader.read(vec![
        completed(1, vec![broken]),
        completed(2, vec![result(Some(&one), good, "SELECT 1")]),
    ]);
    seen.retain(|seen| *seen != Seen::Segment);
    assert_eq!(seen, [Seen::Error(1), rows(2, good), done(2, "#SELECT", Some(1))]);
    // When a request ends, the values that have come for it before are dropped.
    assert!(reader.pieces[0].1 > 0);
}

#[test]
fn values_that_are_too_long_together_are_refused_before_their_first_piece() {
    let mut reader = Reader::new(4096, 8);
    let two = shape(2);
    let half = "x".repeat(LONGEST_TEXT / 2);
    let row: &[&[&str]] = &[&["a", "b"], &[&half, &half]];
    let mut seen = reader.read(vec![completed(1, vec![result(Some(&two), row, "SELECT 2")])]);
    seen.retain(|seen| *seen != Seen::Segment);
    assert_eq!(seen, [rows(1, &row[..1]), Seen::Error(1)]);
    assert_eq!(reader.pieces[0].1, 0);
}
