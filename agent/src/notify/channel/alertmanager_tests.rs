//! Alertmanager: what makes an alert the same alert, and a stand-in that refuses what version 0.25 refuses.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice, resolved},
    stand_in::{self, Received, Reply, answer, reply},
};

const NOW: WallTime = WallTime(1_700_000_100_000);
const WITHIN: Duration = Duration::from_secs(5);

fn config(url: &str) -> Config {
    Config {
        url: url.to_owned(),
        username: Some("Aladdin".into()),
        password: Some(Secret::new("open sesame")),
        ca: None,
    }
}

fn alerts(message: &Message) -> Vec<Value> {
    serde_json::from_str(&request(&config("http://x"), message, NOW).body).unwrap()
}

/// As observed of Alertmanager 0.25.0.
fn rules(got: &Received) -> Reply {
    let valid_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let time =
        |alert: &Value, field: &str| alert[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    if got.path != "/am/api/v2/alerts" {
        return reply(404, "");
    }
    if got.header("authorization") != "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" {
        return reply(401, "Unauthorized");
    }
    if got.header("content-type") != "application/json" {
        return reply(415, r#"{"code":415,"message":"unsupported media type"}"#);
    }
    for alert in got.json().as_array().unwrap() {
        let labels = alert["labels"].as_object().unwrap();
        let labels: Vec<_> = labels.iter().filter(|(_, value)| value != &"").collect();
        if labels.is_empty() {
            return reply(400, r#""at least one label pair required""#);
        }
        if !labels.iter().all(|(name, _)| valid_name(name)) {
            return reply(400, r#""invalid label set""#);
        }
        if time(alert, "startsAt") >= time(alert, "endsAt") {
            return reply(400, r#""start time must be before end time""#);
        }
    }
    reply(200, "")
}

#[test]
fn an_alert_is_its_labels_whoever_sends_it_and_whenever() {
    let firing = alerts(&message(vec![notice(1)]));
    let expected = json!([{
        "labels": {"alertname": "NodeDead", "severity": "critical", "cluster": "shop", "node": "n1", "zone": "rack-a"},
        "annotations": {
            "summary": "n1 is dead: checkout moved to n2",
            "description": "n was last seen 1.13 s before it was declared.\nby n1 <n2> & n3",
        },
        "startsAt": "2023-11-14T22:13:20.123Z",
        "endsAt": "2023-11-14T22:20:00.000Z",
        "generatorURL": "",
    }]);
    assert_eq!(json!(firing), expected);
    let by_another = Notice { leader: "n9".into(), term: 8, id: "99".into(), ..resolved(1) };
    let ended = alerts(&message(vec![by_another]));
    for same in ["labels", "startsAt"] {
        assert_eq!(ended[0][same], firing[0][same]);
    }
    assert_eq!(ended[0]["endsAt"], "2023-11-14T22:13:29.000Z");
    let text = json!(ended).to_string();
    assert!(!text.contains("leader") && !text.contains("term") && !text.contains("n9"), "{text}");
}

#[test]
fn links_are_annotations() {
    let runbook = Some("https://wiki/NodeDead".to_owned());
    let linked = Notice { runbook, ack_url: Some("https://x/ack/A".into()), ..notice(1) };
    let sent = alerts(&message(vec![linked])).remove(0);
    let annotations = &sent["annotations"];
    assert_eq!(annotations["runbook_url"], "https://wiki/NodeDead");
    assert_eq!(annotations["ack_url"], "https://x/ack/A");
    assert_eq!(sent["labels"], alerts(&message(vec![notice(1)]))[0]["labels"]);
}

#[tokio::test]
async fn it_takes_any_label_and_any_clock() {
    let alertmanager = stand_in::start(rules).await;
    let kind = Kind::Alertmanager(config(&format!("{}/am/", alertmanager.url)));
    let mut odd = notice(1);
    odd.labels.extend([
        ("a-b".to_owned(), "x".to_owned()),
        ("9".to_owned(), "y".to_owned()),
        ("e".to_owned(), String::new()),
    ]);
    let at_once = Notice { ends_at: Some(notice(2).starts_at), ..resolved(2) };
    let from_the_future = Notice { starts_at: WallTime((stand_in::now_s() + 7_200) * 1000), ..notice(3) };
    deliver(&kind, &message(vec![odd, at_once, from_the_future]), WITHIN).await.unwrap();
    deliver(&kind, &message((1..=200).map(notice).collect()), WITHIN).await.unwrap();
    let labels = &alertmanager.received()[0].json()[0]["labels"];
    assert_eq!((&labels["a_b"], &labels["_9"], labels.get("e")), (&json!("x"), &json!("y"), None));

    let open = Config { password: None, ..config(&format!("{}/am", alertmanager.url)) };
    let refused = deliver(&Kind::Alertmanager(open), &message(vec![notice(1)]), WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("401"), "{refused}");
}

#[test]
fn its_answers() {
    assert!(judge(&answer(200, &[], "")).is_ok());
    assert!(!judge(&answer(400, &[], r#""invalid label set""#)).unwrap_err().retry);
    assert!(judge(&answer(503, &[], "")).unwrap_err().retry);
}
