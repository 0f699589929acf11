//! One node: its directory, its keeper, and the agent's hand on it.

use cluster_core::{
    ids::{ClusterId, LeaseEpoch, LogId, NodeId},
    lease::{Grant, Renewal, Verdict},
    timing::LAN,
};
use holdfast::{
    clock,
    keeper::{
        handle::{Keeper, KeeperEvent, Setup},
        protocol::{Issued, Tell, ToAgent, ToKeeper},
        secret::Secret,
        state::State,
    },
    wire::convert::RenewalAnswer,
    workload::{page::PageReader, sys::ProcessId},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

pub const ME: NodeId = NodeId(0x11);
pub const PEER: NodeId = NodeId(0x22);
pub const CLUSTER: ClusterId = ClusterId(5);
pub const EPOCH: LeaseEpoch = LeaseEpoch(7);
/// Nothing that is waited for takes nearly so long, unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const FEED_EVERY: Duration = Duration::from_millis(200);

/// One node: a directory, and an agent's hand on its keeper.
pub struct Node {
    pub dir: tempfile::TempDir,
    pub setup: Setup,
    pub keeper: Option<Keeper>,
    pub events: mpsc::Receiver<KeeperEvent>,
    pub tell: Tell,
}

pub fn free_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Node {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let guards = dir.path().join("guards");
        fs::create_dir(&guards).unwrap();
        let setup = Setup {
            exe: PathBuf::from(env!("CARGO_BIN_EXE_holdfast")),
            node: ME,
            boot: clock::boot_id().unwrap(),
            listen: free_port(),
            secret: Secret::load_or_make(&guards).unwrap(),
            dir: guards,
        };
        let (keeper, events) = attach(&setup).await;
        let tell = Tell { profile: LAN.name.into(), cluster: Some(CLUSTER), ..Tell::default() };
        Self { dir, setup, keeper: Some(keeper), events, tell }
    }

    pub fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().unwrap()
    }

    pub fn feed(&self) {
        self.keeper().send(&ToKeeper::Tell(self.tell.clone()));
    }

    /// The agent is gone, as if it had been killed.
    pub async fn lose_agent(&mut self) {
        self.keeper = None;
        while self.events.recv().await.is_some() {}
    }

    pub async fn next_agent(&mut self) {
        assert!(self.keeper.is_none());
        let (keeper, events) = attach(&self.setup).await;
        (self.keeper, self.events) = (Some(keeper), events);
    }

    pub fn process(&self) -> ProcessId {
        State::read(&self.setup.dir).unwrap().unwrap().process
    }

    /// Feeds until the keeper says what `pick` looks for.
    pub async fn hear<T>(&mut self, pick: impl Fn(&KeeperEvent) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            self.feed();
            let until = tokio::time::Instant::now() + FEED_EVERY;
            while let Ok(Some(event)) = tokio::time::timeout_at(until, self.events.recv()).await {
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        }
        panic!("the keeper never said it");
    }

    /// This node alone votes.
    pub fn grant_to_itself(&mut self) {
        self.grant_with(vec![ME]);
    }

    pub fn grant_with(&mut self, voters: Vec<NodeId>) {
        self.tell.issued = Issued::Granted(Grant {
            epoch: EPOCH,
            voters: vec![voters.into_iter().collect()],
            voter_config: LogId { term: 1, index: 2 },
            lease: LAN.lease,
        });
        self.tell.wanted = Some(true);
    }

    pub async fn asked_itself(&mut self) -> Renewal {
        self.hear(|event| match event {
            KeeperEvent::Said(ToAgent::Asked { from: None, renewal, .. }) => Some(*renewal),
            _ => None,
        })
        .await
    }

    pub fn acknowledge(&self, r: &Renewal) {
        let (session, nonce) = (r.session, r.nonce);
        let answer = RenewalAnswer { voter: ME, session, nonce, verdict: Verdict::Acked };
        self.keeper().send(&ToKeeper::Heard(answer));
    }

    /// What guards of this node go by.
    pub fn has_lease(&self) -> bool {
        let page = PageReader::open(&self.setup.dir, EPOCH);
        page.is_ok_and(|p| p.read().is_ok_and(|content| !content.deadline.is_over(clock::now())))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ends the keeper too, when a test has failed.
        if let Ok(Some(state)) = State::read(&self.setup.dir)
            && state.process.is_alive().unwrap_or(false)
        {
            signal(state.process, Signal::KILL);
        }
        let _keep = &self.dir;
    }
}

pub async fn attach(setup: &Setup) -> (Keeper, mpsc::Receiver<KeeperEvent>) {
    let (told, events) = mpsc::channel(4_096);
    (Keeper::start(setup.clone(), told).await.unwrap(), events)
}

pub fn signal(process: ProcessId, signal: Signal) {
    kill_process(Pid::from_raw(process.pid.cast_signed()).unwrap(), signal).unwrap();
}

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn is_alive(process: ProcessId) -> bool {
    process.is_alive().unwrap()
}
