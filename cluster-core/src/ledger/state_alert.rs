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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    Webhook {
        url: String,
        secret: Option<SecretRef>,
        headers: BTreeMap<String, String>,
        ca: Option<String>,
        timeout_ms: u64,
    },
    Console,
    File {
        path: String,
    },
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
