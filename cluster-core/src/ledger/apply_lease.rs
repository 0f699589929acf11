//! Lease epochs end and become safe. On this, and on `placed`, rests that nothing runs twice. Not here: how promises
//! are collected, or who decides that a node is dead.

use super::{
    apply::{Entry, Outcome, reject},
    command::{Death, Promise, Reply},
    state::{
        DeathRecord, EventType, FailureState, Held, InstanceState, Ledger, Lost, Method, NodeState,
        Revocation,
    },
};
use crate::{
    ids::{LeaseEpoch, NodeId, ViewEpoch},
    limits::{DEATHS_MAX, PROMISES_MAX, REVOCATIONS_MAX, clip_evidence},
    time::WallTime,
};
use std::collections::BTreeSet;

const NONE: LeaseEpoch = LeaseEpoch(0);

impl Ledger {
    /// Deaths of nodes that aren't alive, or hold another epoch by now, are passed over: they speak of the past.
    pub(super) fn nodes_dead(&mut self, entry: &Entry<'_>, deaths: &[Death]) -> Outcome {
        let mut died = false;
        for death in deaths {
            let holds = |n: &super::state::Node| n.state == NodeState::Alive && n.epoch == death.epoch;
            if !self.nodes.get(&death.node).is_some_and(holds) {
                continue;
            }
            if !died {
                self.view_epoch = ViewEpoch(self.view_epoch.0 + 1);
                died = true;
            }
            self.node_died(entry, death);
        }
        if died {
            Ok(Reply::Done)
        } else {
            Err(reject("STALE", "none of these nodes is alive under that epoch"))
        }
    }

    fn node_died(&mut self, entry: &Entry<'_>, death: &Death) {
        let mut evidence = death.evidence.clone();
        // Evidence names its observers itself; where there is none, at least they are told.
        if evidence.is_empty() && !death.observers.is_empty() {
            let names: Vec<String> = death.observers.iter().map(|id| self.node_name(*id)).collect();
            evidence.insert(0, format!("reported by {}", names.join(" ")));
        }
        let mut record = DeathRecord {
            method: Method::Heartbeat,
            epoch: death.epoch,
            last_seen_at: death.last_seen_at.min(entry.now),
            suspected_at: death.suspected_at.min(entry.now),
            declared_at: entry.now,
            evidence: clip_evidence(&evidence),
        };
        let Some(node) = self.nodes.get_mut(&death.node) else { return };
        if let Some(before) = node.death.take() {
            // It had lost its lease already; that is the epoch its failure waits for.
            record.epoch = before.epoch;
        }
        node.state = NodeState::Dead;
        node.changed_at = entry.now;
        node.incarnation = node.incarnation.max(death.incarnation);
        node.death = Some(record.clone());
        if node.deaths.len() >= DEATHS_MAX {
            node.deaths.remove(0);
        }
        node.deaths.push(entry.now);
        let name = node.profile.name.clone();
        let unseen_ms = entry.now.since_ms(record.last_seen_at);
        let summary = format!("{name} is dead (view {}), last seen {unseen_ms} ms ago", self.view_epoch);
        let fields = [("view_epoch", self.view_epoch.to_string()), ("evidence", record.evidence.join("; "))];
        self.event(entry, EventType::NodeDead, &name, summary, &fields);
        if death.epoch != NONE {
            self.revoke(entry, death.node, &record);
        }
    }

