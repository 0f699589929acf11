//! Questions about the ledger that many ask. Not here: anything that changes it.

use super::state::{
    AgentState, Failure, FailureState, Kind, Ledger, Node, NodeState, Placement, Slot, Subject, Workload,
};
use crate::ids::{FailureId, LeaseEpoch, NodeId};
use std::collections::BTreeMap;

impl Ledger {
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<(NodeId, &Node)> {
        self.nodes.iter().find(|(_, node)| node.profile.name == name).map(|(id, node)| (*id, node))
    }

    /// The node's name, or its id when it is no longer listed.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> String {
        self.nodes.get(&id).map_or_else(|| id.to_string(), |node| node.profile.name.clone())
    }

    /// How many instances of the workload should run; 0 for one that isn't known, or is stopped or deleted.
    #[must_use]
    pub fn desired(&self, workload: &str) -> u32 {
        self.workloads.get(workload).map_or(0, Workload::desired)
    }

    #[must_use]
    pub fn slot(&self, workload: &str, index: u32) -> Option<&Slot> {
        self.workloads.get(workload)?.slots.get(&index)
    }

    /// Whether somebody has seen to the failure; false for one that isn't kept.
    #[must_use]
    pub fn is_acknowledged(&self, failure: FailureId) -> bool {
        self.failures.get(&failure).is_some_and(|failure| failure.acknowledged_at.is_some())
    }

    /// Failures that are open or recovering, oldest first.
    pub fn open_failures(&self) -> impl Iterator<Item = (FailureId, &Failure)> {
        self.failures.iter().filter(|(_, f)| f.is_open()).map(|(id, f)| (*id, f))
    }

    /// Nothing runs under this epoch any more: it ended, and its last acknowledgement has run out. True also for one
    /// that ended so long ago that it is forgotten, and for zero.
    #[must_use]
    pub fn is_safe(&self, epoch: LeaseEpoch) -> bool {
        if epoch == LeaseEpoch(0) {
            return true;
        }
        match self.revocations.get(&epoch) {
            Some(revocation) => revocation.safe_at.is_some(),
            None => !self.nodes.values().any(|node| node.epoch == epoch),
        }
    }

    /// The node lives and this is its lease epoch.
    #[must_use]
    pub fn is_current(&self, node: NodeId, epoch: LeaseEpoch) -> bool {
        let holds = |n: &Node| n.state == NodeState::Alive && n.epoch == epoch;
        epoch != LeaseEpoch(0) && self.nodes.get(&node).is_some_and(holds)
    }

    /// The living nodes whose agents aren't up, as their observers found.
    #[must_use]
    pub fn agents_down(&self) -> BTreeMap<NodeId, AgentState> {
        let down = |n: &Node| n.state == NodeState::Alive && n.agent.state != AgentState::Up;
        self.nodes.iter().filter(|(_, n)| down(n)).map(|(id, n)| (*id, n.agent.state)).collect()
    }

    /// Every placement of the cluster: workload, instance index, placement.
    pub fn placements(&self) -> impl Iterator<Item = (&str, u32, &Placement)> {
        self.workloads.iter().flat_map(|(name, workload)| {
            let slots = workload.slots.iter();
            slots.filter_map(|(index, slot)| Some((name.as_str(), *index, slot.placement.as_ref()?)))
        })
    }

    pub fn placements_on(&self, node: NodeId) -> impl Iterator<Item = (&str, u32, &Placement)> {
        self.placements().filter(move |(_, _, placement)| placement.node == node)
    }

    /// An epoch that ended, isn't safe yet, and under which an instance may still run that excludes this one.
    #[must_use]
    pub fn blocking_epoch(&self, workload: &str, index: u32) -> Option<LeaseEpoch> {
        let spec = &self.workloads.get(workload)?.spec;
        let singleton = spec.kind == Kind::Singleton;
        if !singleton && spec.recovery.keep_on_isolation {
            return None;
        }
        let unsafe_ones = self.revocations.iter().rev().filter(|(_, r)| r.safe_at.is_none());
        let mut blocking = unsafe_ones.filter(|(_, revocation)| {
            revocation.held.iter().any(|h| h.workload == workload && (singleton || h.index == index))
        });
        blocking.next().map(|(epoch, _)| *epoch)
    }

    /// The failure that the subject has and that isn't recovered.
    #[must_use]
    pub fn failure_of(&self, subject: &Subject) -> Option<FailureId> {
        match subject {
            Subject::Node(node) => self.nodes.get(node)?.failure,
            Subject::Workload(name, index) => self.slot(name, *index)?.failure,
        }
    }
}

impl Workload {
    #[must_use]
    pub fn desired(&self) -> u32 {
        if self.stopped || self.deleted { 0 } else { self.spec.replicas }
    }
}

impl Failure {
    /// Open or recovering: something is still being tried.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, FailureState::Open | FailureState::Recovering)
    }
}
