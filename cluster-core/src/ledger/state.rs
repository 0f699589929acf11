//! The replicated state: plain data that every voter and follower holds alike. Rules are in the `apply` files.

use super::{
    command::{Promise, Reply},
    state_alert::{Alert, Message, Pace, Silence},
    state_alerting::{AlertingConfig, LinkKey},
};
use crate::{
    ids::{
        BootId, ClusterId, FailureId, Generation, Incarnation, InstanceId, LeaseEpoch, LogId, NodeId,
        RequestId, SessionId, ViewEpoch,
    },
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Version of the ledger's own layout, first field of every snapshot.
pub const LEDGER_FORMAT: u16 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub format: u16,
    pub cluster: Option<Cluster>,
    /// The last entry applied.
    pub applied: LogId,
    /// Time of the last entry, clamped to be monotone.
    pub clock: WallTime,
    pub view_epoch: ViewEpoch,
    /// The last generation handed out.
    pub generation: Generation,
    /// Uses of `raft recover`: the top bits of every generation.
    pub recoveries: u64,
    pub leader: Option<NodeId>,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Which process spoke for a node when a person removed it, newest last.
    #[serde(default)]
    pub removed: VecDeque<(NodeId, SessionId)>,
    /// Epochs that ended, until they are safe and nothing refers to them.
    pub revocations: BTreeMap<LeaseEpoch, Revocation>,
    pub workloads: BTreeMap<String, Workload>,
    pub failures: BTreeMap<FailureId, Failure>,
    /// By id: the index of the entry that raised it.
    pub alerts: BTreeMap<u64, Alert>,
    pub alerting: AlertingConfig,
    /// When `alerting` was applied.
    #[serde(default)]
    pub alerting_since: WallTime,
    /// There while `alerting` wants links.
    #[serde(default)]
    pub link_key: Option<LinkKey>,
    /// Since when a channel is led to as it is now; since `alerting_since` where it isn't listed.
    #[serde(default)]
    pub channels_since: BTreeMap<String, WallTime>,
    /// What is to be sent, by the index of the entry that queued it; gone when it is settled.
    #[serde(default)]
    pub messages: BTreeMap<u64, Message>,
    /// By channel.
    #[serde(default)]
    pub paces: BTreeMap<String, Pace>,
    /// By the index of the entry that added it.
    #[serde(default)]
    pub silences: BTreeMap<u64, Silence>,
    /// Newest last.
    pub events: VecDeque<Event>,
    pub requests: BTreeMap<RequestId, (WallTime, Reply)>,
    /// Failures that were folded out of `failures`: totals by subject, so that availability forgets nothing.
    pub folded: BTreeMap<Subject, Folded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub name: String,
    pub settings: Settings,
    pub founded_at: WallTime,
}

/// What all nodes must agree on; files propose it at founding, from then on it is the ledger's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `local`, `lan` or `wan`.
    pub profile: String,
    pub lease_ms: u64,
    /// How many voters the cluster wants: the largest odd number up to `expect`, at most 5.
    pub voters: u32,
    /// How long an agent may be gone or stalled on a host that lives before its node counts as dead.
    #[serde(default = "agent_timeout_ms")]
    pub agent_timeout_ms: u64,
    /// Whether work is moved off a node that says of itself that it is sick.
    #[serde(default)]
    pub drain_when_sick: bool,
}

/// Also of logs that were written before it was a setting.
const fn agent_timeout_ms() -> u64 {
    60_000
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: "lan".to_owned(),
            lease_ms: 2_000,
            voters: 1,
            agent_timeout_ms: agent_timeout_ms(),
            drain_when_sick: false,
        }
    }
}

/// What a node says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProfile {
    pub name: String,
    pub address: String,
    pub zone: String,
    pub role: Role,
    pub labels: BTreeMap<String, String>,
    pub version: String,
    pub feature_level: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    #[default]
    Member,
    Witness,
}

/// The committed part of a node's state; suspicion is gossip's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    Alive,
    Dead,
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheduling {
    Eligible,
    Draining,
    Drained,
    /// The cluster itself gives it no work: see `Node::held_back`.
    Quarantined,
}

/// An agent's process, as apart from its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AgentState {
    #[default]
    Up,
    /// Its host answers, it doesn't.
    Stalled,
    Gone,
}

/// What enough of a node's observers found of its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStanding {
    pub state: AgentState,
    /// When it was last heard; none while it is up.
    pub since: Option<WallTime>,
    pub evidence: Vec<String>,
}

/// Why the cluster, and no person, keeps work from a node: until it was steady for a while, or a person says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    pub since: WallTime,
    pub evidence: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub profile: NodeProfile,
    pub state: NodeState,
    pub scheduling: Scheduling,
    pub incarnation: Incarnation,
    pub boot: BootId,
    pub session: SessionId,
    /// Zero when its last one was revoked and no new one was issued.
    pub epoch: LeaseEpoch,
    pub joined_at: WallTime,
    /// When `state` last changed.
    pub changed_at: WallTime,
    /// The open failure of the node, if any.
    pub failure: Option<FailureId>,
    /// Why it was declared dead or lost its lease, until it is back: what a failure record is made from.
    pub death: Option<DeathRecord>,
    #[serde(default)]
    pub agent: AgentStanding,
    /// When it was declared dead of late, oldest first; until a person, or a steady while, makes it count no more.
    #[serde(default)]
    pub deaths: Vec<WallTime>,
    #[serde(default)]
    pub held_back: Option<HeldBack>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeathRecord {
    pub method: Method,
    pub epoch: LeaseEpoch,
    pub last_seen_at: WallTime,
    pub suspected_at: WallTime,
    pub declared_at: WallTime,
    pub evidence: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub node: NodeId,
    /// The entry that revoked; promises name it.
    pub at: LogId,
    pub revoked_at: WallTime,
    pub safe_at: Option<WallTime>,
    pub promises: Vec<Promise>,
    /// What ran under it when it ended and wasn't confirmed to have ended since. While it isn't safe, no other
    /// instance of these may start, even if the workload was deleted and applied again meanwhile.
    pub held: Vec<Held>,
}

