//! The leader's part of an agent: the cut, lost leases and recovery, as soon as it has applied all that came before.
//!
//! Not here: any decision; those are the core's.

use super::agent::{Agent, Env, Msg, Out};
use cluster_core::{
    cut,
    ids::{LeaseEpoch, NodeId},
    lease::{Lost, Observed},
    ledger::{Body, Death},
    membership::MemberState,
    recovery::{self, Heard, Input, LiveView, Recovery, View},
    time::{Instant, WallTime},
    timing::LAN,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What a decision that isn't in the ledger yet is left alone for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an agent has only while it leads, and only once its own first entry is applied.
#[derive(Debug)]
pub struct Office {
    lost: Lost,
    recovery: Recovery,
    /// Epochs whose loss was proposed, and when.
    proposed: BTreeMap<LeaseEpoch, Instant>,
}

impl Agent {
    pub(super) fn take_office(&mut self, env: &mut Env<'_>) {
        let ready = self.raft.leads() && self.ledger.applied.term == self.raft.term();
        if !ready || self.office.is_some() {
            return;
        }
        let lost = Lost::new(env.clocks.raw, LAN.lease, self.groups());
        self.office = Some(Office { lost, recovery: Recovery::new(), proposed: BTreeMap::new() });
        self.recover(Input::Voters(self.groups()), env);
    }

    pub(super) fn govern(&mut self, env: &mut Env<'_>) {
        if self.office.is_some() {
            self.find_lost(env);
            self.recover(Input::Tick, env);
        }
    }

    pub(super) fn hear_ages(&mut self, voter: NodeId, ages: Vec<(LeaseEpoch, Duration)>, env: &Env<'_>) {
        if let Some(office) = self.office.as_mut().filter(|_| self.who.voters.contains(&voter)) {
            office.lost.step(env.clocks.raw, Observed::Ages { voter, ages });
        }
    }

    pub(super) fn hear_promise(
        &mut self,
        voter: NodeId,
        epoch: LeaseEpoch,
        remaining: Duration,
        env: &mut Env<'_>,
    ) {
        self.recover(Input::Promise { voter, epoch, remaining }, env);
    }

    pub(super) fn declare(&mut self, effects: Vec<cut::Effect>, env: &mut Env<'_>) {
        for effect in effects {
            let ago = |d: Duration| WallTime(env.wall.0 - u64::try_from(d.as_millis()).expect("short"));
            let verdicts = match effect {
                cut::Effect::Declare(verdicts) if self.office.is_some() => verdicts,
                cut::Effect::AgentState { node, incarnation, state, last_seen, observers, evidence }
                    if self.office.is_some() =>
                {
                    let since = ago(last_seen);
                    let body = Body::AgentState { node, incarnation, state, since, observers, evidence };
                    self.propose(body, env);
                    continue;
                }
                cut::Effect::Poll { subject, observers } => {
                    let ask = |to| Out::Send { to, msg: Msg::Poll(subject) };
                    env.out.extend(observers.into_iter().map(ask));
                    continue;
                }
                cut::Effect::Declare(_) | cut::Effect::AgentState { .. } | cut::Effect::Suspected { .. } => {
                    continue;
                }
            };
            let death = |v: cut::Verdict| Death {
                node: v.node,
                epoch: self.ledger.nodes.get(&v.node).map_or(LeaseEpoch(0), |n| n.epoch),
                incarnation: v.incarnation,
                last_seen_at: ago(v.last_seen),
                suspected_at: ago(v.suspected),
                observers: v.observers,
                evidence: v.evidence,
            };
            let deaths: Vec<Death> = verdicts.into_iter().map(death).collect();
            self.propose(Body::NodesDead { deaths }, env);
        }
    }

    fn find_lost(&mut self, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        let Some(office) = &mut self.office else { return };
        if self.who.voters.contains(&self.who.node) {
            let ages = self.book.ack_ages(now);
            office.lost.step(now, Observed::Ages { voter: self.who.node, ages });
        }
        let held = self.ledger.placements().map(|(_, _, p)| (p.epoch, p.node));
        let held = held.filter(|(epoch, node)| self.ledger.is_current(*node, *epoch));
        office.lost.step(now, Observed::Holding { epochs: held.collect() });
        let unheard: BTreeSet<NodeId> = self
            .membership
            .members()
            .filter(|m| m.record.state != MemberState::Alive)
            .map(|m| m.record.node)
            .collect();
        office.proposed.retain(|_, at| now.since(*at) < PATIENCE);
        let losses = office.lost.losses(now, &unheard);
        let mut new = Vec::new();
        for loss in losses {
            if office.proposed.insert(loss.epoch, now).is_none() {
                new.push(loss);
            }
        }
        for loss in new {
            let age = loss.last_acked.map_or(LAN.lease, |at| now.since(at));
            let last_seen_at = WallTime(env.wall.0 - u64::try_from(age.as_millis()).expect("short"));
            let evidence = vec!["no majority of voters acknowledged it".to_owned()];
            let body = Body::LeaseLost { node: loss.node, epoch: loss.epoch, last_seen_at, evidence };
            self.propose(body, env);
        }
    }

    fn recover(&mut self, input: Input, env: &mut Env<'_>) {
        let heard = self.membership.members().filter_map(|m| match m.record.state {
            MemberState::Alive => Some((m.record.node, Heard::Alive)),
            MemberState::Suspect => Some((m.record.node, Heard::Suspect)),
            MemberState::Dead | MemberState::Left => None,
        });
        let live = LiveView { heard: heard.collect(), ..LiveView::default() };
        let mut effects = Vec::new();
        let Some(office) = &mut self.office else { return };
        let view = View { ledger: &self.ledger, live: &live };
        office.recovery.step(env.clocks.raw, &view, input, &mut effects);
        for effect in effects {
            match effect {
                recovery::Effect::Propose(body) => self.propose(body, env),
                recovery::Effect::AskPromises { epoch, at, voters } => {
                    let ask = |to| Out::Send { to, msg: Msg::AskPromise { epoch, at } };
                    env.out.extend(voters.into_iter().map(ask));
                }
            }
        }
    }
}
