//! What should run: applied, stopped, started, deleted. Not here: where it runs (see apply_place.rs).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Rejection, Reply},
    state::{EventType, FailureState, InstanceState, Ledger, Pause, Slot, Workload, WorkloadSpec},
    validate,
};
use crate::{
    ids::FailureId,
    limits::{PAUSES_MAX, SLOTS_MAX, WORKLOADS_MAX},
};
use std::collections::{BTreeMap, BTreeSet};

impl Ledger {
    /// All or none: every specification is checked before the first is taken in. A stopped workload stays stopped.
    pub(super) fn workloads_applied(
        &mut self,
        entry: &Entry<'_>,
        specs: &[WorkloadSpec],
        if_version: Option<u64>,
    ) -> Outcome {
        self.check_specs(specs)?;
        self.check_version(specs, if_version)?;
        let versions = specs.iter().map(|spec| (spec.name.clone(), self.apply_spec(entry, spec))).collect();
        Ok(Reply::Versions(versions))
    }

    fn check_specs(&self, specs: &[WorkloadSpec]) -> Result<(), Rejection> {
        let mut names = BTreeSet::new();
        for spec in specs {
            validate::spec(spec)?;
            let name = &spec.name;
            if !names.insert(name) {
                return Err(reject("INVALID", format!("workload {name} is there twice")));
            }
            let Some(known) = self.workloads.get(name) else { continue };
            if known.spec.kind != spec.kind {
                let message = format!(
                    "workload {name} is of another kind: delete it, wait until it is gone, apply again"
                );
                return Err(reject("KIND_CHANGE", message));
            }
        }
        let new = names.iter().filter(|name| !self.workloads.contains_key(**name)).count();
        if self.workloads.len() + new > WORKLOADS_MAX {
            return Err(reject(
                "TOO_MANY_WORKLOADS",
                format!("there may be {WORKLOADS_MAX} workloads at most"),
            ));
        }
        let others = self.workloads.iter().filter(|(name, _)| !names.contains(name));
        let kept: usize = others.map(|(_, workload)| workload.slots.len()).sum();
        let asked: usize = specs.iter().map(|spec| self.slots_with(spec)).sum();
        if kept + asked > SLOTS_MAX {
            return Err(reject("TOO_MANY_INSTANCES", format!("there may be {SLOTS_MAX} instances at most")));
        }
        Ok(())
    }

    /// Slots that a workload would have, with the surplus ones that still run.
    fn slots_with(&self, spec: &WorkloadSpec) -> usize {
        let known = self.workloads.get(&spec.name).map_or(0, |workload| workload.slots.len());
        known.max(spec.replicas as usize)
    }

    fn check_version(&self, specs: &[WorkloadSpec], if_version: Option<u64>) -> Result<(), Rejection> {
        let Some(wanted) = if_version else { return Ok(()) };
        let [spec] = specs else {
            let message = "a version can be asked for with one workload only: apply them one by one";
            return Err(reject("INVALID", message));
        };
        let known = self.workloads.get(&spec.name).filter(|workload| !workload.deleted);
        let current = known.map_or(0, |workload| workload.version);
        if current == wanted {
            return Ok(());
        }
        let name = &spec.name;
        let message = format!(
            "workload {name} is at version {current}, not {wanted}: look at it again (`holdfast workload show {name}`)"
        );
        Err(reject("VERSION_MISMATCH", message))
    }

    fn apply_spec(&mut self, entry: &Entry<'_>, spec: &WorkloadSpec) -> u64 {
        let name = &spec.name;
        let version = entry.at.index;
        match self.workloads.get_mut(name) {
            Some(known) if known.spec == *spec && !known.deleted => return known.version,
            Some(known) => {
                let rerun = known.spec.exec != spec.exec
                    || known.spec.ports != spec.ports
                    || known.spec.recovery != spec.recovery;
                known.spec = spec.clone();
                known.version = version;
                if known.deleted {
                    known.deleted = false;
                    known.stopped = false;
                    known.created_at = entry.now;
                    known.pauses.clear();
                    known.resume();
                }
                let placements = known.slots.values_mut().filter_map(|slot| slot.placement.as_mut());
                placements.filter(|_| rerun).for_each(|placement| placement.version = version);
            }
            None => {
                let workload = Workload {
                    spec: spec.clone(),
                    version,
                    stopped: false,
                    deleted: false,
                    created_at: entry.now,
                    slots: BTreeMap::new(),
                    pauses: Vec::new(),
                };
                self.workloads.insert(name.clone(), workload);
            }
        }
        self.fit_slots(entry, name);
        self.try_anew(name);
        self.refresh_waits(name);
        let summary = format!("{name} applied, version {version}");
        let fields = [("version", version.to_string()), ("actor", entry.actor.to_owned())];
        self.event(entry, EventType::WorkloadApplied, name, summary, &fields);
        version
    }

