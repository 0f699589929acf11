//! What can be written into the ledger: every change of shared truth is one of these, and nothing else changes it.
//!
//! A command says what was decided and why; it never says "now" or "random": whatever apply needs is in it.

use super::{
    state::{AgentState, Exit, NodeProfile, Settings, Subject, WorkloadSpec},
    state_alert::{Severity, Silence, Why},
    state_alerting::{AlertingConfig, LinkKey},
};
use crate::{
    ids::{
        BootId, ClusterId, FailureId, Generation, Incarnation, InstanceId, LeaseEpoch, NodeId, RequestId,
        SessionId,
    },
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The feature level that this build writes. An entry of a higher level stops a node that can't apply it.
pub const FEATURE_LEVEL: u16 = 1;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The feature level needed to apply it.
    pub level: u16,
    /// Who asked: `node:NAME` for agents, the certificate's name or `local` for people.
    pub actor: String,
    /// Deduplicated for ten minutes; zero when a repetition does no harm.
    pub request: RequestId,
    /// The proposer's wall clock; the ledger clamps it to be monotone.
    pub proposed_at: WallTime,
    pub body: Body,
}

/// What a process says that lived on while its node was dead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// How long ago each of the newest silences of its peers began.
    pub silent_ms: Vec<u64>,
    /// Whether its last question was answered: it hears the leader as well as it is heard.
    pub answered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The first entry of every cluster.
    Founded {
        cluster: ClusterId,
        name: String,
        settings: Settings,
    },
    /// A leader's first entry in its term.
    LeaderElected {
        node: NodeId,
    },

    /// A node joins, comes back, or restarted its agent. Issues a lease epoch (this entry's index) unless the node
    /// still holds one of the same boot that nobody revoked.
    NodeUp {
        node: NodeId,
        profile: NodeProfile,
        boot: BootId,
        session: SessionId,
        incarnation: Incarnation,
        replaces: Option<LeaseEpoch>,
        /// For the leader (`recovery::returns`), of a node that is dead.
        #[serde(default)]
        returning: Option<Returning>,
    },
    /// The cut: these nodes are dead, in one decision. Ends their epochs.
    NodesDead {
        deaths: Vec<Death>,
    },
    /// A node that lives, but whose epoch no majority of voters acknowledged for one lease time. Ends the epoch.
    LeaseLost {
        node: NodeId,
        epoch: LeaseEpoch,
        last_seen_at: WallTime,
        evidence: Vec<String>,
    },
    /// From now on nothing runs under this epoch any more: enough voters promised, and the time they named is over.
    EpochSafe {
        epoch: LeaseEpoch,
        promises: Vec<Promise>,
    },
    NodeDraining {
        node: NodeId,
    },
    NodeUndrained {
        node: NodeId,
    },
    /// By the leader's decision the node is given no work: it died too often, or says that it is sick. `drain`: what is
    /// on it is moved, too.
    NodeHeldBack {
        node: NodeId,
        drain: bool,
        evidence: Vec<String>,
    },
    /// It was steady for long enough to be given work again.
    NodeReleased {
        node: NodeId,
        evidence: Vec<String>,
    },
    /// Enough observers of a node agree on what its agent does while its host lives.
    AgentState {
        node: NodeId,
        /// The life that was observed, as the view had it.
        incarnation: Incarnation,
        state: AgentState,
        /// When the agent was last heard.
        since: WallTime,
        observers: Vec<NodeId>,
        evidence: Vec<String>,
    },
    /// For good: drained, and its epoch over. Ends the epoch.
    NodeLeft {
        node: NodeId,
        epoch: LeaseEpoch,
    },
    /// By an operator: out of the list. Ends the epoch.
    NodeRemoved {
        node: NodeId,
        epoch: LeaseEpoch,
    },

    /// By the leader: out of the list, since they died or left a day ago. Those that came back meanwhile stay.
    NodesForgotten {
        nodes: Vec<NodeId>,
    },

    /// A failure of a node or of one instance. Its id is this entry's index.
    FailureOpened {
        subject: Subject,
        caused_by: Option<FailureId>,
    },
    FailureAcknowledged {
        failure: FailureId,
    },
    /// Nothing more will be tried; a person is paged.
    FailureUnrecoverable {
        failure: FailureId,
        reason: String,
    },

    /// Declarative: creates or replaces, all or none. `if_version` refuses a lost update of the (single) workload.
    WorkloadsApplied {
        specs: Vec<WorkloadSpec>,
        if_version: Option<u64>,
    },
    WorkloadStopped {
        name: String,
    },
    WorkloadStarted {
        name: String,
    },
    WorkloadDeleted {
        name: String,
    },
    /// One instance may run on this node under this epoch, with the next generation. Refused unless it is safe.
    Placed {
        workload: String,
        index: u32,
        version: u64,
        node: NodeId,
        epoch: LeaseEpoch,
    },
    /// An instance that runs is to end, so that it can be placed again (drain, move, fewer replicas, given up).
    Evicted {
        workload: String,
        index: u32,
        generation: Generation,
        reason: String,
    },
    /// What a node says of an instance it was given.
    InstanceReported {
        node: NodeId,
        workload: String,
        index: u32,
        generation: Generation,
        instance: InstanceId,
        report: Report,
    },

    AlertingApplied {
        config: Box<AlertingConfig>,
        /// Fresh, to be kept if there is none yet and `config` wants links.
        #[serde(default)]
        link_key: Option<LinkKey>,
    },
    AlertRaised {
        name: String,
        severity: Severity,
        dedup_key: String,
        failure: Option<FailureId>,
        labels: BTreeMap<String, String>,
        summary: String,
        description: String,
    },
    AlertEnded {
        dedup_key: String,
        summary: String,
    },
    /// An alert that another system watches over fires; it is over at `valid_until`, unless that system says before
    /// then that it goes on. Its key begins with `POSTED_PREFIX`.
    AlertPosted {
        name: String,
        severity: Severity,
        dedup_key: String,
        labels: BTreeMap<String, String>,
        summary: String,
        description: String,
        valid_until: WallTime,
    },
    /// Posted alerts go on, each until then, by deduplication key. Never makes one shorter.
    AlertsExtended {
        until: Vec<(String, WallTime)>,
    },
    /// These alerts aren't told on these channels for now, and why; without a reason they are muted no more. Where they
    /// were told already it changes nothing.
    AlertsMuted {
        alerts: Vec<u64>,
        channels: Vec<String>,
        reason: String,
    },
    SilenceAdded {
        silence: Silence,
    },
    /// It is over now.
    SilenceEnded {
        id: u64,
    },

    /// To be sent. Its id is this entry's index. Refused where the channel was told, or is about to be.
    MessageQueued {
        channel: String,
        told: Vec<(u64, Phase)>,
        incident: u64,
        why: Why,
    },
    /// Committed before anything is sent. The sender gives up `send_within_ms` after it proposed this; a successor
    /// waits as long before it tries again.
    MessageIntended {
        message: u64,
        attempt: u32,
        term: u64,
        send_within_ms: u64,
    },
    MessageDone {
        message: u64,
        attempt: u32,
        by: NodeId,
        outcome: SendOutcome,
    },
}

