//! What should run: applied, stopped, started, deleted.

use super::*;

fn stop(name: &str) -> Body {
    Body::WorkloadStopped { name: name.to_owned() }
}

fn start(name: &str) -> Body {
    Body::WorkloadStarted { name: name.to_owned() }
}

fn delete(name: &str) -> Body {
    Body::WorkloadDeleted { name: name.to_owned() }
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut script = Script::with(&["n1"]);
    let version = script.apply(singleton("db"));
    assert_eq!(version, 2, "the entry's index");
    let events = script.ledger.events.len();
    assert_eq!(script.apply(singleton("db")), version);
    assert_eq!(script.ledger.events.len(), events);
}

#[test]
fn all_or_none_are_applied() {
    let mut script = Script::new();
    let specs = vec![singleton("good"), WorkloadSpec { replicas: 2, ..singleton("bad") }];
    assert_eq!(script.refused(Body::WorkloadsApplied { specs, if_version: None }), "INVALID");
    let specs = vec![singleton("twice"), singleton("twice")];
    assert_eq!(script.refused(Body::WorkloadsApplied { specs, if_version: None }), "INVALID");
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut script = Script::new();
    let ok = singleton("ok");
    let wrong = [
        singleton("Upper"),
        singleton(""),
        singleton(&"x".repeat(64)),
        WorkloadSpec { exec: ExecSpec::default(), ..ok.clone() },
        WorkloadSpec { priority: 101, ..ok.clone() },
        WorkloadSpec { ports: [("http".to_owned(), 0)].into(), ..ok.clone() },
        replicas("many", 1_001),
        replicas("none", 0),
        WorkloadSpec { recovery: RecoverySpec { backoff_min_ms: 60_000, ..ok.recovery }, ..ok.clone() },
    ];
    for spec in wrong {
        let body = Body::WorkloadsApplied { specs: vec![spec], if_version: None };
        assert_eq!(script.refused(body), "INVALID");
    }
    script.apply(ok);
    let specs = vec![replicas("ok", 1)];
    assert_eq!(script.refused(Body::WorkloadsApplied { specs, if_version: None }), "KIND_CHANGE");
    let specs = (0..60).map(|n| replicas(&format!("w{n}"), 1_000)).collect();
    let too_many = script.refused(Body::WorkloadsApplied { specs, if_version: None });
    assert_eq!(too_many, "TOO_MANY_INSTANCES");
}

#[test]
fn a_lost_update_is_refused() {
    let mut script = Script::new();
    let update = |priority, if_version| {
        let specs = vec![WorkloadSpec { priority, ..singleton("db") }];
        Body::WorkloadsApplied { specs, if_version: Some(if_version) }
    };
    assert_eq!(script.refused(update(1, 7)), "VERSION_MISMATCH");
    script.ok(update(1, 0));
    let version = script.ledger.workloads["db"].version;
    script.ok(update(2, version));
    assert_eq!(script.refused(update(3, version)), "VERSION_MISMATCH");
    assert_eq!(script.ledger.workloads["db"].spec.priority, 2);
}

#[test]
fn what_runs_is_rerun_in_place_only_when_what_it_runs_has_changed() {
    let mut script = Script::with(&["n1"]);
    script.serve("db", "n1");
    let first = script.placement("db", 0).version;
    script.apply(WorkloadSpec { priority: 99, ..singleton("db") });
    assert_eq!(script.placement("db", 0).version, first);
    let mut spec = singleton("db");
    spec.exec.command = vec!["/bin/false".to_owned()];
    let version = script.apply(spec);
    assert_eq!(script.placement("db", 0).version, version);
}

#[test]
fn surplus_replicas_are_asked_to_end_and_their_slots_go() {
    let mut script = Script::with(&["n1"]);
    script.apply(replicas("web", 3));
    script.place("web", 0, "n1");
    script.place("web", 2, "n1");
    script.apply(replicas("web", 1));
    assert_eq!(script.ledger.workloads["web"].slots.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert!(script.placement("web", 2).evicted.is_some() && script.placement("web", 0).evicted.is_none());
    assert_eq!(script.refused(script.placed("web", 1, "n1")), "NOT_WANTED");
    script.ends("web", 2);
    assert_eq!(script.ledger.workloads["web"].slots.len(), 1);
    script.apply(replicas("web", 2));
    script.place("web", 1, "n1");
}

#[test]
fn a_stopped_workload_keeps_its_place_until_its_node_confirms() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    script.ok(stop("db"));
    assert_eq!(script.ledger.desired("db"), 0);
    assert_eq!(script.placement("db", 0).state, InstanceState::Stopping);
    script.ends("db", 0);
    assert_eq!((script.slot("db", 0).last, script.ledger.failures.len()), (InstanceState::Stopped, 0));
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "NOT_WANTED");
    assert_eq!(script.ok(stop("db")), Reply::Done, "stopping it again changes nothing");
    script.now_ms = 4_000;
    script.ok(start("db"));
    let pause = Pause { from: WallTime(1_000), to: Some(WallTime(4_000)) };
    assert_eq!(script.ledger.workloads["db"].pauses, [pause]);
    script.place("db", 0, "n2");
}

#[test]
fn applying_does_not_start_what_an_operator_stopped() {
    let mut script = Script::new();
    script.apply(singleton("db"));
    script.ok(stop("db"));
    script.apply(WorkloadSpec { priority: 1, ..singleton("db") });
    assert!(script.ledger.workloads["db"].stopped);
}

#[test]
fn started_again_before_it_had_stopped_it_runs_on() {
    let mut script = Script::with(&["n1"]);
    script.serve("db", "n1");
    script.ok(stop("db"));
    script.ok(start("db"));
    assert_eq!(script.placement("db", 0).state, InstanceState::Running);
}

#[test]
fn a_stop_closes_what_was_open() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    script.dies("n1");
    let failure = script.opens(instance("db", 0));
    script.ok(stop("db"));
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
    assert_eq!(script.slot("db", 0).last, InstanceState::Stopped);
}

#[test]
fn what_was_to_stop_and_is_lost_is_no_failure() {
    let mut script = Script::with(&["n1"]);
    script.serve("db", "n1");
    script.ok(stop("db"));
    script.dies("n1");
    assert_eq!(script.slot("db", 0).last, InstanceState::Stopped);
    let opened = Body::FailureOpened { subject: instance("db", 0), caused_by: None };
    assert_eq!(script.refused(opened), "NOT_FAILED");
}

#[test]
fn a_deleted_workload_vanishes_once_nothing_of_it_runs() {
    let mut script = Script::with(&["n1"]);
    script.serve("db", "n1");
    script.ok(delete("db"));
    assert!(script.ledger.workloads["db"].deleted);
    assert_eq!(script.refused(delete("db")), "NOT_FOUND");
    assert_eq!(script.refused(start("db")), "NOT_FOUND");
    script.ends("db", 0);
    assert!(script.ledger.workloads.is_empty());
}

#[test]
fn applied_again_before_it_vanished_it_runs_on() {
    let mut script = Script::with(&["n1"]);
    let generation = script.serve("db", "n1");
    let before = script.ledger.workloads["db"].version;
    script.ok(delete("db"));
    assert!(script.apply(singleton("db")) > before);
    assert_eq!(script.placement("db", 0).generation, generation);
    assert_eq!(script.placement("db", 0).state, InstanceState::Running);
}
