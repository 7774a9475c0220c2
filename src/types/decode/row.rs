//! From the fields of a DataRow to the cells of a batch, in one pass and without an allocation.

use crate::base::Error;
use crate::base::ErrorClass;
use crate::base::memory::LARGE;
use crate::protocol::data_row;
use crate::transfer::{Full, Lane, RowBatch};

use super::scalar::{Read, Scalar, compose, read};
use super::shape::{Column, Decoder, Shape};
use crate::types::oid;

/// Writes one row, whose structure the frame's parser has checked. If the batch is full or a value
/// can't be read, the batch stays as it was.
pub fn write_row(
    body: &[u8],
    shape: &Shape,
    batch: &mut RowBatch<'_>,
) -> Result<Result<(), Full>, Error> {
    let columns = shape.columns();
    if let Err(full) = batch.reserve(columns.len(), shape.text_bound(body)) {
        return Ok(Err(full));
    }
    let mark = batch.mark();
    let written = write_cells(body, columns, batch);
    if written.is_err() {
        batch.rewind(mark);
    } else if batch.overflows_since(mark) {
        // Some values are longer as text than in the row's body.
        batch.rewind(mark);
        return Ok(Err(Full));
    }
    written.map(Ok)
}

fn write_cells(body: &[u8], columns: &[Column], batch: &mut RowBatch<'_>) -> Result<(), Error> {
    let mut fields = data_row::fields(body);
    for column in columns {
        match fields.next() {
            Some(Some(value)) if value.len() < LARGE => {
                write_cell(value, column, batch).ok_or_else(|| unreadable(column, value.len()))?;
            }
            Some(Some(value)) => write_value(value, column, batch)?,
            Some(None) if column.lane == Lane::Joined => batch.put_joined_null(),
            Some(None) => batch.put_null(),
            None => return Err(wrong_count(columns.len())),
        }
    }
    // A row with too many fields is as wrong as a row with too few. None of its values can be
    // trusted.
    if fields.next().is_some() { Err(wrong_count(columns.len())) } else { Ok(()) }
}

/// Writes the cell of a value of any length that is not NULL.
pub(super) fn write_value(
    value: &[u8],
    column: &Column,
    batch: &mut RowBatch<'_>,
) -> Result<(), Error> {
    // The longest form is base64, except for arrays, which reserve their own room.
    let joined = column.lane == Lane::Joined;
    if value.len() >= LARGE && !batch.make_room(value.len() / 3 * 4 + 8, joined) {
        return Err(no_memory());
    }
    write_cell(value, column, batch).ok_or_else(|| unreadable(column, value.len()))
}

/// `None` if the bytes are not a value of the type. Inlined, because a function call for each value
/// would cost a third of a row's time.
#[inline(always)]
fn write_cell(value: &[u8], column: &Column, batch: &mut RowBatch<'_>) -> Option<()> {
    match column.decoder {
        Decoder::Scalar(scalar) => match read(value, scalar)? {
            Read::Bool(value) => batch.put_bool(value),
            Read::Int32(value) => batch.put_i32(value),
            Read::Uint32(value) => batch.put_u32(value),
            Read::Int64(value) => batch.put_i64(value),
            Read::Uint64(value) => batch.put_u64(value),
            Read::Float(value) => batch.put_f64(value),
            Read::Text(value) if column.lane == Lane::Joined => return batch.put_joined(value),
            Read::Text(value) => return batch.put_text(value),
            Read::Composed => return batch.put_ascii_with(|out| compose(value, scalar, out)),
        },
        Decoder::Array(elements) => return batch.put_text_with(|out| elements.write(value, out)),
        Decoder::Void => batch.put_null(),
        Decoder::Unreadable => return None,
    }
    Some(())
}

