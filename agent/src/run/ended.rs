//! Generations that this node proved to have ended, on disk before anybody is told of it.
//!
//! The word "generation g ended here" lets the cluster start the next one elsewhere at once. So this node must not
//! start g again, whatever it forgets: an agent that is killed between its report and the report's commit finds g
//! still placed here when it is back. An entry is kept until the ledger has answered the report.

use crate::storage::{StorageError, files};
use cluster_core::ids::Generation;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

const FILE: &str = "ended.json";
const FORMAT: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// The highest generation that ended, by `WORKLOAD.INDEX`.
    ended: BTreeMap<String, Generation>,
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Ended {
    path: PathBuf,
    known: Arc<Mutex<BTreeMap<String, Generation>>>,
}

fn key(workload: &str, index: u32) -> String {
    format!("{workload}.{index}")
}

impl Ended {
    /// Reads what an earlier agent proved. Blocks on the disk.
    pub fn open(guards_dir: &Path) -> Result<Self, StorageError> {
        let path = guards_dir.join(FILE);
        let stored = match files::read_if_there(&path)? {
            None => Stored::default(),
            Some(bytes) => serde_json::from_slice::<Stored>(&bytes)
                .map_err(|error| StorageError::damaged(&path, error.to_string()))?,
        };
        if stored.format > FORMAT {
            return Err(StorageError::TooNew { path, found: stored.format, known: FORMAT });
        }
        Ok(Self { path, known: Arc::new(Mutex::new(stored.ended)) })
    }

    /// The highest generation of this slot that never starts here again.
    #[must_use]
    pub fn of(&self, workload: &str, index: u32) -> Generation {
        let known = self.known.lock().expect("no holder of this lock panics");
        known.get(&key(workload, index)).copied().unwrap_or_default()
    }

    /// Returns after the fsync: only then may the end be told.
    pub async fn note(&self, workload: &str, index: u32, generation: Generation) -> Result<(), StorageError> {
        let ended = {
            let mut known = self.known.lock().expect("no holder of this lock panics");
            let highest = known.entry(key(workload, index)).or_default();
            if *highest >= generation {
                return Ok(());
            }
            *highest = generation;
            known.clone()
        };
        self.save(ended).await
    }

    /// The ledger knows: nothing placed here names this generation any more. Reaches the disk with the next note.
    pub fn told(&self, workload: &str, index: u32, generation: Generation) {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.get(&key(workload, index)) == Some(&generation) {
            known.remove(&key(workload, index));
        }
    }

    async fn save(&self, ended: BTreeMap<String, Generation>) -> Result<(), StorageError> {
        let path = self.path.clone();
        let saving = tokio::task::spawn_blocking(move || {
            let stored = Stored { format: FORMAT, ended };
            let text = serde_json::to_vec(&stored).expect("names and numbers always become JSON");
            files::replace(&path, &[&text])
        });
        saving.await.expect("saving a file doesn't panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ended_is_known_to_the_next_agent_until_the_ledger_knows() {
        let dir = tempfile::tempdir().unwrap();
        let ended = Ended::open(dir.path()).unwrap();
        ended.note("db", 0, Generation(7)).await.unwrap();
        ended.note("db", 0, Generation(5)).await.unwrap();
        let next = Ended::open(dir.path()).unwrap();
        assert_eq!((next.of("db", 0), next.of("db", 1)), (Generation(7), Generation(0)));
        next.told("db", 0, Generation(7));
        next.note("web", 2, Generation(9)).await.unwrap();
        let last = Ended::open(dir.path()).unwrap();
        assert_eq!((last.of("db", 0), last.of("web", 2)), (Generation(0), Generation(9)));
    }

    #[test]
    fn damage_is_named_and_nothing_is_assumed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        let Err(error) = Ended::open(dir.path()) else { panic!("damage must be refused") };
        assert!(error.to_string().contains(FILE), "{error}");
    }
}
