//! What nodes say of their instances. Not here: placing them (see apply_place.rs), or when to restart (the node).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Reply, Report},
    state::{Action, EventType, Exit, InstanceState, Ledger, Method, Placement},
};
use crate::{
    ids::{Generation, InstanceId, NodeId},
    limits::{SENTENCE_BYTES, clip},
    time::WallTime,
};

/// What every report says about itself.
#[derive(Clone, Copy)]
struct Told<'a> {
    node: NodeId,
    workload: &'a str,
    index: u32,
    instance: InstanceId,
}

fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
        Exit::NeverRan => "couldn't be started".to_owned(),
    }
}

/// How it ended, and why if that says more.
fn said(exit: Exit, detail: &str) -> String {
    let detail = clip(detail, SENTENCE_BYTES);
    if detail.is_empty() { how(exit) } else { format!("{}: {detail}", how(exit)) }
}

impl Ledger {
    #[allow(clippy::too_many_arguments, reason = "the fields of one variant")]
    pub(super) fn instance_reported(
        &mut self,
        entry: &Entry<'_>,
        node: NodeId,
        workload: &str,
        index: u32,
        generation: Generation,
        instance: InstanceId,
        report: &Report,
    ) -> Outcome {
        let told = Told { node, workload, index, instance };
        if matches!(report, Report::Ended { .. }) && self.confirm_lost(entry, told, generation) {
            return Ok(Reply::Done);
        }
        let placement = self.slot(workload, index).and_then(|slot| slot.placement.as_ref());
        if !placement.is_some_and(|p| p.node == node && p.generation == generation) {
            let (on, message) = (self.node_name(node), "isn't what is placed there now");
            return Err(reject(
                "STALE",
                format!("generation {generation} of {workload} {index} on {on} {message}"),
            ));
        }
        match report {
            Report::Starting => self.told_starting(told),
            Report::Running { pid, started_at, unconfined } => {
                self.told_running(entry, told, *pid, *started_at, *unconfined);
            }
            Report::Restarting { exit, restart_in_ms, restarts, detail, lease_ended } => {
                let how = said(*exit, detail);
                let method = if *lease_ended { Method::Lease } else { Method::Exit };
                self.told_restarting(entry, told, (method, &how), *restart_in_ms, *restarts);
            }
            Report::GaveUp { exit, detail } => self.told_gave_up(entry, told, *exit, detail),
            Report::Ended { exit } => self.told_ended(entry, told, *exit),
        }
        Ok(Reply::Done)
    }

    /// Takes in what the node says, unless the instance is being stopped: then it stays `Stopping`. True if it isn't.
    fn told(&mut self, told: Told<'_>, change: impl FnOnce(&mut Placement)) -> bool {
        let Some(placement) = self.placement_mut(told) else { return false };
        let stopping = placement.state == InstanceState::Stopping;
        placement.instance = told.instance;
        change(placement);
        if stopping {
            placement.state = InstanceState::Stopping;
        }
        !stopping
    }

    fn placement_mut(&mut self, told: Told<'_>) -> Option<&mut Placement> {
        let slot = self.workloads.get_mut(told.workload)?.slots.get_mut(&told.index)?;
        slot.placement.as_mut()
    }

    fn told_starting(&mut self, told: Told<'_>) {
        self.told(told, |placement| {
            placement.started_at = None;
            placement.pid = 0;
            placement.state = InstanceState::Starting;
        });
    }

    fn told_running(
        &mut self,
        entry: &Entry<'_>,
        told: Told<'_>,
        pid: u32,
        started_at: WallTime,
        unconfined: bool,
    ) {
        let (mut generation, mut started) = (Generation::default(), entry.now);
        let known = |p: &Placement| p.instance == told.instance && p.pid == pid && p.started_at.is_some();
        if self.placement_mut(told).is_some_and(|p| known(p)) {
            return;
        }
        let serves = self.told(told, |placement| {
            // The node's wall clock may differ: a start is never shown before its placement, nor in the future.
            started = started_at.clamp(placement.placed_at, entry.now);
            generation = placement.generation;
            placement.pid = pid;
            placement.started_at = Some(started);
            placement.unconfined = unconfined;
            placement.detail = String::new();
            placement.state = InstanceState::Running;
        });
        let on = self.node_name(told.node);
        let fields = [
            ("node", on.clone()),
            ("index", told.index.to_string()),
            ("generation", generation.to_string()),
            ("pid", pid.to_string()),
        ];
        let summary = format!("{} on {on}, generation {generation}", told.workload);
        self.event(entry, EventType::InstanceStarted, told.workload, summary, &fields);
        if serves {
            self.serves(entry, told.workload, told.index, started);
        }
    }

