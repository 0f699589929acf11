//! The world: true time and the queue of what happens next. One run from options to an outcome.
//!
//! Not here: processes (`process`), what machines' effects come to (`carry`), voters and the view (`office`), the leader's
//! ledger (`desk`), what goes wrong (`faults`), what must hold (`check`).

use super::{
    check::{Calm, Found},
    desk::{Desk, Happens},
    faults::Fault,
    net::{Net, percent},
    node::{Input, Node},
    office::Office,
    options::{Counts, Declared, Options, Outcome},
    queue::Queue,
    streams::{Kind, MS, Mail, Streams},
    tcp::Wake,
};
use crate::sim::{check::Violation, rng::Rng};
use cluster_core::{
    membership::{self, tick_every},
    timing::{LAN, Timing},
};
use core::time::Duration;

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
    Desk(Happens),
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
    pub desk: Option<Box<Desk>>,
    pub counts: Counts,
    pub calm: Calm,
    pub found: Found,
    pub declared: Vec<Declared>,
    pub violation: Option<Violation>,
    pub(super) wakes: Vec<(u64, Wake)>,
    pub(super) got: Vec<Mail>,
    pub(super) agreed_at: Option<u64>,
    pub(super) effects: Vec<membership::Effect>,
    laters: Vec<Option<Later>>,
    free: Vec<u32>,
    hash: u64,
    pub(super) tick: u64,
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
        told: world.desk.map(|desk| desk.providers.got).unwrap_or_default(),
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
            desk: None,
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
                    Later::Desk(happens) => self.at_desk(happens),
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

    pub fn fail(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.trace(|| format!("broken: {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    fn counts_now(&self) -> Counts {
        let traffic = self.streams.total();
        let datagrams = self.counts.probes * (super::sizes::PROBE + super::sizes::DATAGRAM);
        let wire_bytes = traffic.bytes + traffic.acks * super::sizes::SEGMENT + datagrams;
        Counts { wire_bytes, ..self.counts }
    }
}
