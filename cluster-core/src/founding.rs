//! Founding: how agents that wait for a cluster agree, once, on who founds it.
//!
//! When `expect` agents have met, the one with the lowest id becomes the candidate founder of a set of that many. Each
//! member pledges itself to one set at a time, durably before it says so. The founder founds once all have pledged.
//! As `expect` is more than half of all that will ever be, two sets overlap, and the common member can have pledged to
//! one of them only: so there is at most one cluster. A founder that meets a refusal may give its set up, durably,
//! before it ever founded; only then are its members free again.
//!
//! Not here: joining a cluster that exists, and what happens after the founding (consensus).

use crate::{ids::NodeId, time::Instant};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An agent that waited and wasn't heard of for so long doesn't count any more.
const WAITING_FOR: Duration = Duration::from_secs(5);
/// Between two rounds of asking for pledges.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Agents that are remembered as waiting; further ones are ignored until some are forgotten.
const WAITING_MAX: usize = 64;

/// A founding set that a node pledged itself to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pledge {
    pub founder: NodeId,
    /// Everyone of the set, the founder included.
    pub members: BTreeMap<NodeId, String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another agent that waits for a cluster was heard of, at this address.
    Waiting {
        node: NodeId,
        address: String,
    },
    /// A founder asks this agent for its pledge.
    Asked(Pledge),
    /// A founder gave its set up: whoever pledged to it is free.
    Abandoned {
        founder: NodeId,
    },
    /// A member answered this founder.
    Answered {
        from: NodeId,
        granted: bool,
    },
    Tick,
}

/// What must be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable before anything later in the list is done. `None`: free again.
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
    /// Tell a member of a set given up.
    Release {
        to: NodeId,
        address: String,
    },
    /// All have pledged: found the cluster with these. Repeated until the caller stops asking.
    Found(Pledge),
}

/// One agent's part, until it belongs to a cluster.
#[derive(Debug)]
pub struct Founding {
    me: NodeId,
    address: String,
    /// None: this agent joins, and never founds.
    expect: Option<usize>,
    pledge: Option<Pledge>,
    waiting: BTreeMap<NodeId, (String, Instant)>,
    granted: BTreeSet<NodeId>,
    refused: bool,
    asked_at: Option<Instant>,
}

impl Founding {
    /// `pledge` is what an earlier life of this agent made durable.
    #[must_use]
    pub fn new(me: NodeId, address: String, expect: Option<usize>, pledge: Option<Pledge>) -> Self {
        let waiting = BTreeMap::new();
        Self {
            me,
            address,
            expect,
            pledge,
            waiting,
            granted: BTreeSet::new(),
            refused: false,
            asked_at: None,
        }
    }

    /// Who waits for a cluster, as far as is known; for gossiping on.
    pub fn waiting(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.waiting.iter().map(|(node, (address, _))| (*node, address.as_str()))
    }

    #[must_use]
    pub fn pledged_to(&self) -> Option<NodeId> {
        self.pledge.as_ref().map(|p| p.founder)
    }

