//! What openraft is told about our types, and the way between its ids and ours. Seen inside `consensus` only.

use cluster_core::ids::{LogId, NodeId};
use openraft::{BasicNode, RaftTypeConfig, impls::leader_id_std, vote::RaftLeaderId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, sync::Arc};

openraft::declare_raft_types!(
    /// One leader a term, as in the Raft paper, so that term and index name an entry.
    pub(crate) Types:
        D = Command,
        R = Vec<u8>,
        NodeId = u64,
        Node = BasicNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type CommittedLeader = <<Types as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;
pub(crate) type RaftLogId = openraft::LogId<CommittedLeader>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
/// A whole snapshot in memory, shared and never copied.
pub(crate) type SnapshotBytes = Arc<Vec<u8>>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotBytes>;

/// A proposed command: the caller's bytes, shared between the log, the wire and the state machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Arc<[u8]>);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command's bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Command, E> {
                Ok(Command(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

pub(crate) fn log_id(id: &RaftLogId) -> LogId {
    LogId { term: id.committed_leader_id().term, index: id.index() }
}

/// All voters of a configuration; while it is joint, those of both halves.
pub(crate) fn voters(membership: &openraft::Membership<u64, BasicNode>) -> Vec<NodeId> {
    membership.voter_ids().map(NodeId).collect()
}

pub(crate) fn is_joint(membership: &openraft::Membership<u64, BasicNode>) -> bool {
    membership.get_joint_config().len() > 1
}
