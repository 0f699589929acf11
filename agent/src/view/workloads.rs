//! Workloads and their instances.

use super::{State, View, timestamp, unless_empty};
use cluster_core::ledger::{self, InstanceState, Kind, Placement, Slot, Workload};
use holdfast_proto::v1;

/// Stands where a value may be a secret.
const HIDDEN: &str = "***";

impl View<'_> {
    /// All workloads that aren't on their way out with nothing left, by name.
    #[must_use]
    pub fn workloads(&self) -> Vec<v1::Workload> {
        self.ledger.workloads.iter().map(|(name, w)| self.workload(name, w)).collect()
    }

    #[must_use]
    pub fn workload(&self, name: &str, workload: &Workload) -> v1::Workload {
        let desired = workload.desired();
        // Indexes that should be there but were never placed are shown as well; so are those still to be ended.
        let mut indexes: Vec<u32> = (0..desired).chain(workload.slots.keys().copied()).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let instances: Vec<v1::Instance> = indexes
            .into_iter()
            .map(|index| self.instance(workload, index, workload.slots.get(&index)))
            .collect();
        let running = instances.iter().filter(|i| i.state() == v1::InstanceState::Running).count();
        let running = u32::try_from(running).expect("a workload's replicas are counted in 32 bits");
        v1::Workload {
            name: name.to_owned(),
            kind: kind(workload.spec.kind).into(),
            desired,
            running,
            // Without checks an instance that runs is healthy.
            healthy: running,
            instances,
            version: workload.version,
            stopped: workload.stopped,
            spec: Some(spec(&workload.spec)),
        }
    }

    fn instance(&self, workload: &Workload, index: u32, slot: Option<&Slot>) -> v1::Instance {
        if let Some(placement) = slot.and_then(|s| s.placement.as_ref()) {
            return self.placed(index, placement);
        }
        let (state, detail) = self.unplaced(workload, slot);
        v1::Instance { index, state: state.into(), detail, ..v1::Instance::default() }
    }

    fn placed(&self, index: u32, placement: &Placement) -> v1::Instance {
        let lost = self.state(placement.node) == State::Dead;
        let state = match (lost, &placement.evicted) {
            (true, _) => v1::InstanceState::Lost,
            (false, Some(_)) if placement.state == InstanceState::Running => v1::InstanceState::Stopping,
            _ => instance_state(placement.state),
        };
        let started = placement.state == InstanceState::Running || placement.pid != 0;
        v1::Instance {
            id: (placement.instance.0 != 0).then(|| placement.instance.to_string()),
            index,
            node: Some(self.name(placement.node)),
            state: state.into(),
            generation: Some(placement.generation.0),
            pid: (started && placement.pid != 0).then_some(placement.pid),
            started_at: placement.started_at.map(timestamp),
            restarts: placement.restarts,
            detail: placement.evicted.clone().or_else(|| unless_empty(&placement.detail)),
            confined: started && !placement.unconfined,
        }
    }

    /// Why an instance runs nowhere. The state says what is the case; the detail what it waits for.
    fn unplaced(&self, workload: &Workload, slot: Option<&Slot>) -> (v1::InstanceState, Option<String>) {
        if workload.stopped || workload.deleted {
            return (v1::InstanceState::Stopped, None);
        }
        let Some(slot) = slot else {
            return (v1::InstanceState::Pending, Some("it waits to be placed".to_owned()));
        };
        let waits = slot.waits_for.and_then(|epoch| {
            let revocation = self.ledger.revocations.get(&epoch)?;
            revocation.safe_at.is_none().then(|| {
                format!(
                    "it waits until the lease of {} is over, so that it never runs twice",
                    self.name(revocation.node)
                )
            })
        });
        match (waits, slot.last) {
            (Some(detail), InstanceState::Pending | InstanceState::Lost) => {
                (v1::InstanceState::Lost, Some(detail))
            }
            (waits, last) => {
                let text = waits.unwrap_or_else(|| "it waits to be placed".to_owned());
                (instance_state(last), Some(text))
            }
        }
    }
}

/// A specification as it was applied, except that the values of its environment are hidden.
#[must_use]
pub fn spec(spec: &ledger::WorkloadSpec) -> v1::WorkloadSpec {
    let recovery = &spec.recovery;
    v1::WorkloadSpec {
        name: spec.name.clone(),
        kind: kind(spec.kind).into(),
        replicas: spec.replicas,
        priority: spec.priority.into(),
        ports: spec.ports.iter().map(|(name, port)| (name.clone(), u32::from(*port))).collect(),
        exec: Some(v1::ExecSpec {
            command: spec.exec.command.clone(),
            user: spec.exec.user.clone(),
            working_dir: spec.exec.working_dir.clone(),
            env: spec.exec.env.keys().map(|name| (name.clone(), HIDDEN.to_owned())).collect(),
        }),
        recovery: Some(v1::RecoverySpec {
            restart_attempts: recovery.restart_attempts,
            restart_within_ms: recovery.restart_window_ms,
            backoff_min_ms: recovery.backoff_min_ms,
            backoff_max_ms: recovery.backoff_max_ms,
            migrate: recovery.migrate,
            stop_timeout_ms: recovery.stop_timeout_ms,
            isolation_grace_ms: recovery.isolation_grace_ms,
            keep_on_isolation: recovery.keep_on_isolation,
        }),
    }
}

fn kind(kind: Kind) -> v1::WorkloadKind {
    match kind {
        Kind::Singleton => v1::WorkloadKind::Singleton,
        Kind::Replicas => v1::WorkloadKind::Replicas,
    }
}

fn instance_state(state: InstanceState) -> v1::InstanceState {
    match state {
        InstanceState::Pending => v1::InstanceState::Pending,
        InstanceState::Starting => v1::InstanceState::Starting,
        InstanceState::Running => v1::InstanceState::Running,
        InstanceState::Stopping => v1::InstanceState::Stopping,
        InstanceState::Stopped => v1::InstanceState::Stopped,
        InstanceState::Failed => v1::InstanceState::Failed,
        InstanceState::Lost => v1::InstanceState::Lost,
    }
}
