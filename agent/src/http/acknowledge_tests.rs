//! Links as people, scanners and strangers open them.

use super::*;
use crate::{
    http::router,
    shared::Live,
    view::testing::Stage,
    wire::{
        api::testing::{Replica, TestAgent},
        client::endpoint,
    },
};
use axum::{Router, body::Body as Sent, http::Request};
use cluster_core::{
    ids::NodeId,
    ledger::{AlertingConfig, Channel, LinkKey, Severity},
    time::WallTime,
};
use holdfast_proto::v1::{AcknowledgeFailureRequest, failure_service_client::FailureServiceClient};
use std::sync::Arc;
use tower::Service as _;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

struct Scene {
    agents: Replica,
    failure: FailureId,
}

/// n2 is dead, and `chat` was to be told, with links.
fn scene(ack_url: Option<&str>) -> Scene {
    let mut stage = Stage::healthy();
    let config = AlertingConfig {
        channels: [("chat".to_owned(), Channel::new("slack", 1_000))].into(),
        ack_url: ack_url.map(str::to_owned),
        ..AlertingConfig::default()
    };
    stage.play(Body::AlertingApplied { config: Box::new(config), link_key: Some(LinkKey([7; 32])) });
    stage.die(2);
    stage.play(Body::FailureOpened { subject: Subject::Node(NodeId(2)), caused_by: None });
    let failure = *stage.ledger.failures.keys().next().expect("it was just opened");
    stage.play(Body::AlertRaised {
        name: "NodeDead".into(),
        severity: Severity::Critical,
        dedup_key: "NodeDead/n2".into(),
        failure: Some(failure),
        labels: [].into(),
        summary: "n2 is dead: <b>\"counter\"</b> & more".into(),
        description: String::new(),
    });
    Scene { agents: Replica::of(&stage), failure }
}

impl Scene {
    fn new() -> Self {
        scene(Some("https://holdfast.example.com"))
    }

    fn leader(&self) -> TestAgent {
        self.agents.agent(1, Stage::healthy().live)
    }

    fn door(&self) -> Router {
        door(&self.leader())
    }

    /// The path of a link that was sent `ago_ms` ago.
    fn link(&self, ago_ms: u64) -> String {
        let ledger = self.agents.ledger.read().unwrap();
        let told_at = WallTime(clock::wall().0 - ago_ms);
        let url = Links::of(&ledger).unwrap().url(self.failure, "chat", told_at);
        url.strip_prefix("https://holdfast.example.com").unwrap().to_owned()
    }

    fn applied(&self) -> u64 {
        self.agents.ledger.read().unwrap().applied.index
    }

    fn by(&self) -> Option<String> {
        self.agents.ledger.read().unwrap().failures[&self.failure].acknowledged_by.clone()
    }
}

fn door(agent: &TestAgent) -> Router {
    router(Arc::clone(&agent.shared), Arc::default(), false)
}

async fn ask(door: &Router, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).body(Sent::from("a=b")).unwrap();
    let answer = door.clone().call(request).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = axum::body::to_bytes(answer.into_body(), 64 * 1024).await.unwrap();
    let header = |name| headers.get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(header(CONTENT_TYPE), HTML, "{method} {path}: {status}");
    assert_eq!((header(CACHE_CONTROL), header(REFERRER_POLICY)), ("no-store", "no-referrer"));
    let policy = header(CONTENT_SECURITY_POLICY);
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(!body.contains("<script") && !body.contains("<b>"), "{body}");
    (status, body)
}

#[tokio::test]
async fn opening_it_changes_nothing_and_says_what_is_wrong() {
    let scene = Scene::new();
    let (door, link, before) = (scene.door(), scene.link(0), scene.applied());
    for method in ["GET", "HEAD", "GET"] {
        let (status, page) = ask(&door, method, &link).await;
        assert_eq!(status, 200);
        let title = format!("Failure {}: n2", scene.failure);
        let words = [
            title.as_str(),
            "n2 is dead: &lt;b&gt;&quot;counter&quot;&lt;&#x2f;b&gt; &amp; more",
            "The node n2 of cluster shop, since 2023-11-14T22:13:",
            ": open.",
            "Nobody has acknowledged it.",
            "<form method=\"post\"><button>Acknowledge</button></form>",
        ];
        for word in words.into_iter().filter(|_| method == "GET") {
            assert!(page.contains(word), "{word} isn't in {page}");
        }
    }
    assert_eq!((scene.applied(), scene.by()), (before, None));
}

