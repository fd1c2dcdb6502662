//! How coordinators write to disk and to each other: bincode in a versioned, checksummed envelope.
//!
//! ```text
//!   "TDWR" | version u16 LE | length u32 LE | crc32c u32 LE of (version, length, body) | body
//! ```
//!
//! bincode cannot read a value with added fields, so a format that changes gets a new version here
//! and a reader for the old one. Only coordinators at most one release apart read these bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 4] = *b"TDWR";
const HEADER_BYTES: usize = 14;
/// The version this release writes and reads. Versions 1 to 4 were written before the first release:
/// states of 1 hold no connections and no histories, prechecks of 2 do not say which document they saw,
/// states of 3 hold no alerts and tasks of one kind only, tasks of 4 have one generation of shards and no
/// indicators.
const VERSION: u16 = 5;
/// Largest value that is decoded, so that damaged or hostile lengths cannot take all memory; far
/// above the state of the largest cluster that is tested (2,000 shards, a few MiB).
const BODY_BYTES_MAX: usize = 256 << 20;

/// Why bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// Cut off, or never an envelope.
    #[error("not an envelope of a coordinator")]
    NotAnEnvelope,
    /// The bytes are not those that were written.
    #[error("checksum does not match")]
    Checksum,
    /// Another release wrote it.
    #[error("written in format {0}; this release reads format {VERSION}")]
    OtherFormat(u16),
    /// A value over the limit, or a defect.
    #[error("does not encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// The checksum holds, but the body is not the value.
    #[error("does not decode: {0}")]
    Decode(#[from] bincode::error::DecodeError),
}

/// Writes a value into an envelope.
///
/// # Errors
/// When the value does not serialize or is larger than 256 MiB.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard())?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX);
    let length = length.ok_or(bincode::error::EncodeError::Other("value over 256 MiB"))?;
    let mut envelope = Vec::with_capacity(HEADER_BYTES + body.len());
    envelope.extend_from_slice(&MAGIC);
    envelope.extend_from_slice(&VERSION.to_le_bytes());
    envelope.extend_from_slice(&length.to_le_bytes());
    envelope.extend_from_slice(&checksum(VERSION, length, &body).to_le_bytes());
    envelope.extend_from_slice(&body);
    Ok(envelope)
}

/// Reads a value out of an envelope that fills `bytes` exactly.
///
/// # Errors
/// When a single bit differs from what [`encode`] wrote, or the value is of another type.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (header, body) =
        bytes.split_first_chunk::<HEADER_BYTES>().ok_or(CodecError::NotAnEnvelope)?;
    let [m0, m1, m2, m3, v0, v1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(CodecError::NotAnEnvelope);
    }
    let version = u16::from_le_bytes([v0, v1]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if checksum(version, length, body) != u32::from_le_bytes([c0, c1, c2, c3])
        || u32::try_from(body.len()) != Ok(length)
    {
        return Err(CodecError::Checksum);
    }
    if version != VERSION {
        return Err(CodecError::OtherFormat(version));
    }
    let config = bincode::config::standard().with_limit::<BODY_BYTES_MAX>();
    let (value, read) = bincode::serde::decode_from_slice(body, config)?;
    if read == body.len() { Ok(value) } else { Err(CodecError::NotAnEnvelope) }
}

fn checksum(version: u16, length: u32, body: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&version.to_le_bytes()), &length.to_le_bytes());
    crc32c::crc32c_append(head, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_and_a_flipped_bit_does_not() {
        let value = (7_u64, "orders".to_owned(), vec![Some(1_u32), None]);
        let bytes = encode(&value).expect("encode");
        assert_eq!(decode::<(u64, String, Vec<Option<u32>>)>(&bytes).expect("decode"), value);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<(u64, String, Vec<Option<u32>>)>(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode::<(u64, String, Vec<Option<u32>>)>(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_hostile_length_is_refused_without_taking_memory() {
        // A body that claims a vector of 2^60 elements, under a right checksum.
        let bytes = encode(&(1_u64 << 60)).expect("encode");
        assert!(decode::<Vec<u64>>(&bytes).is_err());
    }

    #[test]
    fn another_format_is_named() {
        let body = [0_u8];
        for other in [VERSION - 1, VERSION + 1] {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&other.to_le_bytes());
            bytes.extend_from_slice(&1_u32.to_le_bytes());
            bytes.extend_from_slice(&checksum(other, 1, &body).to_le_bytes());
            bytes.extend_from_slice(&body);
            let named =
                matches!(decode::<u8>(&bytes), Err(CodecError::OtherFormat(it)) if it == other);
            assert!(named, "{other}");
        }
    }
}
