//! Failure records: opened, closed, acknowledged, folded. Availability reads them.

use super::*;
use crate::{
    availability::{By, availability},
    limits::{FAILURES_MAX, STEPS_MAX},
};

fn opened(subject: Subject) -> Body {
    Body::FailureOpened { subject, caused_by: None }
}

#[test]
fn a_lost_host_makes_one_failure_of_the_node_and_one_of_each_instance() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    script.now_ms = 5_000;
    let epoch = script.dies("n1");
    script.now_ms = 5_010;
    let node = script.opens(Subject::Node(id("n1")));
    let db = script.opens(instance("db", 0));
    let failure = script.failure(node);
    assert_eq!((failure.name.as_str(), failure.method, failure.epoch), ("n1", Method::Heartbeat, epoch));
    assert_eq!((failure.last_seen_at, failure.detected_at), (WallTime(4_100), WallTime(4_700)));
    assert_eq!((failure.declared_at, failure.revoked_at), (WallTime(5_000), Some(WallTime(5_000))));
    assert_eq!((failure.evidence.as_slice(), failure.safe_at), (&["silent for 900 ms".to_owned()][..], None));
    let failure = script.failure(db);
    assert_eq!((failure.caused_by, failure.method), (Some(node), Method::Heartbeat));
    assert_eq!((failure.last_seen_at, failure.safe_at), (WallTime(4_100), None));

    script.now_ms = 6_000;
    script.safe(epoch);
    script.now_ms = 6_100;
    script.place("db", 0, "n2");
    assert_eq!(script.failure(db).state, FailureState::Recovering);
    script.now_ms = 6_200;
    script.runs("db", 0);
    let failure = script.failure(db);
    assert_eq!((failure.state, failure.safe_at), (FailureState::Recovered, Some(WallTime(6_000))));
    assert_eq!((failure.started_at, failure.recovered_at), (Some(WallTime(6_200)), Some(WallTime(6_200))));
    let step = &failure.steps[0];
    assert_eq!((step.action, step.from, step.to), (Action::Migrate, Some(id("n1")), Some(id("n2"))));
    assert_eq!((step.outcome.as_str(), step.generation), ("serving", Some(Generation(2))));
    assert!(step.instance.is_some());
    assert_eq!(script.failure(node).state, FailureState::Open, "its node is still away");
    assert_eq!(script.ledger.open_failures().count(), 1);
}

#[test]
fn a_failure_is_opened_once_and_only_of_what_failed() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    assert_eq!(script.refused(opened(Subject::Node(id("n1")))), "NOT_FAILED");
    assert_eq!(script.refused(opened(instance("db", 0))), "NOT_FAILED");
    assert_eq!(script.refused(opened(instance("nothing", 0))), "NOT_FAILED");
    assert_eq!(script.refused(opened(Subject::Node(id("n9")))), "NOT_FOUND");
    script.dies("n1");
    script.ok(opened(Subject::Node(id("n1"))));
    assert_eq!(script.refused(opened(Subject::Node(id("n1")))), "DUPLICATE");
    let caused_by = Some(FailureId(999));
    assert_eq!(script.refused(Body::FailureOpened { subject: instance("db", 0), caused_by }), "NOT_FOUND");
}

#[test]
fn what_may_run_twice_is_safe_at_once() {
    let mut script = Script::with(&["n1", "n2"]);
    script.apply(replicas("web", 1));
    script.place("web", 0, "n1");
    script.dies("n1");
    let failure = script.opens(instance("web", 0));
    assert!(script.failure(failure).safe_at.is_some());
}

#[test]
fn a_place_that_is_lost_during_recovery_belongs_to_the_same_failure() {
    let mut script = Script::with(&["n1", "n2", "n3"]);
    script.serve("db", "n1");
    let first = script.dies("n1");
    let failure = script.opens(instance("db", 0));
    script.safe(first);
    script.place("db", 0, "n2");
    let second = script.dies("n2");
    assert_eq!(script.refused(opened(instance("db", 0))), "DUPLICATE");
    let record = script.failure(failure);
    assert_eq!((record.state, record.epoch, record.safe_at), (FailureState::Open, second, None));
    assert_eq!(record.steps[0].outcome, "lost");
    assert_eq!(script.refused(script.placed("db", 0, "n3")), "NOT_SAFE");
    script.safe(second);
    script.place("db", 0, "n3");
    script.runs("db", 0);
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
}

