//! Promises: which revocations still wait for voters' words, and whom to ask (again).
//!
//! Not here: what a voter promises and when it may, and from when on a majority of promises is proof (`lease`).

use super::Effect;
use crate::{
    ids::{LeaseEpoch, NodeId},
    lease::{Collector, Groups},
    ledger::{Ledger, Promise},
    time::Instant,
};
use core::time::Duration;
use std::collections::BTreeMap;

/// Voters that didn't answer are asked again this often.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub struct Promises {
    voters: Groups,
    open: BTreeMap<LeaseEpoch, Collection>,
}

/// The promises for one epoch.
#[derive(Debug)]
struct Collection {
    asked: Option<Instant>,
    collector: Collector,
}

impl Promises {
    /// Another configuration has other majorities: what was collected under the old one proves nothing.
    pub fn voters_are(&mut self, configurations: Groups) {
        if self.voters != configurations {
            self.voters = configurations;
            self.open.clear();
        }
    }

    /// A word that nobody waits for is dropped.
    pub fn answered(&mut self, now: Instant, voter: NodeId, epoch: LeaseEpoch, remaining: Duration) {
        if let Some(collection) = self.open.get_mut(&epoch) {
            collection.collector.step(now, voter, remaining);
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
        for (epoch, Collection { asked, collector }) in &mut self.open {
            if collector.safe_at().is_some_and(|at| at <= now) {
                safe.push((*epoch, collector.promises()));
                continue;
            }
            let voters = collector.pending();
            if !voters.is_empty() && asked.is_none_or(|at| now.since(at) >= ASK_AGAIN) {
                *asked = Some(now);
                effects.push(Effect::AskPromises { epoch: *epoch, at: collector.revoked_at(), voters });
            }
        }
        safe
    }

    pub fn are_wanted(&self) -> bool {
        !self.open.is_empty()
    }

    pub fn safe_at(&self, epoch: LeaseEpoch) -> Option<Instant> {
        self.open.get(&epoch)?.collector.safe_at()
    }

    /// One collection for each revocation that isn't safe yet; no more than the ledger has.
    fn follow(&mut self, ledger: &Ledger) {
        let pending = |epoch: &LeaseEpoch| {
            ledger.revocations.get(epoch).filter(|revocation| revocation.safe_at.is_none())
        };
        self.open.retain(|epoch, c| pending(epoch).is_some_and(|r| r.at == c.collector.revoked_at()));
        for (epoch, revocation) in &ledger.revocations {
            if revocation.safe_at.is_none() {
                let voters = &self.voters;
                self.open.entry(*epoch).or_insert_with(|| Collection {
                    asked: None,
                    collector: Collector::new(revocation.at, voters.clone()),
                });
            }
        }
    }
}
