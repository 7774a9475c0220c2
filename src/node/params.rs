//! Reads a query's parameters from JavaScript's values.
//!
//! `js/types/parameters.cjs` has already read each parameter once, and passes arrays of plain
//! values, so none of the user's code runs here. A value that is neither a primitive, bytes nor a
//! Date was captured there: an object as JSON, and an array as a list of codes, with its numbers
//! and text in further lists.

use napi_sys as sys;

use super::value::{Env, Fault};
use crate::base::{Error, ErrorClass, Outcome};
use crate::transfer::contract::codes as code;
use crate::transfer::contract::limits::MOST_PARAMETERS;
use crate::types::{Params, Piece, Pieces};

/// The longest string, in bytes, that is read in one call, without asking for its length first.
const SHORT: usize = 512;
/// How many bytes a copy may leave unused when the string does not fit: one less than a character
/// of four bytes, and the NUL.
const CUT: usize = 4;

/// `values` is `undefined` for a query without parameters. `captured` is `undefined` if all values
/// are plain, and otherwise `[codes, numbers, text, ...extras]`.
pub(super) fn read(
    env: Env,
    values: sys::napi_value,
    captured: sys::napi_value,
) -> Result<Params, Fault> {
    if env.type_of(values)? == sys::ValueType::napi_undefined {
        return Ok(Params::new());
    }
    let count = env.array_length(values)?;
    if count > MOST_PARAMETERS {
        let message =
            format!("a query has at most {MOST_PARAMETERS} parameters, {count} were given");
        let code = "HYPERION_TOO_MANY_PARAMETERS";
        let error = Error::new(ErrorClass::Configuration, code, message);
        return Err(error.with_outcome(Outcome::NotSent).into());
    }
    let mut params = Params::with_capacity(count as usize);
    if env.type_of(captured)? == sys::ValueType::napi_undefined {
        for index in 0..count {
            let value = env.element(values, index)?;
            read_one(env, value, index + 1, &mut params, None)?;
        }
        return Ok(params);
    }
    let [codes, numbers, text] =
        [env.element(captured, 0)?, env.element(captured, 1)?, env.element(captured, 2)?];
    let length = env.utf8_length(text)?;
    let pieces = params
        .append_pieces_with(length, |out| env.append_utf8(text, length, out).map_err(into_error))?;
    // The package's own arrays have no getters. If other code calls the addon with arrays that have
    // getters, these may run here, but not while JavaScript's memory is borrowed.
    let values = elements(env, values, count)?;
    let captured = elements(env, captured, env.array_length(captured)?)?;
    let read = env.with_bytes(codes, |codes| {
        env.with_bytes(numbers, |numbers| {
            let (numbers, _) = numbers.as_chunks();
            let mut captured = Captured {
                codes: codes.iter(),
                numbers: numbers.iter(),
                pieces,
                extras: captured.iter().skip(3),
            };
            for (value, number) in values.iter().zip(1..) {
                read_one(env, *value, number, &mut params, Some(&mut captured))?;
            }
            Ok(())
        })
    });
    match read {
        Ok(Some(Ok(Some(result)))) => result.map(|()| params),
        Ok(Some(Err(fault))) | Err(fault) => Err(fault),
        Ok(_) => Err(Error::internal("captured values are no typed arrays").into()),
    }
}

fn elements(env: Env, array: sys::napi_value, count: u32) -> Result<Vec<sys::napi_value>, Fault> {
    (0..count).map(|index| env.element(array, index)).collect()
}

fn read_one(
    env: Env,
    value: sys::napi_value,
    number: u32,
    params: &mut Params,
    captured: Option<&mut Captured<'_>>,
) -> Result<(), Fault> {
    use sys::ValueType as Type;
    match env.type_of(value)? {
        Type::napi_undefined | Type::napi_null => params.push_null()?,
        Type::napi_boolean => params.push_bool(env.bool(value)?)?,
        Type::napi_number => params.push_number(env.f64(value)?)?,
        Type::napi_bigint => {
            let (negative, words) = env.bigint(value)?;
            params.push_bigint(negative, &words)?;
        }
        Type::napi_string => read_string(env, value, number, params)?,
        _ => {
            if let Some(pushed) = env.with_bytes(value, |bytes| params.push_bytes(bytes))? {
                pushed?;
            } else if let Some(millis) = env.date(value)? {
                params.push_date(millis)?;
            } else if let Some(captured) = captured {
                captured.read(env, params)?;
            } else {
                return Err(Error::internal("a value was not captured").into());
            }
        }
    }
    Ok(())
}

