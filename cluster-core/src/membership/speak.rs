//! What is said: heartbeats with news and silences to the peers, and hellos to places where others may be.
//!
//! Not here: when (`Membership::step`), and which news (`gossip`).

use super::*;

impl Membership {
    pub(super) fn send_all(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let open: Vec<NodeId> = self.links.keys().copied().filter(|p| self.is_open(*p)).collect();
        let silences = self.silences(now);
        for peer in open {
            self.send(peer, &silences, effects);
        }
    }

    pub(super) fn send(&mut self, to: NodeId, silences: &[Silence], effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&to) else { return };
        link.sent += 1;
        let exchange = core::mem::take(&mut link.exchange);
        let mut deltas = match exchange {
            Exchange::Deltas => self.gossip.news(&self.table),
            Exchange::Ask | Exchange::Answer => gossip::everything(&self.table, &mut self.rng),
        };
        // Who is spoken ill of hears it from everyone whom it can still reach, until it refuted.
        let of_it = self.table.get(to).map(|m| &m.record);
        if let Some(record) = of_it.filter(|r| r.state != MemberState::Alive && !deltas.contains(r)) {
            deltas.push(record.clone());
        }
        let heartbeat = Heartbeat {
            from: self.me.node,
            session: self.me.session,
            incarnation: self.me.incarnation,
            seq: link.sent,
            health: self.health.score(),
            view: self.table.view(),
            exchange,
            deltas,
            silences: silences.to_vec(),
        };
        effects.push(Effect::Send { to, heartbeat });
    }

    /// Whom this agent doesn't hear, of those that count as alive.
    pub(super) fn silences(&self, now: Instant) -> Vec<Silence> {
        let alive = |m: &Member| {
            m.committed.map_or(m.record.state <= MemberState::Suspect, |c| c.state == NodeState::Alive)
        };
        let mut silences: Vec<Silence> = self
            .links
            .iter()
            .filter(|(node, _)| self.table.get(**node).is_some_and(alive))
            .map(|(&node, Link { edge, .. })| Silence {
                node,
                silence: edge.silence(now),
                never: !edge.ever_heard(),
                ended: edge.ended(now),
            })
            .filter(|s| s.never || s.silence > self.timing.heartbeat || s.ended.is_some())
            .collect();
        silences.sort_by_key(|s| core::cmp::Reverse(s.silence));
        silences.truncate(SILENCES_MAX);
        silences
    }

    /// One address that may lead to another part of the cluster.
    pub(super) fn probe(&mut self) -> Option<Effect> {
        let dead =
            self.table.iter().filter(|m| m.record.state == MemberState::Dead).map(|m| &m.record.address);
        let unreached = |a: &&String| {
            **a != self.me.address && !self.wanted.iter().any(|(peer, at)| at == *a && self.is_open(*peer))
        };
        let choices: Vec<&String> = self.seeds.iter().chain(dead).filter(unreached).collect();
        if choices.is_empty() || self.leaving {
            return None;
        }
        let address = choices[self.rng.below(choices.len())].clone();
        Some(Effect::Probe { address })
    }
}
