//! Consensus behind one face: bytes go in at the leader and come out, in the same order, on every voter. The only
//! place that knows openraft; none of its types leaves this module.
//!
//! It doesn't know what a command means (that is the ledger's), how bytes reach a peer (the transport's, given by the
//! caller), or how a file is written (`storage`).

mod codec;
mod election;
mod error;
mod log_store;
mod network;
mod observed;
mod pace;
mod raft_core;
mod receive;
mod settings;
mod state_machine;
mod status;
mod store;
mod types;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod test_cluster;

pub use codec::CodecError;
pub use error::{ConsensusError, ProposeError, TransportError};
pub use raft_core::Begun;
pub use settings::{COMMAND_BYTES, MESSAGE_BYTES, PROPOSALS_IN_FLIGHT, Settings, Store, Timings};
pub use status::{Role, Status};

use crate::limits::LEADER_SILENT_FOR;
use cluster_core::ids::{LogId, NodeId};
use futures::future::BoxFuture;
use network::Network;
use openraft::{
    BasicNode, Instant as _, Raft, ReadPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, ForwardToLeader, InitializeError, LinearizableReadError, RaftError},
};
use raft_core::{Core, Parts};
use receive::stopped;
use state_machine::StateMachine;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use types::{Command, Types, log_id};

/// The replicated state machine. Deterministic: the same commands give the same state and replies everywhere.
pub trait Machine: Send + Sync + 'static {
    /// The command is never empty.
    fn apply(&mut self, at: LogId, command: &[u8]) -> Vec<u8>;
    fn snapshot(&self) -> Vec<u8>;
    /// An error must leave the machine as it was.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// Told what this node's log holds, committed or not: synchronously, in order, and before the write is submitted, so
/// before any peer or client can hear of it. Must be quick and must not call back.
pub trait LogObserver: Send + Sync + 'static {
    /// The first call. What the log holds behind the snapshot follows as if it were appended.
    fn opened(&self, snapshot: Option<LogId>, snapshot_bytes: Option<&[u8]>);
    fn appended(&self, at: LogId, command: &[u8]);
    /// `voters` is in force from now on: after an append, and again after a start, a truncation or a snapshot that
    /// changed it. While `joint`, `voters` are those of both halves.
    fn voters_appended(&self, at: LogId, voters: &[NodeId], joint: bool);
    /// Entries up to this index, as told last, are synced to disk: a crash can't take them away any more.
    fn durable(&self, upto: u64);
    /// Entries at `from_index` and after it are gone.
    fn truncated(&self, from_index: u64);
    /// Everything up to `at` is now as the snapshot says; entries behind it stay.
    fn snapshot_installed(&self, at: LogId, bytes: &[u8]);
}

/// Carries bytes to [`Consensus::handle`] of another voter. Finds it by its id; the address is a hint from the log.
pub trait Transport: Send + Sync + 'static {
    fn call(
        &self,
        target: NodeId,
        address: String,
        kind: RaftRpc,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, TransportError>>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftRpc {
    Append,
    Vote,
    PreVote,
    Snapshot,
    TransferLeader,
}

/// A handle on this node's consensus; clones are the same.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    core: Arc<Core>,
    proposals: Arc<Semaphore>,
    electing: AtomicBool,
    status: watch::Receiver<Arc<Status>>,
    /// Owns every task that is started in here.
    tasks: TaskTracker,
}

