//! Lost: which nodes live, hold work, and yet have no lease: voters say that no majority acknowledged them.
//!
//! Each voter reports how long ago it last acknowledged each epoch. A report speaks of the moment it was made; so a
//! voter counts as a witness against an epoch only if its newest report already said "longer than a lease", and only
//! while that report is fresh: what was not heard is no evidence. A new leader, and a new placement, give everybody a
//! lease and a margin before silence means anything.
//!
//! Revoking wrongly is safe, merely a pity; so the doubt is on the node's side. Not here: proposing the revocation,
//! and nodes that gossip doesn't hear either; those are the cut's, unless it says nothing for half a lease more.

use super::{Groups, quorum::is_majority};
use crate::{
    ids::{LeaseEpoch, NodeId},
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub enum Observed {
    /// A voter's `ack_ages`, as they were when it said so. The leader feeds its own book's, too.
    Ages {
        voter: NodeId,
        ages: Vec<(LeaseEpoch, Duration)>,
    },
    /// The living epochs that hold instances now. Call it whenever that changed; repeating it does no harm.
    Holding {
        epochs: BTreeMap<LeaseEpoch, NodeId>,
    },
    Voters {
        groups: Groups,
    },
}

/// An epoch to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub node: NodeId,
    pub epoch: LeaseEpoch,
    /// The latest moment at which some voter is known to have acknowledged it, on the leader's raw clock.
    pub last_acked: Option<Instant>,
}

#[derive(Debug)]
struct Report {
    heard_at: Instant,
    ages: BTreeMap<LeaseEpoch, Duration>,
}

/// One per leader's term of office.
#[derive(Debug)]
pub struct Lost {
    lease: Duration,
    elected_at: Instant,
    groups: Groups,
    held: BTreeMap<LeaseEpoch, (NodeId, Instant)>,
    reports: BTreeMap<NodeId, Report>,
}

impl Lost {
    #[must_use]
    pub fn new(now: Instant, lease: Duration, groups: Groups) -> Self {
        Self { lease, elected_at: now, groups, held: BTreeMap::new(), reports: BTreeMap::new() }
    }

    pub fn step(&mut self, now: Instant, observed: Observed) {
        match observed {
            Observed::Ages { voter, ages } => {
                self.reports.insert(voter, Report { heard_at: now, ages: ages.into_iter().collect() });
            }
            Observed::Holding { epochs } => {
                self.held.retain(|epoch, _| epochs.contains_key(epoch));
                for (epoch, node) in epochs {
                    self.held.entry(epoch).or_insert((node, now));
                }
            }
            Observed::Voters { groups } => {
                let voters: BTreeSet<NodeId> = groups.iter().flatten().copied().collect();
                self.reports.retain(|voter, _| voters.contains(voter));
                self.groups = groups;
            }
        }
    }

    /// The epochs to end now. `unheard` are the nodes of which gossip hears nothing either.
    #[must_use]
    pub fn losses(&self, now: Instant, unheard: &BTreeSet<NodeId>) -> Vec<Loss> {
        let lost = |(epoch, (node, since)): (&LeaseEpoch, &(NodeId, Instant))| {
            let limit = if unheard.contains(node) { self.lease * 3 / 2 } else { self.lease };
            let grace_ends = self.elected_at.max(*since) + limit + self.lease / 4;
            let may_have_acked = |voter| !self.denies(now, voter, *epoch, limit, grace_ends);
            let lost = now >= grace_ends && !is_majority(&self.groups, may_have_acked);
            lost.then(|| Loss { node: *node, epoch: *epoch, last_acked: self.last_acked(*epoch) })
        };
        self.held.iter().filter_map(lost).collect()
    }

    /// Whether this voter's newest report, still fresh and made after the grace, says that it acknowledged nothing
    /// for `limit`.
    fn denies(
        &self,
        now: Instant,
        voter: NodeId,
        epoch: LeaseEpoch,
        limit: Duration,
        grace_ends: Instant,
    ) -> bool {
        let Some(report) = self.reports.get(&voter) else { return false };
        let counts = report.heard_at >= grace_ends && now.since(report.heard_at) <= self.lease;
        counts && report.ages.get(&epoch).is_none_or(|age| *age >= limit)
    }

