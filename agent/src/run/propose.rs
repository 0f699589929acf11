//! How a command reaches the ledger from any agent: written here when this agent leads, handed to the leader when it
//! is known, tried again while leaders change. Every command carries a request id, so that a repetition is answered
//! and not done again.

use super::{gate::Gate, identity::Membership, replica::Replica};
use crate::{
    clock,
    consensus::{self, Consensus},
    limits::{PROPOSALS_IN_FLIGHT, REQUEST_TIMEOUT},
    shared::{Live, ProposeError, Raft, RaftView},
    wire::{
        client::Peers,
        codec,
        peer::{self, PeerError},
    },
};
use cluster_core::{
    ids::{LogId, NodeId, RequestId},
    ledger::{Body, Command, FEATURE_LEVEL, Reply},
    time::WallTime,
    timing::Timing,
};
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

/// Between two looks for a leader.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// A command handed on more often than this goes in circles.
const HOPS_MAX: u32 = 3;
/// One try through one leader.
const TRY_TIMEOUT: Duration = Duration::from_secs(4);
/// Waiting for a snapshot that an operator asked for.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(8);

pub struct Proposer {
    pub me: NodeId,
    pub membership: Membership,
    pub consensus: Consensus,
    pub peers: Arc<Peers>,
    pub live: watch::Receiver<Arc<Live>>,
    pub replica: Arc<Replica>,
    pub gate: Gate,
    pub waiting: Semaphore,
}

/// How one try ended.
enum Outcome {
    Written(LogId, Vec<u8>),
    /// Worth another try until the time is up.
    Again(ProposeError),
    Failed(ProposeError),
}

impl Proposer {
    #[must_use]
    pub fn new(
        me: NodeId,
        membership: Membership,
        consensus: Consensus,
        peers: Arc<Peers>,
        live: watch::Receiver<Arc<Live>>,
        replica: Arc<Replica>,
        timing: Timing,
    ) -> Self {
        let gate = Gate::new(me, &timing, replica.clone());
        let waiting = Semaphore::new(PROPOSALS_IN_FLIGHT);
        Self { me, membership, consensus, peers, live, replica, gate, waiting }
    }

    /// Wraps a body into a command of this moment.
    #[must_use]
    pub fn command(actor: String, request: RequestId, body: Body) -> Vec<u8> {
        Self::command_at(WallTime::default(), actor, request, body)
    }

    /// As of `at`, or of this moment if that is later.
    #[must_use]
    pub fn command_at(at: WallTime, actor: String, request: RequestId, body: Body) -> Vec<u8> {
        let proposed_at = clock::wall().max(at);
        codec::encode_command(&Command { level: FEATURE_LEVEL, actor, request, proposed_at, body })
    }

