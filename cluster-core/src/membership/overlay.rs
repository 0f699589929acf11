//! Overlay: who watches whom. Now: everyone everyone, which is right up to about eleven members.
//!
//! Not here: who dials. Both ends of an edge want it, and one stream serves both directions.

use super::{
    record::MemberState,
    table::{Member, Table},
};
use crate::{ids::NodeId, ledger::NodeState};
use std::collections::BTreeSet;

/// The peers to and from which heartbeats are to flow.
#[must_use]
pub fn peers(me: NodeId, table: &Table) -> BTreeSet<NodeId> {
    table.iter().filter(|m| m.record.node != me && is_wanted(m)).map(|m| m.record.node).collect()
}

/// Who lives, and whom the committed view has as alive although gossip says otherwise: only who is still spoken to
/// learns what is said of it, and can refute it.
fn is_wanted(m: &Member) -> bool {
    match m.record.state {
        MemberState::Alive | MemberState::Suspect => true,
        MemberState::Dead => m.committed.is_some_and(|c| c.state == NodeState::Alive),
        MemberState::Left => false,
    }
}
