//! Following: how an agent without a vote keeps its copy of the ledger, and how a voter feeds those that follow it.
//!
//! A follower takes the whole ledger first and every committed entry after it from any one voter; when the stream
//! ends, or its voter has known no leader for a while, it takes another. Nothing of it is on disk: it isn't needed to
//! run what runs here, only to learn of changes.

use super::{
    identity::Membership,
    replica::{Change, Replica},
};
use crate::{
    consensus::{Consensus, Status},
    shared::Live,
    wire::{
        client::Peers,
        following::{FollowItem, followed},
    },
};
use cluster_core::ids::{ClusterId, LogId, NodeId};
use futures::{Stream, StreamExt as _};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::Instant,
};

/// Between two beats of a quiet feed. Who leads is told at once when it changes.
const BEAT_EVERY: Duration = Duration::from_millis(1_000);
/// A feed that says nothing for so long is given up.
const SILENT_FOR: Duration = Duration::from_millis(2_500);
/// A voter without a leader for so long is left for another.
const LEADERLESS_FOR: Duration = Duration::from_millis(1_500);
const OPEN_TIMEOUT: Duration = Duration::from_millis(800);
/// The first word of consensus comes to a founding voter within this.
const FOUNDING_SETTLES: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_millis(150);

/// What a follower last heard of consensus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub leader: Option<NodeId>,
    pub term: u64,
    pub config: LogId,
    pub voters: BTreeMap<NodeId, String>,
}

/// What a voter sends to one follower, until it lags too far behind or the snapshot is replaced.
pub fn feed(replica: &Replica, consensus: Consensus) -> impl Stream<Item = FollowItem> + Send + use<> {
    let (start, snapshot, entries) = replica.feed();
    let first = futures::stream::iter([FollowItem::Snapshot(Arc::new(snapshot)), beat(&consensus)]);
    let due = Instant::now() + BEAT_EVERY;
    let (status, told) = (consensus.watch(), said(&consensus.status()));
    let rest = futures::stream::unfold(
        (entries, consensus, status, due, told),
        move |(mut entries, consensus, mut status, mut due, mut told)| async move {
            let item = loop {
                // A beat is due whether or not entries come: who leads is news when there is most to write.
                let now_said = said(&status.borrow_and_update());
                if Instant::now() >= due || now_said != told {
                    (due, told) = (Instant::now() + BEAT_EVERY, now_said);
                    break beat(&consensus);
                }
                let change = tokio::select! {
                    () = tokio::time::sleep_until(due) => continue,
                    changed = status.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return None,
                    },
                    change = entries.recv() => change,
                };
                match change {
                    Ok(Change::Applied { at, .. }) if at.index <= start.index => {}
                    Ok(Change::Applied { at, command }) => break FollowItem::Entry { at, command },
                    Ok(Change::Replaced) | Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                }
            };
            Some((item, (entries, consensus, status, due, told)))
        },
    );
    first.chain(rest)
}

/// What of consensus a beat is about.
fn said(status: &Status) -> (Option<NodeId>, u64, Option<LogId>) {
    (status.leader, status.term, status.voter_config)
}

fn beat(consensus: &Consensus) -> FollowItem {
    let s = consensus.status();
    FollowItem::Beat {
        leader: s.leader,
        term: s.term,
        config: s.voter_config.unwrap_or_default(),
        voters: s.voters,
    }
}

/// One agent's following: a task for as long as it has no vote.
pub struct Follower {
    pub me: NodeId,
    pub membership: Membership,
    pub replica: Arc<Replica>,
    pub consensus: Consensus,
    pub peers: Arc<Peers>,
    pub live: watch::Receiver<Arc<Live>>,
    pub heard: watch::Sender<Heard>,
    /// Voters that a seed named, until the ledger tells.
    pub hints: Arc<Mutex<BTreeMap<NodeId, String>>>,
}

impl Follower {
    /// Never returns. Does nothing while this agent votes.
    pub async fn run(self) {
        let (mut turn, mut patient) = (0_usize, false);
        loop {
            tokio::time::sleep(TRY_AGAIN).await;
            let Some(cluster) = self.membership.cluster().filter(|_| !self.votes()) else { continue };
            // One that pledged itself is about to hear from consensus, which must find an untouched ledger.
            if !patient && self.membership.was_pledged().await {
                patient = true;
                tokio::time::sleep(FOUNDING_SETTLES).await;
                continue;
            }
            let candidates = self.candidates();
            if candidates.is_empty() {
                continue;
            }
            turn = turn.wrapping_add(1);
            let (node, address) = &candidates[turn % candidates.len()];
            let why = self.follow(cluster, address).await;
            tracing::debug!(voter = %node, address, why, "stopped following");
            if !self.votes() {
                self.heard.send_modify(|h| h.leader = None);
            }
        }
    }

    /// Whether consensus feeds the ledger here. A log says so before the first status does.
    fn votes(&self) -> bool {
        if self.consensus.is_initialized() {
            return true;
        }
        self.consensus.status().voters.iter().any(|(id, _)| *id == self.me)
    }

    /// Voters as far as known; before the first stream anyone that might be one.
    fn candidates(&self) -> Vec<(NodeId, String)> {
        let live = self.live.borrow().clone();
        let known = self.heard.borrow().voters.clone();
        let hints = self.hints.lock().expect("no holder of this lock panics").clone();
        let ids: Vec<NodeId> = if known.is_empty() {
            live.members.keys().chain(hints.keys()).copied().collect()
        } else {
            known.keys().copied().collect()
        };
        let address = |id: &NodeId| {
            let gossiped = live.members.get(id).map(|m| m.address.clone());
            gossiped.or_else(|| known.get(id).cloned()).or_else(|| hints.get(id).cloned())
        };
        let mut found: Vec<_> =
            ids.iter().filter(|id| **id != self.me).filter_map(|id| Some((*id, address(id)?))).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Follows one voter until something ends it; says what.
    async fn follow(&self, cluster: ClusterId, address: &str) -> String {
        let Ok(channel) = self.peers.channel(address) else { return "its address can't be dialled".into() };
        let mut items = match followed(channel, cluster, OPEN_TIMEOUT).await {
            Ok(items) => items,
            Err(error) => return error.to_string(),
        };
        let mut led_at = tokio::time::Instant::now();
        loop {
            let item = match tokio::time::timeout(SILENT_FOR, items.next()).await {
                Ok(Some(item)) => item,
                Ok(None) => return "the stream ended".into(),
                Err(_) => return "it fell silent".into(),
            };
            match item {
                FollowItem::Snapshot(bytes) => {
                    if let Err(error) = self.replica.follow(&bytes) {
                        return error;
                    }
                }
                FollowItem::Entry { at, command } => {
                    let _reply = self.replica.apply(at, &command);
                }
                FollowItem::Beat { leader, term, config, voters } => {
                    if leader.is_some() {
                        led_at = tokio::time::Instant::now();
                    } else if led_at.elapsed() > LEADERLESS_FOR {
                        return "it has known no leader for a while".into();
                    }
                    let heard = Heard { leader, term, config, voters: voters.into_iter().collect() };
                    self.heard.send_if_modified(|h| {
                        let changed = *h != heard;
                        *h = heard;
                        changed
                    });
                }
            }
            if self.votes() {
                return "this agent votes now".into();
            }
        }
    }
}
