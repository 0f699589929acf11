//! Voters and the view: a stand-in for Raft, and for the ledger's list of nodes, around the real cut detector of each
//! voter.
//!
//! One voter leads. A proposal is committed after what a majority's answers take under the present loss, if a majority
//! is reached at all; then every node gets the new view over its connection to a voter. A leader that is lost is followed
//! by the next voter that reaches a majority, after an election's time. Not here: anything that decides who is dead; the
//! ledger of a leader that tells people (`desk`).

use super::{
    node::{id, index},
    options::Declared,
    streams::{Kind, MS, Mail},
    world::{Later, TIMING, What, World},
};
use cluster_core::{
    cut,
    ids::{Incarnation, NodeId},
    ledger::{Body, NodeState},
    membership::{self, AgentState, Report, Roll, Trouble, View, ViewMember},
    recovery::returns::{Ask, Returns},
};
use core::time::Duration;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

const LOOK_EVERY: u64 = 50 * MS;
/// From a leader's loss to the next one's first entry.
const ELECTION: u64 = 600 * MS;
/// A node whose view is behind for so long follows another voter.
const FOLLOW_ANOTHER: u64 = 2_000 * MS;
/// A leader says what isn't acknowledged again, on a fresh connection too, at least so often.
const RAFT_AGAIN_MAX: u64 = 400 * MS;
const SYNC: (u64, u64) = (200, 1_500);
const ROLLS_MAX: usize = 16;
const ASK_UP_AGAIN: u64 = 2_000 * MS;
/// So many questions without an answer, and the connection is taken for stuck.
const UNANSWERED_MAX: u32 = 2;

#[derive(Debug, Default)]
pub struct Office {
    pub voters: Vec<u32>,
    pub leader: Option<u32>,
    pub view: Arc<View>,
    /// Made once for each view, and shared by all who follow it; the last few.
    rolls: VecDeque<Arc<Roll>>,
    lost_since: Option<u64>,
    pub led_since: u64,
    /// Changes of members that the next commit takes along.
    ups: Vec<ViewMember>,
    ups_under_way: bool,
    behind: bool,
    agents: BTreeMap<NodeId, AgentState>,
    /// Who is dead: since when nobody heard it.
    dead: BTreeMap<NodeId, u64>,
    /// Of each who led.
    returns: BTreeMap<u32, Returns>,
    looks: u64,
}

#[derive(Debug)]
pub enum Proposal {
    Dead {
        leader: u32,
        verdicts: Vec<cut::Verdict>,
    },
    Ups {
        leader: u32,
    },
    /// `found`: as it is written into the ledger.
    Agent {
        leader: u32,
        node: NodeId,
        state: AgentState,
        found: Box<Body>,
    },
}

impl Office {
    pub fn roll_of(&mut self, view: &View) -> Arc<Roll> {
        if let Some(roll) = self.rolls.iter().rev().find(|r| r.epoch() == view.epoch) {
            return Arc::clone(roll);
        }
        let roll = Arc::new(Roll::of(view));
        self.rolls.push_back(Arc::clone(&roll));
        if self.rolls.len() > ROLLS_MAX {
            self.rolls.pop_front();
        }
        roll
    }
}

impl World {
    pub(super) fn found_cluster(&mut self) {
        let count = if self.options.formed { self.options.nodes } else { 1 };
        // A cluster that grows from one seed is founded by it; its voters are spread later, which isn't simulated.
        self.office.voters = (0..self.options.voters.min(count)).collect();
        let members = self.nodes[..count as usize].iter().map(super::node::Node::view_member).collect();
        self.office.view = Arc::new(View { epoch: cluster_core::ids::ViewEpoch(1), members });
        self.office.leader = Some(0);
        if self.options.tells.is_some() {
            self.found_ledger();
        }
    }

