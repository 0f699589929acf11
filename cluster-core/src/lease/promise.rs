//! Promises: how a leader learns when nothing can run any more under an epoch that was revoked.
//!
//! Each voter whose log holds the revocation says how long its last acknowledgement still counts; from then on it
//! acknowledges no more. The holder needs a majority for each deadline, and any two majorities share a voter, so the
//! latest answer of any one majority is late enough: the leader takes the majority whose latest answer is earliest.
//!
//! Not here: asking, asking again, or telling the ledger. A new leader collects afresh.

use super::{Groups, on_any_clock, quorum};
use crate::{
    ids::{LogId, NodeId},
    ledger,
    time::Instant,
};
use core::{cmp::Reverse, time::Duration};
use std::collections::BTreeMap;

/// The answers about one revoked epoch.
#[derive(Clone, Debug)]
pub struct Collector {
    at: LogId,
    groups: Groups,
    /// Until when each voter's acknowledgements count, on the leader's raw clock, and what it said.
    answers: BTreeMap<NodeId, (Instant, Duration)>,
}

impl Collector {
    /// `at` is the committed entry that revoked the epoch; promises must name it. `groups` are the voters of the newest
    /// configuration.
    #[must_use]
    pub fn new(at: LogId, groups: Groups) -> Self {
        Self { at, groups, answers: BTreeMap::new() }
    }

    /// A voter promised; `now` is the leader's raw clock, read after the answer left the wire. Of several answers of
    /// one voter the earliest counts: each was true when it was given.
    pub fn step(&mut self, now: Instant, voter: NodeId, remaining: Duration) {
        if !self.groups.iter().any(|g| g.contains(&voter)) {
            return;
        }
        let answer = (now + on_any_clock(remaining), remaining);
        let kept = self.answers.entry(voter).or_insert(answer);
        *kept = answer.min(*kept);
    }

    #[must_use]
    pub fn revoked_at(&self) -> LogId {
        self.at
    }

    /// The voters that haven't promised yet: ask them (again).
    #[must_use]
    pub fn pending(&self) -> Vec<NodeId> {
        let mut voters: Vec<NodeId> = self.groups.iter().flatten().copied().collect();
        voters.sort_unstable();
        voters.dedup();
        voters.retain(|v| !self.answers.contains_key(v));
        voters
    }

    /// From when on nothing runs under the epoch, on the leader's raw clock; `None` until a majority promised.
    #[must_use]
    pub fn safe_at(&self) -> Option<Instant> {
        quorum::reached_by_majority(&self.groups, |v| self.answers.get(&v).map(|(end, _)| Reverse(*end)))
            .map(|Reverse(end)| end)
    }

    /// The promises that `safe_at` rests on, for the record.
    #[must_use]
    pub fn promises(&self) -> Vec<ledger::Promise> {
        let Some(safe_at) = self.safe_at() else { return Vec::new() };
        let counted = self.answers.iter().filter(|(_, (end, _))| *end <= safe_at);
        counted
            .map(|(voter, (_, remaining))| ledger::Promise {
                voter: *voter,
                remaining_ms: u64::try_from(remaining.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn group(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    fn collector(groups: Groups) -> Collector {
        Collector::new(LogId { term: 2, index: 9 }, groups)
    }

    #[test]
    fn the_earliest_majority_decides_and_the_clock_bound_is_added() {
        let mut c = collector(vec![group(1..=3)]);
        c.step(Instant::from_millis(1_000), NodeId(1), ms(2_000));
        assert_eq!(c.safe_at(), None);
        assert_eq!(c.pending(), vec![NodeId(2), NodeId(3)]);
        c.step(Instant::from_millis(1_100), NodeId(2), ms(500));
        assert_eq!(c.safe_at(), Some(Instant::from_millis(3_002) + Duration::from_nanos(1)));
        c.step(Instant::from_millis(1_200), NodeId(3), ms(1_000));
        assert_eq!(c.safe_at(), Some(Instant::from_millis(2_201) + Duration::from_nanos(1)));
        assert_eq!(c.promises().iter().map(|p| p.voter.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn strangers_and_repetitions_change_nothing() {
        let mut c = collector(vec![group(1..=3)]);
        c.step(Instant::from_millis(0), NodeId(1), ms(10));
        c.step(Instant::from_millis(50), NodeId(1), ms(0));
        c.step(Instant::from_millis(0), NodeId(9), ms(0));
        assert_eq!(c.safe_at(), None);
        c.step(Instant::from_millis(1), NodeId(2), ms(0));
        assert_eq!(
            c.safe_at(),
            Some(Instant::from_millis(0) + on_any_clock(ms(10))),
            "the earlier word of 1"
        );
    }

    proptest! {
        /// The dumb twin tries every set of voters.
        #[test]
        fn agrees_with_its_dumb_twin(
            answers in prop::collection::vec((0u64..6, 0u64..3_000, 0u64..3_000), 0..12),
            joint in any::<bool>(),
        ) {
            let groups = if joint { vec![group(0..3), group(2..5)] } else { vec![group(0..5)] };
            let mut c = collector(groups.clone());
            let mut ends: BTreeMap<u64, Instant> = BTreeMap::new();
            for (voter, now, remaining) in answers {
                let now = Instant::from_millis(now);
                c.step(now, NodeId(voter), ms(remaining));
                let end = now + on_any_clock(ms(remaining));
                ends.entry(voter).and_modify(|e| *e = end.min(*e)).or_insert(end);
            }
            let latest_of = |set: u64| -> Option<Instant> {
                let members: Vec<u64> = (0..6).filter(|v| set >> v & 1 == 1).collect();
                let enough = groups.iter().all(|g| {
                    members.iter().filter(|v| g.contains(&NodeId(**v))).count() * 2 > g.len()
                });
                let each: Option<Vec<Instant>> = members.iter().map(|v| ends.get(v).copied()).collect();
                if enough { each?.into_iter().max() } else { None }
            };
            prop_assert_eq!(c.safe_at(), (0..64).filter_map(latest_of).min());
        }
    }
}
