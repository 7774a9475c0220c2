//! The memory that is shared with JavaScript: three ArrayBuffers that are reused for every segment.
#![allow(unsafe_code)] // JavaScript reads the same memory.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use napi_sys as sys;

use super::segment_writer::{SegmentMut, TEXT_LIMIT};
use super::transcode::Text::{Narrow, Wide};
use super::transcode::Transcoded;
use super::value::{Env, Fault, Reference};
use crate::base::Error;
use crate::types::LONG_ROW;

/// How many words of records and how many cells a segment has.
const RECORDS: usize = 4096;
const CELLS: usize = 8192;

/// Zeroed memory for both sides. It lives until neither side can reach it.
#[derive(Debug)]
struct Memory {
    words: NonNull<[u64]>,
}

// SAFETY: any thread may allocate and free the memory. Only the thread of the environment reads and
// writes it.
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
        // SAFETY: `new` leaked it, and this takes it back once.
        drop(unsafe { Box::from_raw(self.words.as_ptr()) });
    }
}

/// Ends JavaScript's share of the memory.
unsafe extern "C" fn release(_: sys::napi_env, _: *mut c_void, hint: *mut c_void) {
    // SAFETY: `SharedArray::new` made the pointer from an `Arc`, for this one call.
    drop(unsafe { Arc::from_raw(hint.cast::<Memory>().cast_const()) });
}

/// Memory that JavaScript has as an ArrayBuffer: `length` values of type `T`.
#[derive(Debug)]
pub(super) struct SharedArray<T> {
    start: NonNull<T>,
    length: usize,
    buffer: Reference,
    /// `None` if the runtime does not accept the addon's memory. Then the ArrayBuffer has memory of
    /// its own.
    memory: Option<Arc<Memory>>,
}

impl<T> SharedArray<T> {
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
        // SAFETY: no other code has this share.
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

    /// Fails if the ArrayBuffer had memory of its own, and code that got hold of the buffer has
    /// detached it.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.memory.is_none() && self.buffer.env().array_buffer_length(self.value()?)? == 0 {
            return Err(Error::internal("a buffer of the pool was transferred").into());
        }
        Ok(())
    }

    /// # Safety
    ///
    /// No JavaScript may run while the slice lives. [`Self::check`] must have succeeded after the
    /// last JavaScript that ran.
    pub(super) unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: as in `as_mut_slice`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// # Safety
    ///
    /// As for [`Self::as_slice`].
    unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: these are `length` aligned values of a plain number type, zeroed when they were
        // made. If JavaScript transfers the ArrayBuffer, the addon's own memory stays valid.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

/// The data of one call into JavaScript.
#[derive(Debug)]
pub(super) struct Segment {
    records: SharedArray<i32>,
    cells: SharedArray<u64>,
    nulls: SharedArray<u8>,
    text: Vec<u8>,
    /// A long text in the form in which V8 stores it.
    transcoded: Transcoded,
}

/// The most bytes that the memory for texts keeps after a long text,
const KEPT_TEXT: usize = 4 * TEXT_LIMIT;
/// and after a piece of a long value, whose successor then finds the memory in the caches.
const KEPT_BETWEEN_PIECES: usize = 2 * LONG_ROW;

impl Segment {
    pub(super) fn new(env: Env) -> Result<Self, Fault> {
        Ok(Self {
            records: SharedArray::new(env, RECORDS)?,
            cells: SharedArray::new(env, CELLS)?,
            nulls: SharedArray::new(env, CELLS)?,
            text: Vec::with_capacity(TEXT_LIMIT),
            transcoded: Transcoded::default(),
        })
    }

    /// Puts the buffers into `object`, under the names that JavaScript expects.
    pub(super) fn share(&self, env: Env, object: sys::napi_value) -> Result<(), Fault> {
        let buffers: [(&CStr, &Reference); 3] = [
            (c"records", &self.records.buffer),
            (c"cells", &self.cells.buffer),
            (c"nulls", &self.nulls.buffer),
        ];
        buffers.into_iter().try_for_each(|(name, buffer)| env.define(object, name, buffer.value()?))
    }

    /// Lets `fill` write records, cells and text, and returns the text as a JavaScript string.
    /// `fill` returns whether all of the text is ASCII.
    pub(super) fn fill(
        &mut self,
        env: Env,
        fill: impl FnOnce(SegmentMut<'_>) -> bool,
    ) -> Result<sys::napi_value, Fault> {
        let kept = if self.text.len() > TEXT_LIMIT { KEPT_BETWEEN_PIECES } else { KEPT_TEXT };
        if self.text.capacity() > kept {
            self.text = Vec::with_capacity(TEXT_LIMIT);
            self.transcoded = Transcoded::default();
        }
        self.records.check()?;
        self.cells.check()?;
        self.nulls.check()?;
        // SAFETY: `fill` does not call JavaScript, and the slices end with it.
        let room = unsafe {
            SegmentMut {
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
