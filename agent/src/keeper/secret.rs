//! The keeper's one secret, and the keys that are made of it: one a peer, handed out by this node's agent.
//!
//! A keeper needs no table of keys: it derives the one that a datagram names by its sender. A key's id tells which
//! secret it comes from, so that a peer with a key of a secret that is gone can be told so. Not here: handing keys out.

use super::contacts::Introduction;
use crate::storage::StorageError;
use cluster_core::ids::NodeId;
use hmac_sha256::{HMAC, Hash};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

const FILE: &str = "keeper.secret";
const FORMAT: u32 = 1;
const KEY_LABEL: &[u8] = b"holdfast keeper: key of a peer, 1";
const ID_LABEL: &[u8] = b"holdfast keeper: id of a secret, 1";

/// Seals what goes between one peer and one keeper, both ways.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

/// Of the secret that a key was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

/// Deliberately without `Debug`, as are keys: neither belongs into a log.
#[derive(Clone)]
pub struct Secret {
    bytes: [u8; 32],
    id: KeyId,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    secret: [u8; 32],
}

impl Secret {
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut hash = Hash::new();
        hash.update(ID_LABEL);
        hash.update(bytes);
        let whole = hash.finalize();
        let id = KeyId(*whole.first_chunk().expect("a hash is longer than an id"));
        Self { bytes, id }
    }

    /// Reads the secret of this directory, made at the first start. Blocks on the disk.
    pub fn load_or_make(dir: &Path) -> Result<Self, StorageError> {
        match Self::load(dir)? {
            Some(secret) => Ok(secret),
            None => {
                let secret = Self::new(rand::random());
                secret.save(dir).map_err(|e| StorageError::io("write", dir.join(FILE), e))?;
                Ok(secret)
            }
        }
    }

    /// `None` when there is none yet.
    pub fn load(dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = dir.join(FILE);
        let Some(bytes) = crate::storage::files::read_if_there(&path)? else { return Ok(None) };
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|e| StorageError::damaged(&path, e.to_string()))?;
        if stored.format > FORMAT {
            return Err(StorageError::TooNew { path, found: stored.format, known: FORMAT });
        }
        Ok(Some(Self::new(stored.secret)))
    }

    /// Whole or not at all, and for the owner's eyes only from its first byte on.
    fn save(&self, dir: &Path) -> io::Result<()> {
        let (path, fresh) = (dir.join(FILE), dir.join(format!("{FILE}.new")));
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(&Stored { format: FORMAT, secret: self.bytes })?)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        fs::File::open(dir)?.sync_all()
    }

    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What seals datagrams between `peer` and the keeper of node `own`, whose secret this is.
    #[must_use]
    pub fn key_for(&self, peer: NodeId, own: NodeId) -> Key {
        let mut mac = HMAC::new(self.bytes);
        mac.update(KEY_LABEL);
        mac.update(peer.0.to_le_bytes());
        mac.update(own.0.to_le_bytes());
        Key(mac.finalize())
    }

    /// What the agent of node `own` hands out to `peer`.
    #[must_use]
    pub fn introduce(&self, peer: NodeId, own: NodeId) -> Introduction {
        Introduction { key: self.key_for(peer, own), key_id: self.id(), udp_address: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = Secret::load_or_make(dir.path()).unwrap();
        let read = Secret::load_or_make(dir.path()).unwrap();
        assert!(made.bytes == read.bytes && made.id() == read.id());
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn damage_is_named_and_nothing_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"{").unwrap();
        let Err(error) = Secret::load_or_make(dir.path()) else { panic!("damage must be refused") };
        assert!(error.to_string().contains(FILE), "{error}");
        fs::write(dir.path().join(FILE), br#"{"format":2}"#).unwrap();
        assert!(Secret::load_or_make(dir.path()).is_err());
    }

    #[test]
    fn every_pair_has_its_own_key_and_every_secret_its_id() {
        let (one, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let (a, b) = (NodeId(1), NodeId(2));
        assert!(one.key_for(a, b) == one.key_for(a, b));
        assert!(one.key_for(a, b) != one.key_for(b, a));
        assert!(one.key_for(a, b) != other.key_for(a, b));
        assert_ne!(one.id(), other.id());
    }
}
