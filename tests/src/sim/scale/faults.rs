//! What goes wrong, and when: a plan that is part of a run's options, so that a failing one can be replayed.

use super::{
    net::percent,
    streams::MS,
    world::{What, World},
};
use core::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host is gone without a word.
    Crash(u32),
    /// It comes back, and its agent with it.
    Boot(u32),
    /// The agent's process ends; its host says so.
    Kill(u32),
    /// An agent's process starts.
    Start(u32),
    /// The agent's process gets no time for so many milliseconds.
    Pause(u32, u64),
    /// The agent's process gets a tenth of the time from now on.
    Starve(u32),
    /// So many percent of the node's packets are lost, each way.
    Loss(u32, u64),
    /// Nothing comes in, or no more.
    Deaf(u32, bool),
    /// Nothing goes out, or no more.
    Mute(u32, bool),
    /// Nodes reach those of their own side only.
    Side(u32, u8),
    /// Everywhere.
    LossAll(u64),
}

pub type Plan = Vec<(Duration, Fault)>;

/// Loss of one node's packets that may rightly end in its death.
const HOPELESS: u64 = 50;

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        if !matches!(fault, Fault::Start(_)) || self.now > 1_000 * MS {
            self.trace(|| format!("{fault:?}"));
        }
        match fault {
            Fault::Crash(node) => {
                if !self.nodes[node as usize].host_up {
                    return;
                }
                self.found.crashed(node, self.now);
                self.end_process(node);
                let n = &mut self.nodes[node as usize];
                (n.host_up, n.faulty) = (false, true);
                self.net.ports[node as usize].up = false;
            }
            Fault::Boot(node) => {
                if self.nodes[node as usize].host_up {
                    return;
                }
                self.found.back(node);
                self.nodes[node as usize].host_up = true;
                self.nodes[node as usize].boots += 1;
                self.net.ports[node as usize].up = true;
                // Whoever still speaks to its former life is told so at the next packet.
                self.streams_end(node, 250 * MS);
                self.start(node);
            }
            Fault::Kill(node) => {
                if self.nodes[node as usize].machine.is_some() {
                    self.end_process(node);
                    self.streams_end(node, MS / 2);
                }
            }
            Fault::Start(node) => self.start(node),
            Fault::Pause(node, ms) => {
                let stamp = self.nodes[node as usize].stamp;
                self.queue.push(self.now, What::Freeze { node, stamp });
                self.queue.push(self.now + ms * MS, What::Thaw { node, stamp: stamp + 1 });
            }
            Fault::Starve(node) => {
                self.nodes[node as usize].starved = true;
                self.starve_on(node);
            }
            Fault::Loss(node, loss) => {
                self.net.ports[node as usize].loss = percent(loss);
                self.nodes[node as usize].faulty |= loss >= HOPELESS;
            }
            Fault::Deaf(node, deaf) => {
                self.net.ports[node as usize].deaf = deaf;
                self.nodes[node as usize].faulty = true;
            }
            Fault::Mute(node, mute) => {
                self.net.ports[node as usize].mute = mute;
                self.nodes[node as usize].faulty = true;
            }
            Fault::Side(node, side) => {
                self.net.ports[node as usize].side = side;
                self.nodes[node as usize].faulty |= side != 0;
                self.note_cut_off();
            }
            Fault::LossAll(loss) => self.net.loss = percent(loss),
        }
    }

    /// Whoever isn't on the side with most of the voters, if there is one, is cut off from all who can decide.
    fn note_cut_off(&mut self) {
        let side = |node: u32| self.net.ports[node as usize].side;
        let voters = &self.office.voters;
        let votes = |of: u8| voters.iter().filter(|v| side(**v) == of).count();
        let Some(deciding) = voters.iter().map(|v| side(*v)).find(|s| votes(*s) > voters.len() / 2) else {
            return;
        };
        for node in 0..self.options.nodes {
            self.nodes[node as usize].faulty |= self.net.ports[node as usize].side != deciding;
        }
    }

    fn end_process(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        (n.machine, n.cut) = (None, None);
        (n.frozen, n.missed_tick) = (false, false);
        n.stamp += 1;
        n.inbox.clear();
        n.wanted.clear();
    }
}
