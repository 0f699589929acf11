//! What every part of one agent may read, and the one way to ask the cluster for a change.
//!
//! Not here: decisions (cluster-core), and who fills this in (`run`).

use crate::wire::client::Peers;
use cluster_core::{
    ids::{ClusterId, Incarnation, LeaseEpoch, LogId, NodeId, RequestId, SessionId},
    ledger::{AgentState, Body, Ledger, Reply, Role},
};
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};
use tokio::sync::{broadcast, watch};

/// Who this agent is, for as long as its process lives.
#[derive(Clone, Debug)]
pub struct Identity {
    pub node: NodeId,
    pub name: String,
    pub cluster_name: String,
    /// Where others reach it: `HOST:PORT`.
    pub address: String,
    pub zone: String,
    pub role: Role,
    pub labels: BTreeMap<String, String>,
    pub session: SessionId,
    pub data_dir: PathBuf,
}

/// One member as gossip sees it from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNode {
    pub node: NodeId,
    pub name: String,
    pub address: String,
    pub zone: String,
    pub role: Role,
    pub incarnation: Incarnation,
    pub session: SessionId,
    pub state: LiveState,
    /// The agent's process, apart from its host: as this agent itself found it, and up when it doesn't watch it.
    pub agent: AgentState,
    pub version: String,
    /// Whether a stream to it stands.
    pub connected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveState {
    Alive,
    Suspect,
    Dead,
    Left,
}

/// What this agent knows of the present, replaced as a whole a few times a second.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub cluster: Option<ClusterId>,
    /// Shared with the picture before, as long as nothing is heard of anyone.
    pub members: Arc<BTreeMap<NodeId, Arc<LiveNode>>>,
    /// How long ago those to whom a stream stands were last heard, when this was written.
    pub silences: BTreeMap<NodeId, Duration>,
    /// The leader, when one is known and was heard lately.
    pub leader: Option<NodeId>,
    pub term: u64,
    /// Voters of the newest configuration, with their addresses.
    pub voters: BTreeMap<NodeId, String>,
    pub is_leader: bool,
    pub is_voter: bool,
    /// Of a voter: until when its own last acknowledgement to each epoch counts.
    pub lease_remaining: BTreeMap<LeaseEpoch, Duration>,
    /// Of the leader: how long until each revoked epoch is safe, once enough voters promised.
    pub safe_in: BTreeMap<LeaseEpoch, Duration>,
    /// Sentences for `status`: what this agent could not do, or wants a person to know.
    pub notes: Vec<String>,
}

/// Consensus as operators see it, from this agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    /// `leader`, `follower`, `candidate`, or `observer` for an agent without a vote.
    pub role: &'static str,
    pub term: u64,
    pub last_log: u64,
    pub committed: u64,
    pub applied: u64,
    pub snapshot: u64,
    pub log_entries: u64,
}

/// Why a command got no answer from the ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written.
    #[error("there is no leader now: {detail}; try again, and see `holdfast status`")]
    NoLeader { detail: String },
    /// The leader is known and could not be reached. The command may or may not have been written; its request id
    /// makes a repetition harmless.
    #[error("the leader {leader} at {address} can't be reached: {detail}; try again")]
    Unreachable { leader: NodeId, address: String, detail: String },
    /// Too many commands wait already; nothing was written.
    #[error("this agent already waits for {limit} commands; try again in a moment")]
    Overloaded { limit: usize },
    #[error("no answer within {} ms; the command may still be carried out, repeat it with the same request id", .0.as_millis())]
    Timeout(Duration),
    #[error("the agent is stopping; ask another one")]
    Stopping,
}

/// The parts of consensus that the API needs, so that neither knows the other.
pub trait Raft: Send + Sync {
    /// Writes a command through whoever leads, forwarding as needed. Returns once it is committed and applied there.
    fn propose(
        &self,
        actor: String,
        request: RequestId,
        body: Body,
    ) -> BoxFuture<'_, Result<(LogId, Reply), ProposeError>>;
    /// On the leader: returns once a quorum confirmed it and everything committed so far is applied here.
    fn read_barrier(&self) -> BoxFuture<'_, Result<(), ProposeError>>;
    fn view(&self) -> RaftView;
    fn take_snapshot(&self) -> BoxFuture<'_, Result<u64, ProposeError>>;
}

/// Sends one notice through one channel and says what came back; the leader's `alert test` uses it.
pub trait ChannelTester: Send + Sync {
    fn test(&self, channel: String) -> BoxFuture<'_, Result<String, String>>;
}

/// Reads what instances on this node wrote.
pub trait LogReader: Send + Sync {
    /// The newest `tail_bytes` of an instance's output, and the offset just after them.
    fn tail(
        &self,
        workload: &str,
        index: u32,
        tail_bytes: u64,
    ) -> BoxFuture<'_, Result<(Vec<u8>, u64), String>>;
    /// What was written after `offset`, and the new offset; empty when nothing is new.
    fn after(&self, workload: &str, index: u32, offset: u64)
    -> BoxFuture<'_, Result<(Vec<u8>, u64), String>>;
}

/// The face that one agent's parts share.
pub struct Shared {
    pub identity: Identity,
    /// The committed state as applied here. Held for microseconds at a time; never across an await.
    pub ledger: Arc<RwLock<Ledger>>,
    pub live: watch::Receiver<Arc<Live>>,
    /// The index of each entry, just after it was applied here.
    pub applied: watch::Receiver<u64>,
    pub raft: Arc<dyn Raft>,
    pub peers: Arc<Peers>,
    pub tester: Arc<dyn ChannelTester>,
    pub logs: Arc<dyn LogReader>,
    /// Events that are no ledger entries (a suspicion), for `events -f` on this agent.
    pub local_events: broadcast::Sender<cluster_core::ledger::Event>,
}

impl Shared {
    /// Reads the ledger. The closure must not block.
    pub fn read<R>(&self, f: impl FnOnce(&Ledger) -> R) -> R {
        f(&self.ledger.read().expect("no reader or writer of the ledger panics"))
    }
}
