//! What comes of the server's two forms of a value, against what the server says that it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hyperiondb_client::types::Params;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::Value as Json;

use super::array::arrays;
use super::session::Session;
use super::{BATCH, hold, moment, number, quoted, texts};

/// Values as expressions of SQL, read in both forms, and with what the server shows for each.
fn read(
    session: &mut Session,
    values: &[String],
    show: &str,
) -> Result<Vec<[String; 3]>, TestCaseError> {
    let list: Vec<_> = values.iter().map(|value| format!("({value})")).collect();
    let sql = format!("SELECT v, {show} FROM (VALUES {}) AS x (v)", list.join(", "));
    let [text, binary] = session.twice(&sql, &Params::new())?;
    prop_assert_eq!((text.len(), binary.len()), (values.len(), values.len()));
    let cell = |cell: &Option<String>| {
        cell.clone().ok_or_else(|| TestCaseError::fail(format!("a NULL in {sql}")))
    };
    let pairs = text.iter().zip(&binary);
    pairs
        .map(|(text, binary)| Ok([cell(&text[0])?, cell(&binary[0])?, cell(&binary[1])?]))
        .collect()
}

/// Both forms of `values` are what `convert` makes of what the server shows.
fn check(
    session: Session,
    values: impl Strategy<Value = String>,
    show: &str,
    convert: impl Fn(&str) -> String,
) {
    hold(16, session, &prop::collection::vec(values, 1..=BATCH), |session, values| {
        for ([text, binary, shown], value) in read(session, &values, show)?.iter().zip(&values) {
            let expect = convert(shown);
            prop_assert_eq!(binary, &expect, "{} in binary", value);
            prop_assert_eq!(text, &expect, "{} as text", value);
        }
        Ok(())
    });
}

#[test]
#[ignore = "needs a server: npm test runs it"]
fn a_numeric_is_the_text_of_the_server() {
    let mut session = Session::in_utc();
    let values = number::expressions(session.version());
    check(session, values, "v::text", str::to_owned);
}

#[test]
#[ignore = "needs a server: npm test runs it"]
fn a_date_is_that_of_the_server_as_iso_8601() {
    let values = moment::dates().prop_map(|text| format!("date '{text}'"));
    check(Session::in_utc(), values, "v::text", moment::iso);
}

#[test]
#[ignore = "needs a server: npm test runs it"]
fn a_timestamp_is_that_of_the_server_as_iso_8601() {
    let values = moment::timestamps("").prop_map(|text| format!("timestamp '{text}'"));
    check(Session::in_utc(), values, "v::text", moment::iso);
}

/// East and west of Greenwich; before they had standard time, by odd minutes and seconds.
#[test]
#[ignore = "needs a server: npm test runs it"]
fn a_timestamptz_is_that_of_the_server_in_utc_whatever_its_time_zone() {
    for zone in ["UTC", "Europe/Amsterdam", "America/St_Johns", "Asia/Kolkata", "Pacific/Apia"] {
        let values = moment::timestamps("+00").prop_map(|text| format!("timestamptz '{text}'"));
        let utc = |shown: &str| match moment::iso(shown) {
            infinity if infinity.ends_with("infinity") => infinity,
            iso => iso + "Z",
        };
        check(Session::in_zone(zone), values, "(v AT TIME ZONE 'UTC')::text", utc);
    }
}

/// What an element becomes in the JSON of its array, by what the server shows for it.
type Leaf = fn(&str) -> Json;

fn as_shown(shown: &str) -> Json {
    shown.into()
}

fn as_json(shown: &str) -> Json {
    serde_json::from_str(shown).unwrap()
}

fn as_float(shown: &str) -> Json {
    let value: f64 = shown.parse().unwrap();
    if value.is_finite() { value.into() } else { shown.into() }
}

fn as_iso(shown: &str) -> Json {
    moment::iso(shown).into()
}

fn as_base64(shown: &str) -> Json {
    let digits = shown.strip_prefix("\\x").unwrap().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    STANDARD_NO_PAD.encode(digits.map(byte).collect::<Vec<_>>()).into()
}

/// Types of elements, the text of values of theirs, and what becomes of them.
fn elements(version: u32) -> Vec<(&'static str, BoxedStrategy<String>, Leaf)> {
    let shown = |values: BoxedStrategy<i64>| values.prop_map(|value| value.to_string()).boxed();
    // Eighths are exact, so that it does not matter how well JSON is read here.
    let eighths = any::<i32>().prop_map(|value| (f64::from(value) / 8.0).to_string());
    let special = prop::sample::select(vec!["NaN", "Infinity", "-Infinity", "-0"]);
    let floats = prop_oneof![4 => eighths, 1 => special.prop_map(str::to_owned)];
    let bytes = "([0-9a-f]{2}){0,9}".prop_map(|digits| format!("\\x{digits}"));
    let jsons = texts().prop_map(|text| serde_json::json!({ "a": [text, 1.5, null] }).to_string());
    vec![
        ("bool", any::<bool>().prop_map(|value| value.to_string()).boxed(), as_json),
        ("int2", shown(any::<i16>().prop_map(i64::from).boxed()), as_json),
        ("int4", shown(any::<i32>().prop_map(i64::from).boxed()), as_json),
        ("int8", shown(any::<i64>().boxed()), as_shown),
        ("float8", floats.boxed(), as_float),
        ("numeric", number::numerics(version), as_shown),
        ("text", texts(), as_shown),
        ("bytea", bytes.boxed(), as_base64),
        ("jsonb", jsons.boxed(), as_shown),
        ("uuid", "[0-9a-f]{32}".boxed(), as_shown),
        ("date", moment::dates().boxed(), as_iso),
        ("timestamp", moment::timestamps("").boxed(), as_iso),
        ("timestamptz", moment::timestamps("+00").boxed(), as_iso),
    ]
}

/// The elements of `expect` are as the server shows them.
fn converted(expect: Json, leaf: Leaf) -> Json {
    match expect {
        Json::Array(parts) => parts.into_iter().map(|part| converted(part, leaf)).collect(),
        Json::String(shown) => leaf(&shown),
        other => other,
    }
}

#[test]
#[ignore = "needs a server: npm test runs it"]
fn an_array_holds_what_the_server_shows_where_the_server_has_it() {
    let version = Session::in_utc().version();
    for (name, element, leaf) in elements(version) {
        let values = prop::collection::vec(arrays(element), 1..=BATCH);
        hold(6, Session::in_utc(), &values, |session, values| {
            let sql = |text: String| format!("{}::{name}[]", quoted(&text));
            let values: Vec<_> = values.iter().map(|array| sql(array.text())).collect();
            let read = read(session, &values, "to_json(v::text[])::text")?;
            for ([text, binary, shown], value) in read.iter().zip(&values) {
                let expect = converted(as_json(shown), leaf);
                prop_assert_eq!(&as_json(binary), &expect, "{} in binary", value);
                prop_assert_eq!(&as_json(text), &expect, "{} as text", value);
            }
            Ok(())
        });
    }
}
