//! openraft's core and this node's log, from when it takes part: at once where there is a log, otherwise from its pledge
//! to found a cluster, or the first word of a voter, on. Most agents never vote: they have no log, and are spared the
//! core's timers and some 25 MB of its tables.
//!
//! Not here: what is asked of it (`Consensus`).

use super::{
    LogObserver, Machine,
    error::ConsensusError,
    log_store::LogStore,
    network::Network,
    pace::{self, Heard},
    receive::{Receiver, stopped},
    settings::{Store, Timings},
    state_machine::StateMachine,
    status::{self, Role, Status},
    store::open_store,
    types::Types,
};
use crate::{
    clock::Alarm,
    storage::{StorageError, log::LogFile},
};
use futures::future::BoxFuture;
use openraft::{Raft, async_runtime::watch::WatchReceiver};
use std::sync::{Arc, Mutex};
use tokio::sync::{OnceCell, watch};
use tokio_util::task::TaskTracker;

/// Called once there is a log, before it counts for anything: to remember durably, elsewhere, that there must be one.
pub type Begun = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), StorageError>> + Send>;

/// What a core is started with, once.
pub(crate) struct Parts {
    pub(crate) config: Arc<openraft::Config>,
    pub(crate) timings: Timings,
    pub(crate) network: Network,
    pub(crate) store: Store,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) observer: Arc<dyn LogObserver>,
    pub(crate) begun: Begun,
}

pub(crate) struct Running {
    pub(crate) raft: Raft<Types, StateMachine>,
    pub(crate) receiver: Receiver,
    pub(crate) heard: Arc<Heard>,
    pub(crate) log: LogStore,
    file: Option<LogFile>,
}

pub(crate) struct Core {
    running: OnceCell<Running>,
    /// Until it is started, or is not to be started any more.
    parts: Mutex<Option<Parts>>,
    status: watch::Sender<Arc<Status>>,
    tasks: TaskTracker,
}

impl Core {
    pub(crate) fn new(parts: Parts, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            running: OnceCell::new(),
            parts: Mutex::new(Some(parts)),
            status: watch::Sender::default(),
            tasks,
        })
    }

    pub(crate) fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    /// If it was started.
    pub(crate) fn get(&self) -> Option<&Running> {
        self.running.get()
    }

    /// Starts it, if nobody has.
    pub(crate) async fn running(self: &Arc<Self>) -> Result<&Running, ConsensusError> {
        if self.running.get().is_none() {
            let core = self.clone();
            // A task, so that a caller who gives up doesn't leave it half started.
            let started = self.tasks.spawn(async move {
                let started = core.running.get_or_try_init(|| core.start()).await;
                started.map(|_| ())
            });
            started.await.map_err(|panicked| {
                end_of(&self.status, panicked.to_string());
                stopped(&panicked)
            })??;
        }
        self.running.get().ok_or_else(|| ConsensusError::Stopped("its core didn't start".into()))
    }

    async fn start(&self) -> Result<Running, ConsensusError> {
        let parts = self.parts.lock().expect("no holder of this lock panics").take();
        let parts = parts.ok_or_else(|| ConsensusError::Stopped("its core has ended".into()))?;
        let started = self.start_with(parts).await;
        if let Err(error) = &started {
            end_of(&self.status, error.to_string());
        }
        started
    }

    async fn start_with(&self, parts: Parts) -> Result<Running, ConsensusError> {
        let Parts { config, timings, network, store, machine, observer, begun } = parts;
        let opened = tokio::task::spawn_blocking(move || open_store(&store, machine, observer)).await;
        let (log, file, machine) = opened.map_err(|error| stopped(&error))??;
        // Before anybody can be answered on the ground of this log.
        begun().await?;
        let alarm = Alarm::new().map_err(|error| stopped(&error))?;
        let raft = Raft::new(network.me, config, network, log.clone(), machine).await;
        let raft = raft.map_err(|error| stopped(&error))?;
        let mut metrics = raft.metrics();
        let (held, told) = (log.clone(), self.status.clone());
        told.send_replace(Arc::new(status::status(&metrics.borrow_watched(), &held)));
        // Turns openraft's metrics into ours, for as long as it runs.
        self.tasks.spawn(async move {
            while metrics.changed().await.is_ok() {
                let now = status::status(&metrics.borrow_watched(), &held);
                if **told.borrow() != now {
                    told.send_replace(Arc::new(now));
                }
            }
            // In order or by a panic: whoever waits for a status must learn that, too.
            end_of(&told, "its core has ended".to_owned());
        });
        let heard = Arc::new(Heard::default());
        self.tasks.spawn(pace::keep(raft.clone(), heard.clone(), timings, alarm));
        let receiver = Receiver::new(raft.clone(), heard.clone());
        Ok(Running { raft, receiver, heard, log, file })
    }

    /// Returns when it runs no more; then it can't be started again.
    pub(crate) async fn shutdown(self: &Arc<Self>) {
        drop(self.parts.lock().expect("no holder of this lock panics").take());
        // One that is being started is waited for.
        let running = self.running().await.ok();
        if let Some(running) = running
            && let Err(error) = running.raft.shutdown().await
        {
            tracing::error!(%error, "consensus didn't end in order");
        }
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(file) = running.and_then(|running| running.file.as_ref()) {
            file.close().await;
        }
    }
}

fn end_of(status: &watch::Sender<Arc<Status>>, why: String) {
    status.send_modify(|last| {
        let last = Arc::make_mut(last);
        last.role = Role::Stopped;
        last.failure.get_or_insert(why);
    });
}
