//! What the server reads from a parameter that this crate wrote, against what it reads from SQL.

use std::fmt::Write as _;

use hyperiondb_client::base::Error;
use hyperiondb_client::types::{Params, Piece};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::array::{Array, Step, arrays};
use super::session::Session;
use super::{BATCH, hold, moment, number, quoted, texts};

/// A value as JavaScript has it.
#[derive(Clone, Debug)]
enum Value {
    Bool(bool),
    Number(f64),
    BigInt(i128),
    /// A longer one, by its words: the least significant first.
    Words(Vec<u64>),
    Text(String),
    Json(String),
    Bytes(Vec<u8>),
    /// Milliseconds since 1970.
    Date(i64),
}

impl Value {
    fn push(&self, params: &mut Params) -> Result<(), Error> {
        match self {
            Self::Bool(value) => params.push_bool(*value),
            Self::Number(value) => params.push_number(*value),
            Self::Bytes(value) => params.push_bytes(value),
            Self::Date(millis) => params.push_date(*millis as f64),
            // An array brings its BigInts as digits.
            Self::BigInt(value) if params.has_open_array() => {
                push_piece(params, Piece::BigInt, &value.to_string())
            }
            Self::BigInt(value) => {
                let size = value.unsigned_abs();
                params.push_bigint(*value < 0, &[size as u64, (size >> 64) as u64])
            }
            Self::Words(words) => params.push_bigint(false, words),
            Self::Text(text) if params.has_open_array() => push_piece(params, Piece::Text, text),
            Self::Text(text) => params.push_text(text),
            Self::Json(json) if params.has_open_array() => push_piece(params, Piece::Json, json),
            Self::Json(json) => params.push_json_with(json.len(), |out| {
                out.extend_from_slice(json.as_bytes());
                Ok(())
            }),
        }
    }

    /// The same in SQL, as a value of the type `name`.
    fn sql(&self, name: &str) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(value) if name == "float8" => format!("'{value:e}'::float8"),
            // An integer reads no exponent.
            Self::Number(value) => format!("'{value:e}'::numeric::{name}"),
            Self::BigInt(value) => format!("'{value}'::{name}"),
            Self::Words(words) => {
                let place = |sum: String, word| format!("({sum} * 18446744073709551616 + {word})");
                words.iter().rev().fold("0::numeric".to_owned(), place)
            }
            Self::Text(text) | Self::Json(text) => format!("{}::{name}", quoted(text)),
            Self::Bytes(bytes) => {
                let mut digits = String::new();
                bytes.iter().for_each(|byte| write!(digits, "{byte:02x}").unwrap());
                format!("decode('{digits}', 'hex')")
            }
            Self::Date(millis) => date(*millis, name),
        }
    }
}

/// By the server's own calendar.
fn date(millis: i64, name: &str) -> String {
    const MILLIS_PER_DAY: i64 = 86_400_000;
    let days = millis.div_euclid(MILLIS_PER_DAY);
    let time = moment::time(millis.rem_euclid(MILLIS_PER_DAY) * 1000);
    match name {
        "date" => format!("(date '1970-01-01' + {days})"),
        "timestamp" => format!("(date '1970-01-01' + {days} + time '{time}')"),
        _ => format!("((date '1970-01-01' + {days} + time '{time}') AT TIME ZONE 'UTC')"),
    }
}

fn push_piece(params: &mut Params, piece: Piece, text: &str) -> Result<(), Error> {
    let mut pieces = params.append_pieces_with(text.len(), |out| {
        out.extend_from_slice(text.as_bytes());
        Ok(())
    })?;
    params.push_piece(piece, &mut pieces, text.encode_utf16().count())
}

fn push_array(array: &Array<Value>, params: &mut Params) {
    array.walk(&mut |step| {
        let pushed = match step {
            Step::Open => {
                params.open_array();
                Ok(())
            }
            Step::Comma => Ok(()),
            Step::Element(Some(value)) => value.push(params),
            Step::Element(None) => params.push_null(),
            Step::Close => params.close_array(),
        };
        pushed.unwrap();
    });
}

fn array_sql(array: &Array<Value>, name: &str) -> String {
    if array.is_empty() {
        return format!("'{{}}'::{name}[]");
    }
    let element = |value: Option<&Value>| match value {
        Some(value) => value.sql(name),
        None => "NULL".to_owned(),
    };
    format!("ARRAY{}::{name}[]", array.write(['[', ']'], element))
}

