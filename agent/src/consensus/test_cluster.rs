//! Voters in one process, joined by function calls that can be cut: what the tests of this module stand on.

use super::{
    Consensus, ConsensusError, LogObserver, MESSAGE_BYTES, Machine, ProposeError, RaftRpc, Role, Settings,
    Store, Transport, TransportError,
};
use cluster_core::ids::{LogId, NodeId};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Every wait in these tests ends here at the latest.
const PATIENCE: Duration = Duration::from_secs(30);

/// A set of numbers, told one by one, with ballast that makes its snapshot as large as a test likes.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) seen: Arc<Mutex<BTreeSet<u64>>>,
    pub(super) ballast_bytes: usize,
}

impl Machine for Numbers {
    fn apply(&mut self, at: LogId, command: &[u8]) -> Vec<u8> {
        self.seen.lock().unwrap().insert(u64::from_le_bytes(command[..8].try_into().unwrap()));
        at.index.to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        let seen = self.seen.lock().unwrap();
        let mut bytes = (seen.len() as u64).to_le_bytes().to_vec();
        bytes.extend(seen.iter().flat_map(|n| n.to_le_bytes()));
        bytes.resize(bytes.len() + self.ballast_bytes, 7);
        bytes
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (count, rest) = bytes.split_first_chunk::<8>().ok_or("too short")?;
        let numbers = rest.chunks_exact(8).take(u64::from_le_bytes(*count) as usize);
        *self.seen.lock().unwrap() = numbers.map(|n| u64::from_le_bytes(n.try_into().unwrap())).collect();
        Ok(())
    }
}

/// Holds what the log holds, as it was told.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) log: Mutex<BTreeMap<u64, Vec<u8>>>,
    pub(super) voters: Mutex<Vec<NodeId>>,
    pub(super) installed: Mutex<Vec<LogId>>,
}

impl LogObserver for Witness {
    fn durable(&self, _upto: u64) {}

    fn opened(&self, _: Option<LogId>, _: Option<&[u8]>) {
        assert!(self.log.lock().unwrap().is_empty(), "opened comes first");
    }

    fn appended(&self, at: LogId, command: &[u8]) {
        self.log.lock().unwrap().insert(at.index, command.to_vec());
    }

    fn voters_appended(&self, _: LogId, voters: &[NodeId], _: bool) {
        *self.voters.lock().unwrap() = voters.to_vec();
    }

    fn truncated(&self, from_index: u64) {
        self.log.lock().unwrap().split_off(&from_index);
    }

    fn snapshot_installed(&self, at: LogId, _: &[u8]) {
        self.installed.lock().unwrap().push(at);
    }
}

#[derive(Default)]
struct Links {
    up: BTreeMap<NodeId, Consensus>,
    /// Silent: neither heard nor refused.
    cut: BTreeSet<NodeId>,
}

struct Link {
    me: NodeId,
    links: Arc<Mutex<Links>>,
}

impl Transport for Link {
    fn call(
        &self,
        target: NodeId,
        address: String,
        kind: RaftRpc,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, TransportError>> {
        assert!(payload.len() <= MESSAGE_BYTES, "{kind:?} of {} bytes", payload.len());
        assert_eq!(address, format!("addr-{}", target.0));
        async move {
            let silent = || {
                let links = self.links.lock().unwrap();
                links.cut.contains(&self.me) || links.cut.contains(&target)
            };
            let peer = self.links.lock().unwrap().up.get(&target).cloned();
            if silent() {
                tokio::time::sleep(timeout).await;
                return Err(TransportError::TimedOut(target, timeout));
            }
            let Some(peer) = peer else {
                return Err(TransportError::Unreachable(target, "connection refused".to_owned()));
            };
            let reply = peer.handle(kind, &payload).await;
            if silent() {
                tokio::time::sleep(timeout).await;
                return Err(TransportError::TimedOut(target, timeout));
            }
            reply.map_err(|error| TransportError::Refused(target, error.to_string()))
        }
        .boxed()
    }
}

pub(super) struct Node {
    pub(super) consensus: Consensus,
    pub(super) numbers: Numbers,
    pub(super) witness: Arc<Witness>,
}

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    links: Arc<Mutex<Links>>,
    dir: tempfile::TempDir,
    tune: fn(&mut Settings),
    ballast_bytes: usize,
}

