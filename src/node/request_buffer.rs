//! The buffer into which JavaScript writes a request. Its memory is shared, so that passing the
//! numbers of a request takes no calls.
//!
//! `js/transfer/request-buffer.cjs` writes the request and calls `query` at once, so that none of
//! the user's code runs in between.
#![allow(unsafe_code)] // JavaScript writes the same memory.

use std::num::NonZeroU32;
use std::time::Duration;

use napi_sys as sys;

use super::segment::SharedArray;
use super::value::{Env, Fault};
use crate::base::Error;
use crate::connection::StatementId;
use crate::pool::QueryFlags;
use crate::transfer::contract::absences::{ELSEWHERE, NO_LIMIT};
use crate::transfer::contract::buffer_words::BufferWords;
use crate::transfer::contract::codes as code;
use crate::transfer::contract::request_buffer::{KINDS_AT, LENGTH, VALUES};
use crate::types::Params;

#[derive(Debug)]
pub(super) struct RequestBuffer {
    memory: SharedArray<u8>,
}

/// A request, as JavaScript wrote it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) request: u32,
    pub(super) lease: Option<NonZeroU32>,
    pub(super) statement: StatementId,
    pub(super) flags: QueryFlags,
    /// `None` if the request has no limit of its own. Zero means no limit at all.
    pub(super) limit: Option<Duration>,
    /// Whether the statement is forgotten once the request is queued.
    pub(super) is_transient: bool,
    /// `None` if the values are arguments of the call.
    pub(super) params: Option<Params>,
}

impl RequestBuffer {
    pub(super) fn new(env: Env) -> Result<Self, Fault> {
        Ok(Self { memory: SharedArray::new(env, LENGTH)? })
    }

    /// Puts the memory into `object`, under the name that JavaScript expects.
    pub(super) fn share(&self, env: Env, object: sys::napi_value) -> Result<(), Fault> {
        env.define(object, c"requestBuffer", self.memory.value()?)
    }

    pub(super) fn read(&self) -> Result<Written, Fault> {
        self.memory.check()?;
        // SAFETY: no JavaScript runs before this function returns, and the slice ends with it.
        Ok(read(unsafe { self.memory.as_slice() })?)
    }
}

fn read(buffer: &[u8]) -> Result<Written, Error> {
    let broken = || Error::internal("a request buffer is not as it was agreed upon");
    let (words, values) = buffer.split_at_checked(KINDS_AT).ok_or_else(broken)?;
    let (kinds, numbers) = values.split_at_checked(VALUES).ok_or_else(broken)?;
    let (words, _) = words.as_chunks::<{ size_of::<u32>() }>();
    let words = words.first_chunk().ok_or_else(broken)?.map(u32::from_ne_bytes);
    let BufferWords { request, lease, statement, flags, count, limit, is_transient, .. } =
        BufferWords::of(words);
    let params = if count == ELSEWHERE.cast_unsigned() {
        None
    } else {
        let kinds = kinds.get(..count as usize).ok_or_else(broken)?;
        Some(read_params(kinds, numbers.as_chunks().0)?)
    };
    Ok(Written {
        request,
        lease: NonZeroU32::new(lease),
        statement: StatementId(statement),
        flags: QueryFlags(flags),
        limit: milliseconds(limit),
        is_transient: is_transient != 0,
        params,
    })
}

/// A call's time limit. `None` if the call has no limit of its own. Zero means no limit at all.
pub(super) fn milliseconds(word: u32) -> Option<Duration> {
    (word != NO_LIMIT).then(|| Duration::from_millis(word.into()))
}

fn read_params(kinds: &[u8], numbers: &[[u8; size_of::<f64>()]]) -> Result<Params, Error> {
    let mut params = Params::with_capacity(kinds.len());
    for (kind, number) in kinds.iter().zip(numbers) {
        match *kind {
            code::NULL => params.push_null()?,
            code::FALSE => params.push_bool(false)?,
            code::TRUE => params.push_bool(true)?,
            code::NUMBER => params.push_number(f64::from_ne_bytes(*number))?,
            _ => return Err(Error::internal("a value in a request buffer is of no known kind")),
        }
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::contract::request_buffer::NUMBERS_AT;

    const REQUEST: BufferWords = BufferWords {
        request: 7,
        lease: 0,
        statement: 9,
        flags: 0,
        count: 0,
        limit: NO_LIMIT,
        is_transient: 0,
        unused: 0,
    };

    fn buffer(words: BufferWords, kinds: &[u8], numbers: &[f64]) -> Vec<u8> {
        let mut buffer: Vec<u8> = words.words().into_iter().flat_map(u32::to_ne_bytes).collect();
        buffer.extend(kinds);
        buffer.resize(NUMBERS_AT, 0);
        buffer.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        buffer.resize(LENGTH, 0);
        buffer
    }

    #[test]
    fn a_request_is_read_with_its_values() {
        let kinds = [code::NUMBER, code::NULL, code::TRUE, code::FALSE];
        let words =
            BufferWords { lease: 3, flags: 5, count: 4, limit: 250, is_transient: 1, ..REQUEST };
        let buffer = buffer(words, &kinds, &[1.5, 0.0, 0.0, 0.0]);
        let written = read(&buffer).unwrap();
        let expected = (7, NonZeroU32::new(3), StatementId(9));
        assert_eq!((written.request, written.lease, written.statement), expected);
        let bounds = (Some(Duration::from_millis(250)), true);
        assert_eq!((written.limit, written.is_transient), bounds);
        assert_eq!((written.flags.0, written.params.unwrap().len()), (5, 4));
    }

    #[test]
    fn values_may_be_elsewhere() {
        let written =
            read(&buffer(BufferWords { count: ELSEWHERE.cast_unsigned(), ..REQUEST }, &[], &[]))
                .unwrap();
        assert!(written.lease.is_none() && written.params.is_none());
        assert!(written.limit.is_none() && !written.is_transient);
    }

    #[test]
    fn what_nobody_writes_is_an_error() {
        let too_many = VALUES as u32 + 1;
        assert!(read(&buffer(BufferWords { count: too_many, ..REQUEST }, &[], &[])).is_err());
        let words = BufferWords { count: 1, ..REQUEST };
        assert!(read(&buffer(words, &[code::DATE], &[])).is_err());
        assert!(read(&[0; KINDS_AT - 1]).is_err());
    }
}
