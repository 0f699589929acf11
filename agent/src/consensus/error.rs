//! Why consensus said no, and what the caller can do. openraft's own errors end here.

use super::codec::CodecError;
use crate::storage::StorageError;
use cluster_core::ids::NodeId;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    #[error(transparent)]
    Storage(#[from] StorageError),

    #[error("a message of a peer was refused: {0}")]
    Codec(#[from] CodecError),

    #[error("the Raft settings are wrong: {0}")]
    Settings(String),

    #[error("the snapshot in {path} can't be restored: {reason}; run the version of holdfast that wrote it")]
    Restore { path: String, reason: String },

    #[error("this cluster is founded already: its log isn't empty")]
    AlreadyFounded,

    #[error("founding needs this node among the voters, which it isn't")]
    NotAmongVoters,

    #[error("not the leader{}", leader.as_ref().map(|(id, at)| format!("; ask {id} at {at}")).unwrap_or_default())]
    NotLeader { leader: Option<(NodeId, String)> },

    #[error("no majority of the voters answered within {0:?}")]
    NoQuorum(Duration),

    #[error("a chunk of a snapshot was refused: {0}")]
    Chunk(String),

    #[error("consensus has stopped on this node ({0}); restart the agent once the cause is gone")]
    Stopped(String),
}

/// Says for each case whether the command may have been, or may yet be, applied.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed. Without a `leader` it may be this node itself, whose lease isn't confirmed (again) yet: retry.
    #[error("not the leader{}", leader.as_ref().map(|(id, at)| format!("; ask {id} at {at}")).unwrap_or_default())]
    NotLeader { leader: Option<(NodeId, String)> },

    /// Not proposed.
    #[error("{limit} commands are being replicated already; try again in a moment")]
    Overloaded { limit: usize },

    /// Not proposed.
    #[error("the command has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge { size_bytes: usize, limit_bytes: usize },

    /// Its outcome is unknown: it may be applied yet.
    #[error(
        "no majority confirmed the command within {0:?}; it may be applied yet: repeat it under its request id"
    )]
    TimedOut(Duration),

    /// Its outcome is unknown: the leader changed.
    #[error("the leader changed while the command was on its way; repeat it under its request id")]
    Discarded { leader: Option<(NodeId, String)> },

    /// Its outcome is unknown.
    #[error("consensus has stopped on this node ({0}); restart the agent once the cause is gone")]
    Stopped(String),
}

/// Why a peer didn't answer; given by the transport.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no connection: openraft backs off.
    #[error("{0} can't be reached: {1}")]
    Unreachable(NodeId, String),

    #[error("{0} didn't answer within {1:?}")]
    TimedOut(NodeId, Duration),

    /// It answered that it can't.
    #[error("{0} refused: {1}")]
    Refused(NodeId, String),
}
