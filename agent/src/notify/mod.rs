//! Channels: how a message reaches people. One call sends it once and says what came back.
//!
//! Not here: what is worth telling, to whom, how often (cluster-core's `alerting`), and what the ledger keeps of it.

pub(crate) mod body;
pub mod channel;
pub mod dispatch;
pub mod fields;
pub mod http;
pub mod kinds;
pub mod link;
pub mod message;
pub mod phrases;
pub mod preview;
pub mod secret;
pub(crate) mod sign;
#[cfg(test)]
mod stand_in;
pub(crate) mod tcp;
mod tester;
pub mod watchdog;
pub mod words;

pub use tester::Tester;

use cluster_core::{
    alerting::Notice,
    ledger::{Channel, SendOutcome},
};
use message::Message;
use std::time::{Duration, Instant};

/// Not delivered to all, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub reason: String,
    /// The same message may get through later.
    pub retry: bool,
    /// The provider wants silence for so long: sooner attempts, of other messages too, fail or lengthen it.
    pub after: Option<Duration>,
    /// Some of those whom the channel tells have it: they must hear of the end, too.
    pub heard: bool,
}

impl Refused {
    fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false, after: None, heard: false }
    }

    fn for_now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: true, after: None, heard: false }
    }

    fn no_answer(from: &str, within: Duration) -> Self {
        Self::for_now(format!("no answer from {from} within {:.1} s", within.as_secs_f64()))
    }

    /// With who says so, or what that is, before the reason.
    fn said_by(self, who: &str) -> Self {
        Self { reason: format!("{who} {}", self.reason), ..self }
    }

    /// For now, and not before `after` has passed.
    fn wait(reason: impl Into<String>, after: Duration) -> Self {
        Self { reason: reason.into(), retry: true, after: Some(after), heard: false }
    }
}

/// What one message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// The same for each attempt.
    pub id: String,
    /// Names the incident to providers.
    pub key: String,
    /// Never empty.
    pub notices: Vec<Notice>,
    /// Something of the incident that isn't told here still fires.
    pub open: bool,
    pub maybe_repeated: bool,
    /// Ids of messages that told of these alerts before.
    pub answers: Vec<String>,
}

impl Telling {
    /// Of one alert by itself.
    #[must_use]
    pub fn alone(notice: Notice) -> Self {
        let (id, key) = (notice.message_id(), notice.dedup_key.clone());
        Self { id, key, notices: vec![notice], open: false, maybe_repeated: false, answers: Vec::new() }
    }
}

/// Sends a message once, within the shorter of the channel's time-out and `within`. Returns the receiver's words.
///
/// # Errors
/// The receiver said no or said nothing; a repetition carries the same message id.
pub async fn send(channel: &Channel, telling: Telling, within: Duration) -> Result<String, Refused> {
    let limit = Duration::from_millis(channel.timeout_ms).min(within);
    let began = Instant::now();
    let kind = match tokio::time::timeout(limit, kinds::kind(channel)).await {
        Ok(kind) => kind?,
        Err(_) => return Err(Refused::for_now("the channel's secret can't be read on this host: it hangs")),
    };
    let style = kinds::style(channel);
    let Telling { id, key, notices, open, maybe_repeated, answers } = telling;
    let mut message = Message::new(id, key, notices, &style, kind.room_bytes(), open, maybe_repeated);
    message.answers = answers;
    dispatch::deliver(&kind, &message, limit.saturating_sub(began.elapsed())).await
}

/// As the ledger records it.
#[must_use]
pub fn outcome(sent: &Result<String, Refused>) -> SendOutcome {
    match sent {
        Ok(_) => SendOutcome::Sent,
        Err(refused) => SendOutcome::Failed {
            reason: refused.reason.clone(),
            retry: refused.retry,
            after_ms: refused.after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            heard: refused.heard,
        },
    }
}
