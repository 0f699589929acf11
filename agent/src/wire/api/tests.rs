//! The services over real connections: forwarding, answers without a leader, errors, events, health.

use super::{testing::Replica, *};
use crate::{shared::Live, view::testing::Stage, wire::client::endpoint};
use cluster_core::ids::NodeId;
use futures::StreamExt as _;
use holdfast_proto::v1::{
    self, alert_service_client::AlertServiceClient, cluster_service_client::ClusterServiceClient,
    workload_service_client::WorkloadServiceClient,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

async fn channel(address: &str) -> Channel {
    endpoint(address, None).unwrap().connect().await.unwrap()
}

/// n1 leads; n2 follows and reaches it at `leader`.
fn follower(stage: &Stage, leader: &str) -> Live {
    let mut live = Live { is_leader: false, ..stage.live.clone() };
    Arc::make_mut(Arc::make_mut(&mut live.members).get_mut(&NodeId(1)).unwrap()).address = leader.to_owned();
    live
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn spec(name: &str) -> v1::WorkloadSpec {
    v1::WorkloadSpec {
        name: name.into(),
        kind: v1::WorkloadKind::Singleton.into(),
        exec: Some(v1::ExecSpec { command: vec!["/bin/true".into()], ..Default::default() }),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_follower_passes_everything_on_to_the_leader() {
    let stage = Stage::healthy();
    let replica = Replica::of(&stage);
    let leader = replica.agent(1, stage.live.clone());
    let at = leader.serve().await;
    let asked = replica.agent(2, follower(&stage, &at));
    let channel = channel(&asked.serve().await).await;

    let status = ClusterServiceClient::new(channel.clone()).get_status(v1::GetStatusRequest {}).await;
    let status = status.unwrap().into_inner();
    assert!(status.consistent);
    assert_eq!((status.observed_by.as_str(), status.leader.as_deref()), ("n2", Some("n1")));

    let mut workloads = WorkloadServiceClient::new(channel.clone());
    let mut apply =
        v1::ApplyWorkloadsRequest { specs: vec![spec("web")], dry_run: true, ..Default::default() };
    let planned = workloads.apply_workloads(apply.clone()).await.unwrap().into_inner().changes.remove(0);
    assert_eq!((planned.action(), planned.nodes.len()), (v1::PlanAction::Create, 1));
    assert!(!replica.ledger.read().unwrap().workloads.contains_key("web"), "a plan changes nothing");

    apply.dry_run = false;
    let done = workloads.apply_workloads(apply.clone()).await.unwrap().into_inner().changes.remove(0);
    assert_eq!(done.action(), v1::PlanAction::Create);
    let again = workloads.apply_workloads(apply).await.unwrap().into_inner().changes.remove(0);
    assert_eq!((again.action(), again.version), (v1::PlanAction::Unchanged, done.version));

    let missing = v1::GetWorkloadRequest { name: "nope".into() };
    let error = workloads.get_workload(missing).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::NotFound, "WORKLOAD_NOT_FOUND"));

    let test = v1::TestChannelRequest { channel: "nope".into() };
    let error = AlertServiceClient::new(channel).test_channel(test).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::NotFound, "CHANNEL_NOT_FOUND"));
}