    pub(super) fn cut_step(&mut self, node: u32, event: cut::Event) {
        let n = &mut self.nodes[node as usize];
        // Told to step down while it had no time, and then made to live through that time (`catch_up`).
        n.cut_stepped = n.cut_stepped.max(self.now);
        let clock = n.clock(n.cut_stepped);
        let Some(cut) = &mut n.cut else { return };
        let mut effects = Vec::new();
        cut.step(clock, event, &mut effects);
        for effect in effects {
            match effect {
                cut::Effect::Suspected { node: subject, observers } => {
                    self.trace(|| format!("suspected: n{} by {}", subject.0, Self::ids_of(&observers)));
                }
                cut::Effect::Declare(verdicts) => self.propose_dead(node, verdicts),
                cut::Effect::Poll { subject, observers } => {
                    self.counts.polls += 1;
                    self.trace(|| format!("asks {} about n{}", Self::ids_of(&observers), subject.0));
                    for observer in observers {
                        if index(observer) == node {
                            self.step(node, membership::Event::Polled { by: observer, subject });
                        } else {
                            self.call(node, index(observer), Mail::Poll(subject));
                        }
                    }
                }
                cut::Effect::AgentState {
                    node: subject,
                    incarnation,
                    state,
                    last_seen,
                    observers,
                    evidence,
                } => {
                    self.trace(|| format!("the agent of n{} is {state:?}", subject.0));
                    let since = self.ago(node, last_seen);
                    let found =
                        Body::AgentState { node: subject, incarnation, state, since, observers, evidence };
                    if let Some(after) = self.commit_time(node) {
                        let found = Box::new(found);
                        let proposal = Proposal::Agent { leader: node, node: subject, state, found };
                        self.later(after, Later::Commit(proposal));
                    }
                }
            }
        }
    }

    fn propose_dead(&mut self, node: u32, verdicts: Vec<cut::Verdict>) {
        if self.office.leader != Some(node) {
            self.fail(Err(crate::sim::check::Violation {
                promise: "no decision without a quorum",
                what: format!("{} declares without leading", Self::name(node)),
            }));
            return;
        }
        self.trace(|| {
            let nodes: Vec<NodeId> = verdicts.iter().map(|v| v.node).collect();
            format!("{} declares {} dead: {:?}", Self::name(node), Self::ids_of(&nodes), verdicts[0].evidence)
        });
        if let Some(after) = self.commit_time(node) {
            self.later(after, Later::Commit(Proposal::Dead { leader: node, verdicts }));
        }
    }

    /// Put back by hand: one observer's word is enough.
    pub(super) fn believe_one(&mut self, observer: u32, report: &Report) {
        let Some(leader) = self.office.leader else { return };
        let gone = report.findings.iter().filter(|f| f.trouble == Trouble::HostGone);
        let verdict = |f: &membership::Finding| cut::Verdict {
            node: f.node,
            incarnation: f.incarnation,
            last_seen: f.silence,
            suspected: f.suspected,
            observers: vec![id(observer)],
            evidence: vec!["one observer said so".to_owned()],
        };
        let verdicts: Vec<cut::Verdict> = gone.map(verdict).collect();
        if !verdicts.is_empty() && self.commit_time(leader).is_some() {
            self.later(2 * MS, Later::Commit(Proposal::Dead { leader, verdicts }));
        }
    }

    fn reaches_majority(&self, leader: u32) -> bool {
        if !self.nodes[leader as usize].runs() {
            return false;
        }
        let votes =
            |v: &&u32| **v == leader || self.nodes[**v as usize].runs() && self.net.connects(leader, **v);
        self.office.voters.iter().filter(votes).count() > self.office.voters.len() / 2
    }

    /// How long a commit takes from here, if a majority can be had.
    pub(super) fn commit_time(&mut self, leader: u32) -> Option<u64> {
        if !self.reaches_majority(leader) {
            return None;
        }
        let mut answers = Vec::new();
        for voter in self.office.voters.clone() {
            let sync = self.rng.between(SYNC.0, SYNC.1) * 1_000;
            if voter == leader {
                answers.push(sync);
            } else if self.nodes[voter as usize].runs() && self.net.connects(leader, voter) {
                let path = self.net.path(leader, voter);
                let (mut takes, mut wait) = (0, 200 * MS);
                while !path.and_back(&mut self.rng) {
                    takes += wait;
                    wait = (2 * wait).min(RAFT_AGAIN_MAX);
                }
                answers.push(takes + sync + path.delay(&mut self.rng) + path.delay(&mut self.rng));
            }
        }
        answers.sort_unstable();
        answers.get(self.office.voters.len() / 2).copied()
    }

    pub(super) fn commit(&mut self, proposal: Proposal) {
        match proposal {
            Proposal::Dead { leader, verdicts } => self.commit_dead(leader, &verdicts),
            Proposal::Ups { leader } => {
                self.office.ups_under_way = false;
                let ups = core::mem::take(&mut self.office.ups);
                if self.office.leader == Some(leader) && self.nodes[leader as usize].runs() {
                    self.commit_ups(leader, ups);
                }
            }
            Proposal::Agent { leader, node, state, found } => {
                self.counts.agent_states += 1;
                match state {
                    AgentState::Up => self.office.agents.remove(&node),
                    _ => self.office.agents.insert(node, state),
                };
                self.tell_cuts_of_agents();
                self.write_agent(leader, *found);
            }
        }
    }

