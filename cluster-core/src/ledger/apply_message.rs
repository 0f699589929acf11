//! Messages: what is to be sent, and what became of it. Every attempt is committed before it is made; nothing here drops
//! what could still be delivered, and what failed for good goes to the channel's failover, if it has one. Not here: when
//! to queue what (the leader), or sending (the agent).
//!
//! On each channel an alert's firing comes before its resolve, and each of them is told once: a second proposal of the
//! same is refused, whoever makes it. Only a repetition tells again, and it names the message that it repeats.

use super::{
    apply::{Entry, Outcome, reject},
    command::{Body, Phase, Rejection, Reply, SendOutcome},
    state::Ledger,
    state_alert::{Alert, CHANNEL_FAILING, Intent, Message, Notification, NotificationState, Pace, Why},
    state_alerting::Rate,
};
use crate::ids::NodeId;
use crate::limits::{
    FAILOVER_AFTER_MS, MESSAGE_ALERTS_MAX, MESSAGES_MAX, NOTIFICATION_ATTEMPTS_MAX, QUIET_MAX_MS,
    SEND_WITHIN_MAX_MS, SENTENCE_BYTES, clip,
};
use crate::time::WallTime;
use std::collections::{BTreeMap, BTreeSet};

impl Ledger {
    pub(super) fn message_queued(
        &mut self,
        entry: &Entry<'_>,
        channel: &str,
        told: &[(u64, Phase)],
        incident: u64,
        why: Why,
    ) -> Outcome {
        if !self.alerting.channels.contains_key(channel) {
            return Err(reject("NOT_FOUND", format!("there is no channel \"{channel}\"")));
        }
        let once: BTreeSet<u64> = told.iter().map(|(alert, _)| *alert).collect();
        if !(1..=MESSAGE_ALERTS_MAX).contains(&told.len()) || once.len() < told.len() {
            let message = format!("a message tells 1 to {MESSAGE_ALERTS_MAX} alerts, each once");
            return Err(reject("INVALID", message));
        }
        if !self.alerts.contains_key(&incident) {
            return Err(reject("NOT_FOUND", format!("there is no alert {incident} to name an incident")));
        }
        if self.messages.len() >= MESSAGES_MAX {
            return Err(reject("TOO_MANY_MESSAGES", format!("{MESSAGES_MAX} messages wait to be sent")));
        }
        for (alert, phase) in told {
            self.may_tell(*alert, *phase, channel, why)?;
        }
        self.queue(entry, channel, told.to_vec(), incident, why);
        Ok(Reply::Done)
    }

    fn may_tell(&self, id: u64, phase: Phase, channel: &str, why: Why) -> Result<(), Rejection> {
        let alert =
            self.alerts.get(&id).ok_or_else(|| reject("NOT_FOUND", format!("there is no alert {id}")))?;
        let no = |reason, what: &str| Err(reject(reason, format!("alert {id} on {channel}: {what}")));
        if alert.is_about(channel) {
            return Err(reject("INVALID", format!("alert {id} says that {channel} itself fails")));
        }
        let firing = alert.told(channel, Phase::Firing);
        match (phase, why) {
            (Phase::Firing, Why::Repeat { of }) => match firing {
                Some(n) if n.is_settled() && n.message <= of && alert.ends_at.is_none() => Ok(()),
                _ => no("STALE", "there is nothing to repeat, or it was repeated"),
            },
            (Phase::Firing, _) if firing.is_some() => no("ALREADY_TOLD", "that it fires is told"),
            (Phase::Firing, _) => Ok(()),
            (Phase::Resolved, _) if alert.ends_at.is_none() => no("INVALID", "it still fires"),
            (Phase::Resolved, _) if alert.told(channel, Phase::Resolved).is_some() => {
                no("ALREADY_TOLD", "that it is over is told")
            }
            // What another channel was told of ends here.
            (Phase::Resolved, Why::Failover) => Ok(()),
            (Phase::Resolved, _) => match firing {
                Some(n) if !n.is_settled() => no("TOO_EARLY", "that it fires comes first"),
                Some(n) if n.was_heard() => Ok(()),
                _ => no("NEVER_TOLD", "nobody there heard that it fired"),
            },
        }
    }

