//! Messages: queued once, sent as often as promised, handed on when a channel fails.

use super::{
    alerts::{alerting, ended, raised},
    *,
};
use crate::limits::{MESSAGE_ALERTS_MAX, NOTIFICATION_ATTEMPTS_MAX, QUIET_MAX_MS, SEND_WITHIN_MAX_MS};
use Phase::{Firing, Resolved};

/// A script with these channels and one firing alert, and the alert's id.
fn firing(channels: &[&str]) -> (Script, u64) {
    let mut script = Script::with(&["n1"]);
    script.ok(alerting(channels));
    script.ok(raised("node:n1"));
    let alert = script.ledger.applied.index;
    (script, alert)
}

fn failed(retry: bool) -> SendOutcome {
    SendOutcome::Failed { reason: "refused".to_owned(), retry, after_ms: None, heard: false }
}

fn queued(channel: &str, alert: u64, phase: Phase, why: Why) -> Body {
    Body::MessageQueued { channel: channel.to_owned(), told: vec![(alert, phase)], incident: alert, why }
}

fn intended(message: u64, attempt: u32) -> Body {
    Body::MessageIntended { message, attempt, term: 1, send_within_ms: 5_000 }
}

fn done(message: u64, attempt: u32, outcome: SendOutcome) -> Body {
    Body::MessageDone { message, attempt, by: id("n1"), outcome }
}

impl Script {
    fn queue(&mut self, channel: &str, alert: u64, phase: Phase) -> u64 {
        self.ok(queued(channel, alert, phase, Why::First));
        self.ledger.applied.index
    }

    /// Queued, and sent at the first attempt.
    fn tell(&mut self, channel: &str, alert: u64, phase: Phase) {
        let message = self.queue(channel, alert, phase);
        self.ok(intended(message, 1));
        self.ok(done(message, 1, SendOutcome::Sent));
    }

    fn notification(&self, alert: u64, channel: &str, phase: Phase) -> &Notification {
        let all = &self.ledger.alerts[&alert].notifications;
        all.iter().find(|n| n.channel == channel && n.phase == phase).unwrap()
    }
}

#[test]
fn each_alert_is_told_once_and_its_end_once_and_in_this_order() {
    let (mut script, alert) = firing(&["hook"]);
    assert_eq!(script.refused(queued("hook", alert, Resolved, Why::First)), "INVALID");
    let message = script.queue("hook", alert, Firing);
    assert_eq!(script.refused(queued("hook", alert, Firing, Why::First)), "ALREADY_TOLD");
    script.ok(ended("node:n1"));
    assert_eq!(script.refused(queued("hook", alert, Resolved, Why::First)), "TOO_EARLY");
    script.ok(intended(message, 1));
    script.ok(done(message, 1, SendOutcome::Sent));
    let told = script.notification(alert, "hook", Firing);
    assert_eq!((told.state, told.by, told.incident), (NotificationState::Sent, Some(id("n1")), alert));
    assert_eq!(script.refused(intended(message, 2)), "NOT_FOUND");
    assert_eq!(script.refused(queued("hook", alert, Firing, Why::News)), "ALREADY_TOLD");
    script.tell("hook", alert, Resolved);
    assert_eq!(script.refused(queued("hook", alert, Resolved, Why::First)), "ALREADY_TOLD");
    assert!(script.ledger.messages.is_empty());
}

#[test]
fn a_message_that_makes_no_sense_is_refused() {
    let (mut script, alert) = firing(&["hook"]);
    let mut refused = |channel: &str, told: Vec<(u64, Phase)>, incident| {
        script.refused(Body::MessageQueued { channel: channel.to_owned(), told, incident, why: Why::First })
    };
    assert_eq!(refused("nowhere", vec![(alert, Firing)], alert), "NOT_FOUND");
    assert_eq!(refused("hook", vec![(99, Firing)], alert), "NOT_FOUND");
    assert_eq!(refused("hook", vec![(alert, Firing)], 99), "NOT_FOUND");
    assert_eq!(refused("hook", vec![], alert), "INVALID");
    assert_eq!(refused("hook", vec![(alert, Firing), (alert, Firing)], alert), "INVALID");
    assert_eq!(
        refused("hook", (0..=MESSAGE_ALERTS_MAX as u64).map(|n| (n, Firing)).collect(), alert),
        "INVALID"
    );
    let message = script.queue("hook", alert, Firing);
    let send_within_ms = SEND_WITHIN_MAX_MS + 1;
    let far = Body::MessageIntended { message, attempt: 1, term: 1, send_within_ms };
    assert_eq!(script.refused(far), "INVALID");
}

