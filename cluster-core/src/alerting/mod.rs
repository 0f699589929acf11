//! Alerting: from failures to notifications. Rules raise and end alerts in the ledger; the outbox sees that each is
//! told once on each of its channels, whichever leader is cut off in the middle.
//!
//! Made anew by every leader, with its term. Durations that a rule waits for start afresh with it.
//!
//! Not here: routes and attempts (the ledger's), talking to providers, secrets, the wording of a channel (the agent's).

mod notice;
pub mod outbox;
pub mod rules;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_agents;
mod text;

pub use notice::{NOTICE_VERSION, Notice};

use crate::{
    ids::NodeId,
    ledger::{Body, Phase, SendOutcome},
    recovery::View,
    time::Instant,
};
use core::time::Duration;
use outbox::Outbox;
use rules::Rules;
use std::collections::{BTreeMap, BTreeSet};

/// A proposal that the ledger doesn't show after this long is made again. The ledger refuses the second of two.
pub const PROPOSE_AGAIN: Duration = Duration::from_secs(1);

/// The leader's machine.
#[derive(Debug)]
pub struct Alerting {
    rules: Rules,
    outbox: Outbox,
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
    /// The ledger changed, or some 20 to 50 ms went by.
    Tick,
    /// The voter configuration in force: one set, or both while it is being changed.
    Voters(Vec<BTreeSet<NodeId>>),
    /// The answer to one `Effect::Send`; each must get exactly one. `dice`: any random number, spreads retries.
    SendFinished { alert: u64, channel: String, phase: Phase, attempt: u32, outcome: SendOutcome, dice: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Propose(Body),
    /// Confirm the leadership, then tell the provider; give up at `deadline`, and answer with `SendFinished` either way.
    Send {
        alert: u64,
        channel: String,
        phase: Phase,
        attempt: u32,
        deadline: Instant,
    },
}

impl Alerting {
    /// For the leader `me` of `term`, from the moment it became that.
    #[must_use]
    pub fn new(me: NodeId, term: u64, now: Instant) -> Self {
        Self { rules: Rules::default(), outbox: Outbox::new(me, term, now), proposed: BTreeMap::new() }
    }

    /// The only way in. `now` is the leader's own monotonic clock and may not run backwards.
    pub fn step(&mut self, now: Instant, view: &View<'_>, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Tick => {}
            Input::Voters(configurations) => self.rules.voters_are(configurations),
            Input::SendFinished { alert, channel, phase, attempt, outcome, dice } => {
                self.outbox.finished(now, (alert, channel, phase), attempt, outcome, dice);
            }
        }
        self.alerts(now, view, effects);
        self.outbox.step(now, view.ledger, effects);
    }

    fn alerts(&mut self, now: Instant, view: &View<'_>, effects: &mut Vec<Effect>) {
        self.proposed.retain(|_, at| now.since(*at) < PROPOSE_AGAIN);
        let mut wanted = BTreeSet::new();
        let changes = self.rules.step(now, view);
        for (key, body) in changes {
            let change = if matches!(body, Body::AlertEnded { .. }) { Change::End } else { Change::Raise };
            let key = (key, change);
            if !self.proposed.contains_key(&key) {
                self.proposed.insert(key.clone(), now);
                effects.push(Effect::Propose(body));
            }
            wanted.insert(key);
        }
        self.proposed.retain(|key, _| wanted.contains(key));
    }
}