#[tokio::test]
async fn without_a_reachable_leader_status_and_nodes_are_answered_from_here_within_a_second() {
    let stage = Stage::healthy();
    // A port that accepts and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let cut_off = Live { leader: None, is_leader: false, ..stage.live.clone() };
    for live in [follower(&stage, &address), follower(&stage, "127.0.0.1:1"), cut_off] {
        let asked = Replica::of(&stage).agent(2, live);
        let channel = channel(&asked.serve().await).await;
        let begun = Instant::now();
        let mut cluster = ClusterServiceClient::new(channel.clone());
        let status = cluster.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(!status.consistent && status.nodes.len() == 3);
        let nodes = cluster.list_nodes(v1::ListNodesRequest { page_size: 2, ..Default::default() }).await;
        let nodes = nodes.unwrap().into_inner();
        assert!(nodes.nodes.len() == 2 && !nodes.next_page_token.is_empty());

        let request = v1::ListWorkloadsRequest::default();
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_millis(700));
        let error = WorkloadServiceClient::new(channel).list_workloads(request).await.unwrap_err();
        assert!(
            matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_request_does_not_go_round_in_circles() {
    let stage = Stage::healthy();
    let replica = Replica::of(&stage);
    // Each takes the other for the leader.
    let (one, two) = (replica.agent(3, Live::default()), replica.agent(2, Live::default()));
    let (at_one, at_two) = (one.serve().await, two.serve().await);
    one.live.send_replace(Arc::new(follower(&stage, &at_two)));
    two.live.send_replace(Arc::new(follower(&stage, &at_one)));
    let mut workloads = WorkloadServiceClient::new(channel(&at_one).await);
    let error = workloads.list_workloads(v1::ListWorkloadsRequest::default()).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::Unavailable, "LEADER_UNREACHABLE"));
    assert!(error.metadata().contains_key(LEADER_METADATA), "{error:?}");
    assert!(error.message().contains("as often as it may be"), "stopped by its count: {}", error.message());
}

#[tokio::test]
async fn events_come_in_order_and_go_on() {
    let stage = Stage::healthy();
    let replica = Replica::of(&stage);
    let agent = replica.agent(1, stage.live.clone());
    let channel = channel(&agent.serve().await).await;
    let mut cluster = ClusterServiceClient::new(channel.clone());
    let kept = cluster.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    let kept: Vec<v1::Event> = kept.map(|event| event.unwrap().event.unwrap()).collect().await;
    assert!(kept.len() > 4 && kept.is_sorted_by_key(|event| event.index), "{kept:?}");

    let after_index = kept.last().unwrap().index;
    let follow = v1::WatchEventsRequest { after_index, follow: true, since: None };
    let mut new = cluster.watch_events(follow).await.unwrap().into_inner();
    let apply = v1::ApplyWorkloadsRequest { specs: vec![spec("web")], ..Default::default() };
    WorkloadServiceClient::new(channel).apply_workloads(apply).await.unwrap();
    let event = tokio::time::timeout(Duration::from_secs(5), new.message()).await.unwrap();
    let event = event.unwrap().unwrap().event.unwrap();
    assert_eq!((event.r#type(), event.subject.as_str()), (v1::EventType::WorkloadApplied, "web"));
    assert!(event.index > after_index);
}

#[tokio::test]
async fn logs_come_from_the_node_that_runs_the_instance() {
    let stage = Stage::healthy();
    let replica = Replica::of(&stage);
    let host = replica.agent(2, Live { is_leader: false, ..stage.live.clone() });
    let at_host = host.serve().await;
    let mut live = stage.live.clone();
    Arc::make_mut(Arc::make_mut(&mut live.members).get_mut(&NodeId(2)).unwrap()).address = at_host;
    let asked = replica.agent(1, live);
    let mut workloads = WorkloadServiceClient::new(channel(&asked.serve().await).await);
    let request = v1::StreamLogsRequest { name: "counter".into(), ..Default::default() };
    let mut logs = workloads.stream_logs(request).await.unwrap().into_inner();
    let first = logs.message().await.unwrap().unwrap();
    assert_eq!((first.chunk, first.node.as_str()), (b"log of counter 0\n".to_vec(), "n2"));
    assert_eq!(logs.message().await.unwrap(), None);
    let wrong = v1::StreamLogsRequest { name: "counter".into(), index: 5, ..Default::default() };
    assert_eq!(workloads.stream_logs(wrong).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn health_follows_the_leader() {
    let stage = Stage::healthy();
    let agent = Replica::of(&stage).agent(1, stage.live.clone());
    let mut health = HealthClient::new(channel(&agent.serve().await).await);
    let ask = |service: &str| HealthCheckRequest { service: service.into() };
    let service = "holdfast.v1.ClusterService";
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status, 1, "serving");
    assert_eq!(health.check(ask("other")).await.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(ask(service)).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    agent.live.send_replace(Arc::new(Live { leader: None, ..stage.live.clone() }));
    let next = tokio::time::timeout(Duration::from_secs(5), watch.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status, 2, "not serving");
    assert_eq!(health.check(ask(service)).await.unwrap().into_inner().status, 2);
}
