//! Instance: what one slot (a workload's index) does on its node, from "should run here" to "its tree is empty".
//!
//! The slot compares what is desired with what its guard says, and answers with starts and stops. One rule carries
//! at-most-once inside the node: nothing is started while an earlier tree of the slot isn't *proven* empty. A restart
//! keeps its generation and asks nobody; once a generation was reported as ended, it never starts again.
//!
//! Not here: processes (the supervisor's), leases (the holder's; the guard enforces them), choosing a node, health.

mod restart;
#[cfg(test)]
mod tests;

pub use restart::{Answer, MAX_ATTEMPTS, Policy, Restart};

use crate::{
    ids::{Generation, InstanceId, LeaseEpoch},
    time::{Instant, WallTime},
};
use core::fmt;
use serde::{Deserialize, Serialize};

/// That this slot should run here. Newer is: a higher generation, or the same with a higher version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub generation: Generation,
    pub epoch: LeaseEpoch,
    /// The version of the workload's definition; a new one under the same generation restarts the instance.
    pub version: u64,
    pub restart: Policy,
}

/// How the workload's own process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// By itself, or by somebody's hand. Any exit code is a failure: a service should run.
    Exited,
    /// It was told to stop.
    Stopped,
    /// The node's lease ran out, or was taken back.
    Deadline,
    /// Its guard was killed, and took the tree along.
    GuardLost,
}

/// What an end looked like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It never ran; the text says why and what to do.
    StartFailed(String),
    Ran {
        exit: Exit,
        cause: Cause,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the ledger wants of this slot. Until the first one a slot leaves alone what it adopted.
    Desired(Option<Placement>),
    /// The epoch under which this node may run something now; `None` without a lease.
    Lease(Option<LeaseEpoch>),
    /// A guard of an earlier agent still holds this. Only as a slot's first news of any instance.
    Adopted {
        instance: InstanceId,
        placement: Placement,
    },
    GuardStarted {
        instance: InstanceId,
        pid: u32,
        started_at: WallTime,
    },
    /// May come twice for an instance: first unconfirmed, then confirmed once the tree is proven empty.
    GuardEnded {
        instance: InstanceId,
        outcome: Outcome,
        confirmed: bool,
    },
    Tick,
}

/// What is to be told to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Starting {
        instance: InstanceId,
        generation: Generation,
    },
    Running {
        instance: InstanceId,
        generation: Generation,
        pid: u32,
        started_at: WallTime,
    },
    /// It will be started again here at `restart_at`, this node's clock; `None`: as soon as the lease allows.
    Exited {
        instance: InstanceId,
        generation: Generation,
        outcome: Outcome,
        restart_at: Option<Instant>,
    },
    /// The attempts on this node are used up. Its tree is proven empty.
    GaveUp {
        instance: InstanceId,
        generation: Generation,
        outcome: Outcome,
    },
    /// `confirmed`: the generation's tree is empty and the generation never starts again on this node. Without it:
    /// what was started may still be alive.
    Ended {
        generation: Generation,
        confirmed: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Start {
        instance: InstanceId,
        placement: Placement,
    },
    Stop {
        instance: InstanceId,
    },
    /// Its files may go: it ended, proven, and was reported.
    Forget {
        instance: InstanceId,
    },
    Report(Report),
}

/// An instance that was started, or adopted, and whose tree isn't proven empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    instance: InstanceId,
    placement: Placement,
    stopping: bool,
    /// It ended, but something of it may be alive.
    unproven: bool,
}

/// One slot's state on this node.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// `None`: not known yet.
    desired: Option<Option<Placement>>,
    lease: Option<LeaseEpoch>,
    live: Option<Live>,
    /// The failures of the desired placement; `None` before its first start.
    restart: Option<Restart>,
    /// Nothing starts before.
    not_before: Option<Instant>,
    given_up: bool,
    /// The placement whose end nobody was told yet.
    unreported: Option<Generation>,
    /// The highest generation that was reported as ended.
    ended: Generation,
}

impl Slot {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A slot on a node that told, in this life or an earlier one, that generations up to `ended` have ended there.
    #[must_use]
    pub fn after(ended: Generation) -> Self {
        Self { ended, ..Self::default() }
    }

    /// The only way in. `fresh` becomes the id of what this step starts, if it starts anything.
    pub fn step(&mut self, now: Instant, event: Event, fresh: InstanceId, effects: &mut Vec<Effect>) {
        match event {
            Event::Desired(placement) => self.desire(placement),
            Event::Lease(epoch) => self.lease = epoch,
            Event::Adopted { instance, placement } => self.adopt(instance, placement),
            Event::GuardStarted { instance, pid, started_at } => {
                self.started(instance, pid, started_at, effects);
            }
            Event::GuardEnded { instance, outcome, confirmed } => {
                self.guard_ended(now, instance, outcome, confirmed, effects);
            }
            Event::Tick => {}
        }
        self.settle(now, fresh, effects);
    }

