//! DingTalk: the published signature, and a stand-in that is as strict as the robot.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice},
    stand_in::{self, Received, Reply, StandIn, answer, mac, reply},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

const TOKEN: &str = "0123456789abcdef";
const SECRET: &str = "SECtestsecret";
const WITHIN: Duration = Duration::from_secs(5);

fn config(base: &str, secret: &str) -> Config {
    Config {
        url: Secret::new(&format!("{base}/robot/send?access_token={TOKEN}")),
        secret: Some(Secret::new(secret)),
        at_mobiles: vec!["13800000000".into()],
        at_all: false,
    }
}

/// The robot's rules; `keyword` is one of them.
fn rules(got: &Received, keyword: &str) -> Reply {
    let no = |code: i64, words: &str| reply(200, &format!(r#"{{"errcode":{code},"errmsg":"{words}"}}"#));
    let ms = got.query.get("timestamp").and_then(|ms| ms.parse::<u64>().ok()).unwrap_or(0);
    let expected = mac(SECRET, format!("{ms}\n{SECRET}"));
    let sign = got.query.get("sign").and_then(|sign| STANDARD.decode(sign).ok());
    let body = got.json();
    let text = body["markdown"]["text"].as_str().unwrap_or_default();
    if got.path != "/robot/send" || got.query.get("access_token").is_none_or(|token| token != TOKEN) {
        return no(300_001, "token is not exist");
    }
    if !got.header("content-type").starts_with("application/json") || got.body.len() > 20_000 {
        return no(40_035, "bad body");
    }
    if (ms / 1000).abs_diff(stand_in::now_s()) > 3600 {
        return no(310_000, "invalid timestamp");
    }
    if sign.is_none_or(|sign| sign != expected) {
        return no(310_000, "sign not match");
    }
    if body["msgtype"] != "markdown" || body["markdown"]["title"].as_str().is_none_or(str::is_empty) {
        return no(40_035, "bad body");
    }
    for mobile in body["at"]["atMobiles"].as_array().unwrap() {
        if !text.contains(&format!("@{}", mobile.as_str().unwrap())) {
            return no(40_035, "who is called must be in the text");
        }
    }
    if !text.contains(keyword) {
        return no(310_000, "keywords not in content");
    }
    no(0, "ok")
}

async fn robot(keyword: &'static str) -> StandIn {
    stand_in::start(move |got| rules(got, keyword)).await
}

#[test]
fn the_signature_is_the_published_one() {
    let signed = signature(SECRET, 1_700_000_000_000);
    assert_eq!(signed, "7LVwF0dAF3/+MRRulbpE4y72Ogzykc6bS2nG4I99T4s=");
    let request =
        request(&config("https://x", SECRET), &message(vec![notice(1)]), WallTime(1_700_000_000_000));
    let query = "access_token=0123456789abcdef&timestamp=1700000000000\
        &sign=7LVwF0dAF3%2F%2BMRRulbpE4y72Ogzykc6bS2nG4I99T4s%3D";
    assert_eq!(request.url, format!("https://x/robot/send?{query}"));
}

/// Captured from Apprise 2.3.0, but for the title and the text.
#[test]
fn the_body_has_the_shape_that_others_send() {
    let request = request(&config("https://x", SECRET), &message(vec![notice(1)]), WallTime(0));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let text = body["markdown"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("**[FIRING] NodeDead: n1 is dead") && text.ends_with("\n\n @13800000000"),
        "{text}"
    );
    let expected = json!({
        "msgtype": "markdown",
        "at": {"atMobiles": ["13800000000"], "atUserIds": [], "isAtAll": false},
        "markdown": {"title": "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)", "text": text},
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn the_robot_takes_it() {
    let robot = robot("NodeDead").await;
    let kind = Kind::DingTalk(config(&robot.url, SECRET));
    let words = deliver(&kind, &message(vec![notice(1)]), WITHIN).await.unwrap();
    assert!(words.contains("ok"), "{words}");
    let group: Vec<_> = (1..=200).map(notice).collect();
    deliver(&kind, &message(group), WITHIN).await.unwrap();
    let mut escaped = notice(1);
    escaped.description = "\"\u{1}".repeat(9_000);
    deliver(&kind, &message(vec![escaped]), WITHIN).await.unwrap();
    assert!(robot.received().iter().all(|got| got.body.len() <= 20_000));
}

#[tokio::test]
async fn the_robot_finds_every_mistake() {
    let sent = async |robot: &StandIn, secret: &str, now_ms: u64| {
        let request = request(&config(&robot.url, secret), &message(vec![notice(1)]), WallTime(now_ms));
        http::exchange(&request, None, judge).await.unwrap_err()
    };
    let now_ms = stand_in::now_s() * 1000;
    let (any, picky) = (robot("").await, robot("监控").await);
    let wrong = sent(&any, "SECother", now_ms).await;
    assert!(!wrong.retry && wrong.reason.contains("sign not match"), "{wrong}");
    assert!(!wrong.reason.contains(TOKEN) && !wrong.reason.contains("SECother"), "{wrong}");
    assert!(sent(&any, SECRET, now_ms - 3_700_000).await.reason.contains("invalid timestamp"));
    assert!(sent(&picky, SECRET, now_ms).await.reason.contains("check the robot's keywords"));
}

#[test]
fn its_answers() {
    let cases = [
        (r#"{"errcode":310000,"errmsg":"keywords not in content"}"#, false, None),
        (r#"{"errcode":-1,"errmsg":"system busy"}"#, true, None),
        (r#"{"errcode":130101,"errmsg":"send too fast"}"#, true, Some(600)),
        (r#"{"status":1111,"wait":5,"source":"x5","punish":"deny"}"#, true, Some(600)),
        (r#"{"errcode":300001,"errmsg":"token is not exist"}"#, false, None),
        ("<html>gateway</html>", true, None),
    ];
    for (body, retry, after) in cases {
        let refused = judge(&answer(200, &[], body)).unwrap_err();
        assert_eq!((refused.retry, refused.after.map(|after| after.as_secs())), (retry, after), "{body}");
    }
    assert!(judge(&answer(200, &[], r#"{"errcode":0,"errmsg":"ok"}"#)).is_ok());
    assert!(judge(&answer(502, &[], "")).unwrap_err().retry);
}
