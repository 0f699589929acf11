//! The brake: when too much died at once, it is likelier that the view is wrong, or the site, than that moving helps.
//!
//! Read from the ledger alone, so every node and every later leader sees the same. It engages when more than
//! max(2, 30 %) of the nodes that belong here died within a minute, a whole named zone counting as one, and holds for
//! as long as so many of them stay dead: until they come back, or a person removes them.
//!
//! Not here: what is held back (`recovery` holds moves, never first placements or records).

use crate::ledger::{Ledger, Node, NodeState};
use std::collections::BTreeSet;

/// So many deaths never engage it, however small the cluster.
pub const ALWAYS_MOVED: usize = 2;
/// Nor does this part of the nodes.
pub const MOVED_PERCENT: usize = 30;
/// Deaths as close as this count together, by the ledger's clock.
pub const WINDOW_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    pub engaged: bool,
    /// Names of the nodes that died together, at the worst moment.
    pub dead: Vec<String>,
    /// Those, a whole zone counted as one.
    pub losses: usize,
    /// How many are moved without asking.
    pub limit: usize,
}

#[must_use]
pub fn state(ledger: &Ledger) -> Brake {
    let members: Vec<&Node> = ledger.nodes.values().filter(|n| n.state != NodeState::Left).collect();
    let limit = ALWAYS_MOVED.max(members.len() * MOVED_PERCENT / 100);
    let mut dead: Vec<&Node> = members.iter().copied().filter(|n| n.state == NodeState::Dead).collect();
    let mut worst = Brake { engaged: false, dead: Vec::new(), losses: 0, limit };
    if dead.is_empty() {
        return worst;
    }
    dead.sort_by_key(|node| node.changed_at);
    let living = members.iter().filter(|node| node.state == NodeState::Alive);
    let spared: BTreeSet<&str> = living.map(|node| node.profile.zone.as_str()).collect();
    for (i, first) in dead.iter().enumerate() {
        // Asked at each of the leader's steps: of hundreds that died together, only the first is looked at.
        if dead.len() - i <= worst.losses {
            break;
        }
        let close = |node: &&&Node| node.changed_at.since_ms(first.changed_at) <= WINDOW_MS;
        let together: Vec<&Node> = dead[i..].iter().take_while(close).copied().collect();
        let losses = losses(&spared, &together);
        if losses > worst.losses {
            let names = together.iter().map(|node| node.profile.name.clone()).collect();
            worst = Brake { engaged: losses > limit, dead: names, losses, limit };
        }
    }
    worst
}

/// Nodes lost, but a named zone of which none is spared counts as one.
fn losses(spared: &BTreeSet<&str>, together: &[&Node]) -> usize {
    let gone: BTreeSet<&str> = together
        .iter()
        .map(|node| node.profile.zone.as_str())
        .filter(|zone| !zone.is_empty() && !spared.contains(zone))
        .collect();
    let alone = together.iter().filter(|node| !gone.contains(node.profile.zone.as_str())).count();
    alone + gone.len()
}
