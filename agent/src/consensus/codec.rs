//! How consensus writes what it stores and sends: one byte that says the version, then MessagePack with field names.
//! Not a format for anyone else.

use serde::{Serialize, de::DeserializeOwned};
use std::io;

/// Raised when an older program couldn't make sense of what is written.
const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the {what} is empty")]
    Empty { what: &'static str },

    #[error(
        "the {what} has version {found}, this program reads version {VERSION}; run the same version of holdfast on \
         all voters"
    )]
    Version { what: &'static str, found: u8 },

    #[error("the {what} can't be read: {reason}")]
    Malformed { what: &'static str, reason: String },
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write_named(&mut bytes, value).expect("our own types always become MessagePack");
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty { what }),
        Some((&VERSION, body)) => rmp_serde::from_slice(body)
            .map_err(|error| CodecError::Malformed { what, reason: error.to_string() }),
        Some((&found, _)) => Err(CodecError::Version { what, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::types::{Command, Entry, RaftLogId};
    use openraft::entry::RaftEntry;

    #[test]
    fn an_entry_reads_back_and_its_command_is_stored_as_bytes() {
        let command = Command(vec![0xff; 1_000].into());
        let entry = Entry::new_normal(RaftLogId::new_term_index(3, 9), command);
        let bytes = encode(&entry);
        assert!(bytes.len() < 1_100, "{} bytes for a command of 1000", bytes.len());
        assert_eq!(decode::<Entry>("entry", &bytes).unwrap(), entry);
    }

    #[test]
    fn another_version_is_called_by_its_number() {
        let mut bytes = encode(&7_u64);
        bytes[0] = 2;
        let error = decode::<u64>("vote", &bytes).unwrap_err().to_string();
        assert!(error.contains("vote has version 2"), "{error}");
        assert!(matches!(decode::<u64>("vote", &[]), Err(CodecError::Empty { .. })));
        assert!(matches!(decode::<u64>("vote", &[1, 0xc1]), Err(CodecError::Malformed { .. })));
    }
}
