//! Alerts and their outbox.

use super::*;
use crate::limits::{
    ALERTS_MAX, CHANNEL_TEXTS_MAX, NAME_BYTES, NOTIFICATION_ATTEMPTS_MAX, TEMPLATE_BYTES, VALUE_BYTES,
};

fn alerting(channels: &[&str]) -> Body {
    let channel = |name: &str| match name {
        "hook" => Channel::new("webhook", 5_000),
        _ => Channel::new("console", 5_000),
    };
    let names: Vec<String> = channels.iter().map(|name| (*name).to_owned()).collect();
    let channels = channels.iter().map(|name| ((*name).to_owned(), channel(name))).collect();
    Body::AlertingApplied {
        config: AlertingConfig { channels, routes: vec![Route::to(names)], ..AlertingConfig::default() },
    }
}

fn raised(key: &str) -> Body {
    Body::AlertRaised {
        name: "NodeDead".to_owned(),
        severity: Severity::Critical,
        dedup_key: key.to_owned(),
        failure: None,
        labels: [].into(),
        summary: "n1 is dead".to_owned(),
        description: String::new(),
    }
}

fn ended(key: &str) -> Body {
    Body::AlertEnded { dedup_key: key.to_owned(), summary: "n1 is back".to_owned() }
}

fn intended(alert: u64, channel: &str, phase: Phase, attempt: u32) -> Body {
    let (channel, term, send_within_ms) = (channel.to_owned(), 1, 5_000);
    Body::NotificationIntended { alert, channel, phase, attempt, term, send_within_ms }
}

fn done(alert: u64, channel: &str, phase: Phase, attempt: u32, outcome: SendOutcome) -> Body {
    Body::NotificationDone { alert, channel: channel.to_owned(), phase, attempt, by: id("n1"), outcome }
}

fn failed(retry: bool) -> SendOutcome {
    SendOutcome::Failed { reason: "refused".to_owned(), retry, after_ms: None }
}

/// A script with these channels and one firing alert, and the alert's id.
fn firing(channels: &[&str]) -> (Script, u64) {
    let mut script = Script::with(&["n1"]);
    script.ok(alerting(channels));
    script.ok(raised("node:n1"));
    let alert = script.ledger.applied.index;
    (script, alert)
}

impl Script {
    fn notification(&self, alert: u64, channel: &str, phase: Phase) -> &Notification {
        let all = &self.ledger.alerts[&alert].notifications;
        all.iter().find(|n| n.channel == channel && n.phase == phase).unwrap()
    }
}

#[test]
fn one_failure_one_alert_one_resolve() {
    let (mut script, alert) = firing(&["hook"]);
    assert_eq!(script.refused(raised("node:n1")), "DUPLICATE");
    script.ok(intended(alert, "hook", Phase::Firing, 1));
    script.ok(done(alert, "hook", Phase::Firing, 1, SendOutcome::Sent));
    let firing = script.notification(alert, "hook", Phase::Firing);
    assert_eq!((firing.state, firing.by), (NotificationState::Sent, Some(id("n1"))));
    assert_eq!(script.refused(intended(alert, "hook", Phase::Firing, 2)), "STALE");

    script.ok(ended("node:n1"));
    assert_eq!(script.refused(ended("node:n1")), "NOT_FOUND");
    script.ok(intended(alert, "hook", Phase::Resolved, 1));
    script.ok(done(alert, "hook", Phase::Resolved, 1, SendOutcome::Sent));
    assert_eq!(script.ledger.alerts[&alert].notifications.len(), 2);
    script.ok(raised("node:n1"));
}

#[test]
fn without_a_route_nothing_is_to_be_sent() {
    let mut script = Script::new();
    script.ok(raised("node:n1"));
    assert!(script.ledger.alerts[&1].notifications.is_empty());
}

