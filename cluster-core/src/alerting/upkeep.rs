//! What wants a hand before it is a failure: disks that fill, certificates near their end. Nodes say so in their vitals.
//!
//! Of a node whose vitals aren't known, as right after a change of leaders or in a very large cluster, nothing changes:
//! no alert begins, and none ends.
//!
//! Not here: a disk so full that the node can't do its work, which it says itself (`NodeSick`).

use super::{rules::Draft, text_nodes};
use crate::{
    ids::NodeId,
    ledger::{Ledger, NodeState},
    recovery::View,
};
use core::time::Duration;

/// Of the fullest disk, in per mille.
pub const DISK_FILLING: u16 = 900;
/// Below it the alert ends: one that hovers about a bound isn't told again and again.
pub const DISK_HAS_ROOM: u16 = 870;
/// A build or a dump that fills a disk for a moment is nobody's worry.
pub const DISK_FILLING_AFTER: Duration = Duration::from_mins(5);

const DISK: &str = "DiskFilling";
const CERTIFICATE: &str = "CertificateExpiring";

/// What holds of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finding {
    /// How full, in per mille.
    Disk(NodeId, u16),
    /// When it ends, in seconds since the epoch.
    Certificate(NodeId, u64),
    /// It held when something was last known of the node.
    Unknown,
}

impl Finding {
    /// It must hold for so long to be an alert.
    pub fn wait(self) -> Duration {
        if matches!(self, Self::Disk(..)) { DISK_FILLING_AFTER } else { Duration::ZERO }
    }

    pub fn draft(self, ledger: &Ledger) -> Option<Draft> {
        match self {
            Self::Disk(node, used) => Some(text_nodes::disk(ledger, node, used)),
            Self::Certificate(node, ends) => Some(text_nodes::certificate(ledger, node, ends)),
            Self::Unknown => None,
        }
    }
}

/// By the key of its alert. `standing`: keys of conditions that held at the last look, and of alerts that fire. `fires`:
/// whether one does.
pub(super) fn findings<'a>(
    view: &View<'_>,
    standing: impl Iterator<Item = &'a str>,
    fires: impl Fn(&str) -> bool,
) -> Vec<(String, Finding)> {
    let ledger = view.ledger;
    let vitals = &view.live.vitals;
    let mut found = Vec::new();
    for (id, vitals) in vitals.iter().filter(|(id, _)| lives(ledger, **id)) {
        if vitals.disk >= DISK_HAS_ROOM {
            let key = format!("{DISK}/{id}");
            if vitals.disk >= DISK_FILLING || fires(&key) {
                found.push((key, Finding::Disk(*id, vitals.disk)));
            }
        }
        if let Some(ends) = vitals.certificate_ends {
            found.push((format!("{CERTIFICATE}/{id}"), Finding::Certificate(*id, ends)));
        }
    }
    for key in standing {
        if node_of(key).is_some_and(|id| lives(ledger, id) && !vitals.contains_key(&id)) {
            found.push((key.to_owned(), Finding::Unknown));
        }
    }
    found
}

fn lives(ledger: &Ledger, id: NodeId) -> bool {
    ledger.nodes.get(&id).is_some_and(|node| node.state == NodeState::Alive)
}

/// Of a key of ours.
fn node_of(key: &str) -> Option<NodeId> {
    let (name, node) = key.split_once('/')?;
    [DISK, CERTIFICATE].contains(&name).then(|| node.parse().ok())?
}