#[test]
fn a_repetition_names_what_it_repeats_so_that_a_second_one_is_refused() {
    let (mut script, alert) = firing(&["hook"]);
    script.tell("hook", alert, Firing);
    let of = script.notification(alert, "hook", Firing).message;
    script.ok(queued("hook", alert, Firing, Why::Repeat { of }));
    let again = script.ledger.applied.index;
    assert_eq!(script.refused(queued("hook", alert, Firing, Why::Repeat { of })), "STALE");
    script.ok(intended(again, 1));
    script.ok(done(again, 1, SendOutcome::Sent));
    assert_eq!(script.refused(queued("hook", alert, Firing, Why::Repeat { of })), "STALE");
    script.ok(ended("node:n1"));
    assert_eq!(script.refused(queued("hook", alert, Firing, Why::Repeat { of: again })), "STALE");
}

#[test]
fn a_cut_off_attempt_is_repeated_and_marked_where_there_is_no_key() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    for channel in ["hook", "screen"] {
        let message = script.queue(channel, alert, Firing);
        script.ok(intended(message, 1));
        assert_eq!(script.refused(intended(message, 1)), "STALE");
        script.ok(intended(message, 2));
        assert_eq!(script.refused(done(message, 1, SendOutcome::Sent)), "STALE");
    }
    assert!(!script.notification(alert, "hook", Firing).maybe_repeated);
    assert!(script.notification(alert, "screen", Firing).maybe_repeated);
}

#[test]
fn a_known_failure_is_tried_again_unmarked_until_the_attempts_are_used_up() {
    let (mut script, alert) = firing(&["screen"]);
    let message = script.queue("screen", alert, Firing);
    for attempt in 1..=NOTIFICATION_ATTEMPTS_MAX {
        assert_eq!(script.notification(alert, "screen", Firing).state, NotificationState::Pending);
        script.ok(intended(message, attempt));
        script.ok(done(message, attempt, failed(true)));
    }
    let told = script.notification(alert, "screen", Firing);
    assert_eq!(
        (told.state, told.maybe_repeated, told.reason.as_str()),
        (NotificationState::Failed, false, "refused")
    );
    assert_eq!(script.ledger.paces["screen"].failed_in_a_row, NOTIFICATION_ATTEMPTS_MAX);
}

#[test]
fn nobody_hears_the_end_of_what_nobody_heard_but_who_may_have_heard_does() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    let never = script.queue("hook", alert, Firing);
    script.ok(intended(never, 1));
    script.ok(done(never, 1, failed(false)));
    let perhaps = script.queue("screen", alert, Firing);
    script.ok(intended(perhaps, 1));
    script.ok(intended(perhaps, 2));
    script.ok(done(perhaps, 2, failed(false)));
    script.ok(ended("node:n1"));
    assert_eq!(script.refused(queued("hook", alert, Resolved, Why::News)), "NEVER_TOLD");
    script.tell("screen", alert, Resolved);
}

#[test]
fn the_attempts_end_even_if_each_is_cut_off() {
    let (mut script, alert) = firing(&["hook"]);
    let message = script.queue("hook", alert, Firing);
    for attempt in 1..=NOTIFICATION_ATTEMPTS_MAX {
        script.ok(intended(message, attempt));
    }
    assert_eq!(script.refused(intended(message, NOTIFICATION_ATTEMPTS_MAX + 1)), "ATTEMPTS_USED_UP");
    script.ok(done(message, NOTIFICATION_ATTEMPTS_MAX, failed(true)));
    assert_eq!(script.notification(alert, "hook", Firing).state, NotificationState::Failed);
}

#[test]
fn what_fails_for_good_is_handed_to_the_failover_once() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    let Body::AlertingApplied { mut config, .. } = alerting(&["hook", "screen"]) else { unreachable!() };
    config.channels.get_mut("hook").unwrap().failover = Some("screen".to_owned());
    script.ok(Body::AlertingApplied { config, link_key: None });
    let message = script.queue("hook", alert, Firing);
    script.ok(intended(message, 1));
    script.ok(done(message, 1, failed(false)));
    let handed_on = script.ledger.applied.index;
    let handed = &script.ledger.messages[&handed_on];
    assert_eq!(
        (handed.channel.as_str(), handed.why, &handed.told),
        ("screen", Why::Failover, &vec![(alert, Firing)])
    );
    assert_eq!(script.notification(alert, "hook", Firing).reason, "refused; screen is told instead");
    script.ok(intended(handed_on, 1));
    script.ok(done(handed_on, 1, SendOutcome::Sent));
    script.ok(ended("node:n1"));
    script.tell("screen", alert, Resolved);
}

#[test]
fn a_failover_that_was_told_is_not_told_again() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    let Body::AlertingApplied { mut config, .. } = alerting(&["hook", "screen"]) else { unreachable!() };
    config.channels.get_mut("hook").unwrap().failover = Some("screen".to_owned());
    script.ok(Body::AlertingApplied { config, link_key: None });
    script.tell("screen", alert, Firing);
    let message = script.queue("hook", alert, Firing);
    script.ok(intended(message, 1));
    script.ok(done(message, 1, failed(false)));
    assert!(script.ledger.messages.is_empty());
}

