//! Founding: how agents that wait for a cluster agree, once, on who founds it.
//!
//! When `expect` agents that may found have met, the first of them (a witness before others, then the lowest id) becomes
//! the founder of a set of that many. The set has an id, drawn once and never taken up again. Each member pledges itself to one set
//! at a time, durably before it says so. The founder founds once all have pledged to that very set. If a member refuses,
//! or says nothing for a while, the founder gives the set up, durably, and makes another from those that it hears.
//!
//! Why there is never a second cluster among agents of overlapping sets:
//! 1. A founder founds set s only while its own durable pledge is s and everyone of s has granted s to this life of it.
//! 2. Whoever granted s grants nothing else until the founder of s itself has said, by the id of s, that it holds s no
//!    more and hasn't founded. Silence frees nobody: the founder may have founded.
//! 3. A founder says so only once it is on its disk that it doesn't hold s; and it never holds s again.
//!
//! So if s is founded, no member of s was ever freed from it, and none granted another set afterwards; a set that it had
//! granted before was given up by then and is never founded. As `expect` is more than half of all that will ever be, any
//! two sets overlap. A grant for a set given up counts for nothing (the answer names the set), and a late question for
//! such a set binds its member only until the member asks that founder.
//!
//! Not here: joining a cluster that exists, and what happens after the founding (consensus).

mod set;
#[cfg(test)]
mod tests;

pub use set::{Candidate, Pledge};

use crate::{
    ids::{NodeId, SetId},
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// An agent that waited and wasn't heard of for so long doesn't count any more.
const WAITING_FOR: Duration = Duration::from_secs(5);
/// Between two rounds of asking for pledges.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A set that isn't complete after so long is given up: somebody in it doesn't answer.
const COMPLETE_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions of a member whether its founder still holds the set.
const ENQUIRE_EVERY: Duration = Duration::from_secs(2);
/// Agents that are remembered as waiting; of more, those that come first.
const WAITING_MAX: usize = 64;
/// Of them, whom an agent that only joins looks for by what others say, and whom it meets again.
const PASSED_ON: usize = 16;
const JOINED_BY: usize = 3;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another agent that waits for a cluster, and may found, was heard of.
    Waiting { node: NodeId, candidate: Candidate },
    /// A founder asks this agent for its pledge.
    Asked(Pledge),
    /// A founder that hasn't founded doesn't hold this set (any more), it says: whoever pledged to it is free.
    Abandoned { founder: NodeId, set: SetId },
    /// A member answered this founder's question for its pledge to `set`.
    Answered { from: NodeId, set: SetId, granted: bool },
    /// `dice`: the id of a new set, if one is made.
    Tick { dice: SetId },
}

/// What must be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable before anything later in the list is done, and before the next event. `None`: free again.
    Persist(Option<Pledge>),
    /// The answer to `Asked`.
    Answer {
        granted: bool,
        pledged_to: Option<NodeId>,
    },
    Ask {
        to: NodeId,
        address: String,
        pledge: Pledge,
    },
    /// Ask the founder whether it still holds the set that this agent pledged to.
    Enquire {
        founder: NodeId,
        address: String,
        set: SetId,
    },
    /// Tell a member of a set given up.
    Release {
        to: NodeId,
        address: String,
        set: SetId,
    },
    /// All have pledged: found the cluster with these. Repeated until the caller stops asking.
    Found(Pledge),
}

/// One agent's part, until it belongs to a cluster.
#[derive(Debug)]
pub struct Founding {
    me: NodeId,
    candidate: Candidate,
    /// None: this agent joins, and never founds.
    expect: Option<usize>,
    pledge: Option<Pledge>,
    waiting: BTreeMap<NodeId, (Candidate, Instant)>,
    /// Who pledged to this founder's set, in this life.
    granted: BTreeSet<NodeId>,
    refused: bool,
    /// Who kept this founder's last set from being complete: others are taken before them.
    unwilling: BTreeSet<NodeId>,
    asked_at: Option<Instant>,
    enquired_at: Option<Instant>,
    /// Since when this life asks for its set.
    since: Option<Instant>,
}

impl Founding {
    /// `pledge` is what an earlier life of this agent made durable.
    #[must_use]
    pub fn new(me: NodeId, candidate: Candidate, expect: Option<usize>, pledge: Option<Pledge>) -> Self {
        Self {
            me,
            candidate,
            expect,
            pledge,
            waiting: BTreeMap::new(),
            granted: BTreeSet::new(),
            refused: false,
            unwilling: BTreeSet::new(),
            asked_at: None,
            enquired_at: None,
            since: None,
        }
    }