#[test]
fn a_failure_names_its_alerts() {
    let mut script = Script::with(&["n1"]);
    script.dies("n1");
    let failure = script.opens(Subject::Node(id("n1")));
    let Body::AlertRaised { name, severity, dedup_key, labels, summary, description, .. } = raised("x")
    else {
        unreachable!()
    };
    let failure_id = Some(failure);
    script.ok(Body::AlertRaised {
        name,
        severity,
        dedup_key,
        failure: failure_id,
        labels,
        summary,
        description,
    });
    assert_eq!(script.failure(failure).alerts, [4]);
}

#[test]
fn an_alert_that_ends_before_it_was_sent_is_still_sent_and_then_resolved() {
    let (mut script, alert) = firing(&["hook"]);
    script.ok(ended("node:n1"));
    assert_eq!(script.refused(intended(alert, "hook", Phase::Resolved, 1)), "TOO_EARLY");
    script.ok(intended(alert, "hook", Phase::Firing, 1));
    script.ok(done(alert, "hook", Phase::Firing, 1, SendOutcome::Sent));
    script.ok(intended(alert, "hook", Phase::Resolved, 1));
}

#[test]
fn a_cut_off_attempt_is_repeated_and_marked_where_there_is_no_key() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    for channel in ["hook", "screen"] {
        script.ok(intended(alert, channel, Phase::Firing, 1));
        assert_eq!(script.refused(intended(alert, channel, Phase::Firing, 1)), "STALE");
        script.ok(intended(alert, channel, Phase::Firing, 2));
        let late = done(alert, channel, Phase::Firing, 1, SendOutcome::Sent);
        assert_eq!(script.refused(late), "STALE");
    }
    assert!(!script.notification(alert, "hook", Phase::Firing).maybe_repeated);
    assert!(script.notification(alert, "screen", Phase::Firing).maybe_repeated);
}

#[test]
fn a_known_failure_is_tried_again_unmarked_until_the_attempts_are_used_up() {
    let (mut script, alert) = firing(&["screen"]);
    for attempt in 1..=NOTIFICATION_ATTEMPTS_MAX {
        script.ok(intended(alert, "screen", Phase::Firing, attempt));
        script.ok(done(alert, "screen", Phase::Firing, attempt, failed(true)));
    }
    let firing = script.notification(alert, "screen", Phase::Firing);
    assert_eq!((firing.state, firing.maybe_repeated), (NotificationState::Failed, false));
    assert_eq!(firing.reason, "refused");
}

#[test]
fn nobody_hears_the_end_of_what_nobody_heard() {
    let (mut script, alert) = firing(&["hook"]);
    script.ok(intended(alert, "hook", Phase::Firing, 1));
    script.ok(done(alert, "hook", Phase::Firing, 1, failed(false)));
    script.ok(ended("node:n1"));
    assert_eq!(script.notification(alert, "hook", Phase::Resolved).state, NotificationState::Suppressed);
}

#[test]
fn who_may_have_heard_hears_the_end() {
    let (mut script, alert) = firing(&["hook"]);
    script.ok(intended(alert, "hook", Phase::Firing, 1));
    script.ok(ended("node:n1"));
    script.ok(intended(alert, "hook", Phase::Firing, 2));
    script.ok(done(alert, "hook", Phase::Firing, 2, failed(false)));
    assert_eq!(script.notification(alert, "hook", Phase::Firing).state, NotificationState::Failed);
    script.ok(intended(alert, "hook", Phase::Resolved, 1));
}

#[test]
fn the_attempts_end_even_if_each_is_cut_off() {
    let (mut script, alert) = firing(&["hook"]);
    for attempt in 1..=NOTIFICATION_ATTEMPTS_MAX {
        script.ok(intended(alert, "hook", Phase::Firing, attempt));
    }
    let next = intended(alert, "hook", Phase::Firing, NOTIFICATION_ATTEMPTS_MAX + 1);
    assert_eq!(script.refused(next), "ATTEMPTS_USED_UP");
    script.ok(done(alert, "hook", Phase::Firing, NOTIFICATION_ATTEMPTS_MAX, failed(true)));
    assert_eq!(script.notification(alert, "hook", Phase::Firing).state, NotificationState::Failed);
}

