//! Feishu's and Lark's custom bots: a card, signed in the body.
//!
//! Not here: keeping below 100 messages a minute and 5 a second.

use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    sign, words,
};
use cluster_core::{
    ledger::{Phase, Severity},
    time::WallTime,
};
use serde_json::json;
use std::time::Duration;

/// Of the whole body.
const BODY_BYTES: usize = 20_000;
/// Of the words in it.
pub const ROOM_BYTES: usize = 8_000;
/// This bot's, and the platform's.
const THROTTLED: [i64; 2] = [11_232, 99_991_400];
const THROTTLED_FOR: Duration = Duration::from_secs(60);
const THROTTLED_UNTIL_HEADER: &str = "x-ogw-ratelimit-reset";
const BAD_SIGNATURE: i64 = 19_021;

#[derive(Clone, Debug)]
pub struct Config {
    /// Its path's end is the bot's key.
    pub url: Secret,
    /// Where the bot wants signatures.
    pub secret: Option<Secret>,
}

#[must_use]
pub fn request(config: &Config, message: &Message, now: WallTime) -> Request {
    let seconds = now.0 / 1000;
    let color = match (message.status, message.severity) {
        (Phase::Resolved, _) => "green",
        (Phase::Firing, Severity::Critical) => "red",
        (Phase::Firing, Severity::Warning) => "orange",
        (Phase::Firing, Severity::Info) => "blue",
    };
    let body = words::fit(&message.words.markdown, BODY_BYTES, |text| {
        let mut body = json!({
            "msg_type": "interactive",
            "card": {
                "config": {"wide_screen_mode": true},
                "header": {"title": {"tag": "plain_text", "content": message.words.title}, "template": color},
                "elements": [{"tag": "markdown", "content": text}],
            },
        });
        if let Some(secret) = &config.secret {
            body["timestamp"] = json!(seconds.to_string());
            body["sign"] = json!(signature(secret.expose(), seconds));
        }
        body
    });
    Request::json(config.url.expose(), body)
}

/// # Errors
/// Feishu says no with a `code`, mostly under HTTP 200.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    let text = format!("answered {}", answer.words());
    let code = answer.json().ok().and_then(|body| body["code"].as_i64());
    match code {
        Some(code) if THROTTLED.contains(&code) => Err(Refused::wait(text, reset(answer))),
        Some(0) if answer.status < 300 => Ok(answer.words()),
        Some(BAD_SIGNATURE) => {
            Err(Refused::for_good(format!("{text}; check the bot's secret and this host's clock")))
        }
        Some(_) if answer.status < 300 => Err(Refused::for_good(text)),
        _ => {
            http::judge(answer)?;
            Err(Refused::for_now(text))
        }
    }
}

fn reset(answer: &Answer) -> Duration {
    let header =
        answer.headers.get(THROTTLED_UNTIL_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    header.map_or(THROTTLED_FOR, |seconds: u64| Duration::from_secs(seconds.min(3600)))
}

/// The text is the key, and nothing is signed with it.
fn signature(secret: &str, now_s: u64) -> String {
    sign::base64(sign::hmac(format!("{now_s}\n{secret}"), ""))
}

#[cfg(test)]
#[path = "feishu_tests.rs"]
mod tests;