    /// Whether this agent may found, or joins only.
    #[must_use]
    pub fn founds(&self) -> bool {
        self.expect.is_some()
    }

    /// Whether this agent should look for itself at one that is said to wait: it lacks some for its set, or that one comes
    /// before all it knows by its id; a witness makes itself known. One that only joins passes some on, since founders may
    /// know each other by it alone. Where hundreds wait, to meet all of them keeps everyone from founding.
    #[must_use]
    pub fn seeks(&self, node: NodeId) -> bool {
        let first = self.waiting.keys().next().map_or(self.me, |first| self.me.min(*first));
        let willing = self.waiting.keys().filter(|node| !self.unwilling.contains(node)).count();
        let lacks = |expect| willing + 1 < expect || node < first;
        let passes_on = self.waiting.len() < PASSED_ON;
        node != self.me && !self.waiting.contains_key(&node) && self.expect.map_or(passes_on, lacks)
    }

    /// Whom to meet again and again: a set's worth and whom to stand back for, as long as they wait; and, for one that only
    /// joins, some who may belong to a cluster by then.
    pub fn companions(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let count = self.expect.unwrap_or(JOINED_BY);
        let in_order = self.in_order();
        let first = self.waiting.iter().min_by_key(|(node, (candidate, _))| (candidate.rank(), **node));
        let left_out = first.filter(|(node, _)| !in_order.iter().take(count).any(|(n, _)| n == *node));
        let left_out = left_out.map(|(node, (candidate, _))| (*node, candidate));
        let all = in_order.into_iter().take(count).chain(left_out);
        all.map(|(node, candidate)| (node, candidate.address.as_str()))
    }

    /// Who waits, whom a set takes first in front.
    fn in_order(&self) -> Vec<(NodeId, &Candidate)> {
        let mut others: Vec<(NodeId, &Candidate)> =
            self.waiting.iter().map(|(node, (candidate, _))| (*node, candidate)).collect();
        others.sort_by_key(|(node, candidate)| (self.unwilling.contains(node), candidate.rank(), *node));
        others
    }

    /// Who waits for a cluster, as far as is known; for gossiping on.
    pub fn waiting(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.waiting.iter().map(|(node, (candidate, _))| (*node, candidate.address.as_str()))
    }

    #[must_use]
    pub fn pledged_to(&self) -> Option<NodeId> {
        self.pledge.as_ref().map(|p| p.founder)
    }

    /// Whether this agent is the founder of that set and hasn't given it up. A member asks; only an agent that belongs
    /// to no cluster may answer no.
    #[must_use]
    pub fn holds(&self, set: SetId) -> bool {
        self.own().is_some_and(|p| p.set == set)
    }

