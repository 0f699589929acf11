//! `alert preview` of `AlertService`: what a channel would be sent of a failure. Answered by the leader, as templates and
//! alerts are the ledger's.
//!
//! Not here: how it is made (`notify::preview`).

use super::{
    alert::{at, channel_not_found},
    call::Call,
    errors,
    leader::{Api, now},
};
use crate::{
    notify::{link, preview},
    view::View,
};
use cluster_core::{
    alerting::Notice,
    ids::FailureId,
    ledger::{Channel, Phase},
};
use holdfast_proto::v1;
use tonic::{Code, Request, Response, Status};

pub async fn preview(
    api: &Api,
    request: Request<v1::PreviewChannelRequest>,
) -> Result<Response<v1::PreviewChannelResponse>, Status> {
    let here = async |_: Call, message: v1::PreviewChannelRequest| {
        api.barrier().await?;
        // Words are made without the ledger held.
        let (channel, notices) = api.with_view(|view| wanted(view, &message))?;
        let made = preview::of(&channel, notices, now()).map_err(|why| {
            let text = format!("channel {} can't be used: {why}", message.channel);
            errors::status(Code::FailedPrecondition, "CHANNEL_UNUSABLE", text)
        })?;
        Ok(v1::PreviewChannelResponse {
            channel: message.channel,
            r#type: channel.kind,
            messages: made.into_iter().map(to_wire).collect(),
        })
    };
    let there = |channel, request| async move { at(channel).preview_channel(request).await };
    api.through_leader(request, there, here).await
}

fn wanted(view: &View<'_>, message: &v1::PreviewChannelRequest) -> Result<(Channel, Vec<Notice>), Status> {
    let channel = view.ledger.alerting.channels.get(&message.channel);
    let channel = channel.ok_or_else(|| channel_not_found(&message.channel))?.clone();
    let mut notices = match message.failure_id.map(FailureId) {
        Some(id) => of_failure(view, id)?,
        None => preview::sample(),
    };
    link::add_hidden(view.ledger, &message.channel, &mut notices);
    Ok((channel, notices))
}

/// Of all its alerts, as they fire and as they are over.
fn of_failure(view: &View<'_>, id: FailureId) -> Result<Vec<Notice>, Status> {
    if !view.ledger.failures.contains_key(&id) {
        return Err(errors::failure_not_found(id));
    }
    let alerts = view.ledger.alerts.iter().filter(|(_, alert)| alert.failure == Some(id));
    let phases = alerts.flat_map(|(alert, _)| [(*alert, Phase::Firing), (*alert, Phase::Resolved)]);
    let notices: Vec<Notice> = phases
        .filter_map(|(alert, phase)| Notice::of(view.ledger, alert, phase, &view.me.name, view.live.term))
        .collect();
    if notices.is_empty() {
        let text = format!("failure {id} has no alert; leave out --failure to see a sample");
        return Err(errors::status(Code::FailedPrecondition, "NO_ALERT", text));
    }
    Ok(notices)
}

