//! Overlay: who watches whom. Now: everyone everyone, which is right up to about eleven members.
//!
//! Not here: who dials. Both ends of an edge want it, and one stream serves both directions.

use super::{record::MemberState, table::Table};
use crate::ids::NodeId;
use std::collections::BTreeSet;

/// The peers to and from which heartbeats are to flow.
#[must_use]
pub fn peers(me: NodeId, table: &Table) -> BTreeSet<NodeId> {
    let lives = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
    table.iter().map(|m| &m.record).filter(|r| r.node != me && lives(r.state)).map(|r| r.node).collect()
}
