//! Connections between agents: one stream an edge, dialled as the machines ask, and one for calls between two nodes.
//!
//! Opening costs a SYN and three round trips, each with its own losses; a stream ends when either process ends, as far as
//! the news gets through. What one process says waits in the kernel while the way is bad, and is dropped beyond a few
//! messages, as the agent's outbox does. Not here: loss itself (`tcp`).

use super::{
    net::Path,
    node::{Input, id},
    sizes,
    tcp::{Lane, Wake},
    world::{Later, What, World},
};
use crate::sim::rng::Rng;
use cluster_core::{
    ids::NodeId,
    membership::{DialOutcome, Heartbeat, Hello, Opinion, Report, View, ViewMember},
};
use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

pub const MS: u64 = 1_000_000;
/// Messages on their way into one stream; more are dropped.
const OUTBOX: usize = 16;
const CONNECT_WITHIN: u64 = 800 * MS;
const OPEN_WITHIN: u64 = 1_000 * MS;
const REDIAL: (u64, u64) = (200, 1_000);
/// Round trips from connected to open: TLS and HTTP/2.
const ROUND_TRIPS: u32 = 3;

#[derive(Debug)]
pub enum Mail {
    Beat(Heartbeat),
    Hello {
        hello: Box<Hello>,
        answer: bool,
    },
    /// And when its caller gives up.
    Report(Report, u64),
    AskHelp(NodeId),
    AnswerHelp {
        subject: NodeId,
        opinion: Opinion,
    },
    Poll(NodeId),
    PollAnswer {
        subject: NodeId,
        hears: bool,
    },
    View(Arc<View>),
    /// And how long ago the newest silences of its peers began, and whether the last one was answered.
    NodeUp(Box<ViewMember>, Vec<Duration>, bool),
    /// The answer to a dead node that has to wait.
    Held,
}

impl Mail {
    fn bytes(&self) -> u64 {
        match self {
            Self::Beat(beat) => sizes::heartbeat(beat),
            Self::Hello { hello, .. } => sizes::hello(hello),
            Self::Report(report, _) => sizes::report(report),
            Self::View(_) => sizes::VIEW,
            Self::NodeUp(..)
            | Self::Held
            | Self::AskHelp(_)
            | Self::AnswerHelp { .. }
            | Self::Poll(_)
            | Self::PollAnswer { .. } => sizes::NOTE,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Edge,
    Call,
}

#[derive(Debug)]
pub struct Stream {
    pub ends: [u32; 2],
    lives: [u32; 2],
    kind: Kind,
    lanes: [Lane<Mail>; 2],
    generation: u32,
    stands: bool,
    /// Said while it was being opened, and by which end.
    early: Vec<(usize, Mail)>,
}

#[derive(Debug, Default)]
pub struct Streams {
    slab: Vec<Option<Stream>>,
    free: Vec<u32>,
    by_pair: BTreeMap<(u32, u32, Kind), u32>,
    generation: u32,
    pub traffic: super::tcp::Traffic,
}

impl Streams {
    pub fn between(&self, a: u32, b: u32, kind: Kind) -> Option<u32> {
        self.by_pair.get(&(a.min(b), a.max(b), kind)).copied()
    }

    fn insert(&mut self, ends: [u32; 2], lives: [u32; 2], kind: Kind, stands: bool) -> u32 {
        self.generation += 1;
        let lanes = [Lane::default(), Lane::default()];
        let generation = self.generation;
        let stream = Stream { ends, lives, kind, lanes, generation, stands, early: Vec::new() };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            u32::try_from(self.slab.len() - 1).expect("few streams")
        });
        self.slab[slot as usize] = Some(stream);
        let (a, b) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        self.by_pair.insert((a, b, kind), slot);
        slot
    }

