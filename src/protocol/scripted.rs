//! A backend's messages as bytes, for tests and simulated servers.

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

/// The answer of a primary to a login. Without `key_data` it sends no BackendKeyData, as some
/// servers do that are not PostgreSQL.
pub fn welcome(key_data: &[u8]) -> Vec<u8> {
    let mut out = message(b'R', &[0; 4]);
    append(b'S', b"in_hot_standby\0off\0", &mut out);
    append(b'S', b"default_transaction_read_only\0off\0", &mut out);
    if !key_data.is_empty() {
        append(b'K', key_data, &mut out);
    }
    append(b'Z', b"I", &mut out);
    out
}
