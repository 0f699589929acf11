//! Following: how an agent without a vote keeps its copy of the ledger, and how a voter feeds those that follow it.
//!
//! A follower takes the whole ledger first and every committed entry after it from any one voter; when the stream
//! ends, or its voter has known no leader for a while, it takes another. A restarted agent needs one well within its
//! lease, and most addresses that it knows may be dead: it dials them in random order, several at once. Nothing of it is on disk: it isn't needed to
//! run what runs here, only to learn of changes.

use super::{
    identity::Membership,
    replica::{Change, Replica},
};
use crate::{
    clock,
    consensus::{Consensus, Role, Status},
    shared::{Live, LiveState},
    wire::{
        client::Peers,
        following::{FollowItem, followed},
    },
};
use cluster_core::ids::{ClusterId, LogId, NodeId};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::JoinSet,
    time::Instant,
};

/// Between two beats of a quiet feed, and of one whose voter knows no leader. Who leads is told at once when it changes.
const BEAT_EVERY: Duration = Duration::from_secs(5);
const LEADERLESS_BEAT_EVERY: Duration = Duration::from_millis(500);
/// A feed that says nothing for so long is given up. That its voter's host is gone, gossip finds much sooner.
const SILENT_FOR: Duration = Duration::from_millis(10_500);
/// A voter without a leader for so long is left for another.
const LEADERLESS_FOR: Duration = Duration::from_millis(1_500);
const OPEN_TIMEOUT: Duration = Duration::from_millis(800);
/// Another candidate is dialled after this while those before it say nothing; at once when one refuses. A living voter
/// answers sooner, so that it rarely encodes its ledger for nobody.
const DIAL_NEXT: Duration = Duration::from_millis(25);
/// Candidates dialled at the same time; so many can be silent until the first of them is given up.
const DIALLED_MAX: usize = 32;
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

/// What a follower hears from its voter.
type Feed = BoxStream<'static, FollowItem>;

