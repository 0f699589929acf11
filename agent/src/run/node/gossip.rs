//! What gossip makes this agent do: streams kept, heartbeats sent, hellos, suspicions told.

use super::Node;
use crate::{
    clock,
    keeper::contacts::Introduction,
    run::{input::Input, join::introduction},
    sense::Sensed,
    wire::{
        convert::Beat,
        gossip::{self, KeyAsked, Said, StreamEvent},
        peer::{self, Acquaintance, Meeting, PeerError},
    },
};
use cluster_core::{
    ids::{NodeId, SessionId},
    ledger::{Event, EventType},
    membership::{self, Hello, MemberRecord, MemberState},
    recovery,
    time::Instant,
};
use std::{collections::BTreeMap, time::Duration};

/// Between two looks for neighbours whose keepers' keys aren't known, and between two questions for one.
const ASK_KEYS_EVERY: Duration = Duration::from_millis(500);
const ASK_KEY_AGAIN: Duration = Duration::from_secs(2);
/// A heartbeat that waited longer to be read finds an agent that was kept from hearing others.
const LATE: Duration = Duration::from_millis(80);
/// A hello to where an agent may be is given up after this.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// A question for the key of a neighbour's keeper.
pub(super) struct AskedKey {
    at: Instant,
    answered: bool,
}

impl Node {
    /// One step of membership, and what it wants.
    pub(super) fn gossip(&mut self, now: Instant, event: membership::Event) {
        let mut effects = Vec::new();
        self.members.step(now, event, &mut effects);
        self.carry_out(now, effects);
    }

    pub(super) fn met(&mut self, now: Instant, meeting: Meeting) {
        let hello =
            Hello { record: record(&meeting.sender), members: meeting.members.iter().map(record).collect() };
        self.gossip(now, membership::Event::Hello(hello));
    }

    pub(super) fn beat(&mut self, now: Instant, beat: Beat, at: Instant) {
        let waited = now.since(at);
        if waited > LATE {
            self.late(now, waited);
        }
        let Beat { heartbeat, ack_ages, .. } = beat;
        let from = heartbeat.from;
        self.gossip(now, membership::Event::Heartbeat(heartbeat));
        // Told to the leader alone; without any when it acknowledged nobody.
        self.ack_ages(now, from, ack_ages);
    }

    pub(super) fn stream(&mut self, now: Instant, event: StreamEvent) {
        match event {
            StreamEvent::Opened { peer, id, outbox, dialled } => {
                if self.edges.opened(peer, id, outbox, dialled) {
                    self.news = true;
                    self.gossip(now, membership::Event::StreamOpened { peer });
                    self.ask_key(now, peer);
                }
            }
            StreamEvent::Ended { peer, id, why } => {
                tracing::debug!(%peer, why, "a stream with a peer ended");
                if self.edges.ended(peer, id) {
                    self.stream_ended(now, peer);
                }
            }
        }
    }

    /// For a neighbour's key, while all is well: a host that is gone hands out none. Not again soon, as the answer may be
    /// on its way, or the name in it be looked up.
    fn ask_key(&mut self, now: Instant, peer: NodeId) {
        let Some(cluster) = self.p.stored.cluster() else { return };
        let lately = self.keys_asked.get(&peer).is_some_and(|asked| now < asked.at + ASK_KEY_AGAIN);
        let lacks = |address: String| !self.p.prober.knows(peer, &address);
        if !lately && self.address(peer).is_some_and(lacks) {
            self.keys_asked.insert(peer, AskedKey { at: now, answered: false });
            let asked = KeyAsked { cluster, from: self.p.identity.node, to: peer };
            self.edges.send(peer, Said::AskKey(asked));
        }
    }

    /// Of all neighbours, for ever: a key can't be had before there is a cluster, and keepers get new ones.
    pub(super) fn ask_keys(&mut self, now: Instant) {
        if now < self.ask_keys_at {
            return;
        }
        self.ask_keys_at = now + ASK_KEYS_EVERY;
        let connected: Vec<NodeId> = self.edges.connected().iter().copied().collect();
        self.keys_asked.retain(|peer, _| connected.contains(peer));
        connected.into_iter().for_each(|peer| self.ask_key(now, peer));
    }

