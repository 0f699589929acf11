//! Silences, and the record of why somebody isn't told.

use super::{
    alerts::{alerting, ended, raised},
    *,
};
use crate::limits::{SILENCE_LISTED_MS, SILENCES_MAX};

fn silence(starts_at: u64, ends_at: u64) -> Silence {
    let matcher = Matcher { label: "node".to_owned(), op: MatchOp::Equal, value: "n1".to_owned() };
    Silence {
        matchers: vec![matcher],
        starts_at: WallTime(starts_at),
        ends_at: WallTime(ends_at),
        author: String::new(),
        comment: "new disks".to_owned(),
    }
}

#[test]
fn a_silence_has_an_id_an_author_and_an_end() {
    let mut script = Script::new();
    let now = script.now_ms;
    let Reply::Silence(id) = script.ok(Body::SilenceAdded { silence: silence(now, now + 60_000) }) else {
        panic!("it has an id")
    };
    assert!(!script.ledger.silences[&id].author.is_empty());
    script.ok(Body::SilenceEnded { id });
    assert_eq!(script.ledger.silences[&id].ends_at, script.ledger.clock);
    assert_eq!(script.refused(Body::SilenceEnded { id }), "ENDED");
    assert_eq!(script.refused(Body::SilenceEnded { id: 99 }), "NOT_FOUND");
}

#[test]
fn a_silence_that_is_over_is_listed_for_a_day_and_there_are_only_so_many() {
    let mut script = Script::new();
    let now = script.now_ms;
    for _ in 0..SILENCES_MAX {
        script.ok(Body::SilenceAdded { silence: silence(now, now + 60_000) });
    }
    let one_more = || Body::SilenceAdded { silence: silence(now, now + 3 * SILENCE_LISTED_MS) };
    assert_eq!(script.refused(one_more()), "TOO_MANY_SILENCES");
    script.now_ms += SILENCE_LISTED_MS;
    assert_eq!(script.refused(one_more()), "TOO_MANY_SILENCES");
    script.now_ms += 60_000;
    script.ok(one_more());
    assert_eq!(script.ledger.silences.len(), 1);
}

#[test]
fn a_silence_that_can_match_nothing_or_never_holds_is_refused() {
    let mut script = Script::new();
    let now = script.now_ms;
    let mut bare = silence(now, now + 1_000);
    bare.matchers.clear();
    assert_eq!(script.refused(Body::SilenceAdded { silence: bare }), "INVALID");
    assert_eq!(script.refused(Body::SilenceAdded { silence: silence(now + 1_000, now) }), "INVALID");
    assert_eq!(script.refused(Body::SilenceAdded { silence: silence(0, 1) }), "INVALID");
}

#[test]
fn why_nobody_is_told_is_written_once_until_somebody_is() {
    let mut script = Script::with(&["n1"]);
    script.ok(alerting(&["hook"]));
    script.ok(raised("node:n1"));
    let alert = script.ledger.applied.index;
    let muted = |reason: &str| Body::AlertsMuted {
        alerts: vec![alert],
        channels: vec!["hook".to_owned()],
        reason: reason.to_owned(),
    };
    script.ok(muted("silence 12"));
    assert_eq!(script.refused(muted("silence 12")), "UNCHANGED");
    script.ok(muted("maintenance"));
    let told = |script: &Script| script.ledger.alerts[&alert].notifications[0].clone();
    assert_eq!(
        (told(&script).state, told(&script).reason.as_str()),
        (NotificationState::Suppressed, "maintenance")
    );
    let firing = vec![(alert, Phase::Firing)];
    script.ok(muted(""));
    assert!(script.ledger.alerts[&alert].notifications.is_empty(), "it is muted no more");
    assert_eq!(script.refused(muted("")), "UNCHANGED");
    script.ok(muted("maintenance"));
    script.ok(Body::MessageQueued { channel: "hook".into(), told: firing, incident: alert, why: Why::First });
    assert_eq!((told(&script).state, told(&script).reason.as_str()), (NotificationState::Pending, ""));
    assert_eq!(script.refused(muted("silence 12")), "UNCHANGED");
    script.ok(ended("node:n1"));
    assert_eq!(script.refused(muted("")), "UNCHANGED");
}
