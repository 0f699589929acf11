//! Silences over a real connection, and what is refused before it is kept.

use super::*;
use crate::{
    view::testing::Stage,
    wire::{
        api::testing::{Replica, TestAgent},
        client::endpoint,
    },
};
use cluster_core::{ids::RequestId, ledger::Severity};
use holdfast_proto::v1::alert_service_client::AlertServiceClient;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

/// n1 leads; two alerts fire and one is over.
async fn service() -> (Replica, TestAgent, AlertServiceClient<Channel>) {
    let mut stage = Stage::healthy();
    for (name, node, severity) in [
        ("NodeDead", "n2", Severity::Critical),
        ("NodeDead", "n3", Severity::Critical),
        ("AgentDown", "n3", Severity::Warning),
    ] {
        stage.play(Body::AlertRaised {
            name: name.into(),
            severity,
            dedup_key: format!("{name}/{node}"),
            failure: None,
            labels: [("node".to_owned(), node.to_owned())].into(),
            summary: format!("{name} {node}"),
            description: String::new(),
        });
    }
    stage.play(Body::AlertEnded { dedup_key: "NodeDead/n2".into(), summary: "back".into() });
    let replica = Replica::of(&stage);
    let agent = replica.agent(1, stage.live.clone());
    let channel = endpoint(&agent.serve().await, None).unwrap().connect().await.unwrap();
    (replica, agent, AlertServiceClient::new(channel))
}

fn matcher(label: &str, op: v1::MatchOp, value: &str) -> v1::Matcher {
    v1::Matcher { label: label.into(), op: op.into(), value: value.into() }
}

fn ask(matchers: Vec<v1::Matcher>) -> v1::AddSilenceRequest {
    v1::AddSilenceRequest {
        matchers,
        for_ms: 7_200_000,
        comment: "new switches".into(),
        request_id: String::new(),
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_silence_is_added_listed_and_ended() {
    let (replica, _agent, mut service) = service().await;
    let mut request = ask(vec![matcher("alertname", v1::MatchOp::Matches, "Node.*")]);
    request.request_id = RequestId(5).to_string();
    let added = service.add_silence(request.clone()).await.unwrap().into_inner();
    let silence = added.silence.unwrap();
    assert_eq!((silence.state(), silence.author.as_str()), (v1::SilenceState::Active, "local"));
    assert_eq!(silence.comment, "new switches");
    let lasts = silence.ends_at.unwrap().seconds - silence.starts_at.unwrap().seconds;
    assert_eq!(lasts, 7_200);
    let matched: Vec<&str> = added.alerts.iter().map(|alert| alert.dedup_key.as_str()).collect();
    assert_eq!(matched, ["NodeDead/n3"], "what is over isn't told anyway");

    let again = service.add_silence(request).await.unwrap().into_inner().silence.unwrap();
    assert_eq!((&again.id, replica.ledger.read().unwrap().silences.len()), (&silence.id, 1));

    let none = ask(vec![matcher("node", v1::MatchOp::Equal, "n9")]);
    let second = service.add_silence(none).await.unwrap().into_inner();
    assert_eq!(second.alerts, []);
    let page = v1::ListSilencesRequest { page_size: 1, ..Default::default() };
    let first_page = service.list_silences(page).await.unwrap().into_inner();
    assert_eq!(first_page.silences, [second.silence.unwrap()], "newest first");
    let page = v1::ListSilencesRequest { page_size: 1, page_token: first_page.next_page_token };
    assert_eq!(
        service.list_silences(page).await.unwrap().into_inner().silences,
        std::slice::from_ref(&silence)
    );

    let end = v1::EndSilenceRequest { id: silence.id.clone() };
    let ended = service.end_silence(end.clone()).await.unwrap().into_inner().silence.unwrap();
    assert_eq!((ended.state(), &ended.id), (v1::SilenceState::Ended, &silence.id));
    let error = service.end_silence(end).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::FailedPrecondition, "ENDED"));
    for id in ["77", "x", ""] {
        let error = service.end_silence(v1::EndSilenceRequest { id: id.into() }).await.unwrap_err();
        assert_eq!((error.code(), reason(&error).as_str()), (Code::NotFound, "SILENCE_NOT_FOUND"), "{id}");
    }
}

