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

/// A condition that holds, and how long it must for an alert.
pub(super) struct Finding {
    pub key: String,
    pub wait: Duration,
    /// None for what held when it was last known.
    pub draft: Option<Draft>,
}

/// `standing`: keys of conditions that held at the last look, and of alerts that fire. `fires`: whether one does.
pub(super) fn findings<'a>(
    view: &View<'_>,
    standing: impl Iterator<Item = &'a str>,
    fires: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let ledger = view.ledger;
    let vitals = &view.live.vitals;
    let mut found = Vec::new();
    for (id, vitals) in vitals.iter().filter(|(id, _)| lives(ledger, **id)) {
        if vitals.disk >= DISK_HAS_ROOM {
            let key = format!("{DISK}/{id}");
            if vitals.disk >= DISK_FILLING || fires(&key) {
                let draft = Some(text_nodes::disk(ledger, *id, vitals.disk));
                found.push(Finding { key, wait: DISK_FILLING_AFTER, draft });
            }
        }
        if let Some(hours) = vitals.certificate_hours {
            let draft = Some(text_nodes::certificate(ledger, *id, hours));
            found.push(Finding { key: format!("{CERTIFICATE}/{id}"), wait: Duration::ZERO, draft });
        }
    }
    for key in standing {
        if node_of(key).is_some_and(|id| lives(ledger, id) && !vitals.contains_key(&id)) {
            found.push(Finding { key: key.to_owned(), wait: DISK_FILLING_AFTER, draft: None });
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
