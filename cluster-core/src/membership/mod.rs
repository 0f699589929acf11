//! Membership: who is in the cluster, as far as this agent can tell, and whom it hears. One machine an agent.
//!
//! Agents send each other heartbeats with news along an overlay (`overlay`), so each watches about ten others whatever
//! the size of the cluster. Who is silent (`edge`) is looked into (`opinion`) before anything is said against it; what
//! is found goes to the voters as a `Report`, and their cut detector (`crate::cut`) decides. For people, a member whose
//! host is found gone is called *suspect*; it refutes that itself with a higher incarnation (SWIM, Das et al. 2002).
//! Only a committed view makes a member dead or left for good, or removes it: so without a leader everyone is still
//! listed, and nobody dies.
//!
//! Not here: streams, sockets, names of hosts, the ledger, and any decision that others must agree with.

mod deafness;
mod duplicate;
mod edge;
mod gossip;
mod hear;
mod link;
mod local_health;
mod opinion;
pub mod overlay;
mod record;
mod rng;
mod roll;
mod speak;
mod table;
mod vitals;
mod watch;
mod weave;

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod flat_tests;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod opinion_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;

pub use gossip::{DELTAS_BYTES_MAX, DELTAS_MAX, EXCHANGE_MAX, FULL_MAX};
pub use local_health::{LocalHealth, SCORE_MAX, tick_every};
pub use record::{
    AgentState, DialOutcome, Exchange, Finding, Heartbeat, Hello, MemberRecord, MemberState, Opinion, Report,
    SICK_BYTES, Trouble, View, ViewMember, Vitals, VitalsOf,
};
pub use roll::{Committed, Member, Roll};
pub use table::MEMBERS_MAX;
pub use vitals::{VITALS_KEPT_MAX, VITALS_MAX};
pub use watch::ASKING_MAX;

use crate::{
    ids::{Incarnation, NodeId, SessionId},
    limits::clip,
    time::Instant,
    timing::Timing,
};
use core::time::Duration;
use deafness::Deafness;
use duplicate::Sessions;
use gossip::Gossip;
use link::Link;
use opinion::Inquiry;
use rng::Rng;
use speak::Round;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use table::{Change, Table};
use vitals::Board;

/// Seed addresses kept.
pub const SEEDS_MAX: usize = 64;
/// Between two tries of a seed or a dead member, so that two halves find each other again.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// The same for an agent that has no peer at all.
const PROBE_ALONE_EVERY: Duration = Duration::from_secs(1);
/// Between two full exchanges with a random peer.
const EXCHANGE_EVERY: Duration = Duration::from_secs(5);
/// A member that no view has and of which nobody told anything for so long is dropped.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To come every `tick_every(timing)`, or after a `Rest` when `next_tick` says so.
    Tick,
    Heartbeat(Heartbeat),
    /// What a seed, a joiner or a probed address said of itself and others.
    Hello(Hello),
    /// A stream over which heartbeats can be sent now stands, whoever dialled it. The first one of a peer.
    StreamOpened {
        peer: NodeId,
    },
    /// No stream with the peer stands any more. Suspicious at once, and no proof.
    StreamEnded {
        peer: NodeId,
    },
    /// The committed members. To come at the start (from the snapshot) and at each change of the ledger's nodes.
    View(Arc<Roll>),
    /// The configured seed addresses.
    Seeds(Vec<String>),
    /// The caller was kept for so long, until now, from reading what had come.
    Late(Duration),
    /// The caller waits for what comes, until then at the latest: to be silent that long is no stall of its own.
    Rest(Instant),
    /// A datagram of the burst with this nonce was answered: the peer's host lives, and this is what it says of its agent.
    ProbeAnswered {
        peer: NodeId,
        nonce: u64,
        agent: AgentState,
    },
    /// What became of a fresh connection that `Effect::Dial` asked for.
    Dialled {
        peer: NodeId,
        outcome: DialOutcome,
    },
    /// Another agent asks this one to try a peer that it can't reach.
    HelpAsked {
        by: NodeId,
        subject: NodeId,
    },
    /// A helper's answer.
    HelpAnswered {
        helper: NodeId,
        subject: NodeId,
        opinion: Opinion,
    },
    /// The leader asks whether this agent hears the subject.
    Polled {
        by: NodeId,
        subject: NodeId,
    },
    /// How this node fares, as often as the caller likes.
    Vitals(Vitals),
    /// The share of the last seconds, in per mille, in which processes of this host waited for a processor.
    Pressure(u16),
    /// This node sees itself unable to do its work, and why; None once it is well. Told to everyone.
    Sick(Option<String>),
    /// This node goes for good. The machine stays useful for saying so.
    Leave,
}

