//! The world: true time, the queue, nodes that start, run, freeze and end. One run from options to an outcome.
//!
//! Not here: what machines' effects come to (`carry`), voters and the view (`office`), what goes wrong (`faults`), what
//! must hold (`check`).

use super::{
    check::{Calm, Found},
    faults::{Fault, Plan},
    net::{Net, percent},
    node::{INBOX_MAX, Input, Node, address, id},
    office::Office,
    queue::Queue,
    streams::{Kind, MS, Mail, Streams},
    tcp::Wake,
};
use crate::sim::{check::Violation, rng::Rng};
use cluster_core::{
    cut,
    ids::NodeId,
    membership::{self, Membership, View, tick_every},
    timing::{LAN, Timing},
};
use core::time::Duration;
use std::sync::Arc;

/// Mistakes that are put back by hand, to see that the checkers find them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Break {
    #[default]
    Nothing,
    /// A process that got no time blames others for what it didn't hear meanwhile.
    NoLocalHealth,
    /// One observer's word is enough.
    HEqualsOne,
    /// Nobody contradicts what is said of it.
    NoRefutation,
}

impl Break {
    /// By which the command line knows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NoLocalHealth => "no-local-health",
            Self::HEqualsOne => "h-equals-one",
            Self::NoRefutation => "no-refutation",
        }
    }
}

impl core::str::FromStr for Break {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Self::NoLocalHealth, Self::HEqualsOne, Self::NoRefutation];
        known.into_iter().find(|mistake| mistake.name() == name).ok_or_else(|| {
            let known = known.map(Self::name).join(", ");
            format!("\"{name}\" can't be broken: {known} can")
        })
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub nodes: u32,
    pub voters: u32,
    pub lasts: Duration,
    /// Everywhere, each way.
    pub loss_percent: u64,
    /// All are members from the beginning; else all know only the first, which is one.
    pub formed: bool,
    pub plan: Plan,
    pub put_back: Break,
    /// Everything must be found and agreed at the end.
    pub ends_calm: bool,
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 5,
            voters: 3,
            lasts: Duration::from_secs(60),
            loss_percent: 0,
            formed: true,
            plan: Plan::default(),
            put_back: Break::Nothing,
            ends_calm: true,
            trace: false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    Tick {
        node: u32,
        life: u32,
    },
    Lane {
        lane: u32,
        generation: u32,
        wake: Wake,
    },
    Dial {
        from: u32,
        life: u32,
        peer: u32,
    },
    Later(u32),
    Fault(u32),
    /// A process gets time again, or none any more.
    Freeze {
        node: u32,
        stamp: u32,
    },
    Thaw {
        node: u32,
        stamp: u32,
    },
    Office,
}

#[derive(Debug)]
pub enum Later {
    Input { node: u32, life: u32, input: Input },
    Open { ends: [u32; 2], lives: [u32; 2], kind: Kind },
    Commit(super::office::Proposal),
}

/// What a run cost, and how often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub messages: u64,
    pub message_bytes: u64,
    pub beats: u64,
    pub beat_bytes: u64,
    pub probes: u64,
    pub dials: u64,
    pub dropped: u64,
    pub bursts: u64,
    pub helps: u64,
    pub reports: u64,
    pub polls: u64,
    pub agent_states: u64,
    pub views: u64,
    pub elections: u64,
    /// Nodes that were found gone by somebody although nothing was wrong with them.
    pub false_findings: u64,
    pub wire_bytes: u64,
}

/// One decision that nodes are dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub at: Duration,
    pub epoch: u64,
    pub nodes: Vec<NodeId>,
    /// When the last living node had it.
    pub known: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    pub node: u32,
    pub at: Duration,
    pub first_report: Option<Duration>,
    pub declared: Option<Duration>,
    pub known: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    /// Equal for equal runs.
    pub hash: u64,
    pub counts: Counts,
    pub declared: Vec<Declared>,
    pub crashes: Vec<Crash>,
    /// When the last node that runs had the newest view with all in it.
    pub agreed_at: Option<Duration>,
    /// What the first ten seconds cost is not in it: (since, counts at that moment).
    pub settled: (Duration, Counts),
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub options: Options,
    pub net: Net,
    pub nodes: Vec<Node>,
    pub queue: Queue<What>,
    pub streams: Streams,
    pub office: Office,
    pub counts: Counts,
    pub calm: Calm,
    pub found: Found,
    pub declared: Vec<Declared>,
    pub violation: Option<Violation>,
    pub(super) wakes: Vec<(u64, Wake)>,
    pub(super) got: Vec<Mail>,
    pub(super) agreed_at: Option<u64>,
    effects: Vec<membership::Effect>,
    laters: Vec<Option<Later>>,
    free: Vec<u32>,
    hash: u64,
    tick: u64,
}

