//! `grpc.health.v1.Health`: serving while this agent knows a leader. Read from what the agent knows, whenever asked.

use crate::shared::{Live, Shared};
use futures::stream::{BoxStream, StreamExt as _, unfold};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// The names that are asked for: the agent as a whole, and the service that needs the leader.
const SERVICES: [&str; 2] = ["", "holdfast.v1.ClusterService"];

pub struct LeaderKnown(pub Arc<Shared>);

#[tonic::async_trait]
impl Health for LeaderKnown {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found(format!("no health is known of service \"{service}\"")));
        }
        Ok(Response::new(response(serving(&self.0.live.borrow()))))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// The status now, and again whenever it changes. A service that isn't known stays so, as the protocol wants it.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            let unknown = futures::stream::once(async { Ok(response(ServingStatus::ServiceUnknown)) });
            return Ok(Response::new(unknown.chain(futures::stream::pending()).boxed()));
        }
        let first = (self.0.live.clone(), None);
        let changes = unfold(first, |(mut live, last)| async move {
            let now = loop {
                let now = serving(&live.borrow_and_update());
                if last != Some(now) {
                    break now;
                }
                live.changed().await.ok()?;
            };
            Some((Ok(response(now)), (live, Some(now))))
        });
        Ok(Response::new(changes.boxed()))
    }
}

fn serving(live: &Live) -> ServingStatus {
    if live.leader.is_some() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
