//! Posting alerts: who may, what comes of it, and what is answered.

use super::*;
use crate::{
    clock,
    http::{router, serve},
    view::testing::Stage,
    wire::api::testing::{Replica, TestAgent},
};
use axum::{Router, body::Body as Sent, http::Request};
use std::sync::Arc;
use tower::Service as _;

const DISK_FULL: &str = r#"[{"labels":{"alertname":"DiskFull","node":"n2"}}]"#;
const HERE: &str = "127.0.0.1:50000";

/// Agents whose ledger has this host's time.
fn agents() -> Replica {
    let mut stage = Stage::healthy();
    stage.now = clock::wall();
    stage.play(Body::AlertingApplied { config: Box::default(), link_key: None });
    Replica::of(&stage)
}

fn leader(replica: &Replica) -> TestAgent {
    replica.agent(1, Stage::healthy().live)
}

fn door(agent: &TestAgent, from_anywhere: bool) -> Router {
    router(Arc::clone(&agent.shared), Arc::default(), from_anywhere)
}

async fn post_from(door: &Router, peer: &str, kind: &str, body: &str) -> (u16, String) {
    let mut request =
        Request::post("/api/v2/alerts").header(CONTENT_TYPE, kind).body(Sent::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    let answer = door.clone().call(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 64 * 1024).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn posted(door: &Router, body: &str) -> u16 {
    post_from(door, HERE, JSON, body).await.0
}

#[tokio::test]
async fn a_post_fires_is_repeated_for_nothing_and_ends() {
    let agents = agents();
    let door = door(&leader(&agents), false);
    let fires =
        || agents.ledger.read().unwrap().posted().map(|(alert, _)| alert.summary.clone()).collect::<Vec<_>>();
    let written = || agents.ledger.read().unwrap().applied.index;
    assert_eq!(posted(&door, DISK_FULL).await, 200);
    assert_eq!(fires(), ["DiskFull: node n2"]);
    let after_first = written();
    for _ in 0..3 {
        assert_eq!(posted(&door, DISK_FULL).await, 200);
    }
    assert_eq!(written(), after_first);
    let over = DISK_FULL.replace("}}]", r#"},"endsAt":"2020-01-01T00:00:00Z"}]"#);
    assert_eq!(posted(&door, &over).await, 200);
    assert_eq!((fires().len(), written()), (0, after_first + 1));
}

#[tokio::test]
async fn other_hosts_may_post_only_where_the_file_says_so() {
    let agents = agents();
    let leader = leader(&agents);
    let closed = door(&leader, false);
    for peer in ["10.0.0.9:5000", "[2001:db8::1]:5000", "[::ffff:10.0.0.9]:5000"] {
        let (status, sentence) = post_from(&closed, peer, JSON, DISK_FULL).await;
        assert!(
            status == 403 && sentence.contains("alerts = true in [listen]"),
            "{peer} {status} {sentence}"
        );
    }
    assert_eq!(agents.ledger.read().unwrap().posted().count(), 0);
    for peer in [HERE, "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
        assert_eq!(post_from(&closed, peer, JSON, DISK_FULL).await.0, 200, "{peer}");
    }
    assert_eq!(post_from(&door(&leader, true), "10.0.0.9:5000", JSON, DISK_FULL).await.0, 200);
}

#[tokio::test]
async fn what_cant_be_taken_is_refused_by_its_own_code() {
    let agents = agents();
    let door = door(&leader(&agents), false);
    assert_eq!(post_from(&door, HERE, "text/plain", DISK_FULL).await.0, 415);
    assert_eq!(post_from(&door, HERE, "application/json; charset=utf-8", "[]").await.0, 200);
    let (status, sentence) = post_from(&door, HERE, JSON, r#"[{"labels":{}}]"#).await;
    assert!(status == 400 && sentence.contains("no label alertname"), "{status} {sentence}");
    let half = format!("[{}]", " ".repeat(ALERT_BODY_BYTES / 2));
    assert_eq!(posted(&door, &half).await, 200);
    let large = format!("[{}]", " ".repeat(ALERT_BODY_BYTES));
    let (status, sentence) = post_from(&door, HERE, JSON, &large).await;
    assert!(status == 413 && sentence.contains("at most 1048576 bytes"), "{status} {sentence}");
}

#[tokio::test]
async fn without_a_leader_it_is_to_be_posted_elsewhere() {
    let agents = agents();
    let mut live = Stage::healthy().live;
    live.is_leader = false;
    let door = door(&agents.agent(2, live), false);
    let (status, sentence) = post_from(&door, HERE, JSON, DISK_FULL).await;
    assert!(status == 503 && sentence.contains("no leader"), "{status} {sentence}");
}

#[tokio::test]
async fn no_more_than_the_ledger_holds() {
    let agents = agents();
    let door = door(&leader(&agents), false);
    let list = |from: usize| {
        let alerts: Vec<String> =
            (from..from + 512).map(|n| format!(r#"{{"labels":{{"alertname":"A","n":"{n}"}}}}"#)).collect();
        format!("[{}]", alerts.join(","))
    };
    assert_eq!(posted(&door, &list(0)).await, 200);
    assert_eq!(posted(&door, &list(512)).await, 200);
    assert_eq!(posted(&door, &list(1_024)).await, 429);
    assert_eq!(posted(&door, &list(0)).await, 200, "those that fire are taken");
}

#[tokio::test]
async fn a_real_connection_says_where_it_comes_from() {
    let agents = agents();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, door(&leader(&agents), false), std::future::pending()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let posting = client.post(format!("{base}/api/v2/alerts")).header("content-type", JSON).body(DISK_FULL);
    assert_eq!(posting.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(agents.ledger.read().unwrap().posted().count(), 1);
    let status = client.get(format!("{base}/api/v2/status")).send().await.unwrap().text().await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["cluster"]["status"], "ready");
    for probe in ["/-/healthy", "/-/ready"] {
        assert_eq!(client.get(format!("{base}{probe}")).send().await.unwrap().status().as_u16(), 200);
    }
}
