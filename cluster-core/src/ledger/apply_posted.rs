//! Alerts that another system watches over, and posts again and again while they fire.
//!
//! Such an alert lasts for as long as its last post said, and each post says a little more. To write every one of them
//! would be a write a minute for nothing; so the ledger keeps until when the alert is good, and takes an extension when
//! somebody finds it worth one. Not here: who posts, when an extension is worth it (the agent that is posted to), and
//! ending what ran out (the leader).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Body, Reply},
    state::Ledger,
    state_alert::Alert,
};
use crate::{
    limits::{
        DESCRIPTION_BYTES, POSTED_ALERTS_MAX, POSTED_AT_ONCE_MAX, POSTED_LASTS_MAX_MS, SENTENCE_BYTES, clip,
    },
    time::WallTime,
};
use std::collections::BTreeMap;

/// Keys of posted alerts begin so: none of them can stand in the way of one of the cluster's own.
pub const POSTED_PREFIX: &str = "prometheus/";

impl Ledger {
    pub(super) fn alert_posted(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::AlertPosted { name, severity, dedup_key, labels, summary, description, valid_until } = body
        else {
            unreachable!("dispatched by its variant")
        };
        if !dedup_key.starts_with(POSTED_PREFIX) {
            let message =
                format!("\"{dedup_key}\" can't be a posted alert's key: it begins with {POSTED_PREFIX}");
            return Err(reject("INVALID", message));
        }
        if *valid_until <= entry.now {
            return Err(reject("OVER", format!("{name} is over already: it was good until {valid_until:?}")));
        }
        if self.posted().count() >= POSTED_ALERTS_MAX {
            let message = format!("{POSTED_ALERTS_MAX} posted alerts are firing: no more can be raised");
            return Err(reject("TOO_MANY_ALERTS", message));
        }
        let alert = Alert {
            name: name.clone(),
            severity: *severity,
            dedup_key: dedup_key.clone(),
            failure: None,
            labels: labels.clone(),
            summary: clip(summary, SENTENCE_BYTES),
            resolution: String::new(),
            description: clip(description, DESCRIPTION_BYTES),
            starts_at: entry.now,
            ends_at: None,
            notifications: Vec::new(),
            valid_until: Some(at_most(entry.now, *valid_until)),
        };
        self.fires(entry, alert)?;
        Ok(Reply::Done)
    }

    pub(super) fn alerts_extended(&mut self, entry: &Entry<'_>, until: &[(String, WallTime)]) -> Outcome {
        if until.len() > POSTED_AT_ONCE_MAX {
            let message = format!("{} alerts are too many; extend {POSTED_AT_ONCE_MAX} at once", until.len());
            return Err(reject("INVALID", message));
        }
        let until: BTreeMap<&str, WallTime> =
            until.iter().map(|(key, until)| (key.as_str(), *until)).collect();
        let mut extended = false;
        for alert in self.alerts.values_mut().filter(|alert| alert.ends_at.is_none()) {
            let (Some(now), Some(then)) = (alert.valid_until, until.get(alert.dedup_key.as_str())) else {
                continue;
            };
            let then = at_most(entry.now, *then);
            if then > now {
                alert.valid_until = Some(then);
                extended = true;
            }
        }
        if extended {
            Ok(Reply::Done)
        } else {
            Err(reject("NOT_FOUND", "none of these alerts fires for less long"))
        }
    }

    /// Posted alerts that fire.
    pub fn posted(&self) -> impl Iterator<Item = (&Alert, WallTime)> {
        let firing = self.alerts.values().filter(|alert| alert.ends_at.is_none());
        firing.filter_map(|alert| Some((alert, alert.valid_until?)))
    }
}

fn at_most(now: WallTime, until: WallTime) -> WallTime {
    until.min(WallTime(now.0.saturating_add(POSTED_LASTS_MAX_MS)))
}
