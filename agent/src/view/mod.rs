//! What the ledger and gossip say, as the messages that people and programs are answered with.
//!
//! Only conversion: no waiting, no asking others, no decision. Who answers, and whether through the leader, is the
//! API's business.

mod alerts;
mod availability;
mod events;
mod failures;
mod nodes;
mod status;
#[cfg(test)]
mod status_tests;
#[cfg(test)]
pub(crate) mod testing;
mod workloads;

pub use events::event;
pub use workloads::spec;

use crate::shared::{Identity, Live, LiveState};
use cluster_core::{
    ids::NodeId,
    ledger::{Ledger, Node, NodeState},
    time::WallTime,
};
use prost_types::Timestamp;

/// One moment of the cluster, as one agent knows it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub ledger: &'a Ledger,
    pub live: &'a Live,
    /// The agent that answers.
    pub me: &'a Identity,
    pub now: WallTime,
}

/// A node as the ledger and gossip together see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Alive,
    Suspect,
    Dead,
    Left,
}

impl View<'_> {
    /// The node's name, or its id when nobody knows it any more.
    #[must_use]
    pub fn name(&self, node: NodeId) -> String {
        let committed = self.ledger.nodes.get(&node).map(|n| &n.profile.name);
        let heard = || self.live.members.get(&node).map(|m| &m.name);
        committed.or_else(heard).cloned().unwrap_or_else(|| node.to_string())
    }

    /// Finds a node by name or id. A living one wins when a name is listed twice.
    #[must_use]
    pub fn find_node(&self, name_or_id: &str) -> Option<NodeId> {
        let listed = self.node_ids();
        let by_id = name_or_id.parse().ok().filter(|id| listed.contains(id));
        by_id.or_else(|| {
            let mut named: Vec<NodeId> =
                listed.into_iter().filter(|id| self.name(*id) == name_or_id).collect();
            named.sort_by_key(|id| self.state(*id) != State::Alive);
            named.first().copied()
        })
    }

    /// Every node that the ledger lists, and members that gossip knows before the ledger does.
    #[must_use]
    pub fn node_ids(&self) -> Vec<NodeId> {
        let heard = self.live.members.iter().filter(|(_, m)| m.state != LiveState::Left).map(|(id, _)| *id);
        let mut ids: Vec<NodeId> = self.ledger.nodes.keys().copied().chain(heard).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What was decided wins over what is heard: gossip alone can only make a living node suspect.
    #[must_use]
    pub fn state(&self, node: NodeId) -> State {
        let heard = self.live.members.get(&node).map(|m| m.state);
        match (self.ledger.nodes.get(&node).map(|n| n.state), heard) {
            (Some(NodeState::Dead), _) => State::Dead,
            (Some(NodeState::Left), _) | (None, Some(LiveState::Left)) => State::Left,
            _ if node == self.me.node => State::Alive,
            (_, Some(LiveState::Suspect | LiveState::Dead)) => State::Suspect,
            _ => State::Alive,
        }
    }

    fn committed(&self, node: NodeId) -> Option<&Node> {
        self.ledger.nodes.get(&node)
    }
}

/// Wall time on the wire.
#[must_use]
pub fn timestamp(time: WallTime) -> Timestamp {
    let seconds = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(time.0 % 1_000).expect("below 1000") * 1_000_000;
    Timestamp { seconds, nanos }
}

/// Wall time from the wire; times before 1970 count as 1970.
#[must_use]
pub fn wall_time(timestamp: &Timestamp) -> WallTime {
    let seconds = u64::try_from(timestamp.seconds).unwrap_or(0);
    let millis = u64::try_from(timestamp.nanos).unwrap_or(0) / 1_000_000;
    WallTime(seconds.saturating_mul(1_000).saturating_add(millis))
}

fn unless_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
