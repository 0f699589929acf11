//! The story of one failure, word for word.

use super::*;
use holdfast_proto::v1::{Detection, DetectionMethod, Diagnosis, StepAction, Subject};

fn at(ms: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(ms % 1_000).unwrap() * 1_000_000;
    Some(Timestamp { seconds: 100 + ms / 1_000, nanos })
}

const VIEW: View = View { now_ms: 160_000, color: false };

fn moved() -> Failure {
    Failure {
        id: 118,
        subject: Some(Subject { kind: "workload".into(), name: "counter".into() }),
        state: FailureState::Recovered.into(),
        caused_by: Some(117),
        last_seen_at: at(0),
        detected_at: at(870),
        declared_at: at(1_130),
        revoked_at: at(1_140),
        safe_at: at(1_890),
        started_at: at(1_960),
        recovered_at: at(2_010),
        time_to_recover_ms: Some(2_010),
        detection: Some(Detection {
            method: DetectionMethod::HealthCheck.into(),
            evidence: vec!["n1 heard nothing for 870 ms".into()],
        }),
        diagnosis: Some(Diagnosis {
            cause: "node_lost".into(),
            confidence: 0.9,
            summary: "n4 is gone".into(),
            evidence: vec![],
        }),
        steps: vec![Step {
            action: StepAction::Migrate.into(),
            from: Some("n4".into()),
            to: Some("n1".into()),
            generation: Some(2),
            started_at: at(1_890),
            finished_at: at(2_010),
            outcome: Some("ok".into()),
            ..Step::default()
        }],
        alerts: vec!["4711".into()],
        ..Failure::default()
    }
}

#[test]
fn a_recovered_failure_is_told_from_the_evidence_to_the_alert() {
    assert_eq!(
        story(&moved(), VIEW),
        "\
Failure 118: workload counter, recovered, 2.01 s after it was last seen
  It only followed from failure 117: holdfast failure show 117

Evidence, by health check
  - n1 heard nothing for 870 ms

Diagnosis: node_lost, 90 % sure
  - n4 is gone

What happened when
  +0 ms     last seen                1970-01-01 00:01:40.000 UTC
  +870 ms   suspected                1970-01-01 00:01:40.870 UTC
  +1130 ms  declared                 1970-01-01 00:01:41.130 UTC
  +1140 ms  lease revoked            1970-01-01 00:01:41.140 UTC
  +1890 ms  safe to start elsewhere  1970-01-01 00:01:41.890 UTC
  +1960 ms  started                  1970-01-01 00:01:41.960 UTC
  +2010 ms  serving again            1970-01-01 00:01:42.010 UTC

Recovery steps
  +1890 ms  migrate from n4 to n1, generation 2: ok after 120 ms

Alerts
  4711: holdfast alert list says what was sent
"
    );
}

#[test]
fn an_open_failure_says_what_is_missing_and_how_to_acknowledge_it() {
    let failure = Failure {
        subject: Some(Subject { kind: "node".into(), name: "n4".into() }),
        state: FailureState::Open.into(),
        recovered_at: None,
        time_to_recover_ms: None,
        caused_by: None,
        ..moved()
    };
    let text = story(&failure, VIEW);
    assert!(text.contains("Nobody has acknowledged it: holdfast failure ack 118"), "{text}");
    assert!(text.contains("not back yet"), "{text}");
}

#[test]
fn an_empty_failure_is_still_told() {
    let text = story(&Failure::default(), VIEW);
    assert!(text.contains("no time was written down"), "{text}");
}
