//! Alerts and their outbox. Every attempt is committed before it is made; nothing here drops a notification that
//! could still be delivered. Not here: when to raise (the leader), or sending (the agent).
//!
//! An alert that ends before its firing was sent keeps both notifications: first the one, then the other is sent.
//! Only what can't be delivered is suppressed: to a channel that was removed, or a resolve whose firing has failed
//! for certain.

use super::{
    apply::{Entry, Outcome, reject},
    command::{Body, Phase, Rejection, Reply, SendOutcome},
    state::{EventType, Ledger},
    state_alert::{Alert, Intent, Notification, NotificationState},
    state_alerting::AlertingConfig,
    validate, validate_alerting,
};
use crate::limits::{
    ALERTS_MAX, DESCRIPTION_BYTES, FAILURE_ALERTS_MAX, NAME_BYTES, NOTIFICATION_ATTEMPTS_MAX,
    SEND_WITHIN_MAX_MS, SENTENCE_BYTES, VALUE_BYTES, clip,
};
use std::collections::BTreeSet;

impl Ledger {
    pub(super) fn alerting_applied(&mut self, entry: &Entry<'_>, config: &AlertingConfig) -> Outcome {
        validate_alerting::alerting(config)?;
        self.alerting = config.clone();
        self.alerting_since = entry.now;
        self.drop_messages_of_removed_channels();
        for alert in self.alerts.values_mut() {
            alert.suppress_removed(config);
        }
        let (channels, routes) = (config.channels.len(), config.routes.len());
        self.operator_event(
            entry,
            "alerting",
            format!("alerting applied: {channels} channels, {routes} routes"),
        );
        Ok(Reply::Done)
    }

    pub(super) fn alert_raised(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::AlertRaised { name, severity, dedup_key, failure, labels, summary, description } = body
        else {
            unreachable!("dispatched by its variant")
        };
        validate::labels(labels)?;
        if name.len() > NAME_BYTES || dedup_key.is_empty() || dedup_key.len() > VALUE_BYTES {
            return Err(reject("INVALID", "an alert's name or its dedup_key is too long, or it has none"));
        }
        if let Some(id) = self.unended_alert(dedup_key) {
            return Err(reject("DUPLICATE", format!("alert {id} is firing for {dedup_key}")));
        }
        self.make_room_for_alert()?;
        let id = entry.at.index;
        let channels: BTreeSet<&String> = self.alerting.routes.iter().flat_map(|r| &r.channels).collect();
        let notifications = channels.into_iter().map(|channel| pending(channel, Phase::Firing)).collect();
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
            notifications,
        };
        self.alerts.insert(id, alert);
        let failure = failure.and_then(|failure| self.failures.get_mut(&failure));
        if let Some(failure) = failure.filter(|f| f.alerts.len() < FAILURE_ALERTS_MAX) {
            failure.alerts.push(id);
        }
        let fields = [("alert", id.to_string()), ("dedup_key", dedup_key.clone())];
        self.event(entry, EventType::AlertFiring, name, format!("{name}: {summary}"), &fields);
        Ok(Reply::Done)
    }

    fn unended_alert(&self, dedup_key: &str) -> Option<u64> {
        let firing = |alert: &Alert| alert.ends_at.is_none() && alert.dedup_key == dedup_key;
        self.alerts.iter().rev().find(|(_, alert)| firing(alert)).map(|(id, _)| *id)
    }

    fn make_room_for_alert(&mut self) -> Result<(), Rejection> {
        if self.alerts.len() < ALERTS_MAX {
            return Ok(());
        }
        let settled = |alert: &Alert| {
            alert.ends_at.is_some()
                && alert.notifications.iter().all(|n| n.state != NotificationState::Pending)
        };
        let Some(id) = self.alerts.iter().find(|(_, alert)| settled(alert)).map(|(id, _)| *id) else {
            let message = format!("{ALERTS_MAX} alerts are firing or unsent: no more can be raised");
            return Err(reject("TOO_MANY_ALERTS", message));
        };
        self.alerts.remove(&id);
        Ok(())
    }

    pub(super) fn alert_ended(&mut self, entry: &Entry<'_>, dedup_key: &str, summary: &str) -> Outcome {
        let id = self.unended_alert(dedup_key);
        let Some(alert) = id.and_then(|id| self.alerts.get_mut(&id)) else {
            return Err(reject("NOT_FOUND", format!("no alert is firing for {dedup_key}")));
        };
        alert.ends_at = Some(entry.now);
        alert.resolution = clip(summary, SENTENCE_BYTES);
        let resolves: Vec<Notification> =
            alert.notifications.iter().map(|firing| pending(&firing.channel, Phase::Resolved)).collect();
        alert.notifications.extend(resolves);
        alert.suppress_removed(&self.alerting);
        alert.suppress_idle_resolves();
        let name = alert.name.clone();
        let fields = [("alert", id.unwrap_or_default().to_string()), ("dedup_key", dedup_key.to_owned())];
        self.event(entry, EventType::AlertResolved, &name, format!("{name}: {summary}"), &fields);
        Ok(Reply::Done)
    }

    pub(super) fn notification_intended(&mut self, body: &Body) -> Outcome {
        let Body::NotificationIntended { alert: id, channel, phase, attempt, term, send_within_ms } = body
        else {
            unreachable!("dispatched by its variant")
        };
        if *send_within_ms > SEND_WITHIN_MAX_MS {
            let message =
                format!("an intent of {send_within_ms} ms reaches too far: {SEND_WITHIN_MAX_MS} ms at most");
            return Err(reject("INVALID", message));
        }
        let keyless = self.alerting.channels.get(channel).is_some_and(|channel| !channel.is_keyed());
        let alert = self.alerts.get_mut(id).ok_or_else(|| unknown(*id, channel))?;
        if *phase == Phase::Resolved && alert.is_unsettled(channel, Phase::Firing) {
            return Err(reject("TOO_EARLY", format!("alert {id}: its firing to {channel} comes first")));
        }
        let notification = alert.notification(channel, *phase).ok_or_else(|| unknown(*id, channel))?;
        if notification.state != NotificationState::Pending || *attempt != notification.attempts + 1 {
            let tried = notification.attempts;
            return Err(reject(
                "STALE",
                format!("alert {id} to {channel}: {tried} attempts were made by now"),
            ));
        }
        if *attempt > NOTIFICATION_ATTEMPTS_MAX {
            let message = format!(
                "alert {id} to {channel}: all {NOTIFICATION_ATTEMPTS_MAX} attempts are used up; say that the last failed"
            );
            return Err(reject("ATTEMPTS_USED_UP", message));
        }
        if notification.intent.is_some() {
            notification.uncertain = true;
            notification.maybe_repeated |= keyless;
        }
        notification.attempts = *attempt;
        notification.intent =
            Some(Intent { attempt: *attempt, term: *term, send_within_ms: *send_within_ms });
        Ok(Reply::Done)
    }

    pub(super) fn notification_done(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::NotificationDone { alert: id, channel, phase, attempt, by, outcome } = body else {
            unreachable!("dispatched by its variant")
        };
        let alert = self.alerts.get_mut(id).ok_or_else(|| unknown(*id, channel))?;
        let notification = alert.notification(channel, *phase).ok_or_else(|| unknown(*id, channel))?;
        if notification.intent.is_none_or(|intent| intent.attempt != *attempt) {
            return Err(reject(
                "STALE",
                format!("alert {id} to {channel}: attempt {attempt} isn't under way"),
            ));
        }
        notification.intent = None;
        notification.by = Some(*by);
        match outcome {
            SendOutcome::Sent => {
                notification.state = NotificationState::Sent;
                notification.sent_at = Some(entry.now);
                notification.reason = String::new();
            }
            SendOutcome::Failed { reason, retry, .. } => {
                notification.reason = clip(reason, SENTENCE_BYTES);
                let again = *retry && notification.attempts < NOTIFICATION_ATTEMPTS_MAX;
                if !again && notification.state == NotificationState::Pending {
                    notification.state = NotificationState::Failed;
                }
            }
        }
        alert.suppress_idle_resolves();
        Ok(Reply::Done)
    }
}

