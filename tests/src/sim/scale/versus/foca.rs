//! foca 2.0.0 with its configuration for LANs (`Config::new_lan`), unchanged, in the same network as ours: the same
//! loss, delays, crashes and starved processes.
//!
//! Not here: what is compared (`mod.rs`).

use crate::sim::{
    rng::Rng,
    scale::{
        net::{Net, percent},
        queue::Queue,
        sizes::DATAGRAM,
        streams::MS,
    },
};
use core::{net::Ipv4Addr, num::NonZeroU32, time::Duration};
use foca::{
    AccumulatingRuntime, Config, Foca, Identity, Member, NoCustomBroadcast, OwnedNotification, PostcardCodec,
    Timer,
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddrV4,
};

/// An address, and how often it was declared down and came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    at: SocketAddrV4,
    life: u16,
}

impl Id {
    fn of(index: u32) -> Self {
        Self { at: SocketAddrV4::new(Ipv4Addr::from_bits(0x0a00_0000 + index), 7_400), life: 0 }
    }

    fn index(&self) -> u32 {
        self.at.ip().to_bits() - 0x0a00_0000
    }
}

impl Identity for Id {
    type Addr = SocketAddrV4;

    fn renew(&self) -> Option<Self> {
        Some(Self { at: self.at, life: self.life.wrapping_add(1) })
    }

    fn addr(&self) -> SocketAddrV4 {
        self.at
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.life > other.life
    }
}

type Machine = Foca<Id, PostcardCodec, StdRng, NoCustomBroadcast>;

enum Work {
    Data(Vec<u8>),
    Timer(Timer<Id>),
    Announce,
}

enum What {
    Work(u32, Work),
    Crash(u32),
    Freeze(u32),
    Thaw(u32),
}

/// What one run is made of; as much of it as ours has in common.
#[derive(Clone, Debug)]
pub struct Setting {
    pub seed: u64,
    pub nodes: u32,
    pub loss_percent: u64,
    pub starved: Vec<u32>,
    pub crashes: Vec<(Duration, u32)>,
    pub formed: bool,
    pub lasts: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From a crash to the first, and to the last living node that has it as down; None: not all had it at the end.
    pub first: Vec<Option<Duration>>,
    pub all: Vec<Option<Duration>>,
    /// Living nodes that somebody declared down.
    pub wrong: usize,
    pub messages: u64,
    pub bytes: u64,
    pub agreed: Option<Duration>,
    /// Bytes on the wire, headers included.
    pub wire: u64,
}

struct World {
    now: u64,
    rng: Rng,
    net: Net,
    queue: Queue<What>,
    machines: Vec<Machine>,
    frozen: Vec<Option<VecDeque<Work>>>,
    runtime: AccumulatingRuntime<Id>,
    /// Who has whom as down, since when; of those that crashed.
    down: BTreeMap<u32, BTreeMap<u32, u64>>,
    crashed: BTreeMap<u32, u64>,
    wrong: BTreeSet<u32>,
    measured: Measured,
}

#[must_use]
pub fn run(setting: &Setting) -> Measured {
    let mut world = World::new(setting);
    let end = setting.lasts.as_nanos() as u64;
    let mut look = 0;
    while let Some((at, what)) = world.queue.pop().filter(|(at, _)| *at <= end) {
        world.now = at;
        world.handle(what);
        if !setting.formed && world.measured.agreed.is_none() && at >= look {
            look = at + 100 * MS;
            let all = setting.nodes as usize - 1;
            if world.machines.iter().all(|m| m.num_members() == all) {
                world.measured.agreed = Some(Duration::from_nanos(at));
                break;
            }
        }
    }
    world.sum_up(setting.nodes)
}

