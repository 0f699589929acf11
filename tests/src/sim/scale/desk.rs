//! The leader's desk: a real ledger, and the real recovery and alerting machines of whoever leads over it.
//!
//! What the cut declares, nodes that come up and states of agents are written into the ledger as the office commits them.
//! What the machines propose is committed after what a majority takes; of what was under way when a leader fell, the next
//! one finds some first part in its log. Stand-ins: voters' promises, nodes that start what they are given, hosts' wall
//! clocks, which differ.
//!
//! Not here: what the ledger begins with (`ground`), providers (`provider`), and what people may get (`check`).

use super::{
    ground,
    node::{id, index},
    options::Break,
    provider::{Providers, Sent},
    streams::MS,
    world::{Later, TIMING, World, ns},
};
use crate::sim::rng::Rng;
use cluster_core::{
    alerting::{self, Alerting},
    cut::Verdict,
    ids::{Generation, InstanceId, LeaseEpoch, LogId, NodeId, RequestId},
    ledger::{Body, Command, Death, FEATURE_LEVEL, Ledger, NodeState, Reply, Report, SendOutcome},
    membership::{MemberState, Membership},
    recovery::{self, Heard, LiveView, Recovery, View},
    time::WallTime,
};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// When the simulation begins, for people.
const WALL: u64 = 1_700_000_000_000;
/// Hosts' wall clocks are off by up to so many milliseconds.
const WALL_OFF: u64 = 200;
/// What a leader that gets no time was to hear, it hears later.
const AGAIN: u64 = 20 * MS;
/// From a placement to what serves: usually, and where it takes long.
const STARTS_WITHIN: (u64, u64) = (30, 150);
const STARTS_SLOWLY: u64 = 40_000;

#[derive(Debug)]
pub struct Desk {
    pub ledger: Ledger,
    pub providers: Providers,
    pub rng: Rng,
    term: u64,
    leading: Option<Leading>,
    /// What was proposed and isn't committed yet, in the log's order.
    under_way: VecDeque<Vec<(Body, WallTime)>>,
}

/// What an agent has only while it leads.
#[derive(Debug)]
struct Leading {
    node: u32,
    life: u32,
    recovery: Recovery,
    alerting: Alerting,
    hears: LiveView,
}

/// What comes to the desk by and by. What was meant for the leader of a term that is over is lost with it.
#[derive(Debug)]
pub enum Happens {
    Committed { term: u64 },
    Promised { term: u64, voter: NodeId, epochs: Vec<LeaseEpoch> },
    Serves { node: u32, boots: u32, workload: String, index: u32, generation: Generation },
    Sent(Sent),
}

impl World {
    pub(super) fn found_ledger(&mut self) {
        let mut desk = Desk {
            ledger: Ledger::default(),
            providers: Providers::default(),
            rng: Rng::new(self.options.seed ^ 0xde5c),
            term: 1,
            leading: None,
            under_way: VecDeque::new(),
        };
        for body in ground::entries(&self.nodes, self.office.voters.len(), self.options.put_back) {
            let reply = desk.write(WallTime(WALL), "local", body);
            assert!(!matches!(reply, Reply::Rejected(_)), "the beginning is refused: {reply:?}");
        }
        self.desk = Some(Box::new(desk));
    }

    /// What this host takes for the time of day.
    fn wall(&self, node: u32) -> WallTime {
        let off = u64::from(node) * 7_919 % (2 * WALL_OFF);
        WallTime(WALL + WALL_OFF + self.now / MS - off)
    }

    /// By a leader's clock, so long ago.
    pub(super) fn ago(&self, leader: u32, by: Duration) -> WallTime {
        WallTime(self.wall(leader).0 - ns(by) / MS)
    }

