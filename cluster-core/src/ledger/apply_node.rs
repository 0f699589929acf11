//! Nodes come, drain, leave and are removed. Not here: how they die (see apply_lease.rs).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Body, Rejection, Reply},
    state::{
        AgentStanding, DeathRecord, EventType, Ledger, Method, Node, NodeProfile, NodeState, Scheduling,
    },
    validate,
};
use crate::{
    ids::{BootId, LeaseEpoch, NodeId, SessionId, ViewEpoch},
    limits::{NODE_GONE_LISTED_MS, NODES_MAX, REMOVED_MAX},
    time::WallTime,
};
use std::collections::BTreeSet;

const NONE: LeaseEpoch = LeaseEpoch(0);
/// Why a process is refused whose node was removed under it.
pub const REMOVED: &str = "REMOVED";

impl Ledger {
    pub(super) fn listed(&self, node: NodeId) -> Result<&Node, Rejection> {
        let unknown = || reject("NOT_FOUND", format!("node {node} isn't listed"));
        self.nodes.get(&node).ok_or_else(unknown)
    }

    pub(super) fn node_up(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::NodeUp { node, profile, boot, session, incarnation, replaces, .. } = body else {
            unreachable!("dispatched by its variant")
        };
        validate::profile(profile)?;
        self.check_removed(*node, *session, profile)?;
        self.check_name(*node, profile)?;
        let ends = self.epoch_ended_by(*node, *boot);
        if *replaces != ends {
            let say = |epoch: Option<LeaseEpoch>| epoch.map_or("none".to_owned(), |e| e.to_string());
            let (said, holds) = (say(*replaces), say(ends));
            let message = format!(
                "node {}: it names {said} as the epoch to replace, but that is {holds}",
                profile.name
            );
            return Err(reject("EPOCH_MISMATCH", message));
        }
        if let Some(epoch) = ends {
            self.revoke(entry, *node, &host_restarted(entry, epoch));
        }
        let issued = LeaseEpoch(entry.at.index);
        let Some(known) = self.nodes.get_mut(node) else {
            let node_record = Node {
                profile: profile.clone(),
                state: NodeState::Alive,
                scheduling: Scheduling::Eligible,
                incarnation: *incarnation,
                boot: *boot,
                session: *session,
                epoch: issued,
                joined_at: entry.now,
                changed_at: entry.now,
                failure: None,
                death: None,
                agent: AgentStanding::default(),
                deaths: Vec::new(),
                held_back: None,
            };
            self.nodes.insert(*node, node_record);
            self.view_epoch = ViewEpoch(self.view_epoch.0 + 1);
            self.event(entry, EventType::NodeJoined, &profile.name, format!("{} joined", profile.name), &[]);
            return Ok(Reply::Epoch(issued));
        };
        known.profile = profile.clone();
        known.boot = *boot;
        known.session = *session;
        known.incarnation = known.incarnation.max(*incarnation);
        if known.epoch == NONE {
            known.epoch = issued;
        }
        let epoch = known.epoch;
        self.agent_returns(entry, *node);
        self.node_returns(entry, *node);
        Ok(Reply::Epoch(epoch))
    }

    /// A process that lived when its node was removed stays out. One that was started since is somebody's will.
    fn check_removed(
        &self,
        node: NodeId,
        session: SessionId,
        profile: &NodeProfile,
    ) -> Result<(), Rejection> {
        if !self.removed.contains(&(node, session)) {
            return Ok(());
        }
        let name = &profile.name;
        let message = format!(
            "{name} was removed from the cluster while its agent ran: stop the agent on {name} for good, or start it \
             again to have {name} back"
        );
        Err(reject(REMOVED, message))
    }

    /// A name stands for one id: who comes with a new id under a listed name may be a cloned or a reinstalled host.
    fn check_name(&self, node: NodeId, profile: &NodeProfile) -> Result<(), Rejection> {
        let name = &profile.name;
        if let Some((other, _)) = self.node_by_name(name)
            && other != node
        {
            let message = format!(
                "the name {name} belongs to node {other}: give node {node} another name, or, if {other} is gone \
                 for good, run `holdfast node remove {name}`"
            );
            return Err(reject("NAME_TAKEN", message));
        }
        if !self.nodes.contains_key(&node) && self.nodes.len() >= NODES_MAX {
            let message = format!("{NODES_MAX} nodes are listed, the most there may be: remove some first");
            return Err(reject("TOO_MANY_NODES", message));
        }
        Ok(())
    }

