//! Framed bincode: two bytes of format and version before the value.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::keys;

/// "provisioner's ledger", version 8.
const FRAME: [u8; 2] = [b'L', 8];

/// sled leaks disk when a value of more than 128 KiB is overwritten; nothing comes near.
const LARGEST: usize = 64 * 1024;

pub(super) fn encode<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
    let mut out = FRAME.to_vec();
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|e| StoreError::Damaged { key: keys::show(key), detail: e.to_string() })?;
    out.extend(body);
    if out.len() > LARGEST {
        return Err(StoreError::TooLarge { key: keys::show(key), size: out.len(), limit: LARGEST });
    }
    Ok(out)
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    let damaged = |detail: &str| StoreError::Damaged { key: keys::show(key), detail: detail.to_owned() };
    let body = value.strip_prefix(&FRAME).ok_or_else(|| damaged("it is of another format"))?;
    let (row, read) = bincode::serde::decode_from_slice(body, bincode::config::standard().with_limit::<LARGEST>())
        .map_err(|e| damaged(&e.to_string()))?;
    if read == body.len() { Ok(row) } else { Err(damaged("it is longer than its content")) }
}