    fn queue(&mut self, entry: &Entry<'_>, channel: &str, told: Vec<(u64, Phase)>, incident: u64, why: Why) {
        let id = entry.at.index;
        for (alert, phase) in &told {
            let alert = self.alerts.get_mut(alert).expect("may_tell found it");
            let notification = alert.notification_or_new(channel, *phase);
            notification.state = NotificationState::Pending;
            (notification.message, notification.incident, notification.attempts) = (id, incident, 0);
            notification.reason.clear();
            notification.maybe_repeated = false;
        }
        let open = self.is_open(channel, incident);
        let message = Message {
            channel: channel.to_owned(),
            told,
            incident,
            why,
            open,
            queued_at: entry.now,
            attempts: 0,
            intent: None,
            reason: String::new(),
            maybe_repeated: false,
            uncertain: false,
        };
        self.messages.insert(id, message);
    }

    /// Something that was told in it, or is about to be, still fires as far as they know.
    fn is_open(&self, channel: &str, incident: u64) -> bool {
        self.alerts.values().any(|alert| {
            alert.told(channel, Phase::Resolved).is_none()
                && alert.told(channel, Phase::Firing).is_some_and(|n| n.incident == incident && n.is_alive())
        })
    }

    pub(super) fn message_intended(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::MessageIntended { message: id, attempt, term, send_within_ms } = body else {
            unreachable!("dispatched by its variant")
        };
        if *send_within_ms > SEND_WITHIN_MAX_MS {
            let message =
                format!("an intent of {send_within_ms} ms reaches too far: {SEND_WITHIN_MAX_MS} ms at most");
            return Err(reject("INVALID", message));
        }
        let message = self.messages.get(id).ok_or_else(|| unknown(*id))?;
        // It waited, and what else is told in its incident may have changed meanwhile.
        let open = self.is_open(&message.channel, message.incident);
        let message = self.messages.get_mut(id).ok_or_else(|| unknown(*id))?;
        if *attempt != message.attempts + 1 {
            let tried = message.attempts;
            return Err(reject("STALE", format!("message {id}: {tried} attempts were made by now")));
        }
        if *attempt > NOTIFICATION_ATTEMPTS_MAX {
            let text = format!(
                "message {id}: all {NOTIFICATION_ATTEMPTS_MAX} attempts are used up; say that the last failed"
            );
            return Err(reject("ATTEMPTS_USED_UP", text));
        }
        let channel = self.alerting.channels.get(&message.channel);
        if message.intent.is_some() {
            message.uncertain = true;
            message.maybe_repeated |= channel.is_some_and(|channel| !channel.is_keyed());
        }
        (message.attempts, message.open) = (*attempt, open);
        message.intent = Some(Intent { attempt: *attempt, term: *term, send_within_ms: *send_within_ms });
        let rates = channel.map(|channel| channel.rates()).unwrap_or_default();
        let pace = self.paces.entry(message.channel.clone()).or_default();
        let counted = rates.iter().map(|rate: &Rate| rate.messages as usize).max().unwrap_or(0);
        pace.attempts.push_back(entry.now);
        while pace.attempts.len() > counted {
            pace.attempts.pop_front();
        }
        self.show(*id);
        Ok(Reply::Done)
    }

    pub(super) fn message_done(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::MessageDone { message: id, attempt, by, outcome } = body else {
            unreachable!("dispatched by its variant")
        };
        let message = self.messages.get_mut(id).ok_or_else(|| unknown(*id))?;
        if message.intent.is_none_or(|intent| intent.attempt != *attempt) {
            return Err(reject("STALE", format!("message {id}: attempt {attempt} isn't under way")));
        }
        message.intent = None;
        let pace = self.paces.entry(message.channel.clone()).or_default();
        let settled = match outcome {
            SendOutcome::Sent => {
                message.reason.clear();
                (pace.failed_in_a_row, pace.quiet_until) = (0, None);
                Some(NotificationState::Sent)
            }
            SendOutcome::Failed { reason, retry, after_ms, heard } => {
                message.uncertain |= *heard;
                message.reason = clip(reason, SENTENCE_BYTES);
                if *retry {
                    pace.failed_in_a_row = pace.failed_in_a_row.saturating_add(1);
                }
                let quiet = after_ms.map(|ms| WallTime(entry.now.0.saturating_add(ms.min(QUIET_MAX_MS))));
                pace.quiet_until = pace.quiet_until.max(quiet);
                let again = *retry && message.attempts < NOTIFICATION_ATTEMPTS_MAX;
                (!again).then_some(NotificationState::Failed)
            }
        };
        let channel = message.channel.clone();
        self.show(*id);
        match settled {
            Some(state) => self.settle(entry, *id, state, *by),
            None => self.hand_on_what_waits(entry, &channel, *by),
        }
        Ok(Reply::Done)
    }

