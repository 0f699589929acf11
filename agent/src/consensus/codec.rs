//! How consensus writes what it stores and sends: one byte that says the version, then MessagePack; with field names on
//! disk, without them, a third as long, to peers. Not a format for anyone else.

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

/// For the disk.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write_named(&mut bytes, value).expect("our own types always become MessagePack");
    bytes
}

/// For a peer: fields by their order. [`decode`] reads both.
pub(crate) fn encode_brief<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write(&mut bytes, value).expect("our own types always become MessagePack");
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
    use crate::consensus::types::{Command, Entry, RaftLogId, Types, Vote};
    use openraft::{
        Membership,
        entry::RaftEntry,
        raft::{AppendEntriesRequest, AppendEntriesResponse},
    };

    #[test]
    fn an_entry_reads_back_and_its_command_is_stored_as_bytes() {
        let command = Command(vec![0xff; 1_000].into());
        let entry = Entry::new_normal(RaftLogId::new_term_index(3, 9), command);
        let bytes = encode(&entry);
        assert!(bytes.len() < 1_100, "{} bytes for a command of 1000", bytes.len());
        assert_eq!(decode::<Entry>("entry", &bytes).unwrap(), entry);
    }

    /// Ten a second and voter, all the time.
    #[test]
    fn a_message_to_a_peer_reads_back_and_a_heartbeat_is_small() {
        let (last, node) = (RaftLogId::new_term_index(300, 1_000_000), u64::MAX);
        let beat: AppendEntriesRequest<Types> = AppendEntriesRequest {
            vote: Vote::new_committed(300, node),
            prev_log_id: Some(last),
            entries: Vec::new(),
            leader_commit: Some(last),
        };
        let bytes = encode_brief(&beat);
        assert!(bytes.len() < 50 && 3 * bytes.len() < encode(&beat).len(), "{} bytes", bytes.len());
        assert_eq!(
            decode::<AppendEntriesRequest<Types>>("append", &bytes).unwrap().to_string(),
            beat.to_string()
        );
        let voters = Membership::new_with_defaults(vec![[1, 2, node].into()], []);
        let entries = [
            Entry::new_blank(last),
            Entry::new_normal(last, Command(vec![7; 40].into())),
            Entry::new_membership(last, voters),
        ];
        for entry in entries {
            assert_eq!(decode::<Entry>("entry", &encode_brief(&entry)).unwrap(), entry);
        }
        type Reply = AppendEntriesResponse<Types>;
        for reply in [Reply::Success, Reply::PartialSuccess(Some(last))] {
            let read = decode::<Reply>("reply", &encode_brief(&reply)).unwrap();
            assert_eq!(read.to_string(), reply.to_string());
        }
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
