//! Long-lived streams to other agents: heartbeats to a peer, renewals to a voter. Each is one task that dials, sends
//! what it is given while connected, says when the stream opens and ends, and dials again until its handle is dropped.
//!
//! What can't leave at once is dropped: a late heartbeat or renewal is worth nothing.

use super::{
    client::Peers,
    convert::{Beat, RenewalAnswer, answer_from_wire, beat_to_wire, renewal_to_wire},
    peer::client,
};
use cluster_core::{
    ids::{ClusterId, NodeId},
    lease::Renewal,
};
use holdfast_proto::internal as pb;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// Messages on their way into one stream; more are dropped.
const OUTBOX: usize = 16;
/// Between two attempts to open a stream.
const REDIAL: Duration = Duration::from_millis(200);
/// Opening a stream is given up after this.
const OPEN_TIMEOUT: Duration = Duration::from_millis(1_000);

/// What became of a stream to `peer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    Opened { peer: NodeId },
    Ended { peer: NodeId, why: String },
}

/// The sending end of one stream. Dropping it ends the stream and its task.
pub struct Stream<T> {
    outbox: mpsc::Sender<T>,
    task: JoinHandle<()>,
    pub address: String,
}

impl<T> Stream<T> {
    /// Drops the message when the stream is behind or not open.
    pub fn send(&self, message: T) {
        let _behind = self.outbox.try_send(message);
    }
}

impl<T> Drop for Stream<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Heartbeats to one peer.
pub fn gossip(
    peers: Arc<Peers>,
    peer: NodeId,
    address: String,
    events: mpsc::Sender<StreamEvent>,
) -> Stream<Beat> {
    let (outbox, mut queued) = mpsc::channel(OUTBOX);
    let dial = address.clone();
    let task = tokio::spawn(async move {
        loop {
            if let Ok(channel) = peers.channel(&dial) {
                let why = gossip_once(channel, peer, &mut queued, &events).await;
                if let Some(why) = why {
                    let _stopping = events.send(StreamEvent::Ended { peer, why }).await;
                }
            }
            while queued.try_recv().is_ok() {}
            tokio::time::sleep(REDIAL).await;
        }
    });
    Stream { outbox, task, address }
}

/// One stream from its opening to its end. None: it never opened.
async fn gossip_once(
    channel: Channel,
    peer: NodeId,
    queued: &mut mpsc::Receiver<Beat>,
    events: &mpsc::Sender<StreamEvent>,
) -> Option<String> {
    let (into, outbound) = mpsc::channel::<pb::Heartbeat>(OUTBOX);
    let mut client = client(channel);
    let open = client.gossip(ReceiverStream::new(outbound));
    let mut inbound = opened(open).await?;
    events.send(StreamEvent::Opened { peer }).await.ok()?;
    loop {
        tokio::select! {
            beat = queued.recv() => {
                // A full stream means that the peer stopped reading: keep-alive or its silence will tell.
                let _full = into.try_send(beat_to_wire(&beat?));
            }
            answer = inbound.message() => match answer {
                Ok(Some(_)) => {}
                Ok(None) => return Some("closed by the other side".into()),
                Err(status) => return Some(status.message().to_owned()),
            }
        }
    }
}

async fn opened<T>(
    open: impl Future<Output = Result<tonic::Response<Streaming<T>>, Status>>,
) -> Option<Streaming<T>> {
    let answer = tokio::time::timeout(OPEN_TIMEOUT, open).await.ok()?;
    answer.ok().map(tonic::Response::into_inner)
}

/// Renewals to one voter; its answers go to `answers`.
pub fn renewals(
    peers: Arc<Peers>,
    cluster: ClusterId,
    address: String,
    answers: mpsc::Sender<RenewalAnswer>,
) -> Stream<Renewal> {
    let (outbox, mut queued) = mpsc::channel(OUTBOX);
    let dial = address.clone();
    let task = tokio::spawn(async move {
        loop {
            if let Ok(channel) = peers.channel(&dial) {
                let _never_opened = renew_once(channel, cluster, &mut queued, &answers).await;
            }
            while queued.try_recv().is_ok() {}
            tokio::time::sleep(REDIAL).await;
        }
    });
    Stream { outbox, task, address }
}

async fn renew_once(
    channel: Channel,
    cluster: ClusterId,
    queued: &mut mpsc::Receiver<Renewal>,
    answers: &mpsc::Sender<RenewalAnswer>,
) -> Option<()> {
    let (into, outbound) = mpsc::channel::<pb::Renewal>(OUTBOX);
    let mut client = client(channel);
    let mut inbound = opened(client.renew(ReceiverStream::new(outbound))).await?;
    loop {
        tokio::select! {
            renewal = queued.recv() => {
                let _full = into.try_send(renewal_to_wire(cluster, &renewal?));
            }
            answer = inbound.message() => {
                if let Ok(answer) = answer_from_wire(&answer.ok()??) {
                    answers.send(answer).await.ok()?;
                }
            }
        }
    }
}
