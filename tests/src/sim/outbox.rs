//! What an agent has to tell the ledger: one command after the other, by way of whoever leads, until it is answered.
//!
//! Not here: what is to be told, but for the node's own coming up.

use super::agent::{Agent, Env, Msg, Out, name, profile};
use cluster_core::{
    ids::{LeaseEpoch, RequestId},
    ledger::{Body, Command, FEATURE_LEVEL, NodeState},
    time::Instant,
};
use core::time::Duration;
use std::rc::Rc;

/// Commands that wait for the leader; more is a fault of the simulation.
const OUTBOX_MAX: usize = 1_000;
/// A command without an answer is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(400);
#[derive(Debug)]
pub struct Pending {
    pub command: Rc<Command>,
    pub sent_at: Option<Instant>,
}

impl Agent {
    pub(super) fn command(&self, body: Body, request: RequestId, env: &Env<'_>) -> Rc<Command> {
        let actor = format!("node:{}", name(self.who.node));
        Rc::new(Command { level: FEATURE_LEVEL, actor, request, proposed_at: env.wall, body })
    }

    pub(super) fn propose(&mut self, body: Body, env: &mut Env<'_>) {
        let command = self.command(body, RequestId(0), env);
        self.propose_command(command, env);
    }

    pub(super) fn propose_command(&mut self, command: Rc<Command>, env: &mut Env<'_>) {
        let mut did = Vec::new();
        self.raft.propose(command, &mut did);
        self.carry_out(did, env);
    }

    /// For the ledger, by way of whoever leads; kept until it is answered.
    pub(super) fn submit(&mut self, body: Body, env: &mut Env<'_>) {
        assert!(self.outbox.len() < OUTBOX_MAX, "an agent floods its leader");
        let request = RequestId(env.rng.next());
        let command = self.command(body, request, env);
        self.outbox.push_back(Pending { command, sent_at: None });
    }

    pub(super) fn send_outbox(&mut self, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        // One at a time, so that what a node says arrives in its order.
        let Some(head) = self.outbox.front_mut() else { return };
        let Some(leader) = self.raft.leader else { return };
        if head.sent_at.is_none_or(|at| now.since(at) >= SEND_AGAIN) {
            head.sent_at = Some(now);
            let command = Rc::clone(&head.command);
            env.out.push(Out::Send { to: leader, msg: Msg::Propose(command) });
        }
    }

    /// Tells the ledger of this boot and session, and asks for an epoch when there is none.
    pub(super) fn come_up(&mut self, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        let Some(node) = self.ledger.nodes.get(&self.who.node) else { return };
        let known = node.session == self.who.session && node.boot == self.who.boot;
        let well = node.state == NodeState::Alive && node.epoch != LeaseEpoch(0);
        let asking = self.outbox.iter().any(|p| matches!(p.command.body, Body::NodeUp { .. }));
        let lately = self.asked_up_at.is_some_and(|at| now.since(at) < SEND_AGAIN);
        if (known && well) || asking || lately || !self.replayed {
            return;
        }
        self.asked_up_at = Some(now);
        let other_boot = node.epoch != LeaseEpoch(0) && node.boot != self.who.boot;
        let body = Body::NodeUp {
            node: self.who.node,
            profile: profile(self.who.node),
            boot: self.who.boot,
            session: self.who.session,
            incarnation: self.membership.me().incarnation,
            replaces: other_boot.then_some(node.epoch),
            returning: None,
        };
        self.submit(body, env);
    }
}
