//! Placing and evicting. `placed` is the last gate of "at most once". Not here: choosing where (the recovery machine).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Rejection, Reply},
    state::{InstanceState, Ledger, NodeState, Placement, Role, Scheduling, Slot},
};
use crate::{
    ids::{Generation, InstanceId, LeaseEpoch, NodeId},
    limits::{REVOCATIONS_MAX, SENTENCE_BYTES, clip},
    time::WallTime,
};

impl Slot {
    /// Moves count within one restart window of serving: what ran longer than that starts with a clean record.
    pub(super) fn forgive_moves(&mut self, now: WallTime, window_ms: u64) {
        let served = self.placement.as_ref().and_then(|p| p.started_at);
        if served.is_some_and(|since| now.since_ms(since) >= window_ms) {
            self.moves = 0;
            self.avoid = None;
        }
    }
}

impl Placement {
    /// Asks it to end; asked again, the first reason stands.
    pub(super) fn evict(&mut self, reason: &str) {
        self.evicted.get_or_insert_with(|| clip(reason, SENTENCE_BYTES));
        self.state = InstanceState::Stopping;
    }
}

impl Ledger {
    pub(super) fn placed(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        index: u32,
        version: u64,
        node: NodeId,
        epoch: LeaseEpoch,
    ) -> Outcome {
        self.check_slot(name, index, version)?;
        self.check_node(node, epoch)?;
        if let Some(blocking) = self.blocking_epoch(name, index) {
            let message = format!("{name} may still run under epoch {blocking}, which isn't safe yet");
            return Err(reject("NOT_SAFE", message));
        }
        if self.revocations.len() >= REVOCATIONS_MAX {
            let message =
                format!("{REVOCATIONS_MAX} epochs ended and aren't safe: nothing is placed until some are");
            return Err(reject("TOO_MANY_REVOCATIONS", message));
        }
        let generation = self.generation.next().max(Generation::floor(self.recoveries));
        self.generation = generation;
        let slot = self.workloads.get_mut(name).and_then(|w| w.slots.get_mut(&index));
        let slot = slot.expect("check_slot found it");
        slot.placement = Some(Placement {
            node,
            epoch,
            generation,
            version,
            placed_at: entry.now,
            evicted: None,
            instance: InstanceId::default(),
            state: InstanceState::Pending,
            pid: 0,
            started_at: None,
            restarts: 0,
            unconfined: false,
            detail: String::new(),
        });
        self.recovers_by_placement(entry, name, index);
        Ok(Reply::Generation(generation))
    }

    fn check_slot(&self, name: &str, index: u32, version: u64) -> Result<(), Rejection> {
        let Some(workload) = self.workloads.get(name) else {
            return Err(reject("NOT_FOUND", format!("there is no workload {name}")));
        };
        if workload.stopped || workload.deleted {
            return Err(reject("NOT_WANTED", format!("{name} is stopped or deleted")));
        }
        if workload.version != version {
            let current = workload.version;
            return Err(reject("VERSION_MISMATCH", format!("{name} is at version {current}, not {version}")));
        }
        let slot = workload.slots.get(&index).filter(|_| index < workload.desired());
        let Some(slot) = slot else {
            let desired = workload.desired();
            return Err(reject(
                "NOT_WANTED",
                format!("{name} has {desired} instances, none with index {index}"),
            ));
        };
        if let Some(placement) = &slot.placement {
            let (on, generation) = (self.node_name(placement.node), placement.generation);
            let message = format!("{name} {index} is placed on {on} (generation {generation})");
            return Err(reject("ALREADY_PLACED", message));
        }
        Ok(())
    }

    fn check_node(&self, id: NodeId, epoch: LeaseEpoch) -> Result<(), Rejection> {
        let node = self.listed(id)?;
        let name = &node.profile.name;
        if node.state != NodeState::Alive {
            return Err(reject("NODE_NOT_ALIVE", format!("node {name} isn't alive")));
        }
        if node.scheduling != Scheduling::Eligible {
            let quarantined = node.scheduling == Scheduling::Quarantined;
            let is = if quarantined { "is quarantined" } else { "is being drained" };
            return Err(reject("NODE_NOT_ELIGIBLE", format!("node {name} {is}")));
        }
        if node.profile.role == Role::Witness {
            return Err(reject(
                "NODE_IS_WITNESS",
                format!("node {name} is a witness: it votes and runs nothing"),
            ));
        }
        if !self.is_current(id, epoch) || self.revocations.contains_key(&epoch) {
            let holds = node.epoch;
            return Err(reject("EPOCH_MISMATCH", format!("node {name} holds epoch {holds}, not {epoch}")));
        }
        Ok(())
    }

    pub(super) fn evicted(
        &mut self,
        name: &str,
        index: u32,
        generation: Generation,
        reason: &str,
    ) -> Outcome {
        let slot = self.workloads.get_mut(name).and_then(|w| w.slots.get_mut(&index));
        let placement = slot.and_then(|s| s.placement.as_mut()).filter(|p| p.generation == generation);
        let Some(placement) = placement else {
            return Err(reject("STALE", format!("{name} {index} isn't placed with generation {generation}")));
        };
        placement.evict(reason);
        Ok(Reply::Done)
    }
}
