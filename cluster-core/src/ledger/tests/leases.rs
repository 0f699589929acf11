//! Epochs end, what they held waits, and they become safe.

use super::*;

#[test]
fn a_cut_takes_all_its_nodes_in_one_change_of_view() {
    let mut script = Script::with(&["n1", "n2", "n3"]);
    let view = script.ledger.view_epoch;
    let deaths = vec![script.death("n1"), script.death("n2")];
    let epochs: Vec<LeaseEpoch> = deaths.iter().map(|death| death.epoch).collect();
    script.ok(Body::NodesDead { deaths });
    assert_eq!(script.ledger.view_epoch.0, view.0 + 1);
    assert!(epochs.iter().all(|epoch| script.ledger.revocations.contains_key(epoch)));
    assert!([script.node("n1"), script.node("n2")].iter().all(|node| node.state == NodeState::Dead));
    assert_eq!(script.node("n3").state, NodeState::Alive);
}

#[test]
fn a_death_of_the_past_is_passed_over() {
    let mut script = Script::with(&["n1", "n2"]);
    let stale = script.death("n1");
    script.dies("n1");
    script.ok(node_up("n1", 1, None));
    assert_eq!(script.refused(Body::NodesDead { deaths: vec![stale.clone()] }), "STALE");
    let fresh = script.death("n2");
    script.ok(Body::NodesDead { deaths: vec![stale, fresh.clone(), fresh] });
    assert_eq!((script.node("n1").state, script.node("n2").state), (NodeState::Alive, NodeState::Dead));
}

#[test]
fn a_singleton_waits_until_its_old_nodes_epoch_is_safe() {
    let mut script = Script::with(&["n1", "n2"]);
    let first = script.serve("db", "n1");
    let epoch = script.dies("n1");
    assert_eq!(script.slot("db", 0).waits_for, Some(epoch));
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "NOT_SAFE");
    let failure = script.opens(instance("db", 0));
    script.safe(epoch);
    assert_eq!(script.slot("db", 0).waits_for, None);
    assert_eq!(script.failure(failure).safe_at, Some(WallTime(1_000)));
    let second = script.place("db", 0, "n2");
    assert!(second > first);
}

#[test]
fn a_singleton_waits_even_if_it_was_told_to_keep_running() {
    let mut script = Script::with(&["n1", "n2"]);
    let mut spec = singleton("db");
    spec.recovery.keep_on_isolation = true;
    script.apply(spec);
    script.place("db", 0, "n1");
    script.dies("n1");
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "NOT_SAFE");
}

#[test]
fn replicas_that_may_run_twice_wait_for_nothing_and_others_only_for_their_own_slot() {
    let mut script = Script::with(&["n1", "n2"]);
    let mut strict = replicas("strict", 2);
    strict.recovery.keep_on_isolation = false;
    script.apply(replicas("web", 1));
    script.apply(strict);
    script.place("web", 0, "n1");
    script.place("strict", 0, "n1");
    script.dies("n1");
    assert_eq!(script.slot("web", 0).waits_for, None);
    script.place("web", 0, "n2");
    assert_eq!(script.refused(script.placed("strict", 0, "n2")), "NOT_SAFE");
    script.place("strict", 1, "n2");
}

#[test]
fn deleting_and_applying_again_forgets_nothing() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let epoch = script.dies("n1");
    script.ok(Body::WorkloadDeleted { name: "db".to_owned() });
    assert!(!script.ledger.workloads.contains_key("db"));
    script.apply(singleton("db"));
    assert_eq!(script.slot("db", 0).waits_for, Some(epoch));
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "NOT_SAFE");
    script.safe(epoch);
    script.place("db", 0, "n2");
}