    fn remove(&mut self, slot: u32) -> Option<Stream> {
        let stream = self.slab[slot as usize].take()?;
        let (a, b) = (stream.ends[0].min(stream.ends[1]), stream.ends[0].max(stream.ends[1]));
        self.by_pair.remove(&(a, b, stream.kind));
        self.free.push(slot);
        for lane in &stream.lanes {
            self.traffic.segments += lane.traffic.segments;
            self.traffic.bytes += lane.traffic.bytes;
            self.traffic.acks += lane.traffic.acks;
        }
        Some(stream)
    }

    /// Something waits in it for longer than a packet takes.
    pub fn is_stuck(&self, slot: u32) -> bool {
        self.slab[slot as usize].as_ref().is_some_and(|s| s.lanes.iter().any(|lane| lane.waiting() > 1))
    }

    /// Away with it, and nobody is told: another one follows.
    pub fn replace(&mut self, slot: u32) {
        self.remove(slot);
    }

    pub fn of(&self, node: u32) -> Vec<u32> {
        let has = |s: &&Stream| s.ends.contains(&node);
        let slots = self.slab.iter().enumerate().filter(|(_, s)| s.as_ref().as_ref().is_some_and(has));
        slots.map(|(slot, _)| u32::try_from(slot).expect("few streams")).collect()
    }

    /// What all streams carried so far.
    pub fn total(&self) -> super::tcp::Traffic {
        let mut total = self.traffic;
        for lane in self.slab.iter().flatten().flat_map(|s| &s.lanes) {
            total.segments += lane.traffic.segments;
            total.bytes += lane.traffic.bytes;
            total.acks += lane.traffic.acks;
        }
        total
    }
}

/// How long opening takes over this way, or after how long it has failed.
fn open_time(path: &Path, rng: &mut Rng) -> Result<u64, u64> {
    if !path.and_back(rng) {
        return Err(CONNECT_WITHIN);
    }
    let mut takes = 2 * path.delay(rng);
    for _ in 0..ROUND_TRIPS {
        let mut wait = 200 * MS;
        while !path.and_back(rng) {
            takes += wait;
            wait *= 2;
            if takes > OPEN_WITHIN {
                return Err(OPEN_WITHIN);
            }
        }
        takes += 2 * path.delay(rng);
    }
    if takes > OPEN_WITHIN { Err(OPEN_WITHIN) } else { Ok(takes) }
}

impl World {
    /// Opens a stream if this node is to dial.
    pub(super) fn dial(&mut self, from: u32, life: u32, peer: u32) {
        let node = &self.nodes[from as usize];
        if node.life != life || node.machine.is_none() {
            return;
        }
        if !node.wanted.contains(&peer) || self.streams.between(from, peer, Kind::Edge).is_some() {
            return;
        }
        if node.frozen {
            self.redial(from, life, peer);
            return;
        }
        let path = self.net.path(from, peer);
        self.counts.dials += 1;
        let gone = self.nodes[peer as usize].machine.is_none();
        match open_time(&path, &mut self.rng) {
            Ok(takes) if !gone => {
                let there = self.nodes[peer as usize].life;
                self.later(takes, Later::Open { ends: [from, peer], lives: [life, there], kind: Kind::Edge });
            }
            Ok(_) => self.redial(from, life, peer),
            Err(takes) => {
                let again = self.now + takes + self.rng.between(REDIAL.0, REDIAL.1) * MS;
                self.queue.push(again, What::Dial { from, life, peer });
            }
        }
    }

    fn redial(&mut self, from: u32, life: u32, peer: u32) {
        let again = self.now + self.rng.between(REDIAL.0, REDIAL.1) * MS;
        self.queue.push(again, What::Dial { from, life, peer });
    }

