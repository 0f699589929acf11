//! `AlertService`: what people were told, and through what. Not here: what is shown and sent to nobody (`preview`), and
//! what is kept back for a while (`silence`).

use super::{
    alerting,
    call::Call,
    errors,
    leader::{Api, client, request_id},
    page, preview, silence,
};
use cluster_core::ledger::{Body, LinkKey};
use holdfast_proto::v1::{
    self, alert_service_client::AlertServiceClient, alert_service_server::AlertService,
};
use tonic::{Code, Request, Response, Status, transport::Channel};

pub struct Alerts(pub Api);

pub(super) fn at(channel: Channel) -> AlertServiceClient<Channel> {
    client!(AlertServiceClient<Channel>, channel)
}

pub(super) fn channel_not_found(name: &str) -> Status {
    let text = format!("there is no channel \"{name}\"; `holdfast alert apply FILE` defines channels");
    errors::status(Code::NotFound, "CHANNEL_NOT_FOUND", text)
}

#[tonic::async_trait]
impl AlertService for Alerts {
    async fn list_alerts(
        &self,
        request: Request<v1::ListAlertsRequest>,
    ) -> Result<Response<v1::ListAlertsResponse>, Status> {
        let here = async |_: Call, message: v1::ListAlertsRequest| {
            self.0.barrier().await?;
            self.0.with_view(|view| {
                let ids: Vec<u64> = view.ledger.alerts.keys().copied().collect();
                let key = |id: &u64| page::newest_first(*id);
                let page = page::cut(ids, key, message.page_size, &message.page_token)?;
                let alerts = page.items.iter().map(|id| view.alert(*id, &view.ledger.alerts[id])).collect();
                Ok(v1::ListAlertsResponse { alerts, next_page_token: page.next })
            })
        };
        let there = |channel, request| async move { at(channel).list_alerts(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn apply_alerting(
        &self,
        request: Request<v1::ApplyAlertingRequest>,
    ) -> Result<Response<v1::ApplyAlertingResponse>, Status> {
        let here = async |call: Call, message: v1::ApplyAlertingRequest| {
            let id = request_id(&message.request_id)?;
            let config = alerting::from_wire(message)?;
            let channels = config.channels.keys().cloned().collect();
            let routes = u32::try_from(config.routes.len()).unwrap_or(u32::MAX);
            // The ledger keeps the first that it gets.
            let link_key = config.ack_url.is_some().then(|| LinkKey(rand::random()));
            let applied = Body::AlertingApplied { config: Box::new(config), link_key };
            self.0.write(&call, id, applied).await?;
            Ok(v1::ApplyAlertingResponse { channels, routes })
        };
        let there = |channel, request| async move { at(channel).apply_alerting(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn test_channel(
        &self,
        request: Request<v1::TestChannelRequest>,
    ) -> Result<Response<v1::TestChannelResponse>, Status> {
        let here = async |_: Call, message: v1::TestChannelRequest| {
            self.0.barrier().await?;
            let channel = message.channel;
            if !self.0.shared.read(|ledger| ledger.alerting.channels.contains_key(&channel)) {
                return Err(channel_not_found(&channel));
            }
            let (delivered, detail) = match self.0.shared.tester.test(channel).await {
                Ok(detail) => (true, detail),
                Err(detail) => (false, detail),
            };
            let by = self.0.shared.identity.name.clone();
            Ok(v1::TestChannelResponse { delivered, detail, by })
        };
        let there = |channel, request| async move { at(channel).test_channel(request).await };
        self.0.through_leader(request, there, here).await
    }

    async fn preview_channel(
        &self,
        request: Request<v1::PreviewChannelRequest>,
    ) -> Result<Response<v1::PreviewChannelResponse>, Status> {
        preview::preview(&self.0, request).await
    }

    async fn add_silence(
        &self,
        request: Request<v1::AddSilenceRequest>,
    ) -> Result<Response<v1::AddSilenceResponse>, Status> {
        silence::add(&self.0, request).await
    }

    async fn end_silence(
        &self,
        request: Request<v1::EndSilenceRequest>,
    ) -> Result<Response<v1::EndSilenceResponse>, Status> {
        silence::end(&self.0, request).await
    }

    async fn list_silences(
        &self,
        request: Request<v1::ListSilencesRequest>,
    ) -> Result<Response<v1::ListSilencesResponse>, Status> {
        silence::list(&self.0, request).await
    }
}
