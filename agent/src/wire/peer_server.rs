//! The agents' own service, as a thin shell around a handler that knows nothing of tonic.

use super::{
    convert::{Beat, RenewalAnswer, answer_to_wire, beat_from_wire, renewal_from_wire},
    peer::{
        Meeting, PledgeAnswer, PledgeWord, introduction_to_wire, meeting_from_request, meeting_to_answer,
        pledge_from_request,
    },
};
use crate::{keeper::contacts::Introduction, limits::MESSAGE_BYTES};
use cluster_core::{
    ids::{ClusterId, LeaseEpoch, LogId, NodeId},
    lease::Renewal,
};
use futures::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use holdfast_proto::internal::{self as pb, peer_service_server::PeerServiceServer};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Answers on their way out of one stream.
const OUTBOX: usize = 16;
/// Bytes of a snapshot in one message to a follower.
const CHUNK: usize = 1024 * 1024;

/// Why a request was turned down, in words for the other side's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong cluster, wrong time, wrong message: repeating it as it is won't help.
    No(String),
    /// Another living process speaks as the sender's node.
    Taken(String),
    /// Not now, or not here.
    Unavailable(String),
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::No(why) => Self::failed_precondition(why),
            Refused::Taken(why) => Self::already_exists(why),
            Refused::Unavailable(why) => Self::unavailable(why),
        }
    }
}

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

/// What the agent does with each message. Everything that takes a cluster id refuses another cluster's.
pub trait PeerHandler: Send + Sync + 'static {
    fn meet(&self, meeting: Meeting) -> BoxFuture<'_, Result<Meeting, Refused>>;
    /// What it changes is durable before it returns.
    fn pledge(&self, cluster_name: String, word: PledgeWord) -> BoxFuture<'_, Result<PledgeAnswer, Refused>>;
    fn beat(&self, beat: Beat) -> BoxFuture<'_, Result<(), Refused>>;
    fn beats_ended(&self, peer: NodeId) -> BoxFuture<'_, ()>;
    fn renew(&self, cluster: ClusterId, renewal: &Renewal) -> Result<RenewalAnswer, Refused>;
    fn promise(
        &self,
        cluster: ClusterId,
        epoch: LeaseEpoch,
        at: LogId,
    ) -> Result<(NodeId, Option<Duration>), Refused>;
    fn raft(
        &self,
        cluster: ClusterId,
        from: NodeId,
        to: NodeId,
        kind: u32,
        payload: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Refused>>;
    fn propose(
        &self,
        cluster: ClusterId,
        command: Vec<u8>,
        hops: u32,
    ) -> BoxFuture<'_, Result<(LogId, Vec<u8>), Refused>>;
    fn follow(&self, cluster: ClusterId) -> Result<BoxStream<'static, FollowItem>, Refused>;
    /// The key by which `from` speaks to the keeper of node `to`, which must be this one.
    fn introduce(&self, cluster: ClusterId, from: NodeId, to: NodeId) -> Result<Introduction, Refused>;
    fn leave(&self) -> BoxFuture<'_, Result<(), Refused>>;
}

