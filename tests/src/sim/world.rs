//! The world: true time, hosts, and the queue of what happens next. One run from a seed to a verdict.
//!
//! Not here: what goes wrong (chaos.rs), what passes between hosts (streams.rs), what the machines do (agent.rs), what
//! must hold (check/).

use super::{
    Options,
    agent::{Agent, Disk, Env, Input, Msg, Out},
    check::{self, Acknowledged, AtMostOnce, Violation},
    clock::Clock,
    genesis,
    guard::Guard,
    net::Net,
    rng::Rng,
};
use cluster_core::{
    ids::{BootId, Generation, InstanceId, LogId, NodeId},
    instance::{Cause, Exit, Outcome as Ending},
    ledger::{Command, Kind},
    time::Instant,
};
use core::time::Duration;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    rc::Rc,
};

pub(super) const TICK: Duration = Duration::from_millis(25);
/// What waits for a paused process, at most; what comes then is lost.
const INBOX_MAX: usize = 10_000;

#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick { host: NodeId, life: u64 },
    Local { host: NodeId, life: u64, input: Input },
    Deliver { to: NodeId, from: NodeId, msg: Msg },
    Dial { from: NodeId, life: u64, peer: NodeId },
    StartAgent { host: NodeId, boots: u64 },
    Boot { host: NodeId },
    Resume { host: NodeId },
    GuardStart { host: NodeId, instance: InstanceId },
    GuardLook { host: NodeId, instance: InstanceId },
    GuardKill { host: NodeId, instance: InstanceId, armed: u64 },
    GuardStopped { host: NodeId, instance: InstanceId },
    Chaos,
    Later(super::chaos::Later),
    Heal,
}

#[derive(Debug)]
pub(super) struct Host {
    pub id: NodeId,
    pub clock: Clock,
    pub boot: BootId,
    pub boots: u64,
    pub up: bool,
    pub agent: Option<Agent>,
    /// Counts the agent's processes.
    pub life: u64,
    pub paused: bool,
    pub paused_at: Instant,
    /// The guards are stopped, too; the kernel's timers are not.
    pub guards_stopped: bool,
    pub inbox: VecDeque<Input>,
    pub disk: Disk,
    pub slow_disk_until: Instant,
    /// The next start reads its log for so long.
    pub replay: Duration,
    pub guards: BTreeMap<InstanceId, Guard>,
    pub dials: BTreeSet<NodeId>,
}

/// What a run went through: whether a seed set is worth anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    pub starts: u64,
    pub moves: u64,
    pub revocations: u64,
    pub elections: u64,
    pub agent_crashes: u64,
    pub host_crashes: u64,
    /// Voters that restarted while a revocation was in some log and not yet safe.
    pub voters_restarted_in_revocation: u64,
    /// Instances that started where a page of another epoch lay.
    pub starts_beside_old_pages: u64,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    /// Equal for equal traces.
    pub hash: u64,
    pub stats: Stats,
}

pub(super) struct World {
    pub now: Instant,
    pub rng: Rng,
    pub options: Options,
    pub hosts: BTreeMap<NodeId, Host>,
    pub voters: BTreeSet<NodeId>,
    pub net: Net,
    pub stats: Stats,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(super) streams: BTreeSet<(NodeId, NodeId)>,
    pub(super) at_most_once: AtMostOnce,
    acknowledged: Acknowledged,
    pub violation: Option<Violation>,
    hash: u64,
}