impl Event {
    /// Whose agent, or keeper, said something just now.
    fn speaker(&self) -> Option<NodeId> {
        match self {
            Self::Heartbeat(heartbeat) => Some(heartbeat.from),
            Self::Hello(hello) => Some(hello.record.node),
            Self::ProbeAnswered { peer, .. } => Some(*peer),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Over the peer's stream; dropped if there is none.
    Send { to: NodeId, heartbeat: Heartbeat },
    /// Keep a stream with the peer from now on, at this address, and dial again whenever it ends.
    Connect { peer: NodeId, address: String },
    /// The same over a fresh connection: what this end dialled doesn't deliver, and mustn't serve again.
    Reconnect { peer: NodeId, address: String },
    /// Don't dial the peer any more. A stream that it dialled may stay.
    Disconnect { peer: NodeId },
    /// Say hello to this address, once; its answer comes in as `Event::Hello`.
    Probe { address: String },
    /// Sealed datagrams to the peer's keeper, so many, so far apart; the first answer comes as `Event::ProbeAnswered`.
    ProbeBurst { peer: NodeId, address: String, nonce: u64, count: u32, every: Duration },
    /// A fresh connection to the peer's agent and one question over it; comes back as `Event::Dialled`, within 250 ms.
    Dial { peer: NodeId, address: String },
    /// Ask this member to try the subject as well; it comes there as `Event::HelpAsked`.
    AskHelp { helper: NodeId, subject: NodeId },
    /// To who asked; comes there as `Event::HelpAnswered`.
    AnswerHelp { to: NodeId, subject: NodeId, opinion: Opinion },
    /// To every voter, this agent too if it votes.
    Report(Report),
    /// To the leader that polled.
    AnswerPoll { to: NodeId, subject: NodeId, hears: bool },
    /// A member's record (`Membership::member`) is new or changed; `before` is the state it had, None if it wasn't known.
    Changed { node: NodeId, before: Option<MemberState>, state: MemberState },
    /// Out of the list: removed by a committed view, or forgotten.
    Removed { node: NodeId },
    /// This agent refuted what was said of it. To be durable before the next start, which uses a higher one.
    Refuted { incarnation: Incarnation },
    /// Two living processes speak as this node; one must be refused and both be reported.
    Duplicate { node: NodeId, sessions: [SessionId; 2] },
}

#[derive(Clone, Debug)]
pub struct Membership {
    me: MemberRecord,
    timing: Timing,
    rng: Rng,
    health: LocalHealth,
    deafness: Deafness,
    table: Table,
    gossip: Gossip,
    board: Board,
    /// The news that each link gets with its next heartbeat, and how many rounds of news there were.
    round: Round,
    rounds: u64,
    /// This agent's own phase of a heartbeat.
    phase: Duration,
    /// Heartbeats of this session. A link may be given up at this end alone and begin anew: its numbers go on.
    sent: u64,
    /// Peers with whom heartbeats flow, or should.
    links: BTreeMap<NodeId, Link>,
    /// One at a time a subject.
    inquiries: BTreeMap<NodeId, Inquiry>,
    /// Whom this agent greeted, as far as no view has both: joiners and their sponsors.
    met: BTreeSet<NodeId>,
    /// Since when there was no news of a member that no view has.
    strangers: BTreeMap<NodeId, Instant>,
    seeds: Vec<String>,
    my_sessions: Sessions,
    leaving: bool,
    /// Who is to be linked may have changed.
    rewire: bool,
    /// What was found may have changed.
    found: bool,
    /// The last report had findings.
    reported: bool,
    heartbeat_at: Instant,
    probe_at: Instant,
    exchange_at: Instant,
}

impl Membership {
    /// `me.incarnation` must be higher than any that an earlier life of this node used.
    #[must_use]
    pub fn new(me: MemberRecord, timing: Timing, now: Instant, seed: u64) -> Self {
        assert!(me.state == MemberState::Alive, "an agent that starts is alive");
        let mut table = Table::default();
        table.set(me.clone());
        let mut rng = Rng::new(seed);
        let phase = timing.heartbeat * u32::try_from(rng.below(1_000)).expect("small") / 1_000;
        Self {
            timing,
            rng,
            health: LocalHealth::new(&timing, now),
            deafness: Deafness::new(&timing),
            table,
            gossip: Gossip::default(),
            board: Board::default(),
            round: Round::default(),
            rounds: 0,
            phase,
            sent: 0,
            links: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            met: BTreeSet::new(),
            strangers: BTreeMap::new(),
            seeds: Vec::new(),
            my_sessions: Sessions::new(me.session, now),
            leaving: false,
            rewire: false,
            found: false,
            reported: false,
            heartbeat_at: now,
            probe_at: now,
            exchange_at: now + EXCHANGE_EVERY,
            me,
        }
    }

    /// This agent's own record, as it stands now.
    #[must_use]
    pub fn me(&self) -> &MemberRecord {
        &self.me
    }

    /// Every member, this agent too, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.table.iter()
    }

    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.table.get(node)
    }

