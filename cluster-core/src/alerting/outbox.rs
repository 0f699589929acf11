//! The outbox: each message sent once, and twice at most for each sender that was cut off in the middle.
//!
//! An attempt's intent is committed before anything is sent. Its sender gives up a fixed time after it *proposed* the
//! intent; a successor that finds an intent without a result waits as long from when it became leader, by its own
//! clock, and only then tries again: so two never send at once, and nothing is dropped.
//!
//! A channel is given no more than its limits allow, nothing while its provider wants silence, and after some failures
//! in a row one message at a time, with longer and longer waits. Other channels don't notice.
//!
//! Not here: which messages there are (`pipeline`), and how many attempts there may be (ledger).

use super::{Effect, PROPOSE_AGAIN, room};
use crate::{
    ids::NodeId,
    ledger::{Body, Ledger, Message, Pace, SendOutcome},
    limits::{NOTIFICATION_ATTEMPTS_MAX, QUIET_MAX_MS, SEND_WITHIN_MAX_MS},
    time::{Instant, WallTime},
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A sender gives up this long after it proposed the intent, or after its channel's time-out where that is longer.
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

#[derive(Debug)]
pub struct Outbox {
    me: NodeId,
    term: u64,
    leader_since: Instant,
    /// Attempts of this leader by message, at most `MAX_IN_FLIGHT` a channel.
    flights: BTreeMap<u64, Flight>,
    /// When what failed is tried again; only for messages that the ledger still has.
    retry_at: BTreeMap<u64, Instant>,
    /// By channel: when one that keeps failing is tried next, and until when one wants silence.
    try_at: BTreeMap<String, Instant>,
    quiet_until: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Flight {
    channel: String,
    attempt: u32,
    /// When its intent was proposed first: what its deadline counts from, however late it is committed.
    began: Instant,
    within: Duration,
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
        Self {
            me,
            term,
            leader_since: now,
            flights: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            try_at: BTreeMap::new(),
            quiet_until: BTreeMap::new(),
        }
    }

    /// An answer that nobody waits for (any more) changes nothing.
    pub fn finished(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        message: u64,
        attempt: u32,
        outcome: SendOutcome,
        dice: u64,
    ) {
        let flight = self.flights.get_mut(&message);
        let Some(flight) = flight.filter(|f| f.attempt == attempt && matches!(f.leg, Leg::Sending)) else {
            return;
        };
        let channel = flight.channel.clone();
        if let SendOutcome::Failed { after_ms, .. } = &outcome {
            let before = ledger.paces.get(&channel).map_or(0, |pace| pace.failed_in_a_row);
            self.try_at.insert(channel.clone(), now + backoff(before.saturating_add(1), dice));
            if let Some(ms) = after_ms {
                self.quiet_until.insert(channel, now + Duration::from_millis((*ms).min(QUIET_MAX_MS)));
            }
        }
        flight.leg = Leg::Finished(outcome, None);
        self.retry_at.insert(message, now + backoff(attempt, dice));
    }

    pub fn step(&mut self, now: Instant, wall: WallTime, ledger: &Ledger, effects: &mut Vec<Effect>) {
        for (id, message) in &ledger.messages {
            self.settle(*id, message);
            self.follow(now, wall, *id, message, effects);
        }
        self.flights.retain(|id, _| ledger.messages.contains_key(id));
        self.retry_at.retain(|id, _| ledger.messages.contains_key(id));
        self.try_at.retain(|channel, _| ledger.paces.contains_key(channel));
        self.quiet_until.retain(|_, until| now < *until);
        for (channel, mut waiting) in self.waiting(ledger) {
            let mut free = self.free(now, wall, ledger, channel);
            let within = send_within(ledger, channel);
            // Those that were tried less come first, so that one that can't be sent doesn't hold up the rest.
            waiting.sort_by_key(|(id, message)| (message.attempts, *id));
            for (id, message) in waiting {
                if free == 0 {
                    break;
                }
                if self.begin(now, wall, id, message, within, effects) {
                    free -= 1;
                }
            }
        }
    }

    /// Messages that nobody is sending and whose turn it is, by channel. Of one incident the older goes first.
    fn waiting<'l>(&self, ledger: &'l Ledger) -> BTreeMap<&'l str, Vec<(u64, &'l Message)>> {
        let mut waiting: BTreeMap<&str, Vec<(u64, &Message)>> = BTreeMap::new();
        let mut incidents = BTreeSet::new();
        for (id, message) in &ledger.messages {
            let first = incidents.insert((message.channel.as_str(), message.incident));
            if first && !self.flights.contains_key(id) {
                waiting.entry(message.channel.as_str()).or_default().push((*id, message));
            }
        }
        waiting
    }

    /// How many attempts may begin on this channel.
    fn free(&self, now: Instant, wall: WallTime, ledger: &Ledger, channel: &str) -> usize {
        let pace = ledger.paces.get(channel);
        let wants_silence = pace.and_then(|pace| pace.quiet_until).is_some_and(|until| wall < until);
        if wants_silence || self.quiet_until.contains_key(channel) {
            return 0;
        }
        let flies = |flight: &&Flight| flight.channel == channel;
        let flights = self.flights.values().filter(flies).count();
        // Their attempts aren't in the ledger yet.
        let uncounted =
            self.flights.values().filter(flies).filter(|f| matches!(f.leg, Leg::Intended(_))).count();
        let room = room::room(ledger, channel, wall).saturating_sub(uncounted);
        let failing = pace.is_some_and(Pace::keeps_failing);
        let most = if !failing {
            MAX_IN_FLIGHT
        } else if self.try_at.get(channel).is_some_and(|at| now < *at) {
            0
        } else {
            1
        };
        most.saturating_sub(flights).min(room)
    }

    /// Drops a flight that the ledger shows to be over, or to be another's: an older leader's intent may be committed
    /// just before ours, which is then refused.
    fn settle(&mut self, id: u64, message: &Message) {
        let Some(flight) = self.flights.get(&id) else { return };
        let shown = message.intent.filter(|intent| intent.attempt == flight.attempt);
        let over = match flight.leg {
            Leg::Intended(_) => {
                message.attempts >= flight.attempt && shown.is_none_or(|intent| intent.term != self.term)
            }
            Leg::Sending | Leg::Finished(..) => shown.is_none(),
        };
        if over {
            self.flights.remove(&id);
        }
    }

    /// Takes an attempt of this leader one leg further.
    fn follow(
        &mut self,
        now: Instant,
        wall: WallTime,
        id: u64,
        message: &Message,
        effects: &mut Vec<Effect>,
    ) {
        let (me, term) = (self.me, self.term);
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let (attempt, deadline) = (flight.attempt, flight.began + flight.within);
        let committed = message.intent.is_some_and(|intent| intent.term == term && intent.attempt == attempt);
        match &mut flight.leg {
            Leg::Intended(_) if committed && now < deadline => {
                flight.leg = Leg::Sending;
                effects.push(Effect::Send { message: id, attempt, deadline });
            }
            Leg::Intended(_) if committed => {
                flight.leg = Leg::Finished(failed("its intent was committed too late to be sent"), None);
            }
            Leg::Intended(last) if now.since(*last) >= PROPOSE_AGAIN => {
                *last = now;
                effects.push(Effect::Propose(intended(id, attempt, term, flight.within), wall));
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
            let outcome = outcome.clone();
            let done = Body::MessageDone { message: id, attempt, by: me, outcome };
            effects.push(Effect::Propose(done, wall));
            self.retry_at.entry(id).or_insert(now + backoff(attempt, 0));
        }
    }

    /// Starts the next attempt, if it may start now.
    fn begin(
        &mut self,
        now: Instant,
        wall: WallTime,
        id: u64,
        message: &Message,
        within: Duration,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let channel = message.channel.clone();
        let attempt = match message.intent {
            // Another leader's: it may be writing to the provider at this moment.
            Some(intent) => {
                let wait = Duration::from_millis(intent.send_within_ms.min(SEND_WITHIN_MAX_MS));
                if now.since(self.leader_since) < wait {
                    return false;
                }
                if intent.attempt >= NOTIFICATION_ATTEMPTS_MAX {
                    // No attempt is left, so what became of this one will never be known better.
                    let outcome = failed("its sender was cut off, and no attempt is left");
                    let leg = Leg::Finished(outcome, None);
                    let attempt = intent.attempt;
                    self.flights.insert(id, Flight { channel, attempt, began: now, within, leg });
                    return true;
                }
                intent.attempt + 1
            }
            None if message.attempts == 0 => 1,
            None => {
                let due = *self.retry_at.entry(id).or_insert(now + backoff(message.attempts, 0));
                if now < due {
                    return false;
                }
                message.attempts + 1
            }
        };
        self.retry_at.remove(&id);
        effects.push(Effect::Propose(intended(id, attempt, self.term, within), wall));
        self.flights.insert(id, Flight { channel, attempt, began: now, within, leg: Leg::Intended(now) });
        true
    }
}

/// How long an attempt on the channel may take.
fn send_within(ledger: &Ledger, channel: &str) -> Duration {
    let timeout = ledger.alerting.channels.get(channel).map_or(0, |channel| channel.timeout_ms);
    Duration::from_millis(timeout.min(SEND_WITHIN_MAX_MS)).max(SEND_WITHIN)
}

fn intended(message: u64, attempt: u32, term: u64, within: Duration) -> Body {
    let send_within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    Body::MessageIntended { message, attempt, term, send_within_ms }
}

fn failed(reason: &str) -> SendOutcome {
    SendOutcome::Failed { reason: reason.to_owned(), retry: true, after_ms: None, heard: false }
}

/// The wait after the `nth` attempt, counted from 1.
fn backoff(nth: u32, dice: u64) -> Duration {
    let factor = 2u32.checked_pow(nth.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = BACKOFF_MIN.saturating_mul(factor).min(BACKOFF_MAX);
    let percent = u32::try_from(dice % u64::from(JITTER_PERCENT)).unwrap_or(0);
    full - full * percent / 100
}
