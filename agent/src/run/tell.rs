//! How a leader tells people: what its alerting machine wants told is made into messages and sent.
//!
//! Not here: what is told to whom and when (cluster-core's `alerting`), and how a channel is spoken to (`notify`).

use super::{input::Input, leader::Leader};
use crate::{
    consensus::Consensus,
    notify::{self, Telling, link, watchdog},
};
use cluster_core::{
    alerting::{self, Notice},
    ledger::{Channel, Ledger, Message, Phase, SecretRef, SendOutcome},
    recovery::{LiveView, View},
    time::Instant,
};
use std::time::Duration;

/// One post that keeps alerts firing; the next one is due in a minute.
const KEEP_TIMEOUT: Duration = Duration::from_secs(5);
/// With less time than this an attempt isn't begun.
const LEAST_TO_SEND: Duration = Duration::from_millis(100);
/// One sign of life to the watchdog.
const SIGN_TIMEOUT: Duration = Duration::from_secs(5);

impl Leader {
    pub(super) fn alert(&mut self, now: Instant, ledger: &Ledger, live: &LiveView, input: alerting::Input) {
        let mut effects = Vec::new();
        self.alerting.step(now, &View { ledger, live }, input, &mut effects);
        for effect in effects {
            match effect {
                alerting::Effect::Propose(body, at) => self.propose_at(at, body),
                alerting::Effect::Send { message, attempt, deadline } => {
                    self.send(now, ledger, message, attempt, deadline);
                }
                alerting::Effect::Keep { channel, alerts } => self.keep(ledger, &channel, &alerts),
                alerting::Effect::SignOfLife(url) => self.sign_of_life(url),
                alerting::Effect::Warn(what) => tracing::warn!("alerting: {what}"),
            }
        }
    }

    /// Confirms the leadership, then tells the provider. Either way one answer comes back.
    fn send(&self, now: Instant, ledger: &Ledger, message: u64, attempt: u32, deadline: Instant) {
        let telling = self.telling(ledger, message);
        let (consensus, inputs, term) =
            (self.office.consensus.clone(), self.office.inputs.clone(), self.term);
        let time_left = deadline.since(now);
        tokio::spawn(async move {
            let outcome = match telling {
                Some((to, telling)) => confirmed_send(&consensus, term, &to, telling, time_left).await,
                None => SendOutcome::Failed {
                    reason: "its alerts or its channel are gone".into(),
                    retry: false,
                    after_ms: None,
                    heard: false,
                },
            };
            let _stopping = inputs.send(Input::Sent { message, attempt, outcome }).await;
        });
    }

    /// What the ledger's message says, and to whom.
    fn telling(&self, ledger: &Ledger, id: u64) -> Option<(Channel, Telling)> {
        let message = ledger.messages.get(&id)?;
        let to = ledger.alerting.channels.get(&message.channel)?.clone();
        let told = message.told.iter().filter_map(|(alert, phase)| self.notice(ledger, *alert, *phase));
        let mut notices: Vec<Notice> = told.collect();
        link::add(ledger, &message.channel, message.queued_at, &mut notices);
        let key = match ledger.alerts.get(&message.incident) {
            Some(incident) => incident.dedup_key.clone(),
            None => notices.first()?.dedup_key.clone(),
        };
        let (open, maybe_repeated) = (message.open, message.maybe_repeated);
        let id = alerting::message_id(ledger, id);
        let answers = answered(ledger, message);
        (!notices.is_empty()).then_some((to, Telling { id, key, notices, open, maybe_repeated, answers }))
    }

    fn notice(&self, ledger: &Ledger, alert: u64, phase: Phase) -> Option<Notice> {
        Notice::of(ledger, alert, phase, &self.office.identity.name, self.term)
    }

    /// Posts once more that these fire; what comes of it matters to nobody, as it is done again in a minute.
    fn keep(&self, ledger: &Ledger, channel: &str, alerts: &[u64]) {
        let Some(to) = ledger.alerting.channels.get(channel).cloned() else { return };
        let mut notices: Vec<Notice> =
            alerts.iter().filter_map(|id| self.notice(ledger, *id, Phase::Firing)).collect();
        if notices.is_empty() {
            return;
        }
        link::add(ledger, channel, ledger.clock, &mut notices);
        let (consensus, term, channel) = (self.office.consensus.clone(), self.term, channel.to_owned());
        let telling = Telling {
            id: "keep".into(),
            key: "keep".into(),
            notices,
            open: false,
            maybe_repeated: false,
            answers: Vec::new(),
        };
        // Ends with its time-out; at most one a channel and minute.
        tokio::spawn(async move {
            let sent = confirmed_send(&consensus, term, &to, telling, KEEP_TIMEOUT).await;
            if let SendOutcome::Failed { reason, .. } = sent {
                tracing::debug!(channel, reason, "what fires wasn't posted again");
            }
        });
    }

    /// Asks for the watchdog's page once. A sign that fails is no loss: the next one follows, or its absence is noticed.
    fn sign_of_life(&self, url: SecretRef) {
        let (consensus, term) = (self.office.consensus.clone(), self.term);
        // Ends with its time-out, which is shorter than the shortest pace.
        tokio::spawn(async move {
            if !matches!(consensus.confirm_leader().await, Ok(confirmed) if confirmed == term) {
                return;
            }
            if let Err(refused) = watchdog::sign(&url, SIGN_TIMEOUT).await {
                tracing::warn!(%refused, "the watchdog wasn't given a sign of life");
            }
        });
    }
}

/// The messages by which its channel was told that these alerts fire, which now are over.
fn answered(ledger: &Ledger, message: &Message) -> Vec<String> {
    let over = message.told.iter().filter(|(_, phase)| *phase == Phase::Resolved);
    let fired = over.filter_map(|(alert, _)| ledger.alerts.get(alert)?.told(&message.channel, Phase::Firing));
    let mut messages: Vec<u64> = fired.map(|n| n.message).collect();
    messages.sort_unstable();
    messages.dedup();
    messages.into_iter().map(|id| alerting::message_id(ledger, id)).collect()
}

/// A deposed leader finds out here, just before it would speak, and keeps silent. All of it ends within `time_left`.
async fn confirmed_send(
    consensus: &Consensus,
    term: u64,
    to: &Channel,
    telling: Telling,
    time_left: Duration,
) -> SendOutcome {
    let began = std::time::Instant::now();
    let unsent = |why: &str| SendOutcome::Failed {
        reason: format!("{why}; nothing was sent"),
        retry: true,
        after_ms: None,
        heard: false,
    };
    match tokio::time::timeout(time_left, consensus.confirm_leader()).await {
        // Its own limit ends it, so that a provider that doesn't answer is named.
        Ok(Ok(confirmed)) if confirmed == term => {
            let left = time_left.saturating_sub(began.elapsed());
            if left < LEAST_TO_SEND {
                return unsent("it took too long to confirm that this agent still leads");
            }
            notify::outcome(&notify::send(to, telling, left).await)
        }
        Ok(_) => unsent("this agent doesn't lead any more"),
        Err(_) => unsent("no majority said in time that this agent still leads"),
    }
}
