//! What passes between hosts: messages, datagrams and keepers' answers, ordered streams that are dialled and ended.
//!
//! Not here: who is cut off, and when (`outages`).

use super::*;

impl Lab {
    /// What the host's keeper answers to a datagram.
    pub(super) fn keep(&mut self, host: usize, from: usize, nonce: u64) {
        let (now, h) = (self.now, &self.hosts[host]);
        let stalled =
            h.stopped_until > now && h.stopped_at.is_some_and(|at| now.since(at) > Duration::from_secs(1));
        let agent = match (h.up, stalled) {
            (false, _) => AgentState::Gone,
            (true, true) => AgentState::Stalled,
            (true, false) => AgentState::Up,
        };
        let event = Event::ProbeAnswered { peer: id(host), nonce, agent };
        if h.keeper && h.powered && h.paused_until <= now && !self.lost() && self.passes(host, from) {
            self.put(now + Duration::from_millis(1), from, Delivery::Member(event));
        }
    }

    /// Ordered, like a stream; a lost packet is a heartbeat that never comes, a spike one that delays all behind it.
    pub(super) fn send(&mut self, from: usize, to: usize, heartbeat: Heartbeat) {
        self.sent += 1;
        self.records += heartbeat.deltas.len();
        if self.lost() || !self.streams.contains(&(from, to)) || !self.passes(from, to) {
            return;
        }
        let spike = if self.rng.below(100) < self.spike_percent { self.rng.below(1_200) } else { 0 };
        let delay = Duration::from_millis((1 + self.rng.below(5) + spike) as u64);
        let after = self.last_arrival.get(&(from, to)).copied().unwrap_or_default();
        let at = after.max(self.now + delay);
        self.last_arrival.insert((from, to), at);
        self.put(at, to, Delivery::Member(Event::Heartbeat(heartbeat)));
    }

    /// One message of another kind; a lost packet comes later.
    pub(super) fn tell(&mut self, from: usize, to: usize, delivery: Delivery) {
        if from == to || (self.passes(from, to) && self.passes(to, from)) {
            let late = if self.lost() { 200 } else { 0 };
            self.put(self.now + Duration::from_millis(2 + late), to, delivery);
        }
    }

    /// A fresh connection and one question.
    pub(super) fn connect(&mut self, host: usize, peer: NodeId) {
        let (now, h) = (self.now, &self.hosts[index(peer)]);
        let runs = h.stopped_until <= now;
        let (up, reached) = (h.up, h.paused_until <= now && self.passes(host, index(peer)));
        let reached = reached && self.passes(index(peer), host) && !self.lost() && !self.lost();
        let (outcome, ms) = match (reached, up, runs) {
            (false, ..) => (DialOutcome::NoRoute, 250),
            (true, false, _) => (DialOutcome::Refused, 2),
            (true, true, false) => (DialOutcome::Silent, 250),
            (true, true, true) => (DialOutcome::Answered, 4),
        };
        let event = Event::Dialled { peer, outcome };
        self.put(now + Duration::from_millis(ms), host, Delivery::Member(event));
    }

    pub(super) fn probe(&mut self, host: usize, address: &str) {
        let to = (0..self.hosts.len()).find(|h| self.hosts[*h].members.me().address == address);
        if let Some(to) = to.filter(|&to| self.runs(to) && self.passes(host, to) && self.passes(to, host)) {
            self.greet(host, to);
        }
    }

    fn greet(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let hello = self.hosts[from].members.hello();
            self.put(self.now, to, Delivery::Member(Event::Hello(hello)));
        }
    }

    pub(super) fn dial(&mut self, host: usize) {
        for peer in self.hosts[host].wanted.clone() {
            let to = index(peer);
            let stands = self.streams.contains(&(host, to)) || (self.lower_dials && host > to);
            if !stands && self.runs(to) && self.passes(host, to) && self.passes(to, host) {
                self.greet(host, to);
                self.streams.extend([(host, to), (to, host)]);
                self.put(self.now, host, Delivery::Member(Event::StreamOpened { peer }));
                self.put(self.now, to, Delivery::Member(Event::StreamOpened { peer: id(host) }));
            }
        }
    }

    /// Ends the stream, unless the other end dialled it as well.
    pub(super) fn disconnect(&mut self, host: usize, peer: NodeId) {
        self.hosts[host].wanted.remove(&peer);
        let other = index(peer);
        if !self.hosts[other].wanted.contains(&id(host)) && self.streams.remove(&(host, other)) {
            self.streams.remove(&(other, host));
            let at = self.now + Duration::from_millis(1);
            self.put(at, host, Delivery::Member(Event::StreamEnded { peer }));
            self.put(at, other, Delivery::Member(Event::StreamEnded { peer: id(host) }));
        }
    }

    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        self.hosts[from].powered && self.hosts[to].powered && !self.cuts.contains(&(from, to))
    }

    pub(super) fn lost(&mut self) -> bool {
        self.rng.below(100) < self.loss_percent
    }
}
