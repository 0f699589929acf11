//! Cut: which nodes are dead, decided by the leader from what all observers report, for a whole outage at once.
//!
//! Every node is watched by a few others (`membership::overlay`). One who finds a node gone, after a second opinion,
//! reports it to all voters and goes on reporting while it stands. Here the distinct observers of each subject are
//! counted against two marks (`marks`): at the high one the subject is gone; between the two something is still going
//! on, and everybody waits, so that one outage becomes one decision and a bad observer kills nobody (Rapid, Suresh et
//! al., USENIX ATC 2018, section 4.2). What stays between the marks is settled by asking the others. Observers that
//! are gone themselves count as reporting what they should watch. That a host answers while its agent doesn't is
//! counted the same way, and told apart: it isn't dead before `agent_timeout`.
//!
//! It runs on every voter and hears every report, but speaks only while it leads; so a new leader knows what the old
//! one knew. Ages are in this process's waking time: what it slept through makes nobody older. Not here: committing the
//! decision, who leads, and what an observer does before it reports. A leader without a majority can't commit what it
//! declares, and must ask one before it proposes it.

mod case;
mod marks;
mod patience;
mod reports;
mod roster;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;

pub use verdict::Verdict;

use crate::{
    ids::{Incarnation, NodeId},
    lease::{Groups, is_majority},
    membership::{AgentState, LocalHealth, Report, View},
    time::Instant,
    timing::Timing,
};
use case::{Case, Finding};
use core::time::Duration;
use patience::Patience;
use reports::Reports;
use roster::Roster;
use std::collections::{BTreeMap, BTreeSet};
use tally::{Standing, Tally, anyone_may_follow, tally};
use verdict::{Witness, agent_observers};

/// An observer that doesn't repeat its report for so many heartbeats says nothing any more.
const REPORT_LIVES_HEARTBEATS: u32 = 3;
/// Who is gone waits so many times `cut_poll_after` for those between the marks: they wait that long, then are asked
/// and given as long to answer. Once more for what begins meanwhile; a chain of failures may not go on for ever.
const HOLD_POLLS: u32 = 3;
/// Until the ledger says otherwise.
const AGENT_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To come every `membership::tick_every(timing)`, or, after a `Rest`, once it `is_busy`.
    Tick,
    /// What an observer found, this agent's own too. One observer's reports come in the order in which it sent them.
    Report(Report),
    /// An observer's answer to `Effect::Poll`. `hears`: it had any sign of the subject's host within the floor.
    PollAnswer { observer: NodeId, subject: NodeId, hears: bool },
    /// The committed members, as they change.
    View(View),
    /// What the ledger has of agents, as it changes: how long one may be down, and which of them aren't up.
    Agents { timeout: Duration, down: BTreeMap<NodeId, AgentState> },
    /// Who votes by the newest configuration; two groups while it is joint. Until it comes nobody is dead.
    Voters(Groups),
    /// Whether this process leads.
    Leading(bool),
    /// As `membership::Event::Late`.
    Late(Duration),
    /// As `membership::Event::Rest`.
    Rest(Instant),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// More than a few of its observers find this node gone. Said once a suspicion, for people.
    Suspected { node: NodeId, observers: Vec<NodeId> },
    /// These are dead: one decision. Said again after a lease time if the view doesn't show it by then.
    Declare(Vec<Verdict>),
    /// Ask these whether they hear the subject, this agent too if it is among them; the answers come as
    /// `Event::PollAnswer`.
    Poll { subject: NodeId, observers: Vec<NodeId> },
    /// So many observers agree that the node's host lives while its agent is in this state; or it is up again, and
    /// nobody says otherwise. Said again after a lease time if `Event::Agents` doesn't show it by then.
    AgentState {
        node: NodeId,
        incarnation: Incarnation,
        state: AgentState,
        last_seen: Duration,
        observers: Vec<NodeId>,
        evidence: Vec<String>,
    },
}

#[derive(Clone, Debug)]
pub struct Cut {
    me: NodeId,
    timing: Timing,
    health: LocalHealth,
    /// How much of the time so far this process slept.
    slept: Duration,
    roster: Roster,
    reports: Reports,
    /// Of those of whom anything is said, or was and must be taken back. Only of the living.
    cases: BTreeMap<NodeId, Case>,
    voters: Groups,
    leading_since: Option<Instant>,
    /// Since when somebody is gone while others may follow.
    gone_since: Option<Instant>,
    patience: Patience,
    agent_timeout: Duration,
    agents_down: BTreeMap<NodeId, AgentState>,
}

impl Cut {
    #[must_use]
    pub fn new(me: NodeId, timing: Timing, now: Instant) -> Self {
        Self {
            me,
            timing,
            health: LocalHealth::new(&timing, now),
            slept: Duration::ZERO,
            roster: Roster::default(),
            reports: Reports::default(),
            cases: BTreeMap::new(),
            voters: Groups::new(),
            leading_since: None,
            gone_since: None,
            patience: Patience::default(),
            agent_timeout: AGENT_TIMEOUT,
            agents_down: BTreeMap::new(),
        }
    }

