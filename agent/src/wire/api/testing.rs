//! Agents of a test: the real services over a ledger that commits at once.

use super::routes;
use crate::{
    shared::{ChannelTester, Live, LogReader, ProposeError, Raft, RaftView, Shared},
    view::testing::{Stage, identity, play},
    wire::client::Peers,
};
use cluster_core::{
    ids::{LogId, RequestId},
    ledger::{Body, Ledger, Reply},
    time::WallTime,
};
use futures::future::BoxFuture;
use std::sync::{Arc, RwLock};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
};
use tokio_stream::wrappers::TcpListenerStream;

/// Commits at once when it leads, and has no leader otherwise.
struct Instantly {
    leads: bool,
    ledger: Arc<RwLock<Ledger>>,
    applied: Arc<watch::Sender<u64>>,
}

fn no_leader() -> ProposeError {
    ProposeError::NoLeader { detail: "this agent doesn't lead".into() }
}

impl Raft for Instantly {
    fn propose(
        &self,
        actor: String,
        request: RequestId,
        body: Body,
    ) -> BoxFuture<'_, Result<(LogId, Reply), ProposeError>> {
        Box::pin(async move {
            if !self.leads {
                return Err(no_leader());
            }
            let done = play(&mut self.ledger.write().unwrap(), WallTime(0), &actor, request, body);
            self.applied.send_replace(done.0.index);
            Ok(done)
        })
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<(), ProposeError>> {
        let leads = self.leads;
        Box::pin(async move { if leads { Ok(()) } else { Err(no_leader()) } })
    }

    fn view(&self) -> RaftView {
        RaftView { role: if self.leads { "leader" } else { "follower" }, ..RaftView::default() }
    }

    fn take_snapshot(&self) -> BoxFuture<'_, Result<u64, ProposeError>> {
        Box::pin(async { Ok(1) })
    }
}

struct Nothing;

impl ChannelTester for Nothing {
    fn test(&self, channel: String) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { Err(format!("{channel} refused")) })
    }
}

impl LogReader for Nothing {
    fn tail(&self, workload: &str, index: u32, _: u64) -> BoxFuture<'_, Result<(Vec<u8>, u64), String>> {
        let text = format!("log of {workload} {index}\n").into_bytes();
        Box::pin(async move { Ok((text, 1)) })
    }

    fn after(&self, _: &str, _: u32, offset: u64) -> BoxFuture<'_, Result<(Vec<u8>, u64), String>> {
        Box::pin(async move { Ok((Vec::new(), offset)) })
    }
}

pub struct TestAgent {
    pub shared: Arc<Shared>,
    pub live: watch::Sender<Arc<Live>>,
}

/// One ledger for all agents: as if replication took no time.
pub struct Replica {
    pub ledger: Arc<RwLock<Ledger>>,
    applied: Arc<watch::Sender<u64>>,
}

impl Replica {
    pub fn of(stage: &Stage) -> Self {
        let applied = Arc::new(watch::channel(stage.ledger.applied.index).0);
        Self { ledger: Arc::new(RwLock::new(stage.ledger.clone())), applied }
    }

    pub fn agent(&self, id: u64, live: Live) -> TestAgent {
        let (live, seen) = watch::channel(Arc::new(live));
        let raft = Instantly {
            leads: seen.borrow().is_leader,
            ledger: Arc::clone(&self.ledger),
            applied: Arc::clone(&self.applied),
        };
        let shared = Shared {
            identity: identity(id),
            ledger: Arc::clone(&self.ledger),
            live: seen,
            applied: self.applied.subscribe(),
            raft: Arc::new(raft),
            peers: Arc::new(Peers::new(None)),
            tester: Arc::new(Nothing),
            logs: Arc::new(Nothing),
            local_events: broadcast::channel(16).0,
        };
        TestAgent { shared: Arc::new(shared), live }
    }
}

impl TestAgent {
    /// Listens on a free port of loopback; ends with the test's runtime.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let routes = routes(&self.shared);
        let incoming = TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_routes(routes);
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }
}