    /// The epoch that ends when the node comes up with this boot: that of another boot which nobody revoked yet.
    fn epoch_ended_by(&self, node: NodeId, boot: BootId) -> Option<LeaseEpoch> {
        let known = self.nodes.get(&node)?;
        (known.epoch != NONE && known.boot != boot).then_some(known.epoch)
    }

    /// Whatever was wrong with the node's life or lease is over.
    fn node_returns(&mut self, entry: &Entry<'_>, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let was = core::mem::replace(&mut node.state, NodeState::Alive);
        let had_died = node.death.take().is_some();
        let (name, failure) = (node.profile.name.clone(), node.failure);
        if was != NodeState::Alive {
            node.changed_at = entry.now;
            self.view_epoch = ViewEpoch(self.view_epoch.0 + 1);
        }
        if was == NodeState::Left {
            // It left drained and of its own will: the time away is nobody's failure, and its account starts anew.
            node.joined_at = entry.now;
            node.scheduling = Scheduling::Eligible;
            node.deaths.clear();
        }
        if was != NodeState::Alive || had_died {
            let fields = [("incarnation", node.incarnation.to_string()), ("epoch", node.epoch.to_string())];
            self.event(entry, EventType::NodeBack, &name, format!("{name} is back"), &fields);
        }
        if let Some(failure) = failure {
            self.close_failure(entry, failure, "back");
        }
        self.forget_revocations();
    }

    pub(super) fn node_draining(&mut self, entry: &Entry<'_>, id: NodeId) -> Outcome {
        let node = self.listed(id)?;
        if matches!(node.scheduling, Scheduling::Eligible | Scheduling::Quarantined) {
            let name = node.profile.name.clone();
            self.schedule(id, Scheduling::Draining);
            self.operator_event(entry, &name, format!("{name} is draining"));
            self.settle_drain(id);
        }
        Ok(Reply::Done)
    }

    pub(super) fn node_undrained(&mut self, entry: &Entry<'_>, id: NodeId) -> Outcome {
        let node = self.listed(id)?;
        if node.scheduling != Scheduling::Eligible {
            let name = node.profile.name.clone();
            self.schedule(id, Scheduling::Eligible);
            self.forgive_deaths(id);
            self.operator_event(entry, &name, format!("{name} is eligible again"));
        }
        Ok(Reply::Done)
    }

