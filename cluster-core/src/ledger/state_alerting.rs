//! The alerting configuration as an operator applied it: channels, who is told of what, and what isn't told. Not here:
//! alerts and messages (state_alert.rs), silences (they come and go by themselves), and what a condition means: the
//! ledger bounds its length, the leader evaluates it.

use super::state_alert::Severity;
use crate::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertingConfig {
    pub channels: BTreeMap<String, Channel>,
    pub routes: Vec<Route>,
    #[serde(default)]
    pub inhibits: Vec<Inhibit>,
    /// By the names that routes, escalations and maintenances use.
    #[serde(default)]
    pub schedules: BTreeMap<String, Schedule>,
    #[serde(default)]
    pub maintenances: Vec<Maintenance>,
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Base of the alerts' links: theirs is this, "/", and the alert's name.
    #[serde(default)]
    pub runbooks: Option<String>,
    #[serde(default)]
    pub watchdog: Option<Watchdog>,
    /// Where people reach an agent's HTTP address: base of the links by which they acknowledge. None are made without it.
    #[serde(default)]
    pub ack_url: Option<String>,
}

/// What the links by which failures are acknowledged are signed with: random, the cluster's own, never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkKey(pub [u8; 32]);

impl core::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LinkKey(hidden)")
    }
}

/// Who expects a sign of life of the alerting itself, and tells people when there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// Often holds a token, and is read like a secret.
    pub url: SecretRef,
    pub every_ms: u64,
}

/// What its kind and its settings mean is the agent's to say; the ledger bounds their sizes. Secrets stay references to
/// files or variables of the sending host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// As the alerting file's `type`.
    pub kind: String,
    pub settings: BTreeMap<String, Setting>,
    pub timeout_ms: u64,
    pub language: Option<String>,
    /// The user's own words for the message.
    pub template: Option<String>,
    /// Instead of the limits of its kind.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// The channel that gets what this one couldn't tell.
    #[serde(default)]
    pub failover: Option<String>,
}

/// At most so many attempts in any `per_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub messages: u32,
    pub per_ms: u64,
}

/// Kinds whose provider is told by a key that a message is the one before it again.
const KEYED: [&str; 5] = ["webhook", "alertmanager", "opsgenie", "victorops", "pagerduty"];
/// Kinds that programs read: they want one alert a message, at once.
const FOR_MACHINES: [&str; 6] = ["webhook", "file", "console", "exec", "zabbix", "alertmanager"];
/// Kinds whose messages are too short for a link.
const SHORT: [&str; 3] = ["aliyun_sms", "tencent_sms", "twilio"];
const MINUTE_MS: u64 = 60_000;

impl Channel {
    /// Without settings.
    #[must_use]
    pub fn new(kind: &str, timeout_ms: u64) -> Self {
        Self {
            kind: kind.to_owned(),
            settings: BTreeMap::new(),
            timeout_ms,
            language: None,
            template: None,
            rate: None,
            failover: None,
        }
    }

    /// Its receiver knows a repetition for one.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        KEYED.contains(&self.kind.as_str())
    }

    /// People read it: unless a route says otherwise, alerts that fire together are told together.
    #[must_use]
    pub fn is_grouped(&self) -> bool {
        !FOR_MACHINES.contains(&self.kind.as_str())
    }

    /// There is room for a link in what it tells.
    #[must_use]
    pub fn takes_links(&self) -> bool {
        !SHORT.contains(&self.kind.as_str())
    }

    /// All of its limits. Those of a kind leave some room below what the provider publishes.
    #[must_use]
    pub fn rates(&self) -> Vec<Rate> {
        let rate = |messages, per_ms| Rate { messages, per_ms };
        match (self.rate, self.kind.as_str()) {
            (Some(own), _) => vec![own],
            (None, "dingtalk" | "wecom") => vec![rate(18, MINUTE_MS)],
            (None, "feishu") => vec![rate(5, 1_000), rate(100, MINUTE_MS)],
            (None, _) => Vec::new(),
        }
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

/// Alerts that match go to these channels; the first route that matches takes an alert, unless it says `go_on`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// CEL over the alert; none matches all.
    #[serde(default)]
    pub condition: Option<String>,
    pub channels: Vec<String>,
    /// Labels (also `alert`, `severity`) whose values a group shares; an empty list makes one group of all.
    #[serde(default)]
    pub group_by: Option<Vec<String>>,
    #[serde(default)]
    pub group_wait_ms: Option<u64>,
    #[serde(default)]
    pub group_interval_ms: Option<u64>,
    #[serde(default)]
    pub repeat_ms: Option<u64>,
    /// Later routes are tried, too.
    #[serde(default)]
    pub go_on: bool,
    /// Outside of it nothing new is told.
    #[serde(default)]
    pub schedule: Option<String>,
    #[serde(default)]
    pub escalations: Vec<Escalation>,
}

impl Route {
    /// A catch-all with everything else by default.
    #[must_use]
    pub fn to(channels: Vec<String>) -> Self {
        Self { channels, ..Self::default() }
    }
}

/// Whom else to tell of what nobody acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// Counted from when the alert was first delivered.
    pub after_ms: u64,
    pub channels: Vec<String>,
    pub schedule: Option<String>,
}

/// While an alert that matches `source` fires, those that match `target` and have equal values of `equal` aren't told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhibit {
    pub source: String,
    pub target: String,
    pub equal: Vec<String>,
}

/// Hours of a week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// An IANA name, as `Asia/Shanghai`.
    pub timezone: String,
    /// On which its hours begin; none means all.
    pub days: Vec<Weekday>,
    /// Of the day, 0 to 1,440.
    pub from_minute: u16,
    /// Not included; at or before `from_minute` means of the next day.
    pub to_minute: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Known work: alerts that match aren't told while it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// CEL over the alert; none matches all.
    pub condition: Option<String>,
    pub schedule: Option<String>,
    pub from: Option<WallTime>,
    pub until: Option<WallTime>,
    pub comment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    Nodes,
    Workloads,
}

/// A user's own alert: for each node or workload of which `condition` holds for `for_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The alert's.
    pub name: String,
    pub over: Over,
    pub condition: String,
    pub for_ms: u64,
    pub severity: Severity,
    pub summary: String,
    pub description: String,
    pub labels: BTreeMap<String, String>,
    /// Instead of the link under `runbooks`.
    pub runbook: Option<String>,
}
