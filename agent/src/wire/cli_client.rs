//! The calls that the command line makes, with a time limit on each and errors that a person can act on.
//!
//! Not here: what is printed (`cli`).

use super::client::{BadAddress, endpoint};
use crate::security::Tls;
use futures::{Stream, StreamExt as _};
use holdfast_proto::{
    internal::{LeaveRequest, peer_service_client::PeerServiceClient},
    v1::{
        self, alert_service_client::AlertServiceClient, cluster_service_client::ClusterServiceClient,
        failure_service_client::FailureServiceClient, raft_service_client::RaftServiceClient,
        workload_service_client::WorkloadServiceClient,
    },
};
use std::{future::Future, time::Duration};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// Connecting is given up after this; a healthy agent takes milliseconds.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(1_500);
/// An agent answers from gossip within a second, so longer than this it doesn't answer.
pub const STATUS_LIMIT: Duration = Duration::from_millis(3_000);
/// Agents give up after ten seconds themselves; their words are worth waiting for.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(12);
/// Leaving waits until the node's workloads run elsewhere.
pub const LEAVE_LIMIT: Duration = Duration::from_secs(120);
/// Messages larger than this are refused, as agents do.
const MESSAGE_BYTES: usize = crate::limits::MESSAGE_BYTES;

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    BadAddress(#[from] BadAddress),
    /// Nobody there, or nobody who speaks.
    #[error(
        "no agent answers at {address} ({cause}); start one with `holdfast agent`, or name another with --addr"
    )]
    NoAnswer { address: String, cause: String },
    /// An agent answered, and refused.
    #[error("{message}{hint}")]
    Refused { reason: String, message: String, hint: String },
}

impl ClientError {
    /// The UPPER_SNAKE word of a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// One connection to one agent.
#[derive(Clone)]
pub struct CliClient {
    channel: Channel,
    address: String,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident by $service:ident within $limit:expr;)*) => {
        $($(#[$doc])*
        pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, ClientError> {
            let mut service = $service::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
            self.limited($limit, service.$name(request)).await
        })*
    };
}

