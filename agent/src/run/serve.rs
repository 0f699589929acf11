//! The agent's ports, its signals, and the small doers that the API needs.

use super::{AgentError, ended::Ended, handler::Handler, input::Input, propose::Proposer};
use crate::{
    http,
    limits::{KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAMS_PER_CONNECTION},
    security::Tls,
    sense::{DISKS_EVERY, Disks, SENSE_EVERY, Senses},
    shared::{LogReader, Raft as _, Shared},
    wire,
    workload::{logs::From, supervisor::Supervisor},
};
use cluster_core::{
    ids::{Generation, RequestId},
    ledger::{Body, Reply, Report},
};
use futures::future::BoxFuture;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Between two attempts to write a report while there is no leader.
const REPORT_AGAIN: Duration = Duration::from_millis(100);

pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, AgentError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|cause| AgentError::Listen { key, address: address.to_string(), cause })
}

/// Agents and clients alike, on one port.
pub fn grpc(
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
    tls: Option<&Tls>,
    handler: Arc<Handler>,
    shared: &Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let routes = wire::api::routes(shared).add_service(wire::peer_server::service(handler));
    let serving = wire::server::serve(
        listener,
        tls.map(Tls::server),
        routes,
        (STREAMS_PER_CONNECTION, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT),
        async move {
            let _stopping = stop.changed().await;
        },
    );
    tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(error, "the gRPC server ended");
        }
    });
}

pub fn http(
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
    shared: Arc<Shared>,
    pulse: Arc<http::Pulse>,
    alerts_from_anywhere: bool,
    mut stop: watch::Receiver<bool>,
) {
    let stopped = async move {
        let _stopping = stop.changed().await;
    };
    tasks.spawn(async move {
        let router = http::router(shared, pulse, alerts_from_anywhere);
        if let Err(error) = http::serve(listener, router, stopped).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
}

/// SIGTERM and SIGINT end the agent and nothing else: guards and workloads stay.
pub fn signals(tasks: &mut JoinSet<()>, stop: watch::Sender<bool>) {
    tasks.spawn(async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals can't be waited for; the agent ends by SIGKILL only");
            return;
        };
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!("stopping; what runs here goes on under its guards");
        stop.send_replace(true);
    });
}

/// Tells the main loop how this host fares, for ever.
pub async fn sense(mut senses: Senses, inputs: mpsc::Sender<Input>) {
    loop {
        tokio::time::sleep(SENSE_EVERY).await;
        // A disk that hangs holds up the next look and nothing else.
        let looked = tokio::task::spawn_blocking(move || {
            let sensed = senses.look();
            (senses, sensed)
        });
        let Ok((kept, sensed)) = looked.await else { return };
        senses = kept;
        if inputs.send(Input::Sensed(sensed)).await.is_err() {
            return;
        }
    }
}

/// Looks at the disks, for ever, or until one never answers: that holds up nothing else.
pub async fn look_at_disks(mut disks: Disks) {
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            disks.look();
            disks
        });
        let Ok(kept) = looked.await else { return };
        disks = kept;
        tokio::time::sleep(DISKS_EVERY).await;
    }
}

/// Writes this node's reports in their order, each until it is accepted or turned down. That a generation ended is
/// on this node's disk before anybody is told.
pub async fn report(
    proposer: Arc<Proposer>,
    name: String,
    ended: Ended,
    inputs: mpsc::Sender<Input>,
    mut reports: mpsc::Receiver<Body>,
) {
    let actor = format!("node:{name}");
    while let Some(body) = reports.recv().await {
        let end = the_end_of(&body);
        if let Some((workload, index, generation)) = &end
            && let Err(error) = ended.note(workload, *index, *generation).await
        {
            let _stopping = inputs.send(Input::Fatal(error.to_string())).await;
            return;
        }
        let request = RequestId(rand::random());
        loop {
            match proposer.propose(actor.clone(), request, body.clone()).await {
                Ok((_, Reply::Rejected(why))) => {
                    tracing::debug!(%why, ?body, "a report came too late");
                    break;
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "a report waits");
                    tokio::time::sleep(REPORT_AGAIN).await;
                }
            }
        }
        if let Some((workload, index, generation)) = &end {
            ended.told(workload, *index, *generation);
        }
    }
}

/// The generation that a report calls ended for good.
fn the_end_of(body: &Body) -> Option<(String, u32, Generation)> {
    match body {
        Body::InstanceReported {
            workload,
            index,
            generation,
            report: Report::Ended { .. } | Report::GaveUp { .. },
            ..
        } => Some((workload.clone(), *index, *generation)),
        _ => None,
    }
}

/// What instances on this node wrote.
pub struct Logs {
    supervisor: Arc<Supervisor>,
}

impl Logs {
    pub const fn new(supervisor: Arc<Supervisor>) -> Self {
        Self { supervisor }
    }
}

impl LogReader for Logs {
    fn tail(
        &self,
        workload: &str,
        index: u32,
        tail_bytes: u64,
    ) -> BoxFuture<'_, Result<(Vec<u8>, u64), String>> {
        let workload = workload.to_owned();
        Box::pin(async move { self.read(&workload, index, From::Tail(tail_bytes)).await })
    }

    fn after(
        &self,
        workload: &str,
        index: u32,
        offset: u64,
    ) -> BoxFuture<'_, Result<(Vec<u8>, u64), String>> {
        let workload = workload.to_owned();
        Box::pin(async move { self.read(&workload, index, From::Offset(offset)).await })
    }
}

impl Logs {
    async fn read(&self, workload: &str, index: u32, from: From) -> Result<(Vec<u8>, u64), String> {
        let chunk =
            self.supervisor.logs(workload, index, from, usize::MAX).await.map_err(|e| e.to_string())?;
        let next = chunk.offset + chunk.bytes.len() as u64;
        Ok((chunk.bytes, next))
    }
}
