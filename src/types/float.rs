//! Floats as text: the shortest decimal form of a float4, and a number as JavaScript writes it.

use std::fmt::{Arguments, Write};

/// A short ASCII text without an allocation. Every float in exponent form fits.
struct Digits {
    bytes: [u8; 32],
    used: usize,
}

impl Digits {
    /// The digits of a float that is formatted with an exponent: `-1.25e-7`.
    fn of(float: Arguments<'_>) -> Self {
        let mut digits = Self { bytes: [0; 32], used: 0 };
        // A finite float has at most 17 digits, a sign, a point and five bytes of exponent.
        let written = digits.write_fmt(float);
        debug_assert!(written.is_ok(), "a float is longer than its buffer");
        digits
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.used).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        let room = self.bytes.get_mut(self.used..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// Up to here, every whole number is its own shortest form: its neighbours are at least 1 away, and
/// so is every form with fewer digits.
const WHOLE_F32: f32 = 16_777_216.0;

/// A smaller float4 may need more decimals than [`SCALES`] has.
const SMALL_F32: f32 = 0.000_1;

/// A float4 of 24 bits times one of these is exact as a float8, even if the product ends in one
/// half. Nine digits identify every float4, so the last scale is enough for all numbers from
/// [`SMALL_F32`] on.
const SCALES: [f64; 12] = [1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// Adding this to a number below 2^51 and subtracting it again rounds to the nearest integer, and
/// half to even, as PostgreSQL's `float4out` does. `f64::round` rounds half away from zero, and
/// calls the C library on older processors.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

/// The float8 with the same shortest text as the float4: 0.1 for 0.1, not 0.10000000149011612.
/// Reading the server's text gives exactly this float8, so both formats of a column agree.
pub(super) fn widen(value: f32) -> f64 {
    let exact = f64::from(value);
    let size = value.abs();
    if !value.is_finite() || (size <= WHOLE_F32 && value.trunc().to_bits() == value.to_bits()) {
        return exact;
    }
    if (SMALL_F32..WHOLE_F32).contains(&size) {
        // Both operands of the division are exact, so the result is the float8 nearest to that
        // decimal number. The shortest form has the fewest decimals that give the float4 back.
        for scale in SCALES {
            let decimal = ((exact * scale + ROUNDING) - ROUNDING) / scale;
            if (decimal as f32).to_bits() == value.to_bits() {
                return decimal;
            }
        }
    }
    widen_by_text(value).unwrap_or(exact)
}

/// Rust also accepts a decimal number that is half way to the neighbour, if reading that number
/// gives the value (33554450 for 33554448). PostgreSQL does not, and writes another digit.
fn widen_by_text(value: f32) -> Option<f64> {
    let half_way = |to: f32| f64::midpoint(f64::from(value), f64::from(to));
    let between = half_way(value.next_down())..half_way(value.next_up());
    let inside = |decimal: &f64| between.contains(decimal) && *decimal != between.start;
    let shortest = Digits::of(format_args!("{value:e}")).as_str().parse().ok().filter(inside);
    shortest.or_else(|| {
        (0..9).find_map(|decimals| {
            Digits::of(format_args!("{value:.decimals$e}")).as_str().parse().ok().filter(inside)
        })
    })
}

/// Appends what `String(value)` returns in JavaScript (ECMA-262, Number::toString), except that a
/// negative zero keeps its sign. A caller that wants JavaScript's `0` passes 0. PostgreSQL reads
/// every form of it.
pub(super) fn write_js(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    let written = Digits::of(format_args!("{value:e}"));
    let (sign, unsigned) = match written.as_str().strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", written.as_str()),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (first, others) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    out.extend_from_slice(sign.as_bytes());
    write_digits(first, others, exponent, out);
}

/// Writes `first.others * 10^exponent` by the four cases of Number::toString.
fn write_digits(first: &str, others: &str, exponent: i32, out: &mut Vec<u8>) {
    out.reserve(first.len() + others.len() + 24);
    match usize::try_from(exponent) {
        Ok(places) if places <= 20 => {
            let (whole, fraction) = others.split_at_checked(places).unwrap_or((others, ""));
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(whole.as_bytes());
            out.resize(out.len() + (places - whole.len()), b'0');
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction.as_bytes());
            }
        }
        Err(_) if exponent >= -6 => {
            out.extend_from_slice(b"0.");
            for _ in 1..exponent.unsigned_abs() {
                out.push(b'0');
            }
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(others.as_bytes());
        }
        Ok(_) | Err(_) => {
            out.extend_from_slice(first.as_bytes());
            if !others.is_empty() {
                out.push(b'.');
                out.extend_from_slice(others.as_bytes());
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            out.extend_from_slice(exponent.unsigned_abs().to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn js(value: f64) -> String {
        let mut out = Vec::new();
        write_js(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (123456.789, "123456.789"),
            (0.1, "0.1"),
            (0.000001, "0.000001"),
            (0.0000012, "0.0000012"),
            (0.0000001, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (9007199254740993.0, "9007199254740992"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (2.2250738585072014e-308, "2.2250738585072014e-308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expect) in table {
            assert_eq!(js(value), expect);
        }
    }

    #[test]
    fn a_float4_widens_to_its_shortest_form() {
        let table: [(f32, f64); 20] = [
            (0.0, 0.0),
            (0.1, 0.1),
            (-0.1, -0.1),
            (0.3, 0.3),
            (1.1, 1.1),
            (36.6, 36.6),
            (5.4321987, 5.4321985),
            (1234.5678, 1234.5677),
            (16777216.0, 16777216.0),
            (33554430.0, 33554430.0),
            (1e20, 1e20),
            (1e-20, 1e-20),
            (f32::MAX, 3.4028235e38),
            (f32::MIN_POSITIVE, 1.1754944e-38),
            (f32::from_bits(1), 1e-45),
            (f32::NEG_INFINITY, f64::NEG_INFINITY),
            // Of two decimal numbers that are equally close, the even one. Neither of them if they
            // are half way to a neighbour.
            (1_224_240.2, 1224240.2),
            (17.0 / 1024.0, 0.016601562),
            (1.0 / 4096.0, 0.00024414062),
            (33554448.0, 33554448.0),
        ];
        for (value, expect) in table {
            assert_eq!(widen(value).to_bits(), expect.to_bits(), "{value}");
        }
        assert!(widen(f32::NAN).is_nan());
        assert!(widen(-0.0).is_sign_negative());
    }

    /// What `widen` promises, computed in a slow way: the fewest digits between the two neighbours.
    fn by_text(value: f32) -> f64 {
        let half_way = |to: f32| (f64::from(value) + f64::from(to)) / 2.0;
        let (low, high) = (half_way(value.next_down()), half_way(value.next_up()));
        let read = |digits| format!("{value:.digits$e}").parse::<f64>().unwrap();
        (0..9).map(read).find(|&read| low < read && read < high).unwrap_or_else(|| value.into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn every_number_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            if !value.is_nan() {
                prop_assert_eq!(js(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }

        #[test]
        fn every_float4_widens_as_its_text_does(bits: u32) {
            let value = f32::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(widen(value).to_bits(), by_text(value).to_bits());
            }
        }

        #[test]
        fn decimals_widen_as_their_text_does(whole in -20_000_000_i32..20_000_000, scale in 0_i32..7) {
            let value = (f64::from(whole) / 10_f64.powi(scale)) as f32;
            prop_assert_eq!(widen(value).to_bits(), by_text(value).to_bits());
        }
    }
}
