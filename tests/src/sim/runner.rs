//! What a node does with its placements: the real slot machines, and the files that guards leave.
//!
//! Not here: guards themselves and the workloads' lives; those are the world's (see guard.rs).

use super::agent::{Env, Out, desired};
use cluster_core::{
    ids::{Generation, InstanceId, LeaseEpoch, NodeId},
    instance::{Cause, Effect, Event, Exit, Outcome, Placement, Report, Slot},
    ledger::{self, Body, Ledger},
};
use std::collections::{BTreeMap, BTreeSet};

pub type Key = (String, u32);

/// A guard's state file.
#[derive(Clone, Debug)]
pub struct GuardFile {
    pub key: Key,
    pub placement: Placement,
}

/// What the agent learns of a guard.
#[derive(Clone, Debug)]
pub enum GuardNews {
    Started { instance: InstanceId },
    Ended { instance: InstanceId, outcome: Outcome },
}

#[derive(Debug, Default)]
pub struct Runner {
    slots: BTreeMap<Key, Slot>,
    /// What each slot was told last.
    told: BTreeMap<Key, (Option<Placement>, Option<LeaseEpoch>)>,
    of_instance: BTreeMap<InstanceId, Key>,
    reports: Vec<Body>,
    pending: Vec<(Key, Effect)>,
    retold: BTreeSet<(Key, Generation)>,
}

impl Runner {
    /// Adopts what earlier processes left. A guard that isn't among the living took its tree along.
    #[must_use]
    pub fn start(live: &BTreeSet<InstanceId>, env: &mut Env<'_>) -> Self {
        let mut runner = Self::default();
        let files: Vec<(InstanceId, GuardFile)> =
            env.disk.guards.iter().map(|(id, file)| (*id, file.clone())).collect();
        let (alive, ended): (Vec<_>, Vec<_>) = files.into_iter().partition(|(id, _)| live.contains(id));
        for (instance, file) in ended.into_iter().chain(alive) {
            runner.of_instance.insert(instance, file.key.clone());
            let adopted = Event::Adopted { instance, placement: file.placement };
            runner.slot(&file.key, adopted, env);
            if !live.contains(&instance) {
                let outcome = Outcome::Ran { exit: Exit::Signal(9), cause: Cause::GuardLost };
                runner.slot(&file.key, Event::GuardEnded { instance, outcome, confirmed: true }, env);
            }
        }
        runner
    }

    pub fn news(&mut self, news: &GuardNews, env: &mut Env<'_>) {
        let (GuardNews::Started { instance } | GuardNews::Ended { instance, .. }) = news;
        let Some(key) = self.of_instance.get(instance).cloned() else { return };
        let event = match news {
            GuardNews::Started { instance } => {
                Event::GuardStarted { instance: *instance, pid: 1, started_at: env.wall }
            }
            GuardNews::Ended { instance, outcome } => {
                Event::GuardEnded { instance: *instance, outcome: outcome.clone(), confirmed: true }
            }
        };
        self.slot(&key, event, env);
    }

    /// Brings the slots in line with the ledger and the lease; gives what is to be told to the ledger.
    pub fn settle(
        &mut self,
        ledger: &Ledger,
        me: NodeId,
        lease: Option<LeaseEpoch>,
        env: &mut Env<'_>,
    ) -> Vec<Body> {
        let mut wanted: BTreeMap<Key, Option<Placement>> =
            self.slots.keys().map(|key| (key.clone(), None)).collect();
        for (workload, index, placement) in ledger.placements_on(me) {
            let key = (workload.to_owned(), index);
            let ended = env.disk.ended.get(&key).copied().unwrap_or_default();
            if placement.generation <= ended && !env.breaks.forgets_ended_generations {
                self.tell_again(&key, placement.generation);
                continue;
            }
            // Asked to end before it ever began here, or after this process's predecessor forgot it.
            if placement.evicted.is_some() && !self.slots.contains_key(&key) {
                self.tell_again(&key, placement.generation);
                continue;
            }
            wanted.insert(key, desired(placement));
        }
        for (key, placement) in wanted {
            if self.told.get(&key).map(|t| t.0) != Some(placement) {
                self.told.insert(key.clone(), (placement, self.told.get(&key).and_then(|t| t.1)));
                self.slot(&key, Event::Desired(placement), env);
            }
            if self.told.get(&key).map(|t| t.1) != Some(lease) {
                self.told.insert(key.clone(), (placement, lease));
                self.slot(&key, Event::Lease(lease), env);
            }
            let due = self.slots.get(&key).and_then(Slot::wake_at).is_some_and(|at| at <= env.clocks.raw);
            if due {
                self.slot(&key, Event::Tick, env);
            }
            if self.slots.get(&key).is_some_and(Slot::is_done) {
                self.slots.remove(&key);
                self.told.remove(&key);
            }
        }
        let effects = core::mem::take(&mut self.pending);
        for (key, effect) in effects {
            self.carry_out(&key, effect, me, env);
        }
        core::mem::take(&mut self.reports)
    }

