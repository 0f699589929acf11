//! Alerting: from failures to what people are told. Rules raise and end alerts in the ledger; the pipeline decides who
//! is told what and when, as messages; the outbox sees that each is sent once, whichever leader is cut off in the middle.
//!
//! Made anew by every leader, with its term. Durations that are waited for start afresh with it; times of day are the
//! ledger's.
//!
//! Not here: attempts and what was told (the ledger's), talking to providers, secrets, the wording of a channel (the
//! agent's).

mod calendar;
mod channels;
mod condition;
mod config;
mod expiry;
mod facts;
mod groups;
mod hours;
mod keep;
mod matching;
mod mutes;
mod notice;
pub mod outbox;
mod pipeline;
mod room;
pub mod rules;
mod standing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_agents;
#[cfg(test)]
mod tests_channels;
#[cfg(test)]
mod tests_crashes;
#[cfg(test)]
mod tests_mutes;
#[cfg(test)]
mod tests_nodes;
#[cfg(test)]
mod tests_pipeline;
#[cfg(test)]
mod tests_posted;
#[cfg(test)]
mod tests_rules;
#[cfg(test)]
mod tests_sending;
#[cfg(test)]
mod tests_troubles;
mod text;
mod text_nodes;
mod upkeep;
pub mod user_rules;
mod watchdog;

pub use condition::{Condition, VARIABLES};
pub use facts::{NODE_VARIABLES, WORKLOAD_VARIABLES};
pub use hours::{Hours, is_time_zone};
pub use matching::{BadExpression, Matching};
pub use notice::{NOTICE_VERSION, Notice, message_id};
pub use upkeep::{DISK_FILLING, DISK_HAS_ROOM};
pub use user_rules::{RULE_LABELS_MAX, check_rule, check_rule_name};

use crate::{
    ids::NodeId,
    ledger::{Alert, Body, Ledger, SecretRef, SendOutcome},
    recovery::View,
    time::{Instant, WallTime},
};
use calendar::Calendar;
use core::time::Duration;
use expiry::Expiry;
use keep::Keep;
use outbox::Outbox;
use pipeline::Pipeline;
use rules::Rules;
use std::collections::{BTreeMap, BTreeSet};
use user_rules::UserRules;
use watchdog::Watchdog;

/// A proposal that the ledger doesn't show after this long is made again. The ledger refuses the second of two.
pub const PROPOSE_AGAIN: Duration = Duration::from_secs(1);

/// The leader's machine.
#[derive(Debug)]
pub struct Alerting {
    calendar: Calendar,
    rules: Rules,
    user_rules: UserRules,
    expiry: Expiry,
    pipeline: Pipeline,
    outbox: Outbox,
    keep: Keep,
    watchdog: Watchdog,
    /// Raising and ending under way, by deduplication key.
    proposed: BTreeMap<(String, Change), Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Raise,
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The ledger changed, or who is heard, or time went by: some 20 to 50 ms while it is busy, else up to half a second.
    Tick,
    /// The voter configuration in force: one set, or both while it is being changed.
    Voters(Vec<BTreeSet<NodeId>>),
    /// The answer to one `Effect::Send`; each must get exactly one. `dice`: any random number, spreads retries.
    SendFinished { message: u64, attempt: u32, outcome: SendOutcome, dice: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To be committed as of this time, or of the proposer's own if that is later: then what the ledger says of when it
    /// was told agrees with what this machine took for now.
    Propose(Body, WallTime),
    /// Confirm the leadership, then tell the provider; give up at `deadline`, and answer with `SendFinished` either way.
    Send { message: u64, attempt: u32, deadline: Instant },
    /// Post to this Alertmanager once more that these fire. Nothing is to be answered or repeated.
    Keep { channel: String, alerts: Vec<u64> },
    /// Confirm the leadership, then ask for this URL, so that who watches over the alerting hears that it lives. Nothing is
    /// to be answered or repeated.
    SignOfLife(SecretRef),
    /// Something of the configuration can't be used: for the log.
    Warn(String),
}

impl Alerting {
    /// For the leader `me` of `term`, from the moment it became that.
    #[must_use]
    pub fn new(me: NodeId, term: u64, now: Instant) -> Self {
        Self {
            calendar: Calendar::default(),
            rules: Rules::default(),
            user_rules: UserRules::default(),
            expiry: Expiry::new(now),
            pipeline: Pipeline::default(),
            outbox: Outbox::new(me, term, now),
            keep: Keep::new(now),
            watchdog: Watchdog::default(),
            proposed: BTreeMap::new(),
        }
    }

    /// The only way in. `now` is the leader's own monotonic clock and may not run backwards.
    pub fn step(&mut self, now: Instant, view: &View<'_>, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Tick => {}
            Input::Voters(configurations) => self.rules.voters_are(configurations),
            Input::SendFinished { message, attempt, outcome, dice } => {
                self.outbox.finished(now, view.ledger, message, attempt, outcome, dice);
            }
        }
        let wall = self.calendar.at(now, view.ledger.clock);
        self.alerts(now, wall, view, effects);
        self.pipeline.step(now, wall, view.ledger, effects);
        self.outbox.step(now, wall, view.ledger, effects);
        self.keep.step(now, view.ledger, effects);
        self.watchdog.step(now, view.ledger, effects);
    }

    /// Whether it is in the middle of something, and every tick counts. Users' rules, which are asked once a second, may be
    /// as late as the next look.
    #[must_use]
    pub fn is_busy(&self, ledger: &Ledger) -> bool {
        !self.proposed.is_empty()
            || !ledger.messages.is_empty()
            || self.rules.waits()
            || self.user_rules.are_asked()
            || self.pipeline.waits(ledger)
    }

    fn alerts(&mut self, now: Instant, wall: WallTime, view: &View<'_>, effects: &mut Vec<Effect>) {
        self.proposed.retain(|_, at| now.since(*at) < PROPOSE_AGAIN);
        let mut wanted = BTreeSet::new();
        let firing: BTreeMap<&str, &Alert> = view
            .ledger
            .alerts
            .values()
            .filter(|alert| alert.ends_at.is_none())
            .map(|alert| (alert.dedup_key.as_str(), alert))
            .collect();
        let mut complaints = Vec::new();
        let mut changes = self.rules.step(now, view, &firing);
        changes.extend(self.user_rules.step(now, view, &firing, &mut complaints));
        effects.extend(complaints.into_iter().map(Effect::Warn));
        changes.extend(self.expiry.step(now, wall, view.ledger));
        for (key, body) in changes {
            let change = if matches!(body, Body::AlertEnded { .. }) { Change::End } else { Change::Raise };
            let key = (key, change);
            if !self.proposed.contains_key(&key) {
                self.proposed.insert(key.clone(), now);
                effects.push(Effect::Propose(body, wall));
            }
            wanted.insert(key);
        }
        self.proposed.retain(|key, _| wanted.contains(key));
    }
}
