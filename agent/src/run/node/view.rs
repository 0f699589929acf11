//! The committed view as gossip and the cut know it: adopted when the ledger's nodes change, at once or a little later.

use super::Node;
use cluster_core::{
    cut,
    ids::{NodeId, ViewEpoch},
    ledger::{self, Ledger},
    membership::{self, Roll, View, overlay::ALL_TO_ALL_MAX},
    time::Instant,
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

/// A view that has only joiners more waits so long for others of them: each moves everybody's edges, and while hundreds
/// of agents start, to follow each of them alone would keep them all busy.
pub(super) const JOINERS_WAIT: Duration = Duration::from_millis(800);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// Nothing but more members, where there are many.
    Joiners,
    Urgent,
}

/// What of the ledger's nodes was adopted last.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    view: Option<ViewEpoch>,
    /// A fingerprint each: addresses and sessions change without the view's epoch.
    nodes: BTreeMap<NodeId, u64>,
}

impl Adopted {
    fn of(ledger: &Ledger) -> Self {
        let nodes = ledger.nodes.iter().map(|(id, node)| (*id, fingerprint(node))).collect();
        Self { view: Some(ledger.view_epoch), nodes }
    }

    pub(super) fn news(&self, ledger: &Ledger) -> News {
        let stands =
            |(id, print): (&NodeId, &u64)| ledger.nodes.get(id).is_some_and(|n| fingerprint(n) == *print);
        let more = ledger.nodes.len() > self.nodes.len();
        if !self.nodes.iter().all(stands) {
            News::Urgent
        } else if more && self.nodes.len() > ALL_TO_ALL_MAX {
            News::Joiners
        } else if more || self.view != Some(ledger.view_epoch) {
            News::Urgent
        } else {
            News::None
        }
    }
}

/// Of what gossip needs to know.
fn fingerprint(node: &ledger::Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    (node.session, node.incarnation, &node.profile.address, node.state as u8).hash(&mut hasher);
    hasher.finish()
}

impl Node {
    /// Takes the ledger's view for the one by which this agent watches and counts.
    pub(super) fn adopt(&mut self, now: Instant) {
        self.adopt_at = None;
        // Carried out after the ledger is let go: what follows may look at it again.
        let (adopted, view) = self.p.replica.read(|ledger| (Adopted::of(ledger), View::from(ledger)));
        self.adopted = adopted;
        let roll = Arc::new(Roll::of(&view));
        self.gossip(now, membership::Event::View(roll));
        self.cut(now, cut::Event::View(view));
        let members = &self.members;
        self.reports.keep(|node| members.member(node).is_some());
    }
}