    /// The dialler has been answered.
    pub(super) fn opened(&mut self, ends: [u32; 2], lives: [u32; 2], kind: Kind) {
        let alive = |i: usize| {
            let node = &self.nodes[ends[i] as usize];
            node.life == lives[i] && node.machine.is_some() && node.host_up
        };
        let both = alive(0) && alive(1) && self.net.connects(ends[0], ends[1]);
        match kind {
            Kind::Edge => {
                if !alive(0) || self.streams.between(ends[0], ends[1], kind).is_some() {
                    return;
                }
                let wanted =
                    ends.iter().zip([1, 0]).any(|(e, o)| self.nodes[*e as usize].wanted.contains(&ends[o]));
                if !both || self.nodes[ends[1] as usize].frozen {
                    self.redial(ends[0], lives[0], ends[1]);
                } else if wanted {
                    self.streams.insert(ends, lives, kind, true);
                    self.give(ends[0], Input::Opened { peer: ends[1] });
                    self.give(ends[1], Input::Opened { peer: ends[0] });
                }
            }
            Kind::Call => {
                let Some(slot) = self.streams.between(ends[0], ends[1], kind) else { return };
                if !both {
                    self.streams.remove(slot);
                    return;
                }
                let stream = self.streams.slab[slot as usize].as_mut().expect("it is listed");
                if stream.stands || stream.lives != lives {
                    return;
                }
                stream.stands = true;
                for (end, mail) in core::mem::take(&mut stream.early) {
                    self.put(slot, end, mail);
                }
            }
        }
    }

    /// Over the edge's stream; dropped if there is none.
    pub(super) fn post(&mut self, from: u32, to: u32, mail: Mail) -> bool {
        let Some(slot) = self.streams.between(from, to, Kind::Edge) else { return false };
        self.put_from(slot, from, mail);
        true
    }

    /// A call to another node, over a connection that is kept.
    pub(super) fn call(&mut self, from: u32, to: u32, mail: Mail) {
        if let Some(slot) = self.streams.between(from, to, Kind::Call) {
            self.put_from(slot, from, mail);
            return;
        }
        let path = self.net.path(from, to);
        self.counts.dials += 1;
        let lives = [self.nodes[from as usize].life, self.nodes[to as usize].life];
        let ends = [from, to];
        let gone = self.nodes[to as usize].machine.is_none();
        let opens = open_time(&path, &mut self.rng);
        if let Ok(takes) = opens
            && !gone
        {
            let slot = self.streams.insert(ends, lives, Kind::Call, false);
            self.streams.slab[slot as usize].as_mut().expect("just made").early.push((0, mail));
            self.later(takes, Later::Open { ends, lives, kind: Kind::Call });
        }
    }

    fn put_from(&mut self, slot: u32, from: u32, mail: Mail) {
        let stream = self.streams.slab[slot as usize].as_mut().expect("it is listed");
        let end = usize::from(stream.ends[0] != from);
        if !stream.stands {
            if stream.early.len() < OUTBOX {
                stream.early.push((end, mail));
            }
            return;
        }
        self.put(slot, end, mail);
    }

    fn put(&mut self, slot: u32, end: usize, mail: Mail) {
        let stream = self.streams.slab[slot as usize].as_mut().expect("it is listed");
        let path = self.net.path(stream.ends[end], stream.ends[1 - end]);
        let lane = &mut stream.lanes[end];
        if lane.waiting() >= OUTBOX {
            self.counts.dropped += 1;
            return;
        }
        let bytes = mail.bytes();
        self.counts.messages += 1;
        self.counts.message_bytes += bytes;
        if matches!(mail, Mail::Beat(_)) {
            self.counts.beats += 1;
            self.counts.beat_bytes += bytes;
        }
        let on_wire = u32::try_from(bytes + sizes::OVERHEAD).expect("below 4 GiB");
        lane.send(self.now, mail, on_wire, &path, &mut self.rng, &mut self.wakes);
        self.queue_wakes(slot, end);
    }

    fn queue_wakes(&mut self, slot: u32, end: usize) {
        let generation = self.streams.slab[slot as usize].as_ref().expect("it stands").generation;
        for (at, wake) in self.wakes.drain(..) {
            self.queue.push(at, What::Lane { lane: slot * 2 + u32::from(end == 1), generation, wake });
        }
    }

