//! What this node knows of its cluster's consensus, in our words. A picture, not a permission: whoever must be sure
//! that it leads asks [`Consensus::confirm_leader`](super::Consensus::confirm_leader).

use super::{
    log_store::LogStore,
    types::{Types, is_joint, log_id},
};
use cluster_core::ids::{LogId, NodeId};
use openraft::{RaftMetrics, ServerState};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
    #[default]
    Learner,
    /// Nothing works any more on this node; `Status::failure` says why.
    Stopped,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    pub leader: Option<NodeId>,
    pub term: u64,
    /// Voters of the newest configuration in the log, with the addresses stored in it.
    pub voters: Vec<(NodeId, String)>,
    pub joint: bool,
    /// Where that configuration stands in the log.
    pub voter_config: Option<LogId>,
    pub last_log: Option<LogId>,
    pub committed: Option<LogId>,
    pub applied: Option<LogId>,
    pub snapshot: Option<LogId>,
    /// Entries in the log, behind and before the snapshot.
    pub log_len: u64,
    pub failure: Option<String>,
}

pub(crate) fn status(metrics: &RaftMetrics<Types>, log: &LogStore) -> Status {
    let membership = metrics.membership_config.membership();
    let voter_ids: BTreeSet<u64> = membership.voter_ids().collect();
    let failure = metrics.running_state.as_ref().err().map(ToString::to_string);
    let role = match metrics.state {
        _ if failure.is_some() => Role::Stopped,
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    };
    Status {
        role,
        leader: metrics.current_leader.map(NodeId),
        term: metrics.current_term,
        voters: membership
            .nodes()
            .filter(|(id, _)| voter_ids.contains(id))
            .map(|(id, node)| (NodeId(*id), node.addr.clone()))
            .collect(),
        joint: is_joint(membership),
        voter_config: metrics.membership_config.log_id().as_ref().map(log_id),
        last_log: log.last().as_ref().map(log_id),
        committed: metrics.local_committed.as_ref().map(log_id),
        applied: metrics.last_applied.as_ref().map(log_id),
        snapshot: metrics.snapshot.as_ref().map(log_id),
        log_len: log.len(),
        failure,
    }
}
