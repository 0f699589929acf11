//! PagerDuty's Events API v2: an incident is triggered and resolved under one dedup key.
//!
//! Not here: taking acknowledgements from there.

use crate::notify::{
    Refused, body,
    http::{self, Request},
    message::Message,
    secret::Secret,
    words,
};
use cluster_core::ledger::Phase;
use serde_json::json;

pub const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Of the summary, in characters.
const SUMMARY_CHARS: usize = 1_024;
pub const ROOM_BYTES: usize = 16_000;
/// Of each kind.
const LINKS_MAX: usize = 5;

#[derive(Clone, Debug)]
pub struct Config {
    /// The integration's key, 32 characters.
    pub routing_key: Secret,
    /// `URL` unless given.
    pub url: Option<String>,
}

/// Resolving repeats everything but the action, so that it makes sense even to who missed the trigger.
#[must_use]
pub fn request(config: &Config, message: &Message) -> Request {
    let action = match message.status {
        Phase::Firing => "trigger",
        Phase::Resolved => "resolve",
    };
    let labels = message.labels();
    let source = labels.get("node").copied().unwrap_or(&message.cluster);
    let link = |href: &String, text| json!({"href": href, "text": text});
    let acknowledge = message.notices.iter().filter_map(|notice| notice.ack_url.as_ref());
    let runbooks = message.notices.iter().filter_map(|notice| notice.runbook.as_ref());
    let links: Vec<_> = acknowledge
        .take(LINKS_MAX)
        .map(|href| link(href, "acknowledge in Holdfast"))
        .chain(runbooks.take(LINKS_MAX).map(|href| link(href, "runbook")))
        .collect();
    let mut body = json!({
        "routing_key": config.routing_key.expose(),
        "event_action": action,
        "dedup_key": message.identity(),
        "client": "Holdfast",
        "links": links,
        "payload": {
            "summary": words::cut_chars(&message.words.title, SUMMARY_CHARS),
            "source": source,
            "severity": message.severity.name(),
            "timestamp": body::rfc3339(message.starts_at()),
            "group": message.cluster,
            "class": message.notices[0].alert,
            "custom_details": {
                "text": words::cut(&message.words.text, ROOM_BYTES),
                "labels": labels,
                "alerts": message.notices.len(),
            },
        },
    });
    if let Some(workload) = labels.get("workload") {
        body["payload"]["component"] = json!(workload);
    }
    let url = config.url.as_deref().unwrap_or(URL);
    Request::json(url, body).hiding(config.routing_key.expose())
}

/// # Errors
/// Anything but 2xx: 400 is for good, 429 and 5xx are not.
pub fn judge(answer: &http::Answer) -> Result<String, Refused> {
    http::judge(answer)
}
