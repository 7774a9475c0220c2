//! The memory that is shared with JavaScript: three ArrayBuffers, filled again and again.
#![allow(unsafe_code)] // JavaScript reads the same memory.

use std::ffi::CStr;
use std::ptr::NonNull;

use napi_sys as sys;

use super::sheet::{Room, TEXT_LIMIT};
use super::value::{Env, Fault, Reference};
use crate::base::Error;

/// Sizes that `js/` relies on.
const RECORDS: usize = 4096;
const CELLS: usize = 8192;

/// Memory of JavaScript's, `length` values of T.
#[derive(Debug)]
pub(super) struct Shared<T> {
    start: NonNull<T>,
    length: usize,
    /// The memory lives as long as the ArrayBuffer, and that as long as this.
    buffer: Reference,
}

impl<T> Shared<T> {
    pub(super) fn new(env: Env, length: usize) -> Result<Self, Fault> {
        let (value, start) = env.create_array_buffer(length * size_of::<T>())?;
        let start = NonNull::new(start.cast::<T>()).filter(|start| start.is_aligned());
        let start = start.ok_or_else(|| Error::internal("an ArrayBuffer has no usable memory"))?;
        Ok(Self { start, length, buffer: Reference::new(env, value)? })
    }

    /// The ArrayBuffer.
    pub(super) fn value(&self) -> Result<sys::napi_value, Fault> {
        self.buffer.value()
    }

    /// # Safety
    ///
    /// No JavaScript runs while the slice lives.
    pub(super) unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: as below.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// # Safety
    ///
    /// No JavaScript runs while the slice lives.
    unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: `length` aligned values of a plain number type, zeroed when they were made; the buffer
        // is kept alive and is never handed to user code, which alone could detach it.
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
}

/// A long text's memory is not kept for the short ones to come.
const KEPT_TEXT: usize = 4 * TEXT_LIMIT;

impl Segment {
    pub(super) fn new(env: Env) -> Result<Self, Fault> {
        Ok(Self {
            records: Shared::new(env, RECORDS)?,
            cells: Shared::new(env, CELLS)?,
            nulls: Shared::new(env, CELLS)?,
            text: Vec::with_capacity(TEXT_LIMIT),
        })
    }

    /// Hands the buffers to JavaScript, by names that it knows.
    pub(super) fn share(&self, env: Env, object: sys::napi_value) -> Result<(), Fault> {
        let buffers: [(&CStr, &Reference); 3] = [
            (c"records", &self.records.buffer),
            (c"cells", &self.cells.buffer),
            (c"nulls", &self.nulls.buffer),
        ];
        buffers.into_iter().try_for_each(|(name, buffer)| env.set(object, name, buffer.value()?))
    }

    /// `fill` writes records, cells and text, and returns whether all of the text is ASCII; the text comes
    /// back as a string.
    pub(super) fn fill(
        &mut self,
        env: Env,
        fill: impl FnOnce(Room<'_>) -> bool,
    ) -> Result<sys::napi_value, Fault> {
        if self.text.capacity() > KEPT_TEXT {
            self.text = Vec::with_capacity(TEXT_LIMIT);
        }
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
        env.create_string(&self.text, is_ascii)
    }
}
