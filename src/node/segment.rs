//! The memory that is shared with JavaScript: three ArrayBuffers, filled again and again.
#![allow(unsafe_code)] // JavaScript reads the same memory.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use napi_sys as sys;

use super::sheet::{Room, TEXT_LIMIT};
use super::transcode::Text::{Narrow, Wide};
use super::transcode::Transcoded;
use super::value::{Env, Fault, Reference};
use crate::base::Error;
use crate::types::LONG_ROW;

/// Words of records, and cells, of a segment.
const RECORDS: usize = 4096;
const CELLS: usize = 8192;

/// Zeroes for both sides. It lives until neither can reach it.
#[derive(Debug)]
struct Memory {
    words: NonNull<[u64]>,
}

// SAFETY: it is allocated and freed, which any thread may do, and read and written by its address alone: by one thread,
// that of the environment.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: usize) -> Self {
        let words = vec![0; bytes.div_ceil(size_of::<u64>())].into_boxed_slice();
        Self { words: NonNull::from(Box::leak(words)) }
    }

    fn start(&self) -> NonNull<u64> {
        self.words.cast()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, and taken back once.
        drop(unsafe { Box::from_raw(self.words.as_ptr()) });
    }
}

/// JavaScript's share of the memory ends.
unsafe extern "C" fn release(_: sys::napi_env, _: *mut c_void, hint: *mut c_void) {
    // SAFETY: `Shared::new` made the pointer of an `Arc`, for this one call.
    drop(unsafe { Arc::from_raw(hint.cast::<Memory>().cast_const()) });
}

/// Memory that JavaScript has as an ArrayBuffer, `length` values of T.
#[derive(Debug)]
pub(super) struct Shared<T> {
    start: NonNull<T>,
    length: usize,
    buffer: Reference,
    /// `None` where the runtime takes no memory of ours: then it is the ArrayBuffer's.
    memory: Option<Arc<Memory>>,
}

impl<T> Shared<T> {
    pub(super) fn new(env: Env, length: usize) -> Result<Self, Fault> {
        let bytes = length * size_of::<T>();
        let memory = Arc::new(Memory::new(bytes));
        let (data, hint) = (memory.start().as_ptr().cast(), Arc::into_raw(memory.clone()));
        // SAFETY: the memory lives as long as the share of it that `release` ends.
        let lent = unsafe { env.lend_array_buffer(data, bytes, release, hint.cast_mut().cast()) };
        if let Some(value) = lent {
            let start = memory.start().cast();
            return Ok(Self {
                start,
                length,
                buffer: Reference::new(env, value)?,
                memory: Some(memory),
            });
        }
        // SAFETY: nobody else has it.
        drop(unsafe { Arc::from_raw(hint) });
        let (value, start) = env.create_array_buffer(bytes)?;
        let start = NonNull::new(start.cast::<T>()).filter(|start| start.is_aligned());
        let start = start.ok_or_else(|| Error::internal("an ArrayBuffer has no usable memory"))?;
        Ok(Self { start, length, buffer: Reference::new(env, value)?, memory: None })
    }

    /// The ArrayBuffer.
    pub(super) fn value(&self) -> Result<sys::napi_value, Fault> {
        self.buffer.value()
    }

    /// Where the memory is the ArrayBuffer's, code that gets hold of that can take it away.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.memory.is_none() && self.buffer.env().array_buffer_length(self.value()?)? == 0 {
            return Err(Error::internal("a buffer of the pool was transferred").into());
        }
        Ok(())
    }

    /// # Safety
    ///
    /// No JavaScript runs while the slice lives, and `check` was asked behind the last that did.
    pub(super) unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: as below.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// # Safety
    ///
    /// As of `as_slice`.
    unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: `length` aligned values of a plain number type, zeroed when they were made. Where the memory is
        // ours, it is there whatever JavaScript does with the ArrayBuffer.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

/// What one call into JavaScript carries.
#[derive(Debug)]
pub(super) struct Segment {
    records: Shared<i32>,
    cells: Shared<u64>,
    nulls: Shared<u8>,
    text: Vec<u8>,
    /// A long text as V8 keeps it.
    transcoded: Transcoded,
}

/// A long text's memory is not kept for the short ones to come,
const KEPT_TEXT: usize = 4 * TEXT_LIMIT;
/// but for the pieces of a long value it is, so that each of them finds it in the caches.
const KEPT_BETWEEN_PIECES: usize = 2 * LONG_ROW;

impl Segment {
    pub(super) fn new(env: Env) -> Result<Self, Fault> {
        Ok(Self {
            records: Shared::new(env, RECORDS)?,
            cells: Shared::new(env, CELLS)?,
            nulls: Shared::new(env, CELLS)?,
            text: Vec::with_capacity(TEXT_LIMIT),
            transcoded: Transcoded::default(),
        })
    }

    /// Hands the buffers to JavaScript, by names that it knows.
    pub(super) fn share(&self, env: Env, object: sys::napi_value) -> Result<(), Fault> {
        let buffers: [(&CStr, &Reference); 3] = [
            (c"records", &self.records.buffer),
            (c"cells", &self.cells.buffer),
            (c"nulls", &self.nulls.buffer),
        ];
        buffers.into_iter().try_for_each(|(name, buffer)| env.define(object, name, buffer.value()?))
    }

    /// `fill` writes records, cells and text, and returns whether all of the text is ASCII; the text comes
    /// back as a string.
    pub(super) fn fill(
        &mut self,
        env: Env,
        fill: impl FnOnce(Room<'_>) -> bool,
    ) -> Result<sys::napi_value, Fault> {
        let kept = if self.text.len() > TEXT_LIMIT { KEPT_BETWEEN_PIECES } else { KEPT_TEXT };
        if self.text.capacity() > kept {
            self.text = Vec::with_capacity(TEXT_LIMIT);
            self.transcoded = Transcoded::default();
        }
        self.records.check()?;
        self.cells.check()?;
        self.nulls.check()?;
        // SAFETY: `fill` knows nothing of JavaScript, and the slices end with it.
        let room = unsafe {
            Room {
                records: self.records.as_mut_slice(),
                cells: self.cells.as_mut_slice(),
                nulls: self.nulls.as_mut_slice(),
                text: &mut self.text,
            }
        };
        let is_ascii = fill(room);
        if is_ascii || self.text.len() <= TEXT_LIMIT {
            return env.create_string(&self.text, is_ascii);
        }
        match self.transcoded.read(&self.text) {
            Some(Narrow(bytes)) => env.create_string(bytes, true),
            Some(Wide(units)) => env.create_utf16(units),
            None => env.create_string(&self.text, false),
        }
    }
}
