//! What can go wrong with a file, and what the reader can do about it. Not for what the content means.

use std::{io, path::PathBuf, sync::Arc};

/// Nothing on disk was changed unless a variant says so. Cheap to clone: one failed commit has many waiters.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    #[error("can't {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },

    #[error(
        "{} is damaged: {what}; nothing was changed. Move this node's whole data directory aside and let the node \
         join again as a new one, or restore the directory from a copy of the disk",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },

    #[error(
        "{} has format {found}, this program reads up to {known}; run the newer version of holdfast that wrote it",
        path.display()
    )]
    TooNew { path: PathBuf, found: u32, known: u32 },

    #[error(
        "{} is missing although {because}; a node that forgot its votes must not vote: restore the file, or move the \
         data directory aside and let the node join again as a new one",
        path.display()
    )]
    Missing { path: PathBuf, because: &'static str },

    #[error(
        "{} is in use by another process; stop the other agent, or give this one its own data_dir",
        path.display()
    )]
    InUse { path: PathBuf },

    #[error("{} belongs to {theirs}, but this agent is configured as {ours}; {fix}", path.display())]
    Foreign { path: PathBuf, theirs: String, ours: String, fix: &'static str },

    #[error(
        "writing {} failed before ({first}); nothing more is written, for after a failed write its state is unknown. \
         Free or repair the disk, then restart the agent",
        path.display()
    )]
    Failed { path: PathBuf, first: String },

    #[error("{} is closed: the agent is shutting down", path.display())]
    Closed { path: PathBuf },

    #[error("{what} has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge { what: &'static str, size_bytes: usize, limit_bytes: usize },
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }
}