    /// The only way in.
    pub fn step(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Waiting { node, address } => self.meet(now, node, address),
            Event::Asked(pledge) => self.asked(pledge, effects),
            Event::Abandoned { founder } => self.released(founder, effects),
            Event::Answered { from, granted } => self.answered(from, granted),
            Event::Tick => self.tick(now, effects),
        }
    }

    fn meet(&mut self, now: Instant, node: NodeId, address: String) {
        if node != self.me && (self.waiting.len() < WAITING_MAX || self.waiting.contains_key(&node)) {
            self.waiting.insert(node, (address, now));
        }
    }

    fn asked(&mut self, pledge: Pledge, effects: &mut Vec<Effect>) {
        let member = pledge.members.contains_key(&self.me);
        let free = self.pledge.as_ref().is_none_or(|mine| mine.founder == pledge.founder);
        let granted = member && free;
        if granted && self.pledge.as_ref() != Some(&pledge) {
            self.pledge = Some(pledge);
            effects.push(Effect::Persist(self.pledge.clone()));
        }
        effects.push(Effect::Answer { granted, pledged_to: self.pledged_to() });
    }

    fn released(&mut self, founder: NodeId, effects: &mut Vec<Effect>) {
        if founder != self.me && self.pledged_to() == Some(founder) {
            self.pledge = None;
            effects.push(Effect::Persist(None));
        }
    }

    fn answered(&mut self, from: NodeId, granted: bool) {
        let mine =
            self.pledge.as_ref().is_some_and(|p| p.founder == self.me && p.members.contains_key(&from));
        if mine && granted {
            self.granted.insert(from);
        } else if mine {
            self.refused = true;
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.waiting.retain(|_, (_, seen)| now.since(*seen) < WAITING_FOR);
        if self.refused && self.pledged_to() == Some(self.me) {
            self.give_up(effects);
            return;
        }
        if self.pledge.is_none() {
            self.propose(effects);
        }
        let Some(pledge) = self.pledge.clone().filter(|p| p.founder == self.me) else { return };
        if pledge.members.keys().all(|m| *m == self.me || self.granted.contains(m)) {
            effects.push(Effect::Found(pledge));
        } else if self.asked_at.is_none_or(|at| now.since(at) >= ASK_EVERY) {
            self.asked_at = Some(now);
            for (to, address) in
                pledge.members.iter().filter(|(m, _)| **m != self.me && !self.granted.contains(m))
            {
                effects.push(Effect::Ask { to: *to, address: address.clone(), pledge: pledge.clone() });
            }
        }
    }

    /// Pledges this agent to a set of its own, if enough wait and it is the lowest of them.
    fn propose(&mut self, effects: &mut Vec<Effect>) {
        let Some(expect) = self.expect.filter(|e| self.waiting.len() + 1 >= *e) else { return };
        if self.waiting.keys().next().is_some_and(|lowest| *lowest < self.me) {
            return;
        }
        let others =
            self.waiting.iter().take(expect - 1).map(|(node, (address, _))| (*node, address.clone()));
        let members = others.chain([(self.me, self.address.clone())]).collect();
        self.pledge = Some(Pledge { founder: self.me, members });
        self.granted.clear();
        effects.push(Effect::Persist(self.pledge.clone()));
    }

    /// Frees everyone who may have pledged to this founder's set. Never after `Found`: then nobody had refused.
    fn give_up(&mut self, effects: &mut Vec<Effect>) {
        let Some(pledge) = self.pledge.take() else { return };
        self.refused = false;
        self.granted.clear();
        effects.push(Effect::Persist(None));
        for (to, address) in pledge.members.into_iter().filter(|(m, _)| *m != self.me) {
            effects.push(Effect::Release { to, address });
        }
        // Someone lower may be seen first in the next round: whoever refused is pledged to somebody else.
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn agent(id: u64, expect: usize) -> Founding {
        Founding::new(NodeId(id), format!("h{id}:7400"), Some(expect), None)
    }

    fn meet(f: &mut Founding, ids: &[u64], now: u64) {
        for id in ids {
            f.step(
                at(now),
                Event::Waiting { node: NodeId(*id), address: format!("h{id}:7400") },
                &mut vec![],
            );
        }
    }

    fn tick(f: &mut Founding, now: u64) -> Vec<Effect> {
        let mut effects = vec![];
        f.step(at(now), Event::Tick, &mut effects);
        effects
    }

    fn ask(f: &mut Founding, pledge: &Pledge) -> bool {
        let mut effects = vec![];
        f.step(at(0), Event::Asked(pledge.clone()), &mut effects);
        matches!(effects.last(), Some(Effect::Answer { granted: true, .. }))
    }

    fn asked_for(effects: &[Effect]) -> Pledge {
        effects
            .iter()
            .find_map(|e| if let Effect::Ask { pledge, .. } = e { Some(pledge.clone()) } else { None })
            .expect("it asks")
    }

    #[test]
    fn one_alone_founds_at_once() {
        let effects = tick(&mut agent(1, 1), 0);
        assert!(matches!(&effects[..], [Effect::Persist(Some(_)), Effect::Found(p)] if p.members.len() == 1));
    }

    #[test]
    fn the_lowest_of_enough_founds_once_all_pledged() {
        let (mut a, mut b) = (agent(1, 3), agent(2, 3));
        meet(&mut a, &[2], 0);
        assert!(tick(&mut a, 0).is_empty(), "two of three aren't enough");
        meet(&mut a, &[3], 10);
        meet(&mut b, &[1, 3], 10);
        assert!(tick(&mut b, 10).is_empty(), "it isn't the lowest");
        let pledge = asked_for(&tick(&mut a, 20));
        assert!(ask(&mut b, &pledge));
        a.step(at(30), Event::Answered { from: NodeId(2), granted: true }, &mut vec![]);
        assert!(!tick(&mut a, 40).iter().any(|e| matches!(e, Effect::Found(_))), "the third hasn't pledged");
        a.step(at(50), Event::Answered { from: NodeId(3), granted: true }, &mut vec![]);
        assert_eq!(tick(&mut a, 60), vec![Effect::Found(pledge)]);
    }

    #[test]
    fn nobody_pledges_twice_until_the_founder_gave_up() {
        let (mut a, mut b) = (agent(1, 2), agent(3, 2));
        meet(&mut a, &[3], 0);
        let first = asked_for(&tick(&mut a, 0));
        assert!(ask(&mut b, &first) && ask(&mut b, &first), "the same pledge again is granted again");
        let second = Pledge {
            founder: NodeId(2),
            members: [(NodeId(2), String::new()), (NodeId(3), String::new())].into(),
        };
        assert!(!ask(&mut b, &second));
        b.step(at(1), Event::Abandoned { founder: NodeId(2) }, &mut vec![]);
        assert!(!ask(&mut b, &second), "that wasn't its founder");
        b.step(at(2), Event::Abandoned { founder: NodeId(1) }, &mut vec![]);
        assert!(ask(&mut b, &second));
    }

    #[test]
    fn a_refused_founder_frees_its_members_and_its_pledge_survives_a_restart() {
        let mut a = agent(1, 3);
        meet(&mut a, &[2, 3], 0);
        let pledge = asked_for(&tick(&mut a, 0));
        let mut a = Founding::new(NodeId(1), "h1:7400".into(), Some(3), Some(pledge));
        assert_eq!(asked_for(&tick(&mut a, 1_000)).members.len(), 3);
        a.step(at(1_001), Event::Answered { from: NodeId(3), granted: false }, &mut vec![]);
        let effects = tick(&mut a, 1_002);
        assert_eq!(effects[0], Effect::Persist(None));
        assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Release { .. })).count(), 2);
    }

    #[test]
    fn without_expect_it_never_founds() {
        let mut f = Founding::new(NodeId(1), String::new(), None, None);
        meet(&mut f, &[2, 3, 4], 0);
        assert!(tick(&mut f, 1).is_empty());
    }
}
