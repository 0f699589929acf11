//! Alerts: what fires, and what is over. Not here: when to raise (the leader), and who is told of it (apply_message.rs).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Body, Phase, Rejection, Reply},
    state::{EventType, Ledger},
    state_alert::{Alert, Notification, NotificationState},
    state_alerting::{AlertingConfig, LinkKey, Route},
    validate, validate_alerting,
};
use crate::{
    limits::{
        ALERTS_MAX, DESCRIPTION_BYTES, FAILURE_ALERTS_MAX, NAME_BYTES, SENTENCE_BYTES, VALUE_BYTES, clip,
    },
    time::WallTime,
};
use std::collections::BTreeSet;

/// An alert that is over, and of which some channel wasn't told, may still be on its way there for so long.
const UNTOLD_MS: u64 = 10 * 60 * 1_000;

impl Ledger {
    pub(super) fn alerting_applied(
        &mut self,
        entry: &Entry<'_>,
        config: &AlertingConfig,
        link_key: Option<&LinkKey>,
    ) -> Outcome {
        validate_alerting::alerting(config)?;
        self.note_what_leads_where(entry, config);
        self.alerting = config.clone();
        // The first one stays, or links that are out would be void; without links none is kept, so that leaving them out
        // once makes all of them void.
        let wanted = config.ack_url.is_some();
        self.link_key = self.link_key.take().or_else(|| link_key.cloned()).filter(|_| wanted);
        self.alerting_since = entry.now;
        self.drop_messages_of_removed_channels();
        let (channels, routes) = (config.channels.len(), config.routes.len());
        self.operator_event(
            entry,
            "alerting",
            format!("alerting applied: {channels} channels, {routes} routes"),
        );
        Ok(Reply::Done)
    }

    /// What waits on a channel goes on waiting, unless it may be others now that come there: those may be long over.
    fn note_what_leads_where(&mut self, entry: &Entry<'_>, config: &AlertingConfig) {
        let since = |channel: &String| {
            let stays = self.alerting.channels.contains_key(channel)
                && reach(&self.alerting, channel) == reach(config, channel);
            (channel.clone(), if stays { self.since(channel) } else { entry.now })
        };
        self.channels_since = config.channels.keys().map(since).collect();
    }

    /// Since when this channel is led to as it is now.
    #[must_use]
    pub fn since(&self, channel: &str) -> WallTime {
        self.channels_since.get(channel).copied().unwrap_or(self.alerting_since)
    }

    pub(super) fn alert_raised(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::AlertRaised { name, severity, dedup_key, failure, labels, summary, description } = body
        else {
            unreachable!("dispatched by its variant")
        };
        let alert = Alert {
            name: name.clone(),
            severity: *severity,
            dedup_key: dedup_key.clone(),
            failure: *failure,
            labels: labels.clone(),
            summary: clip(summary, SENTENCE_BYTES),
            resolution: String::new(),
            description: clip(description, DESCRIPTION_BYTES),
            starts_at: entry.now,
            ends_at: None,
            notifications: Vec::new(),
            valid_until: None,
        };
        self.fires(entry, alert)?;
        let failure = failure.and_then(|failure| self.failures.get_mut(&failure));
        if let Some(failure) = failure.filter(|f| f.alerts.len() < FAILURE_ALERTS_MAX) {
            failure.alerts.push(entry.at.index);
        }
        Ok(Reply::Done)
    }

    /// The entry's index is the alert's id.
    pub(super) fn fires(&mut self, entry: &Entry<'_>, alert: Alert) -> Result<(), Rejection> {
        let (name, dedup_key) = (&alert.name, &alert.dedup_key);
        validate::labels(&alert.labels)?;
        if name.len() > NAME_BYTES || dedup_key.is_empty() || dedup_key.len() > VALUE_BYTES {
            return Err(reject("INVALID", "an alert's name or its dedup_key is too long, or it has none"));
        }
        if let Some(id) = self.unended_alert(dedup_key) {
            return Err(reject("DUPLICATE", format!("alert {id} is firing for {dedup_key}")));
        }
        self.make_room_for_alert()?;
        let id = entry.at.index;
        let fields = [("alert", id.to_string()), ("dedup_key", dedup_key.clone())];
        self.event(entry, EventType::AlertFiring, name, format!("{name}: {}", alert.summary), &fields);
        self.alerts.insert(id, alert);
        Ok(())
    }

    fn unended_alert(&self, dedup_key: &str) -> Option<u64> {
        let firing = |alert: &Alert| alert.ends_at.is_none() && alert.dedup_key == dedup_key;
        self.alerts.iter().rev().find(|(_, alert)| firing(alert)).map(|(id, _)| *id)
    }

    fn make_room_for_alert(&mut self) -> Result<(), Rejection> {
        if self.alerts.len() < ALERTS_MAX {
            return Ok(());
        }
        let named: BTreeSet<u64> = self
            .alerts
            .values()
            .filter(|alert| !self.is_settled(alert))
            .flat_map(|alert| alert.notifications.iter().map(|n| n.incident))
            .collect();
        let settled = |(id, alert): &(&u64, &Alert)| !named.contains(*id) && self.is_settled(alert);
        let Some(id) = self.alerts.iter().find(settled).map(|(id, _)| *id) else {
            let message = format!("{ALERTS_MAX} alerts are firing or unsent: no more can be raised");
            return Err(reject("TOO_MANY_ALERTS", message));
        };
        self.alerts.remove(&id);
        Ok(())
    }

    /// It is over, and whoever is to hear of that did.
    fn is_settled(&self, alert: &Alert) -> bool {
        let Some(ends_at) = alert.ends_at else { return false };
        let heard = |n: &Notification| match n.phase {
            Phase::Firing if self.alerting.channels.contains_key(&n.channel) && n.was_heard() => {
                alert.told(&n.channel, Phase::Resolved).is_some_and(Notification::is_settled)
            }
            _ => n.state != NotificationState::Pending,
        };
        let noted = |channel: &String| {
            alert.notifications.iter().any(|n| n.channel == *channel && n.phase == Phase::Firing)
        };
        let untold = !self.alerting.routes.is_empty() && !self.alerting.channels.keys().all(noted);
        alert.notifications.iter().all(heard) && !(untold && self.clock.since_ms(ends_at) < UNTOLD_MS)
    }

    pub(super) fn alert_ended(&mut self, entry: &Entry<'_>, dedup_key: &str, summary: &str) -> Outcome {
        let id = self.unended_alert(dedup_key);
        let Some(alert) = id.and_then(|id| self.alerts.get_mut(&id)) else {
            return Err(reject("NOT_FOUND", format!("no alert is firing for {dedup_key}")));
        };
        alert.ends_at = Some(entry.now);
        alert.resolution = clip(summary, SENTENCE_BYTES);
        let name = alert.name.clone();
        let fields = [("alert", id.unwrap_or_default().to_string()), ("dedup_key", dedup_key.to_owned())];
        self.event(entry, EventType::AlertResolved, &name, format!("{name}: {summary}"), &fields);
        Ok(Reply::Done)
    }
}

/// What decides which alerts come to a channel: the routes up to the last that leads there, and whether each does.
fn reach<'c>(config: &'c AlertingConfig, channel: &str) -> Vec<(Option<&'c String>, bool, bool)> {
    let leads = |route: &Route| route.channels.iter().any(|name| name == channel);
    let end = config.routes.iter().rposition(leads).map_or(0, |last| last + 1);
    config.routes[..end].iter().map(|route| (route.condition.as_ref(), route.go_on, leads(route))).collect()
}
