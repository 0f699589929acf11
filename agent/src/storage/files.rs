//! Replacing a small file so that a crash leaves either the old or the new one, whole. Not for growing files.

use super::StorageError;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// What is written before the rename ends with this; left over after a crash it is without meaning.
const UNFINISHED: &str = ".new";

/// Returns after the fsync of the file and, for the rename, of its directory.
pub fn replace(path: &Path, parts: &[&[u8]]) -> Result<(), StorageError> {
    let unfinished = beside(path);
    let io = |action| move |source| StorageError::io(action, path, source);
    let mut file = File::create(&unfinished).map_err(io("create the successor of"))?;
    for part in parts {
        file.write_all(part).map_err(io("write the successor of"))?;
    }
    file.sync_all().map_err(io("sync the successor of"))?;
    drop(file);
    fs::rename(&unfinished, path).map_err(io("replace"))?;
    sync_parent(path)
}

/// Where the successor of `path` is written.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Makes a rename or a creation in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StorageError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StorageError::io("sync the directory", parent, source))
}

/// Makes `dir` and, durably, its entry in the parent.
pub(crate) fn create_dir(dir: &Path) -> Result<(), StorageError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|source| StorageError::io("create the directory", dir, source))?;
    sync_parent(dir)
}

/// The content, or `None` when there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path, error)),
    }
}
