//! Failure records: opened, climbed step by step, closed, and folded when there are too many. Not here: what to try
//! next (the recovery machine).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Rejection, Reply},
    state::{
        Action, DeathRecord, EventType, Failure, FailureState, InstanceState, Ledger, Method, Slot, Step,
        Subject,
    },
};
use crate::{
    ids::{FailureId, LeaseEpoch, NodeId},
    limits::{FAILURES_MAX, FOLDED_MAX, SENTENCE_BYTES, STEPS_MAX, clip, clip_evidence},
    time::WallTime,
};

impl Failure {
    /// Ends the step under way, if there is one.
    pub(super) fn finish_step(&mut self, now: WallTime, outcome: &str, detail: &str) {
        if let Some(step) = self.steps.last_mut().filter(|step| step.finished_at.is_none()) {
            step.finished_at = Some(now);
            outcome.clone_into(&mut step.outcome);
            step.detail = clip(detail, SENTENCE_BYTES);
        }
    }

    fn begin_step(&mut self, step: Step) {
        if self.steps.len() >= STEPS_MAX {
            self.steps.remove(1);
        }
        self.steps.push(step);
    }
}

impl Ledger {
    pub(super) fn failure_opened(
        &mut self,
        entry: &Entry<'_>,
        subject: &Subject,
        caused_by: Option<FailureId>,
    ) -> Outcome {
        if let Some(cause) = caused_by.filter(|id| !self.failures.contains_key(id)) {
            return Err(reject(
                "NOT_FOUND",
                format!("there is no failure {cause} that could have caused another"),
            ));
        }
        if let Some(open) = self.failure_of(subject) {
            return Err(reject("DUPLICATE", format!("failure {open} is about the same")));
        }
        let (name, death, caused_by) = match subject {
            Subject::Node(id) => self.node_failure(*id).map(|(name, death)| (name, death, caused_by))?,
            Subject::Workload(name, index) => {
                let (node, death) = self.lost_by(name, *index)?;
                let cause = caused_by.or_else(|| self.failure_of_death(node, death.epoch));
                (name.clone(), death, cause)
            }
        };
        let revocation = self.revocations.get(&death.epoch);
        let failure = Failure {
            revoked_at: revocation.map(|r| r.revoked_at),
            safe_at: revocation.and_then(|r| r.safe_at),
            epoch: death.epoch,
            caused_by,
            last_seen_at: death.last_seen_at,
            detected_at: death.suspected_at,
            declared_at: death.declared_at,
            evidence: death.evidence,
            ..blank(subject.clone(), name, death.method)
        };
        self.open(entry, failure);
        if let Subject::Workload(name, index) = subject {
            self.note_if_safe(entry, name, *index);
            self.recovers_by_placement(entry, name, *index);
        }
        self.forget_revocations();
        Ok(Reply::Done)
    }

    fn node_failure(&self, id: NodeId) -> Result<(String, DeathRecord), Rejection> {
        let node = self.listed(id)?;
        let name = &node.profile.name;
        let fine = || reject("NOT_FAILED", format!("node {name} is neither dead nor without its lease"));
        Ok((name.clone(), node.death.clone().ok_or_else(fine)?))
    }

    fn lost_by(&self, name: &str, index: u32) -> Result<(NodeId, DeathRecord), Rejection> {
        let lost = self.slot(name, index).and_then(|slot| slot.lost.as_ref());
        let fine = || reject("NOT_FAILED", format!("{name} {index} didn't lose its place"));
        lost.map(|lost| (lost.node, lost.death.clone())).ok_or_else(fine)
    }

    /// The node's failure, if it is about the end of this epoch.
    fn failure_of_death(&self, node: NodeId, epoch: LeaseEpoch) -> Option<FailureId> {
        let id = self.nodes.get(&node)?.failure?;
        (self.failures.get(&id)?.epoch == epoch).then_some(id)
    }