/// The error never shows the value, which may be secret.
#[cold]
pub(super) fn unreadable(column: &Column, length: usize) -> Error {
    let name = &column.field.name;
    let of_type = oid::name(column.field.type_oid);
    match column.decoder {
        Decoder::Unreadable => Error::new(
            ErrorClass::Configuration,
            "HYPERION_BINARY_RESULT",
            format!(
                "column \"{name}\" of type {of_type} came in a binary form that is not read here: its type has \
                 changed while the statement was on its way, or it comes from a cursor that was declared BINARY"
            ),
        ),
        Decoder::Scalar(Scalar::Text) => Error::protocol(format!(
            "column \"{name}\" of type {of_type}: a text of {length} bytes is not valid UTF-8"
        )),
        _ => Error::protocol(format!(
            "column \"{name}\" of type {of_type}: {length} bytes in {:?} format are no value of this type",
            column.field.format
        )),
    }
}

#[cold]
pub(super) fn no_memory() -> Error {
    let message = "there is no memory left for a value of the result";
    Error::new(ErrorClass::Protocol, "HYPERION_OUT_OF_MEMORY", message)
}

#[cold]
pub(super) fn wrong_count(columns: usize) -> Error {
    Error::protocol(format!("a DataRow does not have the {columns} fields of its RowDescription"))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::backend::{Field, Format};
    use crate::transfer::contract::cells::NULL;

    pub(in crate::types) fn shape(columns: &[(u32, Format)]) -> Shape {
        let field = |(index, &(type_oid, format)): (usize, &(u32, Format))| Field {
            name: format!("c{index}"),
            table_oid: 0,
            column_number: 0,
            type_oid,
            type_size: 0,
            type_modifier: -1,
            format,
        };
        Shape::new(columns.iter().enumerate().map(field).collect())
    }

    pub(in crate::types) fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match value {
                Some(bytes) => {
                    body.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                    body.extend_from_slice(bytes);
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
        body
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Cell {
        Null,
        Bits(u64),
        Text(String),
    }

    /// Reads one value as the only column of a row.
    fn read(type_oid: u32, format: Format, value: &[u8]) -> Result<Cell, Error> {
        let (mut cells, mut nulls, mut text) = ([7; 1], [7; 1], Vec::new());
        let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 1024);
        let shape = shape(&[(type_oid, format)]);
        let written = write_row(&row(&[Some(value)]), &shape, &mut batch);
        if let Err(error) = written {
            assert_eq!((batch.cells_used(), batch.text_units(), batch.text()), (0, 0, &[][..]));
            return Err(error);
        }
        assert_eq!((written, batch.cells_used()), (Ok(Ok(())), 1));
        batch.close_joined();
        let lane = shape.columns()[0].lane;
        Ok(match (nulls[0], lane.takes_text()) {
            (NULL, _) => Cell::Null,
            (_, true) => {
                let text = String::from_utf8(text).unwrap();
                let document = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let joined = document.filter(|_| lane == Lane::Joined);
                Cell::Text(joined.unwrap_or(&text).to_owned())
            }
            (_, false) => Cell::Bits(cells[0]),
        })
    }

    fn check(type_oid: u32, format: Format, value: &[u8], expect: &Cell) {
        let read = read(type_oid, format, value);
        assert_eq!(read.as_ref(), Ok(expect), "type {type_oid} {format:?} {value:?}");
    }

    #[test]
    fn values_become_cells() {
        let int = |value: i32| Cell::Bits(u64::from(value.cast_unsigned()));
        let big = |value: i64| Cell::Bits(value.cast_unsigned());
        let float = |value: f64| Cell::Bits(value.to_bits());
        let table: [(u32, &[u8], &[u8], Cell); 21] = [
            (oid::BOOL, b"\x01", b"t", Cell::Bits(1)),
            (oid::BOOL, b"\x00", b"f", Cell::Bits(0)),
            (oid::INT2, &i16::MIN.to_be_bytes(), b"-32768", int(-32_768)),
            (oid::INT2, &i16::MAX.to_be_bytes(), b"32767", int(32_767)),
            (oid::INT4, &i32::MIN.to_be_bytes(), b"-2147483648", int(i32::MIN)),
            (oid::INT4, &i32::MAX.to_be_bytes(), b"2147483647", int(i32::MAX)),
            (oid::OID, &u32::MAX.to_be_bytes(), b"4294967295", Cell::Bits(u32::MAX.into())),
            (oid::XID, &3_000_000_000_u32.to_be_bytes(), b"3000000000", Cell::Bits(3_000_000_000)),
            (oid::CID, &0_u32.to_be_bytes(), b"0", Cell::Bits(0)),
            (oid::INT8, &i64::MIN.to_be_bytes(), b"-9223372036854775808", big(i64::MIN)),
            (oid::INT8, &i64::MAX.to_be_bytes(), b"9223372036854775807", big(i64::MAX)),
            (oid::XID8, &i64::MAX.to_be_bytes(), b"9223372036854775807", big(i64::MAX)),
            (oid::XID8, &u64::MAX.to_be_bytes(), b"18446744073709551615", Cell::Bits(u64::MAX)),
            (oid::FLOAT4, &0.1_f32.to_be_bytes(), b"0.1", float(0.1)),
            (oid::FLOAT4, &f32::MAX.to_be_bytes(), b"3.4028235e+38", float(3.402_823_5e38)),
            (oid::FLOAT8, &0.1_f64.to_be_bytes(), b"0.1", float(0.1)),
            (oid::FLOAT8, &(-0.0_f64).to_be_bytes(), b"-0", float(-0.0)),
            (oid::FLOAT8, &f64::INFINITY.to_be_bytes(), b"Infinity", float(f64::INFINITY)),
            (oid::FLOAT8, &f64::NEG_INFINITY.to_be_bytes(), b"-Infinity", float(f64::NEG_INFINITY)),
            (oid::FLOAT8, &f64::NAN.to_be_bytes(), b"NaN", float(f64::NAN)),
            (oid::VOID, b"", b"", Cell::Null),
        ];
        for (type_oid, binary, text, expect) in table {
            check(type_oid, Format::Binary, binary, &expect);
            check(type_oid, Format::Text, text, &expect);
        }
    }

    #[test]
    fn text_stays_text() {
        let value = "Z\u{323}😀 e\u{301}\0";
        for type_oid in [oid::TEXT, oid::VARCHAR, oid::BPCHAR, oid::NAME, oid::UNKNOWN] {
            check(type_oid, Format::Binary, value.as_bytes(), &Cell::Text(value.to_owned()));
            check(type_oid, Format::Text, b"", &Cell::Text(String::new()));
        }
        for type_oid in [oid::CHAR, oid::NUMERIC, oid::TIMETZ, 99_999] {
            check(type_oid, Format::Text, b"1.50", &Cell::Text("1.50".to_owned()));
        }
    }

    #[test]
    fn garbage_is_an_error_that_names_column_and_type() {
        let table: [(u32, Format, &[u8]); 24] = [
            (oid::BOOL, Format::Binary, b""),
            (oid::BOOL, Format::Binary, b"\x02"),
            (oid::BOOL, Format::Text, b"true"),
            (oid::INT2, Format::Binary, b"\0"),
            (oid::INT2, Format::Binary, b"\0\0\0\0"),
            (oid::INT2, Format::Text, b"32768"),
            (oid::INT4, Format::Binary, b"\0\0\0"),
            (oid::INT4, Format::Text, b"2147483648"),
            (oid::INT4, Format::Text, b""),
            (oid::INT4, Format::Text, b"1.0"),
            (oid::INT4, Format::Text, b"\xff"),
            (oid::OID, Format::Binary, b"\0\0\0\0\0"),
            (oid::OID, Format::Text, b"-1"),
            (oid::INT8, Format::Binary, b"\0\0\0\0"),
            (oid::INT8, Format::Text, b"9223372036854775808"),
            (oid::XID8, Format::Binary, b"\x80\0\0\0"),
            (oid::XID8, Format::Text, b"18446744073709551616"),
            (oid::FLOAT4, Format::Binary, b"\0\0\0\0\0\0\0\0"),
            (oid::FLOAT8, Format::Binary, b"\0\0\0\0"),
            (oid::FLOAT8, Format::Text, b""),
            (oid::FLOAT8, Format::Text, b"1,5"),
            (oid::TEXT, Format::Binary, b"caf\xe9"),
            (oid::TEXT, Format::Text, b"\xed\xa0\x80"),
            (oid::NUMERIC, Format::Text, b"\xff"),
        ];
        for (type_oid, format, value) in table {
            let error = read(type_oid, format, value).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Protocol);
            let named = format!("column \"c0\" of type {}", oid::name(type_oid));
            assert!(error.message().contains(&named), "{error}");
        }
        let error = read(oid::CHAR, Format::Binary, b"").unwrap_err();
        assert_eq!(error.code(), "HYPERION_BINARY_RESULT");
    }

    #[test]
    fn a_row_of_another_width_is_refused_whole() {
        let shape = shape(&[(oid::TEXT, Format::Text), (oid::INT4, Format::Text)]);
        let (mut cells, mut nulls, mut text) = ([0; 8], [0; 8], Vec::new());
        let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 64);
        assert_eq!(
            write_row(&row(&[Some(b"\xc3\xa9"), Some(b"1")]), &shape, &mut batch),
            Ok(Ok(()))
        );
        for values in
            [&[][..], &[Some(&b"ab"[..])], &[Some(b"ab"), None, None], &[Some(b"ab"), Some(b"x")]]
        {
            assert!(write_row(&row(values), &shape, &mut batch).is_err());
            assert_eq!((batch.cells_used(), batch.text_units()), (2, 1));
            assert_eq!(batch.text(), "é".as_bytes());
        }
    }

    #[test]
    fn a_row_that_does_not_fit_leaves_the_batch_as_it_was() {
        let shape = shape(&[(oid::TEXT, Format::Binary), (oid::TEXT, Format::Binary)]);
        let (mut cells, mut nulls, mut text) = ([0; 5], [0; 5], Vec::new());
        let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 24);
        assert_eq!(write_row(&row(&[Some(b"long enough"), None]), &shape, &mut batch), Ok(Ok(())));
        let long = row(&[Some(b"longer"), Some(b"text")]);
        assert_eq!(write_row(&long, &shape, &mut batch), Ok(Err(Full)));
        assert_eq!(write_row(&row(&[None, None]), &shape, &mut batch), Ok(Ok(())));
        assert_eq!(write_row(&row(&[None, None]), &shape, &mut batch), Ok(Err(Full)));
        assert_eq!((batch.cells_used(), batch.text()), (4, &b"long enough"[..]));
    }

    /// One type of each kind.
    const OIDS: [u32; 24] = [
        16, 17, 18, 20, 21, 23, 25, 26, 114, 700, 701, 1000, 1001, 1007, 1082, 1114, 1184, 1186,
        1231, 1266, 1700, 2278, 2950, 3802,
    ];

    proptest! {
        /// Input from the server never causes a panic, and a refused row leaves nothing in the
        /// batch.
        #[test]
        fn any_bytes_are_a_row_or_an_error(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..12)), 0..6),
            types in prop::collection::vec((0_usize..OIDS.len(), any::<bool>()), 0..6),
        ) {
            let oids = OIDS;
            let columns: Vec<_> = types
                .iter()
                .map(|&(at, binary)| (oids[at], if binary { Format::Binary } else { Format::Text }))
                .collect();
            let values: Vec<_> = values.iter().map(Option::as_deref).collect();
            let (mut cells, mut nulls, mut text) = ([0; 8], [0; 8], Vec::new());
            let mut batch = RowBatch::new(&mut cells, &mut nulls, &mut text, 64);
            match write_row(&row(&values), &shape(&columns), &mut batch) {
                Ok(written) => {
                    prop_assert_eq!(written, Ok(()));
                    prop_assert_eq!(batch.cells_used(), columns.len());
                }
                Err(_) => prop_assert!(batch.is_empty()),
            }
        }

        #[test]
        fn numbers_are_the_same_in_both_formats(int: i64, float: f64) {
            let cell = Cell::Bits(int.cast_unsigned());
            check(oid::INT8, Format::Binary, &int.to_be_bytes(), &cell);
            check(oid::INT8, Format::Text, int.to_string().as_bytes(), &cell);
            let cell = Cell::Bits(float.to_bits());
            check(oid::FLOAT8, Format::Binary, &float.to_be_bytes(), &cell);
            check(oid::FLOAT8, Format::Text, format!("{float:e}").as_bytes(), &cell);
        }
    }
}
