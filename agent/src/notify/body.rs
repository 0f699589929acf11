//! A message in writing: the JSON body that webhooks, programs and files get, and the console's line of a notice.

use super::message::Message;
use cluster_core::{alerting::Notice, ledger::Phase, time::WallTime};
use serde::Serialize;
use std::collections::BTreeMap;

/// The documented body; nothing is absent.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    version: u32,
    status: &'static str,
    alert: &'a str,
    severity: &'static str,
    dedup_key: &'a str,
    cluster: &'a str,
    leader: &'a str,
    term: u64,
    labels: &'a BTreeMap<String, String>,
    summary: &'a str,
    description: &'a str,
    failure_id: Option<u64>,
    starts_at: String,
    ends_at: Option<String>,
    runbook: Option<&'a str>,
    ack_url: Option<&'a str>,
    /// Of a message about several alerts, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<Body<'a>>,
}

/// Of one alert its own body. Of several that of the incident's, with the state of the incident, and all of theirs as
/// `alerts`.
#[must_use]
pub fn of(message: &Message) -> String {
    let body = match message.notices.as_slice() {
        [alone] => body(alone),
        all => {
            let fires = message.status == Phase::Firing;
            let lead = body(message.lead());
            let ends_at = if fires { None } else { lead.ends_at };
            Body {
                status: status(message.status),
                severity: message.severity.name(),
                dedup_key: &message.key,
                ends_at,
                alerts: all.iter().map(body).collect(),
                ..lead
            }
        }
    };
    serde_json::to_string(&body).expect("strings, numbers and a map of strings are always JSON")
}

fn body(notice: &Notice) -> Body<'_> {
    Body {
        id: &notice.id,
        version: notice.version,
        status: status(notice.status),
        alert: &notice.alert,
        severity: notice.severity.name(),
        dedup_key: &notice.dedup_key,
        cluster: &notice.cluster,
        leader: &notice.leader,
        term: notice.term,
        labels: &notice.labels,
        summary: &notice.summary,
        description: &notice.description,
        failure_id: notice.failure_id.map(|id| id.0),
        starts_at: rfc3339(notice.starts_at),
        ends_at: notice.ends_at.map(rfc3339),
        runbook: notice.runbook.as_deref(),
        ack_url: notice.ack_url.as_deref(),
        alerts: Vec::new(),
    }
}

/// For the agent's standard error.
#[must_use]
pub fn line(notice: &Notice) -> String {
    let text = format!(
        "{} ALERT {} {} {}: {}",
        rfc3339(notice.ends_at.unwrap_or(notice.starts_at)),
        status(notice.status),
        notice.severity.name(),
        notice.alert,
        notice.summary,
    );
    text.replace(char::is_control, " ")
}

#[must_use]
pub fn status(phase: Phase) -> &'static str {
    match phase {
        Phase::Firing => "firing",
        Phase::Resolved => "resolved",
    }
}

/// UTC with milliseconds. A time that no calendar has shows as the latest one.
#[must_use]
pub fn rfc3339(time: WallTime) -> String {
    let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{timestamp:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::tests::message;
    use cluster_core::{
        ids::{ClusterId, FailureId},
        ledger::Severity,
    };

    pub fn notice() -> Notice {
        Notice {
            id: "17".into(),
            version: 1,
            status: Phase::Resolved,
            alert: "NodeDead".into(),
            severity: Severity::Critical,
            dedup_key: "NodeDead/n4".into(),
            cluster: "shop".into(),
            cluster_id: ClusterId(5),
            leader: "n2".into(),
            term: 3,
            labels: BTreeMap::from([("node".into(), "n4".into())]),
            summary: "n4 is back".into(),
            description: "line\nline".into(),
            failure_id: Some(FailureId(12)),
            starts_at: WallTime(1_700_000_000_123),
            ends_at: Some(WallTime(1_700_000_009_000)),
            runbook: None,
            ack_url: None,
        }
    }

    #[test]
    fn the_body_is_exactly_what_is_documented() {
        let expected = concat!(
            r#"{"id":"17","version":1,"status":"resolved","alert":"NodeDead","severity":"critical","#,
            r#""dedup_key":"NodeDead/n4","cluster":"shop","leader":"n2","term":3,"labels":{"node":"n4"},"#,
            r#""summary":"n4 is back","description":"line\nline","failure_id":12,"#,
            r#""starts_at":"2023-11-14T22:13:20.123Z","ends_at":"2023-11-14T22:13:29.000Z","runbook":null,"#,
            r#""ack_url":null}"#,
        );
        let json = |notice: &Notice| of(&message(vec![notice.clone()]));
        assert_eq!(json(&notice()), expected);
        let firing = Notice { status: Phase::Firing, ends_at: None, failure_id: None, ..notice() };
        let value: serde_json::Value = serde_json::from_str(&json(&firing)).unwrap();
        assert!(value["ends_at"].is_null() && value["failure_id"].is_null());
    }

    #[test]
    fn a_group_says_how_the_incident_is_and_lists_all() {
        let other = Notice { id: "18".into(), dedup_key: "NodeDead/n5".into(), ..notice() };
        let firing = Notice { status: Phase::Firing, ends_at: None, ..other };
        let value: serde_json::Value = serde_json::from_str(&of(&message(vec![notice(), firing]))).unwrap();
        assert_eq!(
            (&value["id"], &value["dedup_key"], &value["status"]),
            (&"17".into(), &"NodeDead/n4".into(), &"firing".into())
        );
        assert!(value["ends_at"].is_null());
        let alerts = value["alerts"].as_array().unwrap();
        assert_eq!((&alerts[0]["status"], &alerts[1]["status"]), (&"resolved".into(), &"firing".into()));
        assert!(alerts[0].get("alerts").is_none());
    }

    #[test]
    fn the_console_gets_one_line_whatever_the_text_is() {
        let odd = Notice { summary: "a\nb\u{1b}[31m".into(), ..notice() };
        assert!(!line(&odd).contains(['\n', '\u{1b}']), "{}", line(&odd));
    }
}
