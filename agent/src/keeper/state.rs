//! The keeper's state file and lock: what an agent knows of a keeper before it has spoken to it, and that there is one.
//!
//! The file is replaced whole and means nothing on another boot. Losing it loses nothing but a check: the lock says
//! that a keeper lives, the local socket says which.

use crate::{
    clock,
    storage::{StorageError, files},
    workload::sys::ProcessId,
};
use cluster_core::{
    ids::{BootId, NodeId},
    time::WallTime,
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const FILE: &str = "keeper.json";
const LOCK_FILE: &str = "keeper.lock";
/// Of this file's format.
pub const VERSION: u32 = 1;
/// How long a new keeper waits for the one before it to be gone.
const LOCK_TRIES: u32 = 200;
const LOCK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub process: ProcessId,
    pub boot: BootId,
    pub node: NodeId,
    pub address: SocketAddr,
    /// The program's version, for people.
    pub program: String,
    pub started_at: WallTime,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("another keeper holds {path}; it must end first", path = .0.display())]
    Held(PathBuf),
    #[error("cannot lock {path}: {source}; check the disk and the directory's owner", path = .path.display())]
    Lock { path: PathBuf, source: io::Error },
}

impl State {
    #[must_use]
    pub fn new(process: ProcessId, boot: BootId, node: NodeId, address: SocketAddr) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { version: VERSION, process, boot, node, address, program, started_at: clock::wall() }
    }

    /// `None`: no keeper ever started here.
    pub fn read(dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = dir.join(FILE);
        let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = |e: serde_json::Error| StorageError::damaged(&path, e.to_string());
        let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
        if head.version > VERSION {
            return Err(StorageError::TooNew { path, found: head.version, known: VERSION });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    pub fn write(&self, dir: &Path) -> Result<(), StorageError> {
        let text = serde_json::to_vec(self).expect("numbers and text always become JSON");
        files::replace(&dir.join(FILE), &[&text])
    }
}

/// Held by a keeper while it lives: there are never two that write one page.
pub struct Lock(fs::File);

impl Lock {
    /// Waits a moment for an earlier one to let go.
    pub fn take(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(LOCK_FILE);
        let failed = |source| StateError::Lock { path: path.clone(), source };
        let file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        for _ in 0..LOCK_TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(LOCK_AGAIN),
                Err(e) => return Err(failed(e.into())),
            }
        }
        Err(StateError::Held(path))
    }

    /// Whether the name still means this lock: a directory that was removed, or replaced, has no keeper in this one.
    #[must_use]
    pub fn is_in_place(&self, dir: &Path) -> bool {
        let identity = |m: fs::Metadata| (m.dev(), m.ino());
        match (self.0.metadata(), fs::metadata(dir.join(LOCK_FILE))) {
            (Ok(held), Ok(named)) => identity(held) == identity(named),
            (_, Err(e)) => e.kind() != io::ErrorKind::NotFound,
            // It can't be known, so nothing follows from it.
            (Err(_), Ok(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_damage_and_newer_formats_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let process = ProcessId { pid: 7, start_ticks: 8 };
        let state = State::new(process, BootId(1), NodeId(2), "[::1]:7400".parse().unwrap());
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), Some(state));
        fs::write(dir.path().join(FILE), br#"{"version":2}"#).unwrap();
        assert!(matches!(State::read(dir.path()), Err(StorageError::TooNew { found: 2, .. })));
        fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(matches!(State::read(dir.path()), Err(StorageError::Damaged { .. })));
    }

    #[test]
    fn one_keeper_holds_the_lock_and_sees_that_its_place_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("guards");
        fs::create_dir(&dir).unwrap();
        let held = Lock::take(&dir).unwrap();
        assert!(matches!(Lock::take(&dir), Err(StateError::Held(_))));
        assert!(held.is_in_place(&dir));
        fs::remove_file(dir.join(LOCK_FILE)).unwrap();
        assert!(!held.is_in_place(&dir), "removed");
        let other = Lock::take(&dir).unwrap();
        assert!(!held.is_in_place(&dir) && other.is_in_place(&dir), "replaced");
        fs::remove_dir_all(&dir).unwrap();
        assert!(!other.is_in_place(&dir));
    }
}