/// What a voter sends to one follower, until it lags too far behind or the snapshot is replaced.
pub fn feed(replica: &Replica, consensus: Consensus) -> impl Stream<Item = FollowItem> + Send + use<> {
    let (start, snapshot, entries) = replica.feed();
    let first = futures::stream::iter([FollowItem::Snapshot(Arc::new(snapshot)), beat(&consensus)]);
    let (status, told) = (consensus.watch(), said(&consensus.status()));
    let due = next_beat(&told);
    let rest = futures::stream::unfold(
        (entries, consensus, status, due, told),
        move |(mut entries, consensus, mut status, mut due, mut told)| async move {
            let item = loop {
                // A beat is due whether or not entries come: who leads is news when there is most to write.
                let now_said = {
                    let now = status.borrow_and_update();
                    if now.role == Role::Stopped {
                        return None;
                    }
                    said(&now)
                };
                if Instant::now() >= due || now_said != told {
                    (due, told) = (next_beat(&now_said), now_said);
                    break beat(&consensus);
                }
                let change = tokio::select! {
                    () = tokio::time::sleep_until(due) => continue,
                    _ = status.changed() => continue,
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
type Said = (Option<NodeId>, u64, Option<LogId>);

fn said(status: &Status) -> Said {
    (status.leader, status.term, status.voter_config)
}

fn next_beat((leader, ..): &Said) -> Instant {
    Instant::now() + clock::until_tick(if leader.is_some() { BEAT_EVERY } else { LEADERLESS_BEAT_EVERY })
}

fn beat(consensus: &Consensus) -> FollowItem {
    let s = consensus.status();
    FollowItem::Beat {
        leader: consensus.leader(),
        term: s.term,
        config: s.voter_config.unwrap_or_default(),
        voters: s.voters.clone(),
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
    /// For as long as there is consensus. Does nothing while this agent votes.
    pub async fn run(self) {
        let (mut left, mut patient, mut status) = (None, false, self.consensus.watch());
        loop {
            tokio::time::sleep(TRY_AGAIN).await;
            status.mark_unchanged();
            if self.votes() {
                if status.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let Some(cluster) = self.membership.cluster() else { continue };
            // One that pledged itself is about to hear from consensus, which must find an untouched ledger.
            if !patient && self.membership.was_pledged().await {
                patient = true;
                tokio::time::sleep(FOUNDING_SETTLES).await;
                continue;
            }
            let Some((node, items)) = self.find(cluster, left).await else { continue };
            left = Some(node);
            let why = self.follow(node, items).await;
            tracing::debug!(voter = %node, why, "stopped following");
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

    /// The stream of the first voter that gives one. The one left last comes last, who seems dead before it.
    async fn find(&self, cluster: ClusterId, left: Option<NodeId>) -> Option<(NodeId, Feed)> {
        let alive = |id: &NodeId| {
            self.live.borrow().members.get(id).is_some_and(|m| m.state == LiveState::Alive && m.connected)
        };
        let mut order = self.candidates();
        order.sort_by_cached_key(|(id, _)| (Some(*id) == left, !alive(id), rand::random::<u64>()));
        let peers = self.peers.clone();
        first_to_open(order, move |address| {
            let channel = peers.channel(&address);
            async move {
                let channel = channel.map_err(|_| "its address can't be dialled".to_owned())?;
                followed(channel, cluster, OPEN_TIMEOUT).await.map_err(|e| e.to_string())
            }
        })
        .await
    }

    /// Voters as far as known, by their feed or by those who were met: an agent that was away while all voters that it
    /// knew were replaced finds the others. To try everyone who might be one is a storm where hundreds join at once: they
    /// ask for them (`join`).
    fn candidates(&self) -> Vec<(NodeId, String)> {
        let live = self.live.borrow().clone();
        let mut voters = self.hints.lock().expect("no holder of this lock panics").clone();
        voters.extend(self.heard.borrow().voters.clone());
        voters.remove(&self.me);
        let address = |(id, told): (NodeId, String)| {
            let gossiped = live.members.get(&id).map(|m| m.address.clone());
            (id, gossiped.unwrap_or(told))
        };
        voters.into_iter().map(address).collect()
    }

    fn lives(&self, voter: NodeId) -> bool {
        self.live.borrow().members.get(&voter).is_some_and(|m| m.state == LiveState::Alive)
    }

    /// Whether gossip has come to doubt this voter, and thinks better of another.
    fn is_doubted(&self, voter: NodeId) -> bool {
        !self.lives(voter) && self.candidates().iter().any(|(other, _)| self.lives(*other))
    }

    /// Follows this voter until something ends it; says what.
    async fn follow(&self, node: NodeId, mut items: Feed) -> String {
        let mut live = self.live.clone();
        let (mut leaderless_since, mut heard_at) = (None, Instant::now());
        // Whoever was doubted when it gave this feed is doubted wrongly.
        let mut trusted = self.lives(node);
        loop {
            let item = tokio::select! {
                item = tokio::time::timeout_at(heard_at + SILENT_FOR, items.next()) => item,
                // Others find its host silent long before its feed is given up, and its work is to move.
                changed = live.changed() => {
                    if changed.is_err() {
                        return "this agent ends".into();
                    }
                    if trusted && self.is_doubted(node) {
                        return "it is suspected".into();
                    }
                    trusted |= self.lives(node);
                    continue;
                }
            };
            heard_at = Instant::now();
            let item = match item {
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
                        leaderless_since = None;
                    } else if leaderless_since.get_or_insert_with(Instant::now).elapsed() > LEADERLESS_FOR {
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

/// Dials one after the other without waiting for the silent ones; whatever else was opened is closed again.
async fn first_to_open<T, O>(order: Vec<(NodeId, String)>, open: impl Fn(String) -> O) -> Option<(NodeId, T)>
where
    T: Send + 'static,
    O: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut order = order.into_iter();
    let mut calls = JoinSet::new();
    loop {
        let room = calls.len() < DIALLED_MAX;
        if let Some((node, address)) = room.then(|| order.next()).flatten() {
            let call = open(address.clone());
            calls.spawn(async move { (node, address, call.await) });
        }
        let more = calls.len() < DIALLED_MAX && order.len() > 0;
        tokio::select! {
            answer = calls.join_next() => match answer? {
                Ok((node, _, Ok(opened))) => return Some((node, opened)),
                Ok((node, address, Err(why))) => tracing::debug!(%node, address, why, "can't be followed"),
                Err(error) => tracing::error!(%error, "dialling a voter panicked"),
            },
            () = tokio::time::sleep(DIAL_NEXT), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(count: u64) -> Vec<(NodeId, String)> {
        (1..=count).map(|id| (NodeId(id), format!("h{id}"))).collect()
    }

    /// A host that is gone: nothing until the time-out.
    async fn silence() -> Result<&'static str, String> {
        tokio::time::sleep(OPEN_TIMEOUT).await;
        Err("no stream in time".to_owned())
    }

    #[tokio::test]
    async fn a_living_voter_is_found_well_within_a_lease_behind_many_dead_ones() {
        let begun = Instant::now();
        let found = first_to_open(hints(40), |address| async move {
            if address == "h40" { Ok("a stream") } else { silence().await }
        });
        assert_eq!(found.await, Some((NodeId(40), "a stream")));
        assert!(begun.elapsed() < Duration::from_millis(1_600), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn refusals_cost_no_time_and_nobody_is_found_where_nobody_is() {
        let begun = Instant::now();
        let refuse = |address: String| async move { Err::<(), _>(format!("{address} has no vote")) };
        assert_eq!(first_to_open(hints(500), refuse).await, None);
        assert_eq!(first_to_open(Vec::new(), refuse).await, None);
        assert!(begun.elapsed() < Duration::from_millis(1_000), "{:?}", begun.elapsed());
    }
}