    /// As far as they were told.
    #[must_use]
    pub fn vitals(&self, node: NodeId) -> Option<&Vitals> {
        self.board.get(node)
    }

    /// Everybody's, as far as they were told, this agent's own among them. Not those of an earlier life, before a death or
    /// a restart.
    pub fn all_vitals(&self) -> impl Iterator<Item = (NodeId, Vitals)> {
        let began = |node| self.table.roll().get(node).and_then(|m| m.committed).map(|c| c.incarnation);
        let present = move |of: &&VitalsOf| began(of.node).is_none_or(|began| of.incarnation >= began);
        let others = self.board.all().filter(present).map(|of| (of.node, of.vitals));
        others.chain(self.board.own().map(|own| (self.me.node, own)))
    }

    /// How long the peer has been silent to this agent, less this agent's own stalls. None for whom it doesn't watch: over
    /// a stream that is left of an old edge nobody need say anything.
    #[must_use]
    pub fn silence(&self, now: Instant, peer: NodeId) -> Option<Duration> {
        let watched = |link: &&Link| link.wanted || link.retire_at.is_some();
        self.links.get(&peer).filter(watched).map(|link| link.edge.silence(now))
    }

    /// How long ago each of the newest silences of peers began.
    #[must_use]
    pub fn silences(&self, now: Instant) -> Vec<Duration> {
        self.deafness.began(now).into_iter().map(|began| now.since(began)).collect()
    }

