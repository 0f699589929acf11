//! Consensus' messages over the agents' own service.

use super::identity::Membership;
use crate::{
    consensus::{RaftRpc, Transport, TransportError},
    shared::Live,
    wire::{
        client::Peers,
        peer::{self, PeerError},
        raft::{Lines, Question},
    },
};
use cluster_core::ids::NodeId;
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What is longer goes by a call of its own, so that no heartbeat waits behind it.
const SHORT_BYTES: usize = 16 * 1024;

pub struct RaftTransport {
    pub me: NodeId,
    pub membership: Membership,
    pub peers: Arc<Peers>,
    pub lines: Lines,
    pub live: watch::Receiver<Arc<Live>>,
}

/// The number of a kind of message on the wire.
#[must_use]
pub const fn kind_number(kind: RaftRpc) -> u32 {
    match kind {
        RaftRpc::Append => 1,
        RaftRpc::Vote => 2,
        RaftRpc::PreVote => 3,
        RaftRpc::Snapshot => 4,
        RaftRpc::TransferLeader => 5,
    }
}

#[must_use]
pub const fn kind_of(number: u32) -> Option<RaftRpc> {
    match number {
        1 => Some(RaftRpc::Append),
        2 => Some(RaftRpc::Vote),
        3 => Some(RaftRpc::PreVote),
        4 => Some(RaftRpc::Snapshot),
        5 => Some(RaftRpc::TransferLeader),
        _ => None,
    }
}

impl Transport for RaftTransport {
    /// An identity may have moved: gossip's address counts before the one in the log.
    fn call(
        &self,
        target: NodeId,
        address: String,
        kind: RaftRpc,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let gossiped = self.live.borrow().members.get(&target).map(|m| m.address.clone());
            let address = gossiped.unwrap_or(address);
            let unreachable = |why: String| TransportError::Unreachable(target, why);
            let cluster = self.membership.cluster().ok_or_else(|| unreachable("no cluster yet".into()))?;
            let question = Question { cluster, from: self.me, to: target, kind: kind_number(kind), payload };
            let answer = if kind == RaftRpc::Append && question.payload.len() <= SHORT_BYTES {
                self.lines.ask(&address, question, timeout).await
            } else {
                let channel = self.peers.channel(&address).map_err(|e| unreachable(e.to_string()))?;
                peer::raft(channel, question, timeout).await
            };
            answer.map_err(|error| match error {
                PeerError::Unreachable(why) => unreachable(why),
                PeerError::Refused(why) | PeerError::Taken(why) => TransportError::Refused(target, why),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for number in 1..=5 {
            assert_eq!(kind_of(number).map(kind_number), Some(number));
        }
        assert_eq!(kind_of(0), None);
        assert_eq!(kind_of(6), None);
    }
}
