//! The newest snapshot: one file, replaced whole. Beside the log and not inside it, since tens of megabytes in a
//! copy-on-write tree would stay in the file for ever and would hold up every small commit queued behind them.
//!
//! It doesn't know what a snapshot says, nor when one is due.

use super::{StorageError, files};
use std::path::{Path, PathBuf};

/// Snapshots beyond it are neither written nor taken from a peer.
pub const SNAPSHOT_BYTES: usize = 256 << 20;

const MAGIC: &[u8; 8] = b"HFsnap\r\n";
const FORMAT: u32 = 1;
/// Magic, format, length of the description, length of the data, crc32c of all of it but itself.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 4;

/// What it covers, in the caller's words, and the state itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub about: Vec<u8>,
    pub data: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns after the fsync of the file and of its directory. Blocks.
    pub fn save(&self, about: &[u8], data: &[u8]) -> Result<(), StorageError> {
        if data.len() > SNAPSHOT_BYTES {
            let (size_bytes, limit_bytes) = (data.len(), SNAPSHOT_BYTES);
            return Err(StorageError::TooLarge { what: "the snapshot", size_bytes, limit_bytes });
        }
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        let about_bytes = u32::try_from(about.len()).expect("a description has a few hundred bytes");
        header.extend_from_slice(&about_bytes.to_le_bytes());
        header.extend_from_slice(&(data.len() as u64).to_le_bytes());
        header.extend_from_slice(&checksum(&header, about, data).to_le_bytes());
        files::replace(&self.path, &[&header, about, data])
    }

    /// `None` when there was never one. Blocks.
    pub fn load(&self) -> Result<Option<StoredSnapshot>, StorageError> {
        files::read_if_there(&self.path)?.map(|bytes| parse(&self.path, &bytes)).transpose()
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<StoredSnapshot, StorageError> {
    let damaged = |what: &str| StorageError::damaged(path, what);
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("it was cut short"))?;
    if &header[..8] != MAGIC {
        return Err(damaged("it doesn't begin like a snapshot"));
    }
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let found = u32_at(8);
    if found > FORMAT {
        return Err(StorageError::TooNew { path: path.to_owned(), found, known: FORMAT });
    }
    let (about_bytes, sum) = (u32_at(12) as usize, u32_at(24));
    let data_bytes = u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32;
    let (about, data) = rest.split_at_checked(about_bytes).ok_or_else(|| damaged("it was cut short"))?;
    if data.len() as u64 != data_bytes {
        return Err(damaged(&format!("it should hold {data_bytes} bytes of state and holds {}", data.len())));
    }
    if checksum(&header[..24], about, data) != sum {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(StoredSnapshot { about: about.to_vec(), data: data.to_vec() })
}

fn checksum(header: &[u8], about: &[u8], data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(header), about), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> (tempfile::TempDir, SnapshotFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(dir.path().join("snapshot"));
        assert_eq!(file.load().unwrap(), None);
        file.save(b"old", b"old state").unwrap();
        file.save(b"covers 7", b"state").unwrap();
        (dir, file)
    }

    #[test]
    fn the_last_one_saved_is_read_back() {
        let (_dir, file) = saved();
        let want = StoredSnapshot { about: b"covers 7".to_vec(), data: b"state".to_vec() };
        assert_eq!(file.load().unwrap(), Some(want));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error_that_names_the_file() {
        let (_dir, file) = saved();
        let good = std::fs::read(&file.path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file.path, &bad).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains(file.path.to_str().unwrap()), "bit {bit}: {error}");
        }
        for len in 0..good.len() {
            std::fs::write(&file.path, &good[..len]).unwrap();
            assert!(matches!(file.load(), Err(StorageError::Damaged { .. })), "cut to {len}");
        }
    }

    #[test]
    fn a_newer_format_asks_for_a_newer_program() {
        let (_dir, file) = saved();
        let mut bytes = std::fs::read(&file.path).unwrap();
        bytes[8] = 9;
        std::fs::write(&file.path, &bytes).unwrap();
        assert!(matches!(file.load(), Err(StorageError::TooNew { found: 9, .. })));
    }

    #[test]
    fn an_unfinished_successor_is_without_meaning() {
        let (_dir, file) = saved();
        std::fs::write(files::beside(&file.path), b"half").unwrap();
        assert_eq!(file.load().unwrap().unwrap().about, b"covers 7");
    }
}
