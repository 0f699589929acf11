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

/// One stream's writing side. Leaves out of a beat whom the beat before named as well: they are most of it.
#[derive(Default)]
pub(super) struct Writer {
    voters: Vec<(NodeId, String)>,
}

impl Writer {
    pub fn write(&mut self, item: FollowItem) -> Vec<pb::FollowResponse> {
        use pb::follow_response as f;
        let wrap = |item| pb::FollowResponse { item: Some(item) };
        match item {
            FollowItem::Snapshot(bytes) => {
                let count = bytes.len().div_ceil(CHUNK);
                let chunk = |(i, c): (usize, &[u8])| f::Snapshot { chunk: c.to_vec(), last: i + 1 == count };
                bytes.chunks(CHUNK).enumerate().map(chunk).map(f::Item::Snapshot).map(wrap).collect()
            }
            FollowItem::Entry { at, command } => {
                let command = command.to_vec();
                vec![wrap(f::Item::Entry(f::Entry { term: at.term, index: at.index, command }))]
            }
            FollowItem::Beat { leader, term, config, voters } => {
                let as_before = voters == self.voters;
                let named = if as_before { &[] } else { voters.as_slice() };
                let voter =
                    |(node, address): &(NodeId, String)| f::Voter { node: node.0, address: address.clone() };
                let beat = f::Beat {
                    leader: leader.map_or(0, |n| n.0),
                    term,
                    config_term: config.term,
                    config_index: config.index,
                    voters: named.iter().map(voter).collect(),
                    voters_as_before: as_before,
                };
                self.voters = voters;
                vec![wrap(f::Item::Beat(beat))]
            }
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
    let items =
        futures::stream::unfold((inbound, Reader::default()), |(mut inbound, mut reader)| async move {
            loop {
                let message = inbound.message().await.ok()??;
                if let Some(item) = reader.read(message) {
                    return Some((item, (inbound, reader)));
                }
            }
        });
    Ok(items.boxed())
}

/// Puts together what a `Writer` took apart.
#[derive(Default)]
struct Reader {
    /// Of a snapshot that isn't whole yet.
    partial: Vec<u8>,
    voters: Vec<(NodeId, String)>,
}

impl Reader {
    fn read(&mut self, message: pb::FollowResponse) -> Option<FollowItem> {
        use pb::follow_response::Item;
        match message.item? {
            Item::Snapshot(s) => {
                self.partial.extend_from_slice(&s.chunk);
                s.last.then(|| FollowItem::Snapshot(Arc::new(core::mem::take(&mut self.partial))))
            }
            Item::Entry(e) => Some(FollowItem::Entry {
                at: LogId { term: e.term, index: e.index },
                command: Arc::new(e.command),
            }),
            Item::Beat(b) => {
                if !b.voters_as_before {
                    self.voters = b.voters.into_iter().map(|v| (NodeId(v.node), v.address)).collect();
                }
                Some(FollowItem::Beat {
                    leader: (b.leader != 0).then_some(NodeId(b.leader)),
                    term: b.term,
                    config: LogId { term: b.config_term, index: b.config_index },
                    voters: self.voters.clone(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(term: u64, voters: &[u64]) -> FollowItem {
        let voters = voters.iter().map(|id| (NodeId(*id), format!("h{id}:7400"))).collect();
        FollowItem::Beat { leader: Some(NodeId(1)), term, config: LogId { term: 1, index: 2 }, voters }
    }

    #[test]
    fn beats_name_the_voters_once_and_arrive_whole() {
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let says = [(1, &[1, 2, 3][..], true), (2, &[1, 2, 3], false), (3, &[1, 2], true), (4, &[], true)];
        for (term, voters, named) in says {
            let mut written = writer.write(beat(term, voters));
            let Some(pb::follow_response::Item::Beat(wire)) = &written[0].item else { panic!("a beat") };
            assert_eq!(!wire.voters_as_before, named);
            let read = reader.read(written.remove(0)).expect("it is whole");
            assert_eq!(format!("{read:?}"), format!("{:?}", beat(term, voters)));
        }
    }
}
