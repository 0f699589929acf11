//! Promises: from voters' words to the moment from which nothing runs under an ended lease epoch.
//!
//! A deadline needs a majority's acknowledgements, so any majority of promises contains one voter whose word covers
//! it. The majority with the earliest end is as good a proof as any other, and the soonest.
//!
//! Not here: what a voter promises, and when it may (`lease`).

use super::Effect;
use crate::{
    ids::{LeaseEpoch, LogId, NodeId},
    ledger::{Ledger, Promise},
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Voters that didn't answer are asked again this often.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Two clocks may run apart by one in this many: 0.1 %.
const CLOCK_RATE_BOUND: u32 = 1_000;

#[derive(Debug, Default)]
pub struct Promises {
    /// Each set must have its own majority.
    voters: Vec<BTreeSet<NodeId>>,
    open: BTreeMap<LeaseEpoch, Collection>,
}

/// The promises for one epoch.
#[derive(Debug)]
struct Collection {
    /// The entry that revoked it.
    at: LogId,
    asked: Option<Instant>,
    answers: BTreeMap<NodeId, Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    /// On the leader's clock, the rate bound added.
    runs_out: Instant,
    remaining: Duration,
}

impl Promises {
    /// Another configuration has other majorities: what was collected under the old one proves nothing.
    pub fn voters_are(&mut self, configurations: Vec<BTreeSet<NodeId>>) {
        if self.voters != configurations {
            self.voters = configurations;
            self.open.clear();
        }
    }

    /// A word that nobody waits for is dropped. Of two words by one voter the earlier end holds: both are true.
    pub fn answered(&mut self, now: Instant, voter: NodeId, epoch: LeaseEpoch, remaining: Duration) {
        let Some(collection) = self.open.get_mut(&epoch) else { return };
        let answer = Answer { runs_out: now + remaining + drift(remaining), remaining };
        let kept = collection.answers.entry(voter).or_insert(answer);
        if answer.runs_out < kept.runs_out {
            *kept = answer;
        }
    }

    /// Asks for what is missing; gives the epochs that are safe now, each with the promises that prove it.
    pub fn step(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        effects: &mut Vec<Effect>,
    ) -> Vec<(LeaseEpoch, Vec<Promise>)> {
        self.follow(ledger);
        let mut safe = Vec::new();
        let everyone: BTreeSet<NodeId> = self.voters.iter().flatten().copied().collect();
        for (epoch, collection) in &mut self.open {
            if let Some((at, proof)) = collection.proof(&self.voters)
                && now >= at
            {
                safe.push((*epoch, proof));
                continue;
            }
            let voters: Vec<NodeId> =
                everyone.iter().copied().filter(|v| !collection.answers.contains_key(v)).collect();
            if !voters.is_empty() && collection.asked.is_none_or(|at| now.since(at) >= ASK_AGAIN) {
                collection.asked = Some(now);
                effects.push(Effect::AskPromises { epoch: *epoch, at: collection.at, voters });
            }
        }
        safe
    }

    pub fn safe_at(&self, epoch: LeaseEpoch) -> Option<Instant> {
        self.open.get(&epoch)?.proof(&self.voters).map(|(at, _)| at)
    }

    /// One collection for each revocation that isn't safe yet; no more than the ledger has.
    fn follow(&mut self, ledger: &Ledger) {
        let pending = |epoch: &LeaseEpoch| {
            ledger.revocations.get(epoch).filter(|revocation| revocation.safe_at.is_none())
        };
        self.open.retain(|epoch, collection| pending(epoch).is_some_and(|r| r.at == collection.at));
        for (epoch, revocation) in &ledger.revocations {
            if revocation.safe_at.is_none() {
                self.open.entry(*epoch).or_insert_with(|| Collection {
                    at: revocation.at,
                    asked: None,
                    answers: BTreeMap::new(),
                });
            }
        }
    }
}

impl Collection {
    /// When the earliest majority of every configuration runs out, and its promises; `None` while one is missing.
    fn proof(&self, configurations: &[BTreeSet<NodeId>]) -> Option<(Instant, Vec<Promise>)> {
        let mut safe_at = None;
        let mut proof = BTreeMap::new();
        for voters in configurations {
            let mut answers: Vec<(Instant, NodeId, Duration)> = voters
                .iter()
                .filter_map(|voter| self.answers.get(voter).map(|a| (a.runs_out, *voter, a.remaining)))
                .collect();
            answers.sort();
            let majority = answers.get(..=voters.len() / 2)?;
            safe_at = safe_at.max(majority.last().map(|answer| answer.0));
            proof.extend(majority.iter().map(|(_, voter, remaining)| (*voter, *remaining)));
        }
        let promise = |(voter, remaining)| Promise { voter, remaining_ms: whole_ms(remaining) };
        safe_at.map(|at| (at, proof.into_iter().map(promise).collect()))
    }
}

/// By how much the voter's clock may be slower than ours over `d`, rounded up.
fn drift(d: Duration) -> Duration {
    d / CLOCK_RATE_BOUND + Duration::from_nanos(1)
}

fn whole_ms(d: Duration) -> u64 {
    u64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
