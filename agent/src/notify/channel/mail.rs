//! The mail itself: headers by which mail programs put a resolved alert under the firing one, and two bodies.
//!
//! Not here: how it goes out (`smtp`).

use super::smtp::Config;
use crate::notify::{message::Message, sign, words};
use cluster_core::time::WallTime;
use lettre::{
    Address,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
};
use std::{
    error::Error,
    time::{Duration, UNIX_EPOCH},
};

/// Mails that one is threaded with.
const REFERENCES_MAX: usize = 10;

/// RFC 3834: keeps holiday answers away.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The mail as it goes over the wire, without SMTP's dots.
///
/// # Errors
/// An address is bad.
pub fn build(config: &Config, message: &Message, now: WallTime) -> Result<Vec<u8>, String> {
    let domain = address(&config.from)?.domain().to_owned();
    let mut mail = lettre::Message::builder()
        .from(mailbox(&config.from)?)
        .subject(message.words.title.as_str())
        .date(UNIX_EPOCH + Duration::from_millis(now.0))
        .message_id(Some(message_id(&message.id, &domain)))
        .header(AutoSubmitted);
    for to in &config.to {
        mail = mail.to(mailbox(to)?);
    }
    let threads = threads(message, &domain);
    if !threads.is_empty() {
        mail = mail.in_reply_to(threads[0].clone()).references(threads.join(" "));
    }
    let bodies = MultiPart::alternative_plain_html(message.words.text.clone(), message.words.html.clone());
    let mail = mail.multipart(bodies).map_err(|cause| format!("the mail can't be written: {cause}"))?;
    Ok(mail.formatted())
}

/// The same for each repetition, so that mail servers that drop doubles drop these.
fn message_id(id: &str, domain: &str) -> String {
    let plain = id.len() <= 100 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let id = if plain { id.to_owned() } else { sign::sha256_hex(id) };
    format!("<{id}@{domain}>")
}

/// The mails that told of these alerts when they fired.
fn threads(message: &Message, domain: &str) -> Vec<String> {
    message.answers.iter().take(REFERENCES_MAX).map(|id| message_id(id, domain)).collect()
}

/// # Errors
/// A sentence that names it.
pub fn address(text: &str) -> Result<Address, String> {
    mailbox(text).map(|mailbox| mailbox.email)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("\"{}\" isn't a mail address", words::cut(text, 100)))
}
