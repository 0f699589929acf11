//! What goes wrong: single faults at random moments, and sequences that lead where leases could break.
//!
//! Each seed has its own temper: how often something happens, and how bad the network is. The sequences are those in
//! which a promise hangs by one thread: a voter restarts while a revocation stands in its log only, and the network
//! turns at that moment; a node comes back beside pages of an earlier epoch and is cut off again; work is moved by a
//! confirmed stop and its old node restarts before it learns of that.
//!
//! Not here: what should become of it.

use super::{
    agent::{Input, name},
    genesis,
    net::{Links, between},
    world::{Event, World, ran},
};
use cluster_core::{
    ids::{InstanceId, NodeId},
    instance::Cause,
    ledger::Body,
    time::Instant,
};
use core::time::Duration;

/// The second half of something that began earlier.
#[derive(Clone, Debug)]
pub enum Later {
    Mend(u64),
    /// A voter goes down and comes up, slow to read its log, on the other side of a cut.
    Shift {
        held_up: Vec<NodeId>,
        voter: NodeId,
        cut: u64,
    },
    Cut {
        links: Links,
        last: Duration,
    },
    Undrain(NodeId),
    CrashAgent(NodeId),
}

impl World {
    pub(super) fn chaos(&mut self) {
        if self.is_over() {
            return;
        }
        let wait = self.rng.ms(150, 2_500);
        self.after(wait, Event::Chaos);
        let node = self.anyone();
        let last = self.rng.ms(300, 6_000);
        let until = self.now + last;
        match self.rng.between(0, 100) {
            0..10 => self.crash_agent(node),
            10..18 => self.crash_host(node),
            18..26 => self.pause(node),
            26..34 => self.split(last),
            34..42 => self.cut(between(&[node], &self.others(&[node])), last),
            42..48 => self.cut_one_way(last),
            48..54 => {
                let voters: Vec<NodeId> = self.voters.iter().copied().collect();
                self.cut(between(&[node], &voters), last);
            }
            54..59 => self.host(node).slow_disk_until = until,
            59..64 => {
                self.net.loss_percent = [0, 0, 2, 10, 25][self.rng.below(5)];
                self.net.tail_ms = [0, 0, 20, 200][self.rng.below(4)];
            }
            64..76 => self.shift(),
            76..84 => self.reboot_then_cut(),
            84..92 => self.drain(node),
            92..96 => self.exit_one(),
            _ => {
                for voter in self.voters.clone() {
                    self.crash_agent(voter);
                }
            }
        }
    }

    pub(super) fn chaos_later(&mut self, later: Later) {
        match later {
            Later::Shift { .. } | Later::Cut { .. } | Later::CrashAgent(_) if self.is_over() => {}
            Later::Mend(cut) => self.net.mend(cut),
            Later::Shift { mut held_up, voter, cut } => {
                let replay = self.rng.ms(100, 2_500);
                self.host(voter).replay = replay;
                self.crash_agent(voter);
                self.net.mend(cut);
                held_up.push(voter);
                let last = self.rng.ms(1_500, 4_000);
                self.cut(between(&held_up, &self.others(&held_up)), last);
            }
            Later::Cut { links, last } => self.cut(links, last),
            Later::Undrain(node) => self.order(Body::NodeUndrained { node }),
            Later::CrashAgent(node) => self.crash_agent(node),
        }
    }

    /// Nothing goes wrong from here on, and what is down comes up by itself.
    pub(super) fn heal(&mut self) {
        self.trace(|| "all is healed".to_owned());
        self.net.heal();
        for node in genesis::nodes() {
            self.host(node).slow_disk_until = Instant::ZERO;
            self.resume(node);
            self.order(Body::NodeUndrained { node });
        }
    }

    fn is_over(&self) -> bool {
        self.now >= Instant::ZERO + self.options.trouble
    }

    fn anyone(&mut self) -> NodeId {
        let nodes = genesis::nodes();
        nodes[self.rng.below(nodes.len())]
    }

    fn others(&self, of: &[NodeId]) -> Vec<NodeId> {
        genesis::nodes().into_iter().filter(|n| !of.contains(n)).collect()
    }

    /// Where a singleton runs, if one does.
    fn a_holder(&mut self) -> NodeId {
        let holds = |n: &NodeId| self.hosts[n].guards.values().any(|g| g.running && g.key.0 != "many");
        let holders: Vec<NodeId> = genesis::nodes().into_iter().filter(holds).collect();
        self.rng.pick(&holders).unwrap_or(NodeId(1))
    }

    fn cut(&mut self, links: Links, last: Duration) {
        self.trace(|| format!("cut for {} ms: {links:?}", last.as_millis()));
        let cut = self.net.cut(links);
        self.after(last, Event::Later(Later::Mend(cut)));
    }

    fn split(&mut self, last: Duration) {
        let nodes = genesis::nodes();
        let side: Vec<NodeId> = nodes.into_iter().filter(|_| self.rng.percent(50)).collect();
        self.cut(between(&side, &self.others(&side)), last);
    }

    fn cut_one_way(&mut self, last: Duration) {
        let (from, to) = (self.anyone(), self.anyone());
        let links: Links = if self.rng.percent(50) {
            self.others(&[from]).into_iter().map(|n| (from, n)).collect()
        } else {
            [(from, to)].into()
        };
        self.cut(links, last);
    }