    /// A changed specification is an operator's answer to what was given up: it is tried again, with a clean record.
    /// The failure stays the same one, and ends when it serves.
    fn try_anew(&mut self, name: &str) {
        let slots = self.workloads.get(name).into_iter().flat_map(|workload| &workload.slots);
        let given_up =
            |id: FailureId| self.failures.get(&id).is_some_and(|f| f.state == FailureState::Unrecoverable);
        let stuck: Vec<(u32, FailureId)> = slots
            .filter_map(|(index, slot)| Some((*index, slot.failure.filter(|id| given_up(*id))?)))
            .collect();
        for (index, failure) in stuck {
            self.failures.get_mut(&failure).into_iter().for_each(|f| f.state = FailureState::Open);
            if let Some(slot) = self.slot_mut(name, index) {
                (slot.moves, slot.avoid) = (0, None);
            }
        }
    }

    /// A slot for each replica; what runs above is asked to end.
    fn fit_slots(&mut self, entry: &Entry<'_>, name: &str) {
        let Some(workload) = self.workloads.get_mut(name) else { return };
        for index in 0..workload.spec.replicas {
            workload.slots.entry(index).or_default();
        }
        let surplus = workload.slots.range_mut(workload.spec.replicas..);
        for placement in surplus.filter_map(|(_, slot)| slot.placement.as_mut()) {
            placement.evict("fewer replicas");
        }
        self.settle_workload(entry, name);
    }

    fn workload(&mut self, name: &str) -> Result<&mut Workload, Rejection> {
        let known = self.workloads.get_mut(name).filter(|workload| !workload.deleted);
        known.ok_or_else(|| reject("NOT_FOUND", format!("there is no workload {name}")))
    }

    /// Placements stay until their nodes, who see that it is stopped, confirm the end.
    pub(super) fn workload_stopped(&mut self, entry: &Entry<'_>, name: &str) -> Outcome {
        let workload = self.workload(name)?;
        if workload.stopped {
            return Ok(Reply::Done);
        }
        workload.stopped = true;
        workload.version = entry.at.index;
        if workload.pauses.len() >= PAUSES_MAX {
            workload.pauses.remove(0);
        }
        workload.pauses.push(Pause { from: entry.now, to: None });
        workload.halt();
        self.close_all(entry, name, "stopped");
        self.operator_event(entry, name, format!("{name} was stopped"));
        Ok(Reply::Done)
    }

    pub(super) fn workload_started(&mut self, entry: &Entry<'_>, name: &str) -> Outcome {
        let workload = self.workload(name)?;
        if !workload.stopped {
            return Ok(Reply::Done);
        }
        workload.stopped = false;
        workload.version = entry.at.index;
        if let Some(pause) = workload.pauses.last_mut() {
            pause.to = Some(entry.now);
        }
        workload.resume();
        self.operator_event(entry, name, format!("{name} was started"));
        Ok(Reply::Done)
    }

    pub(super) fn workload_deleted(&mut self, entry: &Entry<'_>, name: &str) -> Outcome {
        let workload = self.workload(name)?;
        workload.deleted = true;
        workload.version = entry.at.index;
        workload.halt();
        self.close_all(entry, name, "deleted");
        self.operator_event(entry, name, format!("{name} was deleted"));
        self.settle_workload(entry, name);
        Ok(Reply::Done)
    }

    /// What nobody wants to run any more has no failure.
    fn close_all(&mut self, entry: &Entry<'_>, name: &str, why: &str) {
        let slots = self.workloads.get(name).into_iter().flat_map(|workload| workload.slots.values());
        let open: Vec<FailureId> = slots.filter_map(|slot| slot.failure).collect();
        for failure in open {
            self.close_failure(entry, failure, why);
        }
        self.forget_revocations();
    }

    /// Surplus slots go when they are free; a deleted workload goes when all of its are.
    pub(super) fn settle_workload(&mut self, entry: &Entry<'_>, name: &str) {
        let Some(workload) = self.workloads.get(name) else { return };
        let surplus = workload.slots.range(workload.spec.replicas..);
        let free: Vec<(u32, Option<FailureId>)> = surplus
            .filter(|(_, slot)| slot.placement.is_none())
            .map(|(index, slot)| (*index, slot.failure))
            .collect();
        for (index, failure) in free {
            if let Some(failure) = failure {
                self.close_failure(entry, failure, "fewer replicas");
            }
            self.workloads.get_mut(name).and_then(|w| w.slots.remove(&index));
        }
        let Some(workload) = self.workloads.get(name) else { return };
        if workload.deleted && workload.slots.values().all(|slot| slot.placement.is_none()) {
            self.workloads.remove(name);
        }
        self.forget_revocations();
    }
}

impl Workload {
    /// No instance is wanted any more.
    fn halt(&mut self) {
        for slot in self.slots.values_mut() {
            slot.lost = None;
            match &mut slot.placement {
                Some(placement) => placement.state = InstanceState::Stopping,
                None => slot.last = InstanceState::Stopped,
            }
        }
    }

    /// Instances are wanted again; what was being stopped goes on, unless its node has stopped it and says so.
    fn resume(&mut self) {
        for slot in self.slots.values_mut() {
            match &mut slot.placement {
                Some(placement) if placement.evicted.is_none() => {
                    let running = placement.started_at.is_some();
                    placement.state = if running { InstanceState::Running } else { InstanceState::Starting };
                }
                Some(_) => {}
                None => *slot = Slot { waits_for: slot.waits_for, ..Slot::default() },
            }
        }
    }
}