impl CliClient {
    /// Connects, so that an agent that isn't there is known before anything is asked.
    pub async fn connect(address: &str, tls: Option<&Tls>) -> Result<Self, ClientError> {
        let no_answer = |cause: String| ClientError::NoAnswer { address: address.to_owned(), cause };
        let endpoint = endpoint(address, tls)?;
        let connecting = endpoint.connect();
        let channel = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(e)) => return Err(no_answer(root_cause(&e))),
            Err(_) => return Err(no_answer(format!("not connected after {} ms", CONNECT_LIMIT.as_millis()))),
        };
        Ok(Self { channel, address: address.to_owned() })
    }

    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    calls! {
        get_status(GetStatusRequest) -> GetStatusResponse by ClusterServiceClient within STATUS_LIMIT;
        list_nodes(ListNodesRequest) -> ListNodesResponse by ClusterServiceClient within REQUEST_LIMIT;
        get_node(GetNodeRequest) -> GetNodeResponse by ClusterServiceClient within REQUEST_LIMIT;
        drain_node(DrainNodeRequest) -> DrainNodeResponse by ClusterServiceClient within REQUEST_LIMIT;
        undrain_node(UndrainNodeRequest) -> UndrainNodeResponse by ClusterServiceClient within REQUEST_LIMIT;
        remove_node(RemoveNodeRequest) -> RemoveNodeResponse by ClusterServiceClient within REQUEST_LIMIT;
        apply_workloads(ApplyWorkloadsRequest) -> ApplyWorkloadsResponse by WorkloadServiceClient within REQUEST_LIMIT;
        list_workloads(ListWorkloadsRequest) -> ListWorkloadsResponse by WorkloadServiceClient within REQUEST_LIMIT;
        get_workload(GetWorkloadRequest) -> GetWorkloadResponse by WorkloadServiceClient within REQUEST_LIMIT;
        stop_workload(StopWorkloadRequest) -> StopWorkloadResponse by WorkloadServiceClient within REQUEST_LIMIT;
        start_workload(StartWorkloadRequest) -> StartWorkloadResponse by WorkloadServiceClient within REQUEST_LIMIT;
        delete_workload(DeleteWorkloadRequest) -> DeleteWorkloadResponse by WorkloadServiceClient within REQUEST_LIMIT;
        list_failures(ListFailuresRequest) -> ListFailuresResponse by FailureServiceClient within REQUEST_LIMIT;
        get_failure(GetFailureRequest) -> GetFailureResponse by FailureServiceClient within REQUEST_LIMIT;
        acknowledge_failure(AcknowledgeFailureRequest) -> AcknowledgeFailureResponse by FailureServiceClient within REQUEST_LIMIT;
        list_availability(ListAvailabilityRequest) -> ListAvailabilityResponse by FailureServiceClient within REQUEST_LIMIT;
        list_alerts(ListAlertsRequest) -> ListAlertsResponse by AlertServiceClient within REQUEST_LIMIT;
        apply_alerting(ApplyAlertingRequest) -> ApplyAlertingResponse by AlertServiceClient within REQUEST_LIMIT;
        test_channel(TestChannelRequest) -> TestChannelResponse by AlertServiceClient within REQUEST_LIMIT;
        preview_channel(PreviewChannelRequest) -> PreviewChannelResponse by AlertServiceClient within REQUEST_LIMIT;
        add_silence(AddSilenceRequest) -> AddSilenceResponse by AlertServiceClient within REQUEST_LIMIT;
        end_silence(EndSilenceRequest) -> EndSilenceResponse by AlertServiceClient within REQUEST_LIMIT;
        list_silences(ListSilencesRequest) -> ListSilencesResponse by AlertServiceClient within REQUEST_LIMIT;
        get_raft_status(GetRaftStatusRequest) -> GetRaftStatusResponse by RaftServiceClient within REQUEST_LIMIT;
        take_snapshot(TakeSnapshotRequest) -> TakeSnapshotResponse by RaftServiceClient within REQUEST_LIMIT;
    }

    /// Asks this very agent to take its node out of the cluster.
    pub async fn leave(&self) -> Result<(), ClientError> {
        let mut service = PeerServiceClient::new(self.channel.clone());
        self.limited(LEAVE_LIMIT, service.leave(LeaveRequest {})).await.map(|_| ())
    }

    /// Events as they come; a followed stream only ends with an error.
    pub async fn watch_events(
        &self,
        request: v1::WatchEventsRequest,
    ) -> Result<impl Stream<Item = Result<v1::WatchEventsResponse, ClientError>> + use<>, ClientError> {
        let mut service =
            ClusterServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
        let stream = self.limited(REQUEST_LIMIT, service.watch_events(request)).await?;
        let client = self.clone();
        Ok(stream.map(move |item| item.map_err(|status| client.explain(&status))))
    }

    /// What an instance writes.
    pub async fn stream_logs(
        &self,
        request: v1::StreamLogsRequest,
    ) -> Result<impl Stream<Item = Result<v1::StreamLogsResponse, ClientError>> + use<>, ClientError> {
        let mut service =
            WorkloadServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
        let stream = self.limited(REQUEST_LIMIT, service.stream_logs(request)).await?;
        let client = self.clone();
        Ok(stream.map(move |item| item.map_err(|status| client.explain(&status))))
    }

    async fn limited<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.explain(&status)),
            Err(_) => Err(ClientError::NoAnswer {
                address: self.address.clone(),
                cause: format!("it said nothing for {} s", limit.as_secs()),
            }),
        }
    }

    /// An agent's refusal, or the loss of the agent, in words.
    fn explain(&self, status: &Status) -> ClientError {
        let info = status.get_details_error_info();
        let lost =
            matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
                && info.is_none()
                && std::error::Error::source(status).is_some();
        if lost {
            let cause = std::error::Error::source(status).map_or_else(String::new, root_cause);
            return ClientError::NoAnswer { address: self.address.clone(), cause };
        }
        let reason = info.map_or_else(|| format!("{:?}", status.code()).to_uppercase(), |i| i.reason);
        let message = match status.message() {
            "" => format!("the agent at {} refused without a word ({:?})", self.address, status.code()),
            message => message.to_owned(),
        };
        // What the agent said comes first; a hint only where it can't have said it.
        let hint = match status.code() {
            Code::Unimplemented => {
                "; the agent is of another version than this command: update the older one"
            }
            Code::Unauthenticated => {
                "; show a certificate of the cluster's authority with --ca, --cert, --key"
            }
            _ => "",
        };
        ClientError::Refused { reason, message, hint: hint.into() }
    }
}

/// The innermost cause: the outer ones only say that something failed.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    // Bounded, though causes don't go in circles.
    for _ in 0..16 {
        match cause.source() {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    cause.to_string()
}