    /// Writes what `node` proposed into the ledger, now.
    fn write(&mut self, node: u32, as_of: WallTime, body: Body) {
        let (at, actor) = (self.wall(node).max(as_of), format!("node:{}", Self::name(node)));
        let Some(desk) = &mut self.desk else { return };
        let placed = match &body {
            Body::Placed { workload, index, node, .. } => Some((workload.clone(), *index, *node)),
            _ => None,
        };
        match (desk.write(at, &actor, body), placed) {
            (Reply::Generation(generation), Some((workload, slot, node))) => {
                self.start_instance(index(node), workload, slot, generation);
            }
            (Reply::Rejected(why), _) => self.trace(|| format!("refused {}: {}", why.reason, why.message)),
            _ => {}
        }
    }

    fn start_instance(&mut self, node: u32, workload: String, index: u32, generation: Generation) {
        let Some(desk) = &mut self.desk else { return };
        let moved = desk.ledger.slot(&workload, index).is_some_and(|slot| slot.failure.is_some());
        let usual = desk.rng.between(STARTS_WITHIN.0, STARTS_WITHIN.1);
        let after = if moved && workload == ground::SLOW { STARTS_SLOWLY } else { usual };
        let boots = self.nodes[node as usize].boots;
        let serves = Happens::Serves { node, boots, workload, index, generation };
        self.later(after * MS, Later::Desk(serves));
    }

    pub(super) fn write_deaths(&mut self, leader: u32, verdicts: &[Verdict]) {
        let Some(desk) = &self.desk else { return };
        let death = |v: &Verdict| Death {
            node: v.node,
            epoch: desk.ledger.nodes.get(&v.node).map_or(LeaseEpoch(0), |n| n.epoch),
            incarnation: v.incarnation,
            last_seen_at: self.ago(leader, v.last_seen),
            suspected_at: self.ago(leader, v.suspected),
            observers: v.observers.clone(),
            evidence: v.evidence.clone(),
        };
        let deaths = verdicts.iter().map(death).collect();
        self.write(leader, WallTime(0), Body::NodesDead { deaths });
        self.look_at_desk();
    }

    pub(super) fn write_ups(&mut self, leader: u32, nodes: &[NodeId]) {
        for node in nodes {
            let Some(desk) = &self.desk else { return };
            let mut up = ground::up(&self.nodes[index(*node) as usize]);
            if let Body::NodeUp { boot, replaces, .. } = &mut up {
                let known = desk.ledger.nodes.get(node);
                let held = known.filter(|n| n.boot != *boot && n.epoch != LeaseEpoch(0));
                *replaces = held.map(|n| n.epoch);
            }
            self.write(leader, WallTime(0), up);
        }
        self.look_at_desk();
    }

    pub(super) fn write_agent(&mut self, leader: u32, found: Body) {
        self.write(leader, WallTime(0), found);
        self.look_at_desk();
    }

    /// The leader looks at everything anew, whoever it is by now.
    pub(super) fn look_at_desk(&mut self) {
        let Some(desk) = &self.desk else { return };
        let leader = self.office.leader.filter(|leader| self.nodes[*leader as usize].runs());
        let Some(leader) = leader else { return };
        let life = self.nodes[leader as usize].life;
        if desk.leading.as_ref().is_none_or(|l| (l.node, l.life) != (leader, life)) {
            self.take_desk(leader, life);
        }
        if let Some(machine) = &self.nodes[leader as usize].machine
            && let Some(leading) = self.desk.as_mut().and_then(|desk| desk.leading.as_mut())
        {
            leading.hears = hears(machine);
        }
        self.step_desk(recovery::Input::Tick, alerting::Input::Tick);
    }

