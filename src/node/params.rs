//! A query's parameters, from JavaScript's values to the pool's.
//!
//! Each value is read once. Reading one may run the user's code (an element can be a getter), so that
//! nothing of a pool is borrowed meanwhile, and nothing is queued before the last one has been read.

use napi_sys as sys;

use super::value::{Env, Fault};
use crate::base::{Error, ErrorClass};
use crate::types::Params;

/// The count in a Bind message is a 16-bit number (PostgreSQL manual, 55.7).
const MAX_COUNT: u32 = 65_535;

/// Strings up to here are read in one call, without asking for their length before.
const SHORT: usize = 512;
/// What a copy that was cut short leaves free: the rest of a character of four bytes, and the NUL.
const CUT: usize = 4;

/// `value` is `undefined` for a query without parameters.
pub(super) fn read(env: Env, value: sys::napi_value) -> Result<Params, Fault> {
    if env.type_of(value)? == sys::ValueType::napi_undefined {
        return Ok(Params::new());
    }
    if !env.is_array(value)? {
        return Err(refused("the parameters must be an array".to_owned()));
    }
    let count = env.array_length(value)?;
    if count > MAX_COUNT {
        let message = format!("a query has at most {MAX_COUNT} parameters, {count} were given");
        let code = "HYPERION_TOO_MANY_PARAMETERS";
        return Err(Error::new(ErrorClass::Configuration, code, message).into());
    }
    let mut params = Params::with_capacity(count as usize);
    for index in 0..count {
        let element = env.element(value, index)?;
        read_one(env, element, index + 1, &mut params)?;
    }
    Ok(params)
}

fn read_one(
    env: Env,
    value: sys::napi_value,
    number: u32,
    params: &mut Params,
) -> Result<(), Fault> {
    use sys::ValueType as Type;
    let kind = env.type_of(value)?;
    match kind {
        Type::napi_undefined | Type::napi_null => params.push_null()?,
        Type::napi_boolean => params.push_bool(env.bool(value)?)?,
        Type::napi_number => params.push_number(env.f64(value)?)?,
        Type::napi_bigint => {
            let (negative, words) = env.bigint(value)?;
            params.push_bigint(negative, &words)?;
        }
        Type::napi_string => read_string(env, value, number, params)?,
        _ => {
            let pushed = if kind == Type::napi_object {
                env.with_bytes(value, |bytes| params.push_bytes(bytes))?
            } else {
                None
            };
            pushed.ok_or_else(|| not_supported(kind, number))??;
        }
    }
    Ok(())
}

fn read_string(
    env: Env,
    value: sys::napi_value,
    number: u32,
    params: &mut Params,
) -> Result<(), Fault> {
    let mut short = [0; SHORT];
    let copied = env.copy_utf8(value, &mut short)?;
    if copied + CUT <= SHORT {
        let bytes = short.get(..copied).unwrap_or_default();
        return match std::str::from_utf8(bytes) {
            Ok(text) if env.is_well_formed(value, bytes)? => Ok(params.push_text(text)?),
            _ => Err(lone_surrogate(number)),
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
            Err(into_error(lone_surrogate(number)))
        }
    });
    Ok(pushed?)
}

/// For reading a string, which runs no JavaScript and so raises no exception of it.
fn into_error(fault: Fault) -> Error {
    match fault {
        Fault::Own(error) => error,
        Fault::Pending => Error::internal("a string could not be read"),
    }
}

fn lone_surrogate(number: u32) -> Fault {
    refused(format!(
        "${number} holds half of a surrogate pair, which has no form in UTF-8 \
         (String.prototype.isWellFormed() tells)"
    ))
}

fn not_supported(kind: sys::napi_valuetype, number: u32) -> Fault {
    use sys::ValueType as Type;
    let what = match kind {
        Type::napi_symbol => "a symbol",
        Type::napi_function => "a function",
        _ => "an object",
    };
    refused(format!(
        "${number} is {what}; allowed are null, undefined, booleans, numbers, BigInts, strings, \
         Buffers and typed arrays"
    ))
}

fn refused(message: String) -> Fault {
    Fault::Own(Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", message))
}
