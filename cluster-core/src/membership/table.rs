//! Table: every member that this agent knows of, and the rules by which what is said of them is merged.
//!
//! Two sources: the committed view, which is shared and alone makes a member dead and alone removes one; and gossip,
//! of which only what goes beyond the view is kept (`MemberRecord::rank`). So a table costs as much as there is news,
//! however large the cluster is. Not here: the agent's own record (it refutes; see `Membership`), time, streams.

use super::{
    record::{MemberRecord, MemberState},
    roll::{Member, Roll},
};
use crate::{
    ids::{Incarnation, NodeId, ViewEpoch},
    ledger::NodeState,
};
use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

/// Members of one cluster; further ones are not taken in.
pub const MEMBERS_MAX: usize = 20_000;
/// Nodes remembered as gone so that gossip doesn't bring them back; beyond it the lowest id is forgotten.
pub const TOMBS_MAX: usize = 4_096;

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
    Updated { node: NodeId, before: Option<MemberState>, new_life: bool },
    Removed { node: NodeId },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    roll: Arc<Roll>,
    /// Records that outrank the roll's, and of those whom it doesn't list.
    news: BTreeMap<NodeId, Member>,
    /// How many of the news the roll doesn't list.
    joiners: usize,
    tombs: BTreeMap<NodeId, Tomb>,
}

