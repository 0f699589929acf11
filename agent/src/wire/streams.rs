//! Renewals to a voter, over a long-lived stream: one task that dials, sends what it is given while connected, and dials
//! again until its handle is dropped.
//!
//! What can't leave at once is dropped: a late renewal is worth nothing. Not here: heartbeats (`gossip`).

use super::{
    client::Peers,
    convert::{RenewalAnswer, answer_from_wire, renewal_to_wire},
    peer::client,
};
use cluster_core::{ids::ClusterId, lease::Renewal};
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
