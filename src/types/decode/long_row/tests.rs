//! Long rows, put together again as `js/transfer/records.cjs` does.

use proptest::prelude::*;

use super::super::row::tests::{row, shape};
use super::*;
use crate::base::body::Parts;
use crate::protocol::backend::Format;
use crate::transfer::contract::cells::{NULL, VALUE};
use crate::types::oid;

/// The content of a cell, or the value that came in pieces instead.
#[derive(Debug, PartialEq)]
enum Cell {
    Null,
    Bits(u64),
    Cut(Vec<u8>),
}

struct Read {
    cells: Vec<Cell>,
    text: String,
    /// The longest text of a segment.
    longest: usize,
    segments: usize,
}

fn read(body: Body<'_>, shape: &Shape) -> Result<Read, Error> {
    let columns = shape.columns().len();
    let (mut cells, mut nulls, mut text) = (vec![7; columns], vec![7; columns], Vec::new());
    let mut long = LongRow::new(body, shape);
    let mut values = vec![Vec::new()];
    let (mut longest, mut segments) = (0, 0);
    while !long.has_crossed(shape) {
        segments += 1;
        let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 32 * 1024);
        let mut seen = 0;
        while let Some(piece) = long.next_piece(body, shape, &mut batch)? {
            let Ok(piece) = piece else { break };
            let held = batch.text();
            let from = if piece.is_bytes { held.len() - piece.units as usize } else { seen };
            seen = held.len();
            if !piece.is_bytes {
                let text = std::str::from_utf8(&held[from..]).unwrap();
                assert_eq!(text.encode_utf16().count(), piece.units as usize);
            }
            let value = values.last_mut().unwrap();
            value.extend_from_slice(&held[from..]);
            if piece.is_last {
                assert_eq!(value.len(), piece.size);
                values.push(Vec::new());
            }
            if piece.is_bytes {
                break;
            }
        }
        longest = longest.max(batch.text_len());
    }
    let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 32 * 1024);
    assert_eq!(long.write_row(body, shape, &mut batch)?, Ok(()));
    assert_eq!((batch.cells_used(), values.pop()), (columns, Some(Vec::new())));
    longest = longest.max(batch.text_len());
    let mut values = values.into_iter();
    let cells = cells.iter().zip(&nulls).map(|(bits, mark)| match *mark {
        VALUE => Cell::Bits(*bits),
        NULL => Cell::Null,
        _ => Cell::Cut(values.next().unwrap()),
    });
    let cells = cells.collect();
    assert_eq!(values.next(), None);
    Ok(Read { cells, text: String::from_utf8(text).unwrap(), longest, segments })
}

/// Reads the row in one part, and in several parts as they come from a socket.
fn read_both(values: &[Option<&[u8]>], columns: &[(u32, Format)]) -> Result<Read, Error> {
    let (body, shape) = (row(values), shape(columns));
    let whole = read(Body::Whole(&body), &shape);
    let mut parts = Parts::default();
    let mut left = body.len();
    for part in body.chunks(150_001) {
        left -= part.len();
        parts.extend(part, left).unwrap();
    }
    let in_parts = read(Body::of(&parts), &shape);
    match (&whole, &in_parts) {
        (Ok(whole), Ok(in_parts)) => {
            assert!(whole.cells == in_parts.cells);
            assert_eq!(whole.text, in_parts.text);
        }
        (Err(whole), Err(in_parts)) => assert_eq!(whole, in_parts),
        _ => panic!("one of them can be read"),
    }
    in_parts
}

const TEXT: (u32, Format) = (oid::TEXT, Format::Binary);
const INT4: (u32, Format) = (oid::INT4, Format::Binary);

