//! Text messages through Twilio: one request a number.
//!
//! Not here: Twilio's report of whether a telephone really got it, which comes later to a callback.

use super::numbers;
use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    secret::Secret,
    sign, words,
};
use futures::future::join_all;
use std::time::Duration;

pub const URL: &str = "https://api.twilio.com";
/// Twilio takes 1600 characters; each 70 to 153 of them cost a message.
pub const ROOM_BYTES: usize = 640;
/// Sooner than this it isn't worth asking again.
const THROTTLED_FOR: Duration = Duration::from_secs(10);
/// Too many requests, as a code in the body.
const TOO_FAST: i64 = 20_429;
/// What is left of the time when a number is given up, so that the others' fate can still be told.
const SPARE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Config {
    pub account_sid: String,
    pub auth_token: Secret,
    /// A number, or a messaging service (`MG…`).
    pub from: String,
    pub to: Vec<String>,
    pub url: Option<String>,
}

/// To one of the numbers.
#[must_use]
pub fn request(config: &Config, message: &Message, to: &str) -> Request {
    let base = config.url.as_deref().unwrap_or(URL).trim_end_matches('/');
    let url = format!("{base}/2010-04-01/Accounts/{}/Messages.json", config.account_sid);
    let from = if config.from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
    let text = words::cut(&message.words.text, ROOM_BYTES);
    let form: Vec<String> = [("To", to), (from, &config.from), ("Body", &text)]
        .iter()
        .map(|(name, value)| format!("{name}={}", sign::percent_encode(value)))
        .collect();
    Request::post(url, form.join("&"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", sign::basic(&config.account_sid, config.auth_token.expose()))
        .hiding(config.auth_token.expose())
}

/// # Errors
/// Twilio says no with an HTTP status and a `code`.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    let code = answer.json().ok().and_then(|body| body["code"].as_i64());
    if code == Some(TOO_FAST) || answer.status == 429 {
        let text = format!("answered {}", answer.words());
        return Err(Refused::wait(text, answer.retry_after().unwrap_or(THROTTLED_FOR)));
    }
    http::judge(answer)
}

/// To all numbers at once, each within `within`.
///
/// # Errors
/// Some number was refused.
pub async fn deliver(config: &Config, message: &Message, within: Duration) -> Result<String, Refused> {
    numbers::check(&config.to).map_err(Refused::for_good)?;
    let within = within.saturating_sub(SPARE);
    let one = async |to: &String| {
        let request = request(config, message, to);
        let sent = tokio::time::timeout(within, http::exchange(&request, None, judge)).await;
        let told = sent.unwrap_or_else(|_| Err(Refused::no_answer(&http::host(&request.url), within)));
        (to.clone(), told.map(|_| ()))
    };
    numbers::settle(join_all(config.to.iter().map(one)).await)
}

#[cfg(test)]
#[path = "twilio_tests.rs"]
mod tests;
