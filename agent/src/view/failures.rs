//! Failure records, with the times that are derived from them.

use super::{View, timestamp, unless_empty};
use cluster_core::{
    ids::FailureId,
    ledger::{Action, Failure, FailureState, Method, Step, Subject},
    time::WallTime,
};
use holdfast_proto::v1;

impl View<'_> {
    #[must_use]
    pub fn failure(&self, id: FailureId, failure: &Failure) -> v1::Failure {
        let (kind, index) = match &failure.subject {
            Subject::Node(_) => ("node", None),
            Subject::Workload(_, index) => ("workload", Some(*index)),
        };
        v1::Failure {
            id: id.0,
            subject: Some(v1::Subject { kind: kind.to_owned(), name: failure.name.clone() }),
            detected_at: Some(timestamp(failure.detected_at)),
            declared_at: Some(timestamp(failure.declared_at)),
            recovered_at: failure.recovered_at.map(timestamp),
            state: state(failure.state).into(),
            acknowledged_at: failure.acknowledged_at.map(timestamp),
            acknowledged_by: failure.acknowledged_by.clone(),
            detection: Some(v1::Detection {
                method: method(failure.method).into(),
                evidence: failure.evidence.clone(),
            }),
            diagnosis: Some(diagnosis(failure)),
            steps: failure.steps.iter().map(|s| self.step(s)).collect(),
            last_seen_at: Some(timestamp(failure.last_seen_at)),
            revoked_at: failure.revoked_at.map(timestamp),
            safe_at: failure.safe_at.map(timestamp),
            started_at: failure.started_at.map(timestamp),
            time_to_detect_ms: Some(failure.declared_at.since_ms(failure.last_seen_at)),
            time_to_decide_ms: between(Some(failure.declared_at), failure.revoked_at),
            time_to_fence_ms: between(failure.revoked_at, failure.safe_at),
            time_to_start_ms: between(failure.safe_at, failure.started_at),
            time_to_recover_ms: between(Some(failure.last_seen_at), failure.recovered_at),
            caused_by: failure.caused_by.map(|cause| cause.0),
            alerts: failure.alerts.iter().map(u64::to_string).collect(),
            index,
        }
    }

    fn step(&self, step: &Step) -> v1::Step {
        v1::Step {
            action: match step.action {
                Action::Restart => v1::StepAction::Restart,
                Action::Migrate => v1::StepAction::Migrate,
                Action::Page => v1::StepAction::Page,
            }
            .into(),
            instance: step.instance.map(|id| id.to_string()),
            from: step.from.map(|id| self.name(id)),
            to: step.to.map(|id| self.name(id)),
            generation: step.generation.map(|g| g.0),
            started_at: Some(timestamp(step.started_at)),
            finished_at: step.finished_at.map(timestamp),
            outcome: unless_empty(&step.outcome),
            detail: unless_empty(&step.detail),
        }
    }
}

fn between(from: Option<WallTime>, to: Option<WallTime>) -> Option<u64> {
    Some(to?.since_ms(from?))
}

/// Silence alone doesn't tell a dead host from a cut cable; an exit code or an operator's word does.
fn diagnosis(failure: &Failure) -> v1::Diagnosis {
    let certain = match failure.method {
        Method::Exit | Method::Operator => 1.0,
        Method::Connection => 0.8,
        Method::Heartbeat | Method::Lease => 0.6,
    };
    let cause = unless_empty(&failure.cause);
    v1::Diagnosis {
        confidence: if cause.is_some() { certain } else { 0.0 },
        summary: match &cause {
            Some(cause) => format!("{}: {cause}", failure.name),
            None => format!("{}: the cause isn't known", failure.name),
        },
        cause: cause.unwrap_or_else(|| "unknown".to_owned()),
        evidence: failure.evidence.clone(),
    }
}

fn state(state: FailureState) -> v1::FailureState {
    match state {
        FailureState::Open => v1::FailureState::Open,
        FailureState::Recovering => v1::FailureState::Recovering,
        FailureState::Recovered => v1::FailureState::Recovered,
        FailureState::Unrecoverable => v1::FailureState::Unrecoverable,
    }
}

fn method(method: Method) -> v1::DetectionMethod {
    match method {
        Method::Heartbeat => v1::DetectionMethod::Heartbeat,
        Method::Connection => v1::DetectionMethod::Connection,
        Method::Lease => v1::DetectionMethod::Lease,
        Method::Exit => v1::DetectionMethod::Exit,
        Method::Operator => v1::DetectionMethod::Operator,
    }
}
