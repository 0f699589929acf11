//! What `status` says of a healthy, a hurt and a leaderless cluster.

use super::testing::Stage;
use crate::shared::LiveState;
use cluster_core::{
    ids::NodeId,
    ledger::{AgentState, AlertingConfig, Body, Channel, Phase, Route, SendOutcome, Severity, Subject, Why},
};
use holdfast_proto::v1::{self, Health, InstanceState, NodeState};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

fn with_route(stage: &mut Stage) {
    with_channels(stage, &["log"]);
}

fn with_channels(stage: &mut Stage, names: &[&str]) {
    let channels = names.iter().map(|name| ((*name).to_owned(), Channel::new("console", 5_000))).collect();
    let routes = vec![Route::to(names.iter().map(|name| (*name).to_owned()).collect())];
    stage.play(Body::AlertingApplied {
        config: Box::new(AlertingConfig { channels, routes, ..AlertingConfig::default() }),
        link_key: None,
    });
}

fn said(status: &v1::GetStatusResponse, words: &str) -> bool {
    status.reasons.iter().any(|reason| reason.contains(words))
}

#[test]
fn a_healthy_cluster_gives_no_reasons() {
    let mut stage = Stage::healthy();
    with_route(&mut stage);
    let status = stage.view().status(true);
    assert_eq!((status.health(), &status.reasons), (Health::Healthy, &Vec::new()));
    assert_eq!((status.leader.as_deref(), status.voters, status.voters_online), (Some("n1"), 3, 3));
    let counter = &status.workloads[0];
    assert_eq!((counter.desired, counter.running, counter.healthy), (1, 1, 1));
    let instance = &counter.instances[0];
    assert_eq!((instance.node.as_deref(), instance.pid), (Some("n2"), Some(4711)));
    assert_eq!(instance.state(), InstanceState::Running);
    assert_eq!(status.nodes[1].workloads, ["counter"]);
}

#[test]
fn without_a_route_it_says_so_and_stays_healthy() {
    let status = Stage::healthy().view().status(true);
    assert_eq!(status.health(), Health::Healthy);
    assert!(said(&status, "holdfast alert apply"), "{:?}", status.reasons);
}

