//! Parameters as they came from JavaScript.

use bytes::BytesMut;
use postgres_protocol::IsNull;

use crate::base::Error;
use crate::protocol::backend::Format;

#[derive(Clone, Debug, Default)]
pub struct Params {
    values: Vec<u8>,
}

impl Params {
    pub const fn new() -> Self {
        Self { values: Vec::new() }
    }
    pub fn with_capacity(_count: usize) -> Self {
        Self::new()
    }
    pub fn push_null(&mut self) -> Result<(), Error> {
        Ok(())
    }
    pub fn push_bool(&mut self, _value: bool) -> Result<(), Error> {
        Ok(())
    }
    pub fn push_number(&mut self, _value: f64) -> Result<(), Error> {
        Ok(())
    }
    /// `words` as `napi_get_value_bigint_words` gives them: least significant first.
    pub fn push_bigint(&mut self, _negative: bool, _words: &[u64]) -> Result<(), Error> {
        Ok(())
    }
    pub fn push_text(&mut self, _value: &str) -> Result<(), Error> {
        Ok(())
    }
    /// `write` appends at most `length` bytes of UTF-8.
    pub fn push_text_with(
        &mut self,
        _length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        write(&mut self.values)
    }
    pub fn push_bytes(&mut self, _value: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    pub fn len(&self) -> usize {
        self.values.len()
    }
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// Whether the types must be known before the parameters can be sent.
    pub fn needs_type(&self) -> bool {
        false
    }
    pub fn format(&self, _index: usize, _type_oid: u32) -> Format {
        Format::Text
    }
    /// Appends the value without its length. On an error `out` is as before.
    pub fn encode(
        &self,
        _index: usize,
        _type_oid: u32,
        _out: &mut BytesMut,
    ) -> Result<IsNull, Error> {
        Err(Error::internal("not written yet"))
    }
}
