//! The virtual network: delay, loss, one-way cuts and partitions between hosts.

use super::rng::Rng;
use cluster_core::ids::NodeId;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What a host hears from itself.
const LOOPBACK: Duration = Duration::from_micros(20);

/// Links from one host to another.
pub type Links = BTreeSet<(NodeId, NodeId)>;

#[derive(Debug, Default)]
pub struct Net {
    cuts: BTreeMap<u64, Links>,
    next_cut: u64,
    pub loss_percent: u64,
    /// A share of the messages takes up to so much longer.
    pub tail_ms: u64,
}

impl Net {
    pub fn cut(&mut self, links: Links) -> u64 {
        self.next_cut += 1;
        self.cuts.insert(self.next_cut, links);
        self.next_cut
    }

    pub fn mend(&mut self, cut: u64) {
        self.cuts.remove(&cut);
    }

    pub fn heal(&mut self) {
        *self = Self { next_cut: self.next_cut, ..Self::default() };
    }

    #[must_use]
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.values().any(|links| links.contains(&(from, to)))
    }

    /// How long a message takes; `None`: it is lost.
    pub fn delay(&self, from: NodeId, to: NodeId, rng: &mut Rng) -> Option<Duration> {
        if from == to {
            return Some(LOOPBACK);
        }
        if !self.passes(from, to) || rng.percent(self.loss_percent) {
            return None;
        }
        let tail = if self.tail_ms > 0 && rng.percent(10) { rng.ms(0, self.tail_ms) } else { Duration::ZERO };
        Some(rng.us(100, 2_000) + tail)
    }
}

/// All links between two groups, both ways.
#[must_use]
pub fn between(a: &[NodeId], b: &[NodeId]) -> Links {
    a.iter().flat_map(|x| b.iter().flat_map(|y| [(*x, *y), (*y, *x)])).filter(|(x, y)| x != y).collect()
}