pub const TIMING: Timing = LAN;
/// Processes of a formed cluster start within this.
const START_WITHIN: u64 = 400;
/// Costs are counted from here on.
const SETTLES: u64 = 10_000 * MS;

#[must_use]
pub fn run(options: &Options) -> Outcome {
    let mut world = World::new(options.clone());
    let end = ns(options.lasts);
    let mut settled = None;
    while world.violation.is_none() {
        let Some((at, what)) = world.queue.pop().filter(|(at, _)| *at <= end) else { break };
        if at >= SETTLES && settled.is_none() {
            settled = Some((at, world.counts_now()));
        }
        // A mistake put back by hand may say things too late (`catch_up`); true time never runs backwards for it.
        world.now = world.now.max(at);
        world.counts.events += 1;
        world.mix(at, &what);
        world.handle(what);
    }
    world.now = end;
    if world.violation.is_none() && options.ends_calm {
        world.violation = world.verdict().err();
    }
    let counts = world.counts_now();
    let (since, before) = settled.unwrap_or_default();
    Outcome {
        violation: world.violation,
        hash: world.hash,
        counts,
        declared: world.declared,
        crashes: world.found.crashes,
        agreed_at: world.agreed_at.map(Duration::from_nanos),
        settled: (Duration::from_nanos(since), before),
    }
}

pub fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).expect("below centuries")
}