/// One run.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut world = World::new(seed, *options);
    let end = Instant::ZERO + options.trouble + options.calm;
    while world.violation.is_none() {
        let Some(Reverse((at, id))) = world.queue.pop() else { break };
        if at > end {
            break;
        }
        world.now = at;
        let event = world.events.remove(&id).expect("each event is queued once");
        world.note_event(&event);
        world.handle(event);
    }
    if world.violation.is_none() {
        world.violation = world.verdict().err();
    }
    world.stats.starts = world.at_most_once.starts;
    Outcome { seed, violation: world.violation, hash: world.hash, stats: world.stats }
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let nodes = genesis::nodes();
        let votes = if rng.percent(60) { 3 } else { 5 };
        let disk = genesis::disk(votes);
        let beginning = (1..).zip(&disk.raft.log);
        let beginning =
            beginning.map(|(index, e)| (LogId { term: e.term, index }, Rc::clone(&e.command))).collect();
        let mut world = Self {
            now: Instant::ZERO,
            options,
            hosts: BTreeMap::new(),
            voters: nodes.iter().copied().take(votes).collect(),
            net: Net::default(),
            stats: Stats::default(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            streams: BTreeSet::new(),
            at_most_once: AtMostOnce::default(),
            acknowledged: Acknowledged::new(beginning),
            violation: None,
            hash: 0xcbf2_9ce4_8422_2325,
            rng: Rng::new(seed ^ 0x5eed),
        };
        for id in nodes {
            let up_for = Duration::from_secs(rng.between(100, 100_000));
            let host = Host {
                id,
                clock: Clock::new(&mut rng, Instant::ZERO, up_for),
                boot: genesis::first_boot(id),
                boots: 0,
                up: true,
                agent: None,
                life: 0,
                paused: false,
                paused_at: Instant::ZERO,
                guards_stopped: false,
                inbox: VecDeque::new(),
                disk: disk.clone(),
                slow_disk_until: Instant::ZERO,
                replay: Duration::from_millis(20),
                guards: BTreeMap::new(),
                dials: BTreeSet::new(),
            };
            world.hosts.insert(id, host);
            world.after(rng.ms(0, 300), Event::StartAgent { host: id, boots: 0 });
        }
        world.after(Duration::from_secs(3), Event::Chaos);
        world.after(options.trouble, Event::Heal);
        world
    }

    pub fn after(&mut self, delay: Duration, event: Event) {
        self.next_event += 1;
        self.queue.push(Reverse((self.now + delay, self.next_event)));
        self.events.insert(self.next_event, event);
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.options.trace {
            println!("{:>9.3} {}", self.now.as_nanos() as f64 / 1e6, line());
        }
    }

    pub fn host(&mut self, id: NodeId) -> &mut Host {
        self.hosts.get_mut(&id).expect("one of the five")
    }

    pub fn fail<T>(&mut self, result: Result<T, Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }

    fn note_event(&mut self, event: &Event) {
        self.stats.events += 1;
        let (kind, a, b) = match event {
            Event::Tick { host, life } => (1, host.0, *life),
            Event::Local { host, life, .. } => (2, host.0, *life),
            Event::Deliver { to, from, .. } => (3, to.0, from.0),
            Event::Dial { from, peer, .. } => (4, from.0, peer.0),
            Event::StartAgent { host, boots } => (5, host.0, *boots),
            Event::Boot { host } => (6, host.0, 0),
            Event::Resume { host } => (7, host.0, 0),
            Event::GuardStart { host, instance } => (8, host.0, instance.0),
            Event::GuardLook { host, instance } => (9, host.0, instance.0),
            Event::GuardKill { host, instance, armed } => (10, host.0, instance.0 ^ armed),
            Event::GuardStopped { host, instance } => (11, host.0, instance.0),
            Event::Chaos | Event::Later(_) => (12, 0, 0),
            Event::Heal => (13, 0, 0),
        };
        for word in [self.now.as_nanos(), kind, a, b] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { host, life } => {
                if self.lives(host, life) {
                    let jitter = self.rng.us(0, 2_000);
                    self.after(TICK + jitter, Event::Tick { host, life });
                    if !self.host(host).paused {
                        self.step(host, Input::Tick);
                    }
                }
            }
            Event::Local { host, life, input } => {
                if self.lives(host, life) {
                    self.give(host, input);
                }
            }
            Event::Deliver { to, from, msg } => {
                if self.host(to).agent.is_some() {
                    self.give(to, Input::Msg { from, msg });
                }
            }
            Event::Dial { from, life, peer } => self.dial(from, life, peer),
            Event::StartAgent { host, boots } => self.start_agent(host, boots),
            Event::Boot { host } => self.boot(host),
            Event::Resume { host } => self.resume(host),
            Event::GuardStart { host, instance } => self.guard_start(host, instance),
            Event::GuardLook { host, instance } => self.guard_look(host, instance),
            Event::GuardKill { host, instance, armed } => {
                if self.host(host).guards.get(&instance).is_some_and(|g| g.armed == armed) {
                    self.guard_ends(host, instance, ran(Cause::Deadline));
                }
            }
            Event::GuardStopped { host, instance } => {
                self.guard_ends(host, instance, ran(Cause::Stopped));
            }
            Event::Chaos => self.chaos(),
            Event::Later(later) => self.chaos_later(later),
            Event::Heal => self.heal(),
        }
    }

    pub(super) fn lives(&mut self, host: NodeId, life: u64) -> bool {
        let host = self.host(host);
        host.life == life && host.agent.is_some()
    }

    /// To the agent, now or when it goes on.
    pub(super) fn give(&mut self, id: NodeId, input: Input) {
        let host = self.host(id);
        if !host.paused {
            self.step(id, input);
        } else if host.inbox.len() < INBOX_MAX {
            host.inbox.push_back(input);
        }
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let Some(mut agent) = self.host(id).agent.take() else { return };
        let mut out = Vec::new();
        self.with_env(id, &mut out, |env| agent.step(input, env));
        self.host(id).agent = Some(agent);
        self.carry_out(id, out);
    }

    pub(super) fn with_env<T>(
        &mut self,
        id: NodeId,
        out: &mut Vec<Out>,
        f: impl FnOnce(&mut Env<'_>) -> T,
    ) -> T {
        let (now, breaks) = (self.now, self.options.breaks);
        let host = self.hosts.get_mut(&id).expect("one of the five");
        let mut env = Env {
            clocks: host.clock.read(now),
            wall: host.clock.wall(now),
            rng: &mut self.rng,
            disk: &mut host.disk,
            slow_disk: host.slow_disk_until > now,
            out,
            breaks,
        };
        f(&mut env)
    }

    pub(super) fn carry_out(&mut self, id: NodeId, out: Vec<Out>) {
        let life = self.host(id).life;
        for out in out {
            match out {
                Out::Send { to, msg } => self.send(id, to, msg),
                Out::Connect { peer } => {
                    self.host(id).dials.insert(peer);
                    self.after(Duration::from_millis(1), Event::Dial { from: id, life, peer });
                }
                Out::Disconnect { peer } => {
                    self.host(id).dials.remove(&peer);
                }
                Out::Probe { address } => self.probe(id, &address),
                Out::Burst { peer, nonce, count, every } => self.burst(id, peer, nonce, (count, every)),
                Out::TryConnection { peer } => self.try_connection(id, peer),
                Out::Sync { after, upto, version } => {
                    let input = Input::Synced { upto, version };
                    self.after(after, Event::Local { host: id, life, input });
                }
                Out::StartGuard { instance } => self.spawn_guard(id, instance),
                Out::StopGuard { instance } => {
                    let takes = self.rng.ms(2, 400);
                    self.after(takes, Event::GuardStopped { host: id, instance });
                }
                Out::Committed { upto } => self.check_commit(id, upto),
                Out::Applied { at, command } => self.applied(id, at, &command),
                Out::Acknowledged { at } => self.acknowledged.acknowledge(at),
                Out::Note(note) => {
                    self.stats.elections += u64::from(note.starts_with("leads"));
                    self.trace(|| format!("n{} {note}", id.0));
                }
            }
        }
    }

    fn check_commit(&mut self, leader: NodeId, upto: u64) {
        let Some(agent) = &self.hosts[&leader].agent else { return };
        let at = agent.raft.id_at(upto);
        let slot = usize::try_from(upto - 1).expect("in memory");
        let holds = |v: NodeId| self.hosts[&v].disk.raft.log.get(slot).is_some_and(|e| e.term == at.term);
        let checked = check::committed_by_quorum(leader, at, &self.voters, holds);
        self.fail(checked);
    }

    fn applied(&mut self, id: NodeId, at: LogId, command: &Rc<Command>) {
        let Some(agent) = &self.hosts[&id].agent else { return };
        let checked = self.acknowledged.applied(id, at, command, &agent.ledger);
        if agent.raft.leads() {
            self.stats.revocations += command.body.revokes().len() as u64;
            self.stats.moves += u64::from(matches!(command.body, cluster_core::ledger::Body::Placed { .. }));
            self.trace(|| format!("n{} commits {} {:?}", id.0, at.index, command.body));
        }
        self.fail(checked);
    }

    /// At the end, when all has been well for a while.
    fn verdict(&self) -> Result<(), Violation> {
        let leader = self.hosts.values().filter_map(|h| h.agent.as_ref()).find(|a| a.raft.leads());
        let Some(leader) = leader else {
            return Err(Violation { promise: "it ends", what: "nobody leads".to_owned() });
        };
        let runs = |node: NodeId, name: &str, index: u32, generation: Generation| {
            let mut guards = self.hosts[&node].guards.values().filter(|g| g.running);
            guards.any(|g| g.key == (name.to_owned(), index) && g.placement.generation == generation)
        };
        check::it_ends(&leader.ledger, runs)?;
        for host in self.hosts.values() {
            let Some(agent) = &host.agent else { continue };
            let has = |at: LogId| at.index <= agent.ledger.applied.index && agent.raft.id_at(at.index) == at;
            self.acknowledged.at_the_end(host.id, has)?;
        }
        Ok(())
    }
}

pub(super) fn is_singleton(workload: &str) -> bool {
    let spec = |kind| kind == Kind::Singleton;
    spec(if workload == "many" { Kind::Replicas } else { Kind::Singleton })
}

pub(super) fn ran(cause: Cause) -> Ending {
    Ending::Ran { exit: Exit::Signal(9), cause }
}
