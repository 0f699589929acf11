//! Overlay: who watches whom, the same at every agent that has the same view.
//!
//! Up to eleven living members everyone watches everyone. Beyond that they stand on five rings, each in a pseudo-random
//! order of its own, and neighbours on a ring watch each other: ten watchers a node, whatever the size, and together an
//! expander, so that any set of nodes is watched well from outside it (Rapid, Suresh et al., USENIX ATC 2018, section 4.1).
//! Edges go both ways: who watches is watched by the same.
//!
//! Not here: who dials (`Membership`), and members that no view has yet.

use crate::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Half of the watchers of a node in a large cluster.
pub const RINGS: usize = 5;
/// Up to so many living members everyone watches everyone.
pub const ALL_TO_ALL_MAX: usize = 2 * RINGS + 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// In ascending order; each living member of the view has an entry.
    watchers: BTreeMap<NodeId, Vec<NodeId>>,
}

impl Overlay {
    /// Of the view's living members, in any order.
    #[must_use]
    pub fn of(living: &BTreeSet<NodeId>) -> Self {
        if living.len() <= ALL_TO_ALL_MAX {
            let others = |me: NodeId| living.iter().copied().filter(|n| *n != me).collect();
            return Self { watchers: living.iter().map(|&me| (me, others(me))).collect() };
        }
        let mut watchers: BTreeMap<NodeId, Vec<NodeId>> =
            living.iter().map(|&n| (n, Vec::with_capacity(2 * RINGS))).collect();
        for ring in 0..RINGS as u64 {
            let mut order: Vec<(u64, NodeId)> = living.iter().map(|&n| (place(ring, n), n)).collect();
            order.sort_unstable();
            for (i, &(_, node)) in order.iter().enumerate() {
                let (_, next) = order[(i + 1) % order.len()];
                watchers.get_mut(&node).expect("it lives").push(next);
                watchers.get_mut(&next).expect("it lives").push(node);
            }
        }
        for list in watchers.values_mut() {
            list.sort_unstable();
            list.dedup();
        }
        Self { watchers }
    }

    /// Who watches the node, and whom it watches: distinct, ascending, without itself; nobody if it isn't in the view.
    #[must_use]
    pub fn watchers(&self, node: NodeId) -> &[NodeId] {
        self.watchers.get(&node).map_or(&[], Vec::as_slice)
    }
}

/// Where a node stands on a ring: SplitMix64's finaliser over both.
fn place(ring: u64, node: NodeId) -> u64 {
    let mut z = node.0.wrapping_add((ring + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn living(count: u64) -> BTreeSet<NodeId> {
        // Ids that follow each other, as no cluster has them: the worst that the hash may get.
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn few_watch_each_other_and_many_have_about_ten_watchers() {
        let few = Overlay::of(&living(11));
        assert!((1..=11).all(|n| few.watchers(NodeId(n)).len() == 10));
        let many = Overlay::of(&living(1_000));
        let counts: Vec<usize> = (1..=1_000).map(|n| many.watchers(NodeId(n)).len()).collect();
        assert!(counts.iter().all(|c| (7..=10).contains(c)), "{counts:?}");
        assert!(counts.iter().filter(|c| **c == 10).count() > 900, "{counts:?}");
        assert_eq!(many.watchers(NodeId(1_001)), &[]);
    }

    #[test]
    fn edges_go_both_ways_and_never_to_itself() {
        for count in [2, 11, 12, 13, 50, 300] {
            let overlay = Overlay::of(&living(count));
            for n in (1..=count).map(NodeId) {
                assert!(!overlay.watchers(n).contains(&n));
                assert!(overlay.watchers(n).iter().all(|w| overlay.watchers(*w).contains(&n)));
            }
        }
    }

    /// A single death changes few edges: no storm of connections.
    #[test]
    fn a_death_moves_only_its_neighbours() {
        let (before, mut fewer) = (Overlay::of(&living(500)), living(500));
        fewer.remove(&NodeId(77));
        let after = Overlay::of(&fewer);
        let moved = fewer.iter().filter(|n| before.watchers(**n) != after.watchers(**n)).count();
        assert!(moved <= 2 * RINGS, "{moved}");
    }

    /// Every set of nodes is watched from outside by many: what makes a cut exact. Breadth-first from one node reaches
    /// all within a few steps.
    #[test]
    fn it_expands() {
        let overlay = Overlay::of(&living(1_000));
        let mut seen = BTreeSet::from([NodeId(1)]);
        for _ in 0..6 {
            seen = seen.iter().flat_map(|n| overlay.watchers(*n)).copied().chain(seen.clone()).collect();
        }
        assert_eq!(seen.len(), 1_000);
    }
}
