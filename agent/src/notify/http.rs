//! HTTP as all channels need it: one request out, one bounded answer back, and what an answer means where its provider
//! has no rules of its own.
//!
//! Not here: what stands in a request (a file a channel), and the deadline: dropping the future gives up.

use super::Refused;
use jiff::fmt::rfc2822;
use reqwest::{
    Certificate, Client, Method, StatusCode, Url,
    header::{DATE, HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use std::{fmt, time::Duration};

/// An answer is read no further than this: 200 telephone numbers have a status each.
const ANSWER_BYTES: usize = 64 * 1024;
/// Characters of an answer that are kept to be shown.
const SHOWN_CHARS: usize = 200;
/// No provider makes an alert wait longer, whatever it says.
const AFTER_MAX: Duration = Duration::from_secs(3600);
/// What is shorter is no secret, and hiding it would spoil other words.
const SECRET_CHARS: usize = 8;

/// Every provider wants POST; only a watchdog is asked for its page.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    method: Method,
    /// Often holds a token, so it is never shown whole.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Blotted out of whatever comes back: some receivers repeat what they were sent.
    hidden: Vec<String>,
}

impl Request {
    #[must_use]
    pub fn post(url: impl Into<String>, body: impl Into<String>) -> Self {
        let url = url.into();
        let hidden = secret_parts(&url);
        Self { method: Method::POST, url, headers: Vec::new(), body: body.into(), hidden }
    }

    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: Method::GET, ..Self::post(url, "") }
    }

    #[must_use]
    pub fn json(url: impl Into<String>, body: impl ToString) -> Self {
        Self::post(url, body.to_string()).header("content-type", "application/json")
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn hiding(mut self, secret: &str) -> Self {
        if secret.chars().count() >= SECRET_CHARS {
            self.hidden.push(secret.to_owned());
        }
        self
    }

    fn blot(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "(hidden)"))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, {} bytes", self.method, host(&self.url), self.body.len())
    }
}

/// As much of it as was read.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// # Errors
    /// Not JSON: a proxy's page, or an answer that broke off.
    pub fn json(&self) -> Result<serde_json::Value, Refused> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Refused::for_now(format!("answered {}, which isn't JSON", self.words())))
    }

    /// The status, and the start of the body on one line.
    #[must_use]
    pub fn words(&self) -> String {
        let status = StatusCode::from_u16(self.status)
            .map_or_else(|_| self.status.to_string(), |status| status.to_string());
        let body = shown(&String::from_utf8_lossy(&self.body));
        if body.is_empty() { status } else { format!("{status}: {body}") }
    }

    /// `Retry-After` in seconds or as a date, which is compared with the receiver's own clock.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let header = |name| self.headers.get(name)?.to_str().ok();
        let text = header(RETRY_AFTER)?.trim();
        let seconds = text.parse().ok().or_else(|| {
            let until = rfc2822::parse(text).ok()?.timestamp().as_second();
            let now = rfc2822::parse(header(DATE)?).ok()?.timestamp().as_second();
            u64::try_from(until - now).ok()
        })?;
        Some(Duration::from_secs(seconds).min(AFTER_MAX))
    }
}

/// The usual rules: 2xx is delivered; 408, 429, 5xx may go better later; all else is for good.
///
/// # Errors
/// Anything but 2xx.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    let text = format!("answered {}", answer.words());
    match answer.status {
        200..300 => Ok(answer.words()),
        408 | 429 | 500.. => Err(Refused { after: answer.retry_after(), ..Refused::for_now(text) }),
        300..400 => Err(Refused::for_good(format!("{text}; redirects aren't followed, give the final url"))),
        _ => Err(Refused::for_good(text)),
    }
}

/// Sends and judges. Names the host in what is refused, and hides what is secret, even from what it said.
///
/// # Errors
/// It can't be sent, or `judge` says no.
pub async fn exchange(
    request: &Request,
    ca: Option<&str>,
    judge: impl Fn(&Answer) -> Result<String, Refused>,
) -> Result<String, Refused> {
    let answer = send(request, ca).await?;
    match judge(&answer) {
        Ok(words) => Ok(request.blot(&words)),
        Err(refused) => {
            let reason = request.blot(&refused.reason);
            Err(Refused { reason, ..refused }.said_by(&host(&request.url)))
        }
    }
}

async fn send(request: &Request, ca: Option<&str>) -> Result<Answer, Refused> {
    let url = Url::parse(&request.url)
        .map_err(|cause| Refused::for_good(format!("the channel's url can't be used: {cause}")))?;
    let mut prepared =
        client(&url, ca).await?.request(request.method.clone(), url).body(request.body.clone());
    for (name, value) in &request.headers {
        prepared = prepared.header(name, value);
    }
    let mut response = prepared.send().await.map_err(|cause| {
        let retry = !cause.is_builder();
        let text = format!("{} can't be reached: {}", host(&request.url), innermost(&cause.without_url()));
        Refused { retry, ..Refused::for_now(text) }
    })?;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - body.len())]);
        if body.len() >= ANSWER_BYTES {
            break;
        }
    }
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

/// Made for each message: they are rare, and the authority's file may have changed since.
async fn client(url: &Url, ca: Option<&str>) -> Result<Client, Refused> {
    let mut builder = Client::builder().redirect(Policy::none()).no_proxy();
    if let Some(path) = ca {
        builder = builder.tls_certs_only(authority_of(path, Certificate::from_pem_bundle).await?);
    } else if url.scheme() == "http" {
        // Spares hosts without any certificates an error about them.
        builder = builder.tls_certs_only([]);
    }
    set_up_tls(move || {
        // Whoever installed one before has installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        builder.build()
    })
    .await
}

/// What `parse` makes of a channel's `ca`, a PEM file.
///
/// # Errors
/// For now: the file may be put there, and another leader has its own.
pub async fn authority_of<T, E: std::error::Error>(
    path: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, Refused> {
    let unusable = |cause: String| {
        Refused::for_now(format!("the channel's ca {path} can't be used on this host: {cause}"))
    };
    let pem = tokio::fs::read(path).await.map_err(|e| unusable(e.to_string()))?;
    parse(&pem).map_err(|e| unusable(innermost(&e)))
}

/// Runs `build` where it may block: it reads the host's certificates.
///
/// # Errors
/// It failed, for now.
pub async fn set_up_tls<T, E>(build: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Refused>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let built = tokio::task::spawn_blocking(build).await;
    let built = built.map_err(|e| Refused::for_now(format!("the sender broke off: {e}")))?;
    built.map_err(|e| Refused::for_now(format!("TLS can't be set up on this host: {}", innermost(&e))))
}

/// The url's host and port: the rest of it may be secret.
#[must_use]
pub fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(|| "the channel's url".to_owned(), |(host, port)| format!("{host}:{port}"))
}

/// What stands in the `Host` header: the port only where it isn't the scheme's own. Signatures cover it.
#[must_use]
pub fn authority(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The path's and the query's longer parts, as written and as decoded.
fn secret_parts(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let path = url.path_segments().into_iter().flatten().map(str::to_owned);
    let pairs = url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let raw = pairs.map(|(_, value)| value.to_owned());
    let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
    let password = url.password().map(str::to_owned);
    path.chain(raw)
        .chain(decoded)
        .chain(password)
        .filter(|part| part.chars().count() >= SECRET_CHARS)
        .collect()
}

/// The start of it, as one line of printable text.
#[must_use]
pub fn shown(text: &str) -> String {
    let text: String = text.trim().chars().take(SHOWN_CHARS).collect();
    text.replace(char::is_control, " ")
}

/// The cause of causes: "connection refused" rather than "error sending request".
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