/// The service, ready to be routed.
pub fn service<H: PeerHandler>(handler: Arc<H>) -> PeerServiceServer<Peer<H>> {
    PeerServiceServer::new(Peer { handler })
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

pub struct Peer<H> {
    handler: Arc<H>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<H: PeerHandler> pb::peer_service_server::PeerService for Peer<H> {
    async fn meet(&self, request: Request<pb::MeetRequest>) -> Result<Response<pb::MeetResponse>, Status> {
        let meeting = meeting_from_request(request.into_inner());
        let meeting = meeting.ok_or_else(|| Status::invalid_argument("a meeting needs a sender"))?;
        Ok(Response::new(meeting_to_answer(self.handler.meet(meeting).await?)))
    }

    async fn pledge(
        &self,
        request: Request<pb::PledgeRequest>,
    ) -> Result<Response<pb::PledgeResponse>, Status> {
        let mut r = request.into_inner();
        let cluster_name = core::mem::take(&mut r.cluster_name);
        let word = pledge_from_request(r)
            .ok_or_else(|| Status::invalid_argument("an unknown word about a pledge"))?;
        let answer = self.handler.pledge(cluster_name, word).await?;
        Ok(Response::new(pb::PledgeResponse {
            granted: answer.granted,
            pledged_to: answer.pledged_to.map_or(0, |n| n.0),
            holds: answer.holds,
            responder: answer.responder.0,
        }))
    }

    type GossipStream = Answers<pb::Heartbeat>;

    async fn gossip(
        &self,
        request: Request<Streaming<pb::Heartbeat>>,
    ) -> Result<Response<Self::GossipStream>, Status> {
        let handler = self.handler.clone();
        let (into, outbound) = mpsc::channel(1);
        // Ends with the stream that it reads; its end is told as evidence.
        tokio::spawn(async move {
            let refusal = listen(&*handler, request.into_inner()).await;
            if let Some(status) = refusal {
                let _gone = into.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }

    type RenewStream = Answers<pb::RenewalAnswer>;

    async fn renew(
        &self,
        request: Request<Streaming<pb::Renewal>>,
    ) -> Result<Response<Self::RenewStream>, Status> {
        let handler = self.handler.clone();
        let (into, outbound) = mpsc::channel(OUTBOX);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let answer = handler.renew(ClusterId(message.cluster_id), &renewal_from_wire(&message));
                let answer = answer.map(|a| answer_to_wire(&a)).map_err(Status::from);
                let refused = answer.is_err();
                if into.send(answer).await.is_err() || refused {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }

    async fn promise(
        &self,
        request: Request<pb::PromiseRequest>,
    ) -> Result<Response<pb::PromiseResponse>, Status> {
        let r = request.into_inner();
        let at = LogId { term: r.revoked_term, index: r.revoked_index };
        let (voter, remaining) = self.handler.promise(ClusterId(r.cluster_id), LeaseEpoch(r.epoch), at)?;
        // Rounded up: a promise may last longer than it says, never shorter.
        let remaining_us =
            remaining.map_or(0, |d| u64::try_from(d.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX));
        Ok(Response::new(pb::PromiseResponse { promised: remaining.is_some(), remaining_us, voter: voter.0 }))
    }

    async fn raft(&self, request: Request<pb::RaftRequest>) -> Result<Response<pb::RaftResponse>, Status> {
        let r = request.into_inner();
        let (cluster, from, to) = (ClusterId(r.cluster_id), NodeId(r.from), NodeId(r.to));
        let payload = self.handler.raft(cluster, from, to, r.kind, r.payload).await?;
        Ok(Response::new(pb::RaftResponse { payload }))
    }

    async fn propose(
        &self,
        request: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeResponse>, Status> {
        let r = request.into_inner();
        let (at, reply) = self.handler.propose(ClusterId(r.cluster_id), r.command, r.hops).await?;
        Ok(Response::new(pb::ProposeResponse { term: at.term, index: at.index, reply }))
    }

    type FollowStream = Answers<pb::FollowResponse>;

    async fn follow(
        &self,
        request: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let items = self.handler.follow(ClusterId(request.into_inner().cluster_id))?;
        let messages = items.flat_map(|item| futures::stream::iter(follow_to_wire(item).into_iter().map(Ok)));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn introduce(
        &self,
        request: Request<pb::IntroduceRequest>,
    ) -> Result<Response<pb::IntroduceResponse>, Status> {
        let r = request.into_inner();
        let introduction = self.handler.introduce(ClusterId(r.cluster_id), NodeId(r.node), NodeId(r.to))?;
        Ok(Response::new(introduction_to_wire(introduction)))
    }

    async fn leave(
        &self,
        _request: Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        self.handler.leave().await?;
        Ok(Response::new(pb::LeaveResponse {}))
    }
}

/// Hands every beat of one stream on, and its end. Returns why the stream was refused, if it was.
async fn listen<H: PeerHandler>(handler: &H, mut inbound: Streaming<pb::Heartbeat>) -> Option<Status> {
    let mut peer = None;
    let mut refusal = None;
    while let Ok(Some(message)) = inbound.message().await {
        peer = Some(NodeId(message.from));
        let taken = match beat_from_wire(message) {
            Ok(beat) => handler.beat(beat).await.map_err(Status::from),
            Err(unknown) => Err(Status::invalid_argument(unknown.to_string())),
        };
        if let Err(status) = taken {
            refusal = Some(status);
            break;
        }
    }
    if let Some(peer) = peer {
        handler.beats_ended(peer).await;
    }
    refusal
}

fn follow_to_wire(item: FollowItem) -> Vec<pb::FollowResponse> {
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
) -> Result<BoxStream<'static, FollowItem>, super::peer::PeerError> {
    let mut client = super::peer::client(channel);
    let open = client.follow(pb::FollowRequest { cluster_id: cluster.0, after_index: 0 });
    let inbound = match tokio::time::timeout(timeout, open).await {
        Ok(answer) => answer?.into_inner(),
        Err(_) => return Err(super::peer::PeerError::Unreachable("no stream in time".into())),
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
