//! Slack: the golden attachment, and a stand-in that answers as Slack does.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice, resolved},
    stand_in::{self, Received, Reply, answer, reply},
};
use std::time::Duration;

const PATH: &str = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";
const WITHIN: Duration = Duration::from_secs(5);

fn rules(got: &Received) -> Reply {
    let body = got.json();
    let attachment = &body["attachments"][0];
    let filled = |field: &str| attachment[field].as_str().is_some_and(|text| !text.is_empty());
    let raw = got.body.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "");
    match () {
        () if got.path != PATH => reply(404, "no_service"),
        () if !got.header("content-type").starts_with("application/json") => reply(400, "invalid_payload"),
        () if !filled("text") || !filled("fallback") || !filled("color") => reply(400, "no_text"),
        () if attachment["text"].as_str().unwrap().chars().count() > 4_000 => reply(400, "msg_too_long"),
        () if raw.contains(['<', '>', '&']) => reply(400, "somebody would be called"),
        () => reply(200, "ok"),
    }
}

#[test]
fn the_attachment_is_as_others_send_it() {
    let of = |notice| {
        let request = request(&Config { url: Secret::new("https://x") }, &message(vec![notice]));
        serde_json::from_str::<Value>(&request.body).unwrap()["attachments"][0].clone()
    };
    let firing = of(notice(1));
    let text = firing["text"].as_str().unwrap();
    assert!(text.contains("by n1 &lt;n2&gt; &amp; n3"), "{text}");
    let title = "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)";
    let expected =
        json!({"color": "danger", "title": title, "text": text, "fallback": title, "mrkdwn_in": []});
    assert_eq!(firing, expected);
    assert_eq!(of(resolved(1))["color"], "good");
}

#[tokio::test]
async fn slack_takes_it_and_hides_nothing_but_its_url() {
    let slack = stand_in::start(rules).await;
    let of = |path: &str| Kind::Slack(Config { url: Secret::new(&format!("{}{path}", slack.url)) });
    assert_eq!(deliver(&of(PATH), &message(vec![notice(1)]), WITHIN).await.unwrap(), "200 OK: ok");
    deliver(&of(PATH), &message((1..=200).map(notice).collect()), WITHIN).await.unwrap();
    let refused =
        deliver(&of("/services/T00000000/WRONGWRONG"), &message(vec![notice(1)]), WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.ends_with("404 Not Found: no_service"), "{refused}");
    assert!(!format!("{:?} {refused}", of(PATH)).contains("XXXX"));
}

#[test]
fn its_answers() {
    let slow = judge(&answer(429, &[("retry-after", "30")], "rate_limited")).unwrap_err();
    assert_eq!((slow.retry, slow.after), (true, Some(Duration::from_secs(30))));
    assert!(!judge(&answer(400, &[], "invalid_payload")).unwrap_err().retry);
    assert!(!judge(&answer(200, &[], r#"{"ok":false,"error":"no_text"}"#)).unwrap_err().retry);
    assert!(judge(&answer(200, &[], r#"{"ok":true}"#)).is_ok());
}
