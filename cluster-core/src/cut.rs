//! Cut: which nodes are dead, decided by the leader from what all agents hear, for a whole outage at once.
//!
//! Every agent says in its heartbeats whom it doesn't hear, and for how long. A node that no living agent has heard for
//! a whole lease (and a margin) is dead: by then it has lost its lease too, so an agent that restarts within it is
//! nobody's failure, and a node that one single observer hears isn't dead at all (who is cut off from the voters only
//! loses its lease: that is decided elsewhere). Silence counts in this process's waking time alone.
//!
//! It runs on every voter and hears everything, but speaks only while it leads; so a new leader knows what the old one
//! knew. Not here: committing the decision, and who leads. A leader without a majority can't commit what it declares.

use crate::{
    ids::{Incarnation, NodeId, ViewEpoch},
    ledger::NodeState,
    membership::{AgentState, Hearing, LocalHealth, Report, SILENCES_MAX, Silence, View, ViewMember},
    time::Instant,
    timing::Timing,
};
use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Beyond the lease, so that an agent that is back at its very end is not declared while its heartbeat is under way.
const MARGIN: Duration = Duration::from_millis(75);
/// Names in one line of evidence; the others are counted.
const NAMES_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To come every `membership::tick_every(timing)`, or oftener.
    Tick,
    /// Of another agent's heartbeat as it arrives, and of the own membership at each tick.
    Hearing(Hearing),
    /// What an observer found, this agent's own too.
    Report(Report),
    /// An observer's answer to `Effect::Poll`.
    PollAnswer { observer: NodeId, subject: NodeId, hears: bool },
    /// The committed members, as they change.
    View(View),
    /// Whether this process leads.
    Leading(bool),
    /// As `membership::Event::Late`.
    Late(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nobody hears this node any more. Said once a silence, for people.
    Suspected { node: NodeId, observers: Vec<NodeId> },
    /// These are dead: one decision. Said again after a lease time if the view doesn't show it by then.
    Declare(Vec<Verdict>),
    /// Ask these whether they hear the subject; the answers come as `Event::PollAnswer`.
    Poll { subject: NodeId, observers: Vec<NodeId> },
    /// So many observers agree that the node's host lives while its agent is in this state (or is up again).
    AgentState {
        node: NodeId,
        incarnation: Incarnation,
        state: AgentState,
        last_seen: Duration,
        observers: Vec<NodeId>,
        evidence: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub node: NodeId,
    /// As the view had it.
    pub incarnation: Incarnation,
    /// How long ago anybody heard it last, or this process began to count.
    pub last_seen: Duration,
    /// How long ago it first was silent to all, or its stream ended.
    pub suspected: Duration,
    /// Who doesn't hear it; never empty.
    pub observers: Vec<NodeId>,
    /// Sentences for people.
    pub evidence: Vec<String>,
}

/// A moment, and how much of the time since then this process slept.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    slept: Duration,
}

impl Moment {
    fn age(self, now: Instant) -> Duration {
        now.since(self.at).saturating_sub(self.slept)
    }
}

#[derive(Clone, Debug)]
struct Observer {
    at: Moment,
    view: ViewEpoch,
    silences: BTreeMap<NodeId, Silence>,
}

/// One node that the view has as alive.
#[derive(Clone, Debug)]
struct Subject {
    name: String,
    incarnation: Incarnation,
    /// When this process learnt that it lives; and the view that said so.
    alive_since: Moment,
    alive_view: ViewEpoch,
    /// Since when it is silent to all, if it is.
    suspected_at: Option<Instant>,
    declared_at: Option<Instant>,
}

#[derive(Clone, Debug)]
pub struct Cut {
    me: NodeId,
    my_name: String,
    timing: Timing,
    health: LocalHealth,
    leading_since: Option<Moment>,
    subjects: BTreeMap<NodeId, Subject>,
    /// The newest report of each; only of subjects and of this node, so never more than the view has.
    observers: BTreeMap<NodeId, Observer>,
    view: ViewEpoch,
    /// Since when somebody is due while others may follow.
    waiting_since: Option<Instant>,
}

impl Cut {
    #[must_use]
    pub fn new(me: NodeId, timing: Timing, now: Instant) -> Self {
        Self {
            me,
            my_name: me.to_string(),
            timing,
            health: LocalHealth::new(&timing, now),
            leading_since: None,
            subjects: BTreeMap::new(),
            observers: BTreeMap::new(),
            view: ViewEpoch(0),
            waiting_since: None,
        }
    }

