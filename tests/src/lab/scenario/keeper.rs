//! What must hold when a keeper dies: alone, and together with its agent. (Agents that freeze or die: `frozen`, `agent`.)

use super::{FIVE, SETTLES, agent::same, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    process::{is_alive, signal},
    report::{Report, Run},
    state::Status,
    wait::{stays_true, wait_until},
};
use std::time::{Duration, Instant};

/// Longer than lease and detection: what was to happen has happened.
const WATCHED: Duration = Duration::from_secs(4);
/// The lease of profile `lan`, and what a busy machine may take to end a process tree at its end.
const LEASE: Duration = Duration::from_secs(2);
const KILLED_WITHIN: Duration = Duration::from_millis(500);

/// A keeper is killed; its agent starts another one well within the lease.
pub fn killed(report: &mut Report, count: usize) -> Result<(), LabError> {
    rounds(report, count, |lab, host, before| {
        let mut run = Run::new(format!("kill the keeper of {}", lab.hosts[host].name));
        let keeper = keeper_of(lab, host)?;
        signal(keeper, libc::SIGKILL);
        let began = Instant::now();
        wait_until("another keeper", SETTLES, || match keeper_of(lab, host) {
            Ok(pid) if pid != keeper && is_alive(pid) => Ok(()),
            found => Err(format!("{found:?}")),
        })?;
        run.took("again", Some(began.elapsed()));
        before.watch(lab, host, WATCHED, &mut run);
        Ok(run)
    })
}

/// What ran, and where, before anything was harmed.
struct Before {
    status: Status,
    workloads: Vec<String>,
}

impl Before {
    /// For so long, another host must call every instance what and where it was.
    fn watch(&self, lab: &Lab, host: usize, time: Duration, run: &mut Run) {
        let watched = stays_true("every pid and generation", time, || {
            same(&self.status, &lab.status((host + 1) % lab.hosts.len())?, &self.workloads)
        });
        watched.unwrap_or_else(|e| run.problems.push(e.to_string()));
    }
}

/// Each round harms one host, and must leave every instance what and where it was, and no failure behind.
fn rounds(
    report: &mut Report,
    count: usize,
    harm: impl Fn(&mut Lab, usize, &Before) -> Result<Run, LabError>,
) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            let before = Before { status: lab.until_healthy(SETTLES)?, workloads: workloads.clone() };
            let failures = lab.failures(0).map_err(LabError::Broken)?.len();
            let mut run = harm(lab, round % FIVE.hosts, &before)?;
            let after = lab.until_healthy(SETTLES)?;
            same(&before.status, &after, &workloads).unwrap_or_else(|e| run.problems.push(e));
            let now = lab.failures(0).map_err(LabError::Broken)?;
            run.check(now.len() == failures, || format!("a failure was opened: {:?}", now.first()));
            check_at_most_once(lab, &mut run, &workloads)?;
            report.add(run);
        }
        Ok(())
    })
}

/// Agent and keeper of a host are gone for longer than the lease: its guards end what runs there by the deadline, and it
/// starts elsewhere, never before.
pub fn both(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            let before = lab.until_healthy(SETTLES)?;
            let host = round % lab.hosts.len();
            let done = kill_both(lab, host, &before, &workloads)?;
            report.add(done);
        }
        Ok(())
    })
}

fn kill_both(lab: &mut Lab, host: usize, before: &Status, workloads: &[String]) -> Result<Run, LabError> {
    let name = lab.hosts[host].name.clone();
    let here: Vec<&String> = workloads
        .iter()
        .filter(|w| before.running(w).is_some_and(|i| i.node.as_deref() == Some(name.as_str())))
        .collect();
    let pid = |w: &&String| before.running(w).and_then(|i| i32::try_from(i.pid?).ok());
    let pids: Vec<i32> = here.iter().filter_map(pid).collect();
    let mut run = Run::new(format!("kill agent and keeper of {name}, {} on it", pids.len()));
    let keeper = keeper_of(lab, host)?;
    // So that it doesn't start another one.
    lab.hosts[host].signal(libc::SIGSTOP);
    signal(keeper, libc::SIGKILL);
    lab.hosts[host].kill();
    let killed = Instant::now();
    wait_until("what ran there to end", SETTLES, || {
        let left: Vec<&i32> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} live")) }
    })?;
    let ended = killed.elapsed();
    run.took("ended", Some(ended));
    run.check(ended < LEASE + KILLED_WITHIN, || format!("it lived {ended:?} without a keeper"));
    lab.until((host + 1) % lab.hosts.len(), "its work elsewhere", SETTLES, |s| {
        let on = |w: &&String| s.running(w).and_then(|i| i.node.clone());
        here.iter().all(|w| on(w).is_some_and(|node| node != name))
    })?;
    run.took("moved", Some(killed.elapsed()));
    lab.start(host)?;
    lab.until_healthy(SETTLES)?;
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

/// The process id of a host's keeper.
pub fn keeper_of(lab: &Lab, host: usize) -> Result<i32, LabError> {
    let path = lab.hosts[host].directory.join("data/guards/keeper.json");
    let text = std::fs::read_to_string(&path).map_err(LabError::io(format!("read {path:?}")))?;
    let state: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| LabError::Broken(format!("{path:?}: {e}")))?;
    let pid = state["process"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.ok_or_else(|| LabError::Broken(format!("{path:?} names no process: {text}")))
}
