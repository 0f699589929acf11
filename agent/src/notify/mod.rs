//! Channels: how a notice reaches people. One call sends one notice once and says what came back.
//!
//! Not here: what is worth telling, to whom, how often (cluster-core's `alerting`), and what the ledger keeps of it.

mod body;
mod local;
mod secret;
mod tester;
mod webhook;

pub use tester::Tester;

use cluster_core::{
    alerting::Notice,
    ledger::{Channel, SendOutcome},
};
use std::time::Duration;

/// The most that any channel may take, whatever its own time-out says.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing was delivered, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub reason: String,
    /// The same notice may get through later.
    pub retry: bool,
}

impl Refused {
    fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false }
    }

    fn for_now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: true }
    }
}

/// Sends a notice once, within the shorter of the channel's time-out and `within`. Returns the receiver's words.
///
/// # Errors
/// The receiver said no or said nothing; a repetition carries the same message id.
pub async fn send(channel: &Channel, notice: &Notice, within: Duration) -> Result<String, Refused> {
    let (limit, what) = match channel {
        Channel::Webhook { url, timeout_ms, .. } => (Duration::from_millis(*timeout_ms), webhook::host(url)),
        Channel::Console => (LOCAL_TIMEOUT, "the console".to_owned()),
        Channel::File { path } => (LOCAL_TIMEOUT, path.clone()),
    };
    let limit = limit.min(within);
    let sent = async {
        match channel {
            Channel::Webhook { url, secret, headers, ca, .. } => {
                let target = webhook::Target { url, secret: secret.as_ref(), headers, ca: ca.as_deref() };
                webhook::post(&target, &notice.message_id(), body::json(notice)).await
            }
            Channel::Console => local::console(body::line(notice)).await,
            Channel::File { path } => local::append(path.clone(), body::json(notice)).await,
        }
    };
    match tokio::time::timeout(limit, sent).await {
        Ok(sent) => sent,
        Err(_) => Err(Refused::for_now(format!("no answer from {what} within {} ms", limit.as_millis()))),
    }
}

/// As the ledger records it.
#[must_use]
pub fn outcome(sent: &Result<String, Refused>) -> SendOutcome {
    match sent {
        Ok(_) => SendOutcome::Sent,
        Err(refused) => SendOutcome::Failed { reason: refused.reason.clone(), retry: refused.retry },
    }
}
