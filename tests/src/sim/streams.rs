//! What passes between agents: messages, streams that are dialled and end, probes that keepers answer.
//!
//! Not here: which ways are cut and how long they take (net.rs).

use super::{
    agent::{Input, Msg, profile},
    world::{Event, Host, World},
};
use cluster_core::{
    ids::NodeId,
    membership::{self, AgentState, DialOutcome},
};
use core::time::Duration;

/// An agent feeds its keeper at least this often.
const FED_WITHIN: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, msg: Msg) {
        let streamed = matches!(msg, Msg::Heartbeat { .. } | Msg::Hello(_));
        if streamed && !self.streams.contains(&pair(from, to)) {
            return;
        }
        if let Some(delay) = self.net.delay(from, to, &mut self.rng) {
            self.after(delay, Event::Deliver { to, from, msg });
        }
    }

    fn both_ways(&self, a: NodeId, b: NodeId) -> bool {
        self.net.passes(a, b) && self.net.passes(b, a)
    }

    pub(super) fn dial(&mut self, from: NodeId, life: u64, peer: NodeId) {
        if !self.lives(from, life) || !self.host(from).dials.contains(&peer) {
            return;
        }
        if self.streams.contains(&pair(from, peer)) {
            return;
        }
        let there = self.hosts.get(&peer).is_some_and(|h| h.agent.is_some() && !h.paused);
        if !there || self.host(from).paused || !self.both_ways(from, peer) {
            let wait = self.rng.ms(200, 500);
            self.after(wait, Event::Dial { from, life, peer });
            return;
        }
        self.streams.insert(pair(from, peer));
        self.give(from, Input::StreamOpened { peer });
        self.give(peer, Input::StreamOpened { peer: from });
    }

    pub(super) fn probe(&mut self, from: NodeId, address: &str) {
        let known = |h: &&Host| profile(h.id).address == address;
        let Some(peer) = self.hosts.values().find(known).map(|h| h.id) else { return };
        let life = self.host(from).life;
        // A probe that arrives is as good as a stream: both say hello.
        self.host(from).dials.insert(peer);
        self.after(Duration::from_millis(1), Event::Dial { from, life, peer });
    }

    /// Datagrams to the peer's keeper, which lives as long as its host does: the first answer counts.
    pub(super) fn burst(&mut self, from: NodeId, peer: NodeId, nonce: u64, (count, every): (u32, Duration)) {
        let now = self.now;
        let Some(host) = self.hosts.get(&peer).filter(|h| h.up) else { return };
        let agent = match &host.agent {
            None => AgentState::Gone,
            Some(_) if host.paused && now.since(host.paused_at) > FED_WITHIN => AgentState::Stalled,
            Some(_) => AgentState::Up,
        };
        for i in 0..count {
            let there = self.net.delay(from, peer, &mut self.rng);
            let back = self.net.delay(peer, from, &mut self.rng);
            if let (Some(there), Some(back)) = (there, back) {
                let input = Input::Found(membership::Event::ProbeAnswered { peer, nonce, agent });
                let life = self.host(from).life;
                self.after(every * i + there + back, Event::Local { host: from, life, input });
                return;
            }
        }
    }

    pub(super) fn try_connection(&mut self, from: NodeId, peer: NodeId) {
        const WITHIN: Duration = Duration::from_millis(250);
        let reached = self.hosts.get(&peer).is_some_and(|h| h.up)
            && self.net.delay(from, peer, &mut self.rng).is_some()
            && self.net.delay(peer, from, &mut self.rng).is_some();
        let host = self.hosts.get(&peer).filter(|_| reached);
        let (after, outcome) = match host.map(|h| (h.agent.is_some(), h.paused)) {
            None => (WITHIN, DialOutcome::NoRoute),
            Some((false, _)) => (Duration::from_millis(2), DialOutcome::Refused),
            Some((true, true)) => (WITHIN, DialOutcome::Silent),
            Some((true, false)) => (Duration::from_millis(5), DialOutcome::Answered),
        };
        let input = Input::Found(membership::Event::Dialled { peer, outcome });
        let life = self.host(from).life;
        self.after(after, Event::Local { host: from, life, input });
    }

    /// All streams of a process end; peers that the news reaches hear of it at once.
    pub(super) fn streams_end(&mut self, id: NodeId) {
        let peers: Vec<NodeId> = self.hosts.keys().copied().filter(|p| *p != id).collect();
        for peer in peers {
            if !self.streams.remove(&pair(id, peer)) || self.host(peer).agent.is_none() {
                continue;
            }
            let life = self.host(peer).life;
            if self.both_ways(id, peer) {
                let input = Input::StreamEnded { peer: id };
                self.after(Duration::from_millis(1), Event::Local { host: peer, life, input });
            }
            if self.host(peer).dials.contains(&id) {
                let wait = self.rng.ms(50, 300);
                self.after(wait, Event::Dial { from: peer, life, peer: id });
            }
        }
    }
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}