    /// Over its stream, which only the two hear.
    pub(super) fn key_asked(&self, KeyAsked { cluster, from, to }: KeyAsked) {
        if self.p.stored.cluster() == Some(cluster) && to == self.p.identity.node {
            let introduction = self.p.secret.introduce(from, to);
            self.edges.send(from, Said::Key(to, introduction));
        }
    }

    /// Counts once for each time that it was asked for.
    pub(super) fn key_given(&mut self, from: NodeId, introduction: Introduction) {
        let Some(address) = self.address(from) else { return };
        if let Some(asked) = self.keys_asked.get_mut(&from).filter(|asked| !asked.answered) {
            asked.answered = true;
            self.p.prober.introduced(from, address, introduction);
        }
    }

    pub(super) fn stream_ended(&mut self, now: Instant, peer: NodeId) {
        self.news = true;
        self.check_leader(peer);
        self.gossip(now, membership::Event::StreamEnded { peer });
    }

    pub(super) fn carry_out(&mut self, now: Instant, effects: Vec<membership::Effect>) {
        use membership::Effect;
        for effect in effects {
            match effect {
                Effect::Send { to, heartbeat } => self.send(now, to, heartbeat),
                Effect::Connect { peer, address } => self.connect(peer, address),
                Effect::Reconnect { peer, address } => {
                    self.p.peers.forget(&address);
                    self.news |= self.edges.hang_up(peer);
                    self.connect(peer, address);
                }
                Effect::Disconnect { peer } => {
                    // A connection that is stuck must not serve the next stream; one that isn't goes with its users.
                    if let Some(address) = self.edges.address(peer) {
                        self.p.peers.forget(address);
                    }
                    // Its link is unwanted, so that its end is no evidence; told, the link goes too.
                    if self.edges.hang_up(peer) {
                        self.news = true;
                        self.gossip(now, membership::Event::StreamEnded { peer });
                    }
                }
                Effect::Probe { address } => self.probe(address),
                Effect::ProbeBurst { peer, address, nonce, count, every } => {
                    self.p.prober.probe(peer, &address, nonce, count, every);
                }
                Effect::Dial { peer, address } => self.dial(peer, address),
                Effect::AskHelp { helper, subject } => self.ask_help(helper, subject),
                Effect::AnswerHelp { to, subject, opinion } => self.helping.answer(to, subject, opinion),
                Effect::Report(report) => {
                    self.news = true;
                    self.report(now, report);
                }
                Effect::AnswerPoll { to, subject, hears } => self.answer_poll(now, to, subject, hears),
                Effect::Changed { node, before, .. } => {
                    let record = self.members.member(node).map_or(self.members.me(), |m| &m.record).clone();
                    self.changed(&record, before);
                }
                Effect::Removed { node } => {
                    (self.news, self.look) = (true, true);
                    self.heard.heard.remove(&node);
                    self.heard.sick.remove(&node);
                }
                Effect::Refuted { incarnation } => {
                    self.news = true;
                    let (stored, inputs) = (self.p.stored.clone(), self.p.inputs.clone());
                    // One small write; a failure to keep it ends the agent.
                    tokio::spawn(async move {
                        if let Err(error) = stored.incarnation(incarnation).await {
                            let _stopping = inputs.send(Input::Fatal(error.to_string())).await;
                        }
                    });
                }
                Effect::Duplicate { node, sessions } => self.duplicate(node, sessions),
            }
        }
    }

    pub(super) fn duplicate(&mut self, node: NodeId, sessions: [SessionId; 2]) {
        tracing::error!(%node, ?sessions, "two living agents speak as one node: a cloned disk");
        let settled = self.p.replica.read(|l| l.nodes.get(&node).map(|n| n.session));
        // The one that the ledger knows stays; the other one, if it is this agent, ends.
        if node == self.p.identity.node && settled.is_some_and(|s| s != self.p.identity.session) {
            self.join_refused = Some(format!(
                "node {node} runs already in another process: its data directory was copied; stop one of the two and \
                 give it an empty data_dir"
            ));
        }
    }

