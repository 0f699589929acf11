//! What this agent does as a voter and as the leader: it follows the configuration, feeds the cut, and lets the leader's
//! machines act.
//!
//! Not here: what a leader does (`run::leader`), and who is dead (`cluster_core::cut`).

use super::Node;
use crate::{
    consensus, priority,
    run::leader::{Leader, ago},
    wire::findings::SentReport,
};
use cluster_core::{
    cut,
    ids::{LeaseEpoch, NodeId},
    lease::Groups,
    ledger::{Body, Ledger},
    recovery::LiveView,
    time::Instant,
};
use std::time::Duration;

impl Node {
    pub(super) fn follow_configuration(&mut self, now: Instant) {
        let status = self.p.consensus.status();
        let follows = status.voters.is_empty();
        let (config, count) = if follows {
            let heard = self.p.heard.borrow();
            (heard.config, heard.voters.len())
        } else {
            (status.voter_config.unwrap_or_default(), status.voters.len())
        };
        if config != self.voter_config || count != self.voters.len() {
            self.voter_config = config;
            self.voters = if follows {
                self.p.heard.borrow().voters.clone()
            } else {
                status.voters.iter().cloned().collect()
            };
            self.urgent = true;
            priority::raise(self.voters.contains_key(&self.p.identity.node));
            let groups = self.groups();
            self.lead(|leader, ledger, live| leader.voters(now, ledger, live, &groups));
            self.cut(now, cut::Event::Voters(groups));
            self.grant();
        }
    }

    pub(super) fn groups(&self) -> Groups {
        vec![self.voters.keys().copied().collect()]
    }

    pub(super) fn change_leader(&mut self, now: Instant) {
        let status = self.p.consensus.status();
        let leads = status.role == consensus::Role::Leader && status.leader == Some(self.p.identity.node);
        let same = self.leader.as_ref().is_some_and(|l| l.term == status.term);
        if leads == self.leader.is_some() && (!leads || same) {
            return;
        }
        self.leader = None;
        self.urgent = true;
        self.cut(now, cut::Event::Leading(leads));
        if let (true, Some(cluster)) = (leads, self.p.stored.cluster()) {
            // Before its first look: rules that hold by them would seem to be over.
            self.hear_vitals();
            let (office, lease, groups) = (self.p.office.clone(), self.p.timing.lease, self.groups());
            self.leader = Some(Leader::new(office, cluster, status.term, now, lease, groups.clone()));
            self.lead(|leader, ledger, live| leader.voters(now, ledger, live, &groups));
        }
    }

    /// How members fare, for a leader's rules.
    pub(super) fn hear_vitals(&mut self) {
        self.heard.vitals = self.members.all_vitals().collect();
    }

    /// One step of the cut, and what it wants.
    pub(super) fn cut(&mut self, now: Instant, event: cut::Event) {
        let mut effects = Vec::new();
        self.cut.step(now, event, &mut effects);
        for effect in effects {
            match effect {
                cut::Effect::Suspected { node, observers } => {
                    tracing::info!(%node, observers = observers.len(), "found gone by several");
                }
                cut::Effect::Poll { subject, observers } => self.poll(now, subject, observers),
                cut::Effect::Declare(verdicts) => {
                    self.lead(|leader, ledger, _| leader.declare(ledger, verdicts));
                }
                cut::Effect::AgentState { node, incarnation, state, last_seen, observers, evidence } => {
                    let since = ago(last_seen);
                    let body = Body::AgentState { node, incarnation, state, since, observers, evidence };
                    self.lead(|leader, _, _| leader.tell(body));
                }
            }
        }
    }

    /// What another observer found; it comes by two ways.
    pub(super) fn reported(&mut self, now: Instant, sent: SentReport) {
        if self.reports.is_news(&sent) {
            self.cut(now, cut::Event::Report(sent.report));
        }
    }

    pub(super) fn ack_ages(&mut self, now: Instant, from: NodeId, ages: Vec<(LeaseEpoch, Duration)>) {
        if let Some(leader) = self.leader.as_mut().filter(|_| self.voters.contains_key(&from)) {
            leader.ack_ages(now, from, ages);
        }
    }

    /// Once a heartbeat: what a leader's rules rest on; and this voter's account of whom it acknowledged, where no heartbeat
    /// carries it to the leader.
    pub(super) fn account(&mut self, now: Instant) {
        let me = self.p.identity.node;
        let due = now.since(self.accounted_at) >= self.p.timing.heartbeat;
        if !due || !self.voters.contains_key(&me) {
            return;
        }
        self.accounted_at = now;
        if self.leader.is_some() {
            self.hear_vitals();
        }
        if let Some(leader) = &mut self.leader {
            leader.ack_ages(now, me, self.p.replica.book().ack_ages(now));
            return;
        }
        let Some(leader) = self.p.consensus.status().leader else { return };
        // Where nothing is placed nobody needs a lease, and nothing is to be told of it.
        let holds = self.p.replica.read(|ledger| ledger.placements().next().is_some());
        if holds && !self.edges.connected().contains(&leader) {
            self.reporter.account(leader, self.p.replica.book().ack_ages(now));
        }
    }

    /// Lets the leader's machines act, if this agent leads.
    pub(super) fn lead(&mut self, act: impl FnOnce(&mut Leader, &Ledger, &LiveView)) {
        if let Some(leader) = &mut self.leader {
            let (heard, replica) = (&self.heard, &self.p.replica);
            replica.read(|ledger| act(leader, ledger, heard));
        }
    }
}
