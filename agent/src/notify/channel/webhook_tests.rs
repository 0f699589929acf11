//! Webhooks against a receiver in this process: what it gets, and what its answers mean.

use super::*;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Mutex;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Answers everything with `status` and keeps what it got.
async fn receiver(status: u16) -> (SocketAddr, Received) {
    let received = Received::default();
    let answer = async move |State(all): State<Received>, headers: HeaderMap, body: Bytes| {
        all.lock().await.push((headers, body));
        (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], "x".repeat(100_000))
    };
    let router = Router::new()
        .route("/hook", routing::post(answer))
        .route("/elsewhere", routing::post(answer))
        .with_state(received.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

async fn post_to(url: &str, secret: Option<Secret>) -> Result<String, Refused> {
    let headers = BTreeMap::from([("x-team".to_owned(), "ops".to_owned())]);
    let config = Config { url: url.to_owned(), secret, headers, ca: None };
    let sent = post(&config, "c-17-firing", r#"{"id":"17"}"#.to_owned(), crate::clock::wall());
    tokio::time::timeout(Duration::from_secs(5), sent).await.expect("bounded")
}

#[test]
fn the_signature_is_the_standard_s() {
    let secret = Secret::new(SECRET);
    let body = br#"{"type":"node.down","data":{"node":"n1"}}"#;
    let signed = signature(&secret, "msg_1", 1_700_000_000, body).unwrap();
    assert_eq!(signed, "v1,ELOGZgM9REOEPUGy0zs3Uy6wXGK6rZSbv35kD1ojNtY=");
    let refused = signature(&Secret::new("not base64!"), "a", 1, b"{}").unwrap_err();
    assert!(!refused.retry && !refused.reason.contains("not base64!"), "{refused}");
}

#[tokio::test]
async fn a_receiver_can_verify_what_it_gets() {
    let (address, received) = receiver(204).await;
    let url = format!("http://{address}/hook");
    post_to(&url, Some(Secret::new(SECRET))).await.unwrap();
    post_to(&url, Some(Secret::new(SECRET))).await.unwrap();
    let received = received.lock().await;
    let (headers, body) = &received[0];
    Webhook::new(SECRET).unwrap().verify(body, headers).unwrap();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-team"], "ops");
    assert_eq!(headers[HEADER_WEBHOOK_ID], "c-17-firing");
    assert_eq!(received[1].0[HEADER_WEBHOOK_ID], headers[HEADER_WEBHOOK_ID], "a repeat keeps its id");
}

#[tokio::test]
async fn the_answer_says_whether_to_try_again() {
    let cases = [
        (200, None),
        (400, Some(false)),
        (404, Some(false)),
        (408, Some(true)),
        (429, Some(true)),
        (503, Some(true)),
    ];
    for (status, retry) in cases {
        let (address, received) = receiver(status).await;
        let sent = post_to(&format!("http://{address}/hook"), None).await;
        assert_eq!(sent.as_ref().err().map(|refused| refused.retry), retry, "{status}: {sent:?}");
        let words = sent.unwrap_or_else(|refused| refused.reason);
        assert!(words.len() < 400, "{} bytes of a 100 kB answer", words.len());
        assert!(!received.lock().await[0].0.contains_key(HEADER_WEBHOOK_SIGNATURE), "there is no secret");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (address, received) = receiver(307).await;
    let refused = post_to(&format!("http://{address}/hook"), None).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("redirect"), "{refused}");
    assert_eq!(received.lock().await.len(), 1);
}

#[tokio::test]
async fn an_unreachable_receiver_is_named_without_the_path_that_may_be_a_secret() {
    let refused = post_to("http://127.0.0.1:1/token-in-path?key=abc", None).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("127.0.0.1:1"), "{refused}");
    assert!(!refused.reason.contains("token-in-path") && !refused.reason.contains("abc"), "{refused}");
}
