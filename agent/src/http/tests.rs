//! Probes and the scrape, over a real connection.

use super::*;
use crate::{
    shared::Live,
    view::testing::Stage,
    wire::api::testing::{Replica, TestAgent},
};

async fn get_from(agent: &TestAgent, path: &str) -> (u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let router = router(Arc::clone(&agent.shared), Arc::default(), false);
    tokio::spawn(serve(listener, router, std::future::pending()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.get(url).timeout(Duration::from_secs(5)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn probes_tell_alive_from_ready() {
    let stage = Stage::healthy();
    let agent = Replica::of(&stage).agent(1, stage.live.clone());
    assert_eq!(get_from(&agent, "/healthz").await.0, 200);
    assert_eq!(get_from(&agent, "/readyz").await.0, 200);
    agent.live.send_replace(Arc::new(Live { leader: None, ..stage.live.clone() }));
    assert_eq!(get_from(&agent, "/healthz").await.0, 200);
    let (status, sentence) = get_from(&agent, "/readyz").await;
    assert!(status == 503 && sentence.contains("no leader"), "{status} {sentence}");
    assert_eq!(get_from(&agent, "/elsewhere").await.0, 404);
}

#[tokio::test]
async fn a_scrape_has_the_cluster_and_the_process() {
    let stage = Stage::healthy();
    let agent = Replica::of(&stage).agent(1, stage.live.clone());
    let (status, text) = get_from(&agent, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "holdfast_up 1",
        "holdfast_nodes{state=\"alive\"} 3",
        "holdfast_nodes{state=\"dead\"} 0",
        "holdfast_leader 1",
        "holdfast_workload_instances_running{workload=\"counter\"} 1",
        "holdfast_failures_open 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    assert!(
        text.contains("\nprocess_resident_memory_bytes ") && text.contains("\nprocess_cpu_seconds_total ")
    );
}

#[test]
fn a_pulse_ages_until_it_beats() {
    let pulse = Pulse::default();
    std::thread::sleep(Duration::from_millis(30));
    assert!(pulse.age() >= Duration::from_millis(30));
    pulse.beat();
    assert!(pulse.age() < Duration::from_millis(30));
}