#[test]
fn a_removed_channel_gets_nothing_more() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    script.ok(intended(alert, "hook", Phase::Firing, 1));
    script.ok(alerting(&["screen"]));
    let hook = script.notification(alert, "hook", Phase::Firing);
    assert_eq!(hook.state, NotificationState::Suppressed);
    assert_eq!(script.notification(alert, "screen", Phase::Firing).state, NotificationState::Pending);
    assert_eq!(script.refused(intended(alert, "hook", Phase::Firing, 2)), "STALE");
    script.ok(done(alert, "hook", Phase::Firing, 1, SendOutcome::Sent));
    assert_eq!(script.notification(alert, "hook", Phase::Firing).state, NotificationState::Sent);
    script.ok(ended("node:n1"));
    assert_eq!(script.notification(alert, "hook", Phase::Resolved).state, NotificationState::Suppressed);
}

#[test]
fn a_route_to_nowhere_or_an_intent_too_far_ahead_is_refused() {
    let (mut script, alert) = firing(&["hook"]);
    let routes = vec![Route::to(vec!["nowhere".to_owned()])];
    let config = AlertingConfig { routes, ..AlertingConfig::default() };
    assert_eq!(script.refused(Body::AlertingApplied { config }), "INVALID");
    let Body::NotificationIntended { channel, phase, attempt, term, .. } =
        intended(alert, "hook", Phase::Firing, 1)
    else {
        unreachable!()
    };
    let send_within_ms = 10_001;
    let far = Body::NotificationIntended { alert, channel, phase, attempt, term, send_within_ms };
    assert_eq!(script.refused(far), "INVALID");
}

#[test]
fn what_a_channel_brings_along_is_bounded_and_its_secrets_stay_hidden() {
    let mut script = Script::new();
    let with = |key: &str, setting: Setting| {
        let mut channel = Channel::new("smtp", 5_000);
        channel.settings.insert(key.to_owned(), setting);
        let channels = [("mail".to_owned(), channel)].into();
        Body::AlertingApplied { config: AlertingConfig { channels, ..AlertingConfig::default() } }
    };
    let inline = Setting::Secret(SecretRef::Inline("hunter2".to_owned()));
    assert!(!format!("{inline:?}").contains("hunter2"));
    script.ok(with("password", inline));
    script.ok(with("to", Setting::Texts(vec!["a@example.org".to_owned(); CHANNEL_TEXTS_MAX])));
    for (key, setting) in [
        ("", Setting::Flag(true)),
        ("host", Setting::Text(String::new())),
        ("host", Setting::Text("x".repeat(VALUE_BYTES + 1))),
        ("to", Setting::Texts(vec!["a@example.org".to_owned(); CHANNEL_TEXTS_MAX + 1])),
        ("to", Setting::Texts(vec!["x".repeat(VALUE_BYTES + 1)])),
        ("headers", Setting::Pairs([("x".repeat(NAME_BYTES + 1), String::new())].into())),
        ("password", Setting::Secret(SecretRef::Inline("x".repeat(VALUE_BYTES + 1)))),
    ] {
        assert_eq!(script.refused(with(key, setting)), "INVALID", "{key}");
    }
    let mut channel = Channel::new("console", 5_000);
    channel.template = Some("x".repeat(TEMPLATE_BYTES + 1));
    let channels = [("screen".to_owned(), channel)].into();
    let config = AlertingConfig { channels, ..AlertingConfig::default() };
    assert_eq!(script.refused(Body::AlertingApplied { config }), "INVALID");
}

#[test]
fn alerts_are_bounded_and_those_that_fire_are_kept() {
    let mut script = Script::new();
    script.ok(raised("first"));
    for n in 1..ALERTS_MAX {
        script.ok(raised(&format!("alert {n}")));
    }
    assert_eq!(script.refused(raised("one more")), "TOO_MANY_ALERTS");
    script.ok(ended("alert 5"));
    script.ok(raised("one more"));
    assert_eq!(script.ledger.alerts.len(), ALERTS_MAX);
    assert!(script.ledger.alerts.values().any(|alert| alert.dedup_key == "first"));
    assert!(!script.ledger.alerts.values().any(|alert| alert.dedup_key == "alert 5"));
}