    pub(super) fn wake(&mut self, lane: u32, generation: u32, wake: Wake) {
        let (slot, end) = (lane / 2, (lane % 2) as usize);
        let Some(stream) = self.streams.slab[slot as usize].as_mut().filter(|s| s.generation == generation)
        else {
            return;
        };
        let (from, to) = (stream.ends[end], stream.ends[1 - end]);
        // A host that is down takes and says nothing; a process that is gone meanwhile has ended the stream.
        let path = self.net.path(from, to);
        let lane = &mut stream.lanes[end];
        let mut got = core::mem::take(&mut self.got);
        match wake {
            Wake::Arrive(number) if self.net.ports[to as usize].up => {
                lane.arrive(self.now, number, &path, &mut self.rng, &mut self.wakes, |mail| got.push(mail));
            }
            Wake::Arrive(_) => {}
            Wake::Acked => lane.acked(self.now, &path, &mut self.rng, &mut self.wakes),
            Wake::Timer if self.net.ports[from as usize].up => {
                lane.timer(self.now, &path, &mut self.rng, &mut self.wakes);
            }
            Wake::Timer => {}
        }
        self.queue_wakes(slot, end);
        for mail in got.drain(..) {
            self.give(to, Input::Mail { from, mail });
        }
        self.got = got;
    }

    /// The process at `node` ended, or its host came up anew: its streams of that life end, for whom the news reaches.
    pub(super) fn streams_end(&mut self, node: u32, told_after: u64) {
        for slot in self.streams.of(node) {
            let Some(stream) = self.streams.remove(slot) else { continue };
            let other = usize::from(stream.ends[0] == node);
            let peer = stream.ends[other];
            if stream.kind == Kind::Call {
                continue;
            }
            let life = stream.lives[other];
            // Over a lossy way the news comes with a retransmission.
            let reached = self.net.connects(node, peer);
            let after = if reached {
                told_after + self.net.path(node, peer).delay(&mut self.rng)
            } else {
                5_000 * MS
            };
            self.later(after, Later::Input { node: peer, life, input: Input::Ended { peer: node } });
            let again = self.now + after + self.rng.between(50, 300) * MS;
            self.queue.push(again, What::Dial { from: peer, life, peer: node });
        }
    }

    /// Drops one connection: whoever still wants it dials again.
    pub(super) fn drop_stream(&mut self, slot: u32) {
        let Some(stream) = self.streams.remove(slot) else { return };
        if stream.kind == Kind::Edge {
            for (end, other) in [(0, 1), (1, 0)] {
                let (node, life, peer) = (stream.ends[end], stream.lives[end], stream.ends[other]);
                self.later(MS, Later::Input { node, life, input: Input::Ended { peer } });
                if self.nodes[node as usize].wanted.contains(&peer) {
                    self.redial(node, life, peer);
                }
            }
        }
    }

    /// A fresh connection and one question over it, within 250 ms.
    pub(super) fn try_connection(&mut self, from: u32, to: u32) -> (u64, DialOutcome) {
        const WITHIN: u64 = 250 * MS;
        let path = self.net.path(from, to);
        self.counts.dials += 1;
        let node = &self.nodes[to as usize];
        let (gone, frozen) = (node.machine.is_none(), node.frozen);
        if !path.and_back(&mut self.rng) {
            return (WITHIN, DialOutcome::NoRoute);
        }
        if gone {
            return (2 * path.delay(&mut self.rng), DialOutcome::Refused);
        }
        match open_time(&path, &mut self.rng) {
            Ok(takes) if takes < WITHIN && !frozen => (takes, DialOutcome::Answered),
            _ => (WITHIN, DialOutcome::Silent),
        }
    }

    /// A burst of probes: after how long the first answer comes, if one does.
    pub(super) fn burst(&mut self, from: u32, to: u32, count: u32, every: u64) -> Option<u64> {
        let path = self.net.path(from, to);
        for i in 0..count {
            self.counts.probes += 1;
            if path.and_back(&mut self.rng) {
                self.counts.probes += 1;
                return Some(u64::from(i) * every + path.delay(&mut self.rng) + path.delay(&mut self.rng));
            }
        }
        None
    }

    pub(super) fn name(node: u32) -> String {
        format!("n{}", id(node).0)
    }
}
