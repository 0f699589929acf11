//! Weave: which streams this agent keeps, and how it gets from the old ones to the new ones when the view changes.
//!
//! Edges come from the overlay of the committed view alone: a peer that the view has as alive is spoken to whatever
//! gossip says of it, for only who is spoken to can refute. Joiners, whom no view has yet, are linked with whom they
//! greeted; before there is a view at all, all who know of each other are, as long as they are few. The lower id dials;
//! the other end does too if no stream stood for a while. Old edges stay until the new ones deliver.
//!
//! Not here: what flows over the streams (`speak`, `hear`), and silence (`watch`).

use super::*;
use link::{DIAL_AFTER, Found};
use overlay::ALL_TO_ALL_MAX;

/// An edge that is no longer wanted stays so long at most.
const RETIRE_AFTER: Duration = Duration::from_secs(5);
/// Streams asked for in one tick; the others wait for the next.
const CONNECTS_PER_TICK: usize = 4;
/// Peers remembered for having greeted; beyond it the lowest id is forgotten.
const MET_MAX: usize = 1_024;

impl Membership {
    pub(super) fn greet(&mut self, now: Instant, hello: &Hello, effects: &mut Vec<Effect>) {
        let peer = hello.record.node;
        self.table.exhume(peer);
        self.merge(now, peer, &hello.record, effects);
        for record in hello.members.iter().take(FULL_MAX) {
            self.merge(now, peer, record, effects);
        }
        let roll = self.table.roll();
        let both_live = roll.lives(peer) && roll.lives(self.me.node);
        if peer != self.me.node && self.table.get(peer).is_some() && !both_live {
            self.rewire |= self.met.insert(peer);
            if self.met.len() > MET_MAX {
                self.met.pop_first();
            }
        }
    }

    /// Whom heartbeats are to flow with.
    fn targets(&self) -> BTreeSet<NodeId> {
        let (me, roll) = (self.me.node, self.table.roll());
        let lives =
            |node: &NodeId| self.table.get(*node).is_some_and(|m| m.record.state <= MemberState::Suspect);
        let mut targets: BTreeSet<NodeId> = roll.watchers(me).iter().copied().collect();
        let member = roll.lives(me);
        targets.extend(self.met.iter().filter(|n| lives(n) && !(member && roll.lives(**n))));
        if roll.epoch().0 == 0 && self.table.len() <= ALL_TO_ALL_MAX {
            targets.extend(self.table.iter().map(|m| m.record.node).filter(lives));
        }
        targets.remove(&me);
        targets
    }

    /// Marks what is wanted from now on; streams are asked for and given up by the ticks.
    pub(super) fn rewire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let targets = self.targets();
        for (peer, link) in self.links.iter_mut().filter(|(peer, l)| l.wanted && !targets.contains(peer)) {
            link.wanted = false;
            link.retire_at = Some(now + RETIRE_AFTER);
            self.found |= link.found.take().is_some();
            if let Some(inquiry) = self.inquiries.get_mut(peer) {
                inquiry.settled();
            }
        }
        let mut silent = Vec::new();
        for peer in targets {
            let link = self.links.entry(peer).or_insert_with(|| Link::new(now, &self.timing));
            if !link.wanted {
                (link.wanted, link.delivered, link.retire_at, link.cleared) = (true, false, None, 0);
                link.dial_at = if self.me.node < peer { now } else { now + DIAL_AFTER };
                if link.edge.wanted(now, &self.timing) {
                    silent.push(peer);
                }
            }
            let address = &self.table.get(peer).expect("targets are members").record.address;
            if link.dialled.as_ref().is_some_and(|at| at != address) {
                link.dialled = Some(address.clone());
                effects.push(Effect::Connect { peer, address: address.clone() });
            }
        }
        // A stream from before an outage that removed the peer.
        for peer in silent {
            self.redial(now, peer, effects);
        }
        self.dial(now, effects);
    }

    /// Asks for some of the streams that are due.
    pub(super) fn dial(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let due = |l: &Link| l.awaits_dial() && now >= l.dial_at;
        let waiting = self.links.iter_mut().filter(|(_, l)| due(l)).take(CONNECTS_PER_TICK);
        for (&peer, link) in waiting {
            let address = self.table.get(peer).expect("targets are members").record.address.clone();
            link.dialled = Some(address.clone());
            effects.push(Effect::Connect { peer, address });
        }
    }

    /// Gives old edges up once all new ones deliver, or when it takes too long.
    pub(super) fn retire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.links.values().all(|l| l.retire_at.is_none()) {
            return;
        }
        let settled = self.links.values().all(|l| !l.wanted || l.delivered);
        for (&peer, link) in &mut self.links {
            if link.retire_at.is_some_and(|at| settled || now >= at) {
                link.retire_at = None;
                if link.dialled.take().is_some() {
                    effects.push(Effect::Disconnect { peer });
                }
            }
        }
        self.links.retain(|_, l| l.wanted || l.retire_at.is_some() || l.edge.is_open());
    }

    pub(super) fn stream_opened(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let link = self.links.entry(peer).or_insert_with(|| Link::new(now, &self.timing));
        link.edge.opened(now, &self.timing);
        link.exchange = Exchange::Ask;
        link.beat_at = Instant::from_nanos(u64::MAX);
        self.spread(now);
        self.send(peer, effects);
    }

    pub(super) fn stream_ended(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.edge.closed(now);
        self.spread(now);
        let link = self.links.get_mut(&peer).expect("it was just there");
        if !link.wanted && link.retire_at.is_none() {
            self.links.remove(&peer);
            return;
        }
        if link.dialled.is_none() {
            link.dial_at = if self.me.node < peer { now } else { now + DIAL_AFTER };
        }
        self.judge(now, effects);
        self.dial(now, effects);
    }

    /// What a change of the table brings with it. `tell`: others may not know it.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        change: Option<Change>,
        tell: bool,
        effects: &mut Vec<Effect>,
    ) {
        match change {
            None => {}
            Some(Change::Removed { node }) => {
                self.rewire = true;
                self.gossip.drop(node);
                self.board.drop(node);
                self.met.remove(&node);
                self.strangers.remove(&node);
                effects.push(Effect::Removed { node });
            }
            Some(Change::Updated { node, before, new_life }) => {
                let member = self.table.get(node).expect("it was just updated");
                let (state, session) = (member.record.state, member.record.session);
                if member.committed.is_none() {
                    self.strangers.insert(node, now);
                }
                let viewless = self.table.view().0 == 0;
                if let Some(link) = self.links.get_mut(&node).filter(|_| new_life) {
                    // It refuted, or began anew: what was found is of the past.
                    if link.edge.is_of_another(session) {
                        link.edge.reborn(now, &self.timing);
                        link.cleared = 0;
                    } else if link.edge.stood() || link.found.is_some() {
                        link.edge.vouched(now, self.timing.suspect_floor);
                    }
                    let was: Option<Found> = link.found.take();
                    self.found |= was.is_some();
                }
                let unproven = |l: &&mut Link| l.wanted && !l.edge.stood() && l.found.is_none();
                if state == MemberState::Suspect
                    && let Some(link) = self.links.get_mut(&node).filter(unproven)
                {
                    // Another, whose edge stood, finds it gone: no stream is waited for.
                    link.edge.vouched(now, Duration::ZERO);
                }
                self.rewire |= viewless || self.links.contains_key(&node) || self.met.contains(&node);
                if tell {
                    self.gossip.tell(node);
                }
                effects.push(Effect::Changed { node, before, state });
            }
        }
    }
}