#[test]
fn values_of_the_environment_are_hidden() {
    let stage = Stage::healthy();
    let shown = format!("{:?}", stage.view().workloads());
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_suspect_node_degrades() {
    let mut stage = Stage::healthy();
    Arc::make_mut(Arc::make_mut(&mut stage.live.members).get_mut(&NodeId(3)).expect("listed")).state =
        LiveState::Suspect;
    let status = stage.view().status(true);
    assert_eq!((status.health(), status.voters_online), (Health::Degraded, 2));
    assert_eq!(status.nodes[2].state(), NodeState::Suspect);
    assert!(said(&status, "n3 isn't heard"), "{:?}", status.reasons);
}

#[test]
fn an_agent_that_is_down_degrades_and_its_workloads_do_not() {
    let mut stage = Stage::healthy();
    with_route(&mut stage);
    let body = |state| Body::AgentState {
        node: NodeId(2),
        incarnation: cluster_core::ids::Incarnation(1),
        state,
        since: cluster_core::time::WallTime(0),
        observers: vec![NodeId(1)],
        evidence: vec![],
    };
    stage.play(body(AgentState::Stalled));
    // Gossip suspects it as well: nobody hears its heartbeats.
    Arc::make_mut(Arc::make_mut(&mut stage.live.members).get_mut(&NodeId(2)).expect("listed")).state =
        LiveState::Suspect;
    let status = stage.view().status(true);
    assert_eq!(status.health(), Health::Degraded);
    assert_eq!(status.nodes[1].agent(), v1::AgentState::Stalled);
    assert!(said(&status, "The agent of n2 says nothing, but its host answers"), "{:?}", status.reasons);
    assert!(!said(&status, "isn't heard"), "{:?}", status.reasons);
    assert_eq!(status.workloads[0].running, 1);
    // Without a leader what this agent found by itself is the newer.
    stage.live.leader = None;
    Arc::make_mut(Arc::make_mut(&mut stage.live.members).get_mut(&NodeId(2)).expect("listed")).agent =
        AgentState::Gone;
    assert_eq!(stage.view().status(false).nodes[1].agent(), v1::AgentState::Gone);
}

#[test]
fn a_quarantined_node_degrades_and_says_why() {
    let mut stage = Stage::healthy();
    let evidence = vec!["it died 3 times within 10 min".to_owned()];
    stage.play(Body::NodeHeldBack { node: NodeId(3), drain: false, evidence });
    let status = stage.view().status(true);
    assert_eq!(status.health(), Health::Degraded);
    assert_eq!(status.nodes[2].scheduling(), v1::Scheduling::Quarantined);
    assert!(said(&status, "n3 is given no work: it died 3 times"), "{:?}", status.reasons);
}

#[test]
fn a_dead_node_is_critical_while_its_singleton_waits_for_the_lease() {
    let mut stage = Stage::healthy();
    stage.die(2);
    let status = stage.view().status(true);
    assert_eq!(status.health(), Health::Critical);
    assert!(said(&status, "Node n2 is dead") && said(&status, "Nothing of workload counter runs"));
    assert_eq!(status.nodes[1].state(), NodeState::Dead);
    assert_eq!(status.nodes[1].safe_to_start_in_ms, 2_000, "a whole lease until the voters have promised");
    let instance = &status.workloads[0].instances[0];
    assert_eq!((instance.state(), instance.node.clone()), (InstanceState::Lost, None));

    let epoch = *stage.ledger.revocations.keys().next().expect("it was revoked");
    stage.live.safe_in.insert(epoch, Duration::from_millis(640));
    assert_eq!(stage.view().status(true).nodes[1].safe_to_start_in_ms, 640);
}

#[test]
fn a_dead_node_without_work_degrades_and_its_failure_is_told() {
    let mut stage = Stage::healthy();
    stage.die(3);
    stage.play(Body::FailureOpened { subject: Subject::Node(NodeId(3)), caused_by: None });
    let status = stage.view().status(true);
    assert_eq!((status.health(), status.open_failures), (Health::Degraded, 1));
    let (id, failure) = stage.ledger.failures.first_key_value().expect("it was opened");
    let shown = stage.view().failure(*id, failure);
    assert_eq!(shown.subject, Some(v1::Subject { kind: "node".into(), name: "n3".into() }));
    assert_eq!(shown.time_to_detect_ms, Some(failure.declared_at.0 - failure.last_seen_at.0));
    assert_eq!((shown.time_to_recover_ms, shown.recovered_at), (None, None));
}

#[test]
fn without_a_leader_it_is_critical_and_says_who_is_missing() {
    let mut stage = Stage::healthy();
    stage.live.leader = None;
    for id in [2, 3] {
        Arc::make_mut(Arc::make_mut(&mut stage.live.members).get_mut(&NodeId(id)).expect("listed")).state =
            LiveState::Dead;
    }
    let status = stage.view().status(false);
    assert_eq!((status.health(), status.leader.clone(), status.consistent), (Health::Critical, None, false));
    assert!(said(&status, "hears 1 of 3 voters and 2 are needed"), "{:?}", status.reasons);
    assert!(said(&status, "n2, n3") && said(&status, "was not read through the leader"));
    // Nobody decided that they are dead.
    assert_eq!(status.nodes[1].state(), NodeState::Suspect);
}

#[test]
fn what_was_planned_is_healthy() {
    let mut stage = Stage::healthy();
    stage.play(Body::WorkloadStopped { name: "counter".into() });
    stage.play(Body::NodeDraining { node: NodeId(3) });
    let status = stage.view().status(true);
    assert_eq!(status.health(), Health::Healthy, "{:?}", status.reasons);
    assert_eq!((status.workloads[0].desired, status.workloads[0].stopped), (0, true));
}

#[test]
fn leases_are_estimated_by_voters_only() {
    let mut stage = Stage::healthy();
    let epoch = stage.ledger.nodes[&NodeId(2)].epoch;
    stage.live.lease_remaining.insert(epoch, Duration::from_millis(1_650));
    assert_eq!(stage.view().node(NodeId(2)).lease_remaining_ms, Some(1_650));
    stage.live.is_voter = false;
    assert_eq!(stage.view().node(NodeId(2)).lease_remaining_ms, None);
}

/// An alert fires, and its message to `channel` is refused.
fn refused(stage: &mut Stage, alert: u64, channel: &str, retry: bool, reason: &str) {
    let told = vec![(alert, Phase::Firing)];
    let (channel, reason) = (channel.to_owned(), reason.to_owned());
    stage.play(Body::MessageQueued { channel, told, incident: alert, why: Why::First });
    let message = stage.ledger.applied.index;
    stage.play(Body::MessageIntended { message, attempt: 1, term: 1, send_within_ms: 5_000 });
    let outcome = SendOutcome::Failed { reason, retry, after_ms: None, heard: false };
    stage.play(Body::MessageDone { message, attempt: 1, by: NodeId(1), outcome });
}

#[test]
fn each_channel_that_fails_is_named_with_the_latest_reason() {
    let mut stage = Stage::healthy();
    with_channels(&mut stage, &["chat", "hook", "log"]);
    for key in ["a", "b"] {
        stage.play(Body::AlertRaised {
            name: "Disk".to_owned(),
            severity: Severity::Warning,
            dedup_key: key.to_owned(),
            failure: None,
            labels: BTreeMap::new(),
            summary: "full".to_owned(),
            description: String::new(),
        });
        let alert = stage.ledger.applied.index;
        refused(&mut stage, alert, "hook", true, &format!("busy with {key}"));
        refused(&mut stage, alert, "chat", key == "a", "no such room");
    }
    let status = stage.view().status(true);
    assert_eq!((status.health(), status.notifications_failed), (Health::Degraded, 4));
    let expected = [
        "Channel chat doesn't deliver, 1 notice is tried again and 1 notice was given up: no such room; see `holdfast \
         alert list`, and try `holdfast alert test chat`.",
        "Channel hook doesn't deliver, 2 notices are tried again: busy with b; see `holdfast alert list`, and try \
         `holdfast alert test hook`.",
    ];
    assert_eq!(status.reasons, expected);
}
