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
    pub(super) fn others(&self) -> impl Iterator<Item = (NodeId, &Candidate)> {
        self.members.iter().map(|(node, candidate)| (*node, candidate)).filter(|(n, _)| *n != self.founder)
    }
}