impl World {
    fn new(setting: &Setting) -> Self {
        let mut rng = Rng::new(setting.seed);
        let size = NonZeroU32::new(setting.nodes).expect("there are nodes");
        let machine = |i: u32| {
            let dice = StdRng::seed_from_u64(setting.seed << 32 | u64::from(i));
            Foca::new(Id::of(i), Config::new_lan(size), dice, PostcardCodec)
        };
        let mut world = Self {
            now: 0,
            net: Net::new(setting.nodes as usize, percent(setting.loss_percent)),
            queue: Queue::default(),
            machines: (0..setting.nodes).map(machine).collect(),
            frozen: (0..setting.nodes).map(|_| None).collect(),
            runtime: AccumulatingRuntime::new(),
            down: BTreeMap::new(),
            crashed: BTreeMap::new(),
            wrong: BTreeSet::new(),
            measured: Measured::default(),
            rng: rng.clone(),
        };
        for i in 0..setting.nodes {
            world.now = rng.between(0, 400) * MS;
            if setting.formed {
                let all = (0..setting.nodes).map(|n| Member::alive(Id::of(n)));
                let done = world.machines[i as usize].apply_many(all, false, &mut world.runtime);
                done.expect("members are taken in");
                world.carry(i);
            } else if i > 0 {
                world.queue.push(world.now, What::Work(i, Work::Announce));
            }
        }
        world.now = 0;
        for node in &setting.starved {
            world.queue.push(5_000 * MS, What::Freeze(*node));
        }
        for (at, node) in &setting.crashes {
            world.queue.push(at.as_nanos() as u64, What::Crash(*node));
        }
        world
    }

    fn handle(&mut self, what: What) {
        match what {
            What::Work(node, work) => {
                if self.crashed.contains_key(&node) {
                } else if let Some(inbox) = &mut self.frozen[node as usize] {
                    inbox.push_back(work);
                } else {
                    self.work(node, work);
                }
            }
            What::Crash(node) => {
                self.crashed.insert(node, self.now);
                self.net.ports[node as usize].up = false;
            }
            What::Freeze(node) => {
                self.frozen[node as usize] = Some(VecDeque::new());
                let off = self.rng.between(180, 1_800) * MS;
                self.queue.push(self.now + off, What::Thaw(node));
            }
            What::Thaw(node) => {
                for work in self.frozen[node as usize].take().into_iter().flatten() {
                    self.work(node, work);
                }
                let on = self.rng.between(20, 200) * MS;
                self.queue.push(self.now + on, What::Freeze(node));
            }
        }
    }

    fn work(&mut self, node: u32, work: Work) {
        let machine = &mut self.machines[node as usize];
        // An error tells of a datagram that came too late or of an outdated timer, and changes nothing.
        let _stale = match work {
            Work::Data(data) => machine.handle_data(&data, &mut self.runtime),
            Work::Timer(timer) => machine.handle_timer(timer, &mut self.runtime),
            Work::Announce => {
                // Again until somebody answered, as a program would that waits for its seed.
                if machine.num_members() == 0 {
                    self.queue.push(self.now + 1_000 * MS, What::Work(node, Work::Announce));
                }
                machine.announce(Id::of(0), &mut self.runtime)
            }
        };
        self.carry(node);
    }

    fn carry(&mut self, node: u32) {
        while let Some((to, data)) = self.runtime.to_send() {
            self.measured.messages += 1;
            self.measured.bytes += data.len() as u64;
            let path = self.net.path(node, to.index());
            if !self.rng.chance(path.loss) {
                let at = self.now + path.delay(&mut self.rng);
                self.queue.push(at, What::Work(to.index(), Work::Data(data.to_vec())));
            }
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.queue.push(self.now + after.as_nanos() as u64, What::Work(node, Work::Timer(timer)));
        }
        while let Some(news) = self.runtime.to_notify() {
            match news {
                OwnedNotification::MemberDown(id) if self.crashed.contains_key(&id.index()) => {
                    self.down.entry(id.index()).or_default().entry(node).or_insert(self.now);
                }
                OwnedNotification::MemberDown(id) => {
                    self.wrong.insert(id.index());
                }
                _ => {}
            }
        }
    }

    fn sum_up(mut self, nodes: u32) -> Measured {
        for (victim, at) in &self.crashed {
            let since = |t: u64| Duration::from_nanos(t - at);
            let had = self.down.get(victim);
            let living = (0..nodes).filter(|n| !self.crashed.contains_key(n)).count();
            let had: Vec<u64> = had
                .map(|had| {
                    had.iter().filter(|(n, _)| !self.crashed.contains_key(n)).map(|(_, t)| *t).collect()
                })
                .unwrap_or_default();
            self.measured.first.push(had.iter().min().copied().map(since));
            let all = had.len() == living;
            self.measured.all.push(had.iter().max().copied().filter(|_| all).map(since));
        }
        self.measured.wire = self.measured.bytes + self.measured.messages * DATAGRAM;
        self.measured.wrong = self.wrong.len();
        self.measured
    }
}
