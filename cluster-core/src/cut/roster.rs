//! Roster: the living members of the committed view, and who watches whom among them.

use crate::{
    ids::{Incarnation, NodeId, ViewEpoch},
    ledger::NodeState,
    membership::{View, overlay::Overlay},
};
use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};

/// Names in one line of evidence, as many as a node has observers; others are counted.
const NAMES_MAX: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Living {
    pub name: String,
    pub incarnation: Incarnation,
    /// The first view that this process saw with this life of it. Who doesn't know that view can't judge this life.
    pub alive_view: ViewEpoch,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    view: ViewEpoch,
    living: BTreeMap<NodeId, Living>,
    overlay: Overlay,
}

impl Roster {
    /// Who begins a new life, or is gone, by this view; None if the view is older than the one known.
    pub fn commit(&mut self, view: &View) -> Option<Vec<NodeId>> {
        if view.epoch < self.view {
            return None;
        }
        self.view = view.epoch;
        let mut before = core::mem::take(&mut self.living);
        let members_before: BTreeSet<NodeId> = before.keys().copied().collect();
        let mut changed = Vec::new();
        for m in view.members.iter().filter(|m| m.state == NodeState::Alive) {
            let known = before.remove(&m.node).filter(|known| known.incarnation == m.incarnation);
            if known.is_none() {
                changed.push(m.node);
            }
            let alive_view = known.map_or(view.epoch, |known| known.alive_view);
            let living = Living { name: m.name.clone(), incarnation: m.incarnation, alive_view };
            self.living.insert(m.node, living);
        }
        changed.extend(before.into_keys());
        let members = self.ids();
        if members != members_before {
            self.overlay = Overlay::of(&members);
        }
        Some(changed)
    }

    pub fn ids(&self) -> BTreeSet<NodeId> {
        self.living.keys().copied().collect()
    }

    pub fn get(&self, node: NodeId) -> Option<&Living> {
        self.living.get(&node)
    }

    /// Who watches it; each of these lives as far as the view knows.
    pub fn watchers(&self, node: NodeId) -> &[NodeId] {
        self.overlay.watchers(node)
    }

    /// "n1 n2 n3 and 4 more".
    pub fn names(&self, nodes: &[NodeId]) -> String {
        let name = |n: &NodeId| self.living.get(n).map_or_else(|| n.to_string(), |m| m.name.clone());
        let mut text = nodes.iter().take(NAMES_MAX).map(name).collect::<Vec<_>>().join(" ");
        if nodes.len() > NAMES_MAX {
            write!(text, " and {} more", nodes.len() - NAMES_MAX).expect("a string takes everything");
        }
        text
    }
}
