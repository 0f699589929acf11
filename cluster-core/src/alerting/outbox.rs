//! The outbox: each notification told once, and twice at most for each sender that was cut off in the middle.
//!
//! An attempt's intent is committed before anything is sent. Its sender gives up a fixed time after it *proposed* the
//! intent; a successor that finds an intent without a result waits as long from when it became leader, by its own
//! clock, and only then tries again: so two never send at once, and nothing is dropped.
//!
//! Not here: which alerts there are (`rules`), which channels they go to and how many attempts there may be (ledger).

use super::{Effect, PROPOSE_AGAIN};
use crate::{
    ids::NodeId,
    ledger::{Body, Ledger, Notification, NotificationState, Phase, SendOutcome},
    limits::{NOTIFICATION_ATTEMPTS_MAX, SEND_WITHIN_MAX_MS},
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A sender gives up this long after it proposed the intent.
pub const SEND_WITHIN: Duration = Duration::from_secs(5);
/// A sender that doesn't even report its failure this long after its deadline is taken for failed.
pub const REPORT_GRACE: Duration = Duration::from_secs(1);
/// Attempts on one channel at once; the next wait their turn. One slow channel holds up itself alone.
pub const MAX_IN_FLIGHT: usize = 4;
/// The wait after the first failed attempt; it doubles with each.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The dice shorten a wait by less than this part of it, so that many don't come back at once.
const JITTER_PERCENT: u32 = 25;

/// Alert, channel, phase.
pub type Key = (u64, String, Phase);

#[derive(Debug)]
pub struct Outbox {
    me: NodeId,
    term: u64,
    leader_since: Instant,
    /// Attempts of this leader, at most `MAX_IN_FLIGHT` a channel.
    flights: BTreeMap<Key, Flight>,
    /// When what failed is tried again; only for notifications that the ledger still has pending.
    retry_at: BTreeMap<Key, Instant>,
}

#[derive(Debug)]
struct Flight {
    attempt: u32,
    /// When its intent was proposed first: what its deadline counts from, however late it is committed.
    began: Instant,
    leg: Leg,
}

#[derive(Debug)]
enum Leg {
    /// The intent was last proposed then; the ledger doesn't show it yet.
    Intended(Instant),
    Sending,
    /// To be written down; last proposed then, if it was.
    Finished(SendOutcome, Option<Instant>),
}

impl Outbox {
    #[must_use]
    pub fn new(me: NodeId, term: u64, now: Instant) -> Self {
        Self { me, term, leader_since: now, flights: BTreeMap::new(), retry_at: BTreeMap::new() }
    }

    /// An answer that nobody waits for (any more) changes nothing.
    pub fn finished(&mut self, now: Instant, key: Key, attempt: u32, outcome: SendOutcome, dice: u64) {
        let flight = self.flights.get_mut(&key);
        let Some(flight) = flight.filter(|f| f.attempt == attempt && matches!(f.leg, Leg::Sending)) else {
            return;
        };
        flight.leg = Leg::Finished(outcome, None);
        self.retry_at.insert(key, now + backoff(attempt, dice));
    }

    pub fn step(&mut self, now: Instant, ledger: &Ledger, effects: &mut Vec<Effect>) {
        let mut pending = BTreeSet::new();
        for (id, alert) in &ledger.alerts {
            for told in alert.notifications.iter().filter(|n| n.state == NotificationState::Pending) {
                let key = (*id, told.channel.clone(), told.phase);
                self.settle(&key, told);
                self.follow(now, &key, told, effects);
                pending.insert(key);
            }
        }
        self.flights.retain(|key, _| pending.contains(key));
        self.retry_at.retain(|key, _| pending.contains(key));
        for (id, alert) in &ledger.alerts {
            for told in alert.notifications.iter().filter(|n| n.state == NotificationState::Pending) {
                let key = (*id, told.channel.clone(), told.phase);
                let in_turn = told.phase == Phase::Firing || is_settled(&alert.notifications, &told.channel);
                if in_turn && !self.flights.contains_key(&key) {
                    self.begin(now, key, told, effects);
                }
            }
        }
    }

    /// Drops a flight that the ledger shows to be over, or to be another's: an older leader's intent may be committed
    /// just before ours, which is then refused.
    fn settle(&mut self, key: &Key, told: &Notification) {
        let Some(flight) = self.flights.get(key) else { return };
        let shown = told.intent.filter(|intent| intent.attempt == flight.attempt);
        let over = match flight.leg {
            Leg::Intended(_) => {
                told.attempts >= flight.attempt && shown.is_none_or(|intent| intent.term != self.term)
            }
            Leg::Sending | Leg::Finished(..) => shown.is_none(),
        };
        if over {
            self.flights.remove(key);
        }
    }

    /// Takes an attempt of this leader one leg further.
    fn follow(&mut self, now: Instant, key: &Key, told: &Notification, effects: &mut Vec<Effect>) {
        let (me, term) = (self.me, self.term);
        let Some(flight) = self.flights.get_mut(key) else { return };
        let deadline = flight.began + SEND_WITHIN;
        let committed =
            told.intent.is_some_and(|intent| intent.term == term && intent.attempt == flight.attempt);
        match &mut flight.leg {
            Leg::Intended(_) if committed && now < deadline => {
                flight.leg = Leg::Sending;
                effects.push(Effect::Send {
                    alert: key.0,
                    channel: key.1.clone(),
                    phase: key.2,
                    attempt: flight.attempt,
                    deadline,
                });
            }
            Leg::Intended(_) if committed => {
                flight.leg = Leg::Finished(failed("its intent was committed too late to be sent"), None);
            }
            Leg::Intended(last) if now.since(*last) >= PROPOSE_AGAIN => {
                *last = now;
                effects.push(Effect::Propose(intended(key, flight.attempt, term)));
            }
            Leg::Sending if now >= deadline + REPORT_GRACE => {
                flight.leg = Leg::Finished(failed("the sender didn't report in time"), None);
            }
            Leg::Intended(_) | Leg::Sending | Leg::Finished(..) => {}
        }
        if let Leg::Finished(outcome, proposed) = &mut flight.leg
            && proposed.is_none_or(|at| now.since(at) >= PROPOSE_AGAIN)
        {
            *proposed = Some(now);
            effects.push(Effect::Propose(Body::NotificationDone {
                alert: key.0,
                channel: key.1.clone(),
                phase: key.2,
                attempt: flight.attempt,
                by: me,
                outcome: outcome.clone(),
            }));
            self.retry_at.entry(key.clone()).or_insert(now + backoff(flight.attempt, 0));
        }
    }

    /// Starts the next attempt, if it may start now.
    fn begin(&mut self, now: Instant, key: Key, told: &Notification, effects: &mut Vec<Effect>) {
        let attempt = match told.intent {
            // Another leader's: it may be writing to the provider at this moment.
            Some(intent) => {
                let wait = Duration::from_millis(intent.send_within_ms.min(SEND_WITHIN_MAX_MS));
                if now.since(self.leader_since) < wait {
                    return;
                }
                if intent.attempt >= NOTIFICATION_ATTEMPTS_MAX {
                    // No attempt is left, so what became of this one will never be known better.
                    let outcome = failed("its sender was cut off, and no attempt is left");
                    let leg = Leg::Finished(outcome, None);
                    self.flights.insert(key, Flight { attempt: intent.attempt, began: now, leg });
                    return;
                }
                intent.attempt + 1
            }
            None if told.attempts == 0 => 1,
            None => {
                let due = *self.retry_at.entry(key.clone()).or_insert(now + backoff(told.attempts, 0));
                if now < due {
                    return;
                }
                told.attempts + 1
            }
        };
        if self.flights.keys().filter(|(_, channel, _)| *channel == key.1).count() >= MAX_IN_FLIGHT {
            return;
        }
        self.retry_at.remove(&key);
        effects.push(Effect::Propose(intended(&key, attempt, self.term)));
        self.flights.insert(key, Flight { attempt, began: now, leg: Leg::Intended(now) });
    }
}

/// Nothing is resolved on a channel before its firing is told, or given up.
fn is_settled(notifications: &[Notification], channel: &str) -> bool {
    !notifications
        .iter()
        .any(|n| n.channel == channel && n.phase == Phase::Firing && n.state == NotificationState::Pending)
}

fn intended(key: &Key, attempt: u32, term: u64) -> Body {
    Body::NotificationIntended {
        alert: key.0,
        channel: key.1.clone(),
        phase: key.2,
        attempt,
        term,
        send_within_ms: u64::try_from(SEND_WITHIN.as_millis()).unwrap_or(u64::MAX),
    }
}

fn failed(reason: &str) -> SendOutcome {
    SendOutcome::Failed { reason: reason.to_owned(), retry: true, after_ms: None }
}

/// The wait after the `nth` attempt, counted from 1.
fn backoff(nth: u32, dice: u64) -> Duration {
    let factor = 2u32.checked_pow(nth.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = BACKOFF_MIN.saturating_mul(factor).min(BACKOFF_MAX);
    let percent = u32::try_from(dice % u64::from(JITTER_PERCENT)).unwrap_or(0);
    full - full * percent / 100
}
