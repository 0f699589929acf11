//! What openraft sends, over the caller's transport: each request encoded, sent to a node by its id, its reply
//! decoded. Snapshots go in chunks. Not a connection: whoever implements [`Transport`] keeps those.

use super::{
    RaftRpc, Transport,
    codec::{decode, encode_brief},
    error::TransportError,
    receive::{Chunk, ChunkReply},
    settings::{APPEND_TIMEOUT, CHUNK_BYTES, CHUNK_TIMEOUT},
    types::{Snapshot, SnapshotBytes, Types, Vote},
};
use cluster_core::ids::NodeId;
use futures::future::{Either, select};
use openraft::{
    BasicNode, OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{future::Future, pin::pin, sync::Arc, time::Duration};

#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) me: u64,
    pub(crate) transport: Arc<dyn Transport>,
}

/// One peer.
pub(crate) struct Peer {
    me: u64,
    target: u64,
    address: String,
    transport: Arc<dyn Transport>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        Peer { me: self.me, target, address: node.addr.clone(), transport: self.transport.clone() }
    }
}

impl Peer {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: RaftRpc,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, RPCError<Types>> {
        let call = self.transport.call(
            NodeId(self.target),
            self.address.clone(),
            kind,
            encode_brief(request),
            timeout,
        );
        // The transport should keep the time; that it doesn't must not hang consensus.
        let reply = match tokio::time::timeout(timeout, call).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error @ TransportError::Unreachable(..))) => {
                return Err(RPCError::Unreachable(Unreachable::new(&error)));
            }
            Ok(Err(error @ TransportError::Refused(..))) => {
                return Err(RPCError::Network(NetworkError::new(&error)));
            }
            Ok(Err(TransportError::TimedOut(..))) | Err(_) => {
                let action = match kind {
                    RaftRpc::Append => RPCTypes::AppendEntries,
                    RaftRpc::Vote | RaftRpc::PreVote => RPCTypes::Vote,
                    RaftRpc::Snapshot => RPCTypes::InstallSnapshot,
                    RaftRpc::TransferLeader => RPCTypes::TransferLeader,
                };
                return Err(RPCError::Timeout(Timeout { action, id: self.me, target: self.target, timeout }));
            }
        };
        decode("reply", &reply).map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    async fn send_chunks(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let data = &snapshot.snapshot;
        let sum = crc32c::crc32c(data);
        let total = data.len() as u64;
        let mut offset = 0;
        loop {
            let end = data.len().min(offset + CHUNK_BYTES);
            let chunk = Chunk {
                vote,
                meta: snapshot.meta.clone(),
                offset: offset as u64,
                total,
                sum,
                data: super::types::Command(data[offset..end].into()),
            };
            let reply: ChunkReply = self.call(RaftRpc::Snapshot, &chunk, CHUNK_TIMEOUT).await?;
            match reply {
                ChunkReply::Installed(response) => return Ok(response),
                ChunkReply::Continue { offset: next } if next > offset as u64 && next < total => {
                    offset = usize::try_from(next).expect("it is below the length of a slice");
                }
                ChunkReply::Continue { offset: next } => {
                    let told =
                        format!("{} asked for offset {next} of {total} after {end}", NodeId(self.target));
                    return Err(StreamingError::Network(NetworkError::from_string(told)));
                }
            }
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotBytes;

    /// openraft itself cuts a heartbeat short after its interval; entries may take a slow disk's time.
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call(RaftRpc::Append, &request, APPEND_TIMEOUT).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(RaftRpc::Vote, &request, option.hard_ttl()).await
    }

    /// openraft's default grants without asking.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(RaftRpc::PreVote, &request, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        match select(pin!(self.send_chunks(vote, snapshot)), pin!(cancel)).await {
            Either::Left((sent, _)) => sent,
            Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(RaftRpc::TransferLeader, &request, option.hard_ttl()).await
    }
}