impl World {
    fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed ^ 0x5ca1e);
        let nodes = (0..options.nodes).map(|index| {
            let offset = rng.between(100, 100_000) * 1_000 * MS;
            let drift = i64::try_from(rng.between(0, 999)).expect("small") - 499;
            Node::new(index, offset, drift)
        });
        let nodes: Vec<Node> = nodes.collect();
        let mut world = Self {
            now: 0,
            net: Net::new(nodes.len(), percent(options.loss_percent)),
            nodes,
            queue: Queue::default(),
            streams: Streams::default(),
            office: Office::default(),
            counts: Counts::default(),
            calm: Calm::default(),
            found: Found::default(),
            declared: Vec::new(),
            violation: None,
            wakes: Vec::new(),
            got: Vec::new(),
            agreed_at: None,
            effects: Vec::new(),
            laters: Vec::new(),
            free: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            tick: ns(tick_every(&TIMING)),
            rng,
            options,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in &mut self.nodes {
            (node.life, node.incarnation) = (1, 1);
        }
        self.found_cluster();
        for node in 0..self.options.nodes {
            self.nodes[node as usize].life = 0;
            let at = self.rng.between(0, START_WITHIN) * MS;
            self.queue.push(at, What::Fault(u32::MAX - node));
        }
        let plan: Vec<u64> = self.options.plan.iter().map(|(at, _)| ns(*at)).collect();
        for (i, at) in (0..).zip(plan) {
            self.queue.push(at, What::Fault(i));
        }
        self.queue.push(MS, What::Office);
    }

    fn mix(&mut self, at: u64, what: &What) {
        let (a, b) = match *what {
            What::Tick { node, life } => (u64::from(node), u64::from(life)),
            What::Lane { lane, generation, .. } => (u64::from(lane) | 1 << 40, u64::from(generation)),
            What::Dial { from, peer, .. } => (u64::from(from) | 2 << 40, u64::from(peer)),
            What::Later(slot) => (u64::from(slot) | 3 << 40, 0),
            What::Fault(i) => (u64::from(i) | 4 << 40, 0),
            What::Freeze { node, .. } | What::Thaw { node, .. } => (u64::from(node) | 5 << 40, 0),
            What::Office => (6 << 40, 0),
        };
        for word in [at, a, b] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.options.trace {
            println!("{:>10.3} {}", self.now as f64 / 1e6, line());
        }
    }

    pub fn later(&mut self, after: u64, later: Later) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.laters.push(None);
            u32::try_from(self.laters.len() - 1).expect("few wait")
        });
        self.laters[slot as usize] = Some(later);
        self.queue.push(self.now + after, What::Later(slot));
    }

    fn handle(&mut self, what: What) {
        match what {
            What::Tick { node, life } => self.on_tick(node, life),
            What::Lane { lane, generation, wake } => self.wake(lane, generation, wake),
            What::Dial { from, life, peer } => self.dial(from, life, peer),
            What::Later(slot) => {
                self.free.push(slot);
                match self.laters[slot as usize].take().expect("each is queued once") {
                    Later::Input { node, life, input } if self.nodes[node as usize].life == life => {
                        self.give(node, input);
                    }
                    Later::Input { .. } => {}
                    Later::Open { ends, lives, kind } => self.opened(ends, lives, kind),
                    Later::Commit(proposal) => self.commit(proposal),
                }
            }
            What::Fault(i) => {
                let first = u32::MAX - self.options.nodes;
                let fault =
                    if i > first { Fault::Start(u32::MAX - i) } else { self.options.plan[i as usize].1 };
                self.fault(fault);
            }
            What::Freeze { node, stamp } => self.freeze(node, stamp),
            What::Thaw { node, stamp } => self.thaw(node, stamp),
            What::Office => self.on_office(),
        }
    }

    /// Its agent's process starts.
    pub(super) fn start(&mut self, node: u32) {
        let seed = self.rng.next();
        let (now, view) = (self.now, Arc::clone(&self.office.view));
        let formed = self.options.formed;
        let n = &mut self.nodes[node as usize];
        if n.machine.is_some() || !n.host_up {
            return;
        }
        let was_alone = n.view.members.is_empty();
        n.life += 1;
        n.incarnation += u64::from(n.life > 1);
        (n.frozen, n.missed_tick, n.last_run) = (false, false, now);
        n.stamp += 1;
        n.inbox.clear();
        n.wanted.clear();
        n.listed = false;
        let clock = n.clock(now);
        n.machine = Some(Box::new(Membership::new(n.record(), TIMING, clock, seed)));
        n.up_asked_at = 0;
        let life = n.life;
        if self.office.voters.contains(&node) {
            self.nodes[node as usize].cut = Some(Box::new(cut::Cut::new(id(node), TIMING, clock)));
            let voters = self.office.voters.iter().map(|voter| id(*voter)).collect();
            self.cut_step(node, cut::Event::Voters(vec![voters]));
        }
        let first = self.rng.between(1, self.tick);
        self.queue.push(now + first, What::Tick { node, life });
        let seeds = self.rng.pick(&self.office.voters).into_iter().chain([0]).map(address).collect();
        self.step(node, membership::Event::Seeds(seeds));
        // What it has on disk, or heard at its start.
        if formed || !was_alone || node == 0 {
            self.take_view(node, view);
        }
        if self.nodes[node as usize].starved {
            self.starve_on(node);
        }
    }

    fn on_tick(&mut self, node: u32, life: u32) {
        let n = &mut self.nodes[node as usize];
        if n.life != life || n.machine.is_none() {
            return;
        }
        self.queue.push(self.now + self.tick, What::Tick { node, life });
        if n.frozen {
            n.missed_tick = true;
            return;
        }
        self.tick_now(node);
    }

    fn tick_now(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        n.last_run = self.now;
        n.ticks += 1;
        self.step(node, membership::Event::Tick);
        self.cut_step(node, cut::Event::Tick);
        self.come_up(node);
    }

    pub fn fail(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.trace(|| format!("broken: {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    /// To the process, now or when it gets time.
    pub(super) fn give(&mut self, node: u32, input: Input) {
        let n = &mut self.nodes[node as usize];
        if n.machine.is_none() {
        } else if !n.frozen {
            self.take(node, input);
        } else if n.inbox.len() < INBOX_MAX {
            n.inbox.push_back(input);
        }
    }

    fn take(&mut self, node: u32, input: Input) {
        use membership::Event as E;
        let event = match input {
            Input::Mail { from, mail } => return self.receive(node, from, mail),
            Input::Opened { peer } => E::StreamOpened { peer: id(peer) },
            Input::Ended { peer } => {
                if self.streams.between(node, peer, Kind::Edge).is_some() {
                    return;
                }
                E::StreamEnded { peer: id(peer) }
            }
            Input::ProbeAnswered { peer, nonce, agent } => E::ProbeAnswered { peer: id(peer), nonce, agent },
            Input::Dialled { peer, outcome } => E::Dialled { peer: id(peer), outcome },
        };
        self.step(node, event);
    }

    fn receive(&mut self, node: u32, from: u32, mail: Mail) {
        use membership::Event as E;
        match mail {
            Mail::Beat(mut beat) => {
                if self.options.put_back == Break::NoRefutation {
                    beat.deltas.retain(|r| r.node != id(node));
                }
                self.step(node, E::Heartbeat(beat));
            }
            Mail::Hello { hello, answer } => {
                if !answer {
                    let mine = self.nodes[node as usize].machine.as_ref().expect("it runs").hello();
                    self.call(node, from, Mail::Hello { hello: Box::new(mine), answer: true });
                }
                self.step(node, E::Hello(*hello));
            }
            Mail::Report(report) => self.cut_step(node, cut::Event::Report(report)),
            Mail::AskHelp(subject) => self.step(node, E::HelpAsked { by: id(from), subject }),
            Mail::AnswerHelp { subject, opinion } => {
                self.step(node, E::HelpAnswered { helper: id(from), subject, opinion });
            }
            Mail::Poll(subject) => self.step(node, E::Polled { by: id(from), subject }),
            Mail::PollAnswer { subject, hears } => {
                self.cut_step(node, cut::Event::PollAnswer { observer: id(from), subject, hears });
            }
            Mail::View(view) => self.take_view(node, view),
            Mail::NodeUp(member) => self.propose_up(node, *member),
        }
    }

    pub(super) fn step(&mut self, node: u32, event: membership::Event) {
        let n = &mut self.nodes[node as usize];
        let clock = n.clock(self.now);
        let Some(machine) = &mut n.machine else { return };
        let mut effects = core::mem::take(&mut self.effects);
        machine.step(clock, event, &mut effects);
        for effect in effects.drain(..) {
            self.carry(node, effect);
        }
        self.effects = effects;
    }

    pub(super) fn take_view(&mut self, node: u32, view: Arc<View>) {
        let n = &mut self.nodes[node as usize];
        let before = n.view.epoch;
        if view.epoch < before || (view.epoch == before && !view.members.is_empty() && n.listed) {
            return;
        }
        let (me, session) = (id(node), n.session());
        let found = view.members.binary_search_by_key(&me, |m| m.node).ok();
        n.listed = found.is_some_and(|i| {
            let m = &view.members[i];
            m.state == cluster_core::ledger::NodeState::Alive && m.session == session
        });
        n.view = Arc::clone(&view);
        let at = Duration::from_nanos(self.now);
        for declared in self.declared.iter_mut().rev().take_while(|d| d.epoch > before.0) {
            if declared.epoch <= view.epoch.0 {
                declared.known = at;
            }
        }
        self.note_agreement();
        let roll = self.office.roll_of(&view);
        self.step(node, membership::Event::View(roll));
        if self.nodes[node as usize].cut.is_some() {
            self.cut_step(node, cut::Event::View(View::clone(&view)));
        }
    }

    fn freeze(&mut self, node: u32, stamp: u32) {
        let (now, starved) = (self.now, self.nodes[node as usize].starved);
        let n = &mut self.nodes[node as usize];
        if n.stamp != stamp || n.machine.is_none() {
            return;
        }
        n.stamp += 1;
        (n.frozen, n.frozen_since) = (true, now);
        if starved {
            let stamp = n.stamp;
            let off = self.rng.between(180, 1_800) * MS;
            self.queue.push(now + off, What::Thaw { node, stamp });
        }
    }

    /// A starved process runs a tenth of the time, in slices of 20 to 200 ms.
    pub(super) fn starve_on(&mut self, node: u32) {
        let on = self.rng.between(20, 200) * MS;
        let stamp = self.nodes[node as usize].stamp;
        self.queue.push(self.now + on, What::Freeze { node, stamp });
    }

    pub(super) fn thaw(&mut self, node: u32, stamp: u32) {
        let n = &mut self.nodes[node as usize];
        if n.stamp != stamp || !n.frozen || n.machine.is_none() {
            return;
        }
        n.stamp += 1;
        n.frozen = false;
        let slept = self.now - n.frozen_since;
        self.catch_up(node, slept);
        let inbox = core::mem::take(&mut self.nodes[node as usize].inbox);
        for input in inbox {
            self.take(node, input);
        }
        if core::mem::take(&mut self.nodes[node as usize].missed_tick) {
            self.tick_now(node);
        }
        if self.nodes[node as usize].starved {
            self.starve_on(node);
        }
    }

    /// What a process sees first that got no time for so long.
    fn catch_up(&mut self, node: u32, slept: u64) {
        if self.options.put_back == Break::NoLocalHealth {
            // As if it had run, and nobody had said anything.
            let until = self.now;
            let mut at = until - slept;
            while at + self.tick < until {
                at += self.tick;
                self.now = at;
                self.step(node, membership::Event::Tick);
            }
            self.now = until;
        } else if slept > 80 * MS {
            let by = Duration::from_nanos(slept);
            self.step(node, membership::Event::Late(by));
            self.cut_step(node, cut::Event::Late(by));
        }
        self.nodes[node as usize].last_run = self.now;
    }

    fn counts_now(&self) -> Counts {
        let traffic = self.streams.total();
        let datagrams = self.counts.probes * (super::sizes::PROBE + super::sizes::DATAGRAM);
        let wire_bytes = traffic.bytes + traffic.acks * super::sizes::SEGMENT + datagrams;
        Counts { wire_bytes, ..self.counts }
    }
}
