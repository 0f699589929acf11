//! WeCom: a stand-in that counts bytes and knows its key.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice},
    stand_in::{self, Received, Reply, answer, reply},
};

const KEY: &str = "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa";
const WITHIN: Duration = Duration::from_secs(5);

fn rules(got: &Received) -> Reply {
    let no = |code: i64, words: &str| reply(200, &format!(r#"{{"errcode":{code},"errmsg":"{words}"}}"#));
    let body = got.json();
    let content = body["markdown"]["content"].as_str().unwrap_or_default();
    match () {
        () if got.path != "/cgi-bin/webhook/send" || got.query.get("key").is_none_or(|key| key != KEY) => {
            no(93_000, "invalid webhook url")
        }
        () if body["msgtype"] != "markdown" || content.is_empty() => no(40_008, "invalid message type"),
        () if content.len() > 4_096 => no(40_058, "markdown.content exceed max length 4096"),
        () => no(0, "ok"),
    }
}

#[tokio::test]
async fn the_robot_takes_it_and_finds_every_mistake() {
    let robot = stand_in::start(rules).await;
    let of = |key: &str| {
        Kind::WeCom(Config { url: Secret::new(&format!("{}/cgi-bin/webhook/send?key={key}", robot.url)) })
    };
    deliver(&of(KEY), &message(vec![notice(1)]), WITHIN).await.unwrap();
    let mut long = notice(1);
    long.description = "主机失联".repeat(2_000);
    deliver(&of(KEY), &message(vec![long]), WITHIN).await.unwrap();
    deliver(&of(KEY), &message((1..=200).map(notice).collect()), WITHIN).await.unwrap();

    let refused = deliver(&of("another-key-of-mine"), &message(vec![notice(1)]), WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("93000"), "{refused}");
    assert!(!refused.reason.contains("another-key"), "{refused}");
}

#[test]
fn its_answers() {
    let cases = [
        (r#"{"errcode":40058,"errmsg":"exceed max length"}"#, false, None),
        (r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, true, Some(60)),
        (r#"{"errcode":-1,"errmsg":"system busy"}"#, true, None),
        (r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#, false, None),
        ("", true, None),
    ];
    for (body, retry, after) in cases {
        let refused = judge(&answer(200, &[], body)).unwrap_err();
        assert_eq!((refused.retry, refused.after.map(|after| after.as_secs())), (retry, after), "{body}");
    }
    assert!(judge(&answer(500, &[], "")).unwrap_err().retry);
}
