//! Recovery: what the leader decides after a loss: which failures to record, when an ended lease is safe, where a slot
//! runs next, and when to stop trying and call a person.
//!
//! Made anew by every leader. All truth is in the ledger; what is remembered here (promises under way, proposals not
//! yet seen) only saves repetition, so a leader that starts in the middle finishes what another began.
//!
//! A node that dies too often, or says that it is sick, is held back from work until it was steady for a while.
//!
//! Not here: deciding who is dead (`cut`), leases and books (`lease`), restarts on the node itself, alerts.

pub mod brake;
#[cfg(test)]
pub(crate) mod harness;
pub mod ladder;
pub mod placement;
mod promises;
pub mod returns;
mod steady;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_placement;
#[cfg(test)]
mod tests_steady;

use crate::{
    ids::{FailureId, Generation, LeaseEpoch, LogId, NodeId},
    ledger::{Body, Ledger, Subject, Workload},
    membership::Vitals,
    time::Instant,
};
use core::time::Duration;
use ladder::Need;
use placement::{Board, WhyNot};
use promises::Promises;
use std::collections::{BTreeMap, BTreeSet};
use steady::{Steady, Word};

/// A proposal that the ledger doesn't show after this long is made again. The ledger refuses the second of two.
pub const PROPOSE_AGAIN: Duration = Duration::from_secs(1);

/// The leader's machine.
#[derive(Debug, Default)]
pub struct Recovery {
    promises: Promises,
    steady: Steady,
    /// What was proposed and isn't in the ledger yet.
    proposed: BTreeMap<Key, Proposal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The ledger changed, or who is heard, or time went by: some 20 to 50 ms while it is busy, else up to half a second.
    Tick,
    /// The voter configuration in force: one set, or both while it is being changed, each of which must then agree.
    Voters(Vec<BTreeSet<NodeId>>),
    /// A voter's word, received now, that its last acknowledgement to `epoch` runs out in `remaining`.
    Promise { voter: NodeId, epoch: LeaseEpoch, remaining: Duration },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Propose(Body),
    /// Ask these voters for their promise. A voter answers only once its log holds the entry `at`, committed.
    AskPromises {
        epoch: LeaseEpoch,
        at: LogId,
        voters: Vec<NodeId>,
    },
}

/// How gossip hears a node at this moment. A node that isn't listed isn't heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Alive,
    /// It is heard, and says of itself that it isn't fit for more work.
    Sick,
    Suspect,
}

/// What the leader sees for itself, beside the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveView {
    pub heard: BTreeMap<NodeId, Heard>,
    /// How members fare, as far as it was told here.
    pub vitals: BTreeMap<NodeId, Vitals>,
    /// Why those that are heard as sick say they are.
    pub sick: BTreeMap<NodeId, String>,
}

/// What decisions are made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub ledger: &'a Ledger,
    pub live: &'a LiveView,
}

/// Which decision: a repetition has the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Safe(LeaseEpoch),
    Open(Subject),
    Place(String, u32),
    Evict(String, u32, Generation),
    Abandon(FailureId),
    HoldBack(NodeId),
    Release(NodeId),
}

#[derive(Clone, Copy, Debug)]
struct Proposal {
    at: Instant,
    /// Where a placement goes, so that the next choice counts it already.
    node: Option<NodeId>,
}

/// A slot that should run and may, for which no node is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaceable {
    pub workload: String,
    pub index: u32,
    pub why: WhyNot,
}

impl Recovery {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The only way in. `now` is the leader's own monotonic clock and may not run backwards.
    pub fn step(&mut self, now: Instant, view: &View<'_>, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Tick => {}
            Input::Voters(configurations) => self.promises.voters_are(configurations),
            Input::Promise { voter, epoch, remaining } => {
                self.promises.answered(now, voter, epoch, remaining);
            }
        }
        self.proposed.retain(|_, proposal| now.since(proposal.at) < PROPOSE_AGAIN);
        let mut round = Round { now, view, proposed: &mut self.proposed, wanted: BTreeSet::new(), effects };
        for (epoch, promises) in self.promises.step(now, view.ledger, round.effects) {
            round.propose(Key::Safe(epoch), Body::EpochSafe { epoch, promises });
        }
        for word in self.steady.step(now, view) {
            match word {
                Word::HoldBack { node, drain, evidence } => {
                    round.propose(Key::HoldBack(node), Body::NodeHeldBack { node, drain, evidence });
                }
                Word::Release { node, evidence } => {
                    round.propose(Key::Release(node), Body::NodeReleased { node, evidence });
                }
            }
        }
        round.failures_of_nodes();
        round.slots();
        let wanted = round.wanted;
        self.proposed.retain(|key, _| wanted.contains(key));
    }

    /// Whether it is in the middle of something, and every tick counts.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.proposed.is_empty() || self.promises.are_wanted()
    }

    /// How long until nothing can run under `epoch`, as far as the promises that are here tell. `None`: not known yet.
    #[must_use]
    pub fn safe_in(&self, now: Instant, epoch: LeaseEpoch) -> Option<Duration> {
        self.promises.safe_at(epoch).map(|at| at.since(now))
    }
}