impl Table {
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.news.get(&node).or_else(|| self.roll.get(node))
    }

    /// By id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        let (mut news, mut listed) = (self.news.values().peekable(), self.roll.members().iter().peekable());
        core::iter::from_fn(move || match (news.peek(), listed.peek()) {
            (Some(new), Some(old)) if new.record.node > old.record.node => listed.next(),
            (Some(new), Some(old)) => {
                if new.record.node == old.record.node {
                    listed.next();
                }
                news.next()
            }
            (Some(_), None) => news.next(),
            (None, _) => listed.next(),
        })
    }

    /// What goes beyond the roll, by id.
    pub fn news(&self) -> btree_map::Values<'_, NodeId, Member> {
        self.news.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.roll.members().len() + self.joiners
    }

    #[must_use]
    pub fn roll(&self) -> &Arc<Roll> {
        &self.roll
    }

    #[must_use]
    pub fn view(&self) -> ViewEpoch {
        self.roll.epoch()
    }

    /// Takes a record from gossip, if it says anything newer.
    pub fn merge(&mut self, record: &MemberRecord) -> Option<Change> {
        let node = record.node;
        if !self.tombs.is_empty() {
            match self.tombs.get(&node) {
                Some(Tomb::Removed) => return None,
                Some(Tomb::Forgotten(incarnation)) if record.incarnation <= *incarnation => return None,
                Some(Tomb::Forgotten(_)) | None => {}
            }
        }
        if let Some(news) = self.news.get_mut(&node) {
            if !record.beats(&news.record) {
                return None;
            }
            let change = updated(&news.record, record);
            news.record = record.clone();
            return Some(change);
        }
        if let Some(listed) = self.roll.get(node) {
            if record.rank() <= listed.record.rank() {
                return None;
            }
            let change = updated(&listed.record, record);
            let committed = listed.committed;
            self.news.insert(node, Member { record: record.clone(), committed });
            return Some(change);
        }
        if self.len() >= MEMBERS_MAX {
            return None;
        }
        self.tombs.remove(&node);
        self.keep(record.clone());
        Some(Change::Updated { node, before: None, new_life: true })
    }

    /// Puts the agent's own record in, whatever was there.
    pub fn set(&mut self, record: MemberRecord) {
        let same = |m: &Member| m.record.rank() == record.rank() && m.record.session == record.session;
        if self.roll.get(record.node).is_some_and(same) {
            self.news.remove(&record.node);
        } else {
            self.keep(record);
        }
    }

    /// Whether the record goes beyond the view, so that others may not have it.
    #[must_use]
    pub fn is_news(&self, node: NodeId) -> bool {
        self.news.contains_key(&node)
    }

    fn keep(&mut self, record: MemberRecord) {
        let node = record.node;
        let committed = self.roll.get(node).and_then(|m| m.committed);
        let known = self.news.insert(node, Member { record, committed });
        if known.is_none() && committed.is_none() {
            self.joiners += 1;
        }
    }

    /// Takes the committed view. An older one than the newest is ignored.
    pub fn commit(&mut self, roll: &Arc<Roll>) -> Vec<Change> {
        if roll.epoch() < self.roll.epoch() || Arc::ptr_eq(roll, &self.roll) {
            return Vec::new();
        }
        let before = core::mem::replace(&mut self.roll, Arc::clone(roll));
        let mut changes = Vec::new();
        let mut old = before.members().iter().peekable();
        for listed in roll.members() {
            let node = listed.record.node;
            while let Some(gone) = old.next_if(|m| m.record.node < node) {
                self.remove(gone.record.node, &mut changes);
            }
            let old = old.next_if(|m| m.record.node == node);
            // The usual case, for all but a few: nothing to compare, nothing to keep.
            let same =
                |o: &Member| o.committed == listed.committed && o.record.session == listed.record.session;
            if !(old.is_some_and(same) && (self.news.is_empty() || !self.news.contains_key(&node))) {
                changes.extend(self.commit_one(old, listed));
            }
        }
        for gone in old {
            self.remove(gone.record.node, &mut changes);
        }
        self.joiners = self.news.keys().filter(|node| roll.get(**node).is_none()).count();
        changes
    }

    /// `old` is what the view before had.
    fn commit_one(&mut self, old: Option<&Member>, listed: &Member) -> Option<Change> {
        let node = listed.record.node;
        self.tombs.remove(&node);
        let known = self.news.remove(&node);
        let Some(before) = known.as_ref().or(old) else {
            return Some(Change::Updated { node, before: None, new_life: true });
        };
        let record = committed_record(before, listed);
        let change = updated(&before.record, &record);
        let changed = record.rank() != before.record.rank() || record.session != before.record.session;
        if record.rank() > listed.record.rank() {
            self.news.insert(node, Member { record, committed: listed.committed });
        }
        changed.then_some(change)
    }

    /// Suspects nobody any more whom the view has as alive.
    pub fn acquit(&mut self) -> Vec<Change> {
        let (roll, mut changes) = (&self.roll, Vec::new());
        self.news.retain(|node, member| {
            if member.record.state != MemberState::Suspect || !member.lives() {
                return true;
            }
            let before = Some(core::mem::replace(&mut member.record.state, MemberState::Alive));
            // As if it had refuted: what was found is of the past.
            changes.push(Change::Updated { node: *node, before, new_life: true });
            let listed = roll.get(*node).expect("whom the view has as alive it lists");
            member.record.rank() > listed.record.rank()
        });
        changes
    }

    fn remove(&mut self, node: NodeId, changes: &mut Vec<Change>) {
        self.news.remove(&node);
        self.bury(node, Tomb::Removed);
        changes.push(Change::Removed { node });
    }

    /// Drops a member that no view has, until it shows a later incarnation.
    pub fn forget(&mut self, node: NodeId) -> Option<Change> {
        let member = self.news.remove(&node)?;
        assert!(member.committed.is_none(), "only a view removes a committed member");
        self.joiners -= 1;
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

fn updated(before: &MemberRecord, after: &MemberRecord) -> Change {
    let new_life = after.incarnation > before.incarnation;
    Change::Updated { node: after.node, before: Some(before.state), new_life }
}

/// What is known of a member once the view has spoken.
fn committed_record(known: &Member, listed: &Member) -> MemberRecord {
    let said = listed.committed.expect("the roll's members are committed");
    let record = &known.record;
    if listed.record.incarnation > record.incarnation {
        return listed.record.clone();
    }
    if said.state == NodeState::Alive || known.committed == listed.committed {
        return record.clone();
    }
    // The decision is about whichever incarnation it was that fell silent, so it holds for all that are known: who lives
    // all the same refutes with a higher one. Who said itself that it leaves isn't less gone for having been declared dead.
    MemberRecord { state: MemberState::from(said.state).max(record.state), ..record.clone() }
}
