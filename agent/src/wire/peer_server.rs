//! The agents' own service, as a thin shell around a handler that knows nothing of tonic.

use super::{
    certificate::shown_names,
    convert::{RenewalAnswer, ages_from_wire, answer_to_wire, renewal_from_wire},
    findings::{SentReport, opinion_to_wire, report_from_wire},
    following::{self, FollowItem},
    gossip::{Ear, accept},
    peer::{
        Meeting, PledgeAnswer, PledgeWord, introduction_to_wire, meeting_from_request, meeting_to_answer,
        pledge_from_request,
    },
    raft,
};
use crate::{keeper::contacts::Introduction, limits::MESSAGE_BYTES};
use cluster_core::{
    ids::{ClusterId, LeaseEpoch, LogId, NodeId},
    lease::Renewal,
    membership::Opinion,
};
use futures::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use holdfast_proto::internal::{self as pb, peer_service_server::PeerServiceServer};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Answers on their way out of one stream.
const OUTBOX: usize = 16;

/// Why a request was turned down, in words for the other side's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Wrong cluster, wrong time, wrong message: repeating it as it is won't help.
    #[error("{0}")]
    No(String),
    /// Another living process speaks as the sender's node.
    #[error("{0}")]
    Taken(String),
    /// Not now, or not here.
    #[error("{0}")]
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

/// What the agent does with each message. Everything that takes a cluster id refuses another cluster's.
pub trait PeerHandler: Send + Sync + 'static {
    fn meet(&self, meeting: Meeting) -> BoxFuture<'_, Result<Meeting, Refused>>;
    /// What it changes is durable before it returns.
    fn pledge(&self, cluster_name: String, word: PledgeWord) -> BoxFuture<'_, Result<PledgeAnswer, Refused>>;
    /// Who hears what is said over gossip streams.
    fn ear(&self) -> Arc<dyn Ear>;
    /// Which node this is, if its loop turns.
    fn ping(&self, cluster: ClusterId) -> Result<NodeId, Refused>;
    /// Tries the subject, for who can't reach it.
    fn help(
        &self,
        cluster: ClusterId,
        by: NodeId,
        subject: NodeId,
    ) -> BoxFuture<'_, Result<Opinion, Refused>>;
    /// Findings to this voter, and from a voter how long ago it acknowledged each epoch.
    fn report(
        &self,
        cluster: ClusterId,
        from: NodeId,
        sent: Option<SentReport>,
        ages: Vec<(LeaseEpoch, Duration)>,
    ) -> BoxFuture<'_, Result<(), Refused>>;
    /// Whether this agent hears the subject; the leader asks.
    fn poll(&self, cluster: ClusterId, by: NodeId, subject: NodeId) -> BoxFuture<'_, Result<bool, Refused>>;
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
        let names = shown_names(&request);
        Ok(Response::new(Box::pin(accept(self.handler.ear(), request.into_inner(), names))))
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

    type RaftStreamStream = Answers<pb::RaftStreamResponse>;

    async fn raft_stream(
        &self,
        request: Request<Streaming<pb::RaftStreamRequest>>,
    ) -> Result<Response<Self::RaftStreamStream>, Status> {
        let handler = self.handler.clone();
        let answer = move |q: raft::Question| {
            let handler = handler.clone();
            async move { handler.raft(q.cluster, q.from, q.to, q.kind, q.payload).await }
        };
        Ok(Response::new(Box::pin(raft::answers(request.into_inner(), answer))))
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
        let mut writer = following::Writer::default();
        let messages =
            items.flat_map(move |item| futures::stream::iter(writer.write(item).into_iter().map(Ok)));
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

    async fn ping(&self, request: Request<pb::PingRequest>) -> Result<Response<pb::PingResponse>, Status> {
        let node = self.handler.ping(ClusterId(request.into_inner().cluster_id))?;
        Ok(Response::new(pb::PingResponse { node: node.0 }))
    }

    async fn help(&self, request: Request<pb::HelpRequest>) -> Result<Response<pb::HelpResponse>, Status> {
        let r = request.into_inner();
        let asked = self.handler.help(ClusterId(r.cluster_id), NodeId(r.from), NodeId(r.subject));
        let opinion = Some(opinion_to_wire(&asked.await?));
        Ok(Response::new(pb::HelpResponse { opinion }))
    }

    async fn report(
        &self,
        request: Request<pb::ReportRequest>,
    ) -> Result<Response<pb::ReportResponse>, Status> {
        let r = request.into_inner();
        let sent = r.report.map(report_from_wire).transpose();
        let sent = sent.map_err(|unknown| Status::invalid_argument(unknown.to_string()))?;
        let ages = ages_from_wire(&r.ack_ages);
        self.handler.report(ClusterId(r.cluster_id), NodeId(r.from), sent, ages).await?;
        Ok(Response::new(pb::ReportResponse {}))
    }

    async fn poll(&self, request: Request<pb::PollRequest>) -> Result<Response<pb::PollResponse>, Status> {
        let r = request.into_inner();
        let asked = self.handler.poll(ClusterId(r.cluster_id), NodeId(r.from), NodeId(r.subject));
        Ok(Response::new(pb::PollResponse { hears: asked.await? }))
    }

    async fn leave(
        &self,
        _request: Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        self.handler.leave().await?;
        Ok(Response::new(pb::LeaveResponse {}))
    }
}
