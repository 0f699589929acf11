//! The demo as a user runs it: its story in the right order, its verdict, and nothing left behind.
//!
//! Not here: what happens in the cluster meanwhile; the demo itself checks that, and says `FAIL` otherwise.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Each demo brings five agents; two of them would only slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn demo(tmp: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.arg("demo").args(arguments).env("TMPDIR", tmp);
    // It must not take what is meant for another agent.
    command.env("HOLDFAST_LISTEN_GRPC", "127.0.0.1:1").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn ended_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let give_up = Instant::now() + limit;
    while Instant::now() < give_up {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("the demo didn't end within {limit:?}");
}

/// No file, and no process that has anything to do with them.
fn assert_nothing_left(tmp: &Path) {
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0, "files are left in {}", tmp.display());
    let needle = tmp.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(needle), "still runs: {command}");
    }
}

#[test]
fn a_host_is_lost_and_comes_back_and_the_demo_says_pass() {
    let _alone = alone();
    let tmp = tempfile::tempdir().unwrap();
    let mut child = demo(tmp.path(), &["--once"]);
    let code = ended_within(&mut child, Duration::from_secs(60));
    let output = child.wait_with_output().unwrap();
    let (said, wrong) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(code, Some(0), "{said}\n{wrong}");
    assert_eq!(said.lines().last(), Some("PASS"), "{said}");
    assert_eq!(wrong, "", "nothing is wrong, so nothing is said about it");

    // `+MS EVENT details`, apart from lines about something that is no event.
    let known = [
        "suspected",
        "declared",
        "safe",
        "started",
        "serving",
        "alert_firing",
        "node_back",
        "alert_resolved",
    ];
    let mut events = Vec::new();
    let mut last_ms = 0;
    for line in said.lines().filter(|line| line.starts_with('+')) {
        let mut words = line.split_whitespace();
        let at_ms: u64 = words.next().unwrap()[1..].parse().unwrap();
        assert!(at_ms >= last_ms, "out of order: {said}");
        last_ms = at_ms;
        events.extend(words.next().filter(|word| known.contains(word)));
    }
    let place = |event: &str| {
        events.iter().position(|e| *e == event).unwrap_or_else(|| panic!("no {event} in {said}"))
    };
    for pair in [
        "suspected declared",
        "declared safe",
        "safe started",
        "started serving",
        "declared alert_firing",
        "serving node_back",
        "alert_firing node_back",
        "node_back alert_resolved",
    ] {
        let (before, after) = pair.split_once(' ').unwrap();
        assert!(place(before) < place(after), "{pair}: {said}");
    }
    for once in ["alert_firing", "alert_resolved", "node_back", "declared"] {
        assert_eq!(events.iter().filter(|e| **e == once).count(), 1, "{once}: {said}");
    }
    assert_nothing_left(tmp.path());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let _alone = alone();
    let tmp = tempfile::tempdir().unwrap();
    let mut child = demo(tmp.path(), &["--nodes", "3"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let placed = lines.by_ref().map(Result::unwrap).find(|line| line.contains("counter (singleton)"));
    assert!(placed.is_some(), "the services never ran");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(ended_within(&mut child, Duration::from_secs(10)), Some(130));
    assert_eq!(lines.last().unwrap().unwrap(), "FAIL: interrupted");
    assert_nothing_left(tmp.path());
}

#[test]
fn clusters_that_bear_no_loss_are_refused_in_one_sentence() {
    for nodes in ["0", "1", "2", "4", "11", "x"] {
        let tmp = tempfile::tempdir().unwrap();
        let output = demo(tmp.path(), &["--nodes", nodes, "--once"]).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("3, 5, 7 or 9") && said.trim_end().lines().count() == 1, "{said}");
    }
}