    /// An instance ended, by itself or with its node's lease. Opens a failure unless the slot has one.
    pub(super) fn fails(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        index: u32,
        method: Method,
        evidence: String,
    ) -> FailureId {
        let subject = Subject::Workload(name.to_owned(), index);
        if let Some(id) = self.failure_of(&subject) {
            if let Some(failure) = self.failures.get_mut(&id) {
                failure.state = FailureState::Open;
                failure.evidence.push(evidence);
                failure.evidence = clip_evidence(&failure.evidence);
            }
            return id;
        }
        let failure = Failure {
            last_seen_at: entry.now,
            detected_at: entry.now,
            declared_at: entry.now,
            evidence: clip_evidence(&[evidence]),
            ..blank(subject, name.to_owned(), method)
        };
        self.open(entry, failure)
    }

    fn open(&mut self, entry: &Entry<'_>, failure: Failure) -> FailureId {
        let id = FailureId(entry.at.index);
        match &failure.subject {
            Subject::Node(node) => {
                self.nodes.get_mut(node).into_iter().for_each(|n| n.failure = Some(id));
            }
            Subject::Workload(name, index) => {
                self.slot_mut(name, *index).into_iter().for_each(|slot| slot.failure = Some(id));
            }
        }
        let fields = [
            ("failure_id", id.to_string()),
            ("caused_by", failure.caused_by.map_or_else(String::new, |cause| cause.to_string())),
            ("evidence", failure.evidence.join("; ")),
        ];
        let name = failure.name.clone();
        self.failures.insert(id, failure);
        self.event(entry, EventType::FailureOpened, &name, format!("{name} failed"), &fields);
        self.fold_failures();
        id
    }

    pub(super) fn slot_mut(&mut self, name: &str, index: u32) -> Option<&mut Slot> {
        self.workloads.get_mut(name)?.slots.get_mut(&index)
    }

    /// A slot with a failure was placed: that is the step under way.
    pub(super) fn recovers_by_placement(&mut self, entry: &Entry<'_>, name: &str, index: u32) {
        let Some(slot) = self.slot(name, index) else { return };
        let (Some(id), Some(placement)) = (slot.failure, &slot.placement) else { return };
        let from = slot.lost.as_ref().map(|lost| lost.node).or(slot.avoid);
        let to = Some(placement.node);
        let action = if from == to { Action::Restart } else { Action::Migrate };
        self.begin_step(entry, id, action, from, to);
    }

    pub(super) fn begin_step(
        &mut self,
        entry: &Entry<'_>,
        id: FailureId,
        action: Action,
        from: Option<NodeId>,
        to: Option<NodeId>,
    ) {
        let Some(subject) = self.failures.get(&id).map(|f| f.subject.clone()) else { return };
        let placement = match &subject {
            Subject::Node(_) => None,
            Subject::Workload(name, index) => self.slot(name, *index).and_then(|s| s.placement.as_ref()),
        };
        let generation = placement.map(|p| p.generation);
        let Some(failure) = self.failures.get_mut(&id) else { return };
        failure.finish_step(entry.now, "superseded", "");
        failure.state = FailureState::Recovering;
        failure.begin_step(Step {
            action,
            instance: None,
            from,
            to,
            generation,
            started_at: entry.now,
            finished_at: None,
            outcome: String::new(),
            detail: String::new(),
        });
    }

    pub(super) fn end_step(&mut self, entry: &Entry<'_>, id: FailureId, outcome: &str, detail: &str) {
        if let Some(failure) = self.failures.get_mut(&id) {
            failure.finish_step(entry.now, outcome, detail);
        }
    }

    /// An instance runs, which without checks means that it serves.
    pub(super) fn serves(&mut self, entry: &Entry<'_>, name: &str, index: u32, started_at: WallTime) {
        let Some(slot) = self.slot_mut(name, index) else { return };
        slot.lost = None;
        let instance = slot.placement.as_ref().map(|p| p.instance);
        if let Some(id) = slot.failure {
            if let Some(failure) = self.failures.get_mut(&id) {
                failure.started_at = Some(started_at);
                if let Some(step) = failure.steps.last_mut().filter(|s| s.finished_at.is_none()) {
                    step.instance = instance;
                }
            }
            self.close_failure(entry, id, "serving");
        }
        self.forget_revocations();
    }

