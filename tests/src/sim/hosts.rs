//! Hosts: processes that start, hosts that boot, guards that begin, look at their page, and end.
//!
//! Not here: the queue and the network (world.rs), a guard's own rule (guard.rs).

use super::{
    agent::{Agent, Input, Who},
    clock::Clock,
    genesis,
    guard::Guard,
    runner::GuardNews,
    world::{Event, TICK, World, is_singleton, ran},
};
use cluster_core::{
    ids::{BootId, InstanceId, NodeId, SessionId},
    instance::{Cause, Outcome as Ending},
};
use core::time::Duration;
use std::collections::BTreeSet;

/// Between two looks of a guard at its page, at most.
const GUARD_LOOKS_MS: (u64, u64) = (10, 60);
/// How late the kernel and the scheduler may be with a kill: within the time in hand.
const KILL_LATE_US: u64 = 95_000;
impl World {
    pub(super) fn start_agent(&mut self, id: NodeId, boots: u64) {
        let session = SessionId(self.rng.next());
        let (voters, everyone) = (self.voters.clone(), genesis::nodes());
        let host = self.host(id);
        if !host.up || host.boots != boots || host.agent.is_some() {
            return;
        }
        host.life += 1;
        host.paused = false;
        host.inbox.clear();
        host.dials.clear();
        let (life, replay, boot) = (host.life, host.replay, host.boot);
        let live: BTreeSet<InstanceId> = host.guards.keys().copied().collect();
        let running = host.guards.iter().filter(|(_, g)| g.running).map(|(instance, _)| *instance);
        let running: Vec<InstanceId> = running.collect();
        let who = Who { node: id, boot, session, voters, everyone };
        let mut out = Vec::new();
        let agent = self.with_env(id, &mut out, |env| Agent::start(who, &live, env));
        self.host(id).agent = Some(agent);
        self.trace(|| format!("n{} agent starts, reads its log for {} ms", id.0, replay.as_millis()));
        self.carry_out(id, out);
        self.after(replay, Event::Local { host: id, life, input: Input::Replayed });
        self.after(TICK, Event::Tick { host: id, life });
        // Whoever adopts a guard asks it what it does: an earlier agent may have died with the news.
        for instance in running {
            self.tell(id, GuardNews::Started { instance });
        }
    }

    pub(super) fn boot(&mut self, id: NodeId) {
        let mut rng = self.rng.clone();
        let (now, boot) = (self.now, BootId(self.rng.next()));
        let host = self.host(id);
        host.up = true;
        host.boot = boot;
        host.clock = Clock::new(&mut rng, now, Duration::from_secs(1));
        let boots = host.boots;
        self.trace(|| format!("n{} boots", id.0));
        let wait = self.rng.ms(50, 500);
        self.after(wait, Event::StartAgent { host: id, boots });
    }

    pub(super) fn resume(&mut self, id: NodeId) {
        let host = self.host(id);
        host.guards_stopped = false;
        if !core::mem::take(&mut host.paused) {
            return;
        }
        let inbox = core::mem::take(&mut host.inbox);
        self.trace(|| format!("n{} goes on", id.0));
        for input in inbox {
            self.give(id, input);
        }
    }

    pub(super) fn spawn_guard(&mut self, id: NodeId, instance: InstanceId) {
        let host = self.host(id);
        let Some(file) = host.disk.guards.get(&instance) else { return };
        let guard = Guard::new(file.key.clone(), file.placement, host.boot);
        host.guards.insert(instance, guard);
        let takes = self.rng.ms(1, 30);
        self.after(takes, Event::GuardStart { host: id, instance });
    }

    pub(super) fn guard_start(&mut self, id: NodeId, instance: InstanceId) {
        self.guard_look(id, instance);
        let now = self.now;
        let host = self.host(id);
        let clocks = host.clock.read(now);
        let Some(guard) = host.guards.get_mut(&instance) else { return };
        if !guard.has_time(clocks) {
            self.guard_ends(id, instance, ran(Cause::Deadline));
            return;
        }
        guard.running = true;
        let (key, placement) = (guard.key.clone(), guard.placement);
        let beside = host.disk.pages.keys().any(|e| *e != placement.epoch);
        self.stats.starts_beside_old_pages += u64::from(beside);
        self.trace(|| format!("n{} starts {} {}, generation {}", id.0, key.0, key.1, placement.generation));
        if is_singleton(&key.0) {
            let checked = self.at_most_once.started(now, &key.0, instance, id, placement.generation);
            self.fail(checked);
        }
        self.tell(id, GuardNews::Started { instance });
    }

    pub(super) fn guard_look(&mut self, id: NodeId, instance: InstanceId) {
        let (now, breaks) = (self.now, self.options.breaks);
        let host = self.host(id);
        let (stopped, clocks) = (host.guards_stopped, host.clock.read(now));
        let Some(guard) = host.guards.get_mut(&instance) else { return };
        if !stopped && let Some(kill_at) = guard.look(&host.disk, clocks, breaks) {
            let armed = guard.armed;
            let left = host.clock.until_boot(now, kill_at);
            let late = self.rng.us(0, KILL_LATE_US);
            self.after(left + late, Event::GuardKill { host: id, instance, armed });
        }
        let again = self.rng.ms(GUARD_LOOKS_MS.0, GUARD_LOOKS_MS.1);
        self.after(again, Event::GuardLook { host: id, instance });
    }

    /// Its tree is gone, and it with it.
    pub(super) fn guard_ends(&mut self, id: NodeId, instance: InstanceId, outcome: Ending) {
        let Some(guard) = self.host(id).guards.remove(&instance) else { return };
        if guard.running {
            self.at_most_once.ended(&guard.key.0, instance);
            self.trace(|| {
                format!(
                    "n{} ends {} generation {}: {outcome:?}",
                    id.0, guard.key.0, guard.placement.generation
                )
            });
        }
        self.tell(id, GuardNews::Ended { instance, outcome });
    }

    fn tell(&mut self, id: NodeId, news: GuardNews) {
        let life = self.host(id).life;
        let takes = self.rng.us(100, 5_000);
        self.after(takes, Event::Local { host: id, life, input: Input::Guard(news) });
    }
}
