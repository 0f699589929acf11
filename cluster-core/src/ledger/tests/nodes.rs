//! Nodes come, come back, drain, leave and are removed.

use super::*;
use crate::limits::REMOVED_MAX;

#[test]
fn a_new_node_gets_its_entrys_index_as_epoch() {
    let mut script = Script::with(&["n1"]);
    assert_eq!(script.ok(node_up("n2", 1, None)), Reply::Epoch(LeaseEpoch(2)));
    assert!(script.ledger.is_current(id("n2"), LeaseEpoch(2)));
    assert_eq!(script.ledger.view_epoch.0, 2);
    assert_eq!(script.last_event(), EventType::NodeJoined);
}

#[test]
fn a_new_id_under_a_listed_name_is_refused() {
    let mut script = Script::with(&["n1"]);
    script.dies("n1");
    let Body::NodeUp { profile, .. } = node_up("n1", 1, None) else { unreachable!() };
    let Body::NodeUp { node, boot, session, incarnation, replaces, returning, .. } = node_up("n2", 1, None)
    else {
        unreachable!()
    };
    let cloned = Body::NodeUp { node, profile, boot, session, incarnation, replaces, returning };
    assert_eq!(script.refused(cloned.clone()), "NAME_TAKEN");
    script.ok(Body::NodeRemoved { node: id("n1"), epoch: LeaseEpoch(0) });
    script.ok(cloned);
}

#[test]
fn an_agent_that_restarts_keeps_its_epoch_and_what_it_runs() {
    let mut script = Script::with(&["n1"]);
    script.serve("db", "n1");
    let epoch = script.epoch("n1");
    assert_eq!(script.ok(node_up("n1", 1, None)), Reply::Epoch(epoch));
    assert!(script.slot("db", 0).placement.is_some());
}

#[test]
fn a_host_that_restarts_loses_its_epoch_and_what_it_ran() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let old = script.epoch("n1");
    assert_eq!(script.refused(node_up("n1", 2, None)), "EPOCH_MISMATCH");
    assert_eq!(script.refused(node_up("n1", 2, Some(LeaseEpoch(99)))), "EPOCH_MISMATCH");
    assert_eq!(script.refused(node_up("n1", 1, Some(old))), "EPOCH_MISMATCH", "same boot: nothing ends");

    let Reply::Epoch(new) = script.ok(node_up("n1", 2, Some(old))) else { panic!() };
    assert!(new > old && script.ledger.is_current(id("n1"), new) && !script.ledger.is_safe(old));
    let slot = script.slot("db", 0);
    assert_eq!((slot.placement.as_ref(), slot.waits_for, slot.last), (None, Some(old), InstanceState::Lost));
    let failure = script.opens(instance("db", 0));
    assert_eq!(script.failure(failure).method, Method::Connection);
    assert_eq!(script.failure(failure).evidence, ["its host restarted"]);
}

#[test]
fn a_dead_node_comes_back_alive_under_a_new_epoch() {
    let mut script = Script::with(&["n1", "n2"]);
    let old = script.dies("n1");
    assert_eq!((script.node("n1").state, script.epoch("n1")), (NodeState::Dead, LeaseEpoch(0)));
    let failure = script.opens(Subject::Node(id("n1")));
    script.now_ms += 5_000;
    let Reply::Epoch(new) = script.ok(node_up("n1", 1, None)) else { panic!() };
    assert!(new > old);
    let node = script.node("n1");
    assert_eq!((node.state, node.failure, node.death.as_ref()), (NodeState::Alive, None, None));
    let failure = script.failure(failure);
    assert_eq!((failure.state, failure.recovered_at), (FailureState::Recovered, Some(WallTime(6_000))));
    assert!(script.ledger.events.iter().any(|event| event.kind == EventType::NodeBack));
    assert_eq!(script.ledger.view_epoch.0, 4);
}

#[test]
fn a_node_is_drained_when_its_last_instance_has_ended() {
    let mut script = Script::with(&["n1", "n2"]);
    let generation = script.serve("db", "n1");
    script.ok(Body::NodeDraining { node: id("n1") });
    assert_eq!(script.node("n1").scheduling, Scheduling::Draining);
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "ALREADY_PLACED");
    assert_eq!(script.refused(Body::NodeLeft { node: id("n1"), epoch: script.epoch("n1") }), "NOT_DRAINED");
    let (workload, reason) = ("db".to_owned(), "drain".to_owned());
    script.ok(Body::Evicted { workload, index: 0, generation, reason });
    assert_eq!(script.placement("db", 0).state, InstanceState::Stopping);
    script.ends("db", 0);
    assert_eq!(script.node("n1").scheduling, Scheduling::Drained);
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "NODE_NOT_ELIGIBLE");
    assert!(script.ledger.failures.is_empty(), "a drain is no failure");
    script.place("db", 0, "n2");

    script.ok(Body::NodeUndrained { node: id("n1") });
    assert_eq!(script.node("n1").scheduling, Scheduling::Eligible);
    script.ok(Body::NodeDraining { node: id("n1") });
    assert_eq!(script.node("n1").scheduling, Scheduling::Drained, "nothing was placed there");
}

