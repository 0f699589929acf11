//! Webhooks, signed as Standard Webhooks has it.

use super::{Refused, secret::Secret};
use cluster_core::ledger::SecretRef;
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect::Policy};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// An answer is read no further than this.
const ANSWER_BYTES: usize = 4 * 1024;
/// Characters of an answer that are kept to be shown.
const ANSWER_SHOWN: usize = 200;

pub struct Target<'a> {
    pub url: &'a str,
    pub secret: Option<&'a SecretRef>,
    pub headers: &'a BTreeMap<String, String>,
    /// PEM file with the only authority to be believed.
    pub ca: Option<&'a str>,
}

/// The URL's host and port: its path or query may be a secret.
#[must_use]
pub fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(|| "the webhook".to_owned(), |(host, port)| format!("{host}:{port}"))
}

pub async fn post(target: &Target<'_>, message_id: &str, body: String) -> Result<String, Refused> {
    let url = Url::parse(target.url)
        .map_err(|cause| Refused::for_good(format!("the channel's url can't be used: {cause}")))?;
    let client = client(&url, target.ca).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let timestamp = i64::try_from(now).unwrap_or(i64::MAX);
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header(HEADER_WEBHOOK_ID, message_id)
        .header(HEADER_WEBHOOK_TIMESTAMP, timestamp);
    if let Some(secret) = target.secret {
        let secret = Secret::read(secret).await?;
        request = request
            .header(HEADER_WEBHOOK_SIGNATURE, signature(&secret, message_id, timestamp, body.as_bytes())?);
    }
    for (name, value) in target.headers {
        request = request.header(name, value);
    }
    match request.body(body).send().await {
        Ok(response) => judge(response, &host(target.url)).await,
        Err(cause) => {
            let retry = !cause.is_builder();
            let text = format!("{} can't be reached: {}", host(target.url), innermost(&cause.without_url()));
            Err(Refused { reason: text, retry })
        }
    }
}

fn signature(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Result<String, Refused> {
    let unusable =
        |_| Refused::for_good("the channel's secret isn't usable: it must be whsec_ followed by base64");
    let webhook = Webhook::new(secret.expose()).map_err(unusable)?;
    webhook.sign(id, timestamp, body).map_err(unusable)
}

/// Made for each notice: they are rare, and the authority's file may have changed since.
async fn client(url: &Url, ca: Option<&str>) -> Result<Client, Refused> {
    let mut builder = Client::builder().redirect(Policy::none()).no_proxy();
    if let Some(path) = ca {
        let unusable = |cause: String| {
            Refused::for_now(format!("the channel's ca {path} can't be used on this host: {cause}"))
        };
        let pem = tokio::fs::read(path).await.map_err(|e| unusable(e.to_string()))?;
        let bundle = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(innermost(&e)))?;
        builder = builder.tls_certs_only(bundle);
    } else if url.scheme() == "http" {
        // Spares hosts without any certificates an error about them.
        builder = builder.tls_certs_only([]);
    }
    let build = move || {
        // Whoever installed one before has installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        builder.build()
    };
    // Reads the host's certificates.
    let built = tokio::task::spawn_blocking(build).await;
    let built = built.map_err(|e| Refused::for_now(format!("the sender broke off: {e}")))?;
    built.map_err(|e| Refused::for_now(format!("TLS can't be set up on this host: {}", innermost(&e))))
}

async fn judge(mut response: Response, host: &str) -> Result<String, Refused> {
    let status = response.status();
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - answer.len())]);
        if answer.len() >= ANSWER_BYTES {
            break;
        }
    }
    let words = shown(&answer);
    let said = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
    if status.is_success() {
        return Ok(said);
    }
    let text = format!("{host} answered {said}");
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Refused::for_now(text)),
        _ if status.is_redirection() => {
            Err(Refused::for_good(format!("{text}; redirects aren't followed, give the final url")))
        }
        _ if status.is_client_error() => Err(Refused::for_good(text)),
        _ => Err(Refused::for_now(text)),
    }
}

/// One line of printable text.
fn shown(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let text: String = text.trim().chars().take(ANSWER_SHOWN).collect();
    text.replace(char::is_control, " ")
}

/// The cause of causes: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
