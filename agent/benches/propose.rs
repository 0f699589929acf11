//! What a write costs and how long an election takes, idle and with every core busy: three voters in one process, joined by function calls, each
//! with its log on a real disk. `cargo bench -p holdfast --bench propose`.
//!
//! The three share cores and disk, so figures are for comparing, not for promising. No network is in them.

use cluster_core::ids::{LogId, NodeId};
use futures::{FutureExt, future::BoxFuture};
use holdfast::consensus::{
    Consensus, LogObserver, Machine, RaftRpc, Role, Settings, Store, Transport, TransportError,
};
use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const COMMAND: &[u8] = &[7; 100];
const ONE_BY_ONE: usize = 2_000;
const TOGETHER: usize = 40_000;
const ELECTIONS: usize = 10;
const BURNERS: usize = 10;
const BUSY: Duration = Duration::from_secs(10);

struct Nothing;

impl Machine for Nothing {
    fn apply(&mut self, _: LogId, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

impl LogObserver for Nothing {
    fn durable(&self, _upto: u64) {}
    fn opened(&self, _: Option<LogId>, _: Option<&[u8]>) {}
    fn appended(&self, _: LogId, _: &[u8]) {}
    fn voters_appended(&self, _: LogId, _: &[NodeId], _: bool) {}
    fn truncated(&self, _: u64) {}
    fn snapshot_installed(&self, _: LogId, _: &[u8]) {}
}

type Failed = Box<dyn Error + Send + Sync>;
/// Voters by id; `None`: silent.
type Peers = Arc<Mutex<BTreeMap<NodeId, Option<Consensus>>>>;

struct Link(NodeId, Peers);

impl Transport for Link {
    fn call(
        &self,
        target: NodeId,
        _: String,
        kind: RaftRpc,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, TransportError>> {
        async move {
            let find = |id| self.1.lock().expect("no holder panics").get(&id).cloned().flatten();
            let (Some(peer), Some(_)) = (find(target), find(self.0)) else {
                tokio::time::sleep(timeout).await;
                return Err(TransportError::TimedOut(target, timeout));
            };
            let refused = |error: holdfast::consensus::ConsensusError| {
                TransportError::Refused(target, error.to_string())
            };
            peer.handle(kind, &payload).await.map_err(refused)
        }
        .boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let peers = Peers::default();
    let mut voters = BTreeMap::new();
    for id in [1, 2, 3].map(NodeId) {
        let store = Store::Directory { path: dir.path().join(id.to_string()), must_exist: false };
        let link = Arc::new(Link(id, peers.clone()));
        let begun = Box::new(|| -> BoxFuture<'static, _> { Box::pin(std::future::ready(Ok(()))) });
        let settings = Settings::new(id, store);
        let voter = Consensus::open(settings, Box::new(Nothing), Arc::new(Nothing), link, begun).await?;
        peers.lock().expect("no holder panics").insert(id, Some(voter.clone()));
        voters.insert(id, voter);
    }
    voters[&NodeId(1)].initialize(voters.keys().map(|id| (*id, String::new())).collect()).await?;

    let leader = voters[&leader(&voters, None).await].clone();
    // A new leader refuses writes until a majority has answered it once.
    while leader.confirm_leader().await.is_err() {}
    let mut took = Vec::new();
    for _ in 0..ONE_BY_ONE {
        took.push(propose(&leader).await?);
    }
    report("1 writer", took);
    for writers in [64, 512] {
        let start = Instant::now();
        let took = together(&leader, writers).await?;
        let rate = took.len() as f64 / start.elapsed().as_secs_f64();
        report(&format!("{writers} writers, {rate:.0} writes/s"), took);
    }
    for (what, hint) in [("silent leader", false), ("leader known to be gone", true)] {
        let mut took = Vec::new();
        for _ in 0..ELECTIONS {
            took.push(election(&voters, &peers, hint).await);
        }
        report(&format!("{what} to next write"), took);
    }
    let changes = busy(&voters).await;
    println!("{BURNERS} busy threads for {BUSY:?}: the term grew by {changes}");
    Ok(())
}

/// How many terms the voters go through while other threads want every core; none is what one wants.
async fn busy(voters: &BTreeMap<NodeId, Consensus>) -> u64 {
    let term = || voters.values().map(|v| v.status().term).max().unwrap_or_default();
    let (before, until) = (term(), Instant::now() + BUSY);
    let burners: Vec<_> =
        (0..BURNERS).map(|_| std::thread::spawn(move || while Instant::now() < until {})).collect();
    tokio::time::sleep(BUSY).await;
    for burner in burners {
        burner.join().expect("a loop doesn't panic");
    }
    term() - before
}

async fn propose(leader: &Consensus) -> Result<Duration, Failed> {
    let start = Instant::now();
    leader.propose(COMMAND.to_vec()).await?;
    Ok(start.elapsed())
}

async fn together(leader: &Consensus, writers: usize) -> Result<Vec<Duration>, Failed> {
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let leader = leader.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for _ in 0..TOGETHER / writers {
                    took.push(propose(&leader).await?);
                }
                Ok::<_, Failed>(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    Ok(took)
}

/// The leader falls silent; until another voter has accepted a write.
async fn election(voters: &BTreeMap<NodeId, Consensus>, peers: &Peers, hint: bool) -> Duration {
    let old = leader(voters, None).await;
    // The followers' lease is as fresh as in a quiet cluster.
    tokio::time::sleep(Duration::from_millis(730)).await;
    let muted = peers.lock().expect("no holder panics").insert(old, None);
    let start = Instant::now();
    if hint {
        voters.iter().filter(|(id, _)| **id != old).for_each(|(_, voter)| voter.leader_is_gone(old));
    }
    loop {
        let new = leader(voters, Some(old)).await;
        if propose(&voters[&new]).await.is_ok() {
            break;
        }
    }
    let took = start.elapsed();
    peers.lock().expect("no holder panics").insert(old, muted.flatten());
    let mut status = voters[&old].watch();
    status.wait_for(|status| status.role == Role::Follower).await.expect("it runs");
    took
}

async fn leader(voters: &BTreeMap<NodeId, Consensus>, but: Option<NodeId>) -> NodeId {
    loop {
        let found = voters.iter().find(|(id, v)| Some(**id) != but && v.status().role == Role::Leader);
        if let Some((id, _)) = found {
            return *id;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
}