    /// A channel that keeps failing is tried with one message at a time: its failover doesn't wait for all of them, and
    /// gets them as one, as an entry queues one message; of one incident where the provider knows each by its key.
    fn hand_on_what_waits(&mut self, entry: &Entry<'_>, channel: &str, by: NodeId) {
        let failing = self.paces.get(channel).is_some_and(Pace::keeps_failing);
        let to = self.alerting.channels.get(channel).and_then(|channel| channel.failover.clone());
        let Some(to) = to.filter(|_| failing) else { return };
        let keyed = self.alerting.channels.get(&to).is_some_and(|to| to.is_keyed());
        let waits = |(id, message): (&u64, &Message)| {
            let long = entry.now.since_ms(message.queued_at) >= FAILOVER_AFTER_MS;
            (message.channel == channel && message.intent.is_none() && long).then_some(*id)
        };
        let waiting: Vec<u64> = self.messages.iter().filter_map(waits).collect();
        let (mut told, mut incident) = (Vec::new(), None);
        for id in waiting {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            let of_another = *incident.get_or_insert(message.incident) != message.incident;
            if (keyed && of_another) || told.len() + message.told.len() > MESSAGE_ALERTS_MAX {
                continue;
            }
            if message.reason.is_empty() {
                "the channel keeps failing".clone_into(&mut message.reason);
            }
            self.show(id);
            told.extend(self.settle_alone(entry, id, NotificationState::Failed, by, Some(&to)));
        }
        if let Some(incident) = incident.filter(|_| !told.is_empty()) {
            self.queue(entry, &to, told, incident, Why::Failover);
        }
    }

    /// Its alerts' notifications say how it stands.
    fn show(&mut self, id: u64) {
        let Some(message) = self.messages.get(&id) else { return };
        each_shown(&mut self.alerts, message, id, |shown| {
            shown.attempts = message.attempts;
            shown.reason.clone_from(&message.reason);
            shown.maybe_repeated = message.maybe_repeated;
            shown.uncertain |= message.uncertain;
        });
    }

    /// It is over with it; what failed is handed on.
    fn settle(&mut self, entry: &Entry<'_>, id: u64, state: NotificationState, by: NodeId) {
        let Some(message) = self.messages.get(&id) else { return };
        let incident = message.incident;
        let to = self.alerting.channels.get(&message.channel).and_then(|channel| channel.failover.clone());
        let to = to.filter(|_| state == NotificationState::Failed);
        let told = self.settle_alone(entry, id, state, by, to.as_deref());
        if let Some(to) = to.filter(|_| !told.is_empty()) {
            self.queue(entry, &to, told, incident, Why::Failover);
        }
    }

    /// Returns what is to be told by `to` instead.
    fn settle_alone(
        &mut self,
        entry: &Entry<'_>,
        id: u64,
        state: NotificationState,
        by: NodeId,
        to: Option<&str>,
    ) -> Vec<(u64, Phase)> {
        let Some(message) = self.messages.remove(&id) else { return Vec::new() };
        each_shown(&mut self.alerts, &message, id, |shown| {
            shown.state = state;
            shown.by = Some(by);
            shown.settled_at = Some(entry.now);
            if state == NotificationState::Sent {
                shown.sent_at = Some(entry.now);
                shown.told_at = shown.told_at.or(Some(entry.now));
            }
            if let Some(to) = to {
                shown.reason = clip(&format!("{}; {to} is told instead", shown.reason), SENTENCE_BYTES);
            }
        });
        let Some(to) = to else { return Vec::new() };
        let untold = |(alert, phase): &(u64, Phase)| self.may_tell(*alert, *phase, to, Why::Failover).is_ok();
        message.told.into_iter().filter(untold).collect()
    }

