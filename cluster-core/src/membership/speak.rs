//! What is said: heartbeats with news to the peers, and hellos to places where others may be.
//!
//! Not here: when (`Membership::step`), and which news (`gossip`, `vitals`).

use super::*;

/// In a larger cluster an agent tries an address so much more seldom that all together try as often.
const PROBERS: usize = 100;
/// Addresses looked at for one that leads somewhere.
const PROBE_CHOICES: usize = 8;

/// The first moment after now, but not at once, that lies at this phase of a heartbeat.
fn next_beat(now: Instant, phase: Duration, heartbeat: Duration) -> Instant {
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).expect("a heartbeat is short");
    let (every, after) = (nanos(heartbeat), now + heartbeat / 8);
    let past = (after.as_nanos() + every * 2 - nanos(phase)) % every;
    after + Duration::from_nanos(every - past)
}

/// The same news for all neighbours.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    news: Vec<MemberRecord>,
    vitals: Vec<VitalsOf>,
}

impl Membership {
    /// Once a heartbeat: what all links get with their next one.
    pub(super) fn next_round(&mut self, now: Instant) {
        if self.links.values().all(|l| !l.edge.is_open()) {
            return;
        }
        self.rounds += 1;
        self.round = Round {
            news: self.gossip.round(&self.table),
            vitals: self.board.round(now, self.me.node, self.me.incarnation),
        };
    }

    /// Spreads the heartbeats over time. So those who watch a node see it fall silent one after the other over a whole
    /// heartbeat, and nodes that are lost together are found lost together: none before some have spoken of the others.
    pub(super) fn spread(&mut self, now: Instant) {
        let open = self.links.values().filter(|l| l.edge.is_open()).count();
        let heartbeat = self.timing.heartbeat;
        for (place, link) in (0u32..).zip(self.links.values_mut().filter(|l| l.edge.is_open())) {
            link.phase = heartbeat * place / u32::try_from(open).expect("fewer than members");
            // What was promised stays: a later heartbeat would look like a silence.
            link.beat_at = link.beat_at.min(next_beat(now, self.phase + link.phase, heartbeat));
        }
    }

    /// The heartbeats that are due, and those that would be a tick later: to wake costs more than to send.
    pub(super) fn beat(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (heartbeat, phase, soon) = (self.timing.heartbeat, self.phase, now + tick_every(&self.timing));
        let mut due = Vec::new();
        for (&peer, link) in self.links.iter_mut().filter(|(_, l)| l.edge.is_open() && soon >= l.beat_at) {
            link.beat_at = next_beat(now, phase + link.phase, heartbeat);
            due.push(peer);
        }
        for peer in due {
            self.send(peer, effects);
        }
    }

    /// To everyone to whom a stream stands, now.
    pub(super) fn send_all(&mut self, effects: &mut Vec<Effect>) {
        let open: Vec<NodeId> =
            self.links.iter().filter(|(_, l)| l.edge.is_open()).map(|(p, _)| *p).collect();
        for peer in open {
            self.send(peer, effects);
        }
    }

    pub(super) fn send(&mut self, to: NodeId, effects: &mut Vec<Effect>) {
        let view = self.table.view();
        let Some(link) = self.links.get_mut(&to) else { return };
        self.sent += 1;
        let fresh = core::mem::replace(&mut link.round, self.rounds) != self.rounds;
        let (seq, exchange, theirs) = (self.sent, core::mem::take(&mut link.exchange), link.view);
        let mut deltas = match exchange {
            Exchange::Deltas if fresh => self.round.news.clone(),
            Exchange::Deltas => Vec::new(),
            Exchange::Ask | Exchange::Answer => match theirs {
                Some(theirs) if theirs.0 == 0 => gossip::everything(&self.table, FULL_MAX, &mut self.rng),
                Some(theirs) if theirs != view => {
                    gossip::everything(&self.table, EXCHANGE_MAX, &mut self.rng)
                }
                _ => gossip::differences(&self.table, EXCHANGE_MAX, &mut self.rng),
            },
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
            vitals: if fresh { self.round.vitals.clone() } else { Vec::new() },
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
