//! Roll: the committed view made ready for looking things up, shared by all that follow from it.
//!
//! It is as large as the cluster and the same for everyone who has that view. So it is made once, never changed, and
//! handed round; what an agent knows beyond it is small (`table`).

use super::{
    overlay::Overlay,
    record::{MemberRecord, View},
};
use crate::{
    ids::{Incarnation, NodeId, ViewEpoch},
    ledger::NodeState,
};
use std::collections::BTreeSet;

/// What the newest committed view said of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub state: NodeState,
    pub incarnation: Incarnation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub record: MemberRecord,
    /// None: known by gossip only, as a joiner is before the ledger has it.
    pub committed: Option<Committed>,
}

impl Member {
    /// Whether the view has it as alive.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.committed.is_some_and(|c| c.state == NodeState::Alive)
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.committed.is_some_and(|c| c.state == NodeState::Dead)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    epoch: ViewEpoch,
    /// By id.
    members: Vec<Member>,
    living: usize,
    /// The dead, by id.
    lost: Vec<NodeId>,
    overlay: Overlay,
}

impl Roll {
    #[must_use]
    pub fn of(view: &View) -> Self {
        let member = |m: &super::ViewMember| Member {
            record: m.into(),
            committed: Some(Committed { state: m.state, incarnation: m.incarnation }),
        };
        let mut members: Vec<Member> = view.members.iter().map(member).collect();
        members.sort_by_key(|m| m.record.node);
        let twice = members.windows(2).any(|two| two[0].record.node == two[1].record.node);
        assert!(!twice, "a view lists each member once");
        let living: BTreeSet<NodeId> = members.iter().filter(|m| m.lives()).map(|m| m.record.node).collect();
        let lost = members.iter().filter(|m| m.is_dead()).map(|m| m.record.node).collect();
        Self { epoch: view.epoch, living: living.len(), lost, overlay: Overlay::of(&living), members }
    }

    #[must_use]
    pub fn epoch(&self) -> ViewEpoch {
        self.epoch
    }

    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&node, |m| m.record.node).ok()?;
        Some(&self.members[at])
    }

    #[must_use]
    pub fn lives(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(Member::lives)
    }

    /// How many live.
    #[must_use]
    pub fn living(&self) -> usize {
        self.living
    }

    #[must_use]
    pub fn lost(&self) -> &[NodeId] {
        &self.lost
    }

    /// As `Overlay::watchers`.
    #[must_use]
    pub fn watchers(&self, node: NodeId) -> &[NodeId] {
        self.overlay.watchers(node)
    }
}
