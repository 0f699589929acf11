//! Webhooks, signed as Standard Webhooks has it.
//!
//! Not here: the body (`body`), and what an answer means (`http`).

use crate::notify::{
    Refused, body,
    http::{self, Request},
    message::Message,
    secret::Secret,
};
use cluster_core::time::WallTime;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use std::{collections::BTreeMap, fmt};

#[derive(Clone)]
pub struct Config {
    pub url: String,
    /// `whsec_…`
    pub secret: Option<Secret>,
    pub headers: BTreeMap<String, String>,
    /// PEM file with the only authority to be believed.
    pub ca: Option<String>,
}

impl fmt::Debug for Config {
    /// Headers and paths may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", http::host(&self.url))
    }
}

/// # Errors
/// The post was refused.
pub async fn deliver(config: &Config, message: &Message, now: WallTime) -> Result<String, Refused> {
    post(config, &message.id, body::of(message), now).await
}

async fn post(config: &Config, message_id: &str, body: String, now: WallTime) -> Result<String, Refused> {
    let now_s = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let request = request(config, message_id, body, now_s)?;
    http::exchange(&request, config.ca.as_deref(), http::judge).await
}

fn request(config: &Config, message_id: &str, body: String, now_s: i64) -> Result<Request, Refused> {
    let signed = match &config.secret {
        Some(secret) => Some(signature(secret, message_id, now_s, body.as_bytes())?),
        None => None,
    };
    let mut request = Request::json(&config.url, body)
        .header(HEADER_WEBHOOK_ID, message_id)
        .header(HEADER_WEBHOOK_TIMESTAMP, now_s.to_string());
    if let Some(signed) = signed {
        request = request.header(HEADER_WEBHOOK_SIGNATURE, signed);
    }
    for (name, value) in &config.headers {
        request = request.header(name, value.as_str()).hiding(value);
    }
    Ok(request)
}

fn signature(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Result<String, Refused> {
    let unusable =
        |_| Refused::for_good("the channel's secret isn't usable: it must be whsec_ followed by base64");
    let webhook = Webhook::new(secret.expose()).map_err(unusable)?;
    webhook.sign(id, timestamp, body).map_err(unusable)
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