    /// Whatever held it back before has no say any more: of the newest word alone it depends who lifts it.
    pub(super) fn schedule(&mut self, id: NodeId, scheduling: Scheduling) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.scheduling = scheduling;
            node.held_back = None;
        }
    }

    /// A draining node is drained when the last placement has gone, however it went.
    pub(super) fn settle_drain(&mut self, id: NodeId) {
        let draining = self.nodes.get(&id).is_some_and(|node| node.scheduling == Scheduling::Draining);
        if draining && self.placements_on(id).next().is_none() {
            // By whose word, stays.
            self.nodes.get_mut(&id).into_iter().for_each(|node| node.scheduling = Scheduling::Drained);
        }
    }

    fn check_epoch(&self, id: NodeId, epoch: LeaseEpoch) -> Result<&Node, Rejection> {
        let node = self.listed(id)?;
        if node.epoch == epoch {
            return Ok(node);
        }
        let (name, holds) = (&node.profile.name, node.epoch);
        Err(reject("EPOCH_MISMATCH", format!("node {name} holds epoch {holds}, not {epoch}: ask again")))
    }

    /// Nothing ran under its epoch when it ended, so nothing waits for it and no revocation is kept.
    pub(super) fn node_left(&mut self, entry: &Entry<'_>, id: NodeId, epoch: LeaseEpoch) -> Outcome {
        let node = self.check_epoch(id, epoch)?;
        let name = node.profile.name.clone();
        if node.state != NodeState::Alive {
            return Err(reject(
                "NOT_ALIVE",
                format!("node {name} isn't alive: it can be removed, not leave"),
            ));
        }
        let placed = self.placements_on(id).count();
        if placed > 0 {
            let message = format!(
                "{placed} instances are still placed on {name}: run `holdfast node drain {name}` first"
            );
            return Err(reject("NOT_DRAINED", message));
        }
        let failure = node.failure;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state = NodeState::Left;
            node.changed_at = entry.now;
            node.epoch = NONE;
            node.death = None;
            node.scheduling = Scheduling::Drained;
            node.held_back = None;
        }
        self.view_epoch = ViewEpoch(self.view_epoch.0 + 1);
        self.event(entry, EventType::NodeLeft, &name, format!("{name} left for good"), &[]);
        if let Some(failure) = failure {
            self.close_failure(entry, failure, "left");
        }
        self.forget_revocations();
        Ok(Reply::Done)
    }

    /// A person's word that a node is gone doesn't make it so: what ran there still waits for its lease to end.
    pub(super) fn node_removed(&mut self, entry: &Entry<'_>, id: NodeId, epoch: LeaseEpoch) -> Outcome {
        let node = self.check_epoch(id, epoch)?;
        let (name, failure, alive) =
            (node.profile.name.clone(), node.failure, node.state == NodeState::Alive);
        if epoch != NONE {
            let removed = DeathRecord {
                method: Method::Operator,
                evidence: vec![format!("{} removed the node {name}", entry.actor)],
                ..host_restarted(entry, epoch)
            };
            self.revoke(entry, id, &removed);
        }
        if let Some(failure) = failure {
            self.close_failure(entry, failure, "removed");
        }
        if let Some(node) = self.nodes.remove(&id) {
            self.removed.push_back((id, node.session));
            if self.removed.len() > REMOVED_MAX {
                self.removed.pop_front();
            }
        }
        if alive {
            self.view_epoch = ViewEpoch(self.view_epoch.0 + 1);
        }
        self.operator_event(entry, &name, format!("{name} was removed"));
        self.forget_revocations();
        Ok(Reply::Done)
    }
}

impl Ledger {
    /// A day after they died or left. Their epochs ended then, and nothing is placed there.
    pub(super) fn nodes_forgotten(&mut self, entry: &Entry<'_>, ids: &[NodeId]) -> Outcome {
        let due: BTreeSet<NodeId> = self.forgettable(entry.now).collect();
        let due: BTreeSet<NodeId> = ids.iter().copied().filter(|id| due.contains(id)).collect();
        if due.is_empty() {
            return Err(reject("STALE", "none of these nodes has been gone for a day"));
        }
        for id in due {
            let Some(failure) = self.nodes.get(&id).map(|node| node.failure) else { continue };
            if let Some(failure) = failure {
                self.close_failure(entry, failure, "forgotten");
            }
            let Some(node) = self.nodes.remove(&id) else { continue };
            let (name, how) =
                (node.profile.name, if node.state == NodeState::Left { "left" } else { "died" });
            let summary = format!("{name} isn't listed any more: it {how} a day ago");
            self.event(entry, EventType::NodeLeft, &name, summary, &[]);
        }
        self.forget_revocations();
        Ok(Reply::Done)
    }

    /// Nodes that died or left a day ago. One whose death isn't recorded as a failure yet waits for that.
    pub fn forgettable(&self, now: WallTime) -> impl Iterator<Item = NodeId> {
        let gone = move |node: &Node| {
            node.state != NodeState::Alive
                && now.since_ms(node.changed_at) >= NODE_GONE_LISTED_MS
                && (node.death.is_none() || node.failure.is_some())
        };
        self.nodes.iter().filter(move |(_, node)| gone(node)).map(|(id, _)| *id)
    }
}

/// The end of an epoch that is noticed only now, by the node's coming up with another boot.
fn host_restarted(entry: &Entry<'_>, epoch: LeaseEpoch) -> DeathRecord {
    DeathRecord {
        method: Method::Connection,
        epoch,
        last_seen_at: entry.now,
        suspected_at: entry.now,
        declared_at: entry.now,
        evidence: vec!["its host restarted".to_owned()],
    }
}
