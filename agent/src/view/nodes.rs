//! Nodes as `status` and `node list` show them.

use super::{State, View, timestamp};
use cluster_core::{
    ids::{LeaseEpoch, NodeId},
    ledger::{AgentState, Role, Scheduling, Slot},
};
use holdfast_proto::v1;
use std::time::Duration;

impl View<'_> {
    /// All nodes, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<v1::Node> {
        let mut nodes: Vec<v1::Node> = self.node_ids().into_iter().map(|id| self.node(id)).collect();
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        nodes
    }

    /// One node; what nobody knows of it is left empty.
    #[must_use]
    pub fn node(&self, id: NodeId) -> v1::Node {
        let state = self.state(id);
        let profile = self.committed(id).map(|n| &n.profile);
        let heard = self.live.members.get(&id);
        let text = |committed: Option<&String>, gossip: Option<&String>| {
            committed.or(gossip).cloned().unwrap_or_default()
        };
        let role = profile.map(|p| p.role).or(heard.map(|m| m.role)).unwrap_or_default();
        let incarnation = self.committed(id).map(|n| n.incarnation).max(heard.map(|m| m.incarnation));
        let epoch = self.committed(id).map_or(LeaseEpoch(0), |n| n.epoch);
        v1::Node {
            id: id.to_string(),
            name: self.name(id),
            address: text(profile.map(|p| &p.address), heard.map(|m| &m.address)),
            zone: text(profile.map(|p| &p.zone), heard.map(|m| &m.zone)),
            state: node_state(state).into(),
            scheduling: self
                .committed(id)
                .map_or(v1::Scheduling::Eligible, |n| scheduling(n.scheduling))
                .into(),
            role: match role {
                Role::Member => v1::Role::Member,
                Role::Witness => v1::Role::Witness,
            }
            .into(),
            voter: self.live.voters.contains_key(&id),
            leader: self.live.leader == Some(id),
            incarnation: incarnation.unwrap_or_default().0,
            agent: self.agent(id, state).into(),
            lease_epoch: epoch.0,
            lease_remaining_ms: self.lease_remaining(epoch).map(millis),
            safe_to_start_in_ms: millis(self.safe_to_start_in(id)),
            version: text(profile.map(|p| &p.version), heard.map(|m| &m.version)),
            labels: profile.map(|p| p.labels.clone().into_iter().collect()).unwrap_or_default(),
            changed_at: self.committed(id).map(|n| timestamp(n.changed_at)),
            workloads: self.placed_on(id),
        }
    }

    /// What enough of its observers found stands in the ledger; without a leader nobody writes it there, and what this
    /// agent found by itself is the newer.
    pub(super) fn agent(&self, id: NodeId, state: State) -> v1::AgentState {
        if id == self.me.node {
            return v1::AgentState::Up;
        }
        if matches!(state, State::Dead | State::Left) {
            return v1::AgentState::Gone;
        }
        let committed = self.committed(id).filter(|_| self.live.leader.is_some()).map(|n| n.agent.state);
        let heard = || self.live.members.get(&id).map_or(AgentState::Up, |m| m.agent);
        match committed.unwrap_or_else(heard) {
            AgentState::Up => v1::AgentState::Up,
            AgentState::Stalled => v1::AgentState::Stalled,
            AgentState::Gone => v1::AgentState::Gone,
        }
    }

    /// Only a voter acknowledges leases, so only a voter has an estimate.
    fn lease_remaining(&self, epoch: LeaseEpoch) -> Option<Duration> {
        if !self.live.is_voter || epoch == LeaseEpoch(0) {
            return None;
        }
        Some(self.live.lease_remaining.get(&epoch).copied().unwrap_or_default())
    }

    /// Until the voters have promised, a whole lease is the most that it can take.
    fn safe_to_start_in(&self, id: NodeId) -> Duration {
        let lease_ms = self.ledger.cluster.as_ref().map_or(0, |c| c.settings.lease_ms);
        let unsafe_yet = self.ledger.revocations.iter().filter(|(_, r)| r.node == id && r.safe_at.is_none());
        unsafe_yet
            .map(|(epoch, _)| {
                self.live.safe_in.get(epoch).copied().unwrap_or(Duration::from_millis(lease_ms))
            })
            .max()
            .unwrap_or_default()
    }

    /// Workloads are kept by name, so the list comes out sorted and without doubles.
    fn placed_on(&self, id: NodeId) -> Vec<String> {
        let here = |slot: &Slot| slot.placement.as_ref().is_some_and(|p| p.node == id);
        let placed = self.ledger.workloads.iter().filter(|(_, w)| w.slots.values().any(here));
        placed.map(|(name, _)| name.clone()).collect()
    }
}

fn node_state(state: State) -> v1::NodeState {
    match state {
        State::Alive => v1::NodeState::Alive,
        State::Suspect => v1::NodeState::Suspect,
        State::Dead => v1::NodeState::Dead,
        State::Left => v1::NodeState::Left,
    }
}

fn scheduling(scheduling: Scheduling) -> v1::Scheduling {
    match scheduling {
        Scheduling::Eligible => v1::Scheduling::Eligible,
        Scheduling::Draining => v1::Scheduling::Draining,
        Scheduling::Drained => v1::Scheduling::Drained,
        Scheduling::Quarantined => v1::Scheduling::Quarantined,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