    pub(super) fn send(&self, now: Instant, to: NodeId, heartbeat: membership::Heartbeat) {
        let votes = self.voters.contains_key(&self.p.identity.node);
        let to_leader = votes && self.p.consensus.status().leader == Some(to);
        let ack_ages = if to_leader { self.p.replica.book().ack_ages(now) } else { Vec::new() };
        let beat = Beat {
            cluster: self.p.stored.cluster(),
            cluster_name: self.p.identity.cluster_name.clone(),
            heartbeat,
            ack_ages,
        };
        self.edges.send(to, Said::Beat(Box::new(beat)));
    }

    pub(super) fn connect(&mut self, peer: NodeId, address: String) {
        if !self.edges.is_dialled(peer, &address) {
            let dialler = gossip::dial(self.p.peers.clone(), self.p.ear.clone(), peer, address);
            self.news |= self.edges.dial(peer, dialler);
        }
    }

    pub(super) fn sensed(&mut self, now: Instant, sensed: Sensed) {
        let Sensed { vitals, pressure, sick } = sensed;
        self.gossip(now, membership::Event::Vitals(vitals));
        if let Some(pressure) = pressure {
            self.gossip(now, membership::Event::Pressure(pressure));
        }
        self.gossip(now, membership::Event::Sick(sick));
    }

    /// One hello to an address that gossip doesn't reach: a seed, or a member thought dead.
    pub(super) fn probe(&self, address: String) {
        if address == self.p.identity.address {
            return;
        }
        let Ok(channel) = self.p.peers.channel(&address) else { return };
        let mine = Meeting {
            cluster_name: self.p.identity.cluster_name.clone(),
            cluster: self.p.stored.cluster(),
            sender: introduction(&self.p.identity, self.members.me().incarnation),
            founds: false,
            members: Vec::new(),
            waiting: Vec::new(),
            voters: Vec::new(),
        };
        let (inputs, ours, peers) = (self.p.inputs.clone(), mine.cluster, self.p.peers.clone());
        tokio::spawn(async move {
            match peer::meet(channel, &mine, PROBE_TIMEOUT).await {
                Ok(meeting) if meeting.cluster == ours => {
                    let _stopping = inputs.send(Input::Met(meeting)).await;
                }
                // The connection may be stuck from before a cut.
                Err(PeerError::Unreachable(_)) => peers.forget(&address),
                Ok(_) | Err(_) => {}
            }
        });
    }

    pub(super) fn changed(&mut self, record: &MemberRecord, before: Option<MemberState>) {
        (self.news, self.look) = (true, true);
        let heard = match record.state {
            MemberState::Alive if record.sick.is_some() => Some(recovery::Heard::Sick),
            MemberState::Alive => Some(recovery::Heard::Alive),
            MemberState::Suspect => Some(recovery::Heard::Suspect),
            MemberState::Dead | MemberState::Left => None,
        };
        match heard {
            Some(heard) => self.heard.heard.insert(record.node, heard),
            None => self.heard.heard.remove(&record.node),
        };
        match record.sick.clone().filter(|_| heard == Some(recovery::Heard::Sick)) {
            Some(why) => self.heard.sick.insert(record.node, why),
            None => self.heard.sick.remove(&record.node),
        };
        if record.state == MemberState::Suspect && before != Some(MemberState::Suspect) {
            tracing::info!(node = record.name, "suspected");
            let event = Event {
                index: self.seen_index,
                time: clock::wall(),
                kind: EventType::NodeSuspected,
                subject: record.name.clone(),
                summary: format!("{} is silent, says {}", record.name, self.p.identity.name),
                fields: BTreeMap::from([("observer".into(), self.p.identity.name.clone())]),
            };
            let _nobody_watches = self.p.local_events.send(event);
        }
    }
}

fn record(a: &Acquaintance) -> MemberRecord {
    MemberRecord {
        node: a.node,
        incarnation: a.incarnation,
        state: MemberState::Alive,
        session: a.session,
        revision: 0,
        sick: None,
        name: a.name.clone(),
        address: a.address.clone(),
        http: None,
        zone: a.zone.clone(),
        role: a.role,
        version: a.version.clone(),
    }
}
