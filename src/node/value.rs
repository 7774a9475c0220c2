//! JavaScript's values by Node-API, with every status checked.
#![allow(unsafe_code)] // Node-API is C. A comment at each call says why it is right.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use napi_sys as sys;

use crate::base::{Error, ErrorClass};
use crate::transfer::contract::thrown::THROWN_MARK;

/// Why a call of the addon failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A JavaScript exception is pending, and is passed on as it is.
    Pending,
    Own(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

pub(super) fn check(status: sys::napi_status, what: &str) -> Result<(), Fault> {
    match status {
        sys::Status::napi_ok => Ok(()),
        sys::Status::napi_pending_exception => Err(Fault::Pending),
        _ => Err(Fault::Own(Error::internal(format!("{what}: Node-API's status {status}")))),
    }
}

/// An environment of Node-API. A value of this type proves that the environment's own thread is
/// running: it is made from the environment that Node hands to a callback, and is neither `Send`
/// nor `Sync`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Env(sys::napi_env);

// Each method is a call with an environment of this thread and values of an open scope: values are
// read in the call that passed them. Further conditions are stated at each call.
impl Env {
    /// # Safety
    /// Node must have passed it to a callback or a module's registration on this thread, and must
    /// not have torn it down.
    pub(super) unsafe fn from_raw(raw: sys::napi_env) -> Self {
        Self(raw)
    }

    pub(super) fn raw(self) -> sys::napi_env {
        self.0
    }

    pub(super) fn type_of(self, value: sys::napi_value) -> Result<sys::napi_valuetype, Fault> {
        let mut result = 0;
        // SAFETY: see above.
        check(unsafe { sys::napi_typeof(self.0, value, &mut result) }, "typeof")?;
        Ok(result)
    }

    pub(super) fn u32(self, value: sys::napi_value) -> Result<u32, Fault> {
        let mut result = 0;
        // SAFETY: see above.
        check(unsafe { sys::napi_get_value_uint32(self.0, value, &mut result) }, "a number")?;
        Ok(result)
    }

    pub(super) fn f64(self, value: sys::napi_value) -> Result<f64, Fault> {
        let mut result = 0.0;
        // SAFETY: see above.
        check(unsafe { sys::napi_get_value_double(self.0, value, &mut result) }, "a number")?;
        Ok(result)
    }

    pub(super) fn bool(self, value: sys::napi_value) -> Result<bool, Fault> {
        let mut result = false;
        // SAFETY: see above.
        check(unsafe { sys::napi_get_value_bool(self.0, value, &mut result) }, "a boolean")?;
        Ok(result)
    }

    /// The sign of a BigInt, and its words, the least significant first.
    pub(super) fn bigint(self, value: sys::napi_value) -> Result<(bool, Vec<u64>), Fault> {
        let mut count = 0;
        // SAFETY: without a buffer, Node-API returns the number of words.
        let status = unsafe {
            sys::napi_get_value_bigint_words(self.0, value, null_mut(), &mut count, null_mut())
        };
        check(status, "a BigInt")?;
        let (mut words, mut sign) = (vec![0; count], 0);
        // SAFETY: `words` has room for `count` words.
        let status = unsafe {
            sys::napi_get_value_bigint_words(
                self.0,
                value,
                &mut sign,
                &mut count,
                words.as_mut_ptr(),
            )
        };
        check(status, "a BigInt")?;
        words.truncate(count);
        Ok((sign != 0, words))
    }

    /// How many bytes a string has as UTF-8. Each unpaired surrogate counts as three.
    pub(super) fn utf8_length(self, value: sys::napi_value) -> Result<usize, Fault> {
        let mut length = 0;
        // SAFETY: without a buffer, Node-API returns the length.
        let status =
            unsafe { sys::napi_get_value_string_utf8(self.0, value, null_mut(), 0, &mut length) };
        check(status, "a string")?;
        Ok(length)
    }

    /// Copies as many whole characters of a string into `buffer` as fit, and returns their bytes.
    /// One byte of the buffer is used for a NUL.
    pub(super) fn copy_utf8(
        self,
        value: sys::napi_value,
        buffer: &mut [u8],
    ) -> Result<usize, Fault> {
        let mut written = 0;
        let (start, size) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: Node-API writes at most `size` bytes.
        let status =
            unsafe { sys::napi_get_value_string_utf8(self.0, value, start, size, &mut written) };
        check(status, "a string")?;
        Ok(written)
    }

    /// Appends a string of `length` bytes, as [`Self::utf8_length`] returns it.
    pub(super) fn append_utf8(
        self,
        value: sys::napi_value,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let start = out.len();
        let room = length.checked_add(1).filter(|room| out.try_reserve(*room).is_ok());
        let Some(room) = room else {
            let message = format!("there is no memory for a string of {length} bytes");
            return Err(Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", message).into());
        };
        out.resize(start + room, 0);
        let copied = match out.get_mut(start..) {
            Some(buffer) => self.copy_utf8(value, buffer),
            None => Ok(0),
        };
        out.truncate(start + copied.as_ref().map_or(0, |copied| *copied));
        copied.map(|_| ())
    }

    /// Whether a string has no unpaired surrogates. `utf8` are its bytes. V8 writes U+FFFD for each
    /// unpaired surrogate, as for the character U+FFFD itself.
    pub(super) fn is_well_formed(self, value: sys::napi_value, utf8: &[u8]) -> Result<bool, Fault> {
        const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
        if utf8.is_ascii() || !utf8.windows(REPLACEMENT.len()).any(|three| three == REPLACEMENT) {
            return Ok(true);
        }
        let mut length = 0;
        // SAFETY: without a buffer, Node-API returns the length.
        let status =
            unsafe { sys::napi_get_value_string_utf16(self.0, value, null_mut(), 0, &mut length) };
        check(status, "a string")?;
        let mut units = Vec::new();
        if units.try_reserve_exact(length + 1).is_err() {
            let message = format!("there is no memory for a string of {length} characters");
            return Err(Error::new(ErrorClass::Configuration, "HYPERION_PARAMETER", message).into());
        }
        units.resize(length + 1, 0u16);
        // SAFETY: Node-API writes at most as many units as the vector has room for, including a
        // NUL.
        let status = unsafe {
            let (start, size) = (units.as_mut_ptr(), units.len());
            sys::napi_get_value_string_utf16(self.0, value, start, size, &mut length)
        };
        check(status, "a string")?;
        units.truncate(length);
        Ok(char::decode_utf16(units).all(|character| character.is_ok()))
    }

    /// A text that must be well-formed.
    pub(super) fn string(self, value: sys::napi_value) -> Result<String, Fault> {
        let (length, mut bytes) = (self.utf8_length(value)?, Vec::new());
        self.append_utf8(value, length, &mut bytes)?;
        if self.is_well_formed(value, &bytes)?
            && let Ok(text) = String::from_utf8(bytes)
        {
            return Ok(text);
        }
        let message = "the text holds half of a surrogate pair, which has no form in UTF-8";
        Err(Error::new(ErrorClass::Configuration, "HYPERION_QUERY_TEXT", message).into())
    }

    pub(super) fn array_length(self, value: sys::napi_value) -> Result<u32, Fault> {
        let mut result = 0;
        // SAFETY: see above.
        check(unsafe { sys::napi_get_array_length(self.0, value, &mut result) }, "an array")?;
        Ok(result)
    }

    /// An element of an array. A getter would run JavaScript here, so JavaScript reads users'
    /// arrays before it passes them.
    pub(super) fn element(
        self,
        array: sys::napi_value,
        index: u32,
    ) -> Result<sys::napi_value, Fault> {
        let mut result = null_mut();
        // SAFETY: see above.
        check(unsafe { sys::napi_get_element(self.0, array, index, &mut result) }, "an element")?;
        Ok(result)
    }

    /// Lends `read` the bytes of a Buffer or any other typed array. `None` for all other values.
    /// The bytes belong to JavaScript, and must be copied before JavaScript runs again.
    pub(super) fn with_bytes<T>(
        self,
        value: sys::napi_value,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Fault> {
        let mut is_typed_array = false;
        // SAFETY: see above.
        let status = unsafe { sys::napi_is_typedarray(self.0, value, &mut is_typed_array) };
        check(status, "a typed array")?;
        if !is_typed_array {
            return Ok(None);
        }
        let (mut kind, mut length, mut data) = (0, 0, null_mut());
        // SAFETY: `value` is a typed array. The last two results are not requested.
        let status = unsafe {
            let (kind, length, data) = (&mut kind, &mut length, &mut data);
            sys::napi_get_typedarray_info(self.0, value, kind, length, data, null_mut(), null_mut())
        };
        check(status, "a typed array")?;
        let length = length * element_size(kind);
        let bytes = if data.is_null() || length == 0 {
            &[]
        } else {
            // SAFETY: the array's `length` bytes begin at `data`, and no JavaScript runs on this
            // thread while they are read. If another thread writes to a SharedArrayBuffer
            // meanwhile, it changes what is sent, as with any other client.
            unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }
        };
        Ok(Some(read(bytes)))
    }

    /// The milliseconds of a Date since 1970, NaN for an invalid one. `None` for all other values.
    /// Runs no JavaScript.
    pub(super) fn date(self, value: sys::napi_value) -> Result<Option<f64>, Fault> {
        let mut is_date = false;
        // SAFETY: see above.
        check(unsafe { sys::napi_is_date(self.0, value, &mut is_date) }, "a Date")?;
        if !is_date {
            return Ok(None);
        }
        let mut result = f64::NAN;
        // SAFETY: `value` is a Date.
        check(unsafe { sys::napi_get_date_value(self.0, value, &mut result) }, "a Date")?;
        Ok(Some(result))
    }

    pub(super) fn create_string(
        self,
        text: &[u8],
        is_ascii: bool,
    ) -> Result<sys::napi_value, Fault> {
        let create =
            if is_ascii { sys::napi_create_string_latin1 } else { sys::napi_create_string_utf8 };
        let length = isize::try_from(text.len()).unwrap_or(isize::MAX);
        let mut result = null_mut();
        // SAFETY: `length` bytes can be read. Bytes that are not valid UTF-8 become U+FFFD.
        check(
            unsafe { create(self.0, text.as_ptr().cast(), length, &mut result) },
            "a new string",
        )?;
        Ok(result)
    }

    pub(super) fn create_utf16(self, units: &[u16]) -> Result<sys::napi_value, Fault> {
        let length = isize::try_from(units.len()).unwrap_or(isize::MAX);
        let mut result = null_mut();
        // SAFETY: `length` units can be read.
        check(
            unsafe { sys::napi_create_string_utf16(self.0, units.as_ptr(), length, &mut result) },
            "a new string",
        )?;
        Ok(result)
    }

    pub(super) fn create_u32(self, number: u32) -> Result<sys::napi_value, Fault> {
        let mut result = null_mut();
        // SAFETY: see above.
        check(unsafe { sys::napi_create_uint32(self.0, number, &mut result) }, "a new number")?;
        Ok(result)
    }

    pub(super) fn create_bool(self, value: bool) -> Result<sys::napi_value, Fault> {
        let mut result = null_mut();
        // SAFETY: see above.
        check(unsafe { sys::napi_get_boolean(self.0, value, &mut result) }, "a boolean")?;
        Ok(result)
    }

    pub(super) fn create_object(self) -> Result<sys::napi_value, Fault> {
        let mut result = null_mut();
        // SAFETY: see above.
        check(unsafe { sys::napi_create_object(self.0, &mut result) }, "a new object")?;
        Ok(result)
    }

    /// Gives one of the package's own objects a property, without calling a setter that the user's
    /// code has put on `Object.prototype`.
    pub(super) fn define(
        self,
        object: sys::napi_value,
        name: &std::ffi::CStr,
        value: sys::napi_value,
    ) -> Result<(), Fault> {
        use sys::PropertyAttributes as Attributes;
        let property = sys::napi_property_descriptor {
            utf8name: name.as_ptr(),
            name: null_mut(),
            method: None,
            getter: None,
            setter: None,
            value,
            attributes: Attributes::writable | Attributes::enumerable | Attributes::configurable,
            data: null_mut(),
        };
        // SAFETY: `name` ends with a NUL, and there is one property.
        let status = unsafe { sys::napi_define_properties(self.0, object, 1, &property) };
        check(status, "a new property")
    }

    /// A buffer of zeroes, and its address.
    pub(super) fn create_array_buffer(
        self,
        length: usize,
    ) -> Result<(sys::napi_value, *mut c_void), Fault> {
        let (mut data, mut result) = (null_mut(), null_mut());
        // SAFETY: see above.
        let status =
            unsafe { sys::napi_create_arraybuffer(self.0, length, &mut data, &mut result) };
        check(status, "a new ArrayBuffer")?;
        Ok((result, data))
    }

    /// An ArrayBuffer over the addon's memory. `None` if the runtime does not allow it. Electron,
    /// for example, does not, because its V8 keeps all such memory in a cage. (The addon of
    /// `test/integration/defect.test.js` behaves like Electron.) `release` gets `hint` once
    /// JavaScript can't reach the memory any more.
    ///
    /// # Safety
    ///
    /// The `length` bytes from `data` on must be valid until then.
    pub(super) unsafe fn lend_array_buffer(
        self,
        data: *mut c_void,
        length: usize,
        release: unsafe extern "C" fn(sys::napi_env, *mut c_void, *mut c_void),
        hint: *mut c_void,
    ) -> Option<sys::napi_value> {
        if cfg!(feature = "defects") {
            return None;
        }
        let mut result = null_mut();
        // SAFETY: the caller guarantees it.
        let status = unsafe {
            let release = Some(release);
            sys::napi_create_external_arraybuffer(self.0, data, length, release, hint, &mut result)
        };
        (status == sys::Status::napi_ok).then_some(result)
    }

    /// How many bytes an ArrayBuffer has. A transferred ArrayBuffer has none.
    pub(super) fn array_buffer_length(self, value: sys::napi_value) -> Result<usize, Fault> {
        let (mut data, mut length) = (null_mut(), 0);
        // SAFETY: see above.
        let status =
            unsafe { sys::napi_get_arraybuffer_info(self.0, value, &mut data, &mut length) };
        check(status, "an ArrayBuffer")?;
        Ok(length)
    }

    /// A function whose `trampoline` gets `data`.
    pub(super) fn create_function(
        self,
        name: &std::ffi::CStr,
        trampoline: sys::napi_callback,
        data: *const c_void,
    ) -> Result<sys::napi_value, Fault> {
        let (mut result, length) = (null_mut(), -1);
        // SAFETY: the name ends with a NUL, as the length -1 says.
        let status = unsafe {
            let data = data.cast_mut();
            sys::napi_create_function(self.0, name.as_ptr(), length, trampoline, data, &mut result)
        };
        check(status, "a new function")?;
        Ok(result)
    }

    /// Throws an error whose message is JSON. `js/api/errors.cjs` recognises it by its code, which
    /// is a fixed mark.
    pub(super) fn throw(self, message: &str) {
        let text = self.create_string(message.as_bytes(), false);
        let mark = self.create_string(THROWN_MARK.as_bytes(), true);
        let (Ok(text), Ok(mark)) = (text, mark) else { return };
        let mut error = null_mut();
        // SAFETY: both values are strings. If the call fails, an exception is pending or the
        // environment is ending, and there is no caller to tell.
        unsafe {
            if sys::napi_create_error(self.0, mark, text, &mut error) == sys::Status::napi_ok {
                sys::napi_throw(self.0, error);
            }
        }
    }

    /// Runs `body` with a scope for the values that it makes. Node opens a scope around each entry
    /// point, but not around libuv's callbacks.
    pub(super) fn with_scope<T>(self, body: impl FnOnce() -> T) -> Result<T, Fault> {
        let mut scope = null_mut();
        // SAFETY: see above.
        check(unsafe { sys::napi_open_handle_scope(self.0, &mut scope) }, "a new scope")?;
        let result = body();
        // SAFETY: this scope was opened above, and the scopes inside it are closed.
        check(unsafe { sys::napi_close_handle_scope(self.0, scope) }, "a scope's end")?;
        Ok(result)
    }
}

/// The size of an element in bytes, by `napi_typedarray_type`.
fn element_size(kind: sys::napi_typedarray_type) -> usize {
    use sys::TypedarrayType as Type;
    match kind {
        Type::int16_array | Type::uint16_array => 2,
        Type::int32_array | Type::uint32_array | Type::float32_array => 4,
        Type::float64_array | Type::bigint64_array | Type::biguint64_array => 8,
        // For an unknown kind, it is better to read too little than too much.
        _ => 1,
    }
}

/// Keeps a JavaScript object alive.
#[derive(Debug)]
pub(super) struct Reference {
    env: Env,
    raw: sys::napi_ref,
}

impl Reference {
    pub(super) fn new(env: Env, value: sys::napi_value) -> Result<Self, Fault> {
        let mut raw = null_mut();
        // SAFETY: as for all calls with an `Env`.
        check(unsafe { sys::napi_create_reference(env.0, value, 1, &mut raw) }, "a reference")?;
        Ok(Self { env, raw })
    }

    pub(super) fn env(&self) -> Env {
        self.env
    }

    pub(super) fn value(&self) -> Result<sys::napi_value, Fault> {
        let mut result = null_mut();
        // SAFETY: only `drop` deletes `raw`.
        let status = unsafe { sys::napi_get_reference_value(self.env.0, self.raw, &mut result) };
        check(status, "a reference")?;
        Ok(result)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: `new` made the reference, and this deletes it once. Clients are dropped before
        // their environment is.
        unsafe { sys::napi_delete_reference(self.env.0, self.raw) };
    }
}

/// Stands for no value: an argument that was not passed, or the result of a function without one.
pub(super) const NOTHING: sys::napi_value = null::<c_void>().cast_mut().cast();
