//! What the membership machines' effects come to in the simulated world.
//!
//! Not here: streams themselves, and what voters do with reports.

use super::{
    node::{Input, Node, at_address, index},
    options::Break,
    streams::{Kind, MS, Mail},
    world::{Later, What, World, ns},
};
use cluster_core::{
    cut,
    ids::NodeId,
    membership::{Effect, MemberState, Report, Trouble},
};
use core::time::Duration;

/// The deadline of a report's call, as the agent's.
const REPORT_WITHIN: u64 = 400 * MS;

impl World {
    pub(super) fn carry(&mut self, node: u32, effect: Effect) {
        match effect {
            Effect::Send { to, heartbeat } => {
                self.post(node, index(to), Mail::Beat(heartbeat));
            }
            Effect::Connect { peer, .. } => self.connect(node, index(peer)),
            Effect::Reconnect { peer, .. } => self.reconnect(node, index(peer)),
            Effect::Disconnect { peer } => self.disconnect(node, index(peer)),
            Effect::Probe { address } => {
                if let Some(to) = at_address(&address).filter(|to| *to != node) {
                    let hello = self.nodes[node as usize].machine.as_ref().map(|m| m.hello());
                    let hello = Box::new(hello.expect("it just stepped"));
                    self.call(node, to, Mail::Hello { hello, answer: false });
                }
            }
            Effect::ProbeBurst { peer, nonce, count, every, .. } => {
                self.counts.bursts += 1;
                self.probe(node, index(peer), nonce, (count, every));
            }
            Effect::Dial { peer, .. } => {
                let (after, outcome) = self.try_connection(node, index(peer));
                let input = Input::Dialled { peer: index(peer), outcome };
                self.input(node, after, input);
            }
            Effect::AskHelp { helper, subject } => {
                self.counts.helps += 1;
                self.tell(node, index(helper), Mail::AskHelp(subject));
            }
            Effect::AnswerHelp { to, subject, opinion } => {
                self.tell(node, index(to), Mail::AnswerHelp { subject, opinion });
            }
            Effect::Report(report) => self.report(node, &report),
            Effect::AnswerPoll { to, subject, hears } => {
                if index(to) == node {
                    self.cut_step(node, cut::Event::PollAnswer { observer: to, subject, hears });
                } else {
                    self.call(node, index(to), Mail::PollAnswer { subject, hears });
                }
            }
            Effect::Changed { node: subject, before, state } => {
                if state == MemberState::Dead && before != Some(MemberState::Dead) {
                    let checked = self.calm.called_dead(node, subject);
                    self.fail(checked);
                }
            }
            Effect::Refuted { incarnation } => {
                let n = &mut self.nodes[node as usize];
                n.incarnation = n.incarnation.max(incarnation.0);
            }
            Effect::Removed { .. } | Effect::Duplicate { .. } => {}
        }
    }

    fn input(&mut self, node: u32, after: u64, input: Input) {
        let life = self.nodes[node as usize].life;
        self.later(after, Later::Input { node, life, input });
    }

    fn probe(&mut self, node: u32, peer: u32, nonce: u64, (count, every): (u32, Duration)) {
        if let Some(after) = self.burst(node, peer, count, ns(every)) {
            let agent = self.nodes[peer as usize].agent_state(self.now);
            self.input(node, after, Input::ProbeAnswered { peer, nonce, agent });
        }
    }

    /// A note to a neighbour, over the edge's stream if there is one.
    fn tell(&mut self, node: u32, to: u32, mail: Mail) {
        if self.streams.between(node, to, Kind::Edge).is_some() {
            self.post(node, to, mail);
        } else {
            self.call(node, to, mail);
        }
    }

    fn connect(&mut self, node: u32, peer: u32) {
        let life = self.nodes[node as usize].life;
        self.nodes[node as usize].wanted.insert(peer);
        match self.streams.between(node, peer, Kind::Edge) {
            Some(slot) if self.streams.is_stuck(slot) => self.reconnect(node, peer),
            Some(_) => self.input(node, 0, Input::Opened { peer }),
            None => self.queue.push(self.now + MS, What::Dial { from: node, life, peer }),
        }
    }

    /// What is on its way in the stream that stands is lost.
    fn reconnect(&mut self, node: u32, peer: u32) {
        let asked_before = !self.nodes[node as usize].wanted.insert(peer);
        match self.streams.between(node, peer, Kind::Edge) {
            Some(slot) => self.streams.replace(slot),
            None if asked_before => return,
            None => {}
        }
        for (from, peer) in [(node, peer), (peer, node)] {
            let Node { wanted, life, .. } = &self.nodes[from as usize];
            if wanted.contains(&peer) {
                self.queue.push(self.now + MS, What::Dial { from, life: *life, peer });
            }
        }
    }

    fn disconnect(&mut self, node: u32, peer: u32) {
        self.nodes[node as usize].wanted.remove(&peer);
        let still = self.nodes[peer as usize].wanted.contains(&node);
        if let Some(slot) = self.streams.between(node, peer, Kind::Edge)
            && !still
        {
            self.drop_stream(slot);
        }
    }

    fn report(&mut self, node: u32, report: &Report) {
        self.counts.reports += 1;
        self.note_findings(node, report);
        for voter in self.office.voters.clone() {
            if voter == node {
                self.cut_step(node, cut::Event::Report(report.clone()));
            } else {
                self.call(node, voter, Mail::Report(report.clone(), self.now + REPORT_WITHIN));
            }
        }
        if self.options.put_back == Break::HEqualsOne {
            self.believe_one(node, report);
        }
    }

    fn note_findings(&mut self, node: u32, report: &Report) {
        for finding in report.findings.iter().filter(|f| f.trouble == Trouble::HostGone) {
            let subject = index(finding.node);
            self.found.reported(subject, self.now);
            let first = self.calm.found_gone(node, finding.node);
            if first && !self.nodes[subject as usize].faulty {
                self.counts.false_findings += 1;
                let by = Self::name(node);
                self.trace(|| format!("{by} finds {} gone, wrongly: {finding:?}", Self::name(subject)));
            } else if first {
                let by = Self::name(node);
                self.trace(|| format!("{by} finds {} gone", Self::name(subject)));
            }
        }
        self.calm.keep(node, report);
    }

    pub(super) fn ids_of(nodes: &[NodeId]) -> String {
        nodes.iter().take(20).map(|n| format!("n{}", n.0)).collect::<Vec<_>>().join(" ")
    }
}
