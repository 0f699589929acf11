//! Silences, and the record of why an alert isn't told. Not here: whom a silence matches (the leader says).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Phase, Reply},
    state::Ledger,
    state_alert::{NotificationState, Silence},
    validate_alerting,
};
use crate::{
    limits::{CHANNELS_MAX, MESSAGE_ALERTS_MAX, SENTENCE_BYTES, SILENCE_LISTED_MS, SILENCES_MAX, clip},
    time::WallTime,
};

impl Ledger {
    pub(super) fn silence_added(&mut self, entry: &Entry<'_>, silence: &Silence) -> Outcome {
        validate_alerting::silence(silence)?;
        self.forget_old_silences();
        if silence.ends_at <= entry.now {
            return Err(reject("INVALID", "the silence is over already"));
        }
        if self.silences.len() >= SILENCES_MAX {
            return Err(reject("TOO_MANY_SILENCES", format!("{SILENCES_MAX} silences are listed: end some")));
        }
        let mut silence = silence.clone();
        if silence.author.is_empty() {
            silence.author = entry.actor.to_owned();
        }
        let id = entry.at.index;
        self.operator_event(entry, "alerting", format!("silence {id} added: {}", silence.comment));
        self.silences.insert(id, silence);
        Ok(Reply::Silence(id))
    }

    pub(super) fn silence_ended(&mut self, entry: &Entry<'_>, id: u64) -> Outcome {
        self.forget_old_silences();
        let silence = self.silences.get_mut(&id);
        let silence = silence.ok_or_else(|| reject("NOT_FOUND", format!("there is no silence {id}")))?;
        if silence.ends_at <= entry.now {
            return Err(reject("ENDED", format!("silence {id} is over already")));
        }
        silence.ends_at = entry.now;
        // One that was to come never starts.
        silence.starts_at = silence.starts_at.min(entry.now);
        self.operator_event(entry, "alerting", format!("silence {id} ended"));
        Ok(Reply::Done)
    }

    fn forget_old_silences(&mut self) {
        let now = self.clock;
        let listed = |ends_at: WallTime| ends_at > now || now.since_ms(ends_at) < SILENCE_LISTED_MS;
        self.silences.retain(|_, silence| listed(silence.ends_at));
    }

    pub(super) fn alerts_muted(&mut self, alerts: &[u64], channels: &[String], reason: &str) -> Outcome {
        if alerts.len() > MESSAGE_ALERTS_MAX || channels.len() > CHANNELS_MAX {
            let message = format!("at most {MESSAGE_ALERTS_MAX} alerts on {CHANNELS_MAX} channels at once");
            return Err(reject("INVALID", message));
        }
        let reason = clip(reason, SENTENCE_BYTES);
        let mut changed = false;
        for alert in alerts {
            let Some(alert) = self.alerts.get_mut(alert) else { continue };
            for channel in channels.iter().filter(|channel| self.alerting.channels.contains_key(*channel)) {
                if alert.told(channel, Phase::Firing).is_some() {
                    continue;
                }
                if reason.is_empty() {
                    let noted = alert.notifications.len();
                    alert.notifications.retain(|n| n.channel != *channel || n.phase != Phase::Firing);
                    changed |= alert.notifications.len() < noted;
                    continue;
                }
                let firing = alert.notification_or_new(channel, Phase::Firing);
                if firing.reason != reason {
                    firing.state = NotificationState::Suppressed;
                    firing.reason.clone_from(&reason);
                    changed = true;
                }
            }
        }
        if changed {
            Ok(Reply::Done)
        } else {
            Err(reject("UNCHANGED", "nothing here is untold, or all is muted so"))
        }
    }
}
