//! `ClusterService`: health, nodes, and the orders given to nodes.

use super::{
    call::Call,
    errors,
    leader::{Api, client, request_id},
    page, watch,
};
use cluster_core::{ids::NodeId, ledger::Body};
use futures::stream::BoxStream;
use holdfast_proto::v1::{
    self, cluster_service_client::ClusterServiceClient, cluster_service_server::ClusterService,
};
use tonic::{Request, Response, Status, transport::Channel};

pub struct Cluster(pub Api);

fn at(channel: Channel) -> ClusterServiceClient<Channel> {
    client!(ClusterServiceClient<Channel>, channel)
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let through_leader = async |_: Call, _| {
            self.0.barrier().await?;
            Ok(self.0.with_view(|view| view.status(true)))
        };
        let own = |_| Ok(self.0.with_view(|view| view.status(false)));
        let there = |channel, request| async move { at(channel).get_status(request).await };
        let mut answer = self.0.leader_or_own(request, there, through_leader, own).await?;
        self.sign(answer.get_mut());
        Ok(answer)
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let here = async |_: Call, message| {
            self.0.barrier().await?;
            self.nodes(&message)
        };
        let there = |channel, request| async move { at(channel).list_nodes(request).await };
        self.0.leader_or_own(request, there, here, |message| self.nodes(&message)).await
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        let show = |message: &v1::GetNodeRequest| {
            Ok(v1::GetNodeResponse { node: Some(self.node(self.find(&message.node)?)) })
        };
        let here = async |_: Call, message: v1::GetNodeRequest| {
            self.0.barrier().await?;
            show(&message)
        };
        let there = |channel, request| async move { at(channel).get_node(request).await };
        self.0.leader_or_own(request, there, here, |message| show(&message)).await
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let here = async |call: Call, message: v1::DrainNodeRequest| {
            let node = self.order(&call, &message.node, |node| Body::NodeDraining { node }).await?;
            Ok(v1::DrainNodeResponse { node: Some(self.node(node)) })
        };
        let there = |channel, request| async move { at(channel).drain_node(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::UndrainNodeResponse>, Status> {
        let here = async |call: Call, message: v1::UndrainNodeRequest| {
            let node = self.order(&call, &message.node, |node| Body::NodeUndrained { node }).await?;
            Ok(v1::UndrainNodeResponse { node: Some(self.node(node)) })
        };
        let there = |channel, request| async move { at(channel).undrain_node(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let here = async |call: Call, message: v1::RemoveNodeRequest| {
            let epoch = |id| self.0.shared.read(|l| l.nodes.get(&id).map(|n| n.epoch).unwrap_or_default());
            let removed = |node| Body::NodeRemoved { node, epoch: epoch(node) };
            self.order(&call, &message.node, removed).await?;
            Ok(v1::RemoveNodeResponse {})
        };
        let there = |channel, request| async move { at(channel).remove_node(request).await };
        self.0.through_leader(request, there, here).await
    }

    type WatchEventsStream = BoxStream<'static, Result<v1::WatchEventsResponse, Status>>;

    /// Any agent's ledger has the events, and suspicions are each agent's own: never passed on.
    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        Ok(Response::new(watch::stream(&self.0.shared, &request.into_inner())))
    }
}

impl Cluster {
    /// The agent that was asked is the one that observed; it adds what it wants a person to know.
    fn sign(&self, status: &mut v1::GetStatusResponse) {
        status.observed_by.clone_from(&self.0.shared.identity.name);
        for note in &self.0.live().notes {
            if !status.reasons.contains(note) {
                status.reasons.push(note.clone());
            }
        }
    }

    fn nodes(&self, message: &v1::ListNodesRequest) -> Result<v1::ListNodesResponse, Status> {
        let nodes = self.0.with_view(|view| view.nodes());
        let key = |node: &v1::Node| format!("{}/{}", node.name, node.id);
        let page = page::cut(nodes, key, message.page_size, &message.page_token)?;
        Ok(v1::ListNodesResponse { nodes: page.items, next_page_token: page.next })
    }

    fn node(&self, id: NodeId) -> v1::Node {
        self.0.with_view(|view| view.node(id))
    }

    fn find(&self, name_or_id: &str) -> Result<NodeId, Status> {
        let found = self.0.with_view(|view| view.find_node(name_or_id));
        found.ok_or_else(|| errors::node_not_found(name_or_id))
    }

    async fn order(
        &self,
        call: &Call,
        name: &str,
        body: impl FnOnce(NodeId) -> Body,
    ) -> Result<NodeId, Status> {
        self.0.barrier().await?;
        let node = self.find(name)?;
        self.0.write(call, request_id("")?, body(node)).await?;
        Ok(node)
    }
}
