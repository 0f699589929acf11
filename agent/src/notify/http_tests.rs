//! HTTP against servers in this process that answer, hang, break off, or aren't who they should be.

use super::*;
use crate::notify::stand_in::{self, answer, reply};
use std::{
    io::{Read as _, Write as _},
    time::Instant,
};

async fn post(url: &str) -> Result<String, Refused> {
    let request =
        Request::json(url, r#"{"a":1}"#).header("authorization", "Bearer key-of-mine").hiding("key-of-mine");
    exchange(&request, None, judge).await
}

#[test]
fn the_usual_rules() {
    for (status, retry) in
        [(200, None), (204, None), (400, Some(false)), (404, Some(false)), (408, Some(true))]
    {
        let judged = judge(&answer(status, &[], "words"));
        assert_eq!(judged.err().map(|refused| refused.retry), retry, "{status}");
    }
    for status in [429, 500, 502, 503, 504] {
        let refused = judge(&answer(status, &[("retry-after", "7")], "")).unwrap_err();
        assert_eq!((refused.retry, refused.after), (true, Some(Duration::from_secs(7))), "{status}");
    }
    let redirected = judge(&answer(307, &[], "")).unwrap_err();
    assert!(!redirected.retry && redirected.reason.contains("redirects aren't followed"), "{redirected}");
}

#[test]
fn a_provider_s_wish_to_be_left_alone_is_understood_and_bounded() {
    let after = |headers: &[(&'static str, &str)]| {
        answer(429, headers, "").retry_after().map(|after| after.as_secs())
    };
    assert_eq!(after(&[("retry-after", " 30 ")]), Some(30));
    assert_eq!(after(&[("retry-after", "86400")]), Some(3600));
    let date = ("date", "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_eq!(after(&[date, ("retry-after", "Tue, 14 Nov 2023 22:15:20 GMT")]), Some(120));
    assert_eq!(after(&[date, ("retry-after", "Tue, 14 Nov 2023 22:10:00 GMT")]), None, "already over");
    assert_eq!(after(&[("retry-after", "soon")]), None);
    assert_eq!(after(&[]), None);
}

#[tokio::test]
async fn nothing_secret_is_shown_even_if_the_receiver_repeats_it() {
    let echo = |got: &stand_in::Received| {
        let told = format!("no {}?{} for {}", got.path, got.raw_query, got.header("authorization"));
        reply(403, &told)
    };
    let server = stand_in::start(echo).await;
    let url = format!("{}/hook/T0123456789/send?access_token=s3cr3t%2Ftoken", server.url);
    let refused = post(&url).await.unwrap_err();
    for secret in ["T0123456789", "s3cr3t", "key-of-mine"] {
        assert!(!refused.reason.contains(secret), "{refused}");
    }
    assert!(refused.reason.contains("answered 403 Forbidden: no /hook/(hidden)/send"), "{refused}");
    let request = Request::json(&url, "").header("authorization", "key-of-mine");
    assert_eq!(format!("{request:?}"), format!("POST to {}, 0 bytes", &server.url[7..]));
}

#[tokio::test]
async fn a_long_answer_is_not_read_to_its_end() {
    let server = stand_in::start(|_| reply(200, &"x".repeat(1_000_000))).await;
    let answered = send(&Request::post(&server.url, ""), None).await.unwrap();
    assert_eq!(answered.body.len(), ANSWER_BYTES);
    assert!(post(&server.url).await.unwrap().len() < 300);
}

#[tokio::test]
async fn a_hanging_receiver_is_given_up_when_the_caller_says() {
    let hang = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        std::thread::sleep(Duration::from_secs(5));
    });
    let began = Instant::now();
    let sent = tokio::time::timeout(Duration::from_millis(200), post(&format!("http://{hang}/"))).await;
    assert!(sent.is_err() && began.elapsed() < Duration::from_secs(2), "{sent:?}");
}

#[tokio::test]
async fn a_connection_that_closes_early_may_go_better_later() {
    let closing = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
    });
    let refused = post(&format!("http://{closing}/token-in-path")).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains(&closing.to_string()), "{refused}");
    assert!(!refused.reason.contains("token-in-path"), "{refused}");
    // The status came, and half of the JSON that would say whether it was taken.
    let half = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"errcode\":");
    });
    let request = Request::post(format!("http://{half}/"), "");
    let refused = exchange(&request, None, |answer| answer.json().map(|_| String::new())).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("isn't JSON"), "{refused}");
}

#[tokio::test]
async fn a_certificate_must_be_vouched_for() {
    let (config, pem) = stand_in::tls();
    let server = stand_in::tcp(move |stream| {
        let mut stream = stand_in::encrypted(stream, &config);
        if stream.read(&mut [0; 4096]).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            let _ = stream.flush();
        }
    });
    let url = format!("https://{server}/");
    let refused = post(&url).await.unwrap_err();
    assert!(refused.retry && refused.reason.to_lowercase().contains("cert"), "{refused}");

    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let trusted = exchange(&Request::post(&url, "{}"), ca.to_str(), judge).await;
    assert_eq!(trusted.unwrap(), "200 OK: ok");

    let (_, other) = stand_in::tls();
    std::fs::write(&ca, other).unwrap();
    exchange(&Request::post(&url, "{}"), ca.to_str(), judge).await.unwrap_err();
    let missing = exchange(&Request::post(&url, "{}"), Some("/no/such/ca"), judge).await.unwrap_err();
    assert!(missing.retry && missing.reason.contains("/no/such/ca"), "{missing}");
}