#[test]
fn a_node_that_left_is_listed_holds_nothing_and_may_return() {
    let mut script = Script::with(&["n1", "n2"]);
    let epoch = script.epoch("n1");
    let left = |epoch| Body::NodeLeft { node: id("n1"), epoch };
    assert_eq!(script.refused(left(LeaseEpoch(99))), "EPOCH_MISMATCH");
    script.ok(left(epoch));
    assert_eq!(script.node("n1").state, NodeState::Left);
    assert!(script.ledger.is_safe(epoch), "nothing ran there");
    assert_eq!(script.refused(left(LeaseEpoch(0))), "NOT_ALIVE");
    script.apply(singleton("db"));
    assert_eq!(script.refused(script.placed("db", 0, "n1")), "NODE_NOT_ALIVE");
    script.ok(node_up("n1", 1, None));
    script.place("db", 0, "n1");
}

#[test]
fn a_persons_word_that_a_node_is_gone_makes_nothing_safe() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    let epoch = script.epoch("n1");
    script.ok(Body::NodeRemoved { node: id("n1"), epoch });
    assert!(!script.ledger.nodes.contains_key(&id("n1")));
    assert!(!script.ledger.is_safe(epoch));
    assert_eq!(script.refused(script.placed("db", 0, "n2")), "NOT_SAFE");
    let failure = script.opens(instance("db", 0));
    assert_eq!(script.failure(failure).method, Method::Operator);
    script.safe(epoch);
    script.place("db", 0, "n2");
}

#[test]
fn removing_a_dead_node_closes_its_failure() {
    let mut script = Script::with(&["n1", "n2"]);
    script.dies("n1");
    let failure = script.opens(Subject::Node(id("n1")));
    script.ok(Body::NodeRemoved { node: id("n1"), epoch: LeaseEpoch(0) });
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
    assert_eq!(script.failure(failure).name, "n1");
}

#[test]
fn names_are_checked_before_they_stand_in_the_ledger() {
    let mut script = Script::new();
    let Body::NodeUp { node, mut profile, boot, session, incarnation, replaces, returning } =
        node_up("n1", 1, None)
    else {
        unreachable!()
    };
    profile.name = "n 1".to_owned();
    assert_eq!(
        script.refused(Body::NodeUp { node, profile, boot, session, incarnation, replaces, returning }),
        "INVALID"
    );
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn who_died_or_left_a_day_ago_is_forgotten_and_nobody_else() {
    let mut script = Script::with(&["n1", "n2", "n3", "n4"]);
    let all = Body::NodesForgotten { nodes: ["n1", "n2", "n3", "n4"].map(id).to_vec() };
    script.dies("n1");
    let failure = script.opens(Subject::Node(id("n1")));
    script.ok(Body::NodeLeft { node: id("n2"), epoch: script.epoch("n2") });
    script.now_ms += DAY_MS - 1;
    assert_eq!(script.refused(all.clone()), "STALE");
    script.dies("n3");
    script.opens(Subject::Node(id("n3")));
    script.now_ms += 1;
    script.ok(all.clone());
    assert_eq!(script.ledger.nodes.keys().copied().collect::<Vec<_>>(), [id("n3"), id("n4")]);
    assert_eq!(script.failure(failure).state, FailureState::Recovered);
    assert_eq!(script.refused(all), "STALE");
    assert!(matches!(script.ok(node_up("n1", 2, None)), Reply::Epoch(_)), "it may come back as a new one");
}

#[test]
fn who_came_back_in_time_and_whose_death_is_unrecorded_stay() {
    let mut script = Script::with(&["n1", "n2"]);
    script.dies("n1");
    script.dies("n2");
    script.now_ms += DAY_MS;
    let due: Vec<NodeId> = script.ledger.forgettable(WallTime(script.now_ms)).collect();
    assert_eq!(due, [], "their failures must be opened first");
    script.opens(Subject::Node(id("n1")));
    script.ok(node_up("n1", 2, None));
    assert_eq!(script.refused(Body::NodesForgotten { nodes: vec![id("n1"), id("n2")] }), "STALE");
}

#[test]
fn the_process_that_spoke_for_a_removed_node_stays_out_and_a_new_one_may_join() {
    let mut script = Script::with(&["n1", "n2"]);
    let joins = |process: u64| {
        let Body::NodeUp { node, profile, boot, incarnation, replaces, returning, .. } =
            node_up("n1", 1, None)
        else {
            unreachable!()
        };
        Body::NodeUp { node, profile, boot, session: SessionId(process), incarnation, replaces, returning }
    };
    for process in 1..=u64::try_from(REMOVED_MAX).unwrap() + 1 {
        let epoch = script.epoch("n1");
        script.ok(Body::NodeRemoved { node: id("n1"), epoch });
        assert_eq!(script.refused(joins(process)), REMOVED);
        assert!(!script.ledger.nodes.contains_key(&id("n1")));
        script.safe(epoch);
        script.ok(joins(process + 1));
        assert_eq!(script.node("n1").state, NodeState::Alive);
    }
    assert_eq!(script.ledger.removed.len(), REMOVED_MAX);
}
