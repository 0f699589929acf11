//! What this node holds on disk of its cluster's log: log, vote and snapshot, opened together.
//!
//! Not here: the files' layout (`storage`).

use super::{
    LogObserver, Machine, error::ConsensusError, log_store::LogStore, observed::Observed, settings::Store,
    state_machine::StateMachine,
};
use crate::storage::{
    StorageError, files,
    log::{LogFile, Recovered},
};
use std::{path::Path, sync::Arc};

pub(super) const LOG_FILE: &str = "log.redb";
pub(super) const SNAPSHOT_FILE: &str = "snapshot";

/// Whether there is anything of a log to go on with, or ought to be.
pub(super) fn is_begun(store: &Store) -> bool {
    match store {
        Store::Memory => false,
        Store::Directory { path, must_exist } => {
            *must_exist || path.join(LOG_FILE).exists() || path.join(SNAPSHOT_FILE).exists()
        }
    }
}

/// Log, vote and snapshot from disk, all of it told to the observer. Blocks.
pub(super) fn open_store(
    store: &Store,
    machine: Box<dyn Machine>,
    observer: Arc<dyn LogObserver>,
) -> Result<(LogStore, Option<LogFile>, StateMachine), ConsensusError> {
    let observed = Observed::new(observer);
    let (dir, file, recovered) = match store {
        Store::Memory => (None, None, Recovered::default()),
        Store::Directory { path, must_exist } => {
            files::create_dir(path)?;
            let log_path = path.join(LOG_FILE);
            if !log_path.exists() && path.join(SNAPSHOT_FILE).exists() {
                let because = "there is a snapshot beside it";
                return Err(StorageError::Missing { path: log_path, because }.into());
            }
            let (file, recovered) = LogFile::open(&log_path, *must_exist)?;
            (Some(path), Some(file), recovered)
        }
    };
    let snapshot_path = dir.map(|dir| dir.join(SNAPSHOT_FILE));
    let log_path = dir.map(|dir| dir.join(LOG_FILE)).unwrap_or_default();
    let log = LogStore::new(file.clone(), recovered, &log_path, observed.clone())?;
    let (machine, snapshot) = StateMachine::open(snapshot_path.as_deref(), machine, observed)?;
    if let (Some(purged), Some(path)) = (log.purged(), &snapshot_path)
        && Some(purged) > snapshot
    {
        let path = Path::to_owned(path);
        return Err(StorageError::Missing { path, because: "the log was purged behind it" }.into());
    }
    log.replay(snapshot.as_ref());
    log.replayed();
    Ok((log, file, machine))
}