fn to_wire(preview: preview::Preview) -> v1::Preview {
    v1::Preview {
        status: match preview.status {
            Phase::Firing => v1::AlertStatus::Firing,
            Phase::Resolved => v1::AlertStatus::Resolved,
        }
        .into(),
        title: preview.title,
        text: preview.text,
        body: preview.body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        view::testing::Stage,
        wire::{api::testing::Replica, client::endpoint},
    };
    use cluster_core::{
        ids::NodeId,
        ledger::{AlertingConfig, Body, LinkKey, SecretRef, Setting, Severity, Subject},
    };
    use holdfast_proto::v1::alert_service_client::AlertServiceClient;
    use tonic_types::StatusExt as _;

    fn staged() -> (Stage, FailureId) {
        let mut stage = Stage::healthy();
        let mut channel = Channel::new("slack", 1_000);
        let url = Setting::Secret(SecretRef::Inline("https://example.org/hunter2hunter2".into()));
        channel.settings.insert("url".into(), url);
        let config = AlertingConfig {
            channels: [("chat".to_owned(), channel)].into(),
            ack_url: Some("https://holdfast.example.com".to_owned()),
            ..AlertingConfig::default()
        };
        stage.play(Body::AlertingApplied { config: Box::new(config), link_key: Some(LinkKey([7; 32])) });
        stage.die(2);
        stage.play(Body::FailureOpened { subject: Subject::Node(NodeId(2)), caused_by: None });
        let failure = *stage.ledger.failures.keys().next().expect("it was just opened");
        (stage, failure)
    }

    fn raise(stage: &mut Stage, failure: FailureId) {
        stage.play(Body::AlertRaised {
            name: "NodeDead".into(),
            severity: Severity::Critical,
            dedup_key: "NodeDead/n2".into(),
            failure: Some(failure),
            labels: [("node".to_owned(), "n2".to_owned())].into(),
            summary: "n2 is dead".into(),
            description: String::new(),
        });
    }

    async fn ask(
        stage: &Stage,
        channel: &str,
        failure: Option<FailureId>,
    ) -> Result<v1::PreviewChannelResponse, (Code, String)> {
        let agent = Replica::of(stage).agent(1, stage.live.clone());
        let connection = endpoint(&agent.serve().await, None).unwrap().connect().await.unwrap();
        let failure_id = failure.map(|id| id.0);
        let request = v1::PreviewChannelRequest { channel: channel.into(), failure_id };
        let answer = AlertServiceClient::new(connection).preview_channel(request).await;
        let reason = |status: Status| {
            (status.code(), status.get_details_error_info().map_or_else(String::new, |i| i.reason))
        };
        answer.map(Response::into_inner).map_err(reason)
    }

    #[tokio::test]
    async fn a_failures_alerts_are_shown_firing_and_once_over_resolved() {
        let (mut stage, failure) = staged();
        raise(&mut stage, failure);
        let firing = ask(&stage, "chat", Some(failure)).await.unwrap();
        assert_eq!((firing.channel.as_str(), firing.r#type.as_str()), ("chat", "slack"));
        let [message] = firing.messages.as_slice() else { panic!("{firing:?}") };
        assert_eq!(message.status(), v1::AlertStatus::Firing);
        assert!(message.text.contains("n2 is dead"), "{}", message.text);
        assert!(message.body.as_ref().unwrap().contains("n2 is dead"));
        // Where the link would be, but not one that could be used.
        let link = "Acknowledge: https://holdfast.example.com/ack/(hidden)\n";
        assert!(message.text.contains(link), "{}", message.text);

        stage.play(Body::AlertEnded { dedup_key: "NodeDead/n2".into(), summary: "n2 is back".into() });
        let over = ask(&stage, "chat", Some(failure)).await.unwrap();
        assert_eq!(over.messages.len(), 2);
        assert_eq!(over.messages[1].status(), v1::AlertStatus::Resolved);
        assert!(over.messages[1].text.contains("n2 is back"), "{}", over.messages[1].text);
        assert!(!format!("{over:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn without_a_failure_there_is_a_sample_and_what_is_not_there_is_refused() {
        let (stage, failure) = staged();
        let sample = ask(&stage, "chat", None).await.unwrap();
        let statuses: Vec<_> = sample.messages.iter().map(v1::Preview::status).collect();
        assert_eq!(statuses, [v1::AlertStatus::Firing, v1::AlertStatus::Resolved]);
        let linked = sample.messages.iter().map(|message| message.text.contains("/ack/(hidden)"));
        assert_eq!(linked.collect::<Vec<_>>(), [true, false]);
        let refused = |code, word: &str| Err((code, word.to_owned()));
        assert_eq!(ask(&stage, "chta", None).await, refused(Code::NotFound, "CHANNEL_NOT_FOUND"));
        let unknown = Some(FailureId(9_999));
        assert_eq!(ask(&stage, "chat", unknown).await, refused(Code::NotFound, "FAILURE_NOT_FOUND"));
        let silent = ask(&stage, "chat", Some(failure)).await;
        assert_eq!(silent, refused(Code::FailedPrecondition, "NO_ALERT"));
    }
}
