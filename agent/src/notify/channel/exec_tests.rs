//! Programs that succeed, fail, talk too much, don't listen, or never end.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver as deliver_kind},
    message::tests::{message, notice},
};
use std::time::Instant;

const WITHIN: Duration = Duration::from_secs(10);

async fn run(script: &str, within: Duration) -> Result<String, Refused> {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    deliver_kind(&Kind::Exec(Config { command }), &message(vec![notice(1), notice(2)]), within).await
}

#[tokio::test]
async fn the_program_reads_a_line_with_all_alerts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("got");
    let script = format!("cat > {}; echo \"$HOLDFAST_ALERT_STATUS $HOLDFAST_ALERT_ID\"", path.display());
    let words = run(&script, WITHIN).await.unwrap();
    assert_eq!(words, "exit status: 0: firing 0000000000000005-17-firing");
    let got = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = got.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["alert"], &lines[0]["id"]), (1, &"NodeDead".into(), &"17".into()));
    assert_eq!(lines[0]["alerts"][1]["id"], "18");
    assert!(lines[0]["ends_at"].is_null());
}

#[tokio::test]
async fn its_exit_says_whether_to_try_again() {
    for (exit, retry) in
        [(1, true), (2, true), (75, true), (64, false), (65, false), (77, false), (78, false)]
    {
        let refused = run(&format!("cat > /dev/null; echo why >&2; exit {exit}"), WITHIN).await.unwrap_err();
        assert_eq!(refused.retry, retry, "{exit}");
        assert_eq!(refused.reason, format!("/bin/sh: exit status: {exit}: why"));
    }
    let killed = run("kill -9 $$", WITHIN).await.unwrap_err();
    assert!(killed.retry && killed.reason.contains("signal: 9"), "{killed}");
    let missing = Kind::Exec(Config { command: vec!["/no/such/program".into(), "token".into()] });
    let refused = deliver_kind(&missing, &message(vec![notice(1)]), WITHIN).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("/no/such/program"), "{refused}");
    assert!(!format!("{missing:?} {refused}").contains("token"));
    assert!(missing.check().is_ok() && Kind::Exec(Config { command: vec![] }).check().is_err());
}

#[tokio::test]
async fn neither_a_flood_nor_deafness_stops_it() {
    let flood = run("cat > /dev/null; head -c 5000000 /dev/zero | tr '\\0' x", WITHIN).await.unwrap();
    assert!(flood.len() < 300, "{} bytes", flood.len());
    let group = message((1..=500).map(notice).collect());
    let deaf = Kind::Exec(Config { command: vec!["/bin/true".into()] });
    deliver_kind(&deaf, &group, WITHIN).await.unwrap();
}

/// Whether a process runs with this in its command line.
fn running(mark: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = all.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
    lines.any(|line| line.starts_with("sleep") && line.contains(mark))
}

#[tokio::test]
async fn what_takes_too_long_is_killed_with_all_it_started() {
    let mark = format!("31{}", std::process::id());
    let began = Instant::now();
    let refused = run(&format!("sleep {mark} & sleep {mark}"), Duration::from_millis(500)).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("no answer from /bin/sh within 0.5 s"), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let gone = async {
        while running(&mark) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("both sleepers are killed");
}

#[tokio::test]
async fn a_daemon_that_it_leaves_behind_doesn_t_hold_it_up() {
    let began = Instant::now();
    run("cat > /dev/null; sleep 3 & exit 0", WITHIN).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
