//! What a peer sent, given to openraft, and the answer. Holds at most one unfinished snapshot.

use super::{
    RaftRpc,
    codec::{decode, encode_brief},
    error::ConsensusError,
    pace::Heard,
    state_machine::StateMachine,
    types::{Command, SnapshotMeta, Types, Vote},
};
use crate::storage::snapshot::SNAPSHOT_BYTES;
use openraft::{
    Raft,
    errors::RaftError,
    raft::{AppendEntriesResponse, SnapshotResponse},
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

/// A piece of a snapshot, with all that tells one snapshot from another.
#[derive(Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) offset: u64,
    pub(crate) total: u64,
    /// crc32c of the whole.
    pub(crate) sum: u32,
    pub(crate) data: Command,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum ChunkReply {
    Continue { offset: u64 },
    Installed(SnapshotResponse<Types>),
}

#[derive(Default)]
struct Unfinished {
    vote: Option<Vote>,
    meta: SnapshotMeta,
    sum: u32,
    data: Vec<u8>,
}

pub(crate) struct Receiver {
    raft: Raft<Types, StateMachine>,
    heard: Arc<Heard>,
    unfinished: Mutex<Unfinished>,
}

impl Receiver {
    pub(crate) fn new(raft: Raft<Types, StateMachine>, heard: Arc<Heard>) -> Self {
        Self { raft, heard, unfinished: Mutex::default() }
    }

    pub(crate) async fn handle(&self, kind: RaftRpc, payload: &[u8]) -> Result<Vec<u8>, ConsensusError> {
        let raft = &self.raft;
        match kind {
            RaftRpc::Append => {
                // The leader's lease here counts from its arrival; the answer waits for the disk.
                let arrived = Instant::now();
                let reply = raft.append_entries(decode("append request", payload)?).await;
                if !matches!(reply, Err(_) | Ok(AppendEntriesResponse::HigherVote(_))) {
                    self.heard.at(arrived);
                }
                answer(reply)
            }
            RaftRpc::Vote => answer(raft.vote(decode("vote request", payload)?).await),
            RaftRpc::PreVote => answer(raft.pre_vote(decode("pre-vote request", payload)?).await),
            RaftRpc::TransferLeader => {
                let request = decode("leader transfer", payload)?;
                Ok(encode_brief(&raft.handle_transfer_leader(request).await.map_err(|e| stopped(&e))?))
            }
            RaftRpc::Snapshot => self.chunk(decode("snapshot chunk", payload)?).await,
        }
    }

    async fn chunk(&self, chunk: Chunk) -> Result<Vec<u8>, ConsensusError> {
        let (vote, meta, total) = (chunk.vote, chunk.meta.clone(), chunk.total);
        let Some(data) = self.collect(chunk)? else {
            let offset = self.lock().data.len() as u64;
            return Ok(encode_brief(&ChunkReply::Continue { offset }));
        };
        debug_assert_eq!(data.len() as u64, total, "a snapshot is whole when it has all its bytes");
        let snapshot = openraft::Snapshot { meta, snapshot: Arc::new(data) };
        let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(|e| stopped(&e))?;
        Ok(encode_brief(&ChunkReply::Installed(response)))
    }

    /// The whole snapshot once its last piece is there. A piece from the start begins anew: the sender was restarted
    /// or another leader took over.
    fn collect(&self, chunk: Chunk) -> Result<Option<Vec<u8>>, ConsensusError> {
        let refuse = |why: String| Err(ConsensusError::Chunk(why));
        if chunk.total > SNAPSHOT_BYTES as u64 {
            return refuse(format!("the snapshot has {} bytes, the limit is {SNAPSHOT_BYTES}", chunk.total));
        }
        let mut unfinished = self.lock();
        if chunk.offset == 0 {
            *unfinished =
                Unfinished { vote: Some(chunk.vote), meta: chunk.meta, sum: chunk.sum, data: Vec::new() };
        } else if unfinished.vote != Some(chunk.vote)
            || unfinished.meta != chunk.meta
            || unfinished.sum != chunk.sum
        {
            return refuse(format!("the chunk at {} is of a snapshot that wasn't begun here", chunk.offset));
        }
        let have = unfinished.data.len() as u64;
        if chunk.offset != have || have + chunk.data.0.len() as u64 > chunk.total {
            return refuse(format!("the chunk at {} follows {have} of {} bytes", chunk.offset, chunk.total));
        }
        unfinished.data.extend_from_slice(&chunk.data.0);
        if (unfinished.data.len() as u64) < chunk.total {
            return Ok(None);
        }
        let whole = std::mem::take(&mut *unfinished);
        if crc32c::crc32c(&whole.data) != whole.sum {
            return refuse("its checksum is wrong: it was damaged on the way".to_owned());
        }
        Ok(Some(whole.data))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Unfinished> {
        self.unfinished.lock().expect("no holder of this lock panics")
    }
}

fn answer<T: Serialize>(result: Result<T, RaftError<Types>>) -> Result<Vec<u8>, ConsensusError> {
    result.map(|reply| encode_brief(&reply)).map_err(|error| stopped(&error))
}

pub(crate) fn stopped(error: &impl std::error::Error) -> ConsensusError {
    ConsensusError::Stopped(error.to_string())
}