    /// Nothing is sent any more on channels that aren't configured. Whether an attempt under way arrives is not known;
    /// whoever heard, or may have, is told of the end if the channel comes back.
    pub(super) fn drop_messages_of_removed_channels(&mut self) {
        let gone = |channel: &String| !self.alerting.channels.contains_key(channel);
        let dropped: Vec<u64> =
            self.messages.iter().filter(|(_, m)| gone(&m.channel)).map(|(id, _)| *id).collect();
        self.paces.retain(|channel, _| self.alerting.channels.contains_key(channel));
        for id in dropped {
            let Some(message) = self.messages.remove(&id) else { continue };
            each_shown(&mut self.alerts, &message, id, |shown| {
                shown.uncertain |= message.intent.is_some();
                shown.state = match (shown.told_at, shown.uncertain) {
                    (Some(_), _) => NotificationState::Sent,
                    (None, true) => NotificationState::Failed,
                    (None, false) => NotificationState::Suppressed,
                };
                "the channel was removed".clone_into(&mut shown.reason);
            });
        }
    }
}

impl Alert {
    /// It says that this channel fails, so it is of no use there.
    #[must_use]
    pub fn is_about(&self, channel: &str) -> bool {
        self.name == CHANNEL_FAILING && self.labels.get("channel").is_some_and(|failing| failing == channel)
    }

    /// What became of telling `channel`, unless nothing was queued yet, or what was is dropped.
    #[must_use]
    pub fn told(&self, channel: &str, phase: Phase) -> Option<&Notification> {
        let told = |n: &&Notification| n.channel == channel && n.phase == phase && n.is_told();
        self.notifications.iter().find(told)
    }

    pub(super) fn notification_or_new(&mut self, channel: &str, phase: Phase) -> &mut Notification {
        let at = self.notifications.iter().position(|n| n.channel == channel && n.phase == phase);
        let at = at.unwrap_or_else(|| {
            self.notifications.push(untold(channel, phase));
            self.notifications.len() - 1
        });
        &mut self.notifications[at]
    }
}

impl Notification {
    /// A message tells it, or told it. One that waits without a message was written by an older version.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.state != NotificationState::Suppressed
            && (self.message != 0 || self.state != NotificationState::Pending)
    }

    /// Told, for better or worse.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.state, NotificationState::Sent | NotificationState::Failed)
    }

    /// It was delivered, or may have been.
    #[must_use]
    pub fn was_heard(&self) -> bool {
        self.told_at.is_some() || self.sent_at.is_some() || self.uncertain
    }

    /// It was heard, or will be.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state == NotificationState::Pending || self.was_heard()
    }
}

/// Every notification that this message shows in: a later one may have taken some.
fn each_shown(
    alerts: &mut BTreeMap<u64, Alert>,
    message: &Message,
    id: u64,
    mut write: impl FnMut(&mut Notification),
) {
    for (alert, phase) in &message.told {
        let shows =
            |n: &&mut Notification| n.channel == message.channel && n.phase == *phase && n.message == id;
        let notifications = alerts.get_mut(alert).map(|alert| &mut alert.notifications);
        if let Some(shown) = notifications.and_then(|all| all.iter_mut().find(shows)) {
            write(shown);
        }
    }
}

fn unknown(message: u64) -> Rejection {
    reject("NOT_FOUND", format!("there is no message {message} to be sent (any more)"))
}

fn untold(channel: &str, phase: Phase) -> Notification {
    Notification {
        channel: channel.to_owned(),
        phase,
        state: NotificationState::Suppressed,
        message: 0,
        incident: 0,
        told_at: None,
        attempts: 0,
        sent_at: None,
        settled_at: None,
        by: None,
        reason: String::new(),
        maybe_repeated: false,
        uncertain: false,
    }
}