    fn told_restarting(
        &mut self,
        entry: &Entry<'_>,
        told: Told<'_>,
        (method, how): (Method, &str),
        restart_in_ms: u64,
        restarts: u32,
    ) {
        let known = |p: &Placement| {
            p.instance == told.instance
                && p.restarts == restarts
                && p.started_at.is_none()
                && !p.detail.is_empty()
        };
        if self.placement_mut(told).is_some_and(|p| known(p)) {
            return;
        }
        self.forgive(entry, told);
        let said = format!("{how}, restarts in {restart_in_ms} ms");
        let wanted = self.told(told, |placement| {
            placement.restarts = restarts;
            placement.detail = said.clone();
            placement.started_at = None;
            placement.pid = 0;
            placement.state = InstanceState::Failed;
        });
        self.exited_event(entry, told, &said);
        if wanted {
            let evidence = format!("{how} on {}", self.node_name(told.node));
            let failure = self.fails(entry, told.workload, told.index, method, evidence);
            let node = Some(told.node);
            self.begin_step(entry, failure, Action::Restart, node, node);
        }
    }

    fn told_gave_up(&mut self, entry: &Entry<'_>, told: Told<'_>, exit: Exit, detail: &str) {
        let failed = self.free(entry, told);
        let detail = clip(detail, SENTENCE_BYTES);
        let mut said = format!("{} on {}, restarts used up", how(exit), self.node_name(told.node));
        if !detail.is_empty() {
            said = format!("{said}: {detail}");
        }
        self.exited_event(entry, told, &said);
        if failed {
            let slot = self.workloads.get_mut(told.workload).and_then(|w| w.slots.get_mut(&told.index));
            if let Some(slot) = slot {
                slot.avoid = Some(told.node);
                slot.moves = slot.moves.saturating_add(1);
            }
            let failure = self.fails(entry, told.workload, told.index, Method::Exit, said);
            self.end_step(entry, failure, "gave_up", &detail);
        }
        self.freed(entry, told);
    }

    /// The node's durable word that the tree is empty: the next placement is safe at once. Of a slot that should run
    /// and wasn't asked to end it is a failure.
    fn told_ended(&mut self, entry: &Entry<'_>, told: Told<'_>, exit: Option<Exit>) {
        let failed = self.free(entry, told);
        let how = exit.map_or("ended".to_owned(), how);
        self.exited_event(entry, told, &how);
        if failed {
            let evidence = format!("{how} on {} without being asked to", self.node_name(told.node));
            let failure = self.fails(entry, told.workload, told.index, Method::Exit, evidence);
            self.end_step(entry, failure, "ended", &how);
        }
        self.freed(entry, told);
    }

    /// Frees the slot. True if it should have gone on running: nobody stopped, deleted, shrank or evicted it.
    fn free(&mut self, entry: &Entry<'_>, told: Told<'_>) -> bool {
        self.forgive(entry, told);
        let Some(workload) = self.workloads.get_mut(told.workload) else { return false };
        let wanted = told.index < workload.desired();
        let Some(slot) = workload.slots.get_mut(&told.index) else { return false };
        let asked = slot.placement.take().is_some_and(|p| p.evicted.is_some());
        let failed = wanted && !asked;
        slot.last = if failed { InstanceState::Failed } else { InstanceState::Stopped };
        failed
    }

    fn freed(&mut self, entry: &Entry<'_>, told: Told<'_>) {
        self.settle_workload(entry, told.workload);
        self.settle_drain(told.node);
    }

    fn forgive(&mut self, entry: &Entry<'_>, told: Told<'_>) {
        if let Some(workload) = self.workloads.get_mut(told.workload) {
            let window_ms = workload.spec.recovery.restart_window_ms;
            workload
                .slots
                .get_mut(&told.index)
                .into_iter()
                .for_each(|s| s.forgive_moves(entry.now, window_ms));
        }
    }

    /// A node that lost its lease, and lives, confirms the end of what it held: nothing need wait for the lease.
    fn confirm_lost(&mut self, entry: &Entry<'_>, told: Told<'_>, generation: Generation) -> bool {
        let mut theirs = self.revocations.values_mut().filter(|r| r.node == told.node);
        let confirmed = theirs.any(|revocation| {
            let before = revocation.held.len();
            let ended = |h: &super::state::Held| {
                h.workload == told.workload && h.index == told.index && h.generation == generation
            };
            revocation.held.retain(|held| !ended(held));
            revocation.held.len() < before
        });
        if confirmed {
            self.refresh_waits(told.workload);
            self.note_if_safe(entry, told.workload, told.index);
            self.exited_event(entry, told, &format!("generation {generation} ended, confirmed by its node"));
        }
        confirmed
    }

    fn exited_event(&mut self, entry: &Entry<'_>, told: Told<'_>, said: &str) {
        let on = self.node_name(told.node);
        let fields = [("node", on.clone()), ("index", told.index.to_string())];
        let summary = format!("{} on {on}: {said}", told.workload);
        self.event(entry, EventType::InstanceExited, told.workload, summary, &fields);
    }
}