#[test]
fn an_unrecoverable_failure_is_paged_and_still_ends_when_it_serves() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let epoch = script.dies("n1");
    let failure = script.opens(instance("db", 0));
    let unrecoverable = Body::FailureUnrecoverable { failure, reason: "no node left".to_owned() };
    script.ok(unrecoverable.clone());
    let record = script.failure(failure);
    assert_eq!((record.state, record.steps[0].action), (FailureState::Unrecoverable, Action::Page));
    assert_eq!(record.steps[0].detail, "no node left");
    assert_eq!(script.ledger.open_failures().count(), 0);
    assert_eq!(script.refused(unrecoverable), "STALE");
    script.safe(epoch);
    script.place("db", 0, "n2");
    script.runs("db", 0);
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
}

#[test]
fn the_first_acknowledgement_stands() {
    let mut script = Script::with(&["n1"]);
    script.dies("n1");
    let failure = script.opens(Subject::Node(id("n1")));
    script.ok(Body::FailureAcknowledged { failure });
    script.now_ms += 50;
    script.ok(Body::FailureAcknowledged { failure });
    assert_eq!(script.failure(failure).acknowledged_at, Some(WallTime(1_000)));
    assert_eq!(script.failure(failure).acknowledged_by.as_deref(), Some("local"));
    assert_eq!(script.refused(Body::FailureAcknowledged { failure: FailureId(99) }), "NOT_FOUND");
}

#[test]
fn steps_and_failures_are_bounded_and_folded_ones_stay_counted() {
    let mut script = Script::with(&["n1", "n2"]);
    script.dies("n2");
    let open = script.opens(Subject::Node(id("n2")));
    script.serve("db", "n1");
    for round in 0..FAILURES_MAX as u32 + 10 {
        script.now_ms += 100;
        let report = Report::Restarting {
            exit: Exit::Code(1),
            restart_in_ms: 1,
            restarts: round + 1,
            detail: String::new(),
            lease_ended: false,
        };
        script.ok(script.says("db", 0, report));
        script.now_ms += 10;
        script.runs("db", 0);
    }
    assert_eq!(script.ledger.failures.len(), FAILURES_MAX);
    assert!(script.ledger.failures.contains_key(&open), "what is open is never folded");
    assert_eq!(script.ledger.folded[&instance("db", 0)], Folded { failures: 11, down_ms: 110 });
    let all = &availability(&script.ledger, By::Workload, None, script.ledger.clock)[0];
    assert_eq!((all.failures, all.down_ms), (FAILURES_MAX as u64 + 10, 10 * (FAILURES_MAX as u64 + 10)));

    for round in 0..STEPS_MAX as u32 + 5 {
        let restarts = 1_000_000 + round;
        script.ok(script.says(
            "db",
            0,
            Report::Restarting {
                exit: Exit::Code(1),
                restart_in_ms: 1,
                restarts,
                detail: String::new(),
                lease_ended: false,
            },
        ));
    }
    assert_eq!(script.last_failure().steps.len(), STEPS_MAX);
    assert!(script.last_failure().evidence.len() <= crate::limits::EVIDENCE_LINES);
}

#[test]
fn a_changed_specification_is_tried_though_the_old_one_was_given_up() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    script.ok(script.says("db", 0, Report::GaveUp { exit: Exit::Code(1), detail: "broken".to_owned() }));
    let (failure, _) = script.ledger.open_failures().next().unwrap();
    script.ok(Body::FailureUnrecoverable { failure, reason: "tried everywhere".to_owned() });
    let mut fixed = singleton("db");
    fixed.exec.command = vec!["/bin/fixed".to_owned()];
    script.ok(Body::WorkloadsApplied { specs: vec![fixed], if_version: None });
    let slot = script.ledger.slot("db", 0).unwrap();
    assert_eq!((slot.moves, slot.avoid, slot.failure), (0, None, Some(failure)));
    assert_eq!(script.failure(failure).state, FailureState::Open);
    script.place("db", 0, "n1");
    script.runs("db", 0);
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
}