    fn tell_cuts_of_agents(&mut self) {
        for voter in self.office.voters.clone() {
            let event =
                cut::Event::Agents { timeout: Duration::from_secs(60), down: self.office.agents.clone() };
            if self.nodes[voter as usize].runs() {
                self.cut_step(voter, event);
            }
        }
    }

    fn commit_dead(&mut self, leader: u32, verdicts: &[cut::Verdict]) {
        if self.office.leader != Some(leader) || !self.nodes[leader as usize].runs() {
            return;
        }
        let mut view = View::clone(&self.office.view);
        let mut nodes = Vec::new();
        for verdict in verdicts {
            let Ok(i) = view.members.binary_search_by_key(&verdict.node, |m| m.node) else { continue };
            let member = &mut view.members[i];
            if member.state != NodeState::Alive || member.incarnation != verdict.incarnation {
                continue;
            }
            member.state = NodeState::Dead;
            self.office
                .dead
                .insert(verdict.node, self.now.saturating_sub(super::world::ns(verdict.last_seen)));
            nodes.push(verdict.node);
        }
        if nodes.is_empty() {
            return;
        }
        view.epoch.0 += 1;
        self.trace(|| format!("view {}: {} dead", view.epoch.0, Self::ids_of(&nodes)));
        for node in &nodes {
            self.office.agents.remove(node);
            self.found.declared(index(*node), self.now);
            let checked = self.calm.declared(*node, self.nodes[index(*node) as usize].faulty, verdicts);
            self.fail(checked);
        }
        let at = Duration::from_nanos(self.now);
        self.declared.push(Declared { at, epoch: view.epoch.0, nodes, known: at });
        self.publish(view);
        self.write_deaths(leader, verdicts);
    }

    fn commit_ups(&mut self, leader: u32, ups: Vec<ViewMember>) {
        let mut view = View::clone(&self.office.view);
        let mut changed = Vec::new();
        for up in ups {
            let node = up.node;
            match view.members.binary_search_by_key(&up.node, |m| m.node) {
                Ok(i) if view.members[i].session > up.session || view.members[i] == up => {}
                Ok(i) => {
                    self.office.dead.remove(&up.node);
                    view.members[i] = up;
                    changed.push(node);
                }
                Err(i) => {
                    view.members.insert(i, up);
                    changed.push(node);
                }
            }
        }
        if !changed.is_empty() {
            view.epoch.0 += 1;
            self.trace(|| format!("view {}: {} members", view.epoch.0, view.members.len()));
            self.publish(view);
            self.write_ups(leader, &changed);
        }
    }

    fn publish(&mut self, view: View) {
        self.counts.views += 1;
        self.office.view = Arc::new(view);
        self.office.behind = true;
    }

    /// To the leader, who takes all that came by then with the next commit.
    pub(super) fn propose_up(
        &mut self,
        at: u32,
        member: ViewMember,
        silences: Vec<Duration>,
        answered: bool,
    ) {
        if self.office.leader != Some(at) || self.is_held(at, &member, silences, answered) {
            return;
        }
        self.office.ups.retain(|m| m.node != member.node);
        self.office.ups.push(member);
        if !self.office.ups_under_way
            && let Some(after) = self.commit_time(at)
        {
            self.office.ups_under_way = true;
            self.later(after, Later::Commit(Proposal::Ups { leader: at }));
        }
    }

    /// Whether it is dead and has to wait, as it is told then.
    fn is_held(&mut self, leader: u32, member: &ViewMember, silences: Vec<Duration>, answered: bool) -> bool {
        let office = &mut self.office;
        let found = office.view.members.binary_search_by_key(&member.node, |m| m.node);
        let was = found.ok().map(|i| &office.view.members[i]).filter(|m| m.state == NodeState::Dead);
        let (Some(was), Some(since)) = (was, office.dead.get(&member.node)) else { return false };
        let asker = index(member.node);
        if asker == leader {
            return false;
        }
        let unheard = Duration::from_nanos(self.now - since);
        let (node, session) = (member.node, member.session);
        let ask = Ask { node, session, died: was.session, unheard, silences, answered };
        let now = self.nodes[leader as usize].clock(self.now);
        let returns = office.returns.entry(leader).or_insert_with(|| Returns::new(&TIMING));
        let Err(held) = returns.ask(now, &ask) else { return false };
        let Ask { unheard, silences, .. } = ask;
        self.trace(|| {
            format!("n{} has to wait: {held}; unheard for {unheard:?}, silent for {silences:?}", node.0)
        });
        self.call(leader, asker, Mail::Held);
        true
    }

