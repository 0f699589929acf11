//! An agent's process: it starts, gets time or none, and hands what comes to its machines.
//!
//! Not here: what their effects come to (`carry`), hosts that go down (`faults`), and when anything happens (`world`).

use super::{
    node::{INBOX_MAX, Input, address, id},
    options::Break,
    streams::{Kind, MS, Mail},
    world::{TIMING, What, World},
};
use cluster_core::{
    cut,
    membership::{self, Membership, View},
};
use core::time::Duration;
use std::sync::Arc;

impl World {
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

    pub(super) fn on_tick(&mut self, node: u32, life: u32) {
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
            Mail::Report(report, until) if self.now <= until => {
                self.cut_step(node, cut::Event::Report(report));
            }
            Mail::Report(..) => {}
            Mail::AskHelp(subject) => self.step(node, E::HelpAsked { by: id(from), subject }),
            Mail::AnswerHelp { subject, opinion } => {
                self.step(node, E::HelpAnswered { helper: id(from), subject, opinion });
            }
            Mail::Poll(subject) => self.step(node, E::Polled { by: id(from), subject }),
            Mail::PollAnswer { subject, hears } => {
                self.cut_step(node, cut::Event::PollAnswer { observer: id(from), subject, hears });
            }
            Mail::View(view) => self.take_view(node, view),
            Mail::NodeUp(member, silences, answered) => self.propose_up(node, *member, silences, answered),
            Mail::Held => self.nodes[node as usize].up_answered = true,
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

    pub(super) fn freeze(&mut self, node: u32, stamp: u32) {
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
}
