//! Gossip: which records ride on the next heartbeat.
//!
//! News is repeated a few times, the less often told first (SWIM, section 4.1); a full exchange carries all, from a
//! random place on when there are too many. Not here: what the records mean.

use super::{
    record::MemberRecord,
    rng::Rng,
    table::{Member, Table},
};
use crate::ids::NodeId;
use std::collections::BTreeMap;

/// Records of one heartbeat that isn't a full exchange.
pub const DELTAS_MAX: usize = 16;
/// Records of a full exchange, and of a hello.
pub const FULL_MAX: usize = 1_024;

#[derive(Clone, Debug, Default)]
pub struct Gossip {
    /// How often each piece of news is still to be sent. At most one a member.
    left: BTreeMap<NodeId, u32>,
}

impl Gossip {
    pub fn tell(&mut self, node: NodeId, members: usize) {
        self.left.insert(node, budget(members));
    }

    pub fn drop(&mut self, node: NodeId) {
        self.left.remove(&node);
    }

    /// The news for one heartbeat; counted as told.
    pub fn news(&mut self, table: &Table) -> Vec<MemberRecord> {
        let mut freshest: Vec<(u32, NodeId)> = self.left.iter().map(|(&node, &left)| (left, node)).collect();
        freshest.sort_unstable_by(|a, b| b.cmp(a));
        freshest.truncate(DELTAS_MAX);
        for &(left, node) in &freshest {
            if left <= 1 {
                self.left.remove(&node)
            } else {
                self.left.insert(node, left - 1)
            };
        }
        freshest.iter().filter_map(|&(_, node)| table.get(node)).map(|m| m.record.clone()).collect()
    }
}

/// Everything, or as much of it as a message holds.
pub fn everything(table: &Table, rng: &mut Rng) -> Vec<MemberRecord> {
    let start = if table.len() > FULL_MAX { rng.below(table.len()) } else { 0 };
    let (before, from): (Vec<&Member>, Vec<&Member>) = {
        let all: Vec<&Member> = table.iter().collect();
        (all[..start].to_vec(), all[start..].to_vec())
    };
    from.into_iter().chain(before).take(FULL_MAX).map(|m| m.record.clone()).collect()
}

/// 3·log2(n) + 2: news reaches everyone with high probability, and each of eleven who all watch each other for certain.
fn budget(members: usize) -> u32 {
    3 * (usize::BITS - members.leading_zeros()) + 2
}
