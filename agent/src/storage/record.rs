//! A checksum around each stored value, so that a flipped bit is an error and never an entry. Not a defence against
//! someone who can write the file.

/// crc32c, little-endian, over the key and the body; then the body.
const CHECKSUM_BYTES: usize = 4;

pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(CHECKSUM_BYTES + body.len());
    record.extend_from_slice(&checksum(key, body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// `None` when the record isn't what was sealed under this key.
pub(crate) fn unseal<'a>(key: &[u8], record: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, body) = record.split_first_chunk::<CHECKSUM_BYTES>()?;
    (u32::from_le_bytes(*sum) == checksum(key, body)).then_some(body)
}

/// The key is part of it: a record that turns up under another index is as wrong as a torn one.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_key_is_noticed() {
        let record = seal(&7_u64.to_le_bytes(), b"body");
        assert_eq!(unseal(&7_u64.to_le_bytes(), &record), Some(&b"body"[..]));
        assert_eq!(unseal(&8_u64.to_le_bytes(), &record), None);
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&7_u64.to_le_bytes(), &bad), None, "bit {bit}");
        }
        assert_eq!(unseal(b"", &record[..3]), None);
    }
}