    /// The only way in. `now` may not run backwards.
    pub fn step(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        let slept = self.health.observe(now);
        self.excuse(slept);
        match event {
            Event::Tick => self.tick(now, effects),
            Event::Hearing(report) => self.report(now, report),
            Event::Report(_) | Event::PollAnswer { .. } => {}
            Event::View(view) => self.commit(now, &view),
            Event::Leading(true) => {
                self.leading_since.get_or_insert(Moment { at: now, slept: Duration::ZERO });
            }
            Event::Leading(false) => {
                self.leading_since = None;
                self.waiting_since = None;
                self.subjects.values_mut().for_each(|s| s.declared_at = None);
            }
            Event::Late(by) => {
                let slept = self.health.late(now, by);
                self.excuse(slept);
            }
        }
    }

    fn excuse(&mut self, slept: Duration) {
        if slept.is_zero() {
            return;
        }
        let leading = self.leading_since.iter_mut();
        let subjects = self.subjects.values_mut().map(|s| &mut s.alive_since);
        let observers = self.observers.values_mut().map(|o| &mut o.at);
        leading.chain(subjects).chain(observers).for_each(|m| m.slept += slept);
    }

    fn report(&mut self, now: Instant, report: Hearing) {
        if report.observer != self.me && !self.subjects.contains_key(&report.observer) {
            return;
        }
        let silences = report.silences.into_iter().take(SILENCES_MAX).map(|s| (s.node, s)).collect();
        let at = Moment { at: now, slept: Duration::ZERO };
        self.observers.insert(report.observer, Observer { at, view: report.view, silences });
    }

    fn commit(&mut self, now: Instant, view: &View) {
        if view.epoch < self.view {
            return;
        }
        self.view = view.epoch;
        if let Some(me) = view.members.iter().find(|m| m.node == self.me) {
            self.my_name.clone_from(&me.name);
        }
        let alive = |m: &&ViewMember| m.state == NodeState::Alive && m.node != self.me;
        let mut before = core::mem::take(&mut self.subjects);
        for m in view.members.iter().filter(alive) {
            let known = before.remove(&m.node).filter(|s| s.incarnation == m.incarnation);
            // A node that came up just now has given a sign of life by that.
            let subject = known.unwrap_or_else(|| Subject {
                name: m.name.clone(),
                incarnation: m.incarnation,
                alive_since: Moment { at: now, slept: Duration::ZERO },
                alive_view: view.epoch,
                suspected_at: None,
                declared_at: None,
            });
            self.subjects.insert(m.node, subject);
        }
        self.observers.retain(|o, _| *o == self.me || self.subjects.contains_key(o));
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let silences: BTreeMap<NodeId, Duration> =
            self.subjects.keys().map(|&node| (node, self.silence(now, node))).collect();
        let mut newly = Vec::new();
        for (node, subject) in &mut self.subjects {
            if silences[node] < self.timing.suspect_floor {
                (subject.suspected_at, subject.declared_at) = (None, None);
            } else if subject.suspected_at.is_none() {
                subject.suspected_at = Some(now);
                newly.push(*node);
            }
        }
        if self.leading_since.is_none() {
            return;
        }
        for node in newly {
            effects.push(Effect::Suspected { node, observers: self.blind(now, node) });
        }
        let due = self.due(now, &silences);
        if due.is_empty() {
            self.waiting_since = None;
        } else if !self.must_wait(now, &silences) {
            self.waiting_since = None;
            let verdicts = due.iter().map(|&node| self.verdict(now, node)).collect();
            for node in due {
                self.subjects.get_mut(&node).expect("only subjects are due").declared_at = Some(now);
            }
            effects.push(Effect::Declare(verdicts));
        }
    }

    /// Who is dead and wasn't declared of late.
    fn due(&self, now: Instant, silences: &BTreeMap<NodeId, Duration>) -> BTreeSet<NodeId> {
        let unsaid = |s: &Subject| s.declared_at.is_none_or(|at| now.since(at) >= self.timing.lease);
        let due = self.subjects.iter().filter(|(node, s)| silences[node] >= self.limit() && unsaid(s));
        due.map(|(&node, _)| node).collect()
    }

    /// Silence that is death.
    fn limit(&self) -> Duration {
        self.timing.lease + MARGIN
    }