#[test]
fn a_name_reused_for_a_singleton_waits_for_the_replicas_of_before() {
    let mut script = Script::with(&["n1", "n2", "n3"]);
    script.apply(replicas("web", 2));
    script.place("web", 0, "n1");
    script.place("web", 1, "n2");
    let first = script.dies("n1");
    let second = script.dies("n2");
    script.ok(Body::WorkloadDeleted { name: "web".to_owned() });
    script.apply(singleton("web"));
    script.safe(first);
    assert_eq!(script.slot("web", 0).waits_for, Some(second));
    assert_eq!(script.refused(script.placed("web", 0, "n3")), "NOT_SAFE");
    script.safe(second);
    script.place("web", 0, "n3");
}

#[test]
fn a_node_without_a_lease_lives_on_and_gets_a_new_epoch() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let epoch = script.epoch("n1");
    let lost = |epoch| Body::LeaseLost {
        node: id("n1"),
        epoch,
        last_seen_at: WallTime(500),
        evidence: vec!["no majority for 2,000 ms".to_owned()],
    };
    assert_eq!(script.refused(lost(LeaseEpoch(99))), "STALE");
    script.ok(lost(epoch));
    assert_eq!((script.node("n1").state, script.epoch("n1")), (NodeState::Alive, LeaseEpoch(0)));
    assert_eq!(script.refused(lost(LeaseEpoch(0))), "STALE");
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "EPOCH_MISMATCH");
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "NOT_SAFE");
    let failure = script.opens(Subject::Node(id("n1")));
    assert_eq!(script.failure(failure).method, Method::Lease);
    assert_eq!(script.failure(failure).last_seen_at, WallTime(500));

    script.ok(node_up("n1", 1, None));
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
    assert_eq!(
        script.refused(script.placed("db", 0, "n1")),
        "NOT_SAFE",
        "a new epoch, the old one still runs out"
    );
}

#[test]
fn a_confirmed_end_makes_the_next_placement_safe_before_the_lease_is_over() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let ended = script.says("db", 0, Report::Ended { exit: None });
    let epoch = script.epoch("n1");
    let evidence = vec![];
    script.ok(Body::LeaseLost { node: id("n1"), epoch, last_seen_at: WallTime(900), evidence });
    let failure = script.opens(instance("db", 0));
    let Body::InstanceReported { workload, index, generation, instance, report, .. } = ended.clone() else {
        unreachable!()
    };
    let node = id("n2");
    let by_another = Body::InstanceReported { node, workload, index, generation, instance, report };
    assert_eq!(script.refused(by_another), "STALE");
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "NOT_SAFE");

    script.ok(ended.clone());
    assert!(script.failure(failure).safe_at.is_some());
    assert_eq!(script.refused(ended), "STALE", "said twice");
    script.place("db", 0, "n2");
}

#[test]
fn an_epoch_becomes_safe_once_and_only_after_it_ended() {
    let mut script = Script::with(&["n1"]);
    let epoch = script.epoch("n1");
    let safe = || Body::EpochSafe { epoch, promises: vec![] };
    assert_eq!(script.refused(safe()), "NOT_REVOKED");
    script.dies("n1");
    assert!(!script.ledger.is_safe(epoch));
    script.ok(safe());
    assert!(script.ledger.is_safe(epoch));
    assert_eq!(script.refused(safe()), "DUPLICATE");
    assert_eq!(script.ledger.revocations.len(), 1, "the node's failure isn't recorded yet");
    let failure = script.opens(Subject::Node(id("n1")));
    assert_eq!(script.failure(failure).safe_at, Some(WallTime(1_000)));
    assert!(script.ledger.revocations.is_empty() && script.ledger.is_safe(epoch));
}

#[test]
fn a_node_that_dies_without_a_lease_keeps_waiting_for_the_lost_one() {
    let mut script = Script::with(&["n1"]);
    let epoch = script.epoch("n1");
    let evidence = vec![];
    script.ok(Body::LeaseLost { node: id("n1"), epoch, last_seen_at: WallTime(900), evidence });
    script.dies("n1");
    let death = script.node("n1").death.as_ref().unwrap();
    assert_eq!((death.epoch, death.method), (epoch, Method::Heartbeat));
    assert_eq!(script.ledger.revocations.len(), 1);
}
