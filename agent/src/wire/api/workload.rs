//! `WorkloadService`: what the cluster keeps running.

use super::{
    call::Call,
    errors,
    leader::{Api, client, request_id},
    logs, page, plan, specs,
};
use cluster_core::ledger::{Body, Reply};
use futures::stream::BoxStream;
use holdfast_proto::v1::{
    self, workload_service_client::WorkloadServiceClient, workload_service_server::WorkloadService,
};
use tonic::{Request, Response, Status, transport::Channel};

pub struct Workloads(pub Api);

fn at(channel: Channel) -> WorkloadServiceClient<Channel> {
    client!(WorkloadServiceClient<Channel>, channel)
}

#[tonic::async_trait]
impl WorkloadService for Workloads {
    async fn apply_workloads(
        &self,
        request: Request<v1::ApplyWorkloadsRequest>,
    ) -> Result<Response<v1::ApplyWorkloadsResponse>, Status> {
        let here = async |call: Call, message: v1::ApplyWorkloadsRequest| self.apply(&call, message).await;
        let there = |channel, request| async move { at(channel).apply_workloads(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn list_workloads(
        &self,
        request: Request<v1::ListWorkloadsRequest>,
    ) -> Result<Response<v1::ListWorkloadsResponse>, Status> {
        let here = async |_: Call, message: v1::ListWorkloadsRequest| {
            self.0.barrier().await?;
            let workloads = self.0.with_view(|view| view.workloads());
            let key = |workload: &v1::Workload| workload.name.clone();
            let page = page::cut(workloads, key, message.page_size, &message.page_token)?;
            Ok(v1::ListWorkloadsResponse { workloads: page.items, next_page_token: page.next })
        };
        let there = |channel, request| async move { at(channel).list_workloads(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn get_workload(
        &self,
        request: Request<v1::GetWorkloadRequest>,
    ) -> Result<Response<v1::GetWorkloadResponse>, Status> {
        let here = async |_: Call, message: v1::GetWorkloadRequest| {
            self.0.barrier().await?;
            Ok(v1::GetWorkloadResponse { workload: Some(self.show(&message.name)?) })
        };
        let there = |channel, request| async move { at(channel).get_workload(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn stop_workload(
        &self,
        request: Request<v1::StopWorkloadRequest>,
    ) -> Result<Response<v1::StopWorkloadResponse>, Status> {
        let here = async |call: Call, message: v1::StopWorkloadRequest| {
            let name = message.name;
            self.order(&call, &name, Body::WorkloadStopped { name: name.clone() }).await?;
            Ok(v1::StopWorkloadResponse { workload: Some(self.show(&name)?) })
        };
        let there = |channel, request| async move { at(channel).stop_workload(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn start_workload(
        &self,
        request: Request<v1::StartWorkloadRequest>,
    ) -> Result<Response<v1::StartWorkloadResponse>, Status> {
        let here = async |call: Call, message: v1::StartWorkloadRequest| {
            let name = message.name;
            self.order(&call, &name, Body::WorkloadStarted { name: name.clone() }).await?;
            Ok(v1::StartWorkloadResponse { workload: Some(self.show(&name)?) })
        };
        let there = |channel, request| async move { at(channel).start_workload(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn delete_workload(
        &self,
        request: Request<v1::DeleteWorkloadRequest>,
    ) -> Result<Response<v1::DeleteWorkloadResponse>, Status> {
        let here = async |call: Call, message: v1::DeleteWorkloadRequest| {
            let name = message.name;
            self.order(&call, &name, Body::WorkloadDeleted { name: name.clone() }).await?;
            Ok(v1::DeleteWorkloadResponse {})
        };
        let there = |channel, request| async move { at(channel).delete_workload(request).await };
        self.0.through_leader(request, there, here).await
    }

    type StreamLogsStream = BoxStream<'static, logs::Item>;

    /// Any agent passes the request to the node that keeps the log.
    async fn stream_logs(
        &self,
        request: Request<v1::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let call = Call::of(&request, &self.0.shared);
        logs::stream(&self.0, call, request.into_inner()).await.map(Response::new)
    }
}

impl Workloads {
    async fn apply(
        &self,
        call: &Call,
        message: v1::ApplyWorkloadsRequest,
    ) -> Result<v1::ApplyWorkloadsResponse, Status> {
        let request = request_id(&message.request_id)?;
        let specs = specs::workloads(message.specs)?;
        let body = Body::WorkloadsApplied { specs, if_version: message.if_version };
        self.0.barrier().await?;
        if message.dry_run {
            let live = self.0.live();
            let changes = self.0.shared.read(|ledger| plan::dry_run(ledger, &live, &call.actor, body))?;
            return Ok(v1::ApplyWorkloadsResponse { changes });
        }
        let before = self.0.shared.read(plan::versions);
        match self.0.write(call, request, body).await? {
            Reply::Versions(after) => {
                Ok(v1::ApplyWorkloadsResponse { changes: plan::changes(&before, &after) })
            }
            other => unreachable!("the ledger answers an apply with versions, not {other:?}"),
        }
    }

    async fn order(&self, call: &Call, name: &str, body: Body) -> Result<(), Status> {
        self.0.barrier().await?;
        if !self.0.shared.read(|ledger| ledger.workloads.contains_key(name)) {
            return Err(errors::workload_not_found(name));
        }
        self.0.write(call, request_id("")?, body).await.map(|_| ())
    }

    fn show(&self, name: &str) -> Result<v1::Workload, Status> {
        let found = self.0.with_view(|view| view.ledger.workloads.get(name).map(|w| view.workload(name, w)));
        found.ok_or_else(|| errors::workload_not_found(name))
    }
}
