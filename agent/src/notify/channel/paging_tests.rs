//! Paging systems: the fields that Alertmanager 0.25 sends them, and stand-ins that keep incidents as they do.

use super::{opsgenie, pagerduty, victorops};
use crate::notify::{
    Refused,
    dispatch::{Kind, deliver},
    message::{
        Message,
        tests::{message, notice, resolved},
    },
    secret::Secret,
    stand_in::{self, Received, Reply, answer, reply},
};
use cluster_core::{alerting::Notice, ledger::Severity};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Mutex, time::Duration};

const WITHIN: Duration = Duration::from_secs(5);
const KEY: &str = "0123456789abcdef0123456789abcdef";
const TITLE: &str = "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)";

async fn send(kind: Kind, message: &Message) -> Result<String, Refused> {
    deliver(&kind, message, WITHIN).await
}

fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

/// Keeps what is open, and refuses to close what isn't.
#[derive(Default)]
struct Incidents(Mutex<BTreeSet<String>>);

impl Incidents {
    fn open(&self, id: &Value) -> bool {
        id.as_str().is_some_and(|id| {
            !id.is_empty() && {
                self.0.lock().unwrap().insert(id.to_owned());
                true
            }
        })
    }

    fn close(&self, id: &str) -> bool {
        self.0.lock().unwrap().remove(id)
    }
}

