//! The gate: a dead node's question to be alive again, answered by the leader before it is written.
//!
//! Not here: the rule (`cluster_core::recovery::returns`), and what the ledger itself refuses.

use super::replica::Replica;
use crate::{
    clock,
    wire::codec::{decode_command, encode_reply},
};
use cluster_core::{
    ids::{NodeId, SessionId},
    ledger::{Body, NodeState, Rejection, Reply, Returning},
    recovery::returns::{Ask, Held, Returns},
    time::{Instant, WallTime},
    timing::Timing,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub struct Gate {
    me: NodeId,
    replica: Arc<Replica>,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    returns: Returns,
    /// Who was held, why, and until when that counts, for people.
    held: BTreeMap<NodeId, (Held, Instant)>,
}

impl Gate {
    #[must_use]
    pub fn new(me: NodeId, timing: &Timing, replica: Arc<Replica>) -> Self {
        let waiting = Waiting { returns: Returns::new(timing), held: BTreeMap::new() };
        Self { me, replica, waiting: Mutex::new(waiting) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a node that has to wait; None for every other command.
    #[must_use]
    pub fn answer(&self, command: &[u8]) -> Option<Vec<u8>> {
        let Ok(Body::NodeUp { node, session, returning, .. }) = decode_command(command).map(|c| c.body)
        else {
            return None;
        };
        // A majority just elected this one: it hears and is heard.
        if node == self.me {
            return None;
        }
        let (died, last_seen) = self.death(node)?;
        let Returning { silent_ms, answered } = returning.unwrap_or_default();
        let ask = Ask {
            node,
            session,
            died,
            unheard: Duration::from_millis(clock::wall().since_ms(last_seen)),
            silences: silent_ms.into_iter().map(Duration::from_millis).collect(),
            answered,
        };
        let held = self.ask(clock::raw(), &ask)?;
        let (unheard, silent) = (ask.unheard, ask.silences);
        tracing::info!(%node, why = %held, ?unheard, ?silent, "a dead node that is back has to wait");
        let rejection = Rejection { reason: "HELD".into(), message: held.to_string() };
        Some(encode_reply(&Reply::Rejected(rejection)))
    }

    fn death(&self, node: NodeId) -> Option<(SessionId, WallTime)> {
        self.replica.read(|ledger| {
            let dead = ledger.nodes.get(&node).filter(|n| n.state == NodeState::Dead)?;
            Some((dead.session, dead.death.as_ref()?.last_seen_at))
        })
    }

    fn ask(&self, now: Instant, ask: &Ask) -> Option<Held> {
        let mut waiting = self.waiting();
        let held = waiting.returns.ask(now, ask).err();
        waiting.held.retain(|_, (_, until)| *until > now);
        match held {
            Some(held) => waiting.held.insert(ask.node, (held, now + held.left)),
            None => waiting.held.remove(&ask.node),
        };
        held
    }

    /// A sentence for each node that waits here.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let now = clock::raw();
        let held: Vec<(NodeId, Held)> = {
            let waiting = self.waiting();
            let lately = waiting.held.iter().filter(|(_, (_, until))| *until > now);
            lately.map(|(node, (held, _))| (*node, *held)).collect()
        };
        let says = |ledger: &cluster_core::ledger::Ledger| {
            let still = held
                .iter()
                .filter(|(id, _)| ledger.nodes.get(id).is_some_and(|n| n.state == NodeState::Dead));
            still.map(|(id, why)| format!("{} is heard again: {why}.", ledger.node_name(*id))).collect()
        };
        if held.is_empty() { Vec::new() } else { self.replica.read(says) }
    }
}
