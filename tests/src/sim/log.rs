//! What Raft does to an agent: entries that its log gains and loses, leading, and what follows from each that is applied.
//!
//! Not here: Raft itself (raft.rs), and what an agent proposes (outbox.rs, leader.rs).

use super::{
    agent::{Agent, Env, Msg, Out},
    raft::{Did, Entry, sync_time},
};
use cluster_core::{
    cut,
    ids::RequestId,
    lease::{Fact, concerns},
    ledger::{Body, Reply},
    membership::{self, Roll, View},
};
use std::{collections::VecDeque, rc::Rc, sync::Arc};

/// So many entries lie between two snapshots.
const SNAPSHOT_EVERY: u64 = 16;

impl Agent {
    /// Tells the book the log that was found, then answers.
    pub(super) fn open(&mut self, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        for index in self.ledger.applied.index + 1..=self.raft.log.len() as u64 {
            let at = self.raft.id_at(index);
            let command = Rc::clone(&self.entry(index).command);
            self.book.step(now, Fact::Appended { at, body: &command.body });
        }
        self.book.step(now, Fact::Durable { upto: self.raft.durable() });
        self.book.step(now, Fact::Opened);
        self.replayed = true;
    }

    fn entry(&self, index: u64) -> &Entry {
        &self.raft.log[usize::try_from(index - 1).expect("in memory")]
    }

    pub(super) fn carry_out(&mut self, did: Vec<Did>, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        let mut todo = VecDeque::from(did);
        while let Some(next) = todo.pop_front() {
            match next {
                Did::Vote { term, voted_for } => {
                    (env.disk.raft.term, env.disk.raft.voted_for) = (term, voted_for);
                }
                Did::Truncated { from } => self.book.step(now, Fact::Truncated { from }),
                Did::Appended { index } => {
                    let at = self.raft.id_at(index);
                    let command = Rc::clone(&self.entry(index).command);
                    self.book.step(now, Fact::Appended { at, body: &command.body });
                }
                Did::Sync { upto, version } => {
                    let after = sync_time(env.slow_disk, env.rng);
                    env.out.push(Out::Sync { after, upto, version });
                }
                Did::Send { to, msg } => env.out.push(Out::Send { to, msg: Msg::Raft(msg) }),
                Did::Leads => {
                    env.out.push(Out::Note(format!("leads in term {}", self.raft.term())));
                    self.tell_of_agents(now);
                    self.cut.step(now, cut::Event::Leading(true), &mut Vec::new());
                    let body = Body::LeaderElected { node: self.who.node };
                    let command = self.command(body, RequestId(0), env);
                    let mut more = Vec::new();
                    self.raft.propose(command, &mut more);
                    todo.extend(more);
                }
                Did::Follows => {
                    self.cut.step(now, cut::Event::Leading(false), &mut Vec::new());
                    self.office = None;
                    self.waiting.clear();
                }
                Did::Committed { upto } => env.out.push(Out::Committed { upto }),
            }
        }
        while self.ledger.applied.index < self.raft.commit {
            self.apply(env);
        }
    }

    fn apply(&mut self, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        let at = self.raft.id_at(self.ledger.applied.index + 1);
        let command = Rc::clone(&self.entry(at.index).command);
        let view_before = self.ledger.view_epoch;
        let reply = self.ledger.apply(at, &command).expect("one level in all the cluster");
        env.out.push(Out::Applied { at, command: Rc::clone(&command) });
        if let Reply::Rejected(rejection) = &reply {
            env.out.push(Out::Note(format!("entry {} rejected: {rejection}", at.index)));
        }
        if concerns(&command.body) {
            self.book.step(now, Fact::Applied { ledger: &self.ledger });
        }
        if self.ledger.view_epoch != view_before || matches!(command.body, Body::NodeUp { .. }) {
            let view = View::from(&self.ledger);
            self.cut.step(now, cut::Event::View(view.clone()), &mut Vec::new());
            self.gossip(membership::Event::View(Arc::new(Roll::of(&view))), env);
        }
        if let Body::AgentState { .. } = &command.body {
            self.tell_of_agents(now);
        }
        if self.raft.leads()
            && let Some(to) = self.waiting.remove(&command.request)
        {
            env.out.push(Out::Acknowledged { at });
            env.out.push(Out::Send { to, msg: Msg::Replied { request: command.request } });
        }
        if at.index.is_multiple_of(SNAPSHOT_EVERY) && at.index <= self.raft.durable() {
            env.disk.snapshot = self.ledger.clone();
        }
        self.take_office(env);
    }
}