/// One node of a cut, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    pub node: NodeId,
    /// The epoch that ends; zero when it held none.
    pub epoch: LeaseEpoch,
    pub incarnation: Incarnation,
    pub last_seen_at: WallTime,
    pub suspected_at: WallTime,
    /// Names of the nodes that reported it.
    pub observers: Vec<NodeId>,
    pub evidence: Vec<String>,
}

/// A voter's word that its last acknowledgement to an epoch runs out `remaining_ms` after it said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub voter: NodeId,
    pub remaining_ms: u64,
}

/// What a node says of one of its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    Starting,
    Running {
        pid: u32,
        started_at: WallTime,
        unconfined: bool,
    },
    /// It ended by itself; the node starts it again after `restart_in_ms`.
    Restarting {
        exit: Exit,
        restart_in_ms: u64,
        restarts: u32,
        /// Why, when the exit alone doesn't say it.
        detail: String,
        /// Its guard ended it, as the node's lease was about to run out: nothing is wrong with the workload.
        #[serde(default)]
        lease_ended: bool,
    },
    /// The node's attempts are used up; it will not start this generation again, and its tree is empty.
    GaveUp {
        exit: Exit,
        detail: String,
    },
    /// Durable at the node: this generation's tree is empty and it never starts again. Makes the next placement safe.
    Ended {
        exit: Option<Exit>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    Firing,
    Resolved,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendOutcome {
    Sent,
    /// The provider refused, or couldn't be reached; it wasn't delivered to all as far as is known. `retry`: worth another
    /// try.
    Failed {
        reason: String,
        retry: bool,
        /// The provider wants no attempt on this channel for so long.
        #[serde(default)]
        after_ms: Option<u64>,
        /// Some of those whom the channel tells have it.
        #[serde(default)]
        heard: bool,
    },
}

/// What apply answers to the proposer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    /// The lease epoch that a `NodeUp` issued or confirmed.
    Epoch(LeaseEpoch),
    Generation(Generation),
    /// The silence that was added.
    Silence(u64),
    /// Names and versions of the workloads, in the order given; unchanged ones keep their version.
    Versions(Vec<(String, u64)>),
    Rejected(Rejection),
}

/// A command that changed nothing, and why. `reason` is an UPPER_SNAKE word for programs, `message` a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    pub reason: String,
    pub message: String,
}

impl Body {
    /// The epochs that this entry ends, readable without the ledger: a voter refuses them from the moment the entry
    /// is in its log, committed or not.
    #[must_use]
    pub fn revokes(&self) -> Vec<LeaseEpoch> {
        let epochs: Vec<LeaseEpoch> = match self {
            Self::NodeUp { replaces, .. } => replaces.iter().copied().collect(),
            Self::NodesDead { deaths } => deaths.iter().map(|d| d.epoch).collect(),
            Self::LeaseLost { epoch, .. }
            | Self::NodeLeft { epoch, .. }
            | Self::NodeRemoved { epoch, .. } => vec![*epoch],
            _ => Vec::new(),
        };
        epochs.into_iter().filter(|e| *e != LeaseEpoch(0)).collect()
    }
}