/// One instance that may still run under an epoch that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub workload: String,
    pub index: u32,
    pub generation: Generation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Singleton,
    Replicas,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    pub name: String,
    pub kind: Kind,
    /// 1 for a singleton.
    pub replicas: u32,
    /// 0 to 100; the higher is recovered first.
    pub priority: u8,
    pub ports: BTreeMap<String, u16>,
    pub exec: ExecSpec,
    pub recovery: RecoverySpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    pub command: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverySpec {
    pub restart_attempts: u32,
    pub restart_window_ms: u64,
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    pub migrate: bool,
    pub stop_timeout_ms: u64,
    pub isolation_grace_ms: u64,
    /// True: may run twice, so nothing waits for its old node's lease (`on_isolation = "keep"`; replicas' default).
    pub keep_on_isolation: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub spec: WorkloadSpec,
    /// Index of the entry that last changed the specification or the desired state.
    pub version: u64,
    pub stopped: bool,
    /// To be forgotten once nothing of it runs.
    pub deleted: bool,
    pub created_at: WallTime,
    /// By instance index.
    pub slots: BTreeMap<u32, Slot>,
    /// When it was stopped by an operator, oldest first: not held against its availability.
    pub pauses: Vec<Pause>,
}

/// A planned stop; `to` is none while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub from: WallTime,
    pub to: Option<WallTime>,
}

/// One place of a workload: index 0 for a singleton, 0…N-1 for replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Who may run it now. While it is `Some`, nobody else may.
    pub placement: Option<Placement>,
    /// The epoch of the lost placement before; the next one waits until it is safe (singletons).
    pub waits_for: Option<LeaseEpoch>,
    /// The node that it failed on last, avoided by the next placement if another will do.
    pub avoid: Option<NodeId>,
    /// Its open failure, if any.
    pub failure: Option<FailureId>,
    /// Moves since it last served for the restart window: bounds the ladder.
    pub moves: u32,
    /// What was last known of it when it isn't placed.
    pub last: InstanceState,
    /// The placement that it lost with an epoch, until it serves again: what a failure record is made from.
    pub lost: Option<Lost>,
}

/// A placement that ended with its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub node: NodeId,
    pub generation: Generation,
    pub instance: InstanceId,
    /// Why the epoch ended: the node's.
    pub death: DeathRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub node: NodeId,
    pub epoch: LeaseEpoch,
    pub generation: Generation,
    /// The workload's version that it is to run: the one it was placed with, or a later one that changed `exec`,
    /// `ports` or `recovery`; then its node restarts it in place.
    pub version: u64,
    pub placed_at: WallTime,
    /// It is asked to end; the node stops it and confirms.
    pub evicted: Option<String>,
    pub instance: InstanceId,
    pub state: InstanceState,
    pub pid: u32,
    pub started_at: Option<WallTime>,
    pub restarts: u32,
    pub unconfined: bool,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    #[default]
    Pending,
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It couldn't be started at all.
    NeverRan,
}

/// What a failure, or an account of availability, is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    Node(NodeId),
    /// A workload's instance.
    Workload(String, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    Heartbeat,
    Connection,
    Lease,
    Exit,
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureState {
    Open,
    Recovering,
    Recovered,
    Unrecoverable,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub subject: Subject,
    /// The subject's name as people know it: the node's or the workload's.
    pub name: String,
    pub state: FailureState,
    /// The lease epoch that ended with it; zero when none did.
    pub epoch: LeaseEpoch,
    pub caused_by: Option<FailureId>,
    pub method: Method,
    pub evidence: Vec<String>,
    pub last_seen_at: WallTime,
    pub detected_at: WallTime,
    pub declared_at: WallTime,
    pub revoked_at: Option<WallTime>,
    pub safe_at: Option<WallTime>,
    pub started_at: Option<WallTime>,
    pub recovered_at: Option<WallTime>,
    pub acknowledged_at: Option<WallTime>,
    pub acknowledged_by: Option<String>,
    pub steps: Vec<Step>,
    pub cause: String,
    /// Ids of the alerts about it.
    pub alerts: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Restart,
    Migrate,
    Page,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub action: Action,
    pub instance: Option<InstanceId>,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    pub generation: Option<Generation>,
    pub started_at: WallTime,
    pub finished_at: Option<WallTime>,
    pub outcome: String,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    NodeJoined,
    NodeSuspected,
    NodeDead,
    NodeBack,
    NodeLeft,
    LeaderElected,
    WorkloadApplied,
    InstanceStarted,
    InstanceExited,
    LeaseRevoked,
    SafeToStart,
    FailureOpened,
    FailureRecovered,
    AlertFiring,
    AlertResolved,
    OperatorAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Index of the entry; several events of one entry share it.
    pub index: u64,
    pub time: WallTime,
    pub kind: EventType,
    /// A node's or workload's name.
    pub subject: String,
    pub summary: String,
    pub fields: BTreeMap<String, String>,
}

/// What is left of failures that were folded away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    pub failures: u64,
    pub down_ms: u64,
}
