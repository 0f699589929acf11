//! Everything that the main loop is told, by whoever learnt it.

use crate::wire::{convert::Beat, peer::Meeting, streams::StreamEvent};
use cluster_core::{
    ids::{LeaseEpoch, NodeId},
    ledger::{Phase, Reply, SendOutcome},
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
    /// What became of one attempt at a notification.
    Sent { alert: u64, channel: String, phase: Phase, attempt: u32, outcome: SendOutcome },
    /// The answer to this agent's own `NodeUp`.
    Joined(Result<Reply, String>),
    /// What became of a stream that this agent dialled.
    Stream(StreamEvent),
    /// Somebody asks this agent to leave its cluster for good.
    Leave(oneshot::Sender<Result<(), String>>),
    /// It has left: everything it ran has ended, and the ledger says so.
    Left(oneshot::Sender<Result<(), String>>, Result<(), String>),
    /// The files of this agent can't be written any more, or consensus stopped: it must end.
    Fatal(String),
}