    fn last_acked(&self, epoch: LeaseEpoch) -> Option<Instant> {
        self.reports.values().filter_map(|r| r.ages.get(&epoch).map(|age| r.heard_at - *age)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(2_000);
    const EPOCH: LeaseEpoch = LeaseEpoch(7);
    const NODE: NodeId = NodeId(9);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// A leader elected at 0, three voters, node 9 holding instances under epoch 7 since then.
    fn watched() -> Lost {
        let mut lost = Lost::new(at(0), LEASE, vec![[1, 2, 3].map(NodeId).into()]);
        lost.step(at(0), Observed::Holding { epochs: [(EPOCH, NODE)].into() });
        lost
    }

    fn report(lost: &mut Lost, now: u64, voter: u64, age: Option<u64>) {
        let ages = age.map(|age| (EPOCH, Duration::from_millis(age))).into_iter().collect();
        lost.step(at(now), Observed::Ages { voter: NodeId(voter), ages });
    }

    fn losses(lost: &Lost, now: u64) -> Vec<u64> {
        lost.losses(at(now), &BTreeSet::new()).iter().map(|l| l.epoch.0).collect()
    }

    #[test]
    fn two_of_three_voters_must_deny_it() {
        let mut lost = watched();
        report(&mut lost, 10_000, 1, Some(2_000));
        assert_eq!(losses(&lost, 10_000), []);
        report(&mut lost, 10_000, 2, Some(1_999));
        assert_eq!(losses(&lost, 10_000), []);
        report(&mut lost, 10_100, 2, Some(2_099));
        assert_eq!(losses(&lost, 10_100), [7]);
        assert_eq!(lost.losses(at(10_100), &BTreeSet::new())[0].last_acked, Some(at(8_001)));
    }

    #[test]
    fn what_was_not_heard_is_no_evidence() {
        let mut lost = watched();
        report(&mut lost, 10_000, 1, Some(1_900));
        report(&mut lost, 10_000, 2, Some(1_900));
        assert_eq!(losses(&lost, 11_000), []);
        report(&mut lost, 11_000, 1, Some(2_900));
        report(&mut lost, 11_000, 2, Some(2_900));
        assert_eq!(losses(&lost, 13_001), [], "stale");
    }

    #[test]
    fn a_new_leader_and_a_new_placement_give_grace() {
        let mut lost = watched();
        report(&mut lost, 2_499, 1, None);
        report(&mut lost, 2_499, 2, Some(60_000));
        assert_eq!(losses(&lost, 2_500), []);
        report(&mut lost, 2_500, 1, None);
        report(&mut lost, 2_500, 2, Some(60_000));
        assert_eq!(losses(&lost, 2_500), [7]);
        lost.step(at(3_000), Observed::Holding { epochs: BTreeMap::new() });
        assert_eq!(losses(&lost, 3_000), []);
        lost.step(at(3_000), Observed::Holding { epochs: [(EPOCH, NODE)].into() });
        assert_eq!(losses(&lost, 3_001), []);
    }

    #[test]
    fn a_node_that_nobody_hears_is_the_cuts_for_half_a_lease_more() {
        let mut lost = watched();
        for voter in [1, 2] {
            report(&mut lost, 10_000, voter, Some(2_500));
        }
        assert!(lost.losses(at(10_000), &[NODE].into()).is_empty());
        for voter in [1, 2] {
            report(&mut lost, 10_500, voter, Some(3_000));
        }
        assert_eq!(lost.losses(at(10_500), &[NODE].into()).len(), 1);
    }

    #[test]
    fn voters_that_left_are_not_asked() {
        let mut lost = watched();
        report(&mut lost, 10_000, 1, Some(3_000));
        report(&mut lost, 10_000, 2, Some(3_000));
        lost.step(at(10_000), Observed::Voters { groups: vec![[2, 3, 4].map(NodeId).into()] });
        assert_eq!(losses(&lost, 10_000), []);
    }
}
