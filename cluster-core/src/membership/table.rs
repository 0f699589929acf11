//! Table: every member that this agent knows of, and the rules by which what is said of them is merged.
//!
//! Two sources: gossip, whose records are merged by `MemberRecord::beats`, and the committed view, which alone makes a
//! member dead and alone removes one. Not here: the agent's own record (it refutes; see `Membership`), time, streams.

use super::record::{MemberRecord, MemberState, View, ViewMember};
use crate::{
    ids::{Incarnation, NodeId, ViewEpoch},
    ledger::NodeState,
};
use std::collections::{BTreeMap, BTreeSet};

/// Members of one cluster; further ones are not taken in.
pub const MEMBERS_MAX: usize = 20_000;
/// Nodes remembered as gone so that gossip doesn't bring them back; beyond it the lowest id is forgotten.
pub const TOMBS_MAX: usize = 4_096;

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

/// What keeps a node out of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tomb {
    /// Removed by a committed view: only another view brings it back.
    Removed,
    /// Never committed, and silent for long: a later incarnation brings it back.
    Forgotten(Incarnation),
}

/// A member whose record changed; `before` is the state it had, None if it wasn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Updated { node: NodeId, before: Option<MemberState> },
    Removed { node: NodeId },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    members: BTreeMap<NodeId, Member>,
    tombs: BTreeMap<NodeId, Tomb>,
    view: ViewEpoch,
}

impl Table {
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[must_use]
    pub fn view(&self) -> ViewEpoch {
        self.view
    }

    /// Takes a record from gossip, if it says anything newer.
    pub fn merge(&mut self, record: &MemberRecord) -> Option<Change> {
        let node = record.node;
        match self.tombs.get(&node) {
            Some(Tomb::Removed) => return None,
            Some(Tomb::Forgotten(incarnation)) if record.incarnation <= *incarnation => return None,
            Some(Tomb::Forgotten(_)) | None => {}
        }
        if let Some(member) = self.members.get_mut(&node) {
            let before = Some(member.record.state);
            return record.beats(&member.record).then(|| {
                member.record = record.clone();
                Change::Updated { node, before }
            });
        }
        if self.members.len() >= MEMBERS_MAX {
            return None;
        }
        self.tombs.remove(&node);
        self.members.insert(node, Member { record: record.clone(), committed: None });
        Some(Change::Updated { node, before: None })
    }

    /// Puts the agent's own record in, whatever was there.
    pub fn set(&mut self, record: MemberRecord) {
        let committed = self.get(record.node).and_then(|m| m.committed);
        self.members.insert(record.node, Member { record, committed });
    }

    /// Takes the committed view. An older one than the newest is ignored.
    pub fn commit(&mut self, view: &View) -> Vec<Change> {
        if view.epoch < self.view {
            return Vec::new();
        }
        self.view = view.epoch;
        let mut changes: Vec<Change> = view.members.iter().filter_map(|m| self.commit_one(m)).collect();
        let listed: BTreeSet<NodeId> = view.members.iter().map(|m| m.node).collect();
        let gone = |m: &&Member| m.committed.is_some() && !listed.contains(&m.record.node);
        let removed: Vec<NodeId> = self.members.values().filter(gone).map(|m| m.record.node).collect();
        for node in removed {
            self.members.remove(&node);
            self.bury(node, Tomb::Removed);
            changes.push(Change::Removed { node });
        }
        changes
    }

    fn commit_one(&mut self, m: &ViewMember) -> Option<Change> {
        self.tombs.remove(&m.node);
        let committed = Some(Committed { state: m.state, incarnation: m.incarnation });
        let Some(member) = self.members.get_mut(&m.node) else {
            self.members.insert(m.node, Member { record: m.into(), committed });
            return Some(Change::Updated { node: m.node, before: None });
        };
        let (before, news) = (member.record.state, member.committed != committed);
        member.committed = committed;
        let changed = match m.state {
            NodeState::Alive if m.incarnation > member.record.incarnation => {
                let http = member.record.http.take();
                member.record = MemberRecord { http, ..m.into() };
                true
            }
            NodeState::Alive => false,
            // The decision is about whichever incarnation it was that fell silent, so it holds for all that are known:
            // who lives all the same refutes with a higher one.
            NodeState::Dead | NodeState::Left if news => {
                let said = MemberState::from(m.state);
                let newer = m.incarnation > member.record.incarnation;
                // Who said itself that it leaves isn't less gone for having been declared dead as well.
                let state = if newer { said } else { said.max(before) };
                let incarnation = member.record.incarnation.max(m.incarnation);
                let changed = (state, incarnation) != (before, member.record.incarnation);
                (member.record.state, member.record.incarnation) = (state, incarnation);
                changed
            }
            NodeState::Dead | NodeState::Left => false,
        };
        changed.then_some(Change::Updated { node: m.node, before: Some(before) })
    }

    /// Drops a member that no view has, until it shows a later incarnation.
    pub fn forget(&mut self, node: NodeId) -> Option<Change> {
        let member = self.members.remove(&node)?;
        assert!(member.committed.is_none(), "only a view removes a committed member");
        self.bury(node, Tomb::Forgotten(member.record.incarnation));
        Some(Change::Removed { node })
    }

    /// The node itself is here again: what was forgotten for being silent may be listed anew.
    pub fn exhume(&mut self, node: NodeId) {
        if matches!(self.tombs.get(&node), Some(Tomb::Forgotten(_))) {
            self.tombs.remove(&node);
        }
    }

    fn bury(&mut self, node: NodeId, tomb: Tomb) {
        self.tombs.insert(node, tomb);
        if self.tombs.len() > TOMBS_MAX {
            self.tombs.pop_first();
        }
    }
}