impl Consensus {
    /// Restores what is on disk, tells the observer all of it, then takes part; without a log that waits until it must
    /// take part (`prepare`, `initialize`, `handle`). No peer is heard before that.
    pub async fn open(
        settings: Settings,
        machine: Box<dyn Machine>,
        observer: Arc<dyn LogObserver>,
        transport: Arc<dyn Transport>,
        begun: Begun,
    ) -> Result<Self, ConsensusError> {
        let goes_on = store::is_begun(&settings.store);
        let (config, store) = (Arc::new(settings.config()?), settings.store.clone());
        let network = Network { me: settings.node.0, transport };
        let tasks = TaskTracker::new();
        let timings = settings.timings;
        let parts = Parts { config, timings, network, store, machine, observer, begun };
        let core = Core::new(parts, tasks.clone());
        if goes_on {
            core.running().await?;
        }
        let status = core.status();
        let proposals = Arc::new(Semaphore::new(PROPOSALS_IN_FLIGHT));
        let electing = AtomicBool::new(false);
        let inner = Inner { settings, core, proposals, electing, status, tasks };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This node will be spoken to soon: its core is started before. A failure shows in `status`.
    pub fn prepare(&self) {
        let core = self.inner.core.clone();
        self.inner.tasks.spawn(async move {
            if let Err(error) = core.running().await {
                tracing::error!(%error, "consensus can't be started");
            }
        });
    }

    /// Founds the cluster with these voters, this node among them. Once, on one node.
    pub async fn initialize(&self, voters: BTreeMap<NodeId, String>) -> Result<(), ConsensusError> {
        let members: BTreeMap<u64, BasicNode> =
            voters.into_iter().map(|(id, address)| (id.0, BasicNode::new(address))).collect();
        self.inner.core.running().await?.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => ConsensusError::AlreadyFounded,
            RaftError::APIError(InitializeError::NotInMembers(_)) => ConsensusError::NotAmongVoters,
            RaftError::Fatal(fatal) => stopped(&fatal),
        })
    }

    /// Whether this node holds any part of a cluster's log.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.inner.core.get().is_some_and(|running| running.log.last().is_some())
    }

    /// The command's place and the machine's reply, once a majority has it on disk and it is applied here.
    ///
    /// # Panics
    /// On an empty command.
    pub async fn propose(&self, command: Vec<u8>) -> Result<(LogId, Vec<u8>), ProposeError> {
        assert!(!command.is_empty(), "an empty command says nothing");
        if command.len() > COMMAND_BYTES {
            let (size_bytes, limit_bytes) = (command.len(), COMMAND_BYTES);
            return Err(ProposeError::TooLarge { size_bytes, limit_bytes });
        }
        let permit = self.inner.proposals.clone().try_acquire_owned();
        let permit = permit.map_err(|_| ProposeError::Overloaded { limit: PROPOSALS_IN_FLIGHT })?;
        let Some(running) = self.inner.core.get() else {
            return Err(ProposeError::NotLeader { leader: None });
        };
        let raft = running.raft.clone();
        // A task, so that a caller who gives up doesn't free the place of a command that is still on its way.
        let write = self.inner.tasks.spawn(async move {
            let written = raft.client_write(Command(command.into())).await;
            drop(permit);
            written
        });
        let limit = self.inner.settings.propose_timeout;
        let Ok(joined) = tokio::time::timeout(limit, write).await else {
            return Err(ProposeError::TimedOut(limit));
        };
        match joined.map_err(|error| ProposeError::Stopped(error.to_string()))? {
            Ok(written) => Ok((log_id(&written.log_id), written.data)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader { leader: forward(to) })
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(to))) => {
                Err(ProposeError::Discarded { leader: forward(to) })
            }
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Everything committed before this call is applied here when it returns. Only the leader can say so.
    pub async fn read_index(&self) -> Result<LogId, ConsensusError> {
        self.within_read_timeout(async {
            let raft = self.raft()?;
            let linearizer = raft.get_read_linearizer(ReadPolicy::ReadIndex).await.map_err(read_error)?;
            let state = linearizer.await_ready(raft).await.map_err(|fatal| stopped(&fatal))?;
            Ok(log_id(state.read_log_id().log_id()))
        })
        .await
    }

    /// The term in which a majority confirmed, after this call began, that this node leads.
    pub async fn confirm_leader(&self) -> Result<u64, ConsensusError> {
        self.within_read_timeout(async {
            let read = self.raft()?.get_read_log_id(ReadPolicy::ReadIndex).await.map_err(read_error)?;
            Ok(read.0.committed_leader_id().term)
        })
        .await
    }

    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.inner.status.borrow().clone()
    }

    /// Who leads, as far as this node can tell. None as well when it leads itself and no majority of several voters has
    /// acknowledged that for `LEADER_SILENT_FOR`: then others may lead by now, or nobody can.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let (leader, alone) = {
            let status = self.inner.status.borrow();
            (status.leader?, status.voters.len() <= 1)
        };
        if leader != self.inner.settings.node || alone {
            return Some(leader);
        }
        let metrics = self.inner.core.get()?.raft.metrics();
        let acked = metrics.borrow_watched().last_quorum_acked.as_deref().copied();
        acked.is_some_and(|at| at.elapsed() < LEADER_SILENT_FOR).then_some(leader)
    }

    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Status>> {
        self.inner.status.clone()
    }

    /// What a peer sent; the answer goes back to it as it is.
    pub async fn handle(&self, kind: RaftRpc, payload: &[u8]) -> Result<Vec<u8>, ConsensusError> {
        // Whom a voter speaks to votes, or soon will.
        self.inner.core.running().await?.receiver.handle(kind, payload).await
    }

    /// This node has its own evidence that the process of `leader` has ended. Ignored unless it leads.
    pub fn leader_is_gone(&self, leader: NodeId) {
        let Some(running) = self.inner.core.get() else { return };
        if self.inner.electing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (raft, heard) = (running.raft.clone(), running.heard.clone());
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            election::replace(raft, &heard, inner.settings.node, leader).await;
            inner.electing.store(false, Ordering::Release);
        });
    }

    /// Asks for a snapshot now; `watch` shows when it is there.
    pub async fn trigger_snapshot(&self) -> Result<(), ConsensusError> {
        self.raft()?.trigger().snapshot().await.map_err(|fatal| stopped(&fatal))
    }

    /// Returns when nothing runs any more and the files are closed.
    pub async fn shutdown(&self) {
        self.inner.core.shutdown().await;
    }

    /// Who takes no part leads nobody.
    fn raft(&self) -> Result<&Raft<Types, StateMachine>, ConsensusError> {
        let running = self.inner.core.get().ok_or(ConsensusError::NotLeader { leader: None })?;
        Ok(&running.raft)
    }

    async fn within_read_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, ConsensusError>>,
    ) -> Result<T, ConsensusError> {
        let limit = self.inner.settings.read_timeout;
        tokio::time::timeout(limit, work).await.unwrap_or(Err(ConsensusError::NoQuorum(limit)))
    }
}

fn forward(to: ForwardToLeader<Types>) -> Option<(NodeId, String)> {
    let address = to.leader_node.map(|node| node.addr).unwrap_or_default();
    to.leader_id.map(|id| (NodeId(id), address))
}

fn read_error(error: RaftError<Types, LinearizableReadError<Types>>) -> ConsensusError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => {
            ConsensusError::NotLeader { leader: forward(to) }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
            ConsensusError::NotLeader { leader: None }
        }
        RaftError::Fatal(fatal) => stopped(&fatal),
    }
}