    /// A node that the view doesn't have as alive asks for it, once it has met anybody.
    pub(super) fn come_up(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        if n.listed || n.machine.as_ref().is_none_or(|m| m.members().nth(1).is_none()) {
            return;
        }
        let (asked, now) = (n.up_asked_at, self.now);
        let Some(leader) = self.office.leader else { return };
        if asked > 0 && now - asked < ASK_UP_AGAIN {
            return;
        }
        let clock = n.clock(now);
        let silences = n.machine.as_ref().expect("just seen").silences(clock);
        let answered = core::mem::take(&mut n.up_answered);
        n.up_unanswered = if answered { 0 } else { n.up_unanswered + 1 };
        let stuck = n.up_unanswered > UNANSWERED_MAX;
        n.up_asked_at = now;
        n.incarnation = n.incarnation.max(n.machine.as_ref().map_or(0, |m| m.me().incarnation.0));
        let member = ViewMember { incarnation: Incarnation(n.incarnation), ..n.view_member() };
        // As agents do whose question got no answer in time: a connection may wait for a minute before it tries again.
        if stuck && let Some(slot) = self.streams.between(node, leader, Kind::Call) {
            self.drop_stream(slot);
        }
        if leader == node {
            self.propose_up(node, member, silences, answered);
        } else {
            self.call(node, leader, Mail::NodeUp(Box::new(member), silences, answered));
        }
    }

    pub(super) fn on_office(&mut self) {
        self.queue.push(self.now + LOOK_EVERY, What::Office);
        self.office.looks += 1;
        self.elect();
        if self.office.behind {
            self.office.behind = false;
            self.broadcast();
        } else if self.office.looks.is_multiple_of(10) {
            self.follow_up();
        }
        self.look_at_desk();
    }

    fn elect(&mut self) {
        if self.office.leader.is_some_and(|leader| self.reaches_majority(leader)) {
            let leader = self.office.leader.expect("just seen");
            self.office.lost_since = None;
            // Said at each look: a process that started anew must learn it, too.
            self.cut_step(leader, cut::Event::Leading(true));
            return;
        }
        let since = *self.office.lost_since.get_or_insert(self.now);
        if self.now - since < ELECTION {
            return;
        }
        let next = self.office.voters.iter().copied().find(|v| self.reaches_majority(*v));
        if let Some(old) = self.office.leader.take()
            && self.nodes[old as usize].machine.is_some()
        {
            self.cut_step(old, cut::Event::Leading(false));
        }
        let Some(next) = next else { return };
        self.counts.elections += 1;
        self.trace(|| format!("{} leads", Self::name(next)));
        (self.office.leader, self.office.led_since) = (Some(next), self.now);
        self.office.lost_since = None;
        (self.office.ups_under_way, self.office.ups) = (false, Vec::new());
        self.take_view(next, Arc::clone(&self.office.view));
        self.cut_step(next, cut::Event::Leading(true));
        self.tell_cuts_of_agents();
    }

    fn broadcast(&mut self) {
        let Some(leader) = self.office.leader else { return };
        let view = Arc::clone(&self.office.view);
        self.take_view(leader, Arc::clone(&view));
        for node in 0..self.options.nodes {
            self.send_view(node, node as usize);
        }
    }

    /// Over its connection to the voter that it follows.
    fn send_view(&mut self, node: u32, turn: usize) {
        let voters = &self.office.voters;
        let n = &self.nodes[node as usize];
        let knows = n.listed || n.machine.as_ref().is_some_and(|m| m.members().nth(1).is_some());
        if n.machine.is_none() || n.view.epoch >= self.office.view.epoch || !knows {
            return;
        }
        let voter = (0..voters.len()).map(|i| voters[(turn + i) % voters.len()]);
        let Some(voter) = voter.filter(|v| *v != node).find(|v| self.nodes[*v as usize].runs()) else {
            return;
        };
        self.nodes[node as usize].view_asked_at = self.now;
        let view = Arc::clone(&self.office.view);
        self.call(voter, node, Mail::View(view));
    }

    fn follow_up(&mut self) {
        for node in 0..self.options.nodes {
            let n = &self.nodes[node as usize];
            if n.view.epoch < self.office.view.epoch && self.now - n.view_asked_at > FOLLOW_ANOTHER {
                let turn = self.rng.below(self.office.voters.len());
                self.send_view(node, turn);
            }
        }
    }

    /// Whether all that run have the newest view, and it has all of them.
    pub(super) fn note_agreement(&mut self) {
        let view = &self.office.view;
        let all = view.members.len() == self.nodes.len();
        let mut nodes = self.nodes.iter().filter(|n| n.machine.is_some());
        if self.agreed_at.is_none() && all && nodes.all(|n| n.view.epoch == view.epoch && n.listed) {
            self.agreed_at = Some(self.now);
        }
    }
}
