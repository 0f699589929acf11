//! One way for a request to reach the leader: answered here when this agent leads, passed on when another one does.
//!
//! Not here: what any request means.

use super::{
    call::{Call, MAX_HOPS},
    errors,
};
use crate::{
    limits::{LEADER_WAIT, MESSAGE_BYTES, STATUS_FORWARD_TIMEOUT},
    shared::{Live, Shared},
    view::View,
};
use cluster_core::{
    ids::{NodeId, RequestId},
    ledger::{Body, Reply},
    time::WallTime,
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time;
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// What all services of the API are made of.
#[derive(Clone)]
pub struct Api {
    pub shared: Arc<Shared>,
}

/// A leader that is another agent.
struct Leader {
    node: NodeId,
    address: String,
    channel: Channel,
}

impl Api {
    /// Answers with `here` on the leader and with `there` elsewhere, within the request's time.
    pub async fn through_leader<Q, A, There, Here, Answer, Made>(
        &self,
        request: Request<Q>,
        there: There,
        here: Here,
    ) -> Result<Response<A>, Status>
    where
        Q: Clone,
        There: Fn(Channel, Request<Q>) -> Answer,
        Answer: Future<Output = Result<Response<A>, Status>>,
        Here: FnOnce(Call, Q) -> Made,
        Made: Future<Output = Result<A, Status>>,
    {
        let call = Call::of(&request, &self.shared);
        if call.hops == 0 {
            self.wait_for_leader(call.remaining().min(LEADER_WAIT)).await;
        }
        self.route(call, request.into_inner(), there, here).await
    }

    /// As [`Api::through_leader`], except that this agent says what it knows itself when the leader doesn't answer in
    /// time. The answer then isn't consistent.
    pub async fn leader_or_own<Q, A, There, Here, Answer, Made>(
        &self,
        request: Request<Q>,
        there: There,
        here: Here,
        own: impl FnOnce(Q) -> Result<A, Status>,
    ) -> Result<Response<A>, Status>
    where
        Q: Clone,
        There: Fn(Channel, Request<Q>) -> Answer,
        Answer: Future<Output = Result<Response<A>, Status>>,
        Here: FnOnce(Call, Q) -> Made,
        Made: Future<Output = Result<A, Status>>,
    {
        let mut call = Call::of(&request, &self.shared);
        let first = call.hops == 0;
        call.deadline = call.deadline.min(time::Instant::now() + STATUS_FORWARD_TIMEOUT);
        let message = request.into_inner();
        match self.route(call, message.clone(), there, here).await {
            // An agent that was asked by another one leaves it to that one to say what it knows.
            Err(status) if first && is_silence(&status) => own(message).map(Response::new),
            answer => answer,
        }
    }

    async fn route<Q, A, There, Here, Answer, Made>(
        &self,
        call: Call,
        message: Q,
        there: There,
        here: Here,
    ) -> Result<Response<A>, Status>
    where
        Q: Clone,
        There: Fn(Channel, Request<Q>) -> Answer,
        Answer: Future<Output = Result<Response<A>, Status>>,
        Here: FnOnce(Call, Q) -> Made,
        Made: Future<Output = Result<A, Status>>,
    {
        loop {
            let remaining = call.remaining();
            let Some(leader) = self.other_leader(&call)? else {
                return match time::timeout(remaining, here(call, message)).await {
                    Ok(answer) => answer.map(Response::new),
                    Err(_) => Err(too_slow(remaining)),
                };
            };
            let passed_on = there(leader.channel, call.pass_on(message.clone()));
            let answer = tokio::select! {
                answer = time::timeout(remaining, passed_on) => answer,
                // What went to a host that fell silent would wait until its connection is given up, long after the
                // election. Commands carry request ids: the same one again is answered, not done twice.
                () = self.another_leads(leader.node) => continue,
            };
            let cause = match answer {
                Ok(Ok(response)) => return Ok(Response::new(response.into_inner())),
                Ok(Err(status)) if is_answer(&status) => return Err(passed_back(&status)),
                Ok(Err(status)) => status.message().to_owned(),
                Err(_) => format!("no answer within {} ms", remaining.as_millis()),
            };
            let name = self.with_view(|view| view.name(leader.node));
            return Err(errors::leader_unreachable(&name, &leader.address, &cause));
        }
    }

    /// Returns once this agent believes in another leader, itself included.
    async fn another_leads(&self, old: NodeId) {
        let mut live = self.shared.live.clone();
        let other = live.wait_for(|live| live.leader.is_some_and(|leader| leader != old)).await.is_ok();
        if !other {
            // The agent is ending: nobody will lead here any more.
            std::future::pending().await
        }
    }

    /// The leader when it is another agent; none when it is this one.
    fn other_leader(&self, call: &Call) -> Result<Option<Leader>, Status> {
        let live = self.live();
        if live.is_leader {
            return Ok(None);
        }
        let node = live.leader.filter(|id| *id != self.shared.identity.node).ok_or_else(errors::no_leader)?;
        let address = self.address_of(&live, node).ok_or_else(errors::no_leader)?;
        if call.hops >= MAX_HOPS {
            return Err(errors::leader_unreachable(
                &self.with_view(|view| view.name(node)),
                &address,
                "the request was passed on as often as it may be, the leader changes just now",
            ));
        }
        let channel = self.channel(&address)?;
        Ok(Some(Leader { node, address, channel }))
    }

    /// Where to reach a node: gossip's word is newer than the ledger's.
    pub fn address_of(&self, live: &Live, node: NodeId) -> Option<String> {
        let heard = live.members.get(&node).map(|m| m.address.clone());
        let committed = || self.shared.read(|l| l.nodes.get(&node).map(|n| n.profile.address.clone()));
        heard.or_else(|| live.voters.get(&node).cloned()).or_else(committed)
    }

    pub fn channel(&self, address: &str) -> Result<Channel, Status> {
        let cause = |e: crate::wire::client::BadAddress| {
            errors::status(Code::Internal, "BAD_ADDRESS", format!("a member's address is unusable: {e}"))
        };
        self.shared.peers.channel(address).map_err(cause)
    }

    async fn wait_for_leader(&self, at_most: Duration) {
        let mut live = self.shared.live.clone();
        // Whether it came or not is seen by whoever routes; the result says nothing more.
        let _ = time::timeout(at_most, live.wait_for(|live| live.leader.is_some())).await;
    }

    /// On the leader: from here on, reads see everything that was committed before.
    pub async fn barrier(&self) -> Result<(), Status> {
        self.shared.raft.read_barrier().await.map_err(|e| errors::propose(&e))
    }

    /// Writes to the ledger; a rejection is an error.
    pub async fn write(&self, call: &Call, request: RequestId, body: Body) -> Result<Reply, Status> {
        match self.shared.raft.propose(call.actor.clone(), request, body).await {
            Ok((_, Reply::Rejected(rejection))) => Err(errors::rejection(&rejection)),
            Ok((_, reply)) => Ok(reply),
            Err(e) => Err(errors::propose(&e)),
        }
    }

    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.shared.live.borrow().clone()
    }

    /// Reads the present. The closure must not block.
    pub fn with_view<R>(&self, f: impl FnOnce(&View<'_>) -> R) -> R {
        let live = self.live();
        self.shared.read(|ledger| f(&View { ledger, live: &live, me: &self.shared.identity, now: now() }))
    }
}

/// The client's own id, so that a repetition does nothing; a fresh one when it gave none.
pub fn request_id(given: &str) -> Result<RequestId, Status> {
    if given.is_empty() {
        return Ok(RequestId(rand::random_range(1..=u64::MAX)));
    }
    given.parse().map_err(|e| errors::invalid("BAD_REQUEST_ID", format!("request_id: {e}")))
}

/// Limits of a client to another agent.
macro_rules! client {
    ($client:ty, $channel:expr) => {
        <$client>::new($channel)
            .max_decoding_message_size($crate::limits::MESSAGE_BYTES)
            .max_encoding_message_size($crate::limits::MESSAGE_BYTES)
    };
}
pub(super) use client;

const _: () = assert!(MESSAGE_BYTES >= 1024 * 1024, "a status of a thousand nodes has to fit");

pub fn now() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

fn too_slow(remaining: Duration) -> Status {
    let text = format!("no answer within {} ms; try again, or allow more time", remaining.as_millis());
    errors::status(Code::DeadlineExceeded, "TIMEOUT", text)
}

/// The leader itself said no, in so many words; not the network.
fn is_answer(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.domain == errors::DOMAIN)
}

/// Nobody who could speak for the cluster answered.
fn is_silence(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
}

/// Without the transport's own headers, which belong to one hop.
fn passed_back(status: &Status) -> Status {
    let mut metadata = tonic::metadata::MetadataMap::new();
    if let Some(leader) = status.metadata().get(errors::LEADER_METADATA) {
        metadata.insert(errors::LEADER_METADATA, leader.clone());
    }
    let details = status.details().to_vec().into();
    Status::with_details_and_metadata(status.code(), status.message(), details, metadata)
}