/// The captured values that are still to be read.
struct Captured<'a> {
    codes: std::slice::Iter<'a, u8>,
    numbers: std::slice::Iter<'a, [u8; size_of::<f64>()]>,
    pieces: Pieces,
    /// The values that have an element of their own: bytes and JSON.
    extras: std::iter::Skip<std::slice::Iter<'a, sys::napi_value>>,
}

impl Captured<'_> {
    /// Reads one parameter: an array, or the JSON of an object.
    fn read(&mut self, env: Env, params: &mut Params) -> Result<(), Fault> {
        loop {
            match self.codes.next().copied().unwrap_or(u8::MAX) {
                code::OPEN => params.open_array(),
                code::CLOSE => params.close_array()?,
                code::NULL => params.push_null()?,
                code::FALSE => params.push_bool(false)?,
                code::TRUE => params.push_bool(true)?,
                code::NUMBER => params.push_number(self.number()?)?,
                code::DATE => params.push_date(self.number()?)?,
                code::TEXT => self.piece(Piece::Text, params)?,
                code::BIGINT => self.piece(Piece::BigInt, params)?,
                code::JSON => self.piece(Piece::Json, params)?,
                code::BYTES => {
                    let bytes = self.extra()?;
                    let pushed = env.with_bytes(bytes, |bytes| params.push_bytes(bytes))?;
                    pushed.ok_or_else(|| Error::internal("captured bytes are none"))??;
                }
                code::WHOLE_JSON => {
                    let json = self.extra()?;
                    let length = env.utf8_length(json)?;
                    params.push_json_with(length, |out| {
                        env.append_utf8(json, length, out).map_err(into_error)
                    })?;
                }
                _ => return Err(Error::internal("a captured value is of no known kind").into()),
            }
            if !params.has_open_array() {
                return Ok(());
            }
        }
    }

    fn number(&mut self) -> Result<f64, Error> {
        let bytes = self.numbers.next().ok_or_else(|| Error::internal("a number is missing"))?;
        Ok(f64::from_ne_bytes(*bytes))
    }

    fn piece(&mut self, piece: Piece, params: &mut Params) -> Result<(), Error> {
        let units = self.number()? as usize;
        params.push_piece(piece, &mut self.pieces, units)
    }

    fn extra(&mut self) -> Result<sys::napi_value, Error> {
        self.extras.next().copied().ok_or_else(|| Error::internal("a captured value is missing"))
    }
}

fn read_string(
    env: Env,
    value: sys::napi_value,
    number: u32,
    params: &mut Params,
) -> Result<(), Fault> {
    let mut short = [0; SHORT];
    let copied = env.copy_utf8(value, &mut short)?;
    if copied + CUT < SHORT {
        let bytes = short.get(..copied).unwrap_or_default();
        return match std::str::from_utf8(bytes) {
            Ok(text) if env.is_well_formed(value, bytes)? => Ok(params.push_text(text)?),
            _ => Err(lone_surrogate(number).into()),
        };
    }
    let length = env.utf8_length(value)?;
    let pushed = params.push_text_with(length, |out| {
        let start = out.len();
        env.append_utf8(value, length, out).map_err(into_error)?;
        let bytes = out.get(start..).unwrap_or_default();
        if env.is_well_formed(value, bytes).map_err(into_error)? {
            Ok(())
        } else {
            Err(lone_surrogate(number))
        }
    });
    Ok(pushed?)
}

/// The error of reading a string. Reading runs no JavaScript, so no exception is pending.
fn into_error(fault: Fault) -> Error {
    match fault {
        Fault::Own(error) => error,
        Fault::Pending => Error::internal("a string could not be read"),
    }
}

fn lone_surrogate(number: u32) -> Error {
    let message = format!(
        "parameter ${number}: the text holds half of a surrogate pair, which has no form in UTF-8 \
         (String.prototype.isWellFormed() tells)"
    );
    Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", message)
        .with_outcome(Outcome::NotSent)
}