    /// Writes an encoded command through whoever leads. `hops`: how often it was handed on already.
    pub async fn write(&self, command: Vec<u8>, hops: u32) -> Result<(LogId, Vec<u8>), ProposeError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(ProposeError::Overloaded { limit: PROPOSALS_IN_FLIGHT });
        };
        let until = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let error = match self.try_once(&command, hops).await {
                Outcome::Written(at, reply) => return Ok((at, reply)),
                Outcome::Failed(error) => return Err(error),
                Outcome::Again(error) => error,
            };
            if Instant::now() + LOOK_AGAIN >= until {
                return Err(error);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn try_once(&self, command: &[u8], hops: u32) -> Outcome {
        let status = self.consensus.status();
        if status.role == consensus::Role::Leader {
            if let Some(held) = self.gate.answer(command) {
                return Outcome::Written(status.applied.unwrap_or_default(), held);
            }
            return self.write_here(command.to_vec()).await;
        }
        let known =
            status.leader.filter(|l| *l != self.me).or(self.live.borrow().leader.filter(|l| *l != self.me));
        let Some(leader) = known else {
            return Outcome::Again(ProposeError::NoLeader {
                detail: "none is elected, or none is reachable".into(),
            });
        };
        if hops >= HOPS_MAX {
            return Outcome::Failed(ProposeError::NoLeader {
                detail: "the agents don't agree on who leads".into(),
            });
        }
        self.hand_to(leader, command, hops).await
    }

    async fn write_here(&self, command: Vec<u8>) -> Outcome {
        use consensus::ProposeError as E;
        match self.consensus.propose(command).await {
            Ok((at, reply)) => Outcome::Written(at, reply),
            Err(E::NotLeader { .. } | E::Discarded { .. }) => {
                Outcome::Again(ProposeError::NoLeader { detail: "the leader changes just now".into() })
            }
            Err(E::Overloaded { limit }) => Outcome::Failed(ProposeError::Overloaded { limit }),
            Err(E::TimedOut(after)) => Outcome::Failed(ProposeError::Timeout(after)),
            Err(error @ E::TooLarge { .. }) => {
                Outcome::Failed(ProposeError::NoLeader { detail: error.to_string() })
            }
            Err(E::Stopped(_)) => Outcome::Failed(ProposeError::Stopping),
        }
    }

    /// Gives up early when another leader shows: a command in flight to a dead one would wait for its time-out.
    async fn hand_to(&self, leader: NodeId, command: &[u8], hops: u32) -> Outcome {
        let Some(address) = self.address_of(leader) else {
            let detail = format!("the address of the leader {leader} isn't known yet");
            return Outcome::Again(ProposeError::NoLeader { detail });
        };
        let unreachable =
            |detail: String| ProposeError::Unreachable { leader, address: address.clone(), detail };
        let (Some(cluster), Ok(channel)) = (self.membership.cluster(), self.peers.channel(&address)) else {
            return Outcome::Again(unreachable("it can't be dialled".into()));
        };
        let call = peer::propose(channel, cluster, command.to_vec(), hops + 1, TRY_TIMEOUT);
        let answer = tokio::select! {
            answer = call => answer,
            () = self.another_leads(leader) => return Outcome::Again(unreachable("another leads now".into())),
        };
        match answer {
            Ok((term, index, reply)) => Outcome::Written(LogId { term, index }, reply),
            Err(PeerError::Unreachable(detail)) => {
                // After a long cut a connection waits for up to a minute before it tries again: dialled anew.
                self.peers.forget(&address);
                Outcome::Again(unreachable(detail))
            }
            Err(PeerError::Refused(detail) | PeerError::Taken(detail)) => {
                Outcome::Again(ProposeError::NoLeader { detail })
            }
        }
    }

    fn address_of(&self, node: NodeId) -> Option<String> {
        let live = self.live.borrow();
        let gossiped = live.members.get(&node).map(|m| m.address.clone());
        gossiped
            .or_else(|| live.voters.get(&node).cloned())
            .or_else(|| self.replica.read(|l| l.nodes.get(&node).map(|n| n.profile.address.clone())))
    }

    /// Returns once this agent believes in a leader other than `old`.
    async fn another_leads(&self, old: NodeId) {
        let (mut status, mut live) = (self.consensus.watch(), self.live.clone());
        loop {
            let leader = status.borrow_and_update().leader.or(live.borrow_and_update().leader);
            if leader.is_some_and(|l| l != old) {
                return;
            }
            let changed = tokio::select! { c = status.changed() => c, c = live.changed() => c };
            if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Raft for Proposer {
    fn propose(
        &self,
        actor: String,
        request: RequestId,
        body: Body,
    ) -> BoxFuture<'_, Result<(LogId, Reply), ProposeError>> {
        Box::pin(async move {
            let (at, reply) = self.write(Self::command(actor, request, body), 0).await?;
            let reply = codec::decode_reply(&reply).map_err(|e| ProposeError::NoLeader {
                detail: format!("the leader's answer makes no sense: {e}"),
            })?;
            Ok((at, reply))
        })
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<(), ProposeError>> {
        Box::pin(async move {
            let read = self.consensus.read_index().await;
            read.map(|_| ()).map_err(|e| ProposeError::NoLeader { detail: e.to_string() })
        })
    }

    fn view(&self) -> RaftView {
        let s = self.consensus.status();
        let index = |id: Option<LogId>| id.map_or(0, |l| l.index);
        let observer = !s.voters.iter().any(|(id, _)| *id == self.me);
        RaftView {
            role: match s.role {
                _ if observer => "observer",
                consensus::Role::Leader => "leader",
                consensus::Role::Candidate => "candidate",
                consensus::Role::Follower => "follower",
                consensus::Role::Learner => "observer",
                consensus::Role::Stopped => "stopped",
            },
            term: if observer { self.live.borrow().term } else { s.term },
            last_log: index(s.last_log),
            committed: index(s.committed),
            applied: self.replica.read(|l| l.applied.index),
            snapshot: index(s.snapshot),
            log_entries: s.log_len,
        }
    }

    fn take_snapshot(&self) -> BoxFuture<'_, Result<u64, ProposeError>> {
        Box::pin(async move {
            let failed = |detail: String| ProposeError::NoLeader { detail };
            let before = self.consensus.status();
            if !before.voters.iter().any(|(id, _)| *id == self.me) {
                return Err(failed("this agent has no vote and keeps no log; ask a voter".into()));
            }
            let wanted = before.applied;
            self.consensus.trigger_snapshot().await.map_err(|e| failed(e.to_string()))?;
            let mut status = self.consensus.watch();
            let taken = status.wait_for(|s| s.snapshot >= wanted);
            match tokio::time::timeout(SNAPSHOT_TIMEOUT, taken).await {
                Ok(Ok(s)) => Ok(s.snapshot.map_or(0, |l| l.index)),
                Ok(Err(_)) => Err(ProposeError::Stopping),
                Err(_) => Err(ProposeError::Timeout(SNAPSHOT_TIMEOUT)),
            }
        })
    }
}
