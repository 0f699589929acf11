//! Opsgenie's alert API, and Jira Service Management's, its successor: the same bodies under another `url`.
//!
//! An alert is created and closed under one alias; a repetition only raises its count.
//! Not here: asking later what became of a request, which is taken in before it is looked at.

use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    words,
};
use cluster_core::{
    alerting::Notice,
    ledger::{Phase, Severity},
};
use serde_json::{Value, json};
use std::time::Duration;

pub const URL: &str = "https://api.opsgenie.com";
const SOURCE: &str = "holdfast";
const MESSAGE_CHARS: usize = 130;
/// Of the description; the limit is 15 000 characters.
pub const ROOM_BYTES: usize = 15_000;
const PERIOD_HEADER: &str = "x-ratelimit-period-in-sec";

#[derive(Clone, Debug)]
pub struct Config {
    pub api_key: Secret,
    /// `URL` unless given; `https://api.eu.opsgenie.com`, or `https://api.atlassian.com/jsm/ops/integration`.
    pub url: Option<String>,
    /// Each `NAME` of a team, or `team:NAME`, `user:MAIL`, `escalation:NAME`, `schedule:NAME`.
    pub responders: Vec<String>,
    pub tags: Vec<String>,
}

#[must_use]
pub fn request(config: &Config, message: &Message) -> Request {
    let base = config.url.as_deref().unwrap_or(URL).trim_end_matches('/');
    let alias = message.identity();
    let (url, body) = match message.status {
        Phase::Firing => (format!("{base}/v2/alerts"), create(config, message, &alias)),
        Phase::Resolved => {
            let note = words::cut(&message.words.text, ROOM_BYTES);
            let url = format!("{base}/v2/alerts/{alias}/close?identifierType=alias");
            (url, json!({"source": SOURCE, "note": note}))
        }
    };
    let key = config.api_key.expose();
    Request::json(url, body).header("authorization", format!("GenieKey {key}")).hiding(key)
}

/// # Errors
/// Anything but 2xx; under 429 its header says how long to wait.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    http::judge(answer).map_err(|refused| {
        let period = answer.headers.get(PERIOD_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let period = period.filter(|_| answer.status == 429).map(|s: u64| Duration::from_secs(s.min(3600)));
        Refused { after: refused.after.or(period), ..refused }
    })
}

fn create(config: &Config, message: &Message, alias: &str) -> Value {
    let priority = match message.severity {
        Severity::Critical => "P1",
        Severity::Warning => "P3",
        Severity::Info => "P5",
    };
    let mut details: serde_json::Map<String, Value> =
        message.labels().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    details.insert("cluster".to_owned(), json!(message.cluster));
    details.insert("severity".to_owned(), json!(message.severity.name()));
    // Of several alerts each has its own, in the description.
    if let [Notice { ack_url: Some(link), .. }] = message.notices.as_slice() {
        details.insert("ack_url".to_owned(), json!(link));
    }
    json!({
        "alias": alias,
        "message": words::cut_chars(&message.words.title, MESSAGE_CHARS),
        "description": words::cut(&message.words.text, ROOM_BYTES),
        "details": details,
        "source": SOURCE,
        "entity": message.cluster,
        "responders": config.responders.iter().map(|text| responder(text)).collect::<Vec<_>>(),
        "tags": config.tags,
        "priority": priority,
    })
}

fn responder(text: &str) -> Value {
    match text.split_once(':') {
        Some(("user", mail)) => json!({"type": "user", "username": mail}),
        Some((kind @ ("team" | "escalation" | "schedule"), name)) => json!({"type": kind, "name": name}),
        _ => json!({"type": "team", "name": text}),
    }
}
