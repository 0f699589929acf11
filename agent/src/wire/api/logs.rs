//! What an instance wrote, from the node that keeps it; a followed one is followed to where it moves.
//!
//! Read when the reader takes it: nothing is held back for a slow one.

use super::{
    call::{Call, MAX_HOPS},
    errors,
    leader::{Api, client},
};
use crate::limits::{LOG_CHUNK_BYTES, LOG_POLL, LOG_TAIL_BYTES, LOG_TAIL_BYTES_MAX};
use cluster_core::ids::NodeId;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use holdfast_proto::v1::{self, workload_service_client::WorkloadServiceClient};
use std::collections::VecDeque;
use tokio::time;
use tonic::{Code, Status, Streaming, transport::Channel};

pub type Item = Result<v1::StreamLogsResponse, Status>;

/// Where the log comes from at the moment.
enum Source {
    Here { offset: u64 },
    There(Box<Streaming<v1::StreamLogsResponse>>),
}

struct Feed {
    api: Api,
    call: Call,
    name: String,
    index: u32,
    follow: bool,
    node: NodeId,
    source: Source,
    ready: VecDeque<v1::StreamLogsResponse>,
    ended: bool,
}

/// Opens the log, so that a wrong name is an error of the call and not of its stream.
pub async fn stream(
    api: &Api,
    call: Call,
    request: v1::StreamLogsRequest,
) -> Result<BoxStream<'static, Item>, Status> {
    let tail = match request.tail_bytes {
        0 => LOG_TAIL_BYTES,
        bytes => bytes.min(LOG_TAIL_BYTES_MAX),
    };
    let node = placed_on(api, &request.name, request.index)?;
    // Of one that runs nowhere, this node's own copy is all that can be shown.
    let from = node.unwrap_or(api.shared.identity.node);
    let mut feed = Feed {
        api: api.clone(),
        call,
        name: request.name,
        index: request.index,
        follow: request.follow,
        node: from,
        source: Source::Here { offset: 0 },
        ready: VecDeque::new(),
        ended: false,
    };
    feed.open(from, tail).await?;
    let items = unfold(feed, |mut feed| async move { feed.next().await.map(|item| (item, feed)) });
    Ok(items.boxed())
}

/// The node that runs it now, if any. Errors when there is no such workload or instance.
fn placed_on(api: &Api, name: &str, index: u32) -> Result<Option<NodeId>, Status> {
    api.shared.read(|ledger| {
        let workload = ledger.workloads.get(name).ok_or_else(|| errors::workload_not_found(name))?;
        let slot = workload.slots.get(&index);
        if slot.is_none() && index >= workload.spec.replicas {
            let text = format!(
                "workload {name} has no instance {index}; `holdfast workload show {name}` lists them"
            );
            return Err(errors::status(Code::NotFound, "INSTANCE_NOT_FOUND", text));
        }
        Ok(slot.and_then(|slot| slot.placement.as_ref()).map(|p| p.node))
    })
}

impl Feed {
    async fn open(&mut self, node: NodeId, tail: u64) -> Result<(), Status> {
        self.node = node;
        let me = self.api.shared.identity.node;
        if node == me {
            let read = time::timeout(
                self.call.remaining().max(LOG_POLL),
                self.api.shared.logs.tail(&self.name, self.index, tail),
            );
            let (bytes, offset) = read
                .await
                .map_err(|_| unreadable("it took too long to read it"))?
                .map_err(|cause| unreadable(&cause))?;
            self.keep(&bytes);
            self.source = Source::Here { offset };
            return Ok(());
        }
        if self.call.hops >= MAX_HOPS {
            return Err(errors::status(
                Code::Unavailable,
                "MOVING",
                "the instance moves just now; try again",
            ));
        }
        let address = self.api.address_of(&self.api.live(), node);
        let address = address.ok_or_else(|| errors::node_not_found(&node.to_string()))?;
        let mut client = client!(WorkloadServiceClient<Channel>, self.api.channel(&address)?);
        let request = self.call.pass_on_stream(v1::StreamLogsRequest {
            name: self.name.clone(),
            index: self.index,
            tail_bytes: tail,
            follow: self.follow,
        });
        let name = self.api.with_view(|view| view.name(node));
        let open = time::timeout(crate::limits::REQUEST_TIMEOUT, client.stream_logs(request));
        let unreachable = |cause: &str| {
            let text = format!("{name} at {address} keeps this log and can't be reached: {cause}; try again");
            errors::status(Code::Unavailable, "NODE_UNREACHABLE", text)
        };
        match open.await {
            Ok(Ok(response)) => {
                self.source = Source::There(Box::new(response.into_inner()));
                Ok(())
            }
            Ok(Err(status)) if status.code() == Code::Unavailable => Err(unreachable(status.message())),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(unreachable("no answer")),
        }
    }

    async fn next(&mut self) -> Option<Item> {
        if self.ended {
            return None;
        }
        let next = self.next_chunk().await.transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }

    async fn next_chunk(&mut self) -> Result<Option<v1::StreamLogsResponse>, Status> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            match &mut self.source {
                Source::There(stream) => {
                    // A node that dies ends its stream through the connection's keep-alive.
                    if let Ok(Some(chunk)) = stream.message().await {
                        return Ok(Some(chunk));
                    }
                    if !self.follow {
                        return Ok(None);
                    }
                    time::sleep(LOG_POLL).await;
                    self.move_on().await?;
                }
                Source::Here { offset } if self.follow => {
                    let after = self.api.shared.logs.after(&self.name, self.index, *offset).await;
                    let (bytes, next) = after.map_err(|cause| unreadable(&cause))?;
                    *offset = next;
                    self.keep(&bytes);
                    if !self.ready.is_empty() {
                        continue;
                    }
                    time::sleep(LOG_POLL).await;
                    self.move_on().await?;
                }
                Source::Here { .. } => return Ok(None),
            }
        }
    }

    /// Opens the log anew where the instance is now, if it moved. Waits while it is nowhere.
    async fn move_on(&mut self) -> Result<(), Status> {
        let Some(node) = placed_on(&self.api, &self.name, self.index)? else {
            return Ok(());
        };
        let ended = matches!(self.source, Source::There(_));
        if node == self.node && !ended {
            return Ok(());
        }
        match self.open(node, LOG_TAIL_BYTES).await {
            // It may not have got so far; the next look tries again.
            Err(status) if status.code() == Code::Unavailable || status.code() == Code::NotFound => Ok(()),
            opened => opened,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let node = self.api.shared.identity.name.clone();
        let chunks = bytes.chunks(LOG_CHUNK_BYTES);
        self.ready
            .extend(chunks.map(|chunk| v1::StreamLogsResponse { chunk: chunk.to_vec(), node: node.clone() }));
    }
}

fn unreadable(cause: &str) -> Status {
    let text = format!("this instance's log can't be read here: {cause}");
    errors::status(Code::NotFound, "LOG_NOT_FOUND", text)
}
