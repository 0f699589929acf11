//! Membership: who is in the cluster, as far as this agent can tell, and whom it hears. One machine an agent.
//!
//! Agents send each other heartbeats with what they know; each keeps a table of all members, watches its peers' silence
//! and says what it doesn't hear. A member may be *suspected* by anyone, and refutes that itself with a higher
//! incarnation (SWIM, Das et al. 2002); only a committed view makes it dead or left for good, or removes it. So without
//! a leader everyone is still listed, and nobody dies. The cut detector (`crate::cut`) decides from the same heartbeats.
//!
//! Not here: streams, sockets, names of hosts, the ledger, and any decision that others must agree with.

mod duplicate;
mod edge;
mod gossip;
mod hear;
mod local_health;
pub mod overlay;
mod record;
mod rng;
mod speak;
mod table;

#[cfg(test)]
mod lab;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;

pub use gossip::{DELTAS_MAX, FULL_MAX};
pub use local_health::{LocalHealth, SCORE_MAX, tick_every};
pub use record::{
    AgentState, DialOutcome, Exchange, Finding, Hearing, Heartbeat, Hello, MemberRecord, MemberState,
    Opinion, Report, Silence, Trouble, View, ViewMember,
};
pub use table::{Committed, MEMBERS_MAX, Member};

use crate::{
    ids::{Incarnation, NodeId, SessionId},
    ledger::NodeState,
    time::Instant,
    timing::Timing,
};
use core::time::Duration;
use duplicate::Sessions;
use edge::Edge;
use gossip::Gossip;
use rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use table::{Change, Table};

