//! Tally: how many of a subject's distinct observers say what of it, and what the marks make of that.
//!
//! An observer that says nothing either hears all that it watches or is gone itself. So one that is gone counts as
//! reporting those of its subjects that others report (Rapid's implicit reports); one that is merely accused does so
//! only after it was asked and kept silent. Else a few deaf observers, who accuse everybody, would make everybody
//! accuse everybody.
//!
//! Pure counting over reports and roster; nothing is kept here, and nothing is decided.

use super::{marks::Marks, reports::Reports, roster::Roster};
use crate::{
    ids::{NodeId, ViewEpoch},
    membership::{AgentState, Trouble},
};
use std::collections::{BTreeMap, BTreeSet};

/// Even the last witnesses of a large outage must be so many.
const WITNESSES_MIN: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody, or no more than noise.
    Clear,
    /// Between the marks: wait, then ask.
    Unstable,
    /// So many that it is gone.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub marks: Marks,
    /// Observers that found its host gone.
    pub accusers: Vec<NodeId>,
    /// Observers that are gone themselves: where there are more accusers than the low mark, these count as well.
    pub implied: Vec<NodeId>,
    /// Observers that know its host to live, whatever else is wrong.
    pub host_lives: Vec<NodeId>,
    /// Of those, the ones that found its agent in trouble, and which.
    pub agent: Vec<(NodeId, AgentState)>,
    /// All other observers of it: they may be asked.
    pub others: Vec<NodeId>,
    /// Of those, the ones that are accused themselves: gone as well, if they don't answer.
    pub accused: Vec<NodeId>,
    /// Nobody else is left to speak of it: all other observers are accused themselves.
    pub last_witnesses: bool,
}

impl Tally {
    pub fn standing(&self) -> Standing {
        if self.accusers.len() + self.implied.len() >= self.marks.high {
            Standing::Gone
        } else if self.accusers.len() > self.marks.low || self.last_witnesses {
            Standing::Unstable
        } else {
            Standing::Clear
        }
    }

    /// What so many observers agree on of its agent; None below the high mark, or when its host is gone as well.
    pub fn agent(&self) -> Option<AgentState> {
        if self.agent.len() < self.marks.high || self.standing() == Standing::Gone {
            return None;
        }
        let gone = self.agent.iter().filter(|(_, state)| *state == AgentState::Gone).count();
        Some(if gone * 2 > self.agent.len() { AgentState::Gone } else { AgentState::Stalled })
    }

    /// Whether any observer still finds its host or its agent in trouble.
    pub fn is_troubled(&self) -> bool {
        !self.accusers.is_empty() || !self.agent.is_empty()
    }

    pub fn is_accused_by_most(&self) -> bool {
        self.accusers.len() + self.implied.len() > self.host_lives.len() + self.others.len()
    }

    /// Whether somebody reaches it by some way, and others don't. That its host lives without its agent is another matter.
    pub fn is_reached(&self) -> bool {
        !self.accusers.is_empty() && self.host_lives.len() > self.agent.len()
    }

    /// Whether it is gone by what the others answered, true for hearing it. Who is silent abstains; who is silent and
    /// accused counts as gone.
    pub fn gone_by_poll(&self, answers: &BTreeMap<NodeId, bool>) -> bool {
        let answered: Vec<bool> = self.others.iter().filter_map(|o| answers.get(o)).copied().collect();
        let hearing = answered.iter().filter(|hears| **hears).count();
        let deaf = answered.len() - hearing;
        let lost = self.accused.iter().filter(|o| !answers.contains_key(o)).count();
        let against = hearing + self.host_lives.len();
        let all = self.accusers.len() + deaf + against;
        let gone = self.accusers.len() + deaf + self.implied.len() + lost;
        // The last witnesses are too few to weigh anything against: nobody may object.
        if self.accusers.len() <= self.marks.low {
            return self.last_witnesses && against == 0;
        }
        gone >= self.marks.polled(all)
    }
}

