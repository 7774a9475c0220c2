//! Options as one JSON object.

use serde_json::Value;

use super::Config;
use crate::base::Error;

pub fn from_json(_options: &Value) -> Result<Config, Error> {
    Err(Error::internal("not written yet"))
}
