//! The picture of the present that the rest of the agent reads, drawn anew 2 to 40 times a second.

use super::{follow::Heard, leader::Leader, replica::Replica};
use crate::{
    consensus::Status,
    limits::LEADER_SILENT_FOR,
    shared::{Identity, Live, LiveNode, LiveState},
};
use cluster_core::{
    ids::{ClusterId, NodeId},
    membership::{AgentState, Member, MemberState, Membership, Trouble},
    time::Instant,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub struct Sources<'a> {
    pub now: Instant,
    pub identity: &'a Identity,
    pub cluster: Option<ClusterId>,
    pub members: &'a Membership,
    pub connected: &'a BTreeSet<NodeId>,
    pub status: &'a Status,
    /// By consensus, if somebody leads for sure.
    pub elected: Option<NodeId>,
    pub heard: &'a Heard,
    pub voters: &'a BTreeMap<NodeId, String>,
    pub replica: &'a Replica,
    pub leader: Option<&'a Leader>,
    pub notes: &'a [String],
    /// The picture before this one: what hasn't changed is taken over.
    pub before: &'a Live,
    /// Whether members may have changed since.
    pub members_changed: bool,
}

/// One picture.
#[must_use]
pub fn picture(s: &Sources<'_>) -> Live {
    let me = s.identity.node;
    let is_voter = s.voters.contains_key(&me);
    let (leader, term) =
        if s.status.voters.is_empty() { (s.heard.leader, s.heard.term) } else { (s.elected, s.status.term) };
    let silence = |node: NodeId| s.members.silence(s.now, node).unwrap_or_default();
    let bad_link = |node: NodeId| s.members.trouble(node) == Some(Trouble::LinkBad);
    let lease_remaining = if is_voter { s.replica.book().remaining(s.now) } else { BTreeMap::new() };
    let safe_in = s.leader.map(|leader| {
        s.replica.read(|ledger| {
            let pending = ledger.revocations.iter().filter(|(_, r)| r.safe_at.is_none());
            pending.filter_map(|(epoch, _)| Some((*epoch, leader.safe_in(s.now, *epoch)?))).collect()
        })
    });
    Live {
        cluster: s.cluster,
        members: match s.members_changed {
            true => Arc::new(s.members.members().map(|m| (m.record.node, node(m, s))).collect()),
            false => s.before.members.clone(),
        },
        silences: s.connected.iter().map(|node| (*node, silence(*node))).collect(),
        // Over a bad link the leader leads on: its keeper says so, and calls go over connections of their own.
        leader: leader
            .filter(|l| *l == me || silence(*l) < LEADER_SILENT_FOR || bad_link(*l))
            .filter(|_| anybody_can_lead(s.voters.len(), voters_gone(s))),
        term,
        voters: s.voters.clone(),
        is_leader: s.leader.is_some(),
        is_voter,
        lease_remaining,
        safe_in: safe_in.unwrap_or_default(),
        notes: s.notes.to_vec(),
    }
}

/// Voters that no vote comes from: their hosts or their agents aren't heard, nor does anybody who is heard vouch for them,
/// and not just since a moment ago.
fn voters_gone(s: &Sources<'_>) -> usize {
    let gone = |node: NodeId, member: &Member| {
        let agent_down = matches!(s.members.trouble(node), Some(Trouble::AgentGone | Trouble::AgentStalled));
        let silent = matches!(member.record.state, MemberState::Suspect | MemberState::Dead);
        let for_long = s.members.silence(s.now, node).is_none_or(|silence| silence >= LEADER_SILENT_FOR);
        node != s.identity.node && for_long && (silent || agent_down)
    };
    s.voters.keys().filter(|id| s.members.member(**id).is_some_and(|member| gone(**id, member))).count()
}

/// Whoever was cut off together with its leader hears that one for ever, though it leads nobody any more.
fn anybody_can_lead(voters: usize, gone: usize) -> bool {
    voters == 0 || 2 * gone < voters
}

fn node(member: &Member, s: &Sources<'_>) -> Arc<LiveNode> {
    let r = &member.record;
    let state = match r.state {
        MemberState::Alive => LiveState::Alive,
        MemberState::Suspect => LiveState::Suspect,
        MemberState::Dead => LiveState::Dead,
        MemberState::Left => LiveState::Left,
    };
    let agent = match s.members.trouble(r.node) {
        Some(Trouble::AgentGone) => AgentState::Gone,
        Some(Trouble::AgentStalled) => AgentState::Stalled,
        Some(Trouble::HostGone | Trouble::LinkBad) | None => AgentState::Up,
    };
    let connected = r.node == s.identity.node || s.connected.contains(&r.node);
    let told = |before: &&Arc<LiveNode>| {
        // Field by field, so that a new one isn't forgotten here.
        let LiveNode {
            node,
            name,
            address,
            zone,
            role,
            incarnation,
            session,
            state: state_before,
            agent: agent_before,
            version,
            connected: connected_before,
        } = &***before;
        (*node, *role, *incarnation, *session) == (r.node, r.role, r.incarnation, r.session)
            && (*state_before, *agent_before) == (state, agent)
            && *connected_before == connected
            && (name, address, zone, version) == (&r.name, &r.address, &r.zone, &r.version)
    };
    if let Some(same) = s.before.members.get(&r.node).filter(told) {
        return same.clone();
    }
    Arc::new(LiveNode {
        node: r.node,
        name: r.name.clone(),
        address: r.address.clone(),
        zone: r.zone.clone(),
        role: r.role,
        incarnation: r.incarnation,
        session: r.session,
        state,
        agent,
        version: r.version.clone(),
        connected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_leads_without_a_majority_that_is_there() {
        let most_gone = |voters: usize| (0..=voters).rev().find(|gone| anybody_can_lead(voters, *gone));
        assert_eq!((0..=5).map(most_gone).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2].map(Some));
    }
}
