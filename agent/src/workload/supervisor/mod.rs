//! The agent's side of its guards: starts them, finds those of an earlier agent, passes on orders, tells what became
//! of them.
//!
//! A guard needs none of it to do its work. One task follows each instance, from its start or adoption to its proven
//! end; it is owned here, and when the supervisor is dropped only the following ends.
//!
//! Not here: deciding what runs (`cluster_core::instance`), deadlines (`page`).

mod follow;
mod settle;

use super::{
    logs, page,
    spec::{GuardEvent, GuardSpec},
    state::{self, Phase, State, StateError},
};
use cluster_core::ids::{BootId, InstanceId};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// Instances on one node, ended ones that weren't forgotten included. More are refused.
pub const MAX_INSTANCES: usize = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error("cannot use the guards' directory {path}: {source}; check data_dir and its owner", path = .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("this node has {MAX_INSTANCES} instances already: place this one on another")]
    TooMany,
    #[error("instance {instance} still holds {workload}.{index} here: it must end first")]
    SlotTaken { instance: InstanceId, workload: String, index: u32 },
    #[error("instance {0} isn't known here")]
    Unknown(InstanceId),
    #[error("instance {0} hasn't ended: stop it first")]
    NotEnded(InstanceId),
    #[error("cannot read the output of {workload}.{index}: {source}")]
    Logs { workload: String, index: u32, source: io::Error },
    #[error(transparent)]
    State(#[from] StateError),
}

/// What the last agent left.
#[derive(Debug)]
pub enum Adopted {
    /// It is followed from now on: `Started` comes if it runs, and in the end `Ended`.
    Instance(Box<GuardSpec>),
    /// What this file describes isn't known, and may be running; while the node's lease of its epoch is renewed its
    /// guard lives on. `guarded`: a guard does hold it now.
    Damaged { instance: InstanceId, guarded: bool, error: StateError },
    /// A second one that hasn't ended in a slot. It is followed, to be stopped.
    Surplus(Box<GuardSpec>),
}

/// What every follower needs.
struct Shared {
    dir: PathBuf,
    boot: BootId,
    exe: PathBuf,
    events: mpsc::Sender<GuardEvent>,
}

struct Instance {
    workload: String,
    index: u32,
    /// The last order to stop: how long SIGTERM has.
    orders: watch::Sender<Option<Duration>>,
    ended: Arc<AtomicBool>,
    _follower: AbortOnDropHandle<()>,
}

pub struct Supervisor {
    shared: Arc<Shared>,
    instances: Mutex<BTreeMap<InstanceId, Instance>>,
}

impl Supervisor {
    /// `dir` is made if needed (`data_dir/guards`); `exe` is this very binary, `boot` this boot. Blocks on the disk.
    pub fn new(
        dir: &Path,
        boot: BootId,
        exe: PathBuf,
        events: mpsc::Sender<GuardEvent>,
    ) -> Result<Self, SupervisorError> {
        // Guards work elsewhere, so the path must not depend on where this process is.
        let made = fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
        let dir = made.map_err(|source| SupervisorError::Directory { path: dir.to_owned(), source })?;
        let shared = Arc::new(Shared { dir, boot, exe, events });
        Ok(Self { shared, instances: Mutex::default() })
    }

    /// The directory of state files, pages and output.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Takes over what an earlier agent left. Once, before the first start.
    pub async fn adopt(&self) -> Result<Vec<Adopted>, SupervisorError> {
        let shared = Arc::clone(&self.shared);
        let found = blocking(move || find(&shared)).await?;
        for adopted in &found {
            if let Adopted::Instance(spec) | Adopted::Surplus(spec) = adopted {
                self.follow(spec.instance, &spec.workload, spec.index, None);
            }
        }
        Ok(found)
    }

    /// Starts a guard for a new instance; what becomes of it comes as events, a failure to start too.
    pub fn start(&self, spec: GuardSpec) -> Result<(), SupervisorError> {
        {
            let instances = self.lock();
            let holds = |known: &Instance| {
                known.workload == spec.workload
                    && known.index == spec.index
                    && !known.ended.load(Ordering::Acquire)
            };
            if let Some((&instance, _)) =
                instances.iter().find(|(id, known)| **id == spec.instance || holds(known))
            {
                let (workload, index) = (spec.workload, spec.index);
                return Err(SupervisorError::SlotTaken { instance, workload, index });
            }
            if instances.len() >= MAX_INSTANCES {
                return Err(SupervisorError::TooMany);
            }
        }
        self.follow(spec.instance, &spec.workload.clone(), spec.index, Some(spec));
        Ok(())
    }