    /// What to say at the beginning of a stream, and in answer to another's hello.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let members = gossip::everything(&self.table, FULL_MAX, &mut self.rng.clone());
        Hello { record: self.me.clone(), members }
    }

    /// When this machine has something to do though nothing comes.
    #[must_use]
    pub fn next_tick(&self) -> Instant {
        let links = self.links.iter().map(|(peer, link)| self.link_due(*peer, link)).min();
        let inquiries = self.inquiries.values().filter_map(|i| i.due(&self.timing)).min();
        let timers = self.heartbeat_at.min(self.exchange_at).min(self.probe_at);
        let telling = self.found.then(|| self.health.grace_until());
        [links, inquiries, telling].into_iter().flatten().fold(timers, Instant::min)
    }

    /// The only way in. `now` may not run backwards.
    pub fn step(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        let slept = self.health.observe(now);
        self.excuse(slept);
        if let Some(peer) = event.speaker() {
            self.deafness.heard(now, peer);
        }
        match event {
            Event::Tick => self.tick(now, effects),
            Event::Heartbeat(heartbeat) => self.hear(now, &heartbeat, effects),
            Event::Hello(hello) => self.greet(now, &hello, effects),
            Event::StreamOpened { peer } => self.stream_opened(now, peer, effects),
            Event::StreamEnded { peer } => self.stream_ended(now, peer, effects),
            Event::View(roll) => self.commit(now, &roll, effects),
            Event::Seeds(mut seeds) => {
                seeds.truncate(SEEDS_MAX);
                self.seeds = seeds;
                self.probe_at = now;
            }
            Event::Late(by) => {
                let slept = self.health.late(now, by);
                self.excuse(slept);
            }
            // Nothing came, and nothing follows from it.
            Event::Rest(until) => return self.health.promise(until),
            Event::ProbeAnswered { peer, nonce, agent } => {
                self.probe_answered(now, peer, nonce, agent, effects);
            }
            Event::Dialled { peer, outcome } => self.dialled(now, peer, outcome, effects),
            Event::HelpAsked { by, subject } => self.help(now, by, subject, effects),
            Event::HelpAnswered { helper, subject, opinion } => {
                self.helped(now, helper, subject, opinion, effects);
            }
            Event::Polled { by, subject } => self.polled(now, by, subject, effects),
            Event::Vitals(vitals) => self.board.set_own(Vitals { health: self.health.score(), ..vitals }),
            Event::Pressure(per_mille) => self.health.pressed(now, per_mille),
            Event::Sick(reason) => self.sick(reason.map(|r| clip(&r, SICK_BYTES)), effects),
            Event::Leave => self.leave(now, effects),
        }
        if core::mem::take(&mut self.rewire) {
            self.rewire(now, effects);
        }
        if self.found {
            self.tell_findings(now, effects);
        }
    }

    /// Nobody is blamed for what this agent slept through.
    fn excuse(&mut self, slept: Duration) {
        if !slept.is_zero() {
            self.links.values_mut().for_each(|link| link.edge.credit(slept));
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.judge(now, effects);
        self.inquire(now, effects);
        self.dial(now, effects);
        self.retire(now, effects);
        if now >= self.exchange_at {
            self.exchange_at = now + EXCHANGE_EVERY;
            self.choose_exchange();
            self.forget(now, effects);
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at =
                (self.heartbeat_at + self.timing.heartbeat).max(now + self.timing.heartbeat / 2);
            self.next_round(now);
            self.found |= self.reported || self.links.values().any(|link| link.found.is_some());
        }
        self.beat(now, effects);
        if now >= self.probe_at {
            let alone = self.is_alone();
            self.probe_at = now + if alone { PROBE_ALONE_EVERY } else { PROBE_EVERY };
            effects.extend(self.probe(alone));
        }
    }

    fn is_open(&self, peer: NodeId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.edge.is_open())
    }

    fn choose_exchange(&mut self) {
        let mut open: Vec<&mut Link> = self.links.values_mut().filter(|link| link.edge.is_open()).collect();
        if !open.is_empty() {
            let chosen = self.rng.below(open.len());
            open[chosen].exchange = Exchange::Ask;
        }
    }

    /// Drops who was never committed and of whom nothing was heard for long.
    fn forget(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (roll, table) = (Arc::clone(self.table.roll()), &self.table);
        self.strangers.retain(|node, _| table.get(*node).is_some_and(|m| m.committed.is_none()));
        self.met
            .retain(|node| table.get(*node).is_some() && !(roll.lives(*node) && roll.lives(self.me.node)));
        if roll.epoch().0 == 0 {
            return;
        }
        let silent =
            |node: &NodeId| self.links.get(node).is_none_or(|link| link.edge.silence(now) >= FORGET_AFTER);
        let old = |(node, since): &(&NodeId, &Instant)| now.since(**since) >= FORGET_AFTER && silent(node);
        let gone: Vec<NodeId> =
            self.strangers.iter().filter(old).map(|(node, _)| *node).filter(|n| *n != self.me.node).collect();
        for node in gone {
            self.strangers.remove(&node);
            let change = self.table.forget(node);
            self.follow(now, change, true, effects);
        }
    }

    fn commit(&mut self, now: Instant, roll: &Arc<Roll>, effects: &mut Vec<Effect>) {
        self.rewire = true;
        let was = self.table.roll().get(self.me.node).and_then(|me| me.committed);
        for change in self.table.commit(roll) {
            match change {
                Change::Updated { node, .. } if node == self.me.node => {
                    let said = self.table.get(node).expect("it was just updated").record.clone();
                    self.table.set(self.me.clone());
                    self.hear_of_myself(now, &said, effects);
                }
                // Everyone has it from the ledger: nothing to tell.
                change => self.follow(now, Some(change), false, effects),
            }
        }
        let me = self.table.roll().get(self.me.node);
        if was.is_some() && me.is_some_and(|me| me.is_dead() || me.committed != was) {
            // It was cut off, or began anew since: of whom it suspected meanwhile the others know better.
            for change in self.table.acquit() {
                self.follow(now, Some(change), false, effects);
            }
        }
        if roll.epoch().0 > 0 && !roll.lives(self.me.node) {
            self.probe_at = now;
        }
    }

    fn sick(&mut self, reason: Option<String>, effects: &mut Vec<Effect>) {
        if self.me.sick != reason {
            self.me.sick = reason;
            self.me.revision += 1;
            self.tell_of_myself();
            let (node, state) = (self.me.node, self.me.state);
            effects.push(Effect::Changed { node, before: Some(state), state });
        }
    }

    fn leave(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.leaving = true;
        self.me.state = MemberState::Left;
        self.tell_of_myself();
        let (node, state) = (self.me.node, MemberState::Left);
        effects.push(Effect::Changed { node, before: Some(MemberState::Alive), state });
        self.next_round(now);
        self.send_all(effects);
    }
}