    /// Another process leads from now on.
    fn take_desk(&mut self, leader: u32, life: u32) {
        let now = self.nodes[leader as usize].clock(self.now);
        let Some(desk) = &mut self.desk else { return };
        let kept = desk.rng.below(desk.under_way.len() + 1);
        let mut found = core::mem::take(&mut desk.under_way);
        found.truncate(kept);
        let before = desk.leading.take().map_or(leader, |leading| leading.node);
        for (body, as_of) in found.into_iter().flatten() {
            self.write(before, as_of, body);
        }
        let Some(desk) = &mut self.desk else { return };
        for (id, _) in desk.ledger.messages.iter().filter(|(_, message)| message.intent.is_some()) {
            *desk.providers.unheard.entry(*id).or_default() += 1;
        }
        desk.term += 1;
        let term = desk.term;
        desk.leading = Some(Leading {
            node: leader,
            life,
            recovery: Recovery::new(),
            alerting: Alerting::new(id(leader), term, now),
            hears: LiveView::default(),
        });
        if self.options.put_back == Break::NoMemory {
            desk.ledger.alerts.values_mut().for_each(|alert| alert.notifications.clear());
        }
        self.trace(|| format!("{} takes the desk in term {term}", Self::name(leader)));
        self.write(leader, WallTime(0), Body::LeaderElected { node: id(leader) });
        let voters = vec![self.office.voters.iter().copied().map(id).collect()];
        self.step_desk(recovery::Input::Voters(Vec::clone(&voters)), alerting::Input::Voters(voters));
    }

    fn step_desk(&mut self, recovery: recovery::Input, alerting: alerting::Input) {
        let Some(Desk { ledger, leading: Some(leading), term, .. }) = self.desk.as_deref_mut() else {
            return;
        };
        let (leader, term) = (leading.node, *term);
        let now = self.nodes[leader as usize].clock(self.now);
        let view = View { ledger, live: &leading.hears };
        let (mut decided, mut told) = (Vec::new(), Vec::new());
        leading.recovery.step(now, &view, recovery, &mut decided);
        leading.alerting.step(now, &view, alerting, &mut told);
        let mut proposed = Vec::new();
        let mut asked: BTreeMap<NodeId, Vec<LeaseEpoch>> = BTreeMap::new();
        for effect in decided {
            match effect {
                recovery::Effect::Propose(body) => proposed.push((body, WallTime(0))),
                recovery::Effect::AskPromises { epoch, voters, .. } => {
                    voters.into_iter().for_each(|voter| asked.entry(voter).or_default().push(epoch));
                }
            }
        }
        for effect in told {
            match effect {
                alerting::Effect::Propose(body, at) => proposed.push((body, at)),
                alerting::Effect::Send { message, attempt, .. } => {
                    self.send(leader, term, message, attempt);
                }
                alerting::Effect::Warn(what) => self.trace(|| format!("alerting: {what}")),
                alerting::Effect::Keep { .. } | alerting::Effect::SignOfLife(_) => {
                    unreachable!("no such channel, and no watchdog, is configured")
                }
            }
        }
        for (voter, epochs) in asked {
            self.ask_promises(leader, term, voter, epochs);
        }
        if !proposed.is_empty()
            && let Some(after) = self.commit_time(leader)
            && let Some(desk) = &mut self.desk
        {
            desk.under_way.push_back(proposed);
            self.later(after, Later::Desk(Happens::Committed { term }));
        }
    }

    fn ask_promises(&mut self, leader: u32, term: u64, voter: NodeId, epochs: Vec<LeaseEpoch>) {
        let to = index(voter);
        let there = self.nodes[to as usize].runs() && (to == leader || self.net.connects(leader, to));
        if there && let Some(desk) = &mut self.desk {
            let after = 2 * self.net.path(leader, to).delay(&mut desk.rng);
            self.later(after, Later::Desk(Happens::Promised { term, voter, epochs }));
        }
    }

    /// The term's leader, if it still leads and gets time; `None` is no: what is meant for it waits, or is lost.
    fn leads_in(&self, term: u64) -> Option<u32> {
        let desk = self.desk.as_ref().filter(|desk| desk.term == term)?;
        let Leading { node, life, .. } = desk.leading.as_ref()?;
        (self.nodes[*node as usize].life == *life).then_some(*node)
    }

