//! The gossip streams that stand, by peer: whoever dialled them, any number of them, one of which is used.
//!
//! Not here: which peers there should be (`cluster_core::membership`), and the streams themselves (`wire::gossip`).

use crate::wire::gossip::{Dialler, Outbox, Said, StreamId};
use cluster_core::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Streams with one peer that are kept; a peer that opens more in a row has left the older ones behind.
const STREAMS_MAX: usize = 4;

#[derive(Debug, Default)]
struct Edge {
    dialler: Option<Dialler>,
    /// By age. The newest is used: an older one may be of a connection that the network forgot.
    streams: BTreeMap<StreamId, Stream>,
}

#[derive(Debug)]
struct Stream {
    outbox: Outbox,
    dialled: bool,
}

#[derive(Debug, Default)]
pub struct Edges {
    edges: BTreeMap<NodeId, Edge>,
    connected: BTreeSet<NodeId>,
}

impl Edges {
    /// Peers with at least one stream.
    pub const fn connected(&self) -> &BTreeSet<NodeId> {
        &self.connected
    }

    pub fn is_dialled(&self, peer: NodeId, address: &str) -> bool {
        let dialler = self.edges.get(&peer).and_then(|e| e.dialler.as_ref());
        dialler.is_some_and(|d| d.address == address)
    }

    /// Where this agent dials the peer, if it does.
    pub fn address(&self, peer: NodeId) -> Option<&str> {
        self.edges.get(&peer)?.dialler.as_ref().map(|d| d.address.as_str())
    }

    /// Dials the peer from now on; an earlier dialler ends with its stream. Whether the last stream ended by that.
    pub fn dial(&mut self, peer: NodeId, dialler: Dialler) -> bool {
        let ended = self.hang_up(peer);
        self.edges.entry(peer).or_default().dialler = Some(dialler);
        ended
    }

    /// Dials the peer no more. Whether the last stream with it ended by that.
    pub fn hang_up(&mut self, peer: NodeId) -> bool {
        let Some(edge) = self.edges.get_mut(&peer) else { return false };
        edge.dialler = None;
        edge.streams.retain(|_, stream| !stream.dialled);
        self.settle(peer)
    }

    /// Whether it is the first one of this peer.
    pub fn opened(&mut self, peer: NodeId, id: StreamId, outbox: Outbox, dialled: bool) -> bool {
        let edge = self.edges.entry(peer).or_default();
        // Hung up while its opening was still on its way here.
        if outbox.is_closed() || (dialled && edge.dialler.is_none()) {
            self.settle(peer);
            return false;
        }
        edge.streams.insert(id, Stream { outbox, dialled });
        if edge.streams.len() > STREAMS_MAX {
            edge.streams.pop_first();
        }
        self.connected.insert(peer)
    }

    /// Whether it was the last one of this peer.
    pub fn ended(&mut self, peer: NodeId, id: StreamId) -> bool {
        let Some(edge) = self.edges.get_mut(&peer) else { return false };
        edge.streams.remove(&id).is_some() && self.settle(peer)
    }

    /// Whether the peer had a stream and has none any more.
    fn settle(&mut self, peer: NodeId) -> bool {
        let Some(edge) = self.edges.get_mut(&peer) else { return false };
        // One that was hung up while its opening was on its way.
        edge.streams.retain(|_, stream| !stream.outbox.is_closed());
        if !edge.streams.is_empty() {
            return false;
        }
        if edge.dialler.is_none() {
            self.edges.remove(&peer);
        }
        self.connected.remove(&peer)
    }

    /// Dropped without a stream.
    pub fn send(&self, to: NodeId, said: Said) {
        if let Some((_, stream)) = self.edges.get(&to).and_then(|e| e.streams.last_key_value()) {
            stream.outbox.send(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::gossip::testing::{line, silent_dialler};

    const PEER: NodeId = NodeId(7);

    #[tokio::test]
    async fn an_edge_is_open_from_its_first_stream_to_the_end_of_its_last() {
        let mut edges = Edges::default();
        let ((a, to_a, _heard_a), (b, to_b, _heard_b)) = (line(), line());
        assert!(edges.opened(PEER, a, to_a, false));
        assert!(!edges.opened(PEER, b, to_b, false), "it is open already");
        assert!(!edges.ended(PEER, a), "another one stands");
        assert!(!edges.ended(PEER, a), "told twice");
        assert!(edges.connected().contains(&PEER));
        assert!(edges.ended(PEER, b));
        assert!(edges.connected().is_empty());
    }

    #[tokio::test]
    async fn hanging_up_leaves_what_the_peer_dialled() {
        let mut edges = Edges::default();
        let ((mine, to_mine, _h), (theirs, to_theirs, _g)) = (line(), line());
        assert!(!edges.dial(PEER, silent_dialler()));
        edges.opened(PEER, mine, to_mine, true);
        edges.opened(PEER, theirs, to_theirs, false);
        assert!(!edges.hang_up(PEER));
        assert!(!edges.ended(PEER, mine), "it went with its dialler");
        assert!(edges.ended(PEER, theirs));
    }

    #[tokio::test]
    async fn a_stream_that_was_hung_up_before_its_opening_was_told_is_none() {
        let mut edges = Edges::default();
        let (id, outbox, heard) = line();
        drop(heard);
        assert!(!edges.opened(PEER, id, outbox, true));
        assert!(edges.connected().is_empty() && edges.edges.is_empty());
    }
}