    pub(super) fn lease_lost(
        &mut self,
        entry: &Entry<'_>,
        id: NodeId,
        epoch: LeaseEpoch,
        last_seen_at: WallTime,
        evidence: &[String],
    ) -> Outcome {
        if !self.is_current(id, epoch) {
            return Err(reject("STALE", format!("epoch {epoch} isn't that of node {}", self.node_name(id))));
        }
        let seen = last_seen_at.min(entry.now);
        let record = DeathRecord {
            method: Method::Lease,
            epoch,
            last_seen_at: seen,
            suspected_at: seen,
            declared_at: entry.now,
            evidence: clip_evidence(evidence),
        };
        self.revoke(entry, id, &record);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.death = Some(record);
        }
        Ok(Reply::Done)
    }

    /// Ends the node's epoch: remembers what may still run under it, and frees those slots.
    pub(super) fn revoke(&mut self, entry: &Entry<'_>, id: NodeId, death: &DeathRecord) {
        let epoch = death.epoch;
        debug_assert!(epoch != NONE, "only an issued epoch can end");
        if let Some(node) = self.nodes.get_mut(&id) {
            node.epoch = NONE;
        }
        let held: Vec<Held> = self
            .placements()
            .filter(|(_, _, placement)| placement.epoch == epoch)
            .map(|(name, index, p)| Held { workload: name.to_owned(), index, generation: p.generation })
            .collect();
        let revocation = Revocation {
            node: id,
            at: entry.at,
            revoked_at: entry.now,
            safe_at: None,
            promises: Vec::new(),
            held: held.clone(),
        };
        self.revocations.insert(epoch, revocation);
        for lost in &held {
            self.lose(entry, lost, death);
        }
        self.settle_drain(id);
        let name = self.node_name(id);
        let names: Vec<&str> = held.iter().map(|h| h.workload.as_str()).collect();
        let fields = [("epoch", epoch.to_string()), ("workloads", names.join(" "))];
        let summary = format!("{name}'s lease (epoch {epoch}) is revoked");
        self.event(entry, EventType::LeaseRevoked, &name, summary, &fields);
    }

    /// One placement ends with its epoch.
    fn lose(&mut self, entry: &Entry<'_>, held: &Held, death: &DeathRecord) {
        let Some(workload) = self.workloads.get_mut(&held.workload) else { return };
        let wanted = held.index < workload.desired();
        let window_ms = workload.spec.recovery.restart_window_ms;
        let Some(slot) = workload.slots.get_mut(&held.index) else { return };
        slot.forgive_moves(entry.now, window_ms);
        let Some(placement) = slot.placement.take() else { return };
        slot.last = if wanted { InstanceState::Lost } else { InstanceState::Stopped };
        slot.lost = wanted.then(|| Lost {
            node: placement.node,
            generation: placement.generation,
            instance: placement.instance,
            death: death.clone(),
        });
        if let Some(failure) = slot.failure.and_then(|id| self.failures.get_mut(&id)) {
            // It was being recovered, and the place it was to go to is lost as well.
            failure.finish_step(entry.now, "lost", "");
            failure.state = FailureState::Open;
            failure.epoch = death.epoch;
            failure.revoked_at = Some(entry.now);
            failure.safe_at = None;
            failure.started_at = None;
        }
        self.refresh_waits(&held.workload);
        self.note_if_safe(entry, &held.workload, held.index);
        self.settle_workload(entry, &held.workload);
    }

    /// A failure whose slot waits for no lease, since it may run twice or its node confirmed the end, is safe now.
    pub(super) fn note_if_safe(&mut self, entry: &Entry<'_>, name: &str, index: u32) {
        let Some(slot) = self.slot(name, index).filter(|slot| slot.waits_for.is_none()) else { return };
        if let Some(failure) = slot.failure.and_then(|id| self.failures.get_mut(&id)) {
            failure.safe_at = failure.safe_at.or(Some(entry.now));
        }
    }

    /// `waits_for` says what `blocking_epoch` finds: kept in the slot so that readers needn't search.
    pub(super) fn refresh_waits(&mut self, name: &str) {
        let Some(workload) = self.workloads.get(name) else { return };
        let indexes: Vec<u32> = workload.slots.keys().copied().collect();
        for index in indexes {
            let blocking = self.blocking_epoch(name, index);
            let slot = self.workloads.get_mut(name).and_then(|w| w.slots.get_mut(&index));
            if let Some(slot) = slot {
                slot.waits_for = blocking;
            }
        }
    }

    pub(super) fn epoch_safe(
        &mut self,
        entry: &Entry<'_>,
        epoch: LeaseEpoch,
        promises: &[Promise],
    ) -> Outcome {
        let Some(revocation) = self.revocations.get_mut(&epoch) else {
            return Err(reject("NOT_REVOKED", format!("epoch {epoch} isn't one that ended")));
        };
        if revocation.safe_at.is_some() {
            return Err(reject("DUPLICATE", format!("epoch {epoch} is known to be safe")));
        }
        revocation.safe_at = Some(entry.now);
        revocation.promises = promises.iter().copied().take(PROMISES_MAX).collect();
        let (node, held) = (revocation.node, core::mem::take(&mut revocation.held));
        let name = self.node_name(node);
        let mut workloads: Vec<String> = held.into_iter().map(|h| h.workload).collect();
        workloads.dedup();
        for workload in &workloads {
            self.refresh_waits(workload);
        }
        for failure in self.failures.values_mut().filter(|f| f.epoch == epoch && f.safe_at.is_none()) {
            failure.safe_at = Some(entry.now);
        }
        let fields = [("epoch", epoch.to_string()), ("workloads", workloads.join(" "))];
        let summary = format!("{name}'s lease (epoch {epoch}) is over");
        self.event(entry, EventType::SafeToStart, &name, summary, &fields);
        self.forget_revocations();
        Ok(Reply::Done)
    }

    /// Drops the revocations that are safe, unless a failure record is still to be made from them.
    pub(super) fn forget_revocations(&mut self) {
        if self.revocations.values().any(|r| r.safe_at.is_some()) {
            let needed = self.epochs_without_record();
            self.revocations.retain(|epoch, r| r.safe_at.is_none() || needed.contains(epoch));
        }
        // At the limit also those that hold nothing: whoever waits for them waits for nothing.
        while self.revocations.len() > REVOCATIONS_MAX {
            let idle = self.revocations.iter().find(|(_, r)| r.held.is_empty()).map(|(epoch, _)| *epoch);
            let Some(epoch) = idle else { break };
            self.revocations.remove(&epoch);
        }
    }

    fn epochs_without_record(&self) -> BTreeSet<LeaseEpoch> {
        let nodes = self.nodes.values().filter(|node| node.failure.is_none());
        let slots = self.workloads.values().flat_map(|workload| workload.slots.values());
        let lost = slots.filter(|slot| slot.failure.is_none()).filter_map(|slot| slot.lost.as_ref());
        nodes
            .filter_map(|node| node.death.as_ref().map(|death| death.epoch))
            .chain(lost.map(|lost| lost.death.epoch))
            .collect()
    }
}