    pub(super) fn at_desk(&mut self, happens: Happens) {
        let (term, happens) = match happens {
            Happens::Serves { .. } => return self.serves(happens),
            Happens::Sent(sent) if !sent.is_for_leader() => return self.provided(sent),
            Happens::Sent(Sent { term, .. })
            | Happens::Committed { term }
            | Happens::Promised { term, .. } => (term, happens),
        };
        let Some(leader) = self.leads_in(term) else { return };
        if !self.nodes[leader as usize].runs() {
            return self.later(AGAIN, Later::Desk(happens));
        }
        match happens {
            Happens::Committed { .. } => self.committed(leader),
            Happens::Promised { voter, epochs, .. } => {
                for epoch in epochs {
                    let remaining = self.runs_under(leader, epoch);
                    let promise = recovery::Input::Promise { voter, epoch, remaining };
                    self.step_desk(promise, alerting::Input::Tick);
                }
            }
            Happens::Sent(sent) => self.answered(sent),
            Happens::Serves { .. } => unreachable!("done above"),
        }
    }

    pub(super) fn finished(&mut self, message: u64, attempt: u32, outcome: SendOutcome) {
        let Some(desk) = &mut self.desk else { return };
        let dice = desk.rng.next();
        let input = alerting::Input::SendFinished { message, attempt, outcome, dice };
        self.step_desk(recovery::Input::Tick, input);
    }

    fn committed(&mut self, leader: u32) {
        let batch = self.desk.as_mut().and_then(|desk| desk.under_way.pop_front());
        for (body, as_of) in batch.into_iter().flatten() {
            self.write(leader, as_of, body);
        }
        self.look_at_desk();
    }

    /// Until when the last acknowledgement counts that a voter gave this epoch: a lease after its node was last heard.
    fn runs_under(&self, leader: u32, epoch: LeaseEpoch) -> Duration {
        let ledger = &self.desk.as_ref().expect("it asks").ledger;
        let Some(revocation) = ledger.revocations.get(&epoch) else { return Duration::ZERO };
        let death = ledger.nodes.get(&revocation.node).and_then(|node| node.death.as_ref());
        let heard = death.map_or(revocation.revoked_at, |death| death.last_seen_at);
        TIMING.lease.saturating_sub(Duration::from_millis(self.wall(leader).since_ms(heard)))
    }

    /// An instance outlives its agent, which says that it serves as soon as it gets time; it ends with its host or lease.
    fn serves(&mut self, happens: Happens) {
        let Happens::Serves { node, boots, ref workload, index, generation } = happens else { return };
        let n = &self.nodes[node as usize];
        if !n.host_up || n.boots != boots || self.net.ports[node as usize].side != 0 {
            return;
        }
        if !n.runs() {
            return self.later(AGAIN, Later::Desk(happens));
        }
        let report = Report::Running { pid: 4_711, started_at: self.wall(node), unconfined: false };
        let body = Body::InstanceReported {
            node: id(node),
            workload: workload.clone(),
            index,
            generation,
            instance: InstanceId(generation.0),
            report,
        };
        self.write(node, WallTime(0), body);
        self.look_at_desk();
    }
}

impl Desk {
    fn write(&mut self, at: WallTime, actor: &str, body: Body) -> Reply {
        let index = self.ledger.applied.index + 1;
        let command = Command {
            level: FEATURE_LEVEL,
            actor: actor.to_owned(),
            request: RequestId(0),
            proposed_at: at,
            body,
        };
        self.ledger.apply(LogId { term: self.term, index }, &command).expect("the level of this build")
    }

    /// How the ledger has each node, to be compared with the view.
    pub fn states(&self) -> impl Iterator<Item = (NodeId, NodeState)> {
        self.ledger.nodes.iter().map(|(id, node)| (*id, node.state))
    }
}

/// As an agent's ears have it.
fn hears(machine: &Membership) -> LiveView {
    let heard = machine.members().filter_map(|m| match m.record.state {
        MemberState::Alive => Some((m.record.node, Heard::Alive)),
        MemberState::Suspect => Some((m.record.node, Heard::Suspect)),
        MemberState::Dead | MemberState::Left => None,
    });
    LiveView { heard: heard.collect(), ..LiveView::default() }
}