/// Of everyone of whom anything is said and who lives by the view. `me` lives: it counts.
pub(super) fn tally(me: NodeId, reports: &Reports, roster: &Roster) -> BTreeMap<NodeId, Tally> {
    let mut tallies: BTreeMap<NodeId, Tally> =
        reports.subjects().filter_map(|subject| Some((subject, said(reports, roster, subject)?))).collect();
    let accusers: BTreeMap<NodeId, usize> = tallies.iter().map(|(&n, t)| (n, t.accusers.len())).collect();
    let mute = |o: &NodeId| *o != me && !reports.speaks(*o);
    for tally in tallies.values_mut() {
        let accused = |o: &&NodeId| mute(o) && accusers.get(o).is_some_and(|n| *n >= WITNESSES_MIN);
        tally.accused = tally.others.iter().filter(accused).copied().collect();
        tally.last_witnesses = tally.accusers.len() >= WITNESSES_MIN
            && tally.host_lives.is_empty()
            && tally.accused.len() == tally.others.len();
    }
    imply(&mut tallies, mute);
    tallies
}

/// Lets those who are gone count for what they should watch, until that makes nobody gone any more.
fn imply(tallies: &mut BTreeMap<NodeId, Tally>, mute: impl Fn(&NodeId) -> bool) {
    let mut before = 0;
    loop {
        let gone = |(node, t): (&NodeId, &Tally)| (t.standing() == Standing::Gone).then_some(*node);
        let gone: BTreeSet<NodeId> = tallies.iter().filter_map(gone).filter(|node| mute(node)).collect();
        if gone.len() == before {
            return;
        }
        before = gone.len();
        for tally in tallies.values_mut().filter(|t| t.accusers.len() > t.marks.low) {
            let (implied, others) = tally.others.iter().partition(|o| gone.contains(o));
            tally.implied.extend::<Vec<NodeId>>(implied);
            tally.others = others;
            tally.accused.retain(|o| !gone.contains(o));
        }
    }
}

/// Whether anyone who is still clear may soon be found gone: more observers than the low mark accuse it or ask about it.
pub(super) fn anyone_may_follow(
    me: NodeId,
    reports: &Reports,
    roster: &Roster,
    tallies: &BTreeMap<NodeId, Tally>,
) -> bool {
    reports.asking().into_iter().filter(|(subject, _)| *subject != me).any(|(subject, asking)| {
        let (Some(living), tally) = (roster.get(subject), tallies.get(&subject)) else { return false };
        let watchers = roster.watchers(subject);
        let accusers = tally.map_or(&[][..], |t| &t.accusers);
        let counts = |(observer, view): &&(NodeId, ViewEpoch)| {
            *view >= living.alive_view
                && watchers.binary_search(observer).is_ok()
                && accusers.binary_search(observer).is_err()
        };
        let suspicious = accusers.len() + asking.iter().filter(counts).count();
        tally.is_none_or(|t| t.standing() == Standing::Clear) && suspicious > Marks::of(watchers.len()).low
    })
}

/// What is said of the subject in so many words.
fn said(reports: &Reports, roster: &Roster, subject: NodeId) -> Option<Tally> {
    let living = roster.get(subject)?;
    let watchers = roster.watchers(subject);
    let mut tally = Tally {
        marks: Marks::of(watchers.len()),
        accusers: Vec::new(),
        implied: Vec::new(),
        host_lives: Vec::new(),
        agent: Vec::new(),
        others: Vec::new(),
        accused: Vec::new(),
        last_witnesses: false,
    };
    let counts = reports.about(subject).filter(|(observer, word, finding)| {
        let of_this_life = finding.incarnation >= living.incarnation && word.view >= living.alive_view;
        of_this_life && watchers.binary_search(observer).is_ok()
    });
    let found: BTreeMap<NodeId, Trouble> = counts.map(|(o, _, finding)| (o, finding.trouble)).collect();
    for &observer in watchers {
        match found.get(&observer) {
            Some(Trouble::HostGone) => tally.accusers.push(observer),
            Some(Trouble::AgentGone) => tally.agent.push((observer, AgentState::Gone)),
            Some(Trouble::AgentStalled) => tally.agent.push((observer, AgentState::Stalled)),
            Some(Trouble::LinkBad) => tally.host_lives.push(observer),
            None => tally.others.push(observer),
        }
    }
    tally.host_lives.extend(tally.agent.iter().map(|(observer, _)| *observer));
    tally.host_lives.sort_unstable();
    Some(tally)
}