#[tokio::test]
async fn its_button_acknowledges_once_and_says_by_whom() {
    let scene = Scene::new();
    let (door, link) = (scene.door(), scene.link(0));
    for _ in 0..2 {
        let (status, page) = ask(&door, "POST", &link).await;
        assert_eq!(status, 200);
        assert!(page.contains("Acknowledged by link to chat at 20") && !page.contains("<form"), "{page}");
    }
    assert_eq!(scene.by().as_deref(), Some("link to chat"));
    let (_, page) = ask(&door, "GET", &link).await;
    assert!(page.contains("Acknowledged by link to chat") && !page.contains("<form"), "{page}");
    let ledger = scene.agents.ledger.read().unwrap();
    let said = ledger.events.iter().filter(|event| event.summary.contains("was acknowledged"));
    let actors: Vec<&String> = said.map(|event| &event.fields["actor"]).collect();
    assert_eq!(actors, ["link to chat"]);
}

/// What stops escalations and repeats is the failure's acknowledgement: both ways must leave the same ledger.
#[tokio::test]
async fn a_link_does_what_the_command_line_does() {
    let (linked, called) = (Scene::new(), Scene::new());
    ask(&linked.door(), "POST", &linked.link(0)).await;
    let address = called.leader().serve().await;
    let connection = endpoint(&address, None).unwrap().connect().await.unwrap();
    let request = AcknowledgeFailureRequest { id: called.failure.0 };
    let answer = FailureServiceClient::new(connection).acknowledge_failure(request).await.unwrap();
    let by = answer.into_inner().failure.unwrap().acknowledged_by.unwrap();
    let mut expected = called.agents.ledger.read().unwrap().clone();
    let failure = expected.failures.get_mut(&called.failure).unwrap();
    assert_eq!(failure.acknowledged_by, Some(by));
    failure.acknowledged_by = Some("link to chat".to_owned());
    let event = expected.events.back_mut().unwrap();
    event.fields.insert("actor".to_owned(), "link to chat".to_owned());
    expected.requests.clear();
    assert_eq!(*linked.agents.ledger.read().unwrap(), expected);
}

#[tokio::test]
async fn whoever_was_first_stays() {
    let scene = Scene::new();
    let acknowledged = Body::FailureAcknowledged { failure: scene.failure };
    scene.leader().shared.raft.propose("ann".into(), RequestId(0), acknowledged).await.unwrap();
    let (status, page) = ask(&scene.door(), "POST", &scene.link(0)).await;
    assert!(status == 200 && page.contains("Acknowledged by ann at"), "{page}");
    assert_eq!(scene.by().as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_link_that_isnt_good_is_refused_with_what_to_do() {
    let scene = Scene::new();
    let (door, before) = (scene.door(), scene.applied());
    let good = scene.link(0);
    let command = format!("holdfast failure ack {}", scene.failure);
    let cases = [
        (good[..good.len() - 1].to_owned(), 403, "holdfast failure ack ID"),
        (good.replace("/ack/A", "/ack/B"), 403, "holdfast failure list --open"),
        ("/ack/%3Cscript%3E".to_owned(), 403, "one of this cluster&#x27;s"),
        (scene.link(8 * DAY_MS), 410, command.as_str()),
    ];
    for (path, code, words) in cases {
        for method in ["GET", "POST"] {
            let (status, page) = ask(&door, method, &path).await;
            assert!(status == code && page.contains(words), "{method} {path}: {status} {page}");
            assert!(!page.contains("<form"), "{page}");
        }
    }
    assert_eq!((scene.applied(), scene.by()), (before, None));
    let off = self::scene(None);
    let (status, page) = ask(&off.door(), "POST", &good).await;
    assert!(status == 403 && page.contains("no ack_url"), "{page}");
}

#[tokio::test]
async fn a_failure_that_isnt_kept_is_gone() {
    let scene = Scene::new();
    let link = scene.link(0);
    scene.agents.ledger.write().unwrap().failures.clear();
    for method in ["GET", "POST"] {
        let (status, page) = ask(&scene.door(), method, &link).await;
        assert!(status == 410 && page.contains("any more"), "{method} {page}");
    }
}

#[tokio::test]
async fn without_a_leader_it_is_to_be_tried_again() {
    let scene = Scene::new();
    let alone = Live { leader: None, is_leader: false, ..Stage::healthy().live };
    let door = door(&scene.agents.agent(2, alone));
    let (status, page) = ask(&door, "POST", &scene.link(0)).await;
    assert!(status == 503 && page.contains("no leader") && page.contains("Try again"), "{page}");
    assert!(page.contains(&format!("holdfast failure ack {}", scene.failure)), "{page}");
    assert_eq!(scene.by(), None);
    let (status, page) = ask(&door, "GET", &scene.link(0)).await;
    assert!(status == 200 && page.contains("<form"), "what is known is shown: {page}");
}
