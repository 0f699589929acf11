//! WeCom's group robots: Markdown; the url's key is all that identifies the sender.
//!
//! Not here: keeping below 20 messages a minute.

use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    words,
};
use serde_json::json;
use std::time::Duration;

/// Of the Markdown, as UTF-8.
pub const ROOM_BYTES: usize = 4_096;
const BUSY: i64 = -1;
const TOO_FAST: i64 = 45_009;
const TOO_FAST_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Config {
    pub url: Secret,
}

#[must_use]
pub fn request(config: &Config, message: &Message) -> Request {
    let content = words::cut(&message.words.markdown, ROOM_BYTES);
    Request::json(config.url.expose(), json!({"msgtype": "markdown", "markdown": {"content": content}}))
}

/// # Errors
/// WeCom says no with HTTP 200 and an `errcode`.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    http::judge(answer)?;
    let text = format!("answered {}", answer.words());
    match answer.json()?["errcode"].as_i64() {
        Some(0) => Ok(answer.words()),
        Some(BUSY) => Err(Refused::for_now(text)),
        Some(TOO_FAST) => Err(Refused::wait(text, TOO_FAST_FOR)),
        _ => Err(Refused::for_good(text)),
    }
}

#[cfg(test)]
#[path = "wecom_tests.rs"]
mod tests;
