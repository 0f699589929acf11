//! Second opinions: what membership wants to know of a peer that it doesn't hear, and what others ask of this agent.
//!
//! Every question ends by its own time-out, and its answer comes back as an input. Not here: what an answer means.

use super::Node;
use crate::{
    limits::{OPINION_TIMEOUT, QUESTIONS_IN_FLIGHT},
    run::input::Input,
    wire::{client::Channel, gossip::Said, peer, socket},
};
use cluster_core::{
    cut,
    ids::{ClusterId, NodeId},
    membership::{self, DialOutcome, Opinion, Report, Trouble},
    time::Instant,
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Those who wait for an answer of this agent, by who asks and about whom.
#[derive(Debug)]
pub struct Askers<T>(BTreeMap<(NodeId, NodeId), oneshot::Sender<T>>);

impl<T> Default for Askers<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Askers<T> {
    /// A newer question of the same takes the place of the older. False when too many wait: this one isn't kept.
    pub fn wait(&mut self, by: NodeId, subject: NodeId, answer: oneshot::Sender<T>) -> bool {
        self.0.retain(|_, waiting| !waiting.is_closed());
        let room = self.0.len() < QUESTIONS_IN_FLIGHT;
        if room {
            self.0.insert((by, subject), answer);
        }
        room
    }

    pub fn answer(&mut self, to: NodeId, subject: NodeId, answer: T) {
        if let Some(waiting) = self.0.remove(&(to, subject)) {
            let _gave_up = waiting.send(answer);
        }
    }
}

impl Node {
    /// A fresh connection; its outcome comes as an input.
    pub(super) fn dial(&self, peer: NodeId, address: String) {
        let Some(cluster) = self.p.stored.cluster() else { return };
        // Too many at once: no outcome, as if the answer had been lost.
        let Ok(place) = self.dials.clone().try_acquire_owned() else { return };
        let (peers, inputs) = (self.p.peers.clone(), self.p.inputs.clone());
        tokio::spawn(async move {
            let outcome = socket::dial(&address, peers.tls(), cluster, peer).await;
            drop(place);
            match outcome {
                Ok(outcome) => {
                    let _stopping = inputs.send(Input::Dialled(peer, outcome)).await;
                }
                Err(error) => tracing::debug!(%peer, %error, "no fresh connection can be tried"),
            }
        });
    }

    pub(super) fn dialled(&mut self, now: Instant, peer: NodeId, outcome: DialOutcome) {
        if outcome == DialOutcome::Refused {
            self.leader_is_gone(peer, "its host refuses connections");
        }
        self.gossip(now, membership::Event::Dialled { peer, outcome });
    }

    /// The helper answers by its own machine, in its time.
    pub(super) fn ask_help(&self, helper: NodeId, subject: NodeId) {
        let Some((cluster, channel)) = self.reach(helper) else { return };
        let (me, inputs) = (self.p.identity.node, self.p.inputs.clone());
        tokio::spawn(async move {
            match peer::help(channel, cluster, me, subject, OPINION_TIMEOUT).await {
                Ok(opinion) => {
                    let _stopping = inputs.send(Input::HelpAnswered { helper, subject, opinion }).await;
                }
                Err(error) => tracing::debug!(%helper, %subject, %error, "no help"),
            }
        });
    }

    pub(super) fn help_asked(
        &mut self,
        now: Instant,
        by: NodeId,
        subject: NodeId,
        answer: oneshot::Sender<Opinion>,
    ) {
        if self.helping.wait(by, subject, answer) {
            self.gossip(now, membership::Event::HelpAsked { by, subject });
        }
    }

    pub(super) fn polled(
        &mut self,
        now: Instant,
        by: NodeId,
        subject: NodeId,
        answer: oneshot::Sender<bool>,
    ) {
        if self.polled.wait(by, subject, answer) {
            self.gossip(now, membership::Event::Polled { by, subject });
        }
    }

    pub(super) fn answer_poll(&mut self, now: Instant, to: NodeId, subject: NodeId, hears: bool) {
        let me = self.p.identity.node;
        if to == me {
            self.cut(now, cut::Event::PollAnswer { observer: me, subject, hears });
        } else {
            self.polled.answer(to, subject, hears);
        }
    }

    /// The leader's question to the others.
    pub(super) fn poll(&mut self, now: Instant, subject: NodeId, observers: Vec<NodeId>) {
        let me = self.p.identity.node;
        for observer in observers {
            if observer == me {
                self.gossip(now, membership::Event::Polled { by: me, subject });
                continue;
            }
            let Some((cluster, channel)) = self.reach(observer) else { continue };
            let inputs = self.p.inputs.clone();
            tokio::spawn(async move {
                // Who doesn't answer abstains.
                if let Ok(hears) = peer::poll(channel, cluster, me, subject, OPINION_TIMEOUT).await {
                    let _stopping = inputs.send(Input::PollAnswered { observer, subject, hears }).await;
                }
            });
        }
    }

    /// To every voter by a call of its own, and beside it over the stream where one delivers: under loss either may stall
    /// for seconds. One that is stuck would hand over later, as if new, what was found long ago; a call has its deadline.
    /// To this agent's own cut directly.
    pub(super) fn report(&mut self, now: Instant, report: Report) {
        for finding in report.findings.iter().filter(|f| f.trouble <= Trouble::AgentGone) {
            self.leader_is_gone(finding.node, "this voter and those it asked find it so");
        }
        let me = self.p.identity.node;
        let found: Vec<_> = report.findings.iter().map(|f| (f.node, f.trouble, f.dial)).collect();
        if self.found != found {
            tracing::info!(?found, "this agent finds");
            self.found = found;
        }
        if self.voters.contains_key(&me) {
            self.cut(now, cut::Event::Report(report.clone()));
        }
        let sent = self.reporter.say(report);
        let stuck_after = self.p.timing.suspect_ceiling * 2;
        let delivers = |voter: &NodeId| self.members.silence(now, *voter).is_some_and(|s| s < stuck_after);
        for voter in self.voters.keys().filter(|v| **v != me && delivers(v)) {
            self.edges.send(*voter, Said::Report(sent.clone()));
        }
    }

    /// A new leader needn't wait until the old one's lease and its own patience ran out: this voter has evidence.
    pub(super) fn leader_is_gone(&self, peer: NodeId, evidence: &'static str) {
        let leads = self.p.consensus.status().leader == Some(peer);
        if leads && self.voters.contains_key(&self.p.identity.node) {
            tracing::info!(leader = %peer, evidence, "the leader is gone");
            self.p.consensus.leader_is_gone(peer);
        }
    }

    /// When the leader's stream ends and its port is closed, its process is gone. Asked at once, apart from what
    /// membership asks: a write waits for it.
    pub(super) fn check_leader(&self, peer: NodeId) {
        let leads = self.p.consensus.status().leader == Some(peer);
        if leads
            && self.voters.contains_key(&self.p.identity.node)
            && let Some(address) = self.address(peer)
        {
            self.dial(peer, address);
        }
    }

    fn reach(&self, node: NodeId) -> Option<(ClusterId, Channel)> {
        Some((self.p.stored.cluster()?, self.p.peers.channel(&self.address(node)?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_answered_once_and_who_gave_up_makes_room() {
        let mut askers = Askers::default();
        let (answer, answered) = oneshot::channel();
        assert!(askers.wait(NodeId(1), NodeId(2), answer));
        askers.answer(NodeId(3), NodeId(2), false);
        askers.answer(NodeId(1), NodeId(2), true);
        askers.answer(NodeId(1), NodeId(2), false);
        assert_eq!(answered.await, Ok(true));

        let mut kept = Vec::new();
        for n in 0..QUESTIONS_IN_FLIGHT {
            let (answer, answered) = oneshot::channel();
            assert!(askers.wait(NodeId(n as u64), NodeId(2), answer));
            kept.push(answered);
        }
        assert!(!askers.wait(NodeId(9_999), NodeId(2), oneshot::channel().0), "full");
        kept.pop();
        assert!(askers.wait(NodeId(9_999), NodeId(2), oneshot::channel().0));
    }
}
