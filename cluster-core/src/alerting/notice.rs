//! Notice: what a channel is given to tell, built from the ledger alone, so that a repetition says the same.
//!
//! Not here: JSON, signatures, languages (the agent's `notify`).

use crate::{
    ids::{ClusterId, FailureId},
    ledger::{Ledger, Phase, Severity},
    time::WallTime,
};
use std::collections::BTreeMap;

/// Version of the body's layout.
pub const NOTICE_VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Shared by firing and resolved.
    pub id: String,
    pub version: u32,
    pub status: Phase,
    pub alert: String,
    pub severity: Severity,
    pub dedup_key: String,
    pub cluster: String,
    pub cluster_id: ClusterId,
    /// The sending node's name.
    pub leader: String,
    pub term: u64,
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    pub description: String,
    pub failure_id: Option<FailureId>,
    pub starts_at: WallTime,
    /// `None` while firing.
    pub ends_at: Option<WallTime>,
    pub runbook: Option<String>,
    /// Where a person acknowledges its failure. Filled in by who can sign.
    pub ack_url: Option<String>,
}

impl Notice {
    /// `None` when the ledger has no such alert (any more), or it hasn't ended and `phase` says so.
    #[must_use]
    pub fn of(ledger: &Ledger, alert: u64, phase: Phase, leader: &str, term: u64) -> Option<Self> {
        let cluster = ledger.cluster.as_ref()?;
        let found = ledger.alerts.get(&alert)?;
        let (ends_at, summary) = match phase {
            Phase::Firing => (None, &found.summary),
            Phase::Resolved => (Some(found.ends_at?), &found.resolution),
        };
        Some(Self {
            id: alert.to_string(),
            version: NOTICE_VERSION,
            status: phase,
            alert: found.name.clone(),
            severity: found.severity,
            dedup_key: found.dedup_key.clone(),
            cluster: cluster.name.clone(),
            cluster_id: cluster.id,
            leader: leader.to_owned(),
            term,
            labels: found.labels.clone(),
            summary: summary.clone(),
            description: found.description.clone(),
            failure_id: found.failure,
            starts_at: found.starts_at,
            ends_at,
            runbook: runbook(ledger, &found.name),
            ack_url: None,
        })
    }

    /// Names the telling of this alert by itself: its own for firing and resolved, whoever tells it.
    #[must_use]
    pub fn message_id(&self) -> String {
        let phase = match self.status {
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
        };
        format!("{}-{}-{phase}", self.cluster_id, self.id)
    }
}

/// Names a message to its provider: its own, and the same for each attempt at it by whichever leader.
#[must_use]
pub fn message_id(ledger: &Ledger, message: u64) -> String {
    let cluster = ledger.cluster.as_ref().map(|cluster| cluster.id).unwrap_or_default();
    format!("{cluster}-{message}")
}

/// A rule's own, or the one of this name under the base that the configuration gives.
fn runbook(ledger: &Ledger, alert: &str) -> Option<String> {
    let config = &ledger.alerting;
    let own = config.rules.iter().find(|rule| rule.name == alert).and_then(|rule| rule.runbook.clone());
    let base = config.runbooks.as_ref();
    own.or_else(|| base.map(|base| format!("{}/{alert}", base.trim_end_matches('/'))))
}