/// Slots that should run and may, and find no node: for `status` and alerts. Waiting for a turn, for a lease's end or
/// for the brake isn't that.
#[must_use]
pub fn unplaceable(view: &View<'_>) -> Vec<Unplaceable> {
    let ledger = view.ledger;
    let slots = ledger.workloads.iter().flat_map(|(name, w)| (0..w.spec.replicas).map(move |i| (name, w, i)));
    let mut to_place = slots.filter(|(_, w, i)| ladder::need(ledger, w, *i) == Need::Place).peekable();
    // As nearly always.
    if to_place.peek().is_none() {
        return Vec::new();
    }
    let board = Board::of(ledger);
    let braked = brake::state(ledger).engaged;
    let held = |w: &Workload, i: u32| braked && w.slots.get(&i).is_some_and(ladder::is_move);
    let unplaceable = |(name, _, index): (&String, _, u32)| {
        let why = placement::choose(view, &board, name, index).err().filter(|why| why.busy == 0)?;
        Some(Unplaceable { workload: name.clone(), index, why })
    };
    to_place.filter(|(_, w, i)| !held(w, *i)).filter_map(unplaceable).collect()
}

/// One call of `step`: what it looks at, and what it has decided so far.
struct Round<'a, 'v> {
    now: Instant,
    view: &'a View<'v>,
    proposed: &'a mut BTreeMap<Key, Proposal>,
    /// Decisions that are still to be seen in the ledger, proposed now or before.
    wanted: BTreeSet<Key>,
    effects: &'a mut Vec<Effect>,
}

impl Round<'_, '_> {
    fn propose(&mut self, key: Key, body: Body) {
        if !self.proposed.contains_key(&key) {
            self.proposed.insert(key.clone(), Proposal { at: self.now, node: None });
            self.effects.push(Effect::Propose(body));
        }
        self.wanted.insert(key);
    }

    fn failures_of_nodes(&mut self) {
        for (id, node) in &self.view.ledger.nodes {
            if node.death.is_some() && node.failure.is_none() {
                let subject = Subject::Node(*id);
                let body = Body::FailureOpened { subject: subject.clone(), caused_by: None };
                self.propose(Key::Open(subject), body);
            }
        }
    }

    fn slots(&mut self) {
        let ledger = self.view.ledger;
        let braked = brake::state(ledger).engaged;
        let mut to_place = Vec::new();
        for (name, workload) in &ledger.workloads {
            let known = workload.slots.keys().copied();
            let indices: BTreeSet<u32> = (0..workload.spec.replicas).chain(known).collect();
            for index in indices {
                match ladder::need(ledger, workload, index) {
                    Need::Nothing => {}
                    Need::Place => {
                        if !(braked && workload.slots.get(&index).is_some_and(ladder::is_move)) {
                            to_place.push(ladder::turn(ledger, workload, index));
                        }
                    }
                    Need::OpenFailure { caused_by } => {
                        let subject = Subject::Workload(name.clone(), index);
                        let body = Body::FailureOpened { subject: subject.clone(), caused_by };
                        self.propose(Key::Open(subject), body);
                    }
                    Need::Abandon { failure, reason } => {
                        let body = Body::FailureUnrecoverable { failure, reason };
                        self.propose(Key::Abandon(failure), body);
                    }
                    Need::Evict { generation, reason } => {
                        let under_way =
                            |key: &Key| matches!(key, Key::Evict(of, i, _) if of == name && *i != index);
                        if braked
                            || self.proposed.keys().any(under_way)
                            || !ladder::may_disturb(self.view, workload, index)
                        {
                            continue;
                        }
                        let body = Body::Evicted { workload: name.clone(), index, generation, reason };
                        self.propose(Key::Evict(name.clone(), index, generation), body);
                    }
                }
            }
        }
        to_place.sort();
        self.place(to_place);
    }

    /// In turn, each seeing where those before it go.
    fn place(&mut self, turns: Vec<ladder::Turn>) {
        if turns.is_empty() {
            return;
        }
        let ledger = self.view.ledger;
        let mut board = Board::of(ledger);
        let (under_way, new): (Vec<_>, Vec<_>) = turns
            .into_iter()
            .map(|turn| (Key::Place(turn.workload.clone(), turn.index), turn))
            .partition(|(key, _)| self.proposed.contains_key(key));
        for (key, turn) in under_way {
            if let Some(node) = self.proposed.get(&key).and_then(|proposal| proposal.node) {
                board.add(&turn.workload, node);
            }
            self.wanted.insert(key);
        }
        for (key, turn) in new {
            if board.is_full() {
                break;
            }
            let Ok(node) = placement::choose(self.view, &board, &turn.workload, turn.index) else { continue };
            board.add(&turn.workload, node);
            let body = Body::Placed {
                version: ledger.workloads[&turn.workload].version,
                workload: turn.workload,
                index: turn.index,
                node,
                epoch: ledger.nodes[&node].epoch,
            };
            self.effects.push(Effect::Propose(body));
            self.proposed.insert(key.clone(), Proposal { at: self.now, node: Some(node) });
            self.wanted.insert(key);
        }
    }
}
