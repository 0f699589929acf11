//! Placement: on which node a slot runs next. A pure choice: the same facts give the same node on any host.
//!
//! First whoever may not is filtered out, then the rest is ordered: replicas of one workload spread over nodes, then
//! over zones, then the least loaded wins; ties fall by a hash seeded with the cluster's id, so that clusters differ
//! and one cluster doesn't.
//!
//! Not here: whether the slot should run, or may yet (`ladder`); how many moves are too many (`brake`).

use super::{Heard, View};
use crate::{
    ids::{LeaseEpoch, NodeId},
    ledger::{AgentState, InstanceState, Ledger, Node, NodeState, Placement, Role, Scheduling},
};
use core::fmt;
use std::collections::BTreeMap;

/// Instances that may be starting on one node at once: more, and each starts slower than it would alone.
pub const MAX_STARTS_PER_NODE: u32 = 4;
/// And in the whole cluster: bounds the burst of entries after a large loss.
pub const MAX_STARTS: u32 = 32;

/// Nodes that were ruled out, counted by the first reason that applied to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhyNot {
    /// Dead or left.
    pub gone: u32,
    pub witness: u32,
    /// Draining or drained.
    pub draining: u32,
    pub quarantined: u32,
    /// By its own word.
    pub sick: u32,
    pub without_lease: u32,
    /// Its host lives, but nobody there would start anything.
    pub without_agent: u32,
    /// Alive by the ledger, but gossip suspects it or doesn't hear it.
    pub not_heard: u32,
    /// Has as many starts under way as it may.
    pub busy: u32,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (self.gone, "dead or left"),
            (self.witness, "witness"),
            (self.draining, "draining"),
            (self.quarantined, "quarantined"),
            (self.sick, "sick by its own word"),
            (self.without_lease, "without a lease"),
            (self.without_agent, "without its agent"),
            (self.not_heard, "suspect or not heard"),
            (self.busy, "busy with other starts"),
        ];
        let said: Vec<String> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if said.is_empty() {
            return f.write_str("no node can run it: there is none");
        }
        write!(f, "no node can run it: {}", said.join(", "))
    }
}

/// The least is the best.
type Score = (bool, u32, u32, u32, u64, NodeId);

/// The node for one slot, given what `board` already holds. Doesn't ask whether the slot should run.
///
/// # Errors
/// When every node is ruled out: why, counted.
pub fn choose(view: &View<'_>, board: &Board, workload: &str, index: u32) -> Result<NodeId, WhyNot> {
    let ledger = view.ledger;
    let slot = ledger.workloads.get(workload).and_then(|w| w.slots.get(&index));
    let avoid = slot.and_then(|slot| slot.avoid);
    let mut why = WhyNot::default();
    let mut best: Option<Score> = None;
    for (id, node) in &ledger.nodes {
        let heard = view.live.heard.get(id).copied();
        if let Some(reason) = ruled_out(node, heard, board.starting_on(*id), &mut why) {
            *reason += 1;
            continue;
        }
        let score = (
            avoid == Some(*id),
            board.of_workload_on(workload, *id),
            board.of_workload_in(ledger, workload, &node.profile.zone),
            board.load(*id),
            tie(ledger, workload, index, *id),
            *id,
        );
        if best.is_none_or(|b| score < b) {
            best = Some(score);
        }
    }
    best.map(|score| score.5).ok_or(why)
}

/// A node that the committed ledger would give work to, whatever gossip hears at this moment.
#[must_use]
pub fn is_candidate(node: &Node) -> bool {
    node.state == NodeState::Alive
        && node.profile.role == Role::Member
        && node.scheduling == Scheduling::Eligible
}

fn ruled_out<'w>(
    node: &Node,
    heard: Option<Heard>,
    starting: u32,
    why: &'w mut WhyNot,
) -> Option<&'w mut u32> {
    if node.state != NodeState::Alive {
        Some(&mut why.gone)
    } else if node.profile.role != Role::Member {
        Some(&mut why.witness)
    } else if node.scheduling == Scheduling::Quarantined {
        Some(&mut why.quarantined)
    } else if node.scheduling != Scheduling::Eligible {
        Some(&mut why.draining)
    } else if node.epoch == LeaseEpoch(0) {
        Some(&mut why.without_lease)
    } else if node.agent.state != AgentState::Up {
        Some(&mut why.without_agent)
    } else if heard == Some(Heard::Sick) {
        Some(&mut why.sick)
    } else if heard != Some(Heard::Alive) {
        Some(&mut why.not_heard)
    } else if starting >= MAX_STARTS_PER_NODE {
        Some(&mut why.busy)
    } else {
        None
    }
}

/// Who holds what, with the placements that are decided but not in the ledger yet.
#[derive(Clone, Debug, Default)]
pub struct Board {
    load: BTreeMap<NodeId, u32>,
    starting: BTreeMap<NodeId, u32>,
    starting_in_all: u32,
    spread: BTreeMap<String, BTreeMap<NodeId, u32>>,
}

impl Board {
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let mut board = Self::default();
        for (name, workload) in &ledger.workloads {
            for placement in workload.slots.values().filter_map(|slot| slot.placement.as_ref()) {
                board.count(name, placement.node, is_first_start(placement));
            }
        }
        board
    }

    /// A placement that was just decided.
    pub fn add(&mut self, workload: &str, node: NodeId) {
        self.count(workload, node, true);
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.starting_in_all >= MAX_STARTS
    }

    fn count(&mut self, workload: &str, node: NodeId, starting: bool) {
        *self.load.entry(node).or_default() += 1;
        *self.spread.entry(workload.to_owned()).or_default().entry(node).or_default() += 1;
        if starting {
            *self.starting.entry(node).or_default() += 1;
            self.starting_in_all += 1;
        }
    }

    fn load(&self, node: NodeId) -> u32 {
        self.load.get(&node).copied().unwrap_or(0)
    }

    fn starting_on(&self, node: NodeId) -> u32 {
        self.starting.get(&node).copied().unwrap_or(0)
    }

    fn of_workload_on(&self, workload: &str, node: NodeId) -> u32 {
        self.spread.get(workload).and_then(|nodes| nodes.get(&node)).copied().unwrap_or(0)
    }

    /// No name, no zone: nothing to spread over.
    fn of_workload_in(&self, ledger: &Ledger, workload: &str, zone: &str) -> u32 {
        let Some(nodes) = self.spread.get(workload).filter(|_| !zone.is_empty()) else { return 0 };
        let in_zone = |id: &NodeId| ledger.nodes.get(id).is_some_and(|node| node.profile.zone == zone);
        nodes.iter().filter(|(id, _)| in_zone(id)).map(|(_, n)| n).sum()
    }
}

/// Counts against the limits. An instance in a crash loop doesn't: it would hold up everyone else's recovery.
#[must_use]
pub fn is_first_start(placement: &Placement) -> bool {
    matches!(placement.state, InstanceState::Pending | InstanceState::Starting)
        && placement.evicted.is_none()
        && placement.restarts == 0
}

/// FNV-1a over the names, then splitmix64's finish so that near inputs fall far apart.
fn tie(ledger: &Ledger, workload: &str, index: u32, node: NodeId) -> u64 {
    let seed = ledger.cluster.as_ref().map_or(0, |cluster| cluster.id.0);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = seed.to_le_bytes().into_iter().chain(workload.bytes());
    for byte in bytes.chain(index.to_le_bytes()).chain(node.0.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
