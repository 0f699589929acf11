//! What a post may say, and which of it is news.

use super::*;
use cluster_core::{
    ids::{LogId, RequestId},
    ledger::{Command, FEATURE_LEVEL},
};

const NOW: WallTime = WallTime(1_700_000_000_000);
const MINUTE: u64 = 60_000;

fn later(ms: u64) -> WallTime {
    WallTime(NOW.0 + ms)
}

fn one(json: &str) -> Posted {
    parse(format!("[{json}]").as_bytes(), NOW).unwrap().remove(0)
}

fn complaint(body: &str) -> String {
    parse(body.as_bytes(), NOW).unwrap_err()
}

fn apply(ledger: &mut Ledger, now: WallTime, entries: Vec<Body>) {
    for body in entries {
        let index = ledger.applied.index + 1;
        let (level, actor, request) = (FEATURE_LEVEL, "node:n1".to_owned(), RequestId(0));
        let command = Command { level, actor, request, proposed_at: now, body };
        ledger.apply(LogId { term: 1, index }, &command).unwrap();
    }
}

/// As Prometheus posts it, to last until then.
fn disk_full(until: WallTime) -> Vec<Posted> {
    let ends_at = crate::notify::body::rfc3339(until);
    let json = format!(r#"{{"labels":{{"alertname":"DiskFull","node":"db-1"}},"endsAt":"{ends_at}"}}"#);
    vec![one(&json)]
}

#[test]
fn what_prometheus_posts_is_an_alert() {
    let posted = one(
        r#"{"labels":{"alertname":"DiskFull","severity":"page","instance":"db-1:9100","job":"node","empty":""},
            "annotations":{"summary":" db-1 is full ","description":"97 % of /","runbook_url":"https://x"},
            "startsAt":"2023-11-14T22:00:00.5Z","endsAt":"2023-11-14T22:17:20+00:00",
            "generatorURL":"http://prometheus:9090/graph"}"#,
    );
    assert_eq!((posted.name.as_str(), posted.severity), ("DiskFull", Severity::Critical));
    assert_eq!(posted.summary, "db-1 is full");
    assert_eq!(posted.description, "97 % of /\nhttp://prometheus:9090/graph");
    let labels: Vec<&str> = posted.labels.keys().map(String::as_str).collect();
    assert_eq!(labels, ["instance", "job"]);
    assert_eq!(posted.until, later(4 * MINUTE));
}