#[test]
fn long_values_cross_in_pieces_and_all_others_in_their_row() {
    let (text, bytes) = ("xé√😀".repeat(330_000), vec![0xe9; 3_000_001]);
    let hex: Vec<u8> = [&b"\\x"[..], &b"eA".repeat(300_001)].concat();
    let columns = [INT4, TEXT, TEXT, (17, Format::Binary), (17, Format::Text), TEXT, INT4];
    let values: [Option<&[u8]>; 7] = [
        Some(&[0, 0, 0, 5]),
        Some(text.as_bytes()),
        None,
        Some(&bytes),
        Some(&hex),
        Some("né".as_bytes()),
        None,
    ];
    let Read { cells, text: kept, longest, segments } = read_both(&values, &columns).unwrap();
    let expected = [
        Cell::Bits(5),
        Cell::Cut(text.into_bytes()),
        Cell::Null,
        Cell::Cut(bytes),
        Cell::Cut(vec![0xea; 300_001]),
        Cell::Bits(2),
        Cell::Null,
    ];
    assert!(cells == expected);
    assert_eq!(kept, "né");
    assert!(longest <= TEXT_PIECE, "{longest}");
    // 3.3 MB of text, 3 MB of bytes, 0.3 MB of hex, and the row itself.
    assert_eq!(segments, 13 + 46 + 5 + 1);
}

#[test]
fn documents_are_cut_like_text_and_what_is_whole_alone_is_not() {
    let document = format!("\"{}\"", "x".repeat(300_000));
    let array = format!("{{{}1}}", "1,".repeat(200_000));
    let escaped = "\\\\".repeat(200_000);
    let columns = [
        (oid::JSONB, Format::Text),
        (oid::JSON, Format::Binary),
        (1007, Format::Text),
        (17, Format::Text),
    ];
    let values = [&document, &document, &array, &escaped].map(|text| Some(text.as_bytes()));
    let Read { cells, text, .. } = read_both(&values, &columns).unwrap();
    let cut = || Cell::Cut(document.clone().into_bytes());
    let array = array.replace('{', "[").replace('}', "]");
    assert!(cells[..2] == [cut(), cut()]);
    assert!(text.starts_with(&array));
    let base64 = text.len() - array.len();
    assert_eq!((cells[2].clone_bits(), base64), (array.len() as u64, 266_667));
}

impl Cell {
    fn clone_bits(&self) -> u64 {
        match self {
            Self::Bits(bits) => *bits,
            _ => panic!("{self:?}"),
        }
    }
}

#[test]
fn many_values_that_are_long_together_cross_in_pieces_too() {
    let value = vec![b'x'; 2000];
    let values = vec![Some(&value[..]); 1664];
    let Read { cells, text, longest, segments } = read_both(&values, &[TEXT; 1664]).unwrap();
    assert_eq!(text.len(), 16 * 2000);
    assert!(cells[16..].iter().all(|cell| *cell == Cell::Cut(value.clone())));
    assert!(longest <= TEXT_PIECE && segments <= 14, "{longest} {segments}");
    // Short values are not worth cutting.
    let short = vec![Some(&value[..1000]); 1664];
    assert_eq!(read_both(&short, &[TEXT; 1664]).unwrap().text.len(), 1_664_000);
}

#[test]
fn what_is_no_value_is_found_in_whatever_piece_it_lies() {
    let good = "é".repeat(400_000).into_bytes();
    let check = |value: &[u8], column, expected: &str| {
        let error = read_both(&[Some(value)], &[column]).map(|_| ()).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    };
    let at = good.len() / 2;
    for wrong in [
        [&good[..], b"\xc3"].concat(),
        [b"\x80", &good[..]].concat(),
        [&good[..at], b"\xff", &good[at..]].concat(),
        [&good[..at], &[0x80; 5], &good[at..]].concat(),
        vec![0xbf; 700_000],
    ] {
        check(&wrong, TEXT, &format!("a text of {} bytes is not valid UTF-8", wrong.len()));
    }
    let hex = [b"\\x", &vec![b'0'; 600_000][..]].concat();
    check(&hex[..hex.len() - 1], (17, Format::Text), "600001 bytes in Text format are no value");
    for at in [2, 300_000, 600_001] {
        let mut hex = hex.clone();
        hex[at] = b'g';
        check(&hex, (17, Format::Text), "600002 bytes in Text format are no value");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Pieces may end anywhere in the value.
    #[test]
    fn any_characters_come_back(front in 0_usize..9, character in any::<char>(), others in ".{0,8}") {
        let unit = format!("{character}{others}");
        let text = "-".repeat(front) + &unit.repeat(600_000 / unit.len());
        let read = read_both(&[Some(text.as_bytes())], &[TEXT]).unwrap();
        prop_assert!(read.cells == [Cell::Cut(text.into_bytes())]);
    }
}