#[tokio::test]
async fn what_would_silence_wrongly_is_refused() {
    let (replica, _agent, mut service) = service().await;
    let node = || matcher("node", v1::MatchOp::Equal, "n1");
    let long = v1::AddSilenceRequest { for_ms: LONGEST_MS + 1, ..ask(vec![node()]) };
    let endless = v1::AddSilenceRequest { for_ms: 0, ..ask(vec![node()]) };
    for (request, word, part) in [
        (ask(Vec::new()), "NO_MATCHER", "at least one matcher"),
        (ask(vec![node(); MATCHERS_MAX + 1]), "TOO_MANY_MATCHERS", "at most 16"),
        (ask(vec![matcher("node", v1::MatchOp::Unspecified, "")]), "INVALID_MATCHER", "=~"),
        (ask(vec![matcher("node", v1::MatchOp::Matches, "n(")]), "INVALID_MATCHER", "\"n(\" isn't a regular"),
        (ask(vec![matcher("node", v1::MatchOp::MatchesNot, "a)|(b")]), "INVALID_MATCHER", "isn't a regular"),
        (
            ask(vec![matcher("node", v1::MatchOp::Matches, "(\\w{9}){999}")]),
            "INVALID_MATCHER",
            "isn't a regular",
        ),
        (ask(vec![matcher("", v1::MatchOp::Equal, "n1")]), "INVALID", "a label's name"),
        (long, "INVALID_LENGTH", "30d"),
        (endless, "INVALID_LENGTH", "how long"),
    ] {
        let error = service.add_silence(request).await.unwrap_err();
        assert_eq!((error.code(), reason(&error).as_str()), (Code::InvalidArgument, word), "{error:?}");
        assert!(error.message().contains(part), "{}", error.message());
    }
    assert!(replica.ledger.read().unwrap().silences.is_empty());
    let longest = v1::AddSilenceRequest { for_ms: LONGEST_MS, ..ask(vec![node()]) };
    assert!(service.add_silence(longest).await.is_ok());
}

#[test]
fn all_matchers_must_match_the_whole_value() {
    let mut stage = Stage::healthy();
    stage.play(Body::AlertRaised {
        name: "NodeDead".into(),
        severity: Severity::Critical,
        dedup_key: "k".into(),
        failure: None,
        labels: [("node".to_owned(), "web-1".to_owned())].into(),
        summary: String::new(),
        description: String::new(),
    });
    let alert = stage.ledger.alerts.values().next().unwrap();
    let takes = |asked: &[(&str, MatchOp, &str)]| {
        let matchers: Vec<Matcher> = asked
            .iter()
            .map(|(label, op, value)| Matcher { label: (*label).into(), op: *op, value: (*value).into() })
            .collect();
        Matching::of(&matchers).unwrap().takes(alert)
    };
    use MatchOp::{Equal, Matches, MatchesNot, NotEqual};
    for (label, op, value, expected) in [
        ("alert", Equal, "NodeDead", true),
        ("alertname", Equal, "NodeDead", true),
        ("alert", NotEqual, "NodeDead", false),
        ("severity", Equal, "critical", true),
        ("severity", NotEqual, "info", true),
        ("node", Matches, "web-.*", true),
        ("node", Matches, "web", false),
        ("node", Matches, "eb-1", false),
        ("node", Matches, "web-1|db", true),
        ("node", MatchesNot, "web", true),
        ("node", MatchesNot, "web-.", false),
        ("zone", Equal, "", true),
        ("zone", NotEqual, "a", true),
    ] {
        assert_eq!(takes(&[(label, op, value)]), expected, "{label} {op:?} {value}");
    }
    assert!(!takes(&[("alert", Equal, "NodeDead"), ("node", Equal, "web-2")]), "both must match");
}