/// From the first day of the server to the last one of JavaScript.
fn js_dates() -> impl Strategy<Value = Value> {
    const FIRST: i64 = -210_866_803_200_000;
    const LAST: i64 = 8_640_000_000_000_000;
    let millis = prop_oneof![
        1 => prop::sample::select(vec![FIRST, FIRST + 1, -1, 0, LAST - 1, LAST]),
        4 => -5_000_000_000_000..5_000_000_000_000_i64,
        2 => FIRST..0,
        2 => FIRST..LAST,
    ];
    millis.prop_map(Value::Date)
}

/// Numbers as people have them: of any size, with up to 9 decimals.
fn decimals() -> impl Strategy<Value = f64> {
    let drawn = (any::<i32>(), 0..31_i32, 0..10_i32);
    drawn.prop_map(|(digits, fewer, scale)| f64::from(digits >> fewer) / 10_f64.powi(scale))
}

/// Types, and values that JavaScript may give for them.
fn kinds(version: u32) -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let text = |values: BoxedStrategy<String>| values.prop_map(Value::Text);
    let whole = |values: BoxedStrategy<i64>| values.prop_map(|value| Value::Number(value as f64));
    let big = any::<i64>().prop_map(|value| Value::BigInt(value.into()));
    let json = texts().prop_map(|text| Value::Json(serde_json::json!({ "a": [text] }).to_string()));
    // What a numeric of every version has.
    let finite = prop::num::f64::ANY.prop_filter("it is finite", |value| value.is_finite());
    let safe = -(1_i64 << 53)..=1_i64 << 53;
    vec![
        ("bool", any::<bool>().prop_map(Value::Bool).boxed()),
        ("int4", whole(any::<i32>().prop_map(i64::from).boxed()).boxed()),
        ("int8", prop_oneof![big, whole(safe.boxed())].boxed()),
        ("float8", prop_oneof![decimals(), prop::num::f64::ANY].prop_map(Value::Number).boxed()),
        (
            "numeric",
            prop_oneof![
                text(number::numerics(version)),
                prop_oneof![decimals(), finite].prop_map(Value::Number),
                any::<i128>().prop_map(Value::BigInt),
                prop::collection::vec(any::<u64>(), 0..20).prop_map(Value::Words),
            ]
            .boxed(),
        ),
        ("text", text(texts()).boxed()),
        ("jsonb", json.boxed()),
        ("bytea", prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes).boxed()),
        ("date", prop_oneof![js_dates(), text(moment::dates().boxed())].boxed()),
        ("timestamp", prop_oneof![js_dates(), text(moment::timestamps("").boxed())].boxed()),
        ("timestamptz", prop_oneof![js_dates(), text(moment::timestamps("+00").boxed())].boxed()),
    ]
}

/// A zone in which nothing is as it is in UTC.
const ZONE: &str = "America/St_Johns";

/// The server reads parameters of the type `name` as it reads the SQL that stands beside each.
fn check(session: &mut Session, name: &str, params: &Params, sql: &[String]) -> TestCaseResult {
    let pair = |(n, sql): (usize, &String)| format!("(${}::{name}::text, ({sql})::text)", n + 1);
    let pairs: Vec<_> = sql.iter().enumerate().map(pair).collect();
    let uses = session.twice(&format!("VALUES {}", pairs.join(", ")), params)?;
    for rows in uses {
        prop_assert_eq!(rows.len(), sql.len());
        for (row, sql) in rows.iter().zip(sql) {
            prop_assert!(row[0].is_some(), "a NULL for {}", sql);
            prop_assert_eq!(&row[0], &row[1], "{}", sql);
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs a server: npm test runs it"]
fn a_parameter_is_read_as_it_is_read_from_sql() {
    for (name, values) in kinds(Session::in_utc().version()) {
        let values = prop::collection::vec(values, 1..=BATCH);
        hold(6, Session::in_zone(ZONE), &values, |session, values| {
            let mut params = Params::new();
            values.iter().for_each(|value| value.push(&mut params).unwrap());
            let sql: Vec<_> = values.iter().map(|value| value.sql(name)).collect();
            check(session, name, &params, &sql)
        });
    }
}

#[test]
#[ignore = "needs a server: npm test runs it"]
fn an_array_is_read_as_it_is_read_from_sql() {
    for (name, element) in kinds(Session::in_utc().version()) {
        let values = prop::collection::vec(arrays(element), 1..=BATCH);
        hold(6, Session::in_zone(ZONE), &values, |session, values| {
            let mut params = Params::new();
            values.iter().for_each(|array| push_array(array, &mut params));
            let sql: Vec<_> = values.iter().map(|array| array_sql(array, name)).collect();
            check(session, &format!("{name}[]"), &params, &sql)
        });
    }
}