/// Silences that one heartbeat reports, the longest first; who isn't reported counts as heard.
pub const SILENCES_MAX: usize = 64;
/// Seed addresses kept.
pub const SEEDS_MAX: usize = 64;
/// Between two tries of a seed or a dead member, so that two halves find each other again.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// The same for an agent that has no peer at all.
const PROBE_ALONE_EVERY: Duration = Duration::from_secs(1);
/// Between two full exchanges with a random peer.
const EXCHANGE_EVERY: Duration = Duration::from_secs(5);
/// A member that no view has and that nobody heard for so long is dropped.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To come every `tick_every(timing)`.
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
    View(View),
    /// The configured seed addresses.
    Seeds(Vec<String>),
    /// The caller was kept for so long, until now, from reading what had come.
    Late(Duration),
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
    /// This node goes for good. The machine stays useful for saying so.
    Leave,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Over the peer's stream; dropped if there is none.
    Send { to: NodeId, heartbeat: Heartbeat },
    /// Keep a stream with the peer from now on, at this address, and dial again whenever it ends.
    Connect { peer: NodeId, address: String },
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
    /// A member's record is new or changed; `before` is the state it had, None if it wasn't known.
    Changed { record: MemberRecord, before: Option<MemberState> },
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
    table: Table,
    gossip: Gossip,
    links: BTreeMap<NodeId, Link>,
    /// The streams asked for, and where.
    wanted: BTreeMap<NodeId, String>,
    seeds: Vec<String>,
    my_sessions: Sessions,
    leaving: bool,
    /// Who is to be watched may have changed.
    rewire: bool,
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
        Self {
            timing,
            rng: Rng::new(seed),
            health: LocalHealth::new(&timing, now),
            table,
            gossip: Gossip::default(),
            links: BTreeMap::new(),
            wanted: BTreeMap::new(),
            seeds: Vec::new(),
            my_sessions: Sessions::new(me.session, now),
            leaving: false,
            rewire: false,
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

    /// How long the peer has been silent to this agent, less this agent's own stalls.
    #[must_use]
    pub fn silence(&self, now: Instant, peer: NodeId) -> Option<Duration> {
        self.links.get(&peer).map(|link| link.edge.silence(now))
    }

    /// What to say at the beginning of a stream, and in answer to another's hello.
    #[must_use]
    pub fn hello(&self) -> Hello {
        Hello { record: self.me.clone(), members: gossip::everything(&self.table, &mut self.rng.clone()) }
    }

    /// What this agent itself tells the cut detector, if it votes; the others' reports are in their heartbeats.
    #[must_use]
    pub fn report(&self, now: Instant) -> Hearing {
        Hearing { observer: self.me.node, view: self.table.view(), silences: self.silences(now) }
    }

    /// The only way in. `now` may not run backwards.
    pub fn step(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        let slept = self.health.observe(now);
        self.excuse(slept);
        match event {
            Event::Tick => self.tick(now, effects),
            Event::Heartbeat(heartbeat) => self.hear(now, &heartbeat, effects),
            Event::Hello(hello) => {
                self.table.exhume(hello.record.node);
                self.merge(now, &hello.record, effects);
                for record in hello.members.iter().take(FULL_MAX) {
                    self.merge(now, record, effects);
                }
            }
            Event::StreamOpened { peer } => {
                let link = self.links.entry(peer).or_insert_with(|| Link::new(now));
                link.edge.opened();
                link.exchange = Exchange::Ask;
                let silences = self.silences(now);
                self.send(peer, &silences, effects);
            }
            Event::StreamEnded { peer } => self.stream_ended(now, peer, effects),
            Event::View(view) => self.commit(now, &view, effects),
            Event::Seeds(mut seeds) => {
                seeds.truncate(SEEDS_MAX);
                self.seeds = seeds;
                self.probe_at = now;
            }
            Event::Late(by) => {
                let slept = self.health.late(now, by);
                self.excuse(slept);
            }
            Event::ProbeAnswered { .. }
            | Event::Dialled { .. }
            | Event::HelpAsked { .. }
            | Event::HelpAnswered { .. }
            | Event::Polled { .. } => {}
            Event::Leave => self.leave(now, effects),
        }
        if core::mem::take(&mut self.rewire) {
            self.rewire(effects);
        }
    }

    /// Nobody is blamed for what this agent slept through.
    fn excuse(&mut self, slept: Duration) {
        if !slept.is_zero() {
            self.links.values_mut().for_each(|link| link.edge.credit(slept));
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let peers: Vec<NodeId> = self.links.keys().copied().collect();
        for &peer in &peers {
            self.judge(now, peer, effects);
            self.forget(now, peer, effects);
        }
        if now >= self.exchange_at {
            self.exchange_at = now + EXCHANGE_EVERY;
            let open: Vec<NodeId> = peers.into_iter().filter(|p| self.is_open(*p)).collect();
            if !open.is_empty() {
                let chosen = open[self.rng.below(open.len())];
                self.links.get_mut(&chosen).expect("it was just listed").exchange = Exchange::Ask;
            }
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at =
                (self.heartbeat_at + self.timing.heartbeat).max(now + self.timing.heartbeat / 2);
            self.send_all(now, effects);
        }
        if now >= self.probe_at {
            let alone = !self.links.keys().any(|p| self.is_open(*p));
            self.probe_at = now + if alone { PROBE_ALONE_EVERY } else { PROBE_EVERY };
            effects.extend(self.probe());
        }
    }

    fn is_open(&self, peer: NodeId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.edge.is_open())
    }

    /// Suspects a peer whose silence is odd.
    fn judge(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let odd = self.links.get(&peer).is_some_and(|link| link.edge.is_suspicious(now, &self.timing));
        if !odd || self.leaving || self.health.in_grace(now) {
            return;
        }
        let Some(member) = self.table.get(peer).filter(|m| m.record.state == MemberState::Alive) else {
            return;
        };
        let suspected = MemberRecord { state: MemberState::Suspect, ..member.record.clone() };
        self.merge(now, &suspected, effects);
    }

    /// Drops who was never committed and isn't heard.
    fn forget(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get(&peer) else { return };
        let silent = !link.edge.is_open() && link.edge.silence(now) >= FORGET_AFTER;
        let uncommitted = self.table.get(peer).is_some_and(|m| m.committed.is_none());
        if silent && uncommitted && self.table.view().0 > 0 {
            let change = self.table.forget(peer);
            self.follow(now, change, effects);
        }
    }

    fn stream_ended(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.edge.closed(now);
        if self.table.get(peer).is_none() {
            self.links.remove(&peer);
        }
        self.judge(now, peer, effects);
    }

    fn commit(&mut self, now: Instant, view: &View, effects: &mut Vec<Effect>) {
        self.rewire = true;
        for change in self.table.commit(view) {
            match change {
                Change::Updated { node, .. } if node == self.me.node => {
                    let said = self.table.get(node).expect("it was just updated").record.clone();
                    self.table.set(self.me.clone());
                    self.hear_of_myself(now, &said, effects);
                }
                change => self.follow(now, Some(change), effects),
            }
        }
    }

    fn leave(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.leaving = true;
        self.me.state = MemberState::Left;
        self.tell_of_myself();
        effects.push(Effect::Changed { record: self.me.clone(), before: Some(MemberState::Alive) });
        self.send_all(now, effects);
    }

    /// Everyone else who lives, as long as everyone watches everyone.
    fn peers(&self) -> BTreeSet<NodeId> {
        let lives = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
        let others = self.table.iter().map(|m| &m.record).filter(|r| r.node != self.me.node);
        others.filter(|r| lives(r.state)).map(|r| r.node).collect()
    }

    /// Asks for the streams that the overlay wants and doesn't have yet, at the newest addresses.
    fn rewire(&mut self, effects: &mut Vec<Effect>) {
        let peers = self.peers();
        let gone: Vec<NodeId> = self.wanted.keys().copied().filter(|p| !peers.contains(p)).collect();
        for peer in gone {
            self.wanted.remove(&peer);
            effects.push(Effect::Disconnect { peer });
        }
        for peer in peers {
            let address = &self.table.get(peer).expect("peers are members").record.address;
            if self.wanted.get(&peer) != Some(address) {
                self.wanted.insert(peer, address.clone());
                effects.push(Effect::Connect { peer, address: address.clone() });
            }
        }
    }
}

/// What is kept of one peer beside its record.
#[derive(Clone, Debug)]
struct Link {
    edge: Edge,
    /// What the next heartbeat to it carries.
    exchange: Exchange,
    sent: u64,
    sessions: Option<Sessions>,
}

impl Link {
    fn new(now: Instant) -> Self {
        Self { edge: Edge::new(now), exchange: Exchange::Deltas, sent: 0, sessions: None }
    }

    fn answer(&mut self) {
        // An own question carries the answer as well.
        if self.exchange == Exchange::Deltas {
            self.exchange = Exchange::Answer;
        }
    }
}
