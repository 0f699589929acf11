//! Alerts, and the configuration of who is told of them.

use super::*;
use crate::limits::{ALERTS_MAX, CHANNEL_TEXTS_MAX, NAME_BYTES, TEMPLATE_BYTES, VALUE_BYTES};

pub(super) fn alerting(channels: &[&str]) -> Body {
    let channel = |name: &str| match name {
        "hook" => Channel::new("webhook", 5_000),
        _ => Channel::new("console", 5_000),
    };
    let names: Vec<String> = channels.iter().map(|name| (*name).to_owned()).collect();
    let channels = channels.iter().map(|name| ((*name).to_owned(), channel(name))).collect();
    Body::AlertingApplied {
        config: Box::new(AlertingConfig {
            channels,
            routes: vec![Route::to(names)],
            ..AlertingConfig::default()
        }),
        link_key: None,
    }
}

pub(super) fn raised(key: &str) -> Body {
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

pub(super) fn ended(key: &str) -> Body {
    Body::AlertEnded { dedup_key: key.to_owned(), summary: "n1 is back".to_owned() }
}

#[test]
fn one_failure_one_alert_one_resolve() {
    let mut script = Script::with(&["n1"]);
    script.ok(raised("node:n1"));
    assert_eq!(script.refused(raised("node:n1")), "DUPLICATE");
    script.ok(ended("node:n1"));
    assert_eq!(script.refused(ended("node:n1")), "NOT_FOUND");
    script.ok(raised("node:n1"));
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

fn watchdog(url: &str, every_ms: u64) -> Option<Watchdog> {
    Some(Watchdog { url: SecretRef::Inline(url.to_owned()), every_ms })
}

#[test]
fn what_leads_nowhere_or_never_ends_is_refused() {
    let mut script = Script::new();
    let mut refuses = |change: fn(&mut AlertingConfig)| {
        let Body::AlertingApplied { mut config, .. } = alerting(&["hook", "screen"]) else { unreachable!() };
        change(&mut config);
        assert_eq!(script.refused(Body::AlertingApplied { config, link_key: None }), "INVALID");
    };
    refuses(|c| c.routes.push(Route::to(vec!["nowhere".to_owned()])));
    refuses(|c| c.routes[0].schedule = Some("never".to_owned()));
    refuses(|c| c.watchdog = watchdog("http://x", 9_999));
    refuses(|c| c.watchdog = watchdog("", 60_000));
    refuses(|c| c.routes[0].condition = Some(String::new()));
    refuses(|c| c.routes[0].repeat_ms = Some(0));
    refuses(|c| c.routes[0].group_by = Some(vec![String::new()]));
    refuses(|c| {
        let nowhere = vec!["nowhere".to_owned()];
        c.routes[0].escalations.push(Escalation { after_ms: 1, channels: nowhere, schedule: None });
    });
    refuses(|c| c.channels.get_mut("hook").unwrap().failover = Some("nowhere".to_owned()));
    refuses(|c| c.channels.get_mut("hook").unwrap().failover = Some("hook".to_owned()));
    refuses(|c| {
        c.channels.get_mut("hook").unwrap().failover = Some("screen".to_owned());
        c.channels.get_mut("screen").unwrap().failover = Some("hook".to_owned());
    });
    refuses(|c| c.channels.get_mut("hook").unwrap().rate = Some(Rate { messages: 0, per_ms: 1 }));
    refuses(|c| c.maintenances.push(Maintenance::default()));
}

#[test]
fn what_a_channel_brings_along_is_bounded_and_its_secrets_stay_hidden() {
    let mut script = Script::new();
    let with = |key: &str, setting: Setting| {
        let mut channel = Channel::new("smtp", 5_000);
        channel.settings.insert(key.to_owned(), setting);
        let channels = [("mail".to_owned(), channel)].into();
        Body::AlertingApplied {
            config: Box::new(AlertingConfig { channels, ..AlertingConfig::default() }),
            link_key: None,
        }
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
    let config = Box::new(AlertingConfig { channels, ..AlertingConfig::default() });
    assert_eq!(script.refused(Body::AlertingApplied { config, link_key: None }), "INVALID");
}

#[test]
fn what_some_channel_wasnt_told_of_is_kept_for_a_while_after_its_end() {
    let mut script = Script::with(&["n1"]);
    script.ok(alerting(&["hook", "screen"]));
    script.ok(raised("first"));
    let first = script.ledger.applied.index;
    script.ok(Body::MessageQueued {
        channel: "hook".into(),
        told: vec![(first, Phase::Firing)],
        incident: first,
        why: Why::First,
    });
    let message = script.ledger.applied.index;
    script.ok(Body::MessageIntended { message, attempt: 1, term: 1, send_within_ms: 5_000 });
    let reason = "refused".to_owned();
    let outcome = SendOutcome::Failed { reason, retry: false, after_ms: None, heard: false };
    script.ok(Body::MessageDone { message, attempt: 1, by: id("n1"), outcome });
    script.ok(ended("first"));
    for n in 1..ALERTS_MAX {
        script.ok(raised(&format!("alert {n}")));
    }
    assert_eq!(script.refused(raised("one more")), "TOO_MANY_ALERTS", "the screen may yet be told");
    script.now_ms += 10 * 60 * 1_000;
    script.ok(raised("one more"));
    assert!(!script.ledger.alerts.contains_key(&first));
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
