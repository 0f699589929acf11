//! Splunk On-Call's (VictorOps') generic REST endpoint.
//!
//! Not here: acknowledgements; a person gives them there.

use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    sign, words,
};
use cluster_core::ledger::{Phase, Severity};
use serde_json::json;

pub const URL: &str = "https://alert.victorops.com/integrations/generic/20131114/alert";
pub const ROOM_BYTES: usize = 16_000;

#[derive(Clone, Debug)]
pub struct Config {
    pub api_key: Secret,
    pub routing_key: String,
    /// `URL` unless given; the two keys follow it.
    pub url: Option<String>,
}

#[must_use]
pub fn request(config: &Config, message: &Message) -> Request {
    let base = config.url.as_deref().unwrap_or(URL).trim_end_matches('/');
    let key = config.api_key.expose();
    let url = format!("{base}/{}/{}", sign::percent_encode(key), sign::percent_encode(&config.routing_key));
    let kind = match (message.status, message.severity) {
        (Phase::Resolved, _) => "RECOVERY",
        (Phase::Firing, Severity::Critical) => "CRITICAL",
        (Phase::Firing, Severity::Warning) => "WARNING",
        (Phase::Firing, Severity::Info) => "INFO",
    };
    let body = json!({
        "message_type": kind,
        "entity_id": message.identity(),
        "entity_display_name": message.words.title,
        "state_message": words::cut(&message.words.text, ROOM_BYTES),
        "state_start_time": message.starts_at().0 / 1000,
        "monitoring_tool": "Holdfast",
        "cluster": message.cluster,
        "severity": message.severity.name(),
        "labels": message.labels(),
    });
    Request::json(url, body).hiding(key)
}

/// # Errors
/// An HTTP status, or `"result": "failure"` under 200.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    let words = http::judge(answer)?;
    match answer.json()?["result"].as_str() {
        Some("success") => Ok(words),
        _ => Err(Refused::for_good(format!("answered {words}"))),
    }
}
