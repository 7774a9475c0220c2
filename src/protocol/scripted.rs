//! A server's messages as bytes, for tests and simulated servers.

/// Appends one message.
pub fn append(tag: u8, body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append(tag, body, &mut out);
    out
}

/// A primary's answer to a login. Without `key_data` there is no BackendKeyData, as with some
/// servers that are not PostgreSQL.
pub fn welcome(key_data: &[u8]) -> Vec<u8> {
    let mut out = message(b'R', &[0; 4]);
    append(b'S', b"in_hot_standby\0off\0", &mut out);
    append(b'S', b"default_transaction_read_only\0off\0", &mut out);
    if !key_data.is_empty() {
        append(b'K', key_data, &mut out);
    }
    out.extend(ready());
    out
}

/// ReadyForQuery of a session that is in no transaction.
pub fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// A CommandComplete with this tag.
pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

/// A RowDescription of one column in text format.
pub fn row_description(name: &str, type_oid: u32) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&[0; 7]);
    body.extend_from_slice(&type_oid.to_be_bytes());
    body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    message(b'T', &body)
}

pub fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut body = count(values.len()).to_be_bytes()[2..].to_vec();
    for value in values {
        let length = value.map_or(u32::MAX, |value| count(value.len()));
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default());
    }
    message(b'D', &body)
}

/// The server's answer to the question for its process ID, up to its ReadyForQuery.
pub fn process(number: &str) -> Vec<u8> {
    let answer = row(&[Some(number.as_bytes())]);
    [message(b'1', b""), message(b'2', b""), answer, complete("SELECT 1")].concat()
}
