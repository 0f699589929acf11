//! One agent a data directory: an exclusive lock on its file `lock`, held as long as the value lives and given up by
//! the kernel when the process dies. Not a lock between hosts.

use super::{StorageError, files};
use rustix::fs::{FlockOperation, flock};
use std::{fs::File, path::Path};

const LOCK_FILE: &str = "lock";

/// Keep it for the life of the agent.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes the directory if it isn't there. Never waits.
    pub fn take(data_dir: &Path) -> Result<Self, StorageError> {
        files::create_dir(data_dir)?;
        let path = data_dir.join(LOCK_FILE);
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| StorageError::io("open", &path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::InUse { path: data_dir.to_owned() }),
            Err(errno) => Err(StorageError::io("lock", &path, errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_that_the_directory_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        drop(held);
        DirLock::take(dir.path()).unwrap();
    }
}