    /// A planned stop: SIGTERM now, SIGKILL to the whole tree after `timeout`; the guard sees to it, with or without
    /// this agent. A later order can only make it sooner.
    pub fn stop(&self, instance: InstanceId, timeout: Duration) -> Result<(), SupervisorError> {
        let instances = self.lock();
        let known = instances.get(&instance).ok_or(SupervisorError::Unknown(instance))?;
        known.orders.send_modify(|order| *order = Some(order.map_or(timeout, |old| old.min(timeout))));
        Ok(())
    }

    /// SIGKILL to the whole tree at once.
    pub fn kill(&self, instance: InstanceId) -> Result<(), SupervisorError> {
        self.stop(instance, Duration::ZERO)
    }

    /// Removes what is left of an instance after its confirmed end; its slot's output stays.
    pub async fn forget(&self, instance: InstanceId) -> Result<(), SupervisorError> {
        {
            let instances = self.lock();
            let known = instances.get(&instance).ok_or(SupervisorError::Unknown(instance))?;
            if !known.ended.load(Ordering::Acquire) {
                return Err(SupervisorError::NotEnded(instance));
            }
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || state::remove(&shared.dir, instance)).await?;
        self.lock().remove(&instance);
        Ok(())
    }

    /// A slot's output; at most `logs::MAX_READ_BYTES` at once.
    pub async fn logs(
        &self,
        workload: &str,
        index: u32,
        from: logs::From,
        max: usize,
    ) -> Result<logs::Chunk, SupervisorError> {
        let dir = logs::slot_dir(&self.shared.dir, workload, index);
        let workload = workload.to_owned();
        let read = blocking(move || logs::read(&dir, from, max)).await;
        read.map_err(|source| SupervisorError::Logs { workload, index, source })
    }

    fn follow(&self, instance: InstanceId, workload: &str, index: u32, new: Option<GuardSpec>) {
        let (orders, receiver) = watch::channel(None);
        let ended = Arc::new(AtomicBool::new(false));
        let follower = follow::follow(Arc::clone(&self.shared), instance, new, receiver, Arc::clone(&ended));
        let task = AbortOnDropHandle::new(tokio::spawn(follower));
        let known = Instance { workload: workload.to_owned(), index, orders, ended, _follower: task };
        self.lock().insert(instance, known);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads all state files, and clears away what means nothing any more. Blocks on the disk.
fn find(shared: &Shared) -> Result<Vec<Adopted>, SupervisorError> {
    let dir = &shared.dir;
    page::remove_stale(dir, shared.boot)
        .map_err(|source| SupervisorError::Directory { path: dir.clone(), source })?;
    let (mut known, mut damaged) = (Vec::new(), Vec::new());
    for instance in state::list(dir)? {
        match State::read(dir, instance) {
            Ok(state) => known.push(state),
            Err(error) => {
                let guarded = !matches!(state::Lock::take(dir, instance), Ok(Some(_)));
                damaged.push(Adopted::Damaged { instance, guarded, error });
            }
        }
    }
    // Those that haven't ended first, then the latest end: the first of each slot is the one that counts.
    known.sort_by_key(|state| match state.phase {
        Phase::Ended { ended_at, .. } => (1, u64::MAX - ended_at.0),
        _ => (0, 0),
    });
    let mut slots: Vec<(String, u32)> = Vec::new();
    let mut found = damaged;
    for state in known {
        let slot = (state.spec.workload.clone(), state.spec.index);
        let first = !slots.contains(&slot);
        slots.push(slot);
        match state.phase {
            _ if first => found.push(Adopted::Instance(Box::new(state.spec))),
            // Its slot was started again, which happens only once its end is known.
            Phase::Ended { .. } => state::remove(dir, state.spec.instance)?,
            _ => found.push(Adopted::Surplus(Box::new(state.spec))),
        }
    }
    Ok(found)
}

/// Disk and process work, off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the work doesn't panic, and a supervisor ends before its runtime")
}
