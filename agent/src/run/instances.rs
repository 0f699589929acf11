//! What this node runs: one slot machine for each instance placed here, their guards, and the reports to the ledger.
//!
//! Nothing is stopped on the ground of a ledger copy that may be old: only once it shows this very session of the
//! agent (`Input` from the loop) do the slots hear what is desired.

use super::ended::Ended;
use crate::{
    shared::Identity,
    workload::{
        spec::{GuardEvent, GuardSpec, LogLimits},
        supervisor::{Adopted, Supervisor},
    },
};
use cluster_core::{
    ids::{BootId, Generation, InstanceId, LeaseEpoch},
    instance::{Cause, Effect, Event, Exit, Outcome, Placement, Policy, Report, Slot},
    ledger::{self, Body, Ledger, WorkloadSpec},
    time::Instant,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Reports that may wait for the ledger; the oldest node problem is then a full cluster, and starting waits too.
pub const REPORTS_QUEUED: usize = 4_096;

type Key = (String, u32);

pub struct Instances {
    identity: Identity,
    boot: BootId,
    supervisor: Arc<Supervisor>,
    ended: Ended,
    reports: mpsc::Sender<Body>,
    slots: BTreeMap<Key, Slot>,
    of_instance: BTreeMap<InstanceId, Key>,
    restarts: BTreeMap<Key, (Generation, u32)>,
    unconfined: BTreeSet<InstanceId>,
    /// Ended with the lease, and not started again since.
    cut_off: BTreeSet<Key>,
    /// Ends that were said again.
    retold: BTreeSet<(String, u32, Generation)>,
    /// What to start with, as the ledger last said.
    specs: BTreeMap<String, WorkloadSpec>,
    lease_ms: u64,
    /// Sentences for `status`.
    pub notes: Vec<String>,
}

impl Instances {
    /// Takes over what an earlier agent of this node left running.
    pub fn new(
        identity: Identity,
        boot: BootId,
        supervisor: Arc<Supervisor>,
        ended: Ended,
        reports: mpsc::Sender<Body>,
        now: Instant,
        adopted: Vec<Adopted>,
    ) -> Self {
        let mut this = Self {
            identity,
            boot,
            supervisor,
            ended,
            reports,
            slots: BTreeMap::new(),
            of_instance: BTreeMap::new(),
            restarts: BTreeMap::new(),
            unconfined: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            retold: BTreeSet::new(),
            specs: BTreeMap::new(),
            lease_ms: 0,
            notes: Vec::new(),
        };
        for found in adopted {
            this.adopt(now, found);
        }
        this
    }

    fn adopt(&mut self, now: Instant, found: Adopted) {
        match found {
            Adopted::Instance(spec) => {
                tracing::info!(workload = spec.workload, instance = %spec.instance, generation = spec.generation.0, "adopted");
                let key = (spec.workload.clone(), spec.index);
                self.of_instance.insert(spec.instance, key.clone());
                let placement = Placement {
                    generation: spec.generation,
                    epoch: spec.epoch,
                    version: spec.version,
                    // Until the ledger is heard; a changed policy alone restarts nothing.
                    restart: Policy::default(),
                };
                self.step(now, key, Event::Adopted { instance: spec.instance, placement });
            }
            Adopted::Surplus(spec) => {
                tracing::warn!(workload = spec.workload, instance = %spec.instance, "a second instance in one slot is stopped");
                let _unknown = self.supervisor.kill(spec.instance);
            }
            Adopted::Damaged { instance, guarded, error } => {
                let state = if guarded { "a guard still holds it" } else { "no guard holds it" };
                self.notes.push(format!("instance {instance}: {error}; {state}"));
                tracing::error!(%instance, guarded, %error, "the state of an instance is damaged");
            }
        }
    }

    /// Whether anything here needs the node's lease.
    #[must_use]
    pub fn need_lease(&self) -> bool {
        !self.slots.is_empty()
    }

    /// What was ended with the lease and doesn't run again yet: the workload's name, or `NAME/INDEX` of several.
    #[must_use]
    pub fn cut_off(&self) -> BTreeSet<String> {
        let single =
            |name: &str| self.specs.get(name).is_some_and(|spec| spec.kind == ledger::Kind::Singleton);
        let named = |(name, index): &Key| match single(name) {
            true => name.clone(),
            false => format!("{name}/{index}"),
        };
        self.cut_off.iter().map(named).collect()
    }

    /// What the ledger wants of this node now.
    pub fn desire(&mut self, now: Instant, ledger: &Ledger) {
        self.lease_ms = ledger.cluster.as_ref().map_or(0, |c| c.settings.lease_ms);
        let mut wanted: BTreeMap<Key, Option<Placement>> =
            self.slots.keys().map(|k| (k.clone(), None)).collect();
        self.specs.clear();
        for (name, index, placement) in ledger.placements_on(self.identity.node) {
            let workload = &ledger.workloads[name];
            self.specs.insert(name.to_owned(), workload.spec.clone());
            let ends = placement.evicted.is_some() || index >= workload.desired();
            let want = (!ends).then(|| Placement {
                generation: placement.generation,
                epoch: placement.epoch,
                version: placement.version,
                restart: policy(&workload.spec),
            });
            wanted.insert((name.to_owned(), index), want);
            // An earlier agent proved its end, and may have been killed before it could say so.
            let known_ended = self.ended.of(name, index) >= placement.generation;
            if known_ended || (ends && !self.slots.contains_key(&(name.to_owned(), index))) {
                self.report_never_ran(name, index, placement.generation);
            }
        }
        for (key, want) in wanted {
            if want.is_some() || self.slots.contains_key(&key) {
                self.step(now, key, Event::Desired(want));
            }
        }
        self.slots.retain(|_, slot| !slot.is_done());
        let me = self.identity.node;
        self.retold.retain(|(name, index, generation)| {
            let placed = ledger.slot(name, *index).and_then(|slot| slot.placement.as_ref());
            placed.is_some_and(|p| p.node == me && p.generation == *generation)
        });
        let slots = &self.slots;
        self.restarts.retain(|key, _| slots.contains_key(key));
        self.cut_off.retain(|key| slots.contains_key(key));
    }

    /// Placed here and not to be run here: this node never started it, or has proven its end already. Said once.
    fn report_never_ran(&mut self, workload: &str, index: u32, generation: Generation) {
        let end = (workload.to_owned(), index, generation);
        let ended = ledger::Report::Ended { exit: None };
        if !self.retold.contains(&end) && self.report(workload, index, generation, InstanceId(0), ended) {
            self.retold.insert(end);
        }
    }

    /// The epoch under which this node may start something now.
    pub fn lease(&mut self, now: Instant, epoch: Option<LeaseEpoch>) {
        let keys: Vec<Key> = self.slots.keys().cloned().collect();
        for key in keys {
            self.step(now, key, Event::Lease(epoch));
        }
    }

    pub fn guard(&mut self, now: Instant, event: GuardEvent) {
        match event {
            GuardEvent::Started { instance, pid, started_at, confinement } => {
                if !confinement.is_confined() {
                    self.unconfined.insert(instance);
                }
                if let Some(key) = self.of_instance.get(&instance).cloned() {
                    self.step(now, key, Event::GuardStarted { instance, pid, started_at });
                }
            }
            GuardEvent::Ended { instance, outcome, confirmed } => {
                if let Some(key) = self.of_instance.get(&instance).cloned() {
                    if matches!(outcome, Outcome::Ran { cause: Cause::Deadline, .. }) {
                        self.cut_off.insert(key.clone());
                    }
                    self.step(now, key, Event::GuardEnded { instance, outcome, confirmed });
                } else if confirmed {
                    self.forget(instance);
                }
            }
        }
    }

    /// Restarts whose wait is over.
    pub fn tick(&mut self, now: Instant) {
        let due = |slot: &Slot| slot.wake_at().is_some_and(|at| at <= now);
        let keys: Vec<Key> = self.slots.iter().filter(|(_, s)| due(s)).map(|(k, _)| k.clone()).collect();
        for key in keys {
            self.step(now, key, Event::Tick);
        }
    }

    fn step(&mut self, now: Instant, key: Key, event: Event) {
        let mut effects = Vec::new();
        let ended = &self.ended;
        let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot::after(ended.of(&key.0, key.1)));
        slot.step(now, event, InstanceId(rand::random()), &mut effects);
        for effect in effects {
            self.carry_out(now, &key, effect);
        }
    }

    fn carry_out(&mut self, now: Instant, key: &Key, effect: Effect) {
        match effect {
            Effect::Start { instance, placement } => self.start(now, key, instance, placement),
            Effect::Stop { instance } => {
                let timeout = self.specs.get(&key.0).map_or(10_000, |s| s.recovery.stop_timeout_ms);
                if let Err(error) = self.supervisor.stop(instance, Duration::from_millis(timeout)) {
                    tracing::error!(%instance, %error, "can't stop an instance");
                }
            }
            Effect::Forget { instance } => self.forget(instance),
            Effect::Report(report) => self.tell(now, key, report),
        }
    }

    fn start(&mut self, now: Instant, key: &Key, instance: InstanceId, placement: Placement) {
        self.of_instance.insert(instance, key.clone());
        self.cut_off.remove(key);
        let failed = match self.specs.get(&key.0) {
            Some(spec) => {
                let spec = self.guard_spec(spec, key.1, instance, placement);
                self.supervisor.start(spec).err().map(|e| e.to_string())
            }
            None => Some("its specification isn't known".to_owned()),
        };
        if let Some(reason) = failed {
            tracing::error!(workload = key.0, index = key.1, reason, "can't start an instance");
            let outcome = Outcome::StartFailed(reason);
            self.step(now, key.clone(), Event::GuardEnded { instance, outcome, confirmed: true });
        }
    }

    fn guard_spec(
        &self,
        spec: &WorkloadSpec,
        index: u32,
        instance: InstanceId,
        placement: Placement,
    ) -> GuardSpec {
        GuardSpec {
            instance,
            workload: spec.name.clone(),
            index,
            generation: placement.generation,
            epoch: placement.epoch,
            boot: self.boot,
            version: placement.version,
            node: self.identity.name.clone(),
            agent_addr: self.identity.address.clone(),
            command: spec.exec.command.clone(),
            env: spec.exec.env.clone(),
            user: spec.exec.user.clone(),
            working_dir: spec.exec.working_dir.clone(),
            stop_timeout_ms: spec.recovery.stop_timeout_ms,
            isolation_grace_ms: spec.recovery.isolation_grace_ms,
            lease_ms: self.lease_ms,
            logs: LogLimits::default(),
        }
    }

    fn forget(&mut self, instance: InstanceId) {
        self.of_instance.remove(&instance);
        self.unconfined.remove(&instance);
        let supervisor = self.supervisor.clone();
        // Owned by nobody, and bounded: one small removal for each instance that ended.
        tokio::spawn(async move {
            if let Err(error) = supervisor.forget(instance).await {
                tracing::debug!(%instance, %error, "an ended instance's files stay");
            }
        });
    }

    fn tell(&mut self, now: Instant, key: &Key, report: Report) {
        let (workload, index) = (key.0.as_str(), key.1);
        match report {
            Report::Starting { instance, generation } => {
                self.report(workload, index, generation, instance, ledger::Report::Starting);
            }
            Report::Running { instance, generation, pid, started_at } => {
                let unconfined = self.unconfined.contains(&instance);
                let report = ledger::Report::Running { pid, started_at, unconfined };
                self.report(workload, index, generation, instance, report);
            }
            Report::Exited { instance, generation, outcome, restart_at } => {
                let restarts = self.count_restart(key, generation);
                let restart_in_ms =
                    restart_at.map_or(0, |at| u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX));
                let lease_ended = matches!(outcome, Outcome::Ran { cause: Cause::Deadline, .. });
                let (exit, detail) = exit_of(outcome);
                let report =
                    ledger::Report::Restarting { exit, restart_in_ms, restarts, detail, lease_ended };
                self.report(workload, index, generation, instance, report);
            }
            Report::GaveUp { instance, generation, outcome } => {
                let (exit, detail) = exit_of(outcome);
                self.report(workload, index, generation, instance, ledger::Report::GaveUp { exit, detail });
            }
            Report::Ended { generation, confirmed } => {
                if confirmed {
                    let report = ledger::Report::Ended { exit: None };
                    self.report(workload, index, generation, InstanceId(0), report);
                } else {
                    tracing::warn!(
                        workload,
                        index,
                        generation = generation.0,
                        "ended, but its tree may not be empty yet"
                    );
                }
            }
        }
    }

    fn count_restart(&mut self, key: &Key, generation: Generation) -> u32 {
        let counted = self.restarts.entry(key.clone()).or_insert((generation, 0));
        if counted.0 != generation {
            *counted = (generation, 0);
        }
        counted.1 += 1;
        counted.1
    }

    /// False when the queue is full, and the report dropped.
    fn report(
        &self,
        workload: &str,
        index: u32,
        generation: Generation,
        instance: InstanceId,
        report: ledger::Report,
    ) -> bool {
        let (node, workload) = (self.identity.node, workload.to_owned());
        let name = workload.clone();
        let body = Body::InstanceReported { node, workload, index, generation, instance, report };
        let queued = self.reports.try_send(body).is_ok();
        if !queued {
            tracing::error!(workload = name, index, "too many reports wait for the ledger; one is dropped");
        }
        queued
    }
}

/// The detail is empty when the exit says it all.
fn exit_of(outcome: Outcome) -> (ledger::Exit, String) {
    match outcome {
        Outcome::StartFailed(reason) => (ledger::Exit::NeverRan, reason),
        Outcome::Ran { exit, cause } => {
            let text = match cause {
                Cause::Exited | Cause::Stopped => String::new(),
                Cause::Deadline => "the node's lease ran out".to_owned(),
                Cause::GuardLost => "its guard was killed".to_owned(),
            };
            let exit = match exit {
                Exit::Code(code) => ledger::Exit::Code(code),
                Exit::Signal(signal) => ledger::Exit::Signal(signal),
            };
            (exit, text)
        }
    }
}

fn policy(spec: &WorkloadSpec) -> Policy {
    let r = &spec.recovery;
    Policy {
        attempts: r.restart_attempts,
        window: Duration::from_millis(r.restart_window_ms),
        backoff_min: Duration::from_millis(r.backoff_min_ms),
        backoff_max: Duration::from_millis(r.backoff_max_ms),
    }
}
