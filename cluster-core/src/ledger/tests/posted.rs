//! Alerts that another system watches over.

use super::*;
use crate::limits::{ALERTS_MAX, POSTED_ALERTS_MAX, POSTED_LASTS_MAX_MS};

fn posted(key: &str, valid_until: u64) -> Body {
    Body::AlertPosted {
        name: "NodeDead".to_owned(),
        severity: Severity::Warning,
        dedup_key: key.to_owned(),
        labels: [].into(),
        summary: "the disk of db-1 is full".to_owned(),
        description: String::new(),
        valid_until: WallTime(valid_until),
    }
}

fn extended(key: &str, until: u64) -> Body {
    Body::AlertsExtended { until: vec![(key.to_owned(), WallTime(until))] }
}

fn valid_until(script: &Script) -> Option<u64> {
    script.ledger.alerts.values().next_back().and_then(|alert| alert.valid_until).map(|until| until.0)
}

#[test]
fn the_same_alert_from_three_sides_is_one() {
    let mut script = Script::new();
    script.now_ms = 100_000;
    script.ok(posted("prometheus/a", 400_000));
    assert_eq!(script.refused(posted("prometheus/a", 400_001)), "DUPLICATE");
    assert_eq!(script.refused(posted("prometheus/a", 400_001)), "DUPLICATE");
    assert_eq!((script.ledger.alerts.len(), valid_until(&script)), (1, Some(400_000)));
    script.ok(super::alerts::ended("prometheus/a"));
    assert_eq!(script.ledger.posted().count(), 0);
    script.ok(posted("prometheus/a", 500_000));
}

#[test]
fn an_extension_makes_longer_and_never_shorter() {
    let mut script = Script::new();
    script.now_ms = 100_000;
    script.ok(posted("prometheus/a", 400_000));
    script.ok(extended("prometheus/a", 500_000));
    assert_eq!(valid_until(&script), Some(500_000));
    for (key, until) in [("prometheus/a", 500_000), ("prometheus/a", 1), ("prometheus/b", 600_000)] {
        assert_eq!(script.refused(extended(key, until)), "NOT_FOUND");
    }
    script.ok(super::alerts::ended("prometheus/a"));
    assert_eq!(script.refused(extended("prometheus/a", 700_000)), "NOT_FOUND");
    assert_eq!(valid_until(&script), Some(500_000));
}

#[test]
fn the_clusters_own_alerts_are_out_of_reach() {
    let mut script = Script::new();
    script.now_ms = 100_000;
    assert_eq!(script.refused(posted("NodeDead/1/7", 400_000)), "INVALID");
    script.ok(super::alerts::raised("NodeDead/1/7"));
    assert_eq!(script.refused(extended("NodeDead/1/7", 400_000)), "NOT_FOUND");
    assert_eq!(valid_until(&script), None);
}

#[test]
fn none_is_over_before_it_begins_nor_lasts_for_ever() {
    let mut script = Script::new();
    script.now_ms = 100_000;
    assert_eq!(script.refused(posted("prometheus/a", 1)), "OVER");
    script.ok(posted("prometheus/a", u64::MAX));
    let most = script.ledger.clock.0 + POSTED_LASTS_MAX_MS;
    assert_eq!(valid_until(&script), Some(most));
}

#[test]
fn however_many_are_posted_the_cluster_finds_room_for_its_own() {
    const { assert!(POSTED_ALERTS_MAX < ALERTS_MAX / 2) };
    let mut script = Script::new();
    script.now_ms = 100_000;
    for n in 0..POSTED_ALERTS_MAX {
        script.ok(posted(&format!("prometheus/{n}"), 90_000_000));
    }
    assert_eq!(script.refused(posted("prometheus/more", 90_000_000)), "TOO_MANY_ALERTS");
    script.ok(super::alerts::raised("NodeDead/1/7"));
    script.ok(super::alerts::ended("prometheus/7"));
    script.ok(posted("prometheus/more", 90_000_000));
}
