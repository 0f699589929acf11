//! This node's place in the ledger: asked for whenever it isn't there as it should be, and given up for good.

use super::{ASK_AGAIN, JOIN_AGAIN, Node};
use crate::{
    clock,
    run::{input::Input, leave},
    shared::{Identity, Raft as _},
};
use cluster_core::{
    ids::{LeaseEpoch, NodeId, RequestId},
    ledger::{self, Body, FEATURE_LEVEL, Ledger, NodeProfile, NodeState, REMOVED, Reply, Returning},
    membership,
    time::Instant,
};
use std::time::Duration;
use tokio::sync::oneshot;

impl Node {
    /// Hands the epoch that the ledger issued to the lease's holder.
    pub(super) fn grant(&mut self) {
        let me = self.p.identity.node;
        let boot = self.p.boot;
        let (groups, config, lease) = (self.groups(), self.voter_config, self.p.timing.lease);
        // Before this session's own entry is applied the copy may be older than what the keeper was told.
        let issued = self.p.replica.read(|ledger| {
            let alive = ledger.nodes.get(&me).filter(|n| n.state == NodeState::Alive && n.boot == boot);
            let epoch = alive.map(|n| n.epoch).filter(|e| *e != LeaseEpoch(0));
            self.knows_me(ledger).then_some(epoch)
        });
        let addresses = self.voters.iter().map(|(id, logged)| (*id, self.address_of(*id, logged))).collect();
        self.reporter.follow(&addresses);
        self.p.lease.granted(issued, groups, config, lease, &addresses);
    }

    /// Where a member is now, if anybody told.
    pub(super) fn address(&self, node: NodeId) -> Option<String> {
        let address = self.address_of(node, self.voters.get(&node).map_or("", String::as_str));
        (!address.is_empty()).then_some(address)
    }

    /// Where a voter is now: by gossip, else by the ledger, else as the log had it when it was founded.
    fn address_of(&self, voter: NodeId, logged: &str) -> String {
        let gossiped = self.members.member(voter).map(|m| m.record.address.clone());
        let profile = || self.p.replica.read(|l| l.nodes.get(&voter).map(|n| n.profile.address.clone()));
        gossiped.or_else(profile).unwrap_or_else(|| logged.to_owned())
    }

    /// Asks for its place in the ledger whenever it isn't there as it should be.
    pub(super) fn join(&mut self, now: Instant) {
        let me = self.p.identity.node;
        if self.leaving || self.p.stored.cluster().is_none() {
            return;
        }
        let again = if self.answered { ASK_AGAIN } else { JOIN_AGAIN };
        if self.joining.is_some_and(|at| now.since(at) < again) || self.removed {
            return;
        }
        let in_order = |n: &ledger::Node| {
            n.state == NodeState::Alive
                && n.epoch != LeaseEpoch(0)
                && n.session == self.p.identity.session
                && n.profile == self.profile
        };
        // Looked at after each input: nothing is copied while all is well.
        let missing =
            |l: &Ledger| (!l.nodes.get(&me).is_some_and(in_order)).then(|| l.nodes.get(&me).cloned());
        let (founded, missing) = self.p.replica.read(|l| (l.cluster.is_some(), missing(l)));
        self.in_order = missing.is_none();
        let Some(known) = missing else { return };
        let profile = self.profile.clone();
        if !founded && known.is_none() && self.p.live.borrow().leader.is_none() {
            return;
        }
        // To hear of its return, a dead node says how its death looked from here.
        let dead = known.as_ref().is_some_and(|n| n.state == NodeState::Dead);
        let returning = dead.then(|| self.returning(now));
        let replaces = known.filter(|n| n.boot != self.p.boot && n.epoch != LeaseEpoch(0)).map(|n| n.epoch);
        let body = Body::NodeUp {
            node: me,
            profile,
            boot: self.p.boot,
            session: self.p.identity.session,
            incarnation: self.members.me().incarnation,
            replaces,
            returning,
        };
        (self.joining, self.answered) = (Some(now), false);
        let (proposer, inputs) = (self.p.proposer.clone(), self.p.inputs.clone());
        let actor = format!("node:{}", self.p.identity.name);
        // Answers exactly once, after the proposer's own time-out at the latest.
        tokio::spawn(async move {
            let answer = proposer.propose(actor, RequestId(rand::random()), body).await;
            let answer = answer.map(|(_, reply)| reply).map_err(|e| e.to_string());
            let _stopping = inputs.send(Input::Joined(answer)).await;
        });
    }

    fn returning(&self, now: Instant) -> Returning {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let silent_ms = self.members.silences(now).into_iter().map(ms).collect();
        Returning { silent_ms, answered: self.answered }
    }

    pub(super) fn joined(&mut self, answer: Result<Reply, String>) {
        self.answered = answer.is_ok();
        match answer {
            Ok(Reply::Rejected(why)) if why.reason == "NAME_TAKEN" => self.join_refused = Some(why.message),
            Ok(Reply::Rejected(why)) => {
                tracing::warn!(%why, "the cluster refuses this node for now");
                if why.reason == REMOVED {
                    self.removed = true;
                    self.gossip(clock::raw(), membership::Event::Leave);
                }
                self.refused = Some(why.message);
            }
            Ok(_) => self.refused = None,
            Err(error) => {
                tracing::debug!(error, "this node's entry isn't written yet");
            }
        }
    }

    /// Leaving is asked of the ledger by a task that waits; the loop goes on meanwhile.
    pub(super) fn leave(&mut self, answer: oneshot::Sender<Result<(), String>>) {
        let id = &self.p.identity;
        if self.voters.contains_key(&id.node) {
            let why = format!(
                "{} is a voter, and this version can't change the voters of a running cluster yet: to take this host \
                 down for good, move its work away with `holdfast node drain {}` and stop the agent",
                id.name, id.name
            );
            let _gone = answer.send(Err(why));
            return;
        }
        if self.leaving {
            let _gone = answer.send(Err(format!("{} is leaving already", id.name)));
            return;
        }
        self.leaving = true;
        let (proposer, inputs) = (self.p.proposer.clone(), self.p.inputs.clone());
        let (replica, me, name) = (self.p.replica.clone(), id.node, id.name.clone());
        tokio::spawn(async move {
            let mut answer = answer;
            let outcome = tokio::select! {
                outcome = leave::leave(&proposer, &replica, me, &name) => outcome,
                // Whoever asked has given up: so does this.
                () = answer.closed() => Err("nobody waits for it any more".to_owned()),
            };
            let _stopping = inputs.send(Input::Left(answer, outcome)).await;
        });
    }

    pub(super) fn knows_me(&self, ledger: &Ledger) -> bool {
        ledger.nodes.get(&self.p.identity.node).is_some_and(|n| n.session == self.p.identity.session)
    }
}

/// What the ledger is to say of this node.
pub fn profile(id: &Identity) -> NodeProfile {
    NodeProfile {
        name: id.name.clone(),
        address: id.address.clone(),
        zone: id.zone.clone(),
        role: id.role,
        labels: id.labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: FEATURE_LEVEL,
    }
}