    /// The only way in.
    pub fn step(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Waiting { node, candidate } => self.meet(now, node, candidate),
            Event::Asked(pledge) => self.asked(pledge, effects),
            Event::Abandoned { founder, set } => self.freed(founder, set, effects),
            Event::Answered { from, set, granted } => self.answered(from, set, granted),
            Event::Tick { dice } => self.tick(now, dice, effects),
        }
    }

    fn own(&self) -> Option<&Pledge> {
        self.pledge.as_ref().filter(|p| p.founder == self.me)
    }

    /// Where too many wait, the last of them makes room for one that comes before it.
    fn meet(&mut self, now: Instant, node: NodeId, candidate: Candidate) {
        if node == self.me {
            return;
        }
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&node) {
            let rank = |(node, (c, _)): (&NodeId, &(Candidate, Instant))| (c.rank(), *node);
            let Some(last) = self.waiting.iter().map(rank).max() else { return };
            if last < (candidate.rank(), node) {
                return;
            }
            self.waiting.remove(&last.1);
        }
        self.waiting.insert(node, (candidate, now));
    }

    /// Another set of the same founder is refused, too: this may be a late question for a set that it gave up.
    fn asked(&mut self, pledge: Pledge, effects: &mut Vec<Effect>) {
        let member = pledge.founder != self.me && pledge.members.contains_key(&self.me);
        let free =
            self.pledge.as_ref().is_none_or(|mine| (mine.founder, mine.set) == (pledge.founder, pledge.set));
        let granted = member && free;
        if granted {
            // Each time: the write of the first answer may have failed.
            self.pledge = Some(pledge);
            effects.push(Effect::Persist(self.pledge.clone()));
        }
        effects.push(Effect::Answer { granted, pledged_to: self.pledged_to() });
    }

    fn freed(&mut self, founder: NodeId, set: SetId, effects: &mut Vec<Effect>) {
        let this = self.pledge.as_ref().is_some_and(|p| p.founder == founder && p.set == set);
        if this && founder != self.me {
            self.pledge = None;
            effects.push(Effect::Persist(None));
        }
    }

    fn answered(&mut self, from: NodeId, set: SetId, granted: bool) {
        let mine = self.own().is_some_and(|p| p.set == set && p.members.contains_key(&from));
        if mine && granted {
            self.granted.insert(from);
        } else if mine {
            self.refused = true;
            self.unwilling.insert(from);
        }
    }

    fn tick(&mut self, now: Instant, dice: SetId, effects: &mut Vec<Effect>) {
        self.waiting.retain(|_, (_, seen)| now.since(*seen) < WAITING_FOR);
        if self.pledge.is_none() {
            self.propose(dice, effects);
        }
        let Some(pledge) = self.pledge.clone() else { return };
        if pledge.founder != self.me {
            self.enquire(now, &pledge, effects);
            return;
        }
        let since = *self.since.get_or_insert(now);
        if pledge.others().all(|(m, _)| self.granted.contains(&m)) {
            effects.push(Effect::Found(pledge));
        } else if self.refused || now.since(since) >= COMPLETE_WITHIN {
            self.give_up(pledge, effects);
        } else if self.asked_at.is_none_or(|at| now.since(at) >= ASK_EVERY) {
            self.asked_at = Some(now);
            for (to, candidate) in pledge.others().filter(|(m, _)| !self.granted.contains(m)) {
                let (address, pledge) = (candidate.address.clone(), pledge.clone());
                effects.push(Effect::Ask { to, address, pledge });
            }
        }
    }

    /// A `Release` may have been lost. The answer alone frees, never its absence.
    fn enquire(&mut self, now: Instant, pledge: &Pledge, effects: &mut Vec<Effect>) {
        let (founder, set) = (pledge.founder, pledge.set);
        if self.enquired_at.is_some_and(|at| now.since(at) < ENQUIRE_EVERY) {
            return;
        }
        self.enquired_at = Some(now);
        // Where it was last heard, as its address may have changed since.
        let heard = self.waiting.get(&founder).map(|(candidate, _)| candidate);
        if let Some(candidate) = heard.or_else(|| pledge.members.get(&founder)) {
            effects.push(Effect::Enquire { founder, address: candidate.address.clone(), set });
        }
    }

    /// Pledges this agent to a set of its own, if enough wait and it is the first of them.
    fn propose(&mut self, set: SetId, effects: &mut Vec<Effect>) {
        let Some(expect) = self.expect.filter(|e| self.waiting.len() + 1 >= *e) else { return };
        let mine = (self.candidate.rank(), self.me);
        if self.waiting.iter().any(|(node, (candidate, _))| (candidate.rank(), *node) < mine) {
            return;
        }
        let others = self.in_order().into_iter().take(expect.saturating_sub(1));
        let members = others.chain([(self.me, &self.candidate)]).map(|(n, c)| (n, c.clone())).collect();
        self.pledge = Some(Pledge { set, founder: self.me, members });
        self.begin();
        self.unwilling.clear();
        effects.push(Effect::Persist(self.pledge.clone()));
    }

    /// Frees everyone who may have pledged to this founder's set. Never in the life that saw it complete; and a later
    /// life that gives it up has found no cluster named in its files, so the earlier one hadn't founded.
    fn give_up(&mut self, pledge: Pledge, effects: &mut Vec<Effect>) {
        let silent = pledge.others().map(|(m, _)| m).filter(|m| !self.granted.contains(m));
        if !self.refused {
            self.unwilling.extend(silent);
        }
        self.pledge = None;
        self.begin();
        effects.push(Effect::Persist(None));
        for (to, candidate) in pledge.others() {
            effects.push(Effect::Release { to, address: candidate.address.clone(), set: pledge.set });
        }
        // Someone before this one may be seen first in the next round: whoever refused is pledged to somebody else.
        self.waiting.clear();
    }

    fn begin(&mut self) {
        self.granted.clear();
        self.refused = false;
        (self.asked_at, self.since) = (None, None);
    }
}