impl Cluster {
    /// Three voters with nodes 1, 2 and 3, founded, with a leader.
    pub(super) async fn three(tune: fn(&mut Settings), ballast_bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let links = Arc::default();
        let mut cluster = Self { nodes: BTreeMap::new(), links, dir, tune, ballast_bytes };
        for id in 1..=3 {
            cluster.start(NodeId(id)).await;
        }
        let voters = (1..=3).map(|id| (NodeId(id), format!("addr-{id}"))).collect::<BTreeMap<_, _>>();
        let founder = cluster.on(NodeId(1));
        assert!(!founder.is_initialized());
        founder.initialize(voters.clone()).await.unwrap();
        assert!(matches!(founder.initialize(voters).await, Err(ConsensusError::AlreadyFounded)));
        cluster.leader().await;
        cluster
    }

    pub(super) async fn start(&mut self, id: NodeId) {
        let path = self.dir.path().join(id.to_string());
        let must_exist = path.exists();
        let numbers = Numbers { ballast_bytes: self.ballast_bytes, ..Numbers::default() };
        let witness = Arc::new(Witness::default());
        let mut settings = Settings::new(id, Store::Directory { path, must_exist });
        (self.tune)(&mut settings);
        let link = Arc::new(Link { me: id, links: self.links.clone() });
        let consensus =
            Consensus::open(settings, Box::new(numbers.clone()), witness.clone(), link, unnoted())
                .await
                .unwrap();
        self.links.lock().unwrap().up.insert(id, consensus.clone());
        self.nodes.insert(id, Node { consensus, numbers, witness });
    }

    /// Unreachable from one moment to the next.
    pub(super) async fn kill(&mut self, id: NodeId) {
        let consensus = self.links.lock().unwrap().up.remove(&id).unwrap();
        consensus.shutdown().await;
        self.nodes.remove(&id);
    }

    pub(super) fn dir_of(&self, id: NodeId) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(id.to_string())
    }

    pub(super) fn cut(&self, id: NodeId) {
        self.links.lock().unwrap().cut.insert(id);
    }

    pub(super) fn heal(&self) {
        self.links.lock().unwrap().cut.clear();
    }

    pub(super) fn on(&self, id: NodeId) -> &Consensus {
        &self.nodes[&id].consensus
    }

    /// One that confirmed its leadership, among those that aren't cut off.
    pub(super) async fn leader(&self) -> NodeId {
        let start = Instant::now();
        loop {
            for (id, node) in &self.nodes {
                let cut = self.links.lock().unwrap().cut.contains(id);
                if !cut
                    && node.consensus.status().role == Role::Leader
                    && node.consensus.confirm_leader().await.is_ok()
                {
                    return *id;
                }
            }
            assert!(start.elapsed() < PATIENCE, "no leader");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn follower(&self) -> NodeId {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    /// Until some voter takes it.
    pub(super) async fn write(&self, number: u64) -> LogId {
        let start = Instant::now();
        loop {
            let leader = self.leader().await;
            match self.on(leader).propose(command(number)).await {
                Ok((at, _)) => return at,
                Err(error @ ProposeError::TooLarge { .. }) => panic!("{error}"),
                Err(_) => assert!(start.elapsed() < PATIENCE, "no voter takes the write"),
            }
        }
    }

    /// Waits for a condition that must come true.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn seen(&self, id: NodeId) -> BTreeSet<u64> {
        self.nodes[&id].numbers.seen.lock().unwrap().clone()
    }

    pub(super) async fn stop(mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.kill(id).await;
        }
    }
}

pub(super) fn command(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// Nobody remembers that there is a log.
pub(super) fn unnoted() -> super::Begun {
    Box::new(|| Box::pin(std::future::ready(Ok(()))))
}
