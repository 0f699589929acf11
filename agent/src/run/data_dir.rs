//! The data directory of one agent: taken for this process, with the node's identity in it.

use crate::{
    clock,
    config::AgentConfig,
    storage::{
        StorageError,
        lock::DirLock,
        node::{Identity as StoredIdentity, NodeFile},
    },
};
use cluster_core::ids::NodeId;
use std::path::PathBuf;

/// Looks at a lock that somebody holds, and the time between two.
const LOCK_TRIES: u32 = 10;
const LOCK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
/// The data directory: locked for this process, with an identity in it.
pub struct DataDir {
    pub path: PathBuf,
    pub identity: StoredIdentity,
    pub file: Option<NodeFile>,
    _lock: DirLock,
    /// With `--dev` the directory goes with the process.
    temporary: Option<PathBuf>,
}

impl DataDir {
    /// A later life of a node begins above every incarnation that an earlier one used.
    pub fn open(config: &AgentConfig) -> Result<Self, StorageError> {
        let temporary =
            config.dev.then(|| std::env::temp_dir().join(format!("holdfast-dev-{}", std::process::id())));
        let path = temporary.clone().unwrap_or_else(|| config.data_dir.clone());
        let lock = take_lock(&path)?;
        let file = NodeFile::new(&path);
        let mut identity = file.load_for(&config.name, &config.cluster)?.unwrap_or_else(|| StoredIdentity {
            node: NodeId(rand::random()),
            name: config.name.clone(),
            cluster: config.cluster.clone(),
            cluster_id: None,
            pledge: None,
            incarnation: 0,
            has_log: false,
            created_at_ms: clock::wall().0,
        });
        identity.incarnation += 1;
        file.save(&identity)?;
        let file = (!config.dev).then_some(file);
        Ok(Self { path, identity, file, _lock: lock, temporary })
    }
}

/// A killed agent holds its lock until the kernel is done with it: a moment's patience spares the next one an error.
fn take_lock(path: &std::path::Path) -> Result<DirLock, StorageError> {
    for _ in 0..LOCK_TRIES {
        match DirLock::take(path) {
            Err(StorageError::InUse { .. }) => std::thread::sleep(LOCK_AGAIN),
            taken => return taken,
        }
    }
    DirLock::take(path)
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // Guards of a development node may still write here; what can't be removed is in the temporary directory.
            let _left_behind = std::fs::remove_dir_all(path);
        }
    }
}
