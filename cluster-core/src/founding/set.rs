//! A founding set: who is in it, and who of them becomes a voter. Not here: how its members agree.

use crate::{
    ids::{NodeId, SetId},
    ledger::Role,
};
use std::collections::BTreeMap;

/// An agent that waits for a cluster, as far as founding cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub address: String,
    pub zone: String,
    pub role: Role,
}

/// A founding set that a node pledged itself to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pledge {
    /// Drawn by the founder; another set of the same members has another one.
    pub set: SetId,
    pub founder: NodeId,
    /// Everyone of the set, the founder included.
    pub members: BTreeMap<NodeId, Candidate>,
}

impl Candidate {
    /// Lower ranks come first wherever agents are chosen: a witness is there to found and to vote.
    pub(super) const fn rank(&self) -> u8 {
        match self.role {
            Role::Witness => 0,
            Role::Member => 1,
        }
    }
}

impl Pledge {
    /// The voters that the founder begins with: itself, as whoever initialises must be one; then witnesses before
    /// others, each time from the zone that has the fewest so far, then by lowest id.
    #[must_use]
    pub fn voters(&self, count: usize) -> Vec<NodeId> {
        let mut chosen = vec![self.founder];
        let mut left: BTreeMap<NodeId, &Candidate> = self.others().collect();
        while chosen.len() < count {
            let in_zone = |zone: &str| {
                chosen.iter().filter(|n| self.members.get(n).is_some_and(|c| c.zone == zone)).count()
            };
            let next = left.iter().min_by_key(|(node, c)| (c.rank(), in_zone(&c.zone), **node));
            let Some(next) = next.map(|(node, _)| *node) else { break };
            left.remove(&next);
            chosen.push(next);
        }
        chosen
    }

    pub(super) fn others(&self) -> impl Iterator<Item = (NodeId, &Candidate)> {
        self.members.iter().map(|(node, candidate)| (*node, candidate)).filter(|(n, _)| *n != self.founder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members by id: zone, and whether it is a witness.
    fn set(founder: u64, members: &[(u64, &str, bool)]) -> Pledge {
        let candidate = |zone: &str, witness| Candidate {
            address: String::new(),
            zone: zone.to_owned(),
            role: if witness { Role::Witness } else { Role::Member },
        };
        let members = members.iter().map(|(id, zone, w)| (NodeId(*id), candidate(zone, *w))).collect();
        Pledge { set: SetId(1), founder: NodeId(founder), members }
    }

    fn voters(set: &Pledge, count: usize) -> Vec<u64> {
        set.voters(count).into_iter().map(|n| n.0).collect()
    }

    #[test]
    fn witnesses_come_first_then_zones_then_ids() {
        let five =
            set(5, &[(1, "a", false), (2, "a", false), (3, "b", false), (4, "c", true), (5, "a", true)]);
        assert_eq!(voters(&five, 3), [5, 4, 3], "both witnesses, then the zone without a voter");
        assert_eq!(voters(&five, 5), [5, 4, 3, 1, 2]);
        let one_zone = set(1, &[(1, "", false), (2, "", false), (3, "", false), (4, "", false)]);
        assert_eq!(voters(&one_zone, 3), [1, 2, 3]);
    }

    #[test]
    fn the_founder_votes_and_there_are_no_more_voters_than_members() {
        let plain = set(2, &[(1, "", true), (2, "", false)]);
        assert_eq!(voters(&plain, 1), [2]);
        assert_eq!(voters(&plain, 5), [2, 1]);
    }
}
