//! Alertmanager's `POST /api/v2/alerts`.
//!
//! Alertmanager knows an alert by its labels, so these are the same whoever sends: no leader, no term, no time.
//! It forgets an alert that isn't sent again, so the leader sends those that fire every minute.

use crate::notify::{
    Refused, body,
    http::{self, Request},
    message::Message,
    secret::Secret,
    sign,
};
use cluster_core::{alerting::Notice, time::WallTime};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long an alert stays firing without being sent again: some minutes without a leader are survived.
pub const KEPT_FOR: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Debug)]
pub struct Config {
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// PEM file with the only authority to be believed.
    pub ca: Option<String>,
}

#[must_use]
pub fn request(config: &Config, message: &Message, now: WallTime) -> Request {
    let alerts: Vec<Value> = message.notices.iter().map(|notice| alert(notice, now)).collect();
    let url =
        format!("{}/api/v2/alerts", config.url.trim_end_matches('/').trim_end_matches("/api/v2/alerts"));
    let request = Request::json(url, json!(alerts));
    let (Some(user), Some(password)) = (&config.username, &config.password) else { return request };
    request.header("authorization", sign::basic(user, password.expose())).hiding(password.expose())
}

/// # Errors
/// Anything but 2xx: a 4xx says what is wrong with the body, which trying again doesn't mend.
pub fn judge(answer: &http::Answer) -> Result<String, Refused> {
    http::judge(answer)
}

fn alert(notice: &Notice, now: WallTime) -> Value {
    let kept_for_ms = u64::try_from(KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
    // An end at the start, or before it where clocks differ, would be refused.
    let ends_at = notice.ends_at.unwrap_or(WallTime(now.0.saturating_add(kept_for_ms)));
    let ends_at = WallTime(ends_at.0.max(notice.starts_at.0 + 1));
    let mut annotations = json!({"summary": notice.summary, "description": notice.description});
    if let Some(runbook) = &notice.runbook {
        annotations["runbook_url"] = json!(runbook);
    }
    if let Some(link) = &notice.ack_url {
        annotations["ack_url"] = json!(link);
    }
    json!({
        "labels": labels(notice),
        "annotations": annotations,
        "startsAt": body::rfc3339(notice.starts_at),
        "endsAt": body::rfc3339(ends_at),
        "generatorURL": "",
    })
}

/// An empty value is no label to Alertmanager, and a name has its own alphabet there.
fn labels(notice: &Notice) -> Map<String, Value> {
    let theirs = notice.labels.iter().map(|(name, value)| (label_name(name), value.as_str()));
    let ours = [
        ("alertname", notice.alert.as_str()),
        ("severity", notice.severity.name()),
        ("cluster", notice.cluster.as_str()),
    ];
    let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value));
    theirs
        .chain(ours)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, json!(value)))
        .collect()
}

fn label_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
#[path = "alertmanager_tests.rs"]
mod tests;