fn pagerduty_rules(got: &Received, incidents: &Incidents) -> Reply {
    let body = got.json();
    let payload = &body["payload"];
    let ok = || reply(202, r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#);
    let bad = |why: &str| {
        reply(400, &json!({"status": "invalid event", "message": why, "errors": [why]}).to_string())
    };
    match body["event_action"].as_str().unwrap_or_default() {
        _ if got.path != "/v2/enqueue" => reply(404, ""),
        _ if body["routing_key"] != KEY => bad("Invalid routing key"),
        _ if got.body.len() > 512 * 1024 => reply(413, ""),
        _ if chars(&payload["summary"]) == 0 || chars(&payload["summary"]) > 1024 => bad("summary"),
        _ if chars(&payload["source"]) == 0 => bad("source"),
        _ if !["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap()) => {
            bad("severity")
        }
        _ if chars(&body["dedup_key"]) > 255 => bad("dedup_key"),
        "trigger" if incidents.open(&body["dedup_key"]) => ok(),
        "resolve" if incidents.close(body["dedup_key"].as_str().unwrap()) => ok(),
        _ => bad("event_action"),
    }
}

#[tokio::test]
async fn pagerduty_opens_and_resolves_one_incident() {
    let incidents = Incidents::default();
    let provider = stand_in::start(move |got| pagerduty_rules(got, &incidents)).await;
    let of = |key: &str| {
        let url = Some(format!("{}/v2/enqueue", provider.url));
        Kind::PagerDuty(pagerduty::Config { routing_key: Secret::new(key), url })
    };
    send(of(KEY), &message(vec![notice(1)])).await.unwrap();
    send(of(KEY), &message(vec![notice(1)])).await.unwrap();
    send(of(KEY), &message(vec![resolved(1)])).await.unwrap();
    send(of(KEY), &message((1..=200).map(notice).collect())).await.unwrap();
    let first = provider.received()[0].json();
    let expected = json!({
        "routing_key": KEY, "event_action": "trigger", "dedup_key": message(vec![notice(1)]).identity(),
        "client": "Holdfast", "links": [],
        "payload": {
            "summary": TITLE, "source": "n1", "severity": "critical", "timestamp": "2023-11-14T22:13:20.123Z",
            "group": "shop", "class": "NodeDead",
            "custom_details": {
                "text": message(vec![notice(1)]).words.text, "labels": {"node": "n1", "zone": "rack-a"}, "alerts": 1,
            },
        },
    });
    assert_eq!(first, expected);
    let wrong = send(of("fedcba9876543210fedcba9876543210"), &message(vec![notice(1)])).await.unwrap_err();
    assert!(!wrong.retry && wrong.reason.contains("Invalid routing key"), "{wrong}");
    let unknown = send(of(KEY), &message(vec![resolved(2)])).await.unwrap_err();
    assert!(unknown.reason.contains("400"), "the stand-in knows what is open: {unknown}");
}

fn opsgenie_rules(got: &Received, base: &str, incidents: &Incidents) -> Reply {
    let body = got.json();
    let ok = || reply(202, r#"{"result":"Request will be processed","took":0.1,"requestId":"r"}"#);
    let bad = |why: &str| reply(422, &json!({"message": why, "took": 0.0, "requestId": "r"}).to_string());
    if got.header("authorization") != format!("GenieKey {KEY}") {
        return reply(401, r#"{"message":"Could not authenticate"}"#);
    }
    let rest = got.path.strip_prefix(base).and_then(|path| path.strip_prefix("/v2/alerts"));
    match rest {
        Some("") if chars(&body["message"]) == 0 || chars(&body["message"]) > 130 => bad("message"),
        Some("") if chars(&body["description"]) > 15_000 || chars(&body["alias"]) > 512 => bad("too long"),
        Some("") if !["P1", "P2", "P3", "P4", "P5"].contains(&body["priority"].as_str().unwrap()) => {
            bad("priority")
        }
        Some("") if body["details"].as_object().unwrap().values().any(|value| !value.is_string()) => {
            bad("details")
        }
        Some("") if incidents.open(&body["alias"]) => ok(),
        Some(close) if got.raw_query == "identifierType=alias" => {
            let alias = close.strip_prefix('/').and_then(|close| close.strip_suffix("/close")).unwrap();
            if incidents.close(alias) { ok() } else { reply(404, "no such alert") }
        }
        _ => reply(404, ""),
    }
}

#[tokio::test]
async fn opsgenie_and_its_successor_create_and_close_one_alert() {
    for base in ["", "/jsm/ops/integration"] {
        let incidents = Incidents::default();
        let provider = stand_in::start(move |got| opsgenie_rules(got, base, &incidents)).await;
        let of = |key: &str| {
            Kind::Opsgenie(opsgenie::Config {
                api_key: Secret::new(key),
                url: Some(format!("{}{base}", provider.url)),
                responders: vec!["ops".into(), "user:a@example.org".into(), "schedule:night".into()],
                tags: vec!["prod".into()],
            })
        };
        send(of(KEY), &message(vec![notice(1)])).await.unwrap();
        send(of(KEY), &message(vec![resolved(1)])).await.unwrap();
        send(of(KEY), &message((1..=200).map(notice).collect())).await.unwrap();
        let wrong = send(of("another-key"), &message(vec![notice(1)])).await.unwrap_err();
        assert!(!wrong.retry && wrong.reason.contains("401"), "{wrong}");
        let first = provider.received()[0].json();
        let expected = json!({
            "alias": message(vec![notice(1)]).identity(), "message": TITLE, "priority": "P1", "source": "holdfast",
            "entity": "shop", "tags": ["prod"],
            "description": message(vec![notice(1)]).words.text,
            "details": {"cluster": "shop", "node": "n1", "zone": "rack-a", "severity": "critical"},
            "responders": [
                {"type": "team", "name": "ops"}, {"type": "user", "username": "a@example.org"},
                {"type": "schedule", "name": "night"},
            ],
        });
        assert_eq!(first, expected);
    }
}

fn victorops_rules(got: &Received, incidents: &Incidents) -> Reply {
    let body = got.json();
    let ok = || reply(200, r#"{"result":"success","entity_id":"e"}"#);
    let bad = |why: &str| reply(200, &json!({"result": "failure", "message": why}).to_string());
    match body["message_type"].as_str().unwrap_or_default() {
        _ if got.path != format!("/alert/{KEY}/team%20a") => bad("unknown key"),
        "CRITICAL" | "WARNING" | "INFO" if incidents.open(&body["entity_id"]) => ok(),
        "RECOVERY" if incidents.close(body["entity_id"].as_str().unwrap()) => ok(),
        _ => bad("message_type"),
    }
}

#[tokio::test]
async fn victorops_recovers_what_it_was_told_of() {
    let incidents = Incidents::default();
    let provider = stand_in::start(move |got| victorops_rules(got, &incidents)).await;
    let of = |key: &str| {
        let url = Some(format!("{}/alert", provider.url));
        Kind::VictorOps(victorops::Config { api_key: Secret::new(key), routing_key: "team a".into(), url })
    };
    send(of(KEY), &message(vec![notice(1)])).await.unwrap();
    send(of(KEY), &message(vec![resolved(1)])).await.unwrap();
    let first = provider.received()[0].json();
    let expected = json!({
        "entity_id": message(vec![notice(1)]).identity(), "entity_display_name": TITLE, "message_type": "CRITICAL",
        "monitoring_tool": "Holdfast", "state_message": message(vec![notice(1)]).words.text,
        "state_start_time": 1_700_000_000, "cluster": "shop", "severity": "critical",
        "labels": {"node": "n1", "zone": "rack-a"},
    });
    assert_eq!(first, expected);
    let wrong = send(of("fedcba9876543210"), &message(vec![notice(1)])).await.unwrap_err();
    assert!(
        !wrong.retry && wrong.reason.contains("unknown key") && !wrong.reason.contains("fedcba"),
        "{wrong}"
    );
}

#[test]
fn mild_alerts_page_mildly() {
    let mut mild = notice(1);
    mild.severity = Severity::Warning;
    let mild = message(vec![mild]);
    let body = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let config = victorops::Config { api_key: Secret::new("k"), routing_key: "r".into(), url: None };
    assert_eq!(body(&victorops::request(&config, &mild).body)["message_type"], "WARNING");
    let config = opsgenie::Config { api_key: Secret::new("k"), url: None, responders: vec![], tags: vec![] };
    assert_eq!(body(&opsgenie::request(&config, &mild).body)["priority"], "P3");
    assert_eq!(opsgenie::request(&config, &mild).url, "https://api.opsgenie.com/v2/alerts");
    let config = pagerduty::Config { routing_key: Secret::new("k"), url: None };
    assert_eq!(body(&pagerduty::request(&config, &mild).body)["payload"]["severity"], "warning");
}

#[test]
fn links_are_where_each_shows_them() {
    let linked = |node| Notice { ack_url: Some(format!("https://x/ack/{node}")), ..notice(node) };
    let of_one = message(vec![Notice { runbook: Some("https://wiki/NodeDead".into()), ..linked(1) }]);
    let of_many = message((1..=20).map(linked).collect());
    let body = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let config = pagerduty::Config { routing_key: Secret::new("k"), url: None };
    let links = |message: &Message| body(&pagerduty::request(&config, message).body)["links"].clone();
    let expected = json!([
        {"href": "https://x/ack/1", "text": "acknowledge in Holdfast"},
        {"href": "https://wiki/NodeDead", "text": "runbook"},
    ]);
    assert_eq!(links(&of_one), expected);
    assert_eq!(links(&of_many).as_array().unwrap().len(), 5);
    let config = opsgenie::Config { api_key: Secret::new("k"), url: None, responders: vec![], tags: vec![] };
    let details = |message: &Message| body(&opsgenie::request(&config, message).body)["details"].clone();
    assert_eq!(details(&of_one)["ack_url"], "https://x/ack/1");
    assert!(details(&of_many).get("ack_url").is_none());
    let config = victorops::Config { api_key: Secret::new("k"), routing_key: "r".into(), url: None };
    let said = body(&victorops::request(&config, &of_one).body)["state_message"].clone();
    assert!(said.as_str().unwrap().contains("Acknowledge: https://x/ack/1"), "{said}");
}

#[test]
fn their_answers() {
    let slow = opsgenie::judge(&answer(429, &[("x-ratelimit-period-in-sec", "60")], "")).unwrap_err();
    assert_eq!((slow.retry, slow.after), (true, Some(Duration::from_secs(60))));
    assert!(opsgenie::judge(&answer(202, &[], "{}")).is_ok());
    assert!(pagerduty::judge(&answer(202, &[], "{}")).is_ok());
    assert!(!pagerduty::judge(&answer(400, &[], "")).unwrap_err().retry);
    for status in [429, 500, 503] {
        assert!(pagerduty::judge(&answer(status, &[], "")).unwrap_err().retry, "{status}");
        assert!(victorops::judge(&answer(status, &[], "")).unwrap_err().retry, "{status}");
    }
    assert!(victorops::judge(&answer(200, &[], "<html>")).unwrap_err().retry);
}
