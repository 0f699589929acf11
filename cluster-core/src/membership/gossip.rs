//! Gossip: which records ride on the next heartbeat.
//!
//! News goes to all neighbours a few times over, the less often told first: along an expander that reaches everyone, and
//! each agent pays for a piece of news the same in a cluster of any size. A full exchange carries what goes beyond the
//! committed view, from a random place on when there is too much. Not here: what the records mean.

use super::{record::MemberRecord, rng::Rng, roll::Member, table::Table};
use crate::ids::NodeId;
use std::collections::BTreeMap;

/// Records of one heartbeat that isn't a full exchange, and about their bytes: one packet.
pub const DELTAS_MAX: usize = 16;
pub const DELTAS_BYTES_MAX: usize = 1_200;
/// Records of a hello, and of an exchange with who has no view.
pub const FULL_MAX: usize = 1_024;
/// Records of an exchange between two who have a view.
pub const EXCHANGE_MAX: usize = 64;
/// Heartbeats that tell a piece of news. Streams lose nothing; the repetition is for those that end meanwhile.
const ROUNDS: u32 = 3;

#[derive(Clone, Debug, Default)]
pub struct Gossip {
    /// How often each piece of news is still to be sent. At most one a member.
    left: BTreeMap<NodeId, u32>,
}

impl Gossip {
    pub fn tell(&mut self, node: NodeId) {
        self.left.insert(node, ROUNDS);
    }

    pub fn drop(&mut self, node: NodeId) {
        self.left.remove(&node);
    }

    /// The news of one heartbeat to all neighbours; counted as told.
    pub fn round(&mut self, table: &Table) -> Vec<MemberRecord> {
        let mut freshest: Vec<(u32, NodeId)> = self.left.iter().map(|(&node, &left)| (left, node)).collect();
        freshest.sort_unstable_by(|a, b| b.cmp(a));
        freshest.truncate(DELTAS_MAX);
        let (mut round, mut bytes) = (Vec::new(), 0);
        for (left, node) in freshest {
            // What a view took in meanwhile everyone has.
            let Some(member) = table.get(node).filter(|_| table.is_news(node)) else {
                self.left.remove(&node);
                continue;
            };
            bytes += member.record.size_bytes();
            if bytes > DELTAS_BYTES_MAX && !round.is_empty() {
                break;
            }
            round.push(member.record.clone());
            if left <= 1 {
                self.left.remove(&node)
            } else {
                self.left.insert(node, left - 1)
            };
        }
        round
    }
}

/// What goes beyond the view, or as much of it as `max` allows.
pub fn differences(table: &Table, max: usize, rng: &mut Rng) -> Vec<MemberRecord> {
    some(table.news(), table.news().len(), max, rng)
}

/// Everything, or as much of it as `max` allows.
pub fn everything(table: &Table, max: usize, rng: &mut Rng) -> Vec<MemberRecord> {
    some(table.iter(), table.len(), max, rng)
}

fn some<'a>(
    all: impl Iterator<Item = &'a Member>,
    count: usize,
    max: usize,
    rng: &mut Rng,
) -> Vec<MemberRecord> {
    if count <= max {
        return all.map(|m| m.record.clone()).collect();
    }
    let all: Vec<&Member> = all.collect();
    let start = rng.below(all.len());
    all.iter().cycle().skip(start).take(max).map(|m| m.record.clone()).collect()
}
