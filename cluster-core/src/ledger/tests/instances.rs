//! Placing, evicting, and what nodes say of their instances.

use super::*;

fn exited(restarts: u32) -> Report {
    Report::Restarting {
        exit: Exit::Code(1),
        restart_in_ms: 500,
        restarts,
        detail: String::new(),
        lease_ended: false,
    }
}

fn gave_up() -> Report {
    Report::GaveUp { exit: Exit::Signal(9), detail: "3 restarts in 5 min".to_owned() }
}

#[test]
fn only_what_is_wanted_is_placed_where_it_may_be() {
    let mut script = Script::with(&["n1", "n2"]);
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "NOT_FOUND");
    script.apply(singleton("db"));
    assert_eq!(script.refused(script.placed("db", 1, "n1")), "NOT_WANTED");
    assert_eq!(script.refused(script.placed("db", 0, "n9")), "NOT_FOUND");
    let Body::Placed { workload, index, version, node, epoch } = script.placed("db", 0, "n1") else {
        unreachable!()
    };
    let other = |version, epoch| Body::Placed { workload: workload.clone(), index, version, node, epoch };
    assert_eq!(script.refused(other(version + 1, epoch)), "VERSION_MISMATCH");
    assert_eq!(script.refused(other(version, script.epoch("n2"))), "EPOCH_MISMATCH");
    script.ok(other(version, epoch));
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "ALREADY_PLACED");
}

#[test]
fn a_witness_runs_nothing() {
    let mut script = Script::new();
    let Body::NodeUp { node, mut profile, boot, session, incarnation, replaces, returning } =
        node_up("n1", 1, None)
    else {
        unreachable!()
    };
    profile.role = Role::Witness;
    script.ok(Body::NodeUp { node, profile, boot, session, incarnation, replaces, returning });
    script.apply(singleton("db"));
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "NODE_IS_WITNESS");
}

#[test]
fn generations_outrun_a_disaster_recovery() {
    let mut script = Script::with(&["n1"]);
    script.apply(replicas("web", 3));
    let first = script.place("web", 0, "n1");
    assert_eq!(first, Generation::floor(0));
    script.ledger.recoveries = 1;
    let second = script.place("web", 1, "n1");
    assert_eq!(second, Generation::floor(1));
    assert_eq!(script.place("web", 2, "n1"), second.next());
}

#[test]
fn what_another_generation_or_node_says_is_stale() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let old = script.says("db", 0, Report::Ended { exit: None });
    script.ok(old.clone());
    script.place("db", 0, "n2");
    assert_eq!(script.refused(old), "STALE");
    let evicted = |generation| {
        let (workload, reason) = ("db".to_owned(), "move".to_owned());
        Body::Evicted { workload, index: 0, generation, reason }
    };
    let generation = script.placement("db", 0).generation;
    assert_eq!(script.refused(evicted(Generation(1))), "STALE");
    script.ok(evicted(generation));
    script.runs("db", 0);
    assert_eq!(script.placement("db", 0).state, InstanceState::Stopping, "it runs, but not for long");
}

#[test]
fn an_instance_that_runs_is_shown_with_its_process() {
    let mut script = Script::with(&["n1"]);
    script.apply(singleton("db"));
    script.place("db", 0, "n1");
    script.ok(script.says("db", 0, Report::Starting));
    assert_eq!(script.placement("db", 0).state, InstanceState::Starting);
    script.runs("db", 0);
    let placement = script.placement("db", 0);
    assert_eq!((placement.state, placement.pid), (InstanceState::Running, 4_711));
    assert_eq!(script.last_event(), EventType::InstanceStarted);
    let events = script.ledger.events.len();
    script.runs("db", 0);
    assert_eq!(script.ledger.events.len(), events, "said twice");
}

#[test]
fn a_restart_on_the_node_is_a_failure_until_it_runs_again() {
    let mut script = Script::with(&["n1"]);
    let generation = script.serve("db", "n1");
    script.now_ms = 2_000;
    script.ok(script.says("db", 0, exited(1)));
    let failure = script.last_failure();
    assert_eq!((failure.method, failure.state), (Method::Exit, FailureState::Recovering));
    assert_eq!(failure.evidence, ["exited with code 1 on n1"]);
    assert_eq!(script.placement("db", 0).generation, generation, "it stays over restarts");
    let again = script.says("db", 0, exited(2));
    script.ok(again.clone());
    script.ok(again);
    assert_eq!(script.last_failure().steps.len(), 2, "said twice");

    script.now_ms = 3_000;
    script.ok(script.says("db", 0, Report::Starting));
    script.runs("db", 0);
    let failure = script.last_failure();
    assert_eq!((failure.state, failure.recovered_at), (FailureState::Recovered, Some(WallTime(3_000))));
    assert_eq!(failure.started_at, Some(WallTime(3_000)));
    let outcomes: Vec<&str> = failure.steps.iter().map(|step| step.outcome.as_str()).collect();
    assert_eq!(outcomes, ["superseded", "serving"]);
    assert!(failure.steps.iter().all(|step| step.action == Action::Restart));
    assert_eq!((script.ledger.failures.len(), script.slot("db", 0).failure), (1, None));
}

#[test]
fn a_node_that_gave_up_is_avoided_and_the_failure_stays_open() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    script.ok(script.says("db", 0, exited(1)));
    script.ok(script.says("db", 0, gave_up()));
    let slot = script.slot("db", 0);
    assert_eq!((slot.placement.as_ref(), slot.avoid, slot.moves), (None, Some(id("n1")), 1));
    assert_eq!(slot.last, InstanceState::Failed);
    let failure = script.last_failure();
    assert_eq!((failure.state, failure.steps[0].outcome.as_str()), (FailureState::Open, "gave_up"));

    script.place("db", 0, "n2");
    let step = &script.last_failure().steps[1];
    assert_eq!((step.action, step.from, step.to), (Action::Migrate, Some(id("n1")), Some(id("n2"))));
    script.runs("db", 0);
    assert_eq!(script.last_failure().state, FailureState::Recovered);
    assert_eq!(script.slot("db", 0).moves, 1, "not forgiven yet");

    script.now_ms += 300_000;
    script.ok(script.says("db", 0, gave_up()));
    assert_eq!(script.slot("db", 0).moves, 1, "it had served for the whole window: counted afresh");
    assert_eq!(script.ledger.failures.len(), 2);
}

#[test]
fn an_end_that_nobody_asked_for_is_a_failure() {
    let mut script = Script::with(&["n1"]);
    script.serve("db", "n1");
    script.ok(script.says("db", 0, Report::Ended { exit: Some(Exit::Signal(9)) }));
    assert_eq!(script.slot("db", 0).last, InstanceState::Failed);
    assert_eq!(script.last_failure().state, FailureState::Open);
    script.place("db", 0, "n1");
    script.runs("db", 0);
    assert_eq!(script.last_failure().state, FailureState::Recovered);
}

#[test]
fn starts_are_never_shown_in_the_future_nor_before_their_placement() {
    let mut script = Script::with(&["n1"]);
    script.apply(replicas("web", 2));
    for (index, said, shown) in [(0, 1, 1_000), (1, 999_999, 1_000)] {
        script.place("web", index, "n1");
        let report = Report::Running { pid: 1, started_at: WallTime(said), unconfined: true };
        script.ok(script.says("web", index, report));
        assert_eq!(script.placement("web", index).started_at, Some(WallTime(shown)));
    }
}
