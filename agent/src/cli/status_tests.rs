//! What `holdfast status` says of a healthy, a degraded and a leaderless cluster, word for word.

use super::*;
use crate::view::testing::Stage;
use cluster_core::{ids::NodeId, ledger};
use holdfast_proto::v1::{AgentState, Instance, InstanceState, Role, Subject, Workload, WorkloadKind};
use prost_types::Timestamp;
use std::sync::Arc;

const NOW_MS: i64 = 1_000_000;

fn at(seconds_ago: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW_MS / 1_000 - seconds_ago, nanos: 0 })
}

fn node(name: &str, state: NodeState) -> Node {
    Node {
        name: name.into(),
        address: "10.0.0.1:7400".into(),
        zone: "a".into(),
        state: state.into(),
        scheduling: Scheduling::Eligible.into(),
        role: Role::Member.into(),
        voter: true,
        agent: AgentState::Up.into(),
        lease_remaining_ms: Some(1_650),
        changed_at: at(720),
        ..Node::default()
    }
}

fn instance(index: u32, node: Option<&str>, state: InstanceState) -> Instance {
    Instance { index, node: node.map(Into::into), state: state.into(), ..Instance::default() }
}

fn healthy() -> GetStatusResponse {
    GetStatusResponse {
        cluster: "shop".into(),
        health: Health::Healthy.into(),
        leader: Some("web-1".into()),
        voters: 3,
        voters_online: 3,
        observed_by: "web-2".into(),
        consistent: true,
        nodes: vec![
            Node { leader: true, workloads: vec!["checkout".into()], ..node("web-1", NodeState::Alive) },
            node("web-2", NodeState::Alive),
            Node { role: Role::Witness.into(), ..node("db.long-name", NodeState::Alive) },
        ],
        workloads: vec![
            Workload {
                name: "checkout".into(),
                kind: WorkloadKind::Singleton.into(),
                desired: 1,
                running: 1,
                instances: vec![instance(0, Some("web-1"), InstanceState::Running)],
                ..Workload::default()
            },
            Workload {
                name: "old".into(),
                kind: WorkloadKind::Singleton.into(),
                desired: 1,
                stopped: true,
                ..Workload::default()
            },
        ],
        ..GetStatusResponse::default()
    }
}

fn text(status: &GetStatusResponse, failures: &[Failure]) -> String {
    render(status, failures, View { now_ms: NOW_MS, color: false })
}

#[test]
fn a_healthy_cluster_is_short() {
    assert_eq!(exit_code(&healthy()), 0);
    assert_eq!(
        text(&healthy(), &[]),
        "\
HEALTHY  cluster shop, leader web-1, 3 of 3 voters online

Nodes
  NAME          STATE  ROLE     ZONE  ADDRESS        SINCE       LEASE   WORKLOADS
  web-1         alive  leader   a     10.0.0.1:7400  12 min ago  1.65 s  checkout
  web-2         alive  voter    a     10.0.0.1:7400  12 min ago  1.65 s  -
  db.long-name  alive  witness  a     10.0.0.1:7400  12 min ago  1.65 s  -

Workloads
  NAME      KIND       RUNNING  INSTANCES
  checkout  singleton  1/1      on web-1
  old       singleton  0/1      stopped by an operator
"
    );
}

