//! `FailureService`: the failure ledger, and the account of availability made from it.

use super::{
    call::Call,
    errors,
    leader::{Api, client, request_id},
    page,
};
use crate::view::{View, wall_time};
use cluster_core::{
    ids::FailureId,
    ledger::{Body, Failure, Subject},
};
use holdfast_proto::v1::{
    self, failure_service_client::FailureServiceClient, failure_service_server::FailureService,
};
use tonic::{Request, Response, Status, transport::Channel};

pub struct Failures(pub Api);

fn at(channel: Channel) -> FailureServiceClient<Channel> {
    client!(FailureServiceClient<Channel>, channel)
}

#[tonic::async_trait]
impl FailureService for Failures {
    async fn list_failures(
        &self,
        request: Request<v1::ListFailuresRequest>,
    ) -> Result<Response<v1::ListFailuresResponse>, Status> {
        let here = async |_: Call, message: v1::ListFailuresRequest| {
            self.0.barrier().await?;
            self.0.with_view(|view| list(view, &message))
        };
        let there = |channel, request| async move { at(channel).list_failures(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn get_failure(
        &self,
        request: Request<v1::GetFailureRequest>,
    ) -> Result<Response<v1::GetFailureResponse>, Status> {
        let here = async |_: Call, message: v1::GetFailureRequest| {
            self.0.barrier().await?;
            Ok(v1::GetFailureResponse { failure: Some(self.show(message.id)?) })
        };
        let there = |channel, request| async move { at(channel).get_failure(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn acknowledge_failure(
        &self,
        request: Request<v1::AcknowledgeFailureRequest>,
    ) -> Result<Response<v1::AcknowledgeFailureResponse>, Status> {
        let here = async |call: Call, message: v1::AcknowledgeFailureRequest| {
            self.0.barrier().await?;
            // Says "not found" in the words that fit a person's mistake.
            self.show(message.id)?;
            let body = Body::FailureAcknowledged { failure: FailureId(message.id) };
            self.0.write(&call, request_id("")?, body).await?;
            Ok(v1::AcknowledgeFailureResponse { failure: Some(self.show(message.id)?) })
        };
        let there = |channel, request| async move { at(channel).acknowledge_failure(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn list_availability(
        &self,
        request: Request<v1::ListAvailabilityRequest>,
    ) -> Result<Response<v1::ListAvailabilityResponse>, Status> {
        let here = async |_: Call, message: v1::ListAvailabilityRequest| {
            self.0.barrier().await?;
            let since = message.since.as_ref().map(wall_time);
            let availability = self.0.with_view(|view| view.availability(message.by(), since));
            Ok(v1::ListAvailabilityResponse { availability })
        };
        let there = |channel, request| async move { at(channel).list_availability(request).await };
        self.0.through_leader(request, there, here).await
    }
}

impl Failures {
    fn show(&self, id: u64) -> Result<v1::Failure, Status> {
        let id = FailureId(id);
        let found = self.0.with_view(|view| view.ledger.failures.get(&id).map(|f| view.failure(id, f)));
        found.ok_or_else(|| errors::failure_not_found(id))
    }
}

fn list(view: &View<'_>, message: &v1::ListFailuresRequest) -> Result<v1::ListFailuresResponse, Status> {
    let wanted = |failure: &Failure| {
        (!message.open || failure.is_open())
            && (message.node.is_empty() || concerns_node(view, failure, &message.node))
            && (message.workload.is_empty() || concerns_workload(failure, &message.workload))
            && message.since.as_ref().is_none_or(|since| failure.detected_at >= wall_time(since))
    };
    let ids: Vec<FailureId> =
        view.ledger.failures.iter().filter(|(_, f)| wanted(f)).map(|(id, _)| *id).collect();
    let page = page::cut(ids, |id| page::newest_first(id.0), message.page_size, &message.page_token)?;
    let failures = page.items.iter().map(|id| view.failure(*id, &view.ledger.failures[id])).collect();
    Ok(v1::ListFailuresResponse { failures, next_page_token: page.next })
}

/// A node's own failures, and those that only followed one of them.
fn concerns_node(view: &View<'_>, failure: &Failure, name_or_id: &str) -> bool {
    let is_it = |failure: &Failure| match &failure.subject {
        Subject::Node(id) => failure.name == name_or_id || id.to_string() == name_or_id,
        Subject::Workload(..) => false,
    };
    let cause = failure.caused_by.and_then(|id| view.ledger.failures.get(&id));
    is_it(failure) || cause.is_some_and(is_it)
}

fn concerns_workload(failure: &Failure, name: &str) -> bool {
    matches!(&failure.subject, Subject::Workload(workload, _) if workload == name)
}