#[test]
fn a_channel_is_remembered_as_it_fares() {
    let (mut script, alert) = firing(&["hook"]);
    let Body::AlertingApplied { mut config, .. } = alerting(&["hook"]) else { unreachable!() };
    config.channels.get_mut("hook").unwrap().rate = Some(Rate { messages: 2, per_ms: 60_000 });
    script.ok(Body::AlertingApplied { config, link_key: None });
    let message = script.queue("hook", alert, Firing);
    for attempt in 1..=3 {
        script.ok(intended(message, attempt));
        let after_ms = (attempt == 2).then_some(u64::MAX);
        script.ok(done(
            message,
            attempt,
            SendOutcome::Failed { reason: "no".into(), retry: true, after_ms, heard: false },
        ));
    }
    let pace = &script.ledger.paces["hook"];
    assert_eq!((pace.attempts.len(), pace.failed_in_a_row), (2, 3));
    assert!(pace.quiet_until.unwrap().0 <= script.ledger.clock.0 + QUIET_MAX_MS);
    script.ok(intended(message, 4));
    script.ok(done(message, 4, SendOutcome::Sent));
    let pace = &script.ledger.paces["hook"];
    assert_eq!((pace.failed_in_a_row, pace.quiet_until), (0, None));
}

#[test]
fn who_heard_though_others_did_not_is_told_of_the_end() {
    let (mut script, alert) = firing(&["hook"]);
    let message = script.queue("hook", alert, Firing);
    script.ok(intended(message, 1));
    let reason = "4 of 5 numbers accepted".to_owned();
    script.ok(done(message, 1, SendOutcome::Failed { reason, retry: false, after_ms: None, heard: true }));
    let told = script.notification(alert, "hook", Firing);
    assert!(told.state == NotificationState::Failed && told.was_heard());
    script.ok(ended("node:n1"));
    script.tell("hook", alert, Resolved);
}

#[test]
fn whether_an_incident_is_open_is_found_when_its_message_is_sent() {
    let (mut script, first) = firing(&["hook"]);
    script.tell("hook", first, Firing);
    script.ok(raised("node:n2"));
    let second = script.ledger.applied.index;
    let news = Body::MessageQueued {
        channel: "hook".into(),
        told: vec![(second, Firing)],
        incident: first,
        why: Why::News,
    };
    script.ok(news);
    let news = script.ledger.applied.index;
    script.ok(ended("node:n1"));
    let over = script.queue("hook", first, Resolved);
    assert!(script.ledger.messages[&over].open);
    script.ok(intended(news, 1));
    script.ok(done(news, 1, failed(false)));
    script.ok(intended(over, 1));
    assert!(!script.ledger.messages[&over].open, "nobody will ever hear of the second");
}

#[test]
fn a_removed_channel_gets_nothing_more() {
    let (mut script, alert) = firing(&["hook", "screen"]);
    let message = script.queue("hook", alert, Firing);
    script.queue("screen", alert, Firing);
    script.ok(intended(message, 1));
    script.ok(alerting(&["screen"]));
    let hook = script.notification(alert, "hook", Firing);
    assert_eq!((hook.state, hook.uncertain), (NotificationState::Failed, true));
    assert_eq!(script.notification(alert, "screen", Firing).state, NotificationState::Pending);
    assert_eq!(script.refused(intended(message, 2)), "NOT_FOUND");
    assert_eq!(script.refused(done(message, 1, SendOutcome::Sent)), "NOT_FOUND");
}

#[test]
fn who_was_told_before_a_channel_was_removed_is_told_of_the_end_when_it_is_back() {
    let (mut script, alert) = firing(&["hook"]);
    script.tell("hook", alert, Firing);
    let of = script.notification(alert, "hook", Firing).message;
    script.ok(queued("hook", alert, Firing, Why::Repeat { of }));
    script.ok(alerting(&["screen"]));
    assert_eq!(script.notification(alert, "hook", Firing).state, NotificationState::Sent);
    script.ok(ended("node:n1"));
    script.ok(alerting(&["hook"]));
    script.tell("hook", alert, Resolved);
}

#[test]
fn an_incident_is_open_while_something_told_in_it_fires() {
    let (mut script, first) = firing(&["hook"]);
    script.ok(raised("node:n2"));
    let second = script.ledger.applied.index;
    let both = vec![(first, Firing), (second, Firing)];
    script.ok(Body::MessageQueued { channel: "hook".into(), told: both, incident: first, why: Why::First });
    let message = script.ledger.applied.index;
    script.ok(intended(message, 1));
    script.ok(done(message, 1, SendOutcome::Sent));
    script.ok(ended("node:n1"));
    script.ok(ended("node:n2"));
    let over = |alert| Body::MessageQueued {
        channel: "hook".into(),
        told: vec![(alert, Resolved)],
        incident: first,
        why: Why::News,
    };
    script.ok(over(first));
    assert!(script.ledger.messages.last_key_value().unwrap().1.open, "nobody was told that n2 is back");
    script.ok(over(second));
    assert!(!script.ledger.messages.last_key_value().unwrap().1.open);
}
