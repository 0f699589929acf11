//! What gossip makes this agent do: streams kept, heartbeats sent, hellos, suspicions told.

use super::{LEADER_CHECK_TIMEOUT, Node};
use crate::{
    clock,
    run::{input::Input, join::introduction},
    wire::{
        convert::Beat,
        peer::{self, Acquaintance, Meeting},
        streams::{self, StreamEvent},
    },
};
use cluster_core::{
    ids::{NodeId, SessionId},
    ledger::{Event, EventType},
    membership::{self, AgentState, Hello, MemberRecord, MemberState},
    recovery,
    time::Instant,
};
use std::collections::BTreeMap;

impl Node {
    pub(super) fn met(&mut self, now: Instant, meeting: Meeting) {
        let hello =
            Hello { record: record(&meeting.sender), members: meeting.members.iter().map(record).collect() };
        let mut effects = Vec::new();
        self.members.step(now, membership::Event::Hello(hello), &mut effects);
        self.carry_out(now, effects);
    }

    pub(super) fn stream(&mut self, now: Instant, event: StreamEvent) {
        let event = match event {
            StreamEvent::Opened { peer } => {
                self.connected.insert(peer);
                membership::Event::StreamOpened { peer }
            }
            StreamEvent::Ended { peer, why } => {
                tracing::debug!(%peer, why, "the stream to a peer ended");
                self.connected.remove(&peer);
                self.check_leader(peer);
                membership::Event::StreamEnded { peer }
            }
        };
        let mut effects = Vec::new();
        self.members.step(now, event, &mut effects);
        self.carry_out(now, effects);
    }

    /// When the leader's stream ends and its port is closed, its process is gone: no need to wait out its lease.
    pub(super) fn check_leader(&self, peer: NodeId) {
        let status = self.p.consensus.status();
        let Some(address) = self.gossip.get(&peer).map(|s| s.address.clone()) else { return };
        if status.leader != Some(peer) || !self.voters.contains_key(&self.p.identity.node) {
            return;
        }
        let consensus = self.p.consensus.clone();
        // Ends with its time-out; one for each end of a stream.
        tokio::spawn(async move {
            let dial = tokio::net::TcpStream::connect(&address);
            if let Ok(Err(error)) = tokio::time::timeout(LEADER_CHECK_TIMEOUT, dial).await
                && error.kind() == std::io::ErrorKind::ConnectionRefused
            {
                tracing::info!(leader = %peer, "the leader's process is gone");
                consensus.leader_is_gone(peer);
            }
        });
    }

    pub(super) fn carry_out(&mut self, now: Instant, effects: Vec<membership::Effect>) {
        use membership::Effect;
        for effect in effects {
            match effect {
                Effect::Send { to, heartbeat } => self.send(now, to, heartbeat),
                Effect::Connect { peer, address } => self.connect(peer, address),
                Effect::Disconnect { peer } => {
                    self.gossip.remove(&peer);
                    self.connected.remove(&peer);
                }
                Effect::Probe { address } => self.probe(address),
                Effect::ProbeBurst { .. }
                | Effect::Dial { .. }
                | Effect::AskHelp { .. }
                | Effect::AnswerHelp { .. }
                | Effect::Report(_)
                | Effect::AnswerPoll { .. } => {}
                Effect::Changed { node, before, .. } => {
                    let record = self.members.member(node).map_or(self.members.me(), |m| &m.record).clone();
                    self.changed(&record, before);
                }
                Effect::Removed { node } => {
                    self.heard.heard.remove(&node);
                }
                Effect::Refuted { incarnation } => {
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
        let Some(stream) = self.gossip.get(&to) else { return };
        let votes = self.voters.contains_key(&self.p.identity.node);
        let ack_ages = if votes { self.p.replica.book().ack_ages(now) } else { Vec::new() };
        stream.send(Beat {
            cluster: self.p.stored.cluster(),
            cluster_name: self.p.identity.cluster_name.clone(),
            heartbeat,
            ack_ages,
        });
    }

    pub(super) fn connect(&mut self, peer: NodeId, address: String) {
        if self.gossip.get(&peer).is_some_and(|s| s.address == address) {
            return;
        }
        let stream = streams::gossip(self.p.peers.clone(), peer, address, self.stream_events.clone());
        self.gossip.insert(peer, stream);
        self.connected.remove(&peer);
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
            members: Vec::new(),
            waiting: Vec::new(),
            leader: None,
        };
        let (inputs, ours) = (self.p.inputs.clone(), mine.cluster);
        tokio::spawn(async move {
            let answer = peer::meet(channel, &mine, LEADER_CHECK_TIMEOUT * 5).await;
            if let Ok(meeting) = answer
                && meeting.cluster == ours
            {
                let _stopping = inputs.send(Input::Met(meeting)).await;
            }
        });
    }

    pub(super) fn changed(&mut self, record: &MemberRecord, before: Option<MemberState>) {
        let heard = match record.state {
            MemberState::Alive => Some(recovery::Heard::Alive),
            MemberState::Suspect => Some(recovery::Heard::Suspect),
            MemberState::Dead | MemberState::Left => None,
        };
        match heard {
            Some(heard) => self.heard.heard.insert(record.node, heard),
            None => self.heard.heard.remove(&record.node),
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
        agent: AgentState::Up,
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
