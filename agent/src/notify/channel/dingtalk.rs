//! DingTalk's group robots: Markdown, signed in the url.
//!
//! Not here: keeping below 20 messages a minute. A robot that sends more is silenced for ten minutes, `PUNISHED`.

use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    sign, words,
};
use cluster_core::time::WallTime;
use serde_json::{Value, json};
use std::time::Duration;

/// Of the whole body.
const BODY_BYTES: usize = 20_000;
/// Of the words in it.
pub const ROOM_BYTES: usize = 8_000;
const TOO_FAST: i64 = 130_101;
const PUNISHED: Duration = Duration::from_secs(600);
const BUSY: i64 = -1;
/// A keyword is missing, the signature doesn't match, or the sender's address isn't allowed.
const FORBIDDEN: i64 = 310_000;

#[derive(Clone, Debug)]
pub struct Config {
    /// With the robot's access token.
    pub url: Secret,
    /// `SEC…`, where the robot wants signatures.
    pub secret: Option<Secret>,
    pub at_mobiles: Vec<String>,
    pub at_all: bool,
}

#[must_use]
pub fn request(config: &Config, message: &Message, now: WallTime) -> Request {
    let mut url = config.url.expose().to_owned();
    if let Some(secret) = &config.secret {
        let before = if url.contains('?') { '&' } else { '?' };
        let sign = sign::percent_encode(&signature(secret.expose(), now.0));
        url.push_str(&format!("{before}timestamp={}&sign={sign}", now.0));
    }
    // People are called only where the text names them too.
    let mut calls: String = config.at_mobiles.iter().map(|mobile| format!(" @{mobile}")).collect();
    if !calls.is_empty() {
        calls.insert_str(0, "\n\n");
    }
    let body = words::fit(&message.words.markdown, BODY_BYTES, |text| {
        json!({
            "msgtype": "markdown",
            "markdown": {"title": message.words.title, "text": format!("{text}{calls}")},
            "at": {"atMobiles": config.at_mobiles, "atUserIds": [], "isAtAll": config.at_all},
        })
    });
    Request::json(url, body)
}

/// # Errors
/// DingTalk says no with HTTP 200 and an `errcode`.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    http::judge(answer)?;
    let body = answer.json()?;
    let text = format!("answered {}", answer.words());
    match body["errcode"].as_i64() {
        Some(0) => Ok(answer.words()),
        Some(BUSY) => Err(Refused::for_now(text)),
        Some(FORBIDDEN) => Err(Refused::for_good(format!(
            "{text}; check the robot's keywords, its secret, this host's clock and the addresses it allows"
        ))),
        Some(TOO_FAST) => Err(Refused::wait(text, PUNISHED)),
        // Its gateway's own manner of saying the same.
        _ if body["punish"] != Value::Null => Err(Refused::wait(text, PUNISHED)),
        _ => Err(Refused::for_good(text)),
    }
}

fn signature(secret: &str, now_ms: u64) -> String {
    sign::base64(sign::hmac(secret, format!("{now_ms}\n{secret}")))
}

#[cfg(test)]
#[path = "dingtalk_tests.rs"]
mod tests;