    pub(super) fn crash_agent(&mut self, id: NodeId) {
        if self.host(id).agent.is_none() {
            return;
        }
        self.note_voter_restart(id);
        self.stats.agent_crashes += 1;
        self.lose_memory(id, true);
        let replay_long = self.rng.percent(20);
        let down = self.rng.ms(30, if replay_long { 3_000 } else { 500 });
        let boots = self.host(id).boots;
        self.trace(|| format!("n{} agent crashes", id.0));
        self.after(down, Event::StartAgent { host: id, boots });
    }

    fn crash_host(&mut self, id: NodeId) {
        if !self.host(id).up {
            return;
        }
        self.note_voter_restart(id);
        self.stats.host_crashes += 1;
        self.lose_memory(id, false);
        self.host(id).up = false;
        self.host(id).boots += 1;
        self.trace(|| format!("n{} host crashes", id.0));
        let guards: Vec<InstanceId> = self.host(id).guards.keys().copied().collect();
        for instance in guards {
            self.guard_ends(id, instance, ran(Cause::GuardLost));
        }
        let down = self.rng.ms(300, 7_000);
        self.after(down, Event::Boot { host: id });
    }

    /// The process is gone. What it wrote and didn't sync outlives it in the page cache, or in part, or not at all.
    fn lose_memory(&mut self, id: NodeId, cache_survives: bool) {
        let kept = self.rng.next();
        let host = self.host(id);
        if let Some(agent) = host.agent.take()
            && cache_survives
        {
            let synced = usize::try_from(agent.raft.durable()).expect("in memory");
            let unsynced = agent.raft.log.len() - synced;
            let kept = usize::try_from(kept % (unsynced as u64 + 1)).expect("in memory");
            host.disk.raft.log = agent.raft.log[..synced + kept].to_vec();
        }
        host.paused = false;
        host.guards_stopped = false;
        host.inbox.clear();
        self.streams_end(id);
    }

    fn note_voter_restart(&mut self, id: NodeId) {
        let pending = self.hosts.values().filter_map(|h| h.agent.as_ref()).any(|a| {
            let open = a.ledger.revocations.values().any(|r| r.safe_at.is_none());
            let applied = usize::try_from(a.ledger.applied.index).expect("in memory");
            open || a.raft.log.iter().skip(applied).any(|e| !e.command.body.revokes().is_empty())
        });
        if pending && self.voters.contains(&id) {
            self.stats.voters_restarted_in_revocation += 1;
        }
    }

    fn pause(&mut self, id: NodeId) {
        let last = self.rng.ms(50, 5_000);
        let guards_too = self.rng.percent(50);
        let now = self.now;
        let host = self.host(id);
        if host.agent.is_none() {
            return;
        }
        (host.paused, host.paused_at) = (true, now);
        host.guards_stopped = guards_too;
        self.trace(|| format!("n{} pauses for {} ms", id.0, last.as_millis()));
        self.after(last, Event::Resume { host: id });
    }

    /// A holder loses its lease together with too few voters; then one voter more joins their side, fresh from a
    /// restart, with the revocation in its log and not yet read.
    fn shift(&mut self) {
        let holder = self.a_holder();
        let minority = self.voters.len().div_ceil(2) - 1;
        let mut voters: Vec<NodeId> = self.voters.iter().copied().filter(|v| *v != holder).collect();
        let mut held_up = vec![holder];
        let mut with = usize::from(self.voters.contains(&holder));
        while with < minority {
            held_up.push(voters.remove(self.rng.below(voters.len())));
            with += 1;
        }
        let voter = voters[self.rng.below(voters.len())];
        let links = between(&held_up, &self.others(&held_up));
        self.trace(|| format!("shift: {held_up:?} cut off, then n{} joins them", voter.0));
        let cut = self.net.cut(links);
        let after = self.rng.ms(2_200, 6_500);
        self.after(after, Event::Later(Later::Shift { held_up, voter, cut }));
    }

    /// A node comes back with another boot beside its old pages, gets work, and is cut off.
    fn reboot_then_cut(&mut self) {
        let node = self.a_holder();
        self.crash_host(node);
        let links = between(&[node], &self.others(&[node]));
        let (wait, last) = (self.rng.ms(4_000, 12_000), self.rng.ms(3_000, 7_000));
        self.after(wait, Event::Later(Later::Cut { links, last }));
    }

    /// Work is moved by a confirmed stop, and the old node's agent may restart before it hears of that.
    fn drain(&mut self, node: NodeId) {
        let node = if self.rng.percent(70) { self.a_holder() } else { node };
        self.order(Body::NodeDraining { node });
        let back = self.rng.ms(1_000, 6_000);
        self.after(back, Event::Later(Later::Undrain(node)));
        if self.rng.percent(60) {
            let crash = self.rng.ms(150, 1_500);
            self.after(crash, Event::Later(Later::CrashAgent(node)));
        }
    }

    fn order(&mut self, body: Body) {
        let at = self.hosts.values().filter(|h| h.agent.is_some() && !h.paused).map(|h| h.id);
        let at: Vec<NodeId> = at.collect();
        let Some(host) = self.rng.pick(&at) else { return };
        self.trace(|| format!("an operator asks {} for {body:?}", name(host)));
        let life = self.host(host).life;
        self.after(Duration::from_micros(10), Event::Local { host, life, input: Input::Order(body) });
    }

    fn exit_one(&mut self) {
        let running = self.hosts.values().flat_map(|h| {
            let of = h.guards.iter().filter(|(_, g)| g.running);
            of.map(|(instance, _)| (h.id, *instance))
        });
        let running: Vec<(NodeId, InstanceId)> = running.collect();
        if let Some((node, instance)) = self.rng.pick(&running) {
            self.guard_ends(node, instance, ran(Cause::Exited));
        }
    }
}