    /// When the next `Tick` is needed, if at all.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let waits = self.live.is_none() && !self.given_up && self.desired.flatten().is_some();
        self.not_before.filter(|_| waits)
    }

    /// Nothing runs here, nothing should, and everything was told: the slot may be dropped.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.desired == Some(None) && self.live.is_none() && self.unreported.is_none()
    }

    fn desire(&mut self, placement: Option<Placement>) {
        let before = self.desired.flatten();
        if let (Some(old), Some(new)) = (before, placement)
            && (new.generation, new.version) < (old.generation, old.version)
        {
            return; // late news
        }
        let same = |old: Placement| placement.is_some_and(|new| same_run(&old, &new));
        if !before.is_some_and(same) {
            self.restart = None;
            self.not_before = None;
            self.given_up = false;
        }
        self.desired = Some(placement);
    }

    fn adopt(&mut self, instance: InstanceId, placement: Placement) {
        assert!(self.live.is_none(), "a slot adopts before it starts anything, and once");
        self.live = Some(Live { instance, placement, stopping: false, unproven: false });
        self.unreported = Some(placement.generation);
    }

    fn started(&self, instance: InstanceId, pid: u32, started_at: WallTime, effects: &mut Vec<Effect>) {
        if let Some(live) = self.live.filter(|live| live.instance == instance && !live.unproven) {
            let generation = live.placement.generation;
            effects.push(Effect::Report(Report::Running { instance, generation, pid, started_at }));
        }
    }

    fn guard_ended(
        &mut self,
        now: Instant,
        instance: InstanceId,
        outcome: Outcome,
        confirmed: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(live) = self.live.as_mut().filter(|live| live.instance == instance) else { return };
        let generation = live.placement.generation;
        if !confirmed {
            if !live.unproven {
                live.unproven = true;
                effects.push(Effect::Report(Report::Ended { generation, confirmed: false }));
            }
            return;
        }
        let live = *live;
        self.live = None;
        if self.desired.is_none() || self.goes_on(&live) {
            self.answer_failure(now, &live, outcome, effects);
        }
        effects.push(Effect::Forget { instance });
    }

    /// Whether what ran is still what should run.
    fn goes_on(&self, live: &Live) -> bool {
        !live.stopping && self.desired.flatten().is_some_and(|want| same_run(&want, &live.placement))
    }

    fn answer_failure(&mut self, now: Instant, live: &Live, outcome: Outcome, effects: &mut Vec<Effect>) {
        let (instance, generation) = (live.instance, live.placement.generation);
        // Losing the lease isn't the workload's failure: it starts again as soon as there is one.
        let blameless = matches!(outcome, Outcome::Ran { cause: Cause::Deadline, .. });
        let restart = self.restart.get_or_insert_with(|| Restart::new(live.placement.restart));
        let answer = if blameless { Answer::StartAt(now) } else { restart.failed(now) };
        let report = match answer {
            Answer::StartAt(at) => {
                self.not_before = Some(at);
                let restart_at = Some(at).filter(|_| !blameless);
                Report::Exited { instance, generation, outcome, restart_at }
            }
            Answer::GiveUp => {
                self.given_up = true;
                Report::GaveUp { instance, generation, outcome }
            }
        };
        effects.push(Effect::Report(report));
    }

    /// Brings what is here towards what is desired, by at most one start or stop.
    fn settle(&mut self, now: Instant, fresh: InstanceId, effects: &mut Vec<Effect>) {
        let Some(desired) = self.desired else { return };
        if let Some(live) = &mut self.live {
            if !live.stopping
                && !live.unproven
                && !desired.is_some_and(|want| same_run(&want, &live.placement))
            {
                live.stopping = true;
                effects.push(Effect::Stop { instance: live.instance });
            }
            return;
        }
        if let Some(generation) = self.unreported
            && desired.is_none_or(|want| want.generation != generation)
        {
            self.unreported = None;
            self.ended = self.ended.max(generation);
            effects.push(Effect::Report(Report::Ended { generation, confirmed: true }));
        }
        if let Some(placement) = desired.filter(|want| self.may_start(now, want)) {
            self.live = Some(Live { instance: fresh, placement, stopping: false, unproven: false });
            self.unreported = Some(placement.generation);
            self.not_before = None;
            effects.push(Effect::Start { instance: fresh, placement });
            let generation = placement.generation;
            effects.push(Effect::Report(Report::Starting { instance: fresh, generation }));
        }
    }

    /// With no tree alive: whether the lease, the back-off and the past allow a start now.
    fn may_start(&self, now: Instant, want: &Placement) -> bool {
        assert!(self.live.is_none(), "asked only when no tree is left");
        self.lease == Some(want.epoch)
            && !self.given_up
            && want.generation > self.ended
            && self.not_before.is_none_or(|at| now >= at)
    }
}

/// Whether one running instance serves both: a changed restart policy alone restarts nothing.
fn same_run(a: &Placement, b: &Placement) -> bool {
    (a.generation, a.epoch, a.version) == (b.generation, b.epoch, b.version)
}
