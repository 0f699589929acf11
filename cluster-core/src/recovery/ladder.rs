//! The ladder: what one slot needs next, read from the ledger alone. The node restarts by itself; when it has given
//! up, the leader moves the instance, a few times; then it stops and says so.
//!
//! Not here: where a slot goes (`placement`), the order and limits of many (`recovery`), restarts (`instance`).

use super::{
    View,
    placement::{self, Board},
};
use crate::{
    ids::{FailureId, Generation, NodeId},
    ledger::{
        FailureState, InstanceState, Ledger, Lost, Node, NodeState, Placement, Role, Scheduling, Slot,
        Subject, Workload,
    },
    time::WallTime,
};
use core::cmp::Reverse;

/// Moves of one slot before it is left to a person; the ledger forgets them once it served for its restart window.
pub const MAX_MOVES: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    OpenFailure {
        caused_by: Option<FailureId>,
    },
    /// It should run, and nothing stands in the way but finding a node.
    Place,
    /// It serves where it shouldn't; ending it can wait for a good moment.
    Evict {
        generation: Generation,
        reason: String,
    },
    /// Nothing more is tried.
    Abandon {
        failure: FailureId,
        reason: String,
    },
}

/// A slot's place in the queue: sorts by priority, then by how long it is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    priority: Reverse<u8>,
    since: WallTime,
    pub workload: String,
    pub index: u32,
}

#[must_use]
pub fn turn(ledger: &Ledger, workload: &Workload, index: u32) -> Turn {
    let failure = workload.slots.get(&index).and_then(|slot| failure_of(ledger, slot));
    Turn {
        priority: Reverse(workload.spec.priority),
        since: failure.map_or(workload.created_at, |(_, failure)| failure.declared_at),
        workload: workload.spec.name.clone(),
        index,
    }
}

#[must_use]
pub fn need(ledger: &Ledger, workload: &Workload, index: u32) -> Need {
    let Some(slot) = workload.slots.get(&index) else {
        return if should_run(workload, index) { Need::Place } else { Need::Nothing };
    };
    match &slot.placement {
        Some(placement) => placed(ledger, workload, index, placement),
        None => unplaced(ledger, workload, index, slot),
    }
}

/// Whether placing it repairs a loss, which the brake holds back, and isn't its first start.
#[must_use]
pub fn is_move(slot: &Slot) -> bool {
    matches!(slot.last, InstanceState::Lost | InstanceState::Failed)
}

#[must_use]
pub fn should_run(workload: &Workload, index: u32) -> bool {
    !workload.stopped && !workload.deleted && index < workload.spec.replicas
}

/// A planned eviction waits while another instance of the workload isn't serving yet, and for a node to go to. When
/// the ledger has no other node at all there is nothing to wait for: a person asked for it.
#[must_use]
pub fn may_disturb(view: &View<'_>, workload: &Workload, index: u32) -> bool {
    let ledger = view.ledger;
    let others_serve = (0..workload.spec.replicas).filter(|i| *i != index).all(|i| {
        let Some(slot) = workload.slots.get(&i) else { return false };
        match &slot.placement {
            Some(p) => p.evicted.is_none() && !placement::is_first_start(p),
            // One that finds no node isn't waited for.
            None => {
                need(ledger, workload, i) != Need::Place
                    || placement::choose(view, &Board::of(ledger), &workload.spec.name, i).is_err()
            }
        }
    });
    let somewhere = placement::choose(view, &Board::default(), &workload.spec.name, index).is_ok();
    others_serve && (somewhere || !ledger.nodes.values().any(placement::is_candidate))
}

/// Of what isn't wanted any more the node sees to the end by itself.
fn placed(ledger: &Ledger, workload: &Workload, index: u32, placement: &Placement) -> Need {
    if placement.evicted.is_some() || !should_run(workload, index) {
        return Need::Nothing;
    }
    let evict = |reason| Need::Evict { generation: placement.generation, reason };
    let Some(node) = ledger.nodes.get(&placement.node) else { return Need::Nothing };
    if node.profile.role == Role::Witness {
        evict(format!("{} is a witness", node.profile.name))
    } else if matches!(node.scheduling, Scheduling::Draining | Scheduling::Drained)
        && node.state == NodeState::Alive
    {
        evict(format!("{} is drained", node.profile.name))
    } else {
        Need::Nothing
    }
}

fn unplaced(ledger: &Ledger, workload: &Workload, index: u32, slot: &Slot) -> Need {
    if !should_run(workload, index) {
        return Need::Nothing;
    }
    match failure_of(ledger, slot) {
        Some((_, failure)) if failure.state == FailureState::Unrecoverable => return Need::Nothing,
        Some((id, _)) if slot.last == InstanceState::Failed => {
            if let Some(reason) = slot.avoid.and_then(|from| why_not_moved(ledger, workload, slot, from)) {
                return Need::Abandon { failure: id, reason };
            }
        }
        Some(_) => {}
        None => {
            if let Some(lost) = &slot.lost {
                return open_failure(ledger, lost);
            }
        }
    }
    if slot.waits_for.is_none() { Need::Place } else { Need::Nothing }
}

/// A slot that a node's loss took has that node's failure for its cause, which must therefore be open first.
fn open_failure(ledger: &Ledger, lost: &Lost) -> Need {
    let node = ledger.nodes.get(&lost.node);
    if node.is_some_and(|node| node.failure.is_none() && node.death.is_some()) {
        return Need::Nothing;
    }
    let caused_by = node.and_then(|node| node.failure).or_else(|| {
        // The node is back already: its failure is the one that ended this epoch.
        let mut newest_first = ledger.failures.iter().rev();
        newest_first
            .find(|(_, f)| f.subject == Subject::Node(lost.node) && f.epoch == lost.death.epoch)
            .map(|(id, _)| *id)
    });
    Need::OpenFailure { caused_by }
}

/// Why a slot that `from` gave up isn't moved; `None` when it is.
fn why_not_moved(ledger: &Ledger, workload: &Workload, slot: &Slot, from: NodeId) -> Option<String> {
    let name = |id: NodeId| ledger.nodes.get(&id).map_or("its node", |node: &Node| &node.profile.name);
    if !workload.spec.recovery.migrate {
        return Some(format!("{} gave it up, and its ladder has no \"migrate\"", name(from)));
    }
    if slot.moves > MAX_MOVES {
        return Some(format!("{} gave it up, after {MAX_MOVES} moves in a row", name(from)));
    }
    if !ledger.nodes.iter().any(|(id, node)| *id != from && placement::is_candidate(node)) {
        return Some(format!("{} gave it up, and there is no other node to try", name(from)));
    }
    None
}

/// The open (or given up) failure of a slot.
#[must_use]
pub fn failure_of<'l>(ledger: &'l Ledger, slot: &Slot) -> Option<(FailureId, &'l crate::ledger::Failure)> {
    slot.failure.and_then(|id| ledger.failures.get(&id).map(|failure| (id, failure)))
}