    /// Whether others that are silent may yet turn out to belong to the same outage. Never for long.
    fn must_wait(&mut self, now: Instant, silences: &BTreeMap<NodeId, Duration>) -> bool {
        let since = *self.waiting_since.get_or_insert(now);
        let left = (self.timing.heartbeat + self.timing.cut_coalesce).saturating_sub(now.since(since));
        let follows =
            |&s: &Duration| s < self.limit() && s >= self.timing.suspect_floor && self.limit() - s <= left;
        silences.values().any(follows)
    }

    /// How long nobody has heard the node.
    fn silence(&self, now: Instant, node: NodeId) -> Duration {
        let subject = &self.subjects[&node];
        let heard =
            self.observers.iter().filter_map(|(&o, seen)| seen.last_heard(now, o, node, subject.alive_view));
        let known = heard.chain([subject.alive_since.age(now)]).min().expect("it isn't empty");
        match self.leading_since {
            // Nobody ever heard it: a whole cluster may just have started, so the new leader gives it time.
            Some(leading) if !self.ever_heard(node) => known.min(leading.age(now)),
            _ => known,
        }
    }

    fn ever_heard(&self, node: NodeId) -> bool {
        let view = self.subjects[&node].alive_view;
        self.observers.iter().any(|(&o, seen)| seen.last_heard(seen.at.at, o, node, view).is_some())
    }

    /// Who says that it doesn't hear the node.
    fn blind(&self, now: Instant, node: NodeId) -> Vec<NodeId> {
        let says = |o: &Observer| {
            let silence = o.silences.get(&node).map_or(Duration::ZERO, |s| s.silence);
            silence >= self.timing.suspect_floor && o.at.age(now) < self.timing.lease
        };
        let blind: Vec<NodeId> = self.observers.iter().filter(|(_, o)| says(o)).map(|(&o, _)| o).collect();
        if blind.is_empty() { vec![self.me] } else { blind }
    }

    fn verdict(&self, now: Instant, node: NodeId) -> Verdict {
        let subject = &self.subjects[&node];
        let ended = self.observers.iter().filter_map(|(&o, seen)| Some((seen.ended(now, node)?, o)));
        let ended: Option<(Duration, NodeId)> = ended.max();
        let silent = subject.suspected_at.map_or(Duration::ZERO, |at| now.since(at));
        let observers = self.blind(now, node);
        let last_seen = self.silence(now, node);
        let mut evidence =
            vec![format!("{} heard nothing for {}", self.names(&observers), seconds(last_seen))];
        if let Some((ago, observer)) = ended {
            evidence.push(format!("its stream to {} ended {} ago", self.names(&[observer]), seconds(ago)));
        }
        Verdict {
            node,
            incarnation: subject.incarnation,
            last_seen,
            suspected: ended.map_or(silent, |(ago, _)| ago.min(last_seen).max(silent)),
            observers,
            evidence,
        }
    }

    fn names(&self, nodes: &[NodeId]) -> String {
        let name = |n: &NodeId| self.subjects.get(n).map_or(&self.my_name, |s| &s.name).as_str();
        let mut text = nodes.iter().take(NAMES_MAX).map(name).collect::<Vec<_>>().join(" ");
        if nodes.len() > NAMES_MAX {
            write!(text, " and {} more", nodes.len() - NAMES_MAX).expect("a string takes everything");
        }
        text
    }
}

impl Observer {
    /// How long ago this observer had a sign of the node; None if it can't say.
    fn last_heard(&self, now: Instant, me: NodeId, node: NodeId, alive_view: ViewEpoch) -> Option<Duration> {
        let age = self.at.age(now);
        match self.silences.get(&node) {
            // A node's own report is its sign of life.
            _ if me == node => Some(age),
            Some(s) if s.never => None,
            Some(s) => Some(age.saturating_add(s.silence)),
            // Not listed means heard, unless the observer can't even know that the node lives.
            None => (self.view >= alive_view).then_some(age),
        }
    }

    fn ended(&self, now: Instant, node: NodeId) -> Option<Duration> {
        let ended = self.silences.get(&node)?.ended?;
        Some(self.at.age(now).saturating_add(ended))
    }
}

fn seconds(d: Duration) -> String {
    format!("{}.{:02} s", d.as_secs(), d.subsec_millis() / 10)
}
