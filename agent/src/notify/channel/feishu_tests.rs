//! Feishu: the published signature, and a stand-in that is as strict as the bot.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice, resolved},
    stand_in::{self, Received, Reply, answer, mac, reply},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

const SECRET: &str = "testsecret";
const PATH: &str = "/open-apis/bot/v2/hook/0123-4567-89ab";
const WITHIN: Duration = Duration::from_secs(5);

fn config(base: &str, secret: Option<&str>) -> Config {
    Config { url: Secret::new(&format!("{base}{PATH}")), secret: secret.map(Secret::new) }
}

fn rules(got: &Received) -> Reply {
    let no =
        |code: i64, words: &str| reply(200, &format!(r#"{{"code":{code},"data":{{}},"msg":"{words}"}}"#));
    let body = got.json();
    let seconds = body["timestamp"].as_str().unwrap_or_default();
    let expected = mac(format!("{seconds}\n{SECRET}"), "");
    let sign = body["sign"].as_str().and_then(|sign| STANDARD.decode(sign).ok());
    let fresh = seconds.parse::<u64>().is_ok_and(|seconds| seconds.abs_diff(stand_in::now_s()) <= 3600);
    if got.path != PATH {
        return no(19_001, "param invalid: incoming webhook access token invalid");
    }
    if got.body.len() > 20_480 {
        return no(19_036, "too large");
    }
    if !fresh || sign.is_none_or(|sign| sign != expected) {
        return no(19_021, "sign match fail or timestamp is not within one hour from current time");
    }
    let card = &body["card"];
    if body["msg_type"] != "interactive" || card["elements"][0]["content"].as_str().is_none_or(str::is_empty)
    {
        return no(9_499, "Bad Request");
    }
    reply(200, r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#)
}

#[test]
fn the_signature_is_the_published_one() {
    assert_eq!(signature(SECRET, 1_700_000_000), "AOc8oJ7//5OlQlfWC3nRL0R+IkuzcD1FKcAyibRK9Q8=");
    let now = WallTime(1_700_000_000_999);
    let request = request(&config("https://x", Some(SECRET)), &message(vec![notice(1)]), now);
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["timestamp"], "1700000000");
    assert_eq!(body["sign"], "AOc8oJ7//5OlQlfWC3nRL0R+IkuzcD1FKcAyibRK9Q8=");
}

#[test]
fn the_card_shows_at_once_how_bad_it_is() {
    let card = |notice| {
        let request = request(&config("https://x", None), &message(vec![notice]), WallTime(0));
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert!(body.get("sign").is_none() && body.get("timestamp").is_none());
        body["card"]["header"].clone()
    };
    assert_eq!(card(notice(1))["template"], "red");
    let over = card(resolved(1));
    assert_eq!(
        (&over["template"], &over["title"]["content"]),
        (&json!("green"), &json!("[RESOLVED] NodeDead: n1 is back (shop)"))
    );
}

#[tokio::test]
async fn the_bot_takes_it_and_finds_every_mistake() {
    let bot = stand_in::start(rules).await;
    let kind = Kind::Feishu(config(&bot.url, Some(SECRET)));
    deliver(&kind, &message(vec![notice(1)]), WITHIN).await.unwrap();
    deliver(&kind, &message((1..=200).map(notice).collect()), WITHIN).await.unwrap();

    let unsigned = Kind::Feishu(config(&bot.url, None));
    let refused = deliver(&unsigned, &message(vec![notice(1)]), WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("this host's clock"), "{refused}");
    assert!(!refused.reason.contains("89ab"), "{refused}");
    let late = WallTime((stand_in::now_s() - 3_700) * 1000);
    let request = request(&config(&bot.url, Some(SECRET)), &message(vec![notice(1)]), late);
    assert!(http::exchange(&request, None, judge).await.is_err());
}

#[test]
fn its_answers() {
    let seconds = |refused: Refused| (refused.retry, refused.after.map(|after| after.as_secs()));
    let cases = [
        (200, r#"{"code":9499,"msg":"Bad Request"}"#, (false, None)),
        (200, r#"{"code":19021,"msg":"sign match fail"}"#, (false, None)),
        (200, r#"{"code":19024,"msg":"Key Words Not Found"}"#, (false, None)),
        (200, r#"{"code":11232,"msg":"frequency limited"}"#, (true, Some(60))),
        (400, r#"{"code":99991400,"msg":"request trigger frequency limit"}"#, (true, Some(60))),
        (400, r#"{"code":9499,"msg":"Bad Request"}"#, (false, None)),
        (200, "half of it {", (true, None)),
        (503, "", (true, None)),
    ];
    for (status, body, expected) in cases {
        let refused = judge(&answer(status, &[], body)).unwrap_err();
        assert_eq!(seconds(refused), expected, "{status} {body}");
    }
    let throttled = answer(429, &[(THROTTLED_UNTIL_HEADER, "17")], r#"{"code":99991400,"msg":"limit"}"#);
    assert_eq!(seconds(judge(&throttled).unwrap_err()), (true, Some(17)));
    assert!(judge(&answer(200, &[], r#"{"code":0,"msg":"success"}"#)).is_ok());
}
