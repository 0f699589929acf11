//! The part of the replicated state that is about alerts: what fires, what is to be sent, what was, and what isn't told.
//! Rules are in apply_alert.rs, apply_message.rs and apply_silence.rs; the configuration is in state_alerting.rs.

use super::command::Phase;
use crate::{
    ids::{FailureId, NodeId},
    limits::CHANNEL_FAILURES_MAX,
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// As users write and read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The built-in alert that isn't told on the channel that it is about, its label `channel`.
pub const CHANNEL_FAILING: &str = "ChannelFailing";

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
    /// Of a posted alert: over then, unless it is extended. The leader ends it.
    #[serde(default)]
    pub valid_until: Option<WallTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotificationState {
    Pending,
    Sent,
    Failed,
    Suppressed,
}

/// What became of telling one channel of one alert: mirrors the latest message that did, or says why none does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub channel: String,
    pub phase: Phase,
    pub state: NotificationState,
    pub attempts: u32,
    /// The latest message that tells it; zero before the first.
    #[serde(default)]
    pub message: u64,
    /// The alert whose id and key name the incident that it was told in.
    #[serde(default)]
    pub incident: u64,
    /// When it was first delivered; repetitions don't change it.
    #[serde(default)]
    pub told_at: Option<WallTime>,
    pub sent_at: Option<WallTime>,
    /// When its latest message was settled, delivered or not.
    #[serde(default)]
    pub settled_at: Option<WallTime>,
    pub by: Option<NodeId>,
    pub reason: String,
    /// An attempt was cut off in the middle and the channel has no key to tell the provider so.
    pub maybe_repeated: bool,
    /// Some attempt's result never became known, so that it may have been delivered; or some recipients have it.
    pub uncertain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub attempt: u32,
    pub term: u64,
    pub send_within_ms: u64,
}

/// What a channel is to be sent once: one or more alerts. Kept until it is settled; its id is its entry's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub channel: String,
    /// Alerts told by it, the lead first; never empty.
    pub told: Vec<(u64, Phase)>,
    /// The alert whose id and key name the incident to providers.
    pub incident: u64,
    pub why: Why,
    /// Something that was told in this incident still fires when this message is told.
    pub open: bool,
    pub queued_at: WallTime,
    pub attempts: u32,
    /// The attempt under way: its intent is committed, its result is not.
    pub intent: Option<Intent>,
    /// What the last failed attempt said.
    pub reason: String,
    /// An attempt was cut off in the middle and the channel has no key to tell the provider so.
    pub maybe_repeated: bool,
    /// Some attempt's result never became known, so that it may have been delivered; or some recipients have it.
    pub uncertain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Of an incident that the channel wasn't told of.
    First,
    News,
    /// What still fires, again; `of` is the latest message that told any of it there.
    Repeat {
        of: u64,
    },
    /// Nobody acknowledged it in time.
    Escalation,
    /// Another channel couldn't tell it.
    Failover,
    /// Of several groups, as the channel may be sent no more than that.
    Digest,
}

/// How a channel fares, whoever leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Times of its latest attempts, oldest first; as many as its limits count.
    pub attempts: VecDeque<WallTime>,
    pub failed_in_a_row: u32,
    /// Its provider asked for silence until then.
    pub quiet_until: Option<WallTime>,
}

impl Pace {
    /// So often in a row that it is no accident.
    #[must_use]
    pub const fn keeps_failing(&self) -> bool {
        self.failed_in_a_row >= CHANNEL_FAILURES_MAX
    }
}

/// Alerts that match all matchers aren't told from `starts_at` to `ends_at`. Its id is its entry's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub matchers: Vec<Matcher>,
    pub starts_at: WallTime,
    pub ends_at: WallTime,
    pub author: String,
    pub comment: String,
}

/// On one label of an alert; `alert` (or `alertname`) and `severity` can be asked like labels. A missing one is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher {
    pub label: String,
    pub op: MatchOp,
    /// A regular expression for the whole value, for the two that want one.
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}
