//! The event stream's entries.

use super::timestamp;
use cluster_core::ledger::{Event, EventType};
use holdfast_proto::v1;

#[must_use]
pub fn event(event: &Event) -> v1::Event {
    v1::Event {
        index: event.index,
        time: Some(timestamp(event.time)),
        r#type: kind(event.kind).into(),
        subject: event.subject.clone(),
        summary: event.summary.clone(),
        fields: event.fields.clone().into_iter().collect(),
    }
}

fn kind(kind: EventType) -> v1::EventType {
    match kind {
        EventType::NodeJoined => v1::EventType::NodeJoined,
        EventType::NodeSuspected => v1::EventType::NodeSuspected,
        EventType::NodeDead => v1::EventType::NodeDead,
        EventType::NodeBack => v1::EventType::NodeBack,
        EventType::NodeLeft => v1::EventType::NodeLeft,
        EventType::LeaderElected => v1::EventType::LeaderElected,
        EventType::WorkloadApplied => v1::EventType::WorkloadApplied,
        EventType::InstanceStarted => v1::EventType::InstanceStarted,
        EventType::InstanceExited => v1::EventType::InstanceExited,
        EventType::LeaseRevoked => v1::EventType::LeaseRevoked,
        EventType::SafeToStart => v1::EventType::SafeToStart,
        EventType::FailureOpened => v1::EventType::FailureOpened,
        EventType::FailureRecovered => v1::EventType::FailureRecovered,
        EventType::AlertFiring => v1::EventType::AlertFiring,
        EventType::AlertResolved => v1::EventType::AlertResolved,
        EventType::OperatorAction => v1::EventType::OperatorAction,
    }
}
