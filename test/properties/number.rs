//! Numerics, of all sizes that the server has.

use proptest::prelude::*;

/// Digits that may stand in front of the point, and behind it.
const MOST_WHOLE: i32 = 131_072;
const MOST_SCALE: i32 = 16_383;

/// The text of a numeric. Infinite ones came with PostgreSQL 14.
pub(super) fn numerics(version: u32) -> BoxedStrategy<String> {
    let special = match version {
        ..14 => vec!["NaN"],
        14.. => vec!["NaN", "Infinity", "-Infinity"],
    };
    let special = prop::sample::select(special).prop_map(str::to_owned);
    prop_oneof![1 => special, 20 => near(), 1 => far()].boxed()
}

/// An expression of SQL: what a calculation leaves has digits and a scale that no text gave it.
pub(super) fn expressions(version: u32) -> impl Strategy<Value = String> {
    let quotient = (near(), "[1-9][0-9]{0,9}")
        .prop_map(|(dividend, divisor)| format!("{dividend}::numeric / {divisor}::numeric"));
    let literal = numerics(version).prop_map(|digits| format!("'{digits}'::numeric"));
    prop_oneof![3 => literal, 1 => quotient]
}

/// As long as people have them.
fn near() -> impl Strategy<Value = String> {
    (any::<bool>(), "[0-9]{1,24}", "[0-9]{0,24}", prop_oneof![2 => Just(0), 1 => -40..40]).prop_map(
        |(negative, whole, fraction, exponent)| decimal(negative, &whole, &fraction, exponent),
    )
}

/// Up to the ends of the type.
fn far() -> impl Strategy<Value = String> {
    let (least, most) = (9 - MOST_SCALE, MOST_WHOLE - 9);
    let exponents = prop_oneof![1 => Just(least), 3 => least..0, 1 => Just(most), 3 => 0..most];
    (any::<bool>(), "[1-9][0-9]{0,8}", "[0-9]{0,9}", exponents).prop_map(
        |(negative, whole, fraction, exponent)| decimal(negative, &whole, &fraction, exponent),
    )
}

fn decimal(negative: bool, whole: &str, fraction: &str, exponent: i32) -> String {
    let sign = if negative { "-" } else { "" };
    format!("{sign}{whole}.{fraction}e{exponent}")
}