impl Alert {
    fn notification(&mut self, channel: &str, phase: Phase) -> Option<&mut Notification> {
        self.notifications.iter_mut().find(|n| n.channel == channel && n.phase == phase)
    }

    fn is_unsettled(&mut self, channel: &str, phase: Phase) -> bool {
        self.notification(channel, phase).is_some_and(|n| n.state == NotificationState::Pending)
    }

    fn suppress_removed(&mut self, config: &AlertingConfig) {
        let gone = |n: &&mut Notification| !config.channels.contains_key(&n.channel);
        for notification in self.notifications.iter_mut().filter(gone) {
            if notification.state == NotificationState::Pending {
                notification.state = NotificationState::Suppressed;
                "the channel was removed".clone_into(&mut notification.reason);
            }
        }
    }

    /// Nobody who never heard of the alert needs to hear that it is over.
    fn suppress_idle_resolves(&mut self) {
        let unheard: Vec<String> = self
            .notifications
            .iter()
            .filter(|n| n.phase == Phase::Firing && n.was_never_delivered())
            .map(|n| n.channel.clone())
            .collect();
        for channel in unheard {
            let resolve = self.notification(&channel, Phase::Resolved);
            if let Some(resolve) = resolve.filter(|n| n.state == NotificationState::Pending) {
                resolve.state = NotificationState::Suppressed;
                "its firing was never delivered".clone_into(&mut resolve.reason);
            }
        }
    }
}

impl Notification {
    /// For certain, and it won't be: given up, with a known result of every attempt.
    fn was_never_delivered(&self) -> bool {
        let over = matches!(self.state, NotificationState::Failed | NotificationState::Suppressed);
        over && !self.uncertain && self.intent.is_none()
    }
}

fn unknown(alert: u64, channel: &str) -> Rejection {
    reject("NOT_FOUND", format!("alert {alert} has no such notification to channel {channel}"))
}

fn pending(channel: &str, phase: Phase) -> Notification {
    Notification {
        channel: channel.to_owned(),
        phase,
        state: NotificationState::Pending,
        message: 0,
        incident: 0,
        told_at: None,
        attempts: 0,
        intent: None,
        sent_at: None,
        by: None,
        reason: String::new(),
        maybe_repeated: false,
        uncertain: false,
    }
}