    /// Nothing of it is down any more, or nobody wants it up.
    pub(super) fn close_failure(&mut self, entry: &Entry<'_>, id: FailureId, outcome: &str) {
        let Some(failure) = self.failures.get_mut(&id) else { return };
        failure.finish_step(entry.now, outcome, "");
        failure.state = FailureState::Recovered;
        failure.recovered_at = Some(entry.now);
        let down_ms = entry.now.since_ms(failure.last_seen_at);
        let (name, subject) = (failure.name.clone(), failure.subject.clone());
        match &subject {
            Subject::Node(node) => self.nodes.get_mut(node).into_iter().for_each(|n| n.failure = None),
            Subject::Workload(workload, index) => {
                self.slot_mut(workload, *index).into_iter().for_each(|slot| slot.failure = None);
            }
        }
        let fields = [("failure_id", id.to_string()), ("outcome", outcome.to_owned())];
        let summary = format!("{name} recovered ({outcome}) after {down_ms} ms");
        self.event(entry, EventType::FailureRecovered, &name, summary, &fields);
    }

    fn existing(&mut self, id: FailureId) -> Result<&mut Failure, Rejection> {
        let unknown = || reject("NOT_FOUND", format!("there is no failure {id}, or it is too long ago"));
        self.failures.get_mut(&id).ok_or_else(unknown)
    }

    pub(super) fn failure_acknowledged(&mut self, entry: &Entry<'_>, id: FailureId) -> Outcome {
        let failure = self.existing(id)?;
        if failure.acknowledged_at.is_none() {
            failure.acknowledged_at = Some(entry.now);
            failure.acknowledged_by = Some(entry.actor.to_owned());
            let name = failure.name.clone();
            self.operator_event(entry, &name, format!("failure {id} of {name} was acknowledged"));
        }
        Ok(Reply::Done)
    }

    pub(super) fn failure_unrecoverable(
        &mut self,
        entry: &Entry<'_>,
        id: FailureId,
        reason: &str,
    ) -> Outcome {
        let failure = self.existing(id)?;
        if !failure.is_open() {
            return Err(reject("STALE", format!("failure {id} isn't open any more")));
        }
        let subject = failure.subject.clone();
        self.begin_step(entry, id, Action::Page, None, None);
        self.end_step(entry, id, "paged", reason);
        self.existing(id)?.state = FailureState::Unrecoverable;
        if let Subject::Workload(name, index) = &subject {
            self.slot_mut(name, *index).into_iter().for_each(|slot| slot.last = InstanceState::Failed);
        }
        Ok(Reply::Done)
    }

    /// Only recovered ones are folded: the others are few, and somebody still works on them.
    fn fold_failures(&mut self) {
        while self.failures.len() > FAILURES_MAX {
            let recovered = |f: &Failure| f.state == FailureState::Recovered;
            let Some(id) = self.failures.iter().find(|(_, f)| recovered(f)).map(|(id, _)| *id) else {
                return;
            };
            let Some(failure) = self.failures.remove(&id) else { return };
            let down_ms = failure.recovered_at.map_or(0, |at| at.since_ms(failure.last_seen_at));
            if !self.folded.contains_key(&failure.subject) && self.folded.len() >= FOLDED_MAX {
                self.drop_folded();
            }
            let total = self.folded.entry(failure.subject).or_default();
            total.failures = total.failures.saturating_add(1);
            total.down_ms = total.down_ms.saturating_add(down_ms);
        }
    }

    fn drop_folded(&mut self) {
        let listed = |subject: &Subject| match subject {
            Subject::Node(node) => self.nodes.contains_key(node),
            Subject::Workload(name, _) => self.workloads.contains_key(name),
        };
        let gone = self.folded.keys().find(|subject| !listed(subject)).or_else(|| self.folded.keys().next());
        if let Some(subject) = gone.cloned() {
            self.folded.remove(&subject);
        }
    }
}

fn blank(subject: Subject, name: String, method: Method) -> Failure {
    Failure {
        subject,
        name,
        state: FailureState::Open,
        epoch: LeaseEpoch(0),
        caused_by: None,
        method,
        evidence: Vec::new(),
        last_seen_at: WallTime(0),
        detected_at: WallTime(0),
        declared_at: WallTime(0),
        revoked_at: None,
        safe_at: None,
        started_at: None,
        recovered_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        steps: Vec::new(),
        cause: String::new(),
        alerts: Vec::new(),
    }
}
