//! Vitals: how members fare, as far as it was told. Told on when there is room, at a rate that doesn't grow with the cluster.
//!
//! Each piece of news is passed on once to all neighbours, a few a heartbeat; what there is no room for is dropped, and
//! the next one of that member comes soon. So in a large cluster vitals are older, and never expensive.

use super::record::{Vitals, VitalsOf};
use crate::{
    ids::{Incarnation, NodeId},
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Of one heartbeat, the sender's own among them.
pub const VITALS_MAX: usize = 2;
/// Members whose vitals are kept; beyond it another's are forgotten, each in turn.
pub const VITALS_KEPT_MAX: usize = 512;
/// Waiting to be told on; beyond it the oldest is dropped.
const QUEUE_MAX: usize = 32;
/// Between two of this agent's own.
const OWN_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub struct Board {
    known: BTreeMap<NodeId, VitalsOf>,
    queue: VecDeque<NodeId>,
    /// Whoever comes after this one is forgotten next.
    hand: NodeId,
    own: Option<Vitals>,
    told: Option<(Instant, Vitals)>,
    revision: u64,
}

impl Board {
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Vitals> {
        self.known.get(&node).map(|of| &of.vitals)
    }

    /// Of every other member of whom they were told.
    pub fn all(&self) -> impl Iterator<Item = &VitalsOf> {
        self.known.values()
    }

    #[must_use]
    pub fn own(&self) -> Option<Vitals> {
        self.own
    }

    pub fn set_own(&mut self, vitals: Vitals) {
        self.own = Some(vitals);
    }

    /// Takes what was told, if it is newer.
    pub fn merge(&mut self, of: &VitalsOf) {
        let newer = |k: &VitalsOf| (of.incarnation, of.revision) > (k.incarnation, k.revision);
        match self.known.get_mut(&of.node) {
            Some(known) if !newer(known) => return,
            Some(known) => *known = *of,
            None => {
                if self.known.len() >= VITALS_KEPT_MAX {
                    self.forget_one();
                }
                self.known.insert(of.node, *of);
            }
        }
        if !self.queue.contains(&of.node) {
            self.queue.push_back(of.node);
            if self.queue.len() > QUEUE_MAX {
                self.queue.pop_front();
            }
        }
    }

    fn forget_one(&mut self) {
        let next = self.known.range(self.hand..).next().or_else(|| self.known.iter().next());
        let victim = *next.expect("it is full").0;
        self.known.remove(&victim);
        self.hand = NodeId(victim.0.wrapping_add(1));
    }

    pub fn drop(&mut self, node: NodeId) {
        self.known.remove(&node);
    }

    /// What the next heartbeat carries to all neighbours; counted as told.
    pub fn round(&mut self, now: Instant, me: NodeId, incarnation: Incarnation) -> Vec<VitalsOf> {
        let mut round = Vec::new();
        let due = |(at, _): &(Instant, Vitals)| now.since(*at) >= OWN_EVERY;
        if let Some(vitals) = self.own
            && self.told.is_none_or(|told| told.1 != vitals && due(&told))
        {
            self.revision += 1;
            self.told = Some((now, vitals));
            round.push(VitalsOf { node: me, incarnation, revision: self.revision, vitals });
        }
        while round.len() < VITALS_MAX
            && let Some(node) = self.queue.pop_front()
        {
            round.extend(self.known.get(&node));
        }
        round
    }
}
