//! An election without the wait, when this voter has its own evidence that the leader's process is gone: it drops the
//! leader's lease here and campaigns at once, by pre-vote, so that it takes a majority of voters with such evidence.
//!
//! Voters take turns by id, a step apart, so that two with the same evidence don't split the vote. A wrong hint does
//! no harm by itself: the other voters' leases refuse the pre-vote.

use super::{pace::Heard, state_machine::StateMachine, types::Types};
use cluster_core::ids::NodeId;
use openraft::{Raft, async_runtime::watch::WatchReceiver, raft::TransferLeaderRequest};
use std::time::Duration;

/// Between one voter's turn and the next: two round trips and two syncs, on a busy machine.
const TURN: Duration = Duration::from_millis(40);
/// Turns of one voter; then the ordinary time-outs have passed anyway.
const ATTEMPTS: u32 = 8;

/// Returns when there is another leader or term, or the attempts are used up.
pub(crate) async fn replace(raft: Raft<Types, StateMachine>, heard: &Heard, me: NodeId, gone: NodeId) {
    let metrics = raft.metrics().borrow_watched().clone();
    let leads = metrics.vote.is_committed() && metrics.vote.leader_id().voted_for == gone.0;
    let mut others: Vec<u64> = metrics.membership_config.voter_ids().filter(|id| *id != gone.0).collect();
    others.sort_unstable();
    let Some(turn) = others.iter().position(|id| *id == me.0) else { return };
    if !leads || me == gone {
        return;
    }
    // Addressed to the leader itself, it only ends the lease here; addressed to this node it would also make the
    // other voters ignore theirs, on the word of one.
    let end_lease = TransferLeaderRequest::new(metrics.vote, gone.0, None);
    if raft.handle_transfer_leader(end_lease).await.is_err() {
        return;
    }
    heard.forget();
    let round = TURN * u32::try_from(others.len()).expect("there are at most seven voters");
    tokio::time::sleep(TURN * u32::try_from(turn).expect("there are at most seven voters")).await;
    for _ in 0..ATTEMPTS {
        if raft.metrics().borrow_watched().vote != metrics.vote {
            return;
        }
        if raft.trigger().elect(true).await.is_err() {
            return;
        }
        tokio::time::sleep(round).await;
    }
}
