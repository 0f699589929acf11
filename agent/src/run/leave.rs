//! Leaving for good: drain, wait until nothing of this node runs or is placed here, and say so in the ledger.

use super::{propose::Proposer, replica::Replica};
use crate::shared::Raft as _;
use cluster_core::{
    ids::{NodeId, RequestId},
    ledger::{Body, NodeState, Reply},
};
use std::time::Duration;

/// Between two attempts to write the last entry.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Returns once the ledger says `left`. The caller bounds the wait.
pub async fn leave(proposer: &Proposer, replica: &Replica, me: NodeId, name: &str) -> Result<(), String> {
    let actor = format!("node:{name}");
    let write = |body: Body| proposer.propose(actor.clone(), RequestId(rand::random()), body);
    match write(Body::NodeDraining { node: me }).await {
        Ok((_, Reply::Rejected(why))) => return Err(why.message),
        Ok(_) => {}
        Err(error) => return Err(error.to_string()),
    }
    let mut applied = replica.applied();
    loop {
        if replica.read(|l| l.nodes.get(&me).is_some_and(|n| n.state == NodeState::Left)) {
            return Ok(());
        }
        let (placed, epoch) = replica
            .read(|l| (l.placements_on(me).count(), l.nodes.get(&me).map(|n| n.epoch).unwrap_or_default()));
        if placed == 0 {
            match write(Body::NodeLeft { node: me, epoch }).await {
                Ok((_, Reply::Rejected(why))) => tracing::info!(%why, "not left yet"),
                Ok(_) => return Ok(()),
                Err(error) => tracing::info!(%error, "not left yet"),
            }
        }
        let _quiet = tokio::time::timeout(TRY_AGAIN, applied.changed()).await;
    }
}