    /// Whether ticks have anything to do here: somebody says something of someone.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !(self.reports.is_empty() && self.cases.is_empty() && self.agents_down.is_empty())
    }

    /// The only way in. `now` may not run backwards.
    pub fn step(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        self.slept += self.health.observe(now);
        if let Event::Late(by) = event {
            self.slept += self.health.late(now, by);
        }
        // Everything below is in waking time; after a `Late` it may lie a little before what was noted last.
        let at = now - self.slept;
        match event {
            Event::Tick => self.tick(now, at, effects),
            Event::Report(report) => {
                if self.roster.get(report.observer).is_some() {
                    self.reports.hear(at, report);
                }
            }
            Event::PollAnswer { observer, subject, hears } => {
                if let Some(case) = self.cases.get_mut(&subject) {
                    case.answered(at, observer, hears);
                }
            }
            Event::View(view) => self.commit(&view),
            Event::Agents { timeout, down } => (self.agent_timeout, self.agents_down) = (timeout, down),
            Event::Voters(groups) => self.voters = groups,
            Event::Leading(true) => _ = self.leading_since.get_or_insert(at),
            Event::Leading(false) => self.step_down(),
            Event::Late(_) => {}
            Event::Rest(until) => self.health.promise(until),
        }
    }

    fn step_down(&mut self) {
        (self.leading_since, self.gone_since) = (None, None);
        self.patience.over();
        for case in self.cases.values_mut() {
            (case.poll, case.declared_at, case.said) = (None, None, None);
        }
    }

    fn commit(&mut self, view: &View) {
        let Some(changed) = self.roster.commit(view) else { return };
        for node in changed {
            self.cases.remove(&node);
        }
        self.reports.keep(&self.roster.ids());
    }

    fn tick(&mut self, now: Instant, at: Instant, effects: &mut Vec<Effect>) {
        self.reports.expire(at, self.timing.heartbeat * REPORT_LIVES_HEARTBEATS);
        let tallies = tally(self.me, &self.reports, &self.roster);
        self.follow(at, &tallies, effects);
        // After a long sleep what came meanwhile has to be read first.
        if self.leading_since.is_some() && !self.health.in_grace(now) {
            self.suspect(&tallies, effects);
            self.tell_of_agents(at, &tallies, effects);
            self.declare(at, &tallies, effects);
        }
    }

    fn follow(&mut self, at: Instant, tallies: &BTreeMap<NodeId, Tally>, effects: &mut Vec<Effect>) {
        for (&subject, tally) in tallies {
            let case = self.cases.entry(subject).or_default();
            let leads = self.leading_since.is_some() && subject != self.me;
            if let Some(observers) = case.follow(at, tally, &self.timing, leads) {
                effects.push(Effect::Poll { subject, observers });
            }
        }
        for (_, case) in self.cases.iter_mut().filter(|(subject, _)| !tallies.contains_key(subject)) {
            case.unsaid(at);
        }
        self.cases.retain(|subject, case| tallies.contains_key(subject) || !case.is_over());
    }

    fn suspect(&mut self, tallies: &BTreeMap<NodeId, Tally>, effects: &mut Vec<Effect>) {
        for (node, tally) in tallies.iter().filter(|(_, tally)| tally.standing() != Standing::Clear) {
            let case = self.cases.get_mut(node).expect("every tally has its case");
            if !core::mem::replace(&mut case.suspected, true) {
                effects.push(Effect::Suspected { node: *node, observers: tally.accusers.clone() });
            }
        }
    }

    /// Says what of agents the ledger doesn't have yet.
    fn tell_of_agents(&mut self, at: Instant, tallies: &BTreeMap<NodeId, Tally>, effects: &mut Vec<Effect>) {
        let mut named: BTreeSet<NodeId> = self.cases.keys().chain(self.agents_down.keys()).copied().collect();
        named.remove(&self.me);
        for node in named {
            let tally = tallies.get(&node);
            if self.roster.get(node).is_some() && self.is_untold(at, node, tally) {
                effects.push(self.agent_state(at, node, tally));
            }
        }
    }

    /// Whether the ledger has another state of the node's agent than its observers, and wasn't told so of late.
    fn is_untold(&mut self, at: Instant, node: NodeId, tally: Option<&Tally>) -> bool {
        // A new leader that never heard of a trouble may say that it is over once all who see it had time to say so.
        let patience = self.timing.heartbeat * (REPORT_LIVES_HEARTBEATS + 1);
        let settled = self.leading_since.is_some_and(|since| at.since(since) >= patience);
        let case = self.cases.entry(node).or_default();
        let vague = case.agent == AgentState::Up && (!settled || tally.is_some_and(Tally::is_troubled));
        if vague || case.agent == self.agents_down.get(&node).copied().unwrap_or_default() {
            case.said = None;
            return false;
        }
        let fresh = |(state, said)| state == case.agent && at.since(said) < self.timing.lease;
        let untold = !case.said.is_some_and(fresh);
        if untold {
            case.said = Some((case.agent, at));
        }
        untold
    }

    fn agent_state(&self, at: Instant, node: NodeId, tally: Option<&Tally>) -> Effect {
        let (witness, state) = (self.witness(at), self.cases[&node].agent);
        let observers = tally.map(agent_observers).unwrap_or_default();
        let evidence = match tally {
            Some(tally) if state != AgentState::Up => witness.agent_trouble(node, tally, state),
            _ => "nobody finds its agent in trouble any more".to_owned(),
        };
        let incarnation = self.roster.get(node).expect("only the living are told of").incarnation;
        let (last_seen, _) = witness.times(node, &observers);
        Effect::AgentState { node, incarnation, state, last_seen, observers, evidence: vec![evidence] }
    }

    /// Declares all who are gone, once nobody is left who may still turn out to belong to them.
    fn declare(&mut self, at: Instant, tallies: &BTreeMap<NodeId, Tally>, effects: &mut Vec<Effect>) {
        let (mut due, mut half_dead, mut pending) = (Vec::new(), Vec::new(), false);
        for (&node, tally) in tallies.iter().filter(|(node, _)| **node != self.me) {
            let case = self.cases.get_mut(&node).expect("every tally has its case");
            let finding = case.finding(at, tally, &self.timing);
            case.remember(finding);
            let unsaid = case.is_unsaid(at, &self.timing);
            match finding {
                Finding::Pending => pending = true,
                Finding::HalfDead => half_dead.extend(unsaid.then_some(node)),
                Finding::Gone => due.extend(unsaid.then_some(node)),
                Finding::Nothing | Finding::Contested => {
                    let timed_out = self.agent_timed_out(at, node, tally);
                    due.extend((timed_out && unsaid).then_some(node));
                }
            }
        }
        let ripe = self.patience.ends(at, &half_dead);
        if ripe || !due.is_empty() {
            // Whatever is decided now, they go along.
            due.append(&mut half_dead);
        }
        self.keep_confirmable(tallies, &mut due);
        if due.is_empty() {
            self.gone_since = None;
            return;
        }
        let waited = at.since(*self.gone_since.get_or_insert(at));
        let hold = self.timing.cut_poll_after * HOLD_POLLS;
        if waited < self.timing.cut_coalesce || (pending && waited < hold) {
            return;
        }
        // What was asked when the first of them was due has its answer by then.
        let answers = self.timing.opinion + self.timing.cut_coalesce;
        if waited < answers && anyone_may_follow(self.me, &self.reports, &self.roster, tallies) {
            return;
        }
        self.gone_since = None;
        self.patience.over();
        let verdicts = due.iter().map(|&node| self.verdict(at, node, &tallies[&node])).collect();
        for node in due {
            self.cases.get_mut(&node).expect("who is due has a case").declared_at = Some(at);
        }
        effects.push(Effect::Declare(verdicts));
    }

    /// Leaves those whose death can be confirmed: without all who are called dead, and all whom this process itself finds
    /// gone, a majority of the voters must live. Else the decision can't be committed, or is by the help of one whom it
    /// calls dead, or this process was cut off until just now and has not heard anybody yet: it is wrong.
    fn keep_confirmable(&self, tallies: &BTreeMap<NodeId, Tally>, due: &mut Vec<NodeId>) {
        let confirms = |due: &[NodeId], voter: NodeId| {
            let said = self.cases.get(&voter).is_some_and(|case| case.declared_at.is_some());
            let accused = tallies.get(&voter).is_some_and(|tally| tally.accusers.contains(&self.me));
            self.roster.get(voter).is_some() && !said && !accused && !due.contains(&voter)
        };
        if !is_majority(&self.voters, |voter| confirms(due, voter)) {
            due.retain(|node| !self.voters.iter().any(|group| group.contains(node)));
            if !is_majority(&self.voters, |voter| confirms(due, voter)) {
                due.clear();
            }
        }
    }

    /// Whether the node's agent has been down for too long, as far as those know who find it so.
    fn agent_timed_out(&self, at: Instant, node: NodeId, tally: &Tally) -> bool {
        if self.cases[&node].agent == AgentState::Up || tally.agent().is_none() {
            return false;
        }
        let (last_seen, _) = self.witness(at).times(node, &agent_observers(tally));
        last_seen >= self.agent_timeout
    }

    fn verdict(&self, at: Instant, node: NodeId, tally: &Tally) -> Verdict {
        let (witness, case) = (self.witness(at), &self.cases[&node]);
        match case.finding(at, tally, &self.timing) {
            Finding::Gone | Finding::HalfDead => witness.host_gone(node, tally, case),
            _ => witness.agent_gone(node, tally, case.agent, self.agent_timeout),
        }
    }

    fn witness(&self, at: Instant) -> Witness<'_> {
        Witness { at, roster: &self.roster, reports: &self.reports, timing: &self.timing }
    }
}
