//! A state file per instance: what guard and agent know of a run, so that the next agent can adopt it.
//!
//! Written whole, aside, synced and renamed: a reader sees the old or the new one. A file that can't be understood is
//! an error with a name; it is never taken for an end. Beside it lies a lock that the guard holds as long as it lives.
//!
//! Not here: looking at processes (`supervisor`), the format of what is run (`spec`).

use super::{
    spec::{Confinement, GuardSpec},
    sys::ProcessId,
};
use cluster_core::{ids::InstanceId, instance::Outcome, time::WallTime};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Of the state file and the guard's protocol. A newer one is refused by name.
pub const VERSION: u32 = 1;
/// The largest file that is read: a spec with a long environment stays far below.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing of the workload runs yet.
    Starting,
    Running {
        workload: ProcessId,
        started_at: WallTime,
    },
    /// Its tree is proven empty.
    Ended {
        outcome: Outcome,
        ended_at: WallTime,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub spec: GuardSpec,
    /// `None` until the guard has its lock.
    pub guard: Option<ProcessId>,
    /// The head of the tree's PID namespace. On disk before the workload exists.
    pub init: Option<ProcessId>,
    pub confinement: Option<Confinement>,
    pub phase: Phase,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot {what} {path}: {source}; check the disk and the directory's owner", path = .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the guard's state file {path} is damaged ({reason}): what it describes may still run; once nothing of it does, remove the file",
        path = .path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "the guard's state file {path} has format {found}, this agent knows up to {VERSION}: start the newer agent again",
        path = .path.display()
    )]
    TooNew { path: PathBuf, found: u32 },
}

impl State {
    #[must_use]
    pub fn starting(spec: GuardSpec) -> Self {
        Self { version: VERSION, spec, guard: None, init: None, confinement: None, phase: Phase::Starting }
    }

    pub fn read(dir: &Path, instance: InstanceId) -> Result<Self, StateError> {
        let path = path(dir, instance);
        let failed = |what, source| StateError::Io { what, path: path.clone(), source };
        let size = fs::metadata(&path).map_err(|e| failed("look at", e))?.len();
        let damaged = |reason: String| StateError::Damaged { path: path.clone(), reason };
        if size > MAX_BYTES {
            return Err(damaged(format!("{size} bytes long")));
        }
        let bytes = fs::read(&path).map_err(|e| failed("read", e))?;
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if head.version > VERSION {
            return Err(StateError::TooNew { path, found: head.version });
        }
        let state: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if state.spec.instance != instance {
            return Err(damaged(format!("it describes instance {}", state.spec.instance)));
        }
        Ok(state)
    }

    /// Replaces the file. Returns once it is on disk, its name included.
    pub fn write(&self, dir: &Path) -> Result<(), StateError> {
        let path = path(dir, self.spec.instance);
        let fresh = path.with_extension("json.new");
        let attempt = || -> io::Result<()> {
            let mut file = fs::File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            fs::File::open(dir)?.sync_all()
        };
        attempt().map_err(|source| StateError::Io { what: "write", path: path.clone(), source })
    }
}

#[must_use]
pub fn path(dir: &Path, instance: InstanceId) -> PathBuf {
    dir.join(format!("{instance}.json"))
}

fn lock_path(dir: &Path, instance: InstanceId) -> PathBuf {
    dir.join(format!("{instance}.lock"))
}

/// Where a guard's last words go, should it have any.
#[must_use]
pub fn stderr_path(dir: &Path, instance: InstanceId) -> PathBuf {
    dir.join(format!("{instance}.stderr"))
}

/// The instances of which there are state files, in order; files with other names are none of ours.
pub fn list(dir: &Path) -> Result<Vec<InstanceId>, StateError> {
    let failed = |source| StateError::Io { what: "list", path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        found.extend(name.to_str().and_then(|n| n.strip_suffix(".json")?.parse::<InstanceId>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes everything of an instance.
pub fn remove(dir: &Path, instance: InstanceId) -> Result<(), StateError> {
    // The state goes last: while it is there, the others are found by it.
    let paths = [lock_path(dir, instance), stderr_path(dir, instance), path(dir, instance)];
    for path in paths {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::Io { what: "remove", path, source: e });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Held by a guard while it lives; whoever gets it knows that there is none, and that none will start.
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] fs::File);

impl Lock {
    /// `None` when somebody else has it.
    pub fn take(dir: &Path, instance: InstanceId) -> Result<Option<Self>, StateError> {
        let path = lock_path(dir, instance);
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| StateError::Io { what: "create", path: path.clone(), source })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(StateError::Io { what: "lock", path, source: e.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::spec::tests::example;

    #[test]
    fn reads_back_what_was_written_and_names_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let state = State::starting(example());
        let id = state.spec.instance;
        state.write(dir).unwrap();
        assert_eq!(State::read(dir, id).unwrap(), state);
        assert_eq!(list(dir).unwrap(), [id]);

        let whole = fs::read(path(dir, id)).unwrap();
        for length in 0..whole.len() {
            fs::write(path(dir, id), &whole[..length]).unwrap();
            let error = State::read(dir, id).unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{length} bytes: {error}");
        }
        fs::write(path(dir, id), br#"{"version":2,"whatever":1}"#).unwrap();
        assert!(matches!(State::read(dir, id), Err(StateError::TooNew { found: 2, .. })));
        fs::write(path(dir, InstanceId(77)), &whole).unwrap();
        assert!(matches!(State::read(dir, InstanceId(77)), Err(StateError::Damaged { .. })));
        remove(dir, id).unwrap();
        assert!(matches!(State::read(dir, id), Err(StateError::Io { .. })));
    }

    #[test]
    fn one_holder_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path(), InstanceId(1)).unwrap();
        assert!(held.is_some());
        assert!(Lock::take(dir.path(), InstanceId(1)).unwrap().is_none());
        drop(held);
        assert!(Lock::take(dir.path(), InstanceId(1)).unwrap().is_some());
    }
}
