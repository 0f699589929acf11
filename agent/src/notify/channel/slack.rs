//! Slack's incoming webhooks, which Mattermost and others take too.
//!
//! Not here: keeping below one message a second.

use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    words,
};
use cluster_core::ledger::{Phase, Severity};
use serde_json::{Value, json};

pub const ROOM_BYTES: usize = 3_000;

#[derive(Clone, Debug)]
pub struct Config {
    /// Its path is the secret.
    pub url: Secret,
}

#[must_use]
pub fn request(config: &Config, message: &Message) -> Request {
    let color = match (message.status, message.severity) {
        (Phase::Resolved, _) => "good",
        (Phase::Firing, Severity::Critical) => "danger",
        (Phase::Firing, Severity::Warning) => "warning",
        (Phase::Firing, Severity::Info) => "#439FE0",
    };
    let title = escape(&message.words.title);
    let text = escape(&words::cut(&message.words.text, ROOM_BYTES));
    let attachment =
        json!({"color": color, "title": title, "text": text, "fallback": title, "mrkdwn_in": []});
    Request::json(config.url.expose(), json!({"attachments": [attachment]}))
}

/// # Errors
/// Slack says no with a 4xx and a word; some that speak like it say `"ok": false`.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    let words = http::judge(answer)?;
    match answer.json().map(|body| body["ok"].clone()) {
        Ok(Value::Bool(false)) => Err(Refused::for_good(format!("answered {words}"))),
        _ => Ok(words),
    }
}

/// The three characters that mean something to Slack: without them nobody is mentioned by a label.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[path = "slack_tests.rs"]
mod tests;
