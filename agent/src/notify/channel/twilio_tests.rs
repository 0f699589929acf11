//! Twilio: the form that its own client sends, and a stand-in that answers number by number.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver as deliver_kind},
    message::tests::{message, notice},
    stand_in::{self, Received, Reply, answer, reply},
};
use std::collections::BTreeMap;

const WITHIN: Duration = Duration::from_secs(5);

fn config(url: Option<String>, to: &[&str]) -> Config {
    Config {
        account_sid: "ACtest".into(),
        auth_token: Secret::new("tok"),
        from: "+15005550006".into(),
        to: to.iter().map(|number| (*number).to_owned()).collect(),
        url,
    }
}

fn rules(got: &Received) -> Reply {
    let no = |status: u16, code: i64| {
        reply(status, &format!(r#"{{"code":{code},"message":"m","status":{status}}}"#))
    };
    let form = reqwest::Url::parse(&format!("http://x/?{}", got.body)).unwrap();
    let form: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    match () {
        // printf ACtest:tok | base64
        () if got.header("authorization") != "Basic QUN0ZXN0OnRvaw==" => no(401, 20_003),
        () if got.path != "/2010-04-01/Accounts/ACtest/Messages.json" => no(404, 20_404),
        () if got.header("content-type") != "application/x-www-form-urlencoded" => no(400, 21_602),
        () if field("From").is_empty() && !field("MessagingServiceSid").starts_with("MG") => no(400, 21_603),
        () if field("Body").is_empty() || field("Body").chars().count() > 1600 => no(400, 21_617),
        () if field("To") == "+15005550001" => no(400, 21_211),
        () if field("To") == "+15005550002" => no(429, 20_429),
        () if !field("To").starts_with('+') => no(400, 21_211),
        () => reply(201, r#"{"sid":"SM1","status":"queued"}"#),
    }
}

/// Captured from twilio-python 9.13.0, which writes a space as `+`.
#[test]
fn the_form_is_what_the_vendor_s_client_sends() {
    let mut one = message(vec![notice(1)]);
    one.words.text = "n1 is dead: a & b\n主机".into();
    let request = request(&config(None, &[]), &one, "+8613800000000");
    let theirs = "To=%2B8613800000000&From=%2B15005550006&Body=n1+is+dead%3A+a+%26+b%0A%E4%B8%BB%E6%9C%BA";
    assert_eq!(request.body, theirs.replace('+', "%20"));
    assert_eq!(request.url, "https://api.twilio.com/2010-04-01/Accounts/ACtest/Messages.json");
    assert!(request.headers.contains(&("authorization".into(), "Basic QUN0ZXN0OnRvaw==".into())));
    let service = Config { from: "MG0123".into(), ..config(None, &[]) };
    assert!(super::request(&service, &one, "+1").body.contains("&MessagingServiceSid=MG0123&"));
}

#[tokio::test]
async fn each_number_has_its_own_fate() {
    let cloud = stand_in::start(rules).await;
    let group = message((1..=200).map(notice).collect());
    let send = async |to: &[&str]| {
        deliver_kind(&Kind::Twilio(config(Some(cloud.url.clone()), to)), &group, WITHIN).await
    };
    assert_eq!(send(&["+15005550010", "+15005550011"]).await.unwrap(), "2 of 2 numbers accepted");
    let some = send(&["+15005550010", "+15005550001", "+15005550002"]).await.unwrap_err();
    assert!(!some.retry && some.reason.starts_with("1 of 3 numbers accepted"), "{some}");
    assert!(some.reason.contains("+15005550001: 127.0.0.1") && some.reason.contains("21211"), "{some}");
    let none = send(&["+15005550002"]).await.unwrap_err();
    assert_eq!((none.retry, none.after), (true, Some(THROTTLED_FOR)), "{none}");

    let wrong =
        Config { auth_token: Secret::new("wrong"), ..config(Some(cloud.url.clone()), &["+15005550010"]) };
    let refused = deliver_kind(&Kind::Twilio(wrong), &group, WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("20003"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_number_s_silence_doesn_t_hide_what_became_of_another() {
    let cloud = stand_in::start(|got| {
        if got.body.contains("5550009") {
            std::thread::sleep(Duration::from_secs(3));
        }
        rules(got)
    })
    .await;
    let config = config(Some(cloud.url.clone()), &["+15005550010", "+15005550009"]);
    let sent =
        deliver_kind(&Kind::Twilio(config), &message(vec![notice(1)]), Duration::from_millis(1_000)).await;
    let refused = sent.unwrap_err();
    assert!(
        refused.reason.starts_with("1 of 2") && refused.reason.contains("+15005550009: no answer"),
        "{refused}"
    );
}

#[test]
fn its_answers() {
    let slow = judge(&answer(429, &[("retry-after", "3")], r#"{"code":20429}"#)).unwrap_err();
    assert_eq!((slow.retry, slow.after), (true, Some(Duration::from_secs(3))));
    assert!(!judge(&answer(400, &[], r#"{"code":21610,"message":"opted out"}"#)).unwrap_err().retry);
    assert!(judge(&answer(503, &[], "")).unwrap_err().retry);
    assert!(judge(&answer(201, &[], r#"{"sid":"SM1"}"#)).is_ok());
}