#[test]
fn a_degraded_cluster_says_why_first_and_ends_with_the_failures() {
    let mut status = healthy();
    status.health = Health::Degraded.into();
    status.voters_online = 2;
    status.open_failures = 2;
    status.alerts_firing = 1;
    status.reasons = vec!["web-2 is dead since 12 s: bring it back, or holdfast node remove web-2.".into()];
    status.nodes[1] = Node {
        safe_to_start_in_ms: 1_200,
        lease_remaining_ms: None,
        agent: AgentState::Gone.into(),
        changed_at: at(12),
        ..node("web-2", NodeState::Dead)
    };
    status.nodes[2].agent = AgentState::Stalled.into();
    status.nodes[2].scheduling = Scheduling::Draining.into();
    status.workloads[1] = Workload {
        name: "web".into(),
        kind: WorkloadKind::Replicas.into(),
        desired: 3,
        running: 1,
        instances: vec![
            instance(0, Some("web-1"), InstanceState::Running),
            instance(1, Some("web-2"), InstanceState::Lost),
            Instance { detail: Some("no node has room".into()), ..instance(2, None, InstanceState::Pending) },
        ],
        ..Workload::default()
    };
    let failure = Failure {
        id: 117,
        subject: Some(Subject { kind: "node".into(), name: "web-2".into() }),
        state: holdfast_proto::v1::FailureState::Open.into(),
        detected_at: at(12),
        ..Failure::default()
    };
    assert_eq!(exit_code(&status), 1);
    assert_eq!(
        text(&status, &[failure]),
        "\
DEGRADED  cluster shop, leader web-1, 2 of 3 voters online

  web-2 is dead since 12 s: bring it back, or holdfast node remove web-2.
  1 alert is firing: see holdfast alert list.

Nodes
  NAME          STATE                           ROLE     ZONE  ADDRESS        SINCE       LEASE           WORKLOADS
  web-1         alive                           leader   a     10.0.0.1:7400  12 min ago  1.65 s          checkout
  web-2         dead                            voter    a     10.0.0.1:7400  12 s ago    over in 1.20 s  -
  db.long-name  alive, draining, agent stalled  witness  a     10.0.0.1:7400  12 min ago  1.65 s          -

Workloads
  NAME      KIND       RUNNING  INSTANCES
  checkout  singleton  1/1      on web-1
  web       replicas   1/3      0 on web-1, 1 on web-2 (lost), 2 nowhere (pending): no node has room

Open failures
  ID   WHAT        STATE  DETECTED  RECOVERED IN  CAUSE
  117  node web-2  open   12 s ago  -             -
  … and 1 more: holdfast failure list --open
  The story of one: holdfast failure show 117
"
    );
}

#[test]
fn without_a_leader_it_says_what_is_missing_and_how_old_this_may_be() {
    let mut stage = Stage::founded();
    stage.live.leader = None;
    for id in [2, 3] {
        Arc::make_mut(Arc::make_mut(&mut stage.live.members).get_mut(&NodeId(id)).expect("listed")).agent =
            ledger::AgentState::Gone;
    }
    let status = stage.view().status(false);
    assert_eq!(exit_code(&status), 2);
    assert_eq!(
        text(&status, &[]),
        "\
CRITICAL  cluster shop, no leader, 1 of 3 voters online

  There is no leader: n1 hears 1 of 3 voters and 2 are needed; nothing is moved or changed meanwhile; start or \
reconnect the agents of n2, n3.
  The agent of n2 is gone, but its host answers; restart the agent there (`systemctl restart holdfast`) and look at \
its log.
  The agent of n3 is gone, but its host answers; restart the agent there (`systemctl restart holdfast`) and look at \
its log.
  No alert route is set, so nobody is told of failures; apply one with `holdfast alert apply FILE`.
  This answer is what n1 knows by itself and was not read through the leader: it may be old.

Nodes
  NAME  STATE              ROLE   ZONE  ADDRESS      SINCE     LEASE  WORKLOADS
  n1    alive              voter  a     127.0.0.1:1  just now  -      -
  n2    alive, agent gone  voter  a     127.0.0.1:2  just now  -      -
  n3    alive, agent gone  voter  a     127.0.0.1:3  just now  -      -

Workloads
  None yet; add some with holdfast workload apply FILE.
"
    );
}

#[test]
fn no_leader_is_never_healthy_and_an_unknown_health_is_no_good_one() {
    assert_eq!(exit_code(&GetStatusResponse { leader: None, ..healthy() }), 2);
    assert_eq!(exit_code(&GetStatusResponse { health: 99, ..healthy() }), 2);
    assert_eq!(exit_code(&GetStatusResponse { health: Health::Critical.into(), ..healthy() }), 2);
}

#[test]
fn of_many_nodes_those_in_trouble_are_shown() {
    let mut status = healthy();
    status.nodes = (0..1_000).map(|i| node(&format!("n{i}"), NodeState::Alive)).collect();
    status.nodes[777].state = NodeState::Dead.into();
    let text = text(&status, &[]);
    assert!(text.contains("n777 "), "{text}");
    assert!(text.contains("… and 950 more: holdfast node list"), "{text}");
}
