//! The part of the replicated state that is about alerts: what fires, what was sent, and to whom. Rules are in
//! apply_alert.rs.

use super::command::Phase;
use crate::{
    ids::{FailureId, NodeId},
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub name: String,
    pub severity: Severity,
    pub dedup_key: String,
    pub failure: Option<FailureId>,
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    /// What is said of its end; empty while it fires.
    pub resolution: String,
    pub description: String,
    pub starts_at: WallTime,
    pub ends_at: Option<WallTime>,
    pub notifications: Vec<Notification>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotificationState {
    Pending,
    Sent,
    Failed,
    Suppressed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub channel: String,
    pub phase: Phase,
    pub state: NotificationState,
    pub attempts: u32,
    /// The attempt under way: its intent is committed, its result is not.
    pub intent: Option<Intent>,
    pub sent_at: Option<WallTime>,
    pub by: Option<NodeId>,
    pub reason: String,
    /// An attempt was cut off in the middle and the channel has no key to tell the provider so.
    pub maybe_repeated: bool,
    /// Some attempt's result never became known: it may have been delivered.
    pub uncertain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub attempt: u32,
    pub term: u64,
    pub send_within_ms: u64,
}

/// Channels and routes as an operator applied them. Secrets stay references to files or variables of the sending host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertingConfig {
    pub channels: BTreeMap<String, Channel>,
    pub routes: Vec<Route>,
}

/// What its kind and its settings mean is the agent's to say; the ledger bounds their sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// As the alerting file's `type`.
    pub kind: String,
    pub settings: BTreeMap<String, Setting>,
    pub timeout_ms: u64,
    pub language: Option<String>,
    /// The user's own words for the message.
    pub template: Option<String>,
}

/// Kinds whose provider is told by a key that a message is the one before it again.
const KEYED: [&str; 5] = ["webhook", "alertmanager", "opsgenie", "victorops", "pagerduty"];

impl Channel {
    /// Without settings.
    #[must_use]
    pub fn new(kind: &str, timeout_ms: u64) -> Self {
        Self { kind: kind.to_owned(), settings: BTreeMap::new(), timeout_ms, language: None, template: None }
    }

    /// Its receiver knows a repetition for one.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        KEYED.contains(&self.kind.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    Text(String),
    Texts(Vec<String>),
    Pairs(BTreeMap<String, String>),
    Secret(SecretRef),
    Flag(bool),
    Number(u64),
}

/// Where a secret is read on the host that sends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretRef {
    File(String),
    Env(String),
    /// Written into the applied file itself: works, but stands in the ledger. Never printed.
    Inline(String),
}

impl core::fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {path}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Inline(_) => f.write_str("inline (hidden)"),
        }
    }
}

/// A catch-all: every alert goes to these channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub channels: Vec<String>,
}
