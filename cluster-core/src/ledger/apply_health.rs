//! Nodes that live, and aren't well: their agent is down, they died too often, they say that they are sick. Not here: who
//! finds out (`cut`), and when that is too often or long enough (the recovery machine).

use super::{
    apply::{Entry, Outcome, reject},
    command::{Body, Reply},
    state::{AgentStanding, AgentState, EventType, HeldBack, Ledger, NodeState, Scheduling},
};
use crate::{ids::NodeId, limits::clip_evidence};

impl Ledger {
    pub(super) fn agent_state(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        let Body::AgentState { node: id, incarnation, state, since, observers, evidence } = body else {
            unreachable!("dispatched by its variant")
        };
        let node = self.listed(*id)?;
        let name = node.profile.name.clone();
        if node.state != NodeState::Alive {
            return Err(reject("NOT_ALIVE", format!("node {name} isn't alive, and so isn't its agent")));
        }
        if *incarnation < node.incarnation {
            return Err(reject("STALE", format!("node {name} began a new life since")));
        }
        if *state == node.agent.state {
            return Err(reject("DUPLICATE", format!("node {name}: its agent is known to be so")));
        }
        if *state == AgentState::Up {
            self.agent_returns(entry, *id);
            return Ok(Reply::Done);
        }
        // From gone to stalled, or back, it is the same trouble.
        let since = node.agent.since.unwrap_or(*since).min(entry.now);
        let evidence = clip_evidence(evidence);
        let is = if *state == AgentState::Gone { "is gone" } else { "says nothing" };
        let summary = format!("{name}'s agent {is}, but its host answers: its workloads run on");
        let names: Vec<String> = observers.iter().map(|id| self.node_name(*id)).collect();
        let fields = [
            ("agent", if *state == AgentState::Gone { "gone" } else { "stalled" }.to_owned()),
            ("observers", names.join(" ")),
            ("evidence", evidence.join("; ")),
        ];
        if let Some(node) = self.nodes.get_mut(id) {
            node.agent = AgentStanding { state: *state, since: Some(since), evidence };
        }
        self.event(entry, EventType::NodeSuspected, &name, summary, &fields);
        Ok(Reply::Done)
    }

    /// Its agent is up, as far as anybody knows. Of one whose node had died, that it is back says all.
    pub(super) fn agent_returns(&mut self, entry: &Entry<'_>, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let was = core::mem::take(&mut node.agent);
        if was.state == AgentState::Up || node.state != NodeState::Alive || node.death.is_some() {
            return;
        }
        let name = node.profile.name.clone();
        let down_ms = was.since.map_or(0, |since| entry.now.since_ms(since));
        let fields = [("agent", "up".to_owned()), ("down_ms", down_ms.to_string())];
        let summary = format!("{name}'s agent is up again, {down_ms} ms after it was last heard");
        self.event(entry, EventType::NodeBack, &name, summary, &fields);
    }

    pub(super) fn node_held_back(
        &mut self,
        entry: &Entry<'_>,
        id: NodeId,
        drain: bool,
        evidence: &[String],
    ) -> Outcome {
        let node = self.listed(id)?;
        let name = node.profile.name.clone();
        if node.state == NodeState::Left || node.scheduling != Scheduling::Eligible {
            return Err(reject("NODE_NOT_ELIGIBLE", format!("node {name} is given no work already")));
        }
        let evidence = clip_evidence(evidence);
        let is = if drain { "is drained" } else { "is quarantined" };
        let summary = format!("{name} {is}: {}", evidence.first().map_or("no reason was given", |e| e));
        let fields = [("actor", entry.actor.to_owned()), ("evidence", evidence.join("; "))];
        self.schedule(id, if drain { Scheduling::Draining } else { Scheduling::Quarantined });
        if let Some(node) = self.nodes.get_mut(&id) {
            node.held_back = Some(HeldBack { since: entry.now, evidence });
        }
        self.event(entry, EventType::OperatorAction, &name, summary, &fields);
        self.settle_drain(id);
        Ok(Reply::Done)
    }

    /// Only what the cluster itself holds back: what a person drained, a person gives back.
    pub(super) fn node_released(&mut self, entry: &Entry<'_>, id: NodeId, evidence: &[String]) -> Outcome {
        let node = self.listed(id)?;
        let name = node.profile.name.clone();
        if node.held_back.is_none() {
            return Err(reject("NOT_HELD_BACK", format!("node {name} isn't held back by the cluster")));
        }
        self.schedule(id, Scheduling::Eligible);
        self.forgive_deaths(id);
        let evidence = clip_evidence(evidence);
        let fields = [("actor", entry.actor.to_owned()), ("evidence", evidence.join("; "))];
        let summary = format!("{name} is eligible again");
        self.event(entry, EventType::OperatorAction, &name, summary, &fields);
        Ok(Reply::Done)
    }

    /// What was is held against it no more.
    pub(super) fn forgive_deaths(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).into_iter().for_each(|node| node.deaths.clear());
    }
}
