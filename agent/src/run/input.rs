//! Everything that the main loop is told, by whoever learnt it.

use crate::{
    keeper::{contacts::Introduction, prober::Probed},
    sense::Sensed,
    wire::{
        convert::Beat,
        findings::SentReport,
        gossip::{KeyAsked, StreamEvent},
        peer::Meeting,
    },
};
use cluster_core::{
    ids::{LeaseEpoch, NodeId},
    ledger::{Reply, SendOutcome},
    membership::{DialOutcome, Opinion},
    time::Instant,
};
use std::time::Duration;
use tokio::sync::oneshot;

#[derive(Debug)]
pub enum Input {
    /// A heartbeat of another agent, and when it arrived.
    Beat(Box<Beat>, Instant),
    /// An agent of this cluster that was met: a seed, a joiner, or a probed address.
    Met(Meeting),
    /// A voter's word on a revoked epoch, received at this moment.
    Promise { voter: NodeId, epoch: LeaseEpoch, remaining: Duration },
    /// What became of one attempt at a message.
    Sent { message: u64, attempt: u32, outcome: SendOutcome },
    /// The answer to this agent's own `NodeUp`.
    Joined(Result<Reply, String>),
    /// What became of a gossip stream, whoever dialled it.
    Stream(StreamEvent),
    /// What another observer found, for this voter's cut.
    Report(Box<SentReport>),
    /// A neighbour wants the key of this node's keeper.
    KeyAsked(KeyAsked),
    /// A neighbour hands out the key of its own.
    Key(NodeId, Box<Introduction>),
    /// A voter's account of what it last acknowledged, when it has no stream to this leader.
    AckAges(NodeId, Vec<(LeaseEpoch, Duration)>),
    /// How this host fares.
    Sensed(Sensed),
    /// A keeper answered a probe.
    Probed(Probed),
    /// What became of a fresh connection.
    Dialled(NodeId, DialOutcome),
    /// Another agent wants this one's opinion of a node.
    HelpAsked { by: NodeId, subject: NodeId, answer: oneshot::Sender<Opinion> },
    /// A helper's opinion.
    HelpAnswered { helper: NodeId, subject: NodeId, opinion: Opinion },
    /// The leader asks whether this agent hears a node.
    Polled { by: NodeId, subject: NodeId, answer: oneshot::Sender<bool> },
    /// An observer's answer to this leader.
    PollAnswered { observer: NodeId, subject: NodeId, hears: bool },
    /// Somebody asks this agent to leave its cluster for good.
    Leave(oneshot::Sender<Result<(), String>>),
    /// It has left: everything it ran has ended, and the ledger says so.
    Left(oneshot::Sender<Result<(), String>>, Result<(), String>),
    /// The files of this agent can't be written any more, or consensus stopped: it must end.
    Fatal(String),
}
