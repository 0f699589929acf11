//! What a voter feeds its followers, on the wire: the whole ledger first, in pieces, then each entry, and beats.

use super::peer::{PeerError, client};
use cluster_core::ids::{ClusterId, LogId, NodeId};
use futures::{StreamExt as _, stream::BoxStream};
use holdfast_proto::internal as pb;
use std::{sync::Arc, time::Duration};

/// Bytes of a snapshot in one message to a follower.
const CHUNK: usize = 1024 * 1024;

/// What a follower is sent, in order.
#[derive(Clone, Debug)]
pub enum FollowItem {
    /// The whole encoded ledger.
    Snapshot(Arc<Vec<u8>>),
    Entry {
        at: LogId,
        command: Arc<Vec<u8>>,
    },
    Beat {
        leader: Option<NodeId>,
        term: u64,
        config: LogId,
        voters: Vec<(NodeId, String)>,
    },
}

pub(super) fn follow_to_wire(item: FollowItem) -> Vec<pb::FollowResponse> {
    use pb::follow_response as f;
    let wrap = |item| pb::FollowResponse { item: Some(item) };
    match item {
        FollowItem::Snapshot(bytes) => {
            let count = bytes.len().div_ceil(CHUNK);
            let chunk = |(i, c): (usize, &[u8])| f::Snapshot { chunk: c.to_vec(), last: i + 1 == count };
            bytes.chunks(CHUNK).enumerate().map(chunk).map(f::Item::Snapshot).map(wrap).collect()
        }
        FollowItem::Entry { at, command } => {
            vec![wrap(f::Item::Entry(f::Entry { term: at.term, index: at.index, command: command.to_vec() }))]
        }
        FollowItem::Beat { leader, term, config, voters } => {
            let voters =
                voters.into_iter().map(|(node, address)| f::Voter { node: node.0, address }).collect();
            vec![wrap(f::Item::Beat(f::Beat {
                leader: leader.map_or(0, |n| n.0),
                term,
                config_term: config.term,
                config_index: config.index,
                voters,
            }))]
        }
    }
}

/// The messages of one follow stream, put together again. Ends with the stream, whatever ended it.
pub async fn followed(
    channel: tonic::transport::Channel,
    cluster: ClusterId,
    timeout: Duration,
) -> Result<BoxStream<'static, FollowItem>, PeerError> {
    let mut client = client(channel);
    let open = client.follow(pb::FollowRequest { cluster_id: cluster.0, after_index: 0 });
    let inbound = match tokio::time::timeout(timeout, open).await {
        Ok(answer) => answer?.into_inner(),
        Err(_) => return Err(PeerError::Unreachable("no stream in time".into())),
    };
    let items = futures::stream::unfold((inbound, Vec::new()), |(mut inbound, mut partial)| async move {
        loop {
            let message = inbound.message().await.ok()??;
            if let Some(item) = follow_from_wire(message, &mut partial) {
                return Some((item, (inbound, partial)));
            }
        }
    });
    Ok(items.boxed())
}

fn follow_from_wire(message: pb::FollowResponse, partial: &mut Vec<u8>) -> Option<FollowItem> {
    use pb::follow_response::Item;
    match message.item? {
        Item::Snapshot(s) => {
            partial.extend_from_slice(&s.chunk);
            s.last.then(|| FollowItem::Snapshot(Arc::new(core::mem::take(partial))))
        }
        Item::Entry(e) => Some(FollowItem::Entry {
            at: LogId { term: e.term, index: e.index },
            command: Arc::new(e.command),
        }),
        Item::Beat(b) => Some(FollowItem::Beat {
            leader: (b.leader != 0).then_some(NodeId(b.leader)),
            term: b.term,
            config: LogId { term: b.config_term, index: b.config_index },
            voters: b.voters.into_iter().map(|v| (NodeId(v.node), v.address)).collect(),
        }),
    }
}