#[test]
fn severities_are_ours() {
    for (theirs, ours) in [
        ("critical", Severity::Critical),
        ("Page", Severity::Critical),
        ("warning", Severity::Warning),
        ("info", Severity::Info),
        ("none", Severity::Warning),
        ("P1", Severity::Warning),
    ] {
        let posted = one(&format!(r#"{{"labels":{{"alertname":"A","severity":"{theirs}"}}}}"#));
        assert_eq!(posted.severity, ours, "{theirs}");
    }
    assert_eq!(one(r#"{"labels":{"alertname":"A"}}"#).severity, Severity::Warning);
}

#[test]
fn what_says_nothing_itself_is_named_by_its_labels() {
    let text = |labels: &str| one(&format!(r#"{{"labels":{{"alertname":"Down"{labels}}}}}"#)).summary;
    assert_eq!(text(""), "Down");
    assert_eq!(
        text(r#","a":"1","b":"2","job":"node","instance":"db-1""#),
        "Down: instance db-1, job node, a 1"
    );
    let described = one(r#"{"labels":{"alertname":"A"},"annotations":{"description":"it is down"}}"#);
    assert_eq!(described.summary, "it is down");
}

#[test]
fn the_key_is_the_whole_label_sets() {
    let key = |labels: &str| one(&format!(r#"{{"labels":{{{labels}}}}}"#)).dedup_key;
    let reference = key(r#""alertname":"A","severity":"info","x":"1""#);
    assert!(reference.starts_with(POSTED_PREFIX) && reference.len() == POSTED_PREFIX.len() + 32);
    assert_eq!(key(r#""x":"1","empty":"","severity":"info","alertname":"A""#), reference);
    for other in [
        r#""alertname":"B","severity":"info","x":"1""#,
        r#""alertname":"A","severity":"page","x":"1""#,
        r#""alertname":"A","severity":"info","x":"2""#,
        r#""alertname":"A","severity":"info","x1":"""#,
        r#""alertname":"A","severity":"infox","1":"1""#,
    ] {
        assert_ne!(key(other), reference, "{other}");
    }
    let two = r#"[{"labels":{"alertname":"A"}},{"labels":{"alertname":"A"},"annotations":{"summary":"s"}}]"#;
    let parsed = parse(two.as_bytes(), NOW).unwrap();
    assert_eq!((parsed.len(), parsed[0].summary.as_str()), (1, "s"));
}

#[test]
fn it_lasts_as_long_as_it_says_but_not_for_ever() {
    let until = |ends_at: &str| one(&format!(r#"{{"labels":{{"alertname":"A"}}{ends_at}}}"#)).until;
    assert_eq!(until(""), later(5 * MINUTE));
    assert_eq!(until(r#","endsAt":null"#), later(5 * MINUTE));
    assert_eq!(until(r#","endsAt":"0001-01-01T00:00:00Z""#), later(5 * MINUTE));
    assert_eq!(until(r#","endsAt":"2223-01-01T00:00:00Z""#), later(24 * 60 * MINUTE));
    assert!(until(r#","endsAt":"2023-11-14T22:13:19Z""#) < NOW);
}

#[test]
fn what_is_too_large_for_the_ledger_is_cut() {
    let many: Vec<String> =
        (0..100).map(|n| format!(r#""label_{n:03}_{}":"{}""#, "x".repeat(90), "ü".repeat(3_000))).collect();
    let posted = one(&format!(r#"{{"labels":{{"alertname":"{}",{}}}}}"#, "A".repeat(200), many.join(",")));
    assert_eq!((posted.labels.len(), posted.name.len()), (LABELS_MAX, NAME_BYTES));
    assert!(posted.labels.iter().all(|(k, v)| k.len() <= NAME_BYTES && v.len() <= ALERT_LABEL_BYTES));
    let mut ledger = Ledger::default();
    apply(&mut ledger, NOW, news(&Ledger::default(), NOW, vec![posted]));
    assert_eq!(ledger.posted().count(), 1);
}

#[test]
fn what_is_no_alert_is_refused_with_a_sentence() {
    assert!(
        complaint("{}")
            .starts_with("this isn't a JSON list of alerts as Alertmanager's API (v2) takes them: ")
    );
    assert!(complaint("[{\"labels\":{\"alertname\":5}}]").contains("line 1"));
    assert_eq!(
        complaint(r#"[{"labels":{"alertname":"A"}},{"labels":{"a":"b"}}]"#),
        "alert 2 of the list has no label alertname; every alert needs one"
    );
    assert_eq!(
        complaint(r#"[{"labels":{"alertname":"A"},"endsAt":"soon"}]"#),
        "alert 1 of the list has endsAt = \"soon\", which isn't a time; write RFC 3339"
    );
    let many = vec![r#"{"labels":{"alertname":"A"}}"#; ALERTS_PER_POST + 1].join(",");
    assert_eq!(complaint(&format!("[{many}]")), "513 alerts are too many; post at most 512 at once");
    assert_eq!(parse(b"[]", NOW), Ok(Vec::new()));
}

#[test]
fn an_hour_of_posts_is_some_twenty_entries() {
    let mut ledger = Ledger::default();
    for minute in 0..60 {
        let now = later(minute * MINUTE);
        let entries = news(&ledger, now, disk_full(WallTime(now.0 + 4 * MINUTE)));
        assert!(entries.len() <= 1);
        apply(&mut ledger, now, entries);
        let (_, good_until) = ledger.posted().next().expect("it fires");
        assert!(good_until.0 >= now.0 + 2 * MINUTE, "the next two posts may be lost");
    }
    assert_eq!((ledger.alerts.len(), ledger.applied.index), (1, 20));
}

#[test]
fn an_end_is_written_once() {
    let mut ledger = Ledger::default();
    assert!(news(&ledger, NOW, disk_full(NOW)).is_empty(), "nobody heard that it fires");
    apply(&mut ledger, NOW, news(&Ledger::default(), NOW, disk_full(later(MINUTE))));
    let ends = news(&ledger, NOW, disk_full(NOW));
    assert!(
        matches!(&ends[..], [Body::AlertEnded { summary, .. }] if summary == "it is over: DiskFull: node db-1")
    );
    apply(&mut ledger, NOW, ends);
    assert!(news(&ledger, NOW, disk_full(NOW)).is_empty());
    assert!(ledger.alerts.values().all(|alert| alert.ends_at.is_some()));
}
