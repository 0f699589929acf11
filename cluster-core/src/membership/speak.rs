//! What is said: heartbeats with news to the peers, and hellos to places where others may be.
//!
//! Not here: when (`Membership::step`), and which news (`gossip`, `vitals`).

use super::*;

/// In a larger cluster an agent tries an address so much more seldom that all together try as often.
const PROBERS: usize = 100;
/// Addresses looked at for one that leads somewhere.
const PROBE_CHOICES: usize = 8;

impl Membership {
    /// One heartbeat to everyone to whom a stream stands, with the same news to all.
    pub(super) fn send_all(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let open: Vec<NodeId> = self.links.iter().filter(|(_, l)| l.edge.is_open()).map(|(p, _)| *p).collect();
        if open.is_empty() {
            return;
        }
        let news = self.gossip.round(&self.table);
        let vitals = self.board.round(now, self.me.node, self.me.incarnation);
        for peer in open {
            self.send(peer, &news, &vitals, effects);
        }
    }

    pub(super) fn send(
        &mut self,
        to: NodeId,
        news: &[MemberRecord],
        vitals: &[VitalsOf],
        effects: &mut Vec<Effect>,
    ) {
        let view = self.table.view();
        let Some(link) = self.links.get_mut(&to) else { return };
        link.sent += 1;
        let (seq, exchange, theirs) = (link.sent, core::mem::take(&mut link.exchange), link.view);
        let mut deltas = match exchange {
            Exchange::Deltas => news.to_vec(),
            Exchange::Answer if theirs.is_some_and(|t| t.0 == 0) => {
                gossip::everything(&self.table, FULL_MAX, &mut self.rng)
            }
            Exchange::Answer if theirs != Some(view) => {
                gossip::everything(&self.table, EXCHANGE_MAX, &mut self.rng)
            }
            Exchange::Ask | Exchange::Answer => {
                gossip::differences(&self.table, EXCHANGE_MAX, &mut self.rng)
            }
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
            seq,
            health: self.health.score(),
            view,
            exchange,
            deltas,
            vitals: vitals.to_vec(),
        };
        effects.push(Effect::Send { to, heartbeat });
    }

    /// No peer is left that this agent should hear.
    pub(super) fn is_alone(&self) -> bool {
        !self.links.values().any(|l| l.wanted && l.edge.is_open())
    }

    /// One address that may lead to another part of the cluster: a seed's, a dead member's; alone, anyone's.
    pub(super) fn probe(&mut self, alone: bool) -> Option<Effect> {
        let roll = Arc::clone(self.table.roll());
        let skip = !alone && roll.living() > PROBERS && self.rng.below(roll.living()) >= PROBERS;
        let everyone = if alone { self.table.len() } else { 0 };
        let dead: Vec<&Member> =
            self.table.news().filter(|m| m.record.state == MemberState::Dead && !m.lives()).collect();
        let count = self.seeds.len() + roll.lost().len() + dead.len() + everyone;
        if skip || count == 0 || self.leaving {
            return None;
        }
        for _ in 0..PROBE_CHOICES {
            let mut at = self.rng.below(count);
            if at < self.seeds.len() {
                if self.leads_on(&self.seeds[at], alone) {
                    return Some(Effect::Probe { address: self.seeds[at].clone() });
                }
                continue;
            }
            at -= self.seeds.len();
            let lost = roll.lost().get(at).and_then(|node| self.table.get(*node));
            let member = lost
                .or_else(|| dead.get(at.checked_sub(roll.lost().len())?).copied())
                .or_else(|| self.table.iter().nth(at.checked_sub(roll.lost().len() + dead.len())?));
            // A dead one that refuted since is spoken to already, or will be.
            let member = member.filter(|m| m.record.node != self.me.node && !self.is_open(m.record.node));
            if let Some(member) = member.filter(|m| m.record.state != MemberState::Left) {
                return Some(Effect::Probe { address: member.record.address.clone() });
            }
        }
        None
    }

    /// Whether a seed isn't this agent itself, nor a living member that this agent needn't ask.
    fn leads_on(&self, seed: &str, alone: bool) -> bool {
        let (me, roll) = (self.me.node, self.table.roll());
        let reached = |m: &Member| {
            m.record.address == seed
                && (self.is_open(m.record.node) || (!alone && roll.lives(me) && m.lives()))
        };
        seed != self.me.address && !self.table.iter().any(reached)
    }
}