    /// Says (again) that this generation ended, if this process has nothing of it.
    fn tell_again(&mut self, key: &Key, generation: Generation) {
        if !self.slots.contains_key(key) && self.retold.insert((key.clone(), generation)) {
            self.pending.push((key.clone(), Effect::Report(Report::Ended { generation, confirmed: true })));
        }
    }

    fn slot(&mut self, key: &Key, event: Event, env: &mut Env<'_>) {
        let fresh = InstanceId(env.rng.next());
        let mut effects = Vec::new();
        let slot = self.slots.entry(key.clone()).or_default();
        slot.step(env.clocks.raw, event, fresh, &mut effects);
        self.pending.extend(effects.into_iter().map(|e| (key.clone(), e)));
    }

    fn carry_out(&mut self, key: &Key, effect: Effect, me: NodeId, env: &mut Env<'_>) {
        match effect {
            Effect::Start { instance, placement } => {
                self.of_instance.insert(instance, key.clone());
                env.disk.guards.insert(instance, GuardFile { key: key.clone(), placement });
                env.out.push(Out::StartGuard { instance });
            }
            Effect::Stop { instance } => env.out.push(Out::StopGuard { instance }),
            Effect::Forget { instance } => {
                env.disk.guards.remove(&instance);
                self.of_instance.remove(&instance);
            }
            Effect::Report(report) => self.report(key, report, me, env),
        }
    }

    fn report(&mut self, key: &Key, report: Report, me: NodeId, env: &mut Env<'_>) {
        let none = InstanceId::default();
        let (instance, generation, report) = match report {
            Report::Starting { instance, generation } => (instance, generation, ledger::Report::Starting),
            Report::Running { instance, generation, pid, started_at } => {
                (instance, generation, ledger::Report::Running { pid, started_at, unconfined: false })
            }
            Report::Exited { instance, generation, outcome, .. } => {
                let exit = exit_of(&outcome);
                (
                    instance,
                    generation,
                    ledger::Report::Restarting {
                        exit,
                        restart_in_ms: 0,
                        restarts: 1,
                        detail: String::new(),
                        lease_ended: false,
                    },
                )
            }
            Report::GaveUp { instance, generation, outcome } => {
                let exit = exit_of(&outcome);
                self.ended(key, generation, env);
                (instance, generation, ledger::Report::GaveUp { exit, detail: "it fails".to_owned() })
            }
            Report::Ended { generation, confirmed: true } => {
                self.ended(key, generation, env);
                (none, generation, ledger::Report::Ended { exit: None })
            }
            Report::Ended { confirmed: false, .. } => return,
        };
        let (workload, index) = key.clone();
        self.reports.push(Body::InstanceReported { node: me, workload, index, generation, instance, report });
    }

    /// On disk before it is told: from now on this generation never starts here.
    fn ended(&mut self, key: &Key, generation: Generation, env: &mut Env<'_>) {
        let ended = env.disk.ended.entry(key.clone()).or_default();
        *ended = generation.max(*ended);
        self.retold.insert((key.clone(), generation));
    }
}

fn exit_of(outcome: &Outcome) -> ledger::Exit {
    match outcome {
        Outcome::Ran { exit: Exit::Signal(signal), .. } => ledger::Exit::Signal(*signal),
        Outcome::Ran { exit: Exit::Code(code), .. } => ledger::Exit::Code(*code),
        Outcome::StartFailed(_) => ledger::Exit::Code(127),
    }
}
